//! `cargo xtask purity`: the libraries of rings 0 and 1 call no clock, randomness, environment, file, socket or thread.
//!
//! Clippy does the looking, with `xtask/purity/clippy.toml` in place of the ordinary configuration. Only library code
//! is checked: tests of these crates may read their vectors from files.

use anyhow::{Context as _, ensure};

use crate::say;
use crate::workspace::{Ring, Workspace, cargo};

/// Runs clippy over the libraries.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let mut clippy = cargo();
    clippy
        .args(["clippy", "--locked", "--lib", "--no-deps"])
        .env(
            "CLIPPY_CONF_DIR",
            workspace.workspace_root.join("xtask/purity"),
        )
        .current_dir(&workspace.workspace_root);
    for package in workspace.in_rings(&[Ring::Pure, Ring::Logic]) {
        clippy.args(["--package", &package.name]);
    }
    // Every other lint is the business of an ordinary run; naming these two also keeps the cached answers apart.
    clippy.args([
        "--",
        "-A",
        "warnings",
        "-D",
        "clippy::disallowed_methods",
        "-D",
        "clippy::disallowed_types",
    ]);
    ensure!(
        clippy
            .status()
            .context("cargo clippy cannot be started")?
            .success(),
        "a library of ring 0 or 1 uses what only hosts may"
    );
    say("purity: ok\n");
    Ok(())
}
