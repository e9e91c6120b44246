//! The checks that are not cargo's own.
//!
//! `cargo xtask NAME` runs one of them; without a name it lists them. Each check is a module with one `run`, reads the
//! workspace as it stands and fails with every violation it found, not only the first.

mod algebra_mutants;
mod bench;
mod copy;
mod documentation;
mod imports;
mod mutants;
mod purity;
mod rings;
mod sources;
mod tidy;
mod wasm;
mod workspace;

use std::io::Write as _;
use std::process::ExitCode;

/// A check: its name, what it does, and its code.
type Task = (&'static str, &'static str, fn() -> anyhow::Result<()>);

const TASKS: &[Task] = &[
    (
        "rings",
        "dependencies point inward, licences hold, Access is made in one place",
        rings::run,
    ),
    (
        "purity",
        "the libraries of rings 0 and 1 call no clock, randomness, environment or file",
        purity::run,
    ),
    (
        "wasm",
        "rings 0 and 1 build for wasm32-unknown-unknown and import nothing",
        wasm::run,
    ),
    (
        "tidy",
        "report files past 500 lines; never fails",
        tidy::run,
    ),
    (
        "mutants",
        "break a copy of the workspace on purpose and require the tests to notice",
        mutants::run,
    ),
    (
        "algebra-mutants",
        "plant systematic faults in the update algebra and run its tests on each; never part of CI",
        algebra_mutants::run,
    ),
    (
        "bench",
        "install the peers below target/ and run the benchmarks that have some; never part of CI",
        bench::run,
    ),
    (
        "docs",
        "write the generated pages below docs/",
        documentation::run,
    ),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1);
    let Some((_, _, task)) = TASKS
        .iter()
        .find(|(task, _, _)| Some(*task) == name.as_deref())
    else {
        let mut usage = "usage: cargo xtask NAME\n".to_owned();
        for (name, about, _) in TASKS {
            usage.push_str(&format!("  {name:<15} {about}\n"));
        }
        say(&usage);
        return ExitCode::from(1);
    };
    match task() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

/// Writes to stderr; when that is gone nobody is left to tell.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Fails with every problem, one a line.
fn fail_with(check: &str, problems: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(
        problems.is_empty(),
        "{check}: {} found\n  {}",
        problems.len(),
        problems.join("\n  ")
    );
    say(&format!("{check}: ok\n"));
    Ok(())
}
