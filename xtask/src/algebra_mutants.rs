//! `cargo xtask algebra-mutants [--quick] [FILE[:FIRST-LAST]...]`: plants systematic faults in a copy of the update algebra and runs its
//! tests on each.
//!
//! Conditions are negated, comparisons moved by one, statements left out, constants and opposites exchanged, functions
//! made to answer at once; see `plant.rs`. All faults are compiled at once, each behind a switch that is read from the
//! environment, so that a fault costs one run of the tests. What does not compile is left out and counted.
//!
//! A run ends at a multiple of the processor time that the tests take otherwise, so that a machine that is busy with other
//! things changes nothing; whoever meets that limit counts as noticed. `explained.txt` holds the faults that no test can
//! notice, each with the reason; they are not run, and any other that survives fails this check. Too long for CI: some
//! ten minutes. With `--quick` the tests that take more than a second are left out, for a first look.

mod explained;
mod plant;
mod tests_of_copy;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::copy::{Places, copy_workspace, share_foreign_artifacts};
use crate::say;
use crate::sources::files_below;
use crate::workspace::{Workspace, cargo};

use explained::Explained;
use plant::{Mutant, Planted, plant};
use tests_of_copy::{Outcome, Tests};

const SOURCES: &str = "crates/update/src";
/// Where faults are planted when no files are named: these modules and what is below them.
const MODULES: &[&str] = &["merge", "ingest", "diff", "compact"];
const EVERY_LINE: RangeInclusive<usize> = 0..=usize::MAX;
/// The numbers of one file; the next file begins at the next multiple.
const NUMBERS_A_FILE: usize = 10_000;

/// Fails when a fault survives that is not explained.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut wanted: Vec<String> = std::env::args().skip(2).collect();
    let all = wanted.len();
    wanted.retain(|argument| argument != "--quick");
    let is_quick = wanted.len() < all;
    let workspace = Workspace::load()?;
    let wanted = Wanted::parse(&wanted, &workspace.workspace_root.join(SOURCES))?;
    let places = Places::of(&workspace, "algebra-mutants");
    share_foreign_artifacts(&workspace.target_directory, &places.build)?;
    copy_workspace(&places)?;
    let explained = Explained::read(&places.workspace.join("xtask/src/algebra_mutants"))?;

    let mut copy = Copy::new(&places, &wanted)?;
    copy.settle()?;
    let tests = Tests::build(&places, is_quick)?;
    say(&format!("{} tests, {}\n", tests.len(), tests.describe()));
    let outcomes = run_all(&copy, &wanted, &tests, &explained)?;
    copy.report(&outcomes)?;
    let survivors: usize = outcomes
        .values()
        .filter(|outcome| **outcome == Outcome::Survived)
        .count();
    ensure!(
        survivors == 0,
        "{survivors} faults survive; add a test, or the reason why none can notice to explained.txt"
    );
    Ok(())
}

/// Which faults to run.
struct Wanted {
    /// Files below the sources, each with the lines to take.
    places: Vec<(String, RangeInclusive<usize>)>,
}

impl Wanted {
    fn parse(arguments: &[String], sources: &Path) -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for argument in arguments {
            let (file, lines) = argument.split_once(':').unwrap_or((argument, ""));
            let (first, last) = lines.split_once('-').unwrap_or((lines, lines));
            let lines = match lines {
                "" => EVERY_LINE,
                _ => first.parse().context("a line")?..=last.parse().context("a line")?,
            };
            places.push((file.to_owned(), lines));
        }
        if places.is_empty() {
            for module in MODULES {
                places.push((format!("{module}.rs"), EVERY_LINE));
                let folder = sources.join(module);
                if !folder.is_dir() {
                    continue;
                }
                for file in files_below(&folder, &["rs"])? {
                    let name = file.strip_prefix(sources)?.to_string_lossy().into_owned();
                    places.push((name, EVERY_LINE));
                }
            }
        }
        Ok(Self { places })
    }

    fn files(&self) -> BTreeSet<&str> {
        self.places.iter().map(|(file, _)| file.as_str()).collect()
    }

    fn takes(&self, file: &str, mutant: &Mutant) -> bool {
        let mut of_file = self.places.iter().filter(|(wanted, _)| wanted == file);
        of_file.any(|(_, lines)| lines.contains(&mutant.line))
    }
}

