//! `cargo xtask docs`: writes the pages that are made from code.
//!
//! The test that compares the committed page with the code writes it instead when `EPICENTER_WRITE_DOCS` is set, so
//! that this program need not link the hub.

use anyhow::{Context as _, ensure};

use crate::say;
use crate::workspace::{Workspace, cargo};

/// Writes `docs/configuration.md`.
pub(crate) fn run() -> anyhow::Result<()> {
    let status = cargo()
        .args([
            "test",
            "--quiet",
            "--package",
            "epicenter-native",
            "--lib",
            "the_reference_page_is_current",
        ])
        .env("EPICENTER_WRITE_DOCS", "1")
        .current_dir(Workspace::load()?.workspace_root)
        .status()
        .context("cargo test cannot be started")?;
    ensure!(status.success(), "docs/configuration.md was not written");
    say("docs: docs/configuration.md\n");
    Ok(())
}
