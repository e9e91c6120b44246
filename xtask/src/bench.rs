//! `cargo xtask bench [BENCHMARK [ARGUMENT…]]`: the benchmarks that have peers, with their peers.
//!
//! The peers come from npm, by the lock file beside their script, from crates.io and from PyPI, into `target/peers`. No
//! check depends on them, and CI never comes here.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace::{Workspace, cargo};

/// Below `crates/bench/peers` and `target/peers`.
const NPM_PEERS: [&str; 3] = ["oidc-provider", "hocuspocus", "y-websocket"];
const FILES: [&str; 3] = ["package.json", "package-lock.json", "server.mjs"];
/// Below `target/peers`, by its version on crates.io.
const CARGO_PEER: (&str, &str) = ("y-sweet", "0.9.1");
/// The same for PyPI, with its requirements.
const PYTHON_PEER: &str = "litellm";
/// What is run when nothing is named.
const BENCHMARKS: [&str; 3] = ["identity", "rooms", "ai"];

/// Installs, builds, measures; the tables go to stdout.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let root = &workspace.workspace_root;
    let target = workspace.target_directory.join("peers");
    for peer in NPM_PEERS {
        install_from_npm(
            &root.join("crates/bench/peers").join(peer),
            &target.join(peer),
        )?;
    }
    install_from_crates_io(&target)?;
    let requirements = root.join("crates/bench/peers").join(PYTHON_PEER);
    install_from_pypi(&requirements, &target.join(PYTHON_PEER))?;
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--bin", "epicenter"])
        .args(["--package", "epicenter-cli"])
        .current_dir(root);
    succeed(&mut build)?;
    let named: Vec<_> = std::env::args().skip(2).collect();
    if !named.is_empty() {
        return measure(root, &target, &named);
    }
    for benchmark in BENCHMARKS {
        measure(root, &target, &[benchmark.to_owned()])?;
    }
    Ok(())
}

fn measure(root: &Path, peers: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let mut bench = cargo();
    bench
        .args(["run", "--release", "--locked", "-p", "epicenter-bench"])
        .arg("--")
        .args(arguments)
        .current_dir(root);
    if arguments.first().is_some_and(|name| name == "identity") {
        bench.arg("--peer").arg(peers.join("oidc-provider"));
    } else {
        bench.arg("--peers").arg(peers);
    }
    succeed(&mut bench)
}

fn install_from_npm(source: &Path, target: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    for file in FILES {
        fs::copy(source.join(file), target.join(file))
            .with_context(|| format!("{file} of a peer cannot be copied"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(target);
    succeed(&mut npm)
}

/// Cargo builds it only where this version is not there yet.
fn install_from_crates_io(target: &Path) -> anyhow::Result<()> {
    let (name, version) = CARGO_PEER;
    let mut install = cargo();
    install
        .args(["install", name, "--version", version, "--locked", "--root"])
        .arg(target.join(name));
    succeed(&mut install)
}

/// Into an environment of its own.
fn install_from_pypi(source: &Path, target: &Path) -> anyhow::Result<()> {
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(target);
    succeed(&mut environment)?;
    let mut pip = Command::new(target.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(source.join("requirements.txt"));
    succeed(&mut pip)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
