//! `cargo xtask bench`: the identity benchmark with its peers.
//!
//! The peers come from npm, by the lock file beside their script, into `target/peers`. No check depends on them, and CI
//! never comes here.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace::{Workspace, cargo};

/// Below `crates/bench/peers` and `target/peers`.
const PEER: &str = "oidc-provider";
const FILES: [&str; 3] = ["package.json", "package-lock.json", "server.mjs"];

/// Installs, builds, measures; the table goes to stdout.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let root = &workspace.workspace_root;
    let peer = workspace.target_directory.join("peers").join(PEER);
    install(&root.join("crates/bench/peers").join(PEER), &peer)?;
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--bin", "epicenter"])
        .args(["--package", "epicenter-cli"])
        .current_dir(root);
    succeed(&mut build)?;
    let mut bench = cargo();
    bench
        .args(["run", "--release", "--locked", "-p", "epicenter-bench"])
        .args(["--", "identity", "--peer"])
        .arg(&peer)
        .current_dir(root);
    succeed(&mut bench)
}

fn install(source: &Path, target: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    for file in FILES {
        fs::copy(source.join(file), target.join(file))
            .with_context(|| format!("{file} of the peer cannot be copied"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(target);
    succeed(&mut npm)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} cannot be started"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