/// The faulty copy of the crate.
struct Copy<'p> {
    places: &'p Places,
    files: Vec<Faulty>,
    /// Faults that do not compile.
    left_out: BTreeSet<usize>,
}

struct Faulty {
    name: String,
    source: String,
    planted: Planted,
}

impl<'p> Copy<'p> {
    fn new(places: &'p Places, wanted: &Wanted) -> anyhow::Result<Self> {
        let folder = places.tree.join(SOURCES);
        fs::write(
            folder.join("switch.rs"),
            include_str!("algebra_mutants/switch.rs"),
        )?;
        let library = folder.join("lib.rs");
        let text = fs::read_to_string(&library)?;
        fs::write(library, format!("{text}\nmod switch;\n"))?;
        let mut copy = Self {
            places,
            files: Vec::new(),
            left_out: BTreeSet::new(),
        };
        for name in wanted.files() {
            let source = fs::read_to_string(folder.join(name))
                .with_context(|| format!("{name} cannot be read"))?;
            let planted = plant(&source, copy.first(copy.files.len()), &copy.left_out)?;
            copy.files.push(Faulty {
                name: name.to_owned(),
                source,
                planted,
            });
        }
        Ok(copy)
    }

    /// The first number of a file.
    fn first(&self, place: usize) -> usize {
        place * NUMBERS_A_FILE
    }

    fn write(&self) -> anyhow::Result<()> {
        for file in &self.files {
            let path = self.places.tree.join(SOURCES).join(&file.name);
            fs::write(path, &file.planted.text)?;
        }
        Ok(())
    }

    /// Leaves out faults until the rest compiles.
    fn settle(&mut self) -> anyhow::Result<()> {
        loop {
            self.write()?;
            let errors = errors_of(self.places)?;
            if errors.is_empty() {
                return Ok(());
            }
            let before = self.left_out.len();
            for error in &errors {
                self.leave_out(error)?;
            }
            ensure!(self.left_out.len() > before, "the copy does not compile");
            for place in 0..self.files.len() {
                let first = self.first(place);
                if let Some(file) = self.files.get_mut(place) {
                    file.planted = plant(&file.source, first, &self.left_out)?;
                }
            }
        }
    }

    /// Blames the innermost fault around an error; where there is none, around what rustc names besides, or the next one
    /// behind. What was blamed for nothing is lost, and the next round blames another one.
    fn leave_out(&mut self, error: &CompileError) -> anyhow::Result<()> {
        let (primary, secondary): (Vec<_>, Vec<_>) =
            error.spans.iter().partition(|span| span.is_primary);
        let noted = error.children.iter().flat_map(|note| &note.spans);
        let named = primary.iter().copied().chain(noted).chain(secondary);
        let mut named = named.filter_map(|span| self.around(span));
        let mut behind = primary.iter().filter_map(|span| self.behind(span));
        // A name that may still hold what it held before is in nobody's place but that of the assignment left out.
        let number = if error.is_about_borrows() {
            behind.next().or_else(|| named.next())
        } else {
            named.next().or_else(|| behind.next())
        };
        match number {
            Some(number) => self.left_out.insert(number),
            None => bail!("the copy does not compile: {}", error.rendered),
        };
        Ok(())
    }

    fn file_of(&self, span: &ErrorSpan) -> Option<&Faulty> {
        self.files.iter().find(|file| {
            span.file_name
                .ends_with(&format!("{SOURCES}/{}", file.name))
        })
    }

    fn around(&self, span: &ErrorSpan) -> Option<usize> {
        let places = self.file_of(span)?.planted.places.iter();
        let around = places
            .filter(|(_, place)| place.start <= span.byte_start && span.byte_end <= place.end);
        around
            .min_by_key(|(_, place)| place.end - place.start)
            .map(|(number, _)| *number)
    }

    /// The next assignment that can be left out.
    fn behind(&self, span: &ErrorSpan) -> Option<usize> {
        let planted = &self.file_of(span)?.planted;
        let is_assignment = |number: &usize| {
            let mut mutants = planted.mutants.iter();
            let mutant = mutants.find(|mutant| mutant.number == *number);
            mutant.is_some_and(|mutant| {
                mutant.fault.starts_with("left out: ") && mutant.fault.contains(" = ")
            })
        };
        let behind = planted
            .places
            .iter()
            .filter(|(number, place)| place.start > span.byte_start && is_assignment(number));
        behind
            .min_by_key(|(_, place)| place.start)
            .map(|(number, _)| *number)
    }

