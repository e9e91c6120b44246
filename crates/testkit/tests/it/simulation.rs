//! The rooms under one seed's disk, network and clock (`epicenter_testkit::simulation`).

use epicenter_testkit::simulation::{Plan, Trace, play, play_many};

/// Optimised code plays these in half a minute (`cargo test --release`); a run for every change has to be short.
const SEEDS: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };
const THREADS: usize = 2;
/// Failures that are shown.
const SHOWN: usize = 10;

#[test]
fn no_seed_loses_what_was_seen_or_keeps_anybody_waiting() {
    let (tally, failures) = play_many(0..SEEDS, THREADS);
    let shown: Vec<String> = failures
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {SEEDS} seeds failed:\n{}",
        failures.len(),
        shown.join("\n")
    );
    // A simulation in which little happens proves nothing.
    assert!(tally.edits > 50 * SEEDS, "{tally:?}");
    assert!(tally.connections > 10 * SEEDS, "{tally:?}");
    assert!(tally.processes > SEEDS, "{tally:?}");
}

#[test]
fn the_same_seed_is_the_same_play() {
    for seed in 0..25 {
        let plan = Plan::of(seed);
        let first = play(&plan, Trace::Hashed);
        let second = play(&plan, Trace::Kept);
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second, "seed {seed}"),
            (Err(failure), _) | (_, Err(failure)) => panic!("{failure}"),
        }
    }
}
