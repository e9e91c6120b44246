//! A deterministic simulation of the rooms: state machine, gate, update algebra and registry as they ship, on a disk, a
//! network and a clock that one seed decides everything about.
//!
//! A play has a storm, in which devices edit, come and go while disk, network, process and credentials fail, and a calm,
//! in which everybody comes back. All the time: nothing is shown before it is on disk, nothing that somebody was shown is
//! ever lost, whatever is said to be saved is on disk, nothing is answered twice, a `204` or `304` keeps nothing from its caller, no queue passes its bound and a revoked
//! connection is over within a second. At the end: all copies are equal and equal to the log, presence shows who is
//! there, every call has its answer, and deserted rooms leave memory.
//!
//! The same seed gives the same play to the last event. A failure names its seed, and [`shrink`] looks for a smaller play
//! that fails as well.

mod agenda;
mod client;
mod disk;
mod document;
mod engine;
mod journal;
mod ledger;
mod log;
mod pipe;
mod plan;
mod scene;
mod socket;
mod world;

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use plan::Plan;
use scene::Scene;
pub use world::Tally;
use world::World;

/// A play that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Stands for everything that happened.
    pub hash: u64,
    /// What it was made of.
    pub tally: Tally,
}

/// A play in which something happened that must never be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was played.
    pub plan: Plan,
    /// What happened.
    pub what: String,
    /// Everything up to then, if it was to be kept.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "seed {}: {}\nhint: cargo run --release -p epicenter-testkit --example simulate -- --trace {}",
            self.plan.seed, self.what, self.plan.seed
        )
    }
}

impl std::error::Error for Failure {}

/// Whether a play keeps a line for everything that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Only its hash.
    Hashed,
    /// All of it.
    Kept,
}

/// Plays.
///
/// # Errors
/// When one of the properties does not hold, or the code under test panics.
pub fn play(plan: &Plan, trace: Trace) -> Result<Played, Box<Failure>> {
    let scene = Scene::new(plan.seed, trace == Trace::Kept);
    let panics = panics_seen();
    let stage = Arc::clone(&scene);
    let played = catch_unwind(AssertUnwindSafe(|| World::new(plan, stage).play()));
    let outcome = match played {
        // A panic that the rooms catch is one all the same.
        Ok(_) | Err(_) if panics_seen() != panics => Err("something panicked".to_owned()),
        Ok(outcome) => outcome,
        Err(_) => Err("the play panicked".to_owned()),
    };
    match outcome {
        Ok(tally) => Ok(Played {
            hash: scene.hash(),
            tally,
        }),
        Err(what) => Err(Box::new(Failure {
            plan: plan.clone(),
            what,
            trace: scene.take_lines(),
        })),
    }
}

/// Plays many seeds on some threads; returns the failures in order of their seeds, and what all plays were made of.
pub fn play_many(seeds: Range<u64>, threads: usize) -> (Tally, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new((Tally::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let played = play(&Plan::of(seed), Trace::Hashed);
                    let mut found = scene::lock(&found);
                    match played {
                        Ok(played) => found.0.add(&played.tally),
                        Err(failure) => found.1.push(*failure),
                    }
                }
            });
        }
    });
    let (tally, mut failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.plan.seed);
    (tally, failures)
}

/// Looks for a smaller play that fails too, with at most so many attempts.
pub fn shrink(failure: Failure, attempts: usize) -> Failure {
    let mut smallest = failure;
    let mut left = attempts;
    'smaller: loop {
        for plan in smallest.plan.smaller() {
            if left == 0 {
                return smallest;
            }
            left -= 1;
            if let Err(failure) = play(&plan, Trace::Hashed) {
                smallest = *failure;
                continue 'smaller;
            }
        }
        return smallest;
    }
}

thread_local! {
    static PANICS: AtomicU64 = const { AtomicU64::new(0) };
}

/// Counts this thread's panics from the first call on.
fn panics_seen() -> u64 {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.fetch_add(1, Ordering::Relaxed));
            before(info);
        }));
    });
    PANICS.with(|panics| panics.load(Ordering::Relaxed))
}