    fn mutants(&self) -> impl Iterator<Item = (&str, &Mutant)> {
        self.files.iter().flat_map(|file| {
            let mutants = file.planted.mutants.iter();
            mutants.map(|mutant| (file.name.as_str(), mutant))
        })
    }

    fn report(&self, outcomes: &BTreeMap<usize, Outcome>) -> anyhow::Result<()> {
        let mut names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        names.push("all");
        for name in names {
            let mut counts: BTreeMap<Outcome, usize> = BTreeMap::new();
            for (file, mutant) in self.mutants() {
                if let Some(outcome) = outcomes.get(&mutant.number)
                    && (file == name || name == "all")
                {
                    *counts.entry(*outcome).or_default() += 1;
                }
            }
            let count = |outcome| counts.get(&outcome).copied().unwrap_or_default();
            say(&format!(
                "{name:<20} {:>4} faults: {:>4} noticed, {:>3} ended by the limit, {:>3} explained, {:>3} survived\n",
                counts.values().sum::<usize>(),
                count(Outcome::Noticed),
                count(Outcome::MetTheLimit),
                count(Outcome::Explained),
                count(Outcome::Survived),
            ));
        }
        say(&format!("{} did not compile\n", self.left_out.len()));
        Ok(())
    }
}

/// What rustc says of the copy, as cargo passes it on.
#[derive(Debug, Deserialize)]
struct CargoMessage {
    message: Option<CompileError>,
}

#[derive(Debug, Deserialize)]
struct CompileError {
    level: String,
    code: Option<ErrorCode>,
    #[serde(default)]
    rendered: String,
    spans: Vec<ErrorSpan>,
    children: Vec<Note>,
}

#[derive(Debug, Deserialize)]
struct ErrorCode {
    code: String,
}

impl CompileError {
    fn is_about_borrows(&self) -> bool {
        let code = self.code.as_ref().map(|code| code.code.as_str());
        matches!(code, Some("E0499" | "E0502" | "E0503" | "E0505" | "E0506"))
    }
}

/// What stands below an error.
#[derive(Debug, Deserialize)]
struct Note {
    spans: Vec<ErrorSpan>,
}

#[derive(Debug, Deserialize)]
struct ErrorSpan {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

fn errors_of(places: &Places) -> anyhow::Result<Vec<CompileError>> {
    let output = cargo()
        .args(["check", "--package", "epicenter-update"])
        .args(["--message-format", "json"])
        .current_dir(&places.tree)
        .env("CARGO_TARGET_DIR", &places.build)
        .stdin(Stdio::null())
        .output()
        .context("cargo cannot be started")?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let messages = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok());
    let errors: Vec<_> = messages
        .filter_map(|message| message.message)
        .filter(|message| message.level == "error" && !message.spans.is_empty())
        .collect();
    ensure!(
        output.status.success() || !errors.is_empty(),
        "the copy does not compile\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(errors)
}

/// The outcome for each number.
fn run_all(
    copy: &Copy<'_>,
    wanted: &Wanted,
    tests: &Tests,
    explained: &Explained,
) -> anyhow::Result<BTreeMap<usize, Outcome>> {
    let queue: Vec<(&str, &Mutant)> = copy
        .mutants()
        .filter(|(file, mutant)| wanted.takes(file, mutant))
        .collect();
    say(&format!("{} faults\n", queue.len()));
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let worker = || -> anyhow::Result<()> {
            while let Some((file, mutant)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = if explained.holds(file, mutant) {
                    Outcome::Explained
                } else {
                    tests.run(file, mutant.number)?
                };
                if outcome != Outcome::Noticed {
                    say(&format!(
                        "{outcome:?}: {}\n",
                        explained::line_of(file, mutant)
                    ));
                }
                let mut outcomes = outcomes
                    .lock()
                    .map_err(|_| anyhow::anyhow!("a worker panicked"))?;
                outcomes.insert(mutant.number, outcome);
            }
            Ok(())
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        anyhow::Ok(())
    })?;
    outcomes.into_inner().context("a worker panicked")
}
