//! The workspace as cargo describes it, and the ring of each crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Where a crate stands; a dependency never points outward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ring {
    /// Pure: no I/O, clock, randomness, environment, threads or async.
    Pure,
    /// Logic over ports.
    Logic,
    /// Hosts: sockets, files, drivers, clocks, environment.
    Host,
    /// Tests, benchmarks and checks; never a normal dependency of the rings.
    Support,
}

/// Which licence a crate carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Licence {
    Mit,
    Agpl,
}

impl Licence {
    /// The SPDX expression in the manifest.
    pub(crate) const fn spdx(self) -> &'static str {
        match self {
            Self::Mit => "MIT",
            Self::Agpl => "AGPL-3.0-or-later",
        }
    }
}

/// Every crate of the workspace; a crate that is missing here fails the check.
const CRATES: &[(&str, Ring, Licence)] = &[
    ("epicenter-identity", Ring::Pure, Licence::Mit),
    ("epicenter-encryption", Ring::Pure, Licence::Mit),
    ("epicenter-sync", Ring::Pure, Licence::Mit),
    ("epicenter-update", Ring::Pure, Licence::Mit),
    ("epicenter-api", Ring::Pure, Licence::Mit),
    ("epicenter-room", Ring::Pure, Licence::Agpl),
    ("epicenter-server", Ring::Logic, Licence::Agpl),
    ("epicenter-store", Ring::Logic, Licence::Agpl),
    ("epicenter-auth", Ring::Logic, Licence::Mit),
    ("epicenter-device", Ring::Host, Licence::Mit),
    ("epicenter-native", Ring::Host, Licence::Agpl),
    ("epicenter-cli", Ring::Host, Licence::Agpl),
    ("epicenter-testkit", Ring::Support, Licence::Agpl),
    ("epicenter-bench", Ring::Support, Licence::Agpl),
    ("xtask", Ring::Support, Licence::Agpl),
];

/// The ring and licence a crate should have; none for a crate that is not listed.
pub(crate) fn place_of(name: &str) -> Option<(Ring, Licence)> {
    CRATES
        .iter()
        .find(|(known, _, _)| *known == name)
        .map(|(_, ring, licence)| (*ring, *licence))
}

/// What this program reads of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
}

/// A crate of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for crates of this workspace.
    pub(crate) path: Option<PathBuf>,
}

impl Dependency {
    /// Whether the crate is linked into, or run while building, what depends on it.
    pub(crate) fn is_normal_or_build(&self) -> bool {
        self.kind.as_deref() != Some("dev")
    }
}

impl Package {
    /// The folder of the crate.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .context("cargo metadata cannot be started")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout)
            .context("the answer of cargo metadata is not understood")
    }

    /// The crates of the given rings.
    pub(crate) fn in_rings<'w>(&'w self, rings: &'w [Ring]) -> impl Iterator<Item = &'w Package> {
        self.packages.iter().filter(|package| {
            place_of(&package.name).is_some_and(|(ring, _)| rings.contains(&ring))
        })
    }
}

/// The cargo that runs this program, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
