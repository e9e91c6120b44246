//! `cargo xtask wasm`: rings 0 and 1 build for WebAssembly and need nothing from a host.
//!
//! The target has no clock, randomness, files or environment of its own: a crate that reaches for one has to import it.
//! Each crate is therefore built as a module of its own with its unused code kept, and the import section of that
//! module must be empty.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::imports::{self, Module};
use crate::workspace::{Package, Ring, Workspace, cargo};
use crate::{fail_with, say};

/// The target without any operating system.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Unoptimised, the compiler emits what nothing calls, and the linker is told to keep it.
const KEEP_UNUSED_CODE: [&str; 6] = [
    "-C",
    "link-dead-code",
    "-C",
    "opt-level=0",
    "-C",
    "link-arg=--no-gc-sections",
];

/// Runs the check.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    ensure_target(&workspace.workspace_root)?;
    let packages: Vec<&Package> = workspace.in_rings(&[Ring::Pure, Ring::Logic]).collect();
    ensure!(!packages.is_empty(), "no crates of ring 0 or 1 were found");

    let mut check = cargo();
    check
        .args(["check", "--locked", "--lib", "--target", TARGET])
        .current_dir(&workspace.workspace_root);
    for package in &packages {
        check.args(["--package", &package.name]);
    }
    ensure!(
        check
            .status()
            .context("cargo check cannot be started")?
            .success(),
        "rings 0 and 1 do not build for {TARGET}"
    );

    let mut problems = Vec::new();
    for package in packages {
        let module = build_module(&workspace, package)?;
        problems.extend(check_module(&package.name, &module));
    }
    fail_with("wasm", &problems)
}

/// Links one crate, unused code included, into a module.
fn build_module(workspace: &Workspace, package: &Package) -> anyhow::Result<Module> {
    // A folder of its own: another crate type and other flags would disturb the caches of ordinary builds.
    let target_dir = workspace.target_directory.join("xtask-wasm");
    let status = cargo()
        .args([
            "rustc",
            "--quiet",
            "--locked",
            "--lib",
            "--crate-type",
            "cdylib",
            "--target",
            TARGET,
        ])
        .args(["--package", &package.name, "--target-dir"])
        .arg(&target_dir)
        .arg("--")
        .args(KEEP_UNUSED_CODE)
        .current_dir(&workspace.workspace_root)
        .status()
        .context("cargo rustc cannot be started")?;
    ensure!(
        status.success(),
        "{} does not link for {TARGET}",
        package.name
    );
    let file = target_dir
        .join(TARGET)
        .join("debug")
        .join(format!("{}.wasm", package.name.replace('-', "_")));
    let bytes = fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    imports::parse(&bytes).with_context(|| format!("{} is not understood", file.display()))
}

/// A module without functions of the crate's own would prove nothing.
fn check_module(name: &str, module: &Module) -> Vec<String> {
    let crate_name = name.replace('-', "_");
    let own = module
        .functions
        .iter()
        .filter(|function| function.contains(&crate_name))
        .count();
    say(&format!(
        "wasm: {name}: {own} functions, {} imports\n",
        module.imports.len()
    ));
    if own == 0 {
        return vec![format!(
            "{name} came out empty, so its imports prove nothing"
        )];
    }
    module
        .imports
        .iter()
        .map(|import| format!("{name} imports {import}"))
        .collect()
}

/// Makes sure the standard library of the target is there.
fn ensure_target(root: &Path) -> anyhow::Result<()> {
    if has_target(root)? {
        return Ok(());
    }
    say(&format!("wasm: adding the target {TARGET}\n"));
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(root)
        .status();
    ensure!(
        added.is_ok_and(|status| status.success()) && has_target(root)?,
        "the standard library for {TARGET} is missing and rustup cannot add it: install it (rustup target add {TARGET}) and run this again"
    );
    Ok(())
}

fn has_target(root: &Path) -> anyhow::Result<bool> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root)
        .output()
        .context("rustc cannot be started")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_empty_modules_are_problems() {
        let module = |imports: &[&str], functions: &[&str]| Module {
            imports: imports.iter().map(|&import| import.to_owned()).collect(),
            functions: functions
                .iter()
                .map(|&function| function.to_owned())
                .collect(),
        };
        let none: [&str; 0] = [];
        assert_eq!(
            check_module("our-crate", &module(&[], &["_ZN9our_crate4work"])),
            none
        );
        assert_eq!(
            check_module("our-crate", &module(&["env.now"], &["_ZN9our_crate4work"])),
            ["our-crate imports env.now"]
        );
        assert_eq!(
            check_module("our-crate", &module(&[], &["_ZN4core3fmt5write"])),
            ["our-crate came out empty, so its imports prove nothing"]
        );
    }
}
