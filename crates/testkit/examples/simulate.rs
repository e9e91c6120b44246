//! Plays simulations of the rooms: many seeds, or one with everything that happens in it.
//!
//! ```text
//! simulate --seeds 10000 [--from 0] [--threads 2]
//! simulate --trace 17
//! simulate --shrink 17
//! ```

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use epicenter_testkit::simulation::{Failure, Plan, Trace, play, play_many, shrink};

/// Smaller plays that are tried.
const ATTEMPTS: usize = 400;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut from, mut threads) = (1_000, 0, 2);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a number"))?;
        let value: u64 = value
            .parse()
            .with_context(|| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--seeds" => seeds = value,
            "--from" => from = value,
            "--threads" => threads = usize::try_from(value)?,
            "--trace" => return show(&Plan::of(value)),
            "--shrink" => {
                let Err(failure) = play(&Plan::of(value), Trace::Hashed) else {
                    bail!("seed {value} does not fail");
                };
                return show(&shrink(*failure, ATTEMPTS).plan);
            }
            _ => bail!("unknown: {name}"),
        }
    }
    let begin = Instant::now();
    let (tally, failures) = play_many(from..from + seeds, threads);
    for failure in &failures {
        writeln!(stdout(), "{failure}")?;
    }
    let took = begin.elapsed().as_secs_f64();
    writeln!(
        stdout(),
        "{seeds} seeds from {from}, {} failed, {took:.1} s: {tally:?}",
        failures.len()
    )?;
    Ok(ExitCode::from(u8::from(!failures.is_empty())))
}

/// Plays one plan and writes everything that happens.
fn show(plan: &Plan) -> anyhow::Result<ExitCode> {
    writeln!(stderr(), "{plan:?}")?;
    match play(plan, Trace::Kept) {
        Ok(played) => {
            writeln!(stdout(), "seed {}: well, {played:?}", plan.seed)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            let Failure { trace, what, .. } = *failure;
            for line in trace {
                writeln!(stdout(), "{line}")?;
            }
            writeln!(stdout(), "seed {}: {what}", plan.seed)?;
            Ok(ExitCode::FAILURE)
        }
    }
}
