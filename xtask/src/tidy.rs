//! `cargo xtask tidy`: names the files that have grown past the size at which to think about a split.

use std::fs;

use crate::say;
use crate::sources::{code_lines, files_below};
use crate::workspace::Workspace;

/// Lines without tests and comments; a look, not a gate.
const LOOK_TWICE: usize = 500;

/// Reports and always succeeds.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = Workspace::load()?.workspace_root;
    let mut long = Vec::new();
    for folder in ["crates", "xtask", "interop"] {
        for path in files_below(&root.join(folder), &["rs", "js", "mjs"])? {
            let lines = code_lines(&fs::read_to_string(&path)?).count();
            if lines > LOOK_TWICE {
                long.push((lines, path));
            }
        }
    }
    long.sort();
    for (lines, path) in long.iter().rev() {
        say(&format!(
            "{lines:>6} {}\n",
            path.strip_prefix(&root).unwrap_or(path).display()
        ));
    }
    say(&format!(
        "tidy: {} files past {LOOK_TWICE} lines\n",
        long.len()
    ));
    Ok(())
}
