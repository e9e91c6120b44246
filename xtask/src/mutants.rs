//! `cargo xtask mutants`: breaks a copy of the workspace on purpose and requires the tests to notice.
//!
//! Each `xtask/mutants/*.patch` is one such break, as `git apply` takes it, below lines that say what it breaks and
//! which commands must notice:
//!
//! ```text
//! Breaks: what no longer holds
//! Must exit 101: cargo test -p CRATE --test it FILTER
//! Must exit 3: node interop/trace.mjs
//! ```
//!
//! `cargo test` runs in the patched copy, after it was built there: a patch that does not compile proves nothing.
//! Any other command runs in the workspace as it is, with `EPICENTER_BIN` naming the release binary of the copy.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::copy::{Places, copy_workspace, share_foreign_artifacts};
use crate::say;
use crate::workspace::{Workspace, cargo};

/// What a test run says when a test has failed, as opposed to a build.
const TESTS_FAILED: &str = "test result: FAILED";
/// Lines of a command's output that an error shows.
const SHOWN_LINES: usize = 40;

/// One patch.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    name: String,
    breaks: String,
    checks: Vec<Check>,
}

/// A command that must notice.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    exit_code: i32,
    command: Vec<String>,
}

/// Fails at the first mutant that nobody notices.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let places = Places::of(&workspace, "mutants");
    let patches = patches_in(&places.workspace.join("xtask/mutants"))?;
    ensure!(!patches.is_empty(), "there are no mutants");
    share_foreign_artifacts(&workspace.target_directory, &places.build)?;
    for patch in &patches {
        let mutant = Mutant::read(patch)?;
        say(&format!("{}: {}\n", mutant.name, mutant.breaks));
        copy_workspace(&places)?;
        apply(patch, &places)?;
        for check in &mutant.checks {
            check
                .run(&places)
                .with_context(|| format!("{}: {}", mutant.name, check.command.join(" ")))?;
            say(&format!("  noticed by {}\n", check.command.join(" ")));
        }
    }
    // Whoever looks into the copy later finds it whole.
    copy_workspace(&places)?;
    say(&format!("mutants: {} noticed\n", patches.len()));
    Ok(())
}

fn patches_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut patches = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?
    {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("patch")) {
            patches.push(path);
        }
    }
    patches.sort();
    Ok(patches)
}

impl Mutant {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        Self::parse(name, &text).with_context(|| path.display().to_string())
    }

    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut breaks = None;
        let mut checks = Vec::new();
        for line in text
            .lines()
            .take_while(|line| !line.starts_with("diff --git "))
        {
            if let Some(what) = line.strip_prefix("Breaks: ") {
                breaks = Some(what.to_owned());
            } else if let Some(check) = line.strip_prefix("Must exit ") {
                checks.push(Check::parse(check)?);
            } else {
                ensure!(line.is_empty(), "not understood: {line}");
            }
        }
        ensure!(
            !checks.is_empty(),
            "no `Must exit CODE: COMMAND`, so nobody has to notice"
        );
        Ok(Self {
            name: name.to_owned(),
            breaks: breaks.context("no `Breaks: ` line")?,
            checks,
        })
    }
}

impl Check {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (code, command) = text
            .split_once(": ")
            .with_context(|| format!("not `Must exit CODE: COMMAND`: {text}"))?;
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(command.len() > 1, "no command: {text}");
        Ok(Self {
            exit_code: code
                .parse()
                .with_context(|| format!("not an exit code: {code}"))?,
            command,
        })
    }

    fn run(&self, places: &Places) -> anyhow::Result<()> {
        let words: Vec<_> = self.command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["cargo", "test", selection @ ..] => {
                let no_run = ["--no-run"].into_iter().chain(before_filter(selection));
                built(&cargo_in(places, "test", no_run)?)?;
                let output = cargo_in(places, "test", selection.iter().copied())?;
                self.expect(&output)?;
                let stdout = String::from_utf8_lossy(&output.stdout);
                ensure!(
                    stdout.contains(TESTS_FAILED),
                    "it failed, but no test did\n{}",
                    tail(&output)
                );
            }
            [program, arguments @ ..] => {
                let build = ["--release", "--package", "epicenter-cli"];
                built(&cargo_in(places, "build", build)?)?;
                let output = Command::new(program)
                    .args(arguments)
                    .current_dir(&places.workspace)
                    .env("EPICENTER_BIN", places.build.join("release/epicenter"))
                    .output()
                    .with_context(|| format!("{program} cannot be started"))?;
                self.expect(&output)?;
            }
            [] => bail!("no command"),
        }
        Ok(())
    }

    fn expect(&self, output: &Output) -> anyhow::Result<()> {
        match output.status.code() {
            Some(code) if code == self.exit_code => Ok(()),
            Some(0) => bail!("nobody noticed: it succeeded\n{}", tail(output)),
            _ => bail!(
                "it ended with {} where exit status {} was due\n{}",
                output.status,
                self.exit_code,
                tail(output)
            ),
        }
    }
}

