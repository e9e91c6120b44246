//! The faults that no test can notice, and why.
//!
//! `explained.txt` has a block for each: lines `FILE FUNCTION: FAULT`, as this check prints survivors without the line
//! number, and below them, indented, the reason. Everything else that is indented or begins with `#` is for readers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::plant::Mutant;

/// What is known to survive.
pub(super) struct Explained {
    faults: BTreeSet<String>,
}

impl Explained {
    /// Reads `explained.txt` in a folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("explained.txt");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut faults = BTreeSet::new();
        let mut has_reason = true;
        for line in text.lines() {
            if line.starts_with(' ') {
                has_reason = true;
            } else if !line.is_empty() && !line.starts_with('#') {
                has_reason = false;
                faults.insert(line.to_owned());
            }
        }
        ensure!(has_reason, "the last fault has no reason");
        Ok(Self { faults })
    }

    pub(super) fn holds(&self, file: &str, mutant: &Mutant) -> bool {
        self.faults.contains(&key(file, mutant))
    }
}

/// A fault without its line, which moves with every change above it.
fn key(file: &str, mutant: &Mutant) -> String {
    format!("{file} {}: {}", mutant.function, mutant.fault)
}

/// A fault as this check prints it.
pub(super) fn line_of(file: &str, mutant: &Mutant) -> String {
    format!("line {}: {}", mutant.line, key(file, mutant))
}
