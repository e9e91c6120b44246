//! The tests of the copy, the quick ones first.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::copy::Places;
use crate::say;
use crate::workspace::cargo;

/// A run may take so many times what the tests take otherwise.
const LIMIT: u32 = 10;
/// And so many seconds of a processor besides, for tests that take next to nothing.
const GRACE: u64 = 2;
/// Tests that take less run together, before the others.
const QUICK: Duration = Duration::from_millis(100);
/// What takes longer is left out of a quick look.
const LONG: Duration = Duration::from_secs(1);
/// Faults that allocate for ever end here.
const MEMORY_KILOBYTES: u64 = 3_000_000;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// A test failed.
    Noticed,
    /// The time of the processor or the memory was used up.
    MetTheLimit,
    /// Not run: why no test can fail is known.
    Explained,
    /// No test failed.
    Survived,
}

/// The test binary of the copy.
pub(super) struct Tests {
    binary: PathBuf,
    folder: PathBuf,
    /// Names of tests that run in one process, and how long they take; the quick ones first.
    groups: Vec<(Vec<String>, Duration)>,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

impl Tests {
    /// Builds the tests and times each of them.
    pub(super) fn build(places: &Places, is_quick: bool) -> anyhow::Result<Self> {
        let output = cargo()
            .args(["test", "--package", "epicenter-update", "--test", "it"])
            .args(["--no-run", "--message-format", "json"])
            .current_dir(&places.tree)
            .env("CARGO_TARGET_DIR", &places.build)
            // The tests are run some hundred times.
            .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cargo cannot be started")?;
        ensure!(output.status.success(), "the tests do not compile");
        let binary = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .find_map(|artifact| artifact.executable)
            .context("cargo names no test binary")?;
        let mut tests = Self {
            binary,
            folder: places.tree.join("crates/update"),
            groups: Vec::new(),
        };
        tests.time_each()?;
        if is_quick {
            let mut is_first = true;
            tests
                .groups
                .retain(|(_, time)| std::mem::take(&mut is_first) || *time < LONG);
        }
        Ok(tests)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.iter().map(|(names, _)| names.len()).sum()
    }

    pub(super) fn describe(&self) -> String {
        let times: Vec<String> = self
            .groups
            .iter()
            .map(|(names, time)| format!("{} in {:.1} s", names.len(), time.as_secs_f64()))
            .collect();
        times.join(", ")
    }

    fn time_each(&mut self) -> anyhow::Result<()> {
        let listed = self
            .command()
            .args(["--list", "--format", "terse"])
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        let mut quick = (Vec::new(), Duration::ZERO);
        let mut slow = Vec::new();
        for name in names {
            let begin = Instant::now();
            let output = self.command().args(["--exact", name]).output()?;
            ensure!(output.status.success(), "{name} fails without any fault");
            let time = begin.elapsed();
            if time < QUICK {
                quick.0.push(name.to_owned());
                quick.1 += time;
            } else {
                say(&format!("{name}: {:.1} s\n", time.as_secs_f64()));
                slow.push((vec![name.to_owned()], time));
            }
        }
        slow.sort_by_key(|(_, time)| *time);
        self.groups.push(quick);
        self.groups.append(&mut slow);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        self.settle(&mut command);
        command
    }

    fn settle(&self, command: &mut Command) {
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            // The same random inputs every time, and no time spent on making failures small.
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
    }

    /// Runs all tests with one fault switched on, up to the first group that fails. Those of the module that the fault
    /// is in come first: most faults meet one there.
    pub(super) fn run(&self, file: &str, number: usize) -> anyhow::Result<Outcome> {
        let module = file.split(['/', '.']).next().unwrap_or(file);
        let own = format!("{module}::");
        let mut groups = self.groups.iter();
        let Some((quick, time)) = groups.next() else {
            return Ok(Outcome::Survived);
        };
        let (own, others): (Vec<_>, Vec<_>) = quick
            .iter()
            .cloned()
            .partition(|name| name.starts_with(&own));
        for (names, time) in [(&own, time), (&others, time)]
            .into_iter()
            .chain(groups.map(|(names, time)| (names, time)))
        {
            // Without a name the harness would run everything.
            if names.is_empty() {
                continue;
            }
            let seconds = (*time * LIMIT).as_secs() + GRACE;
            // The shell sets the limits; rustc's own library cannot without unsafe code.
            let limits =
                format!("ulimit -c 0 -t {seconds} -v {MEMORY_KILOBYTES}; exec \"$0\" \"$@\"");
            let mut command = Command::new("bash");
            command.args(["-c", &limits]).arg(&self.binary);
            command.args(["--test-threads", "1", "--exact"]).args(names);
            command.env("ALGEBRA_MUTANT", number.to_string());
            self.settle(&mut command);
            let mut child = command
                .stdout(Stdio::piped())
                .spawn()
                .context("bash cannot be started")?;
            let mut said = Vec::new();
            if let Some(stdout) = &mut child.stdout {
                stdout.read_to_end(&mut said)?;
            }
            match child.wait()?.code() {
                Some(0) => {}
                // What the test harness ends with when a test has failed.
                Some(101) => return Ok(Outcome::Noticed),
                _ => return Ok(Outcome::MetTheLimit),
            }
        }
        Ok(Outcome::Survived)
    }
}
