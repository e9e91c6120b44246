//! A copy of the workspace, to break.
//!
//! The copy has a target directory of its own. Cargo tells artifacts apart by paths *within* a workspace, so that in a
//! shared one it would take those of the copy for those of the original. What both share, everything from a registry,
//! is linked over beforehand instead of being built again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace::Workspace;

/// Where everything is.
pub(crate) struct Places {
    pub(crate) workspace: PathBuf,
    /// The copy that is broken.
    pub(crate) tree: PathBuf,
    /// Its target directory.
    pub(crate) build: PathBuf,
}

impl Places {
    /// A copy below the target directory.
    pub(crate) fn of(workspace: &Workspace, name: &str) -> Self {
        let folder = workspace.target_directory.join(name);
        Self {
            tree: folder.join("tree"),
            build: folder.join("build"),
            workspace: workspace.workspace_root.clone(),
        }
    }
}

/// Makes the copy equal to the workspace: every file git knows or would take in. Equal files keep their times, so that
/// cargo builds again only what differs.
pub(crate) fn copy_workspace(places: &Places) -> anyhow::Result<()> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&places.workspace)
        .output()
        .context("git cannot be started")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut wanted = Vec::new();
    for name in names.split_terminator('\0') {
        let (from, to) = (places.workspace.join(name), places.tree.join(name));
        // Deleted, and git has not been told.
        if !from.is_file() {
            continue;
        }
        let content = fs::read(&from).with_context(|| format!("{name} cannot be read"))?;
        if fs::read(&to).ok().as_deref() != Some(content.as_slice()) {
            create_parent(&to)?;
            fs::write(&to, content)
                .with_context(|| format!("{} cannot be written", to.display()))?;
        }
        wanted.push(to);
    }
    wanted.sort();
    remove_others(&places.tree, &wanted)
}

/// Removes every file below `folder` that is not in the sorted list.
fn remove_others(folder: &Path, wanted: &[PathBuf]) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if wanted.binary_search(&path).is_err() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Gives the other target directory what cargo has built from registries. Libraries, which are replaced and never
/// written into, are linked; what cargo notes about them, and what build scripts made, is copied.
pub(crate) fn share_foreign_artifacts(from: &Path, to: &Path) -> anyhow::Result<()> {
    for profile in ["debug", "release"] {
        let kinds: [(&str, Share); 3] = [(".fingerprint", copy), ("build", copy), ("deps", link)];
        for (kind, share) in kinds {
            let folder = Path::new(profile).join(kind);
            let Ok(entries) = fs::read_dir(from.join(&folder)) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if !is_ours(&name.to_string_lossy()) {
                    share_below(&entry.path(), &to.join(&folder).join(name), share)?;
                }
            }
        }
    }
    Ok(())
}

type Share = fn(&Path, &Path) -> io::Result<()>;

fn share_below(from: &Path, to: &Path, share: Share) -> anyhow::Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            share_below(&entry.path(), &to.join(entry.file_name()), share)?;
        }
        return Ok(());
    }
    if to.exists() {
        return Ok(());
    }
    create_parent(to)?;
    match share(from, to) {
        // Removed by a cargo that runs at this moment; it will be built here then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        shared => shared.with_context(|| format!("{} cannot be written", to.display())),
    }
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// With its time, by which cargo judges what is old.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let modified = fs::metadata(from)?.modified()?;
    File::options()
        .append(true)
        .open(to)?
        .set_modified(modified)
}

/// Whether an artifact belongs to a crate of this workspace, or to a test binary of one.
fn is_ours(artifact: &str) -> bool {
    let name = artifact.strip_prefix("lib").unwrap_or(artifact);
    ["epicenter", "xtask", "it-"]
        .iter()
        .any(|ours| name.starts_with(ours))
}

fn create_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("{} cannot be created", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_of_the_workspace_are_not_shared() {
        for ours in [
            "libepicenter_room-0123.rlib",
            "epicenter-native-0123",
            "xtask-0123.d",
            "it-0123",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "libitoa-0123.rlib",
            "itertools-0123",
            "libsqlite3-sys-0123",
            "tokio-0123.d",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }
}