/// The arguments of `cargo test` that select what is built: all but a filter at the end and what follows `--`.
fn before_filter<'a>(selection: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let mut after_option = false;
    selection
        .iter()
        .copied()
        .take_while(|word| *word != "--")
        .filter(move |word| {
            let is_option = word.starts_with('-');
            let keep = is_option || after_option;
            after_option = is_option;
            keep
        })
}

fn cargo_in<'a>(
    places: &Places,
    subcommand: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<Output> {
    cargo()
        .arg(subcommand)
        .args(arguments)
        .current_dir(&places.tree)
        .env("CARGO_TARGET_DIR", &places.build)
        .stdin(Stdio::null())
        .output()
        .context("cargo cannot be started")
}

fn built(output: &Output) -> anyhow::Result<()> {
    ensure!(
        output.status.success(),
        "the broken copy does not compile, so nothing is proven\n{}",
        tail(output)
    );
    Ok(())
}

/// The end of what a command said.
fn tail(output: &Output) -> String {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    lines.get(start..).unwrap_or_default().join("\n")
}

fn apply(patch: &Path, places: &Places) -> anyhow::Result<()> {
    let output = Command::new("git")
        .args(["apply", "--verbose"])
        .arg(patch)
        .current_dir(&places.tree)
        // The copy lies inside the repository. As a part of it, `git apply` would skip every path without a word.
        .env(
            "GIT_CEILING_DIRECTORIES",
            places.tree.parent().unwrap_or(&places.tree),
        )
        .output()
        .context("git cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.contains("Applied patch"),
        "{} does not apply: the code it breaks has changed\n{said}\
         hint: make the same break by hand, write the hunk anew with `git diff -U1 > /tmp/hunk`, undo it with \
         `git checkout`, and put the hunk in place of the old one",
        patch.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_it_breaks_and_who_must_notice() {
        let text = "Breaks: the order\nMust exit 101: cargo test -p a durable\nMust exit 3: node b.mjs\n\ndiff --git a/x b/x\n+Breaks: not read\n";
        let check = |exit_code, command: &[&str]| Check {
            exit_code,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        };
        let expect = Mutant {
            name: "m".to_owned(),
            breaks: "the order".to_owned(),
            checks: vec![
                check(101, &["cargo", "test", "-p", "a", "durable"]),
                check(3, &["node", "b.mjs"]),
            ],
        };
        assert_eq!(Mutant::parse("m", text).ok(), Some(expect));
    }

    #[test]
    fn a_patch_that_says_too_little_is_refused() {
        for text in [
            "diff --git a/x b/x\n",
            "Breaks: the order\n",
            "Must exit 3: node b.mjs\n",
            "Breaks: the order\nMust exit three: node b.mjs\n",
            "Breaks: the order\nMust exit 3:\n",
            "Breaks: the order\nMust exit 3: node b.mjs\nanything else\n",
        ] {
            assert!(Mutant::parse("m", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_build_without_running_takes_no_filter() {
        let check = |selection: &[&str], expect: &[&str]| {
            assert_eq!(before_filter(selection).collect::<Vec<_>>(), expect);
        };
        check(
            &["-p", "a", "--test", "it", "durable"],
            &["-p", "a", "--test", "it"],
        );
        check(&["-p", "a", "--", "--exact", "x"], &["-p", "a"]);
    }
}
