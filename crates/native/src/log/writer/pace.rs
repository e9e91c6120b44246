//! When the next commit may begin.
//!
//! A commit costs some 100 µs of a processor however little it carries, so what arrives close together should share one.
//! A slow disk sees to that by itself: while it syncs, the next appends gather. On a disk that syncs in a fraction of a
//! millisecond every append would have a commit of its own, up to thousands in a second. There the writer lets
//! [`DISTANCE`] pass from the beginning of one commit to the beginning of the next: an append that comes after a pause is
//! written at once, one in a stream waits for half of it on average.
//! Where hardly anything would come in that time, waiting spares nothing; where appends come so quickly that they gather
//! without it, nothing waits either.

use std::time::{Duration, Instant};

/// From the beginning of one commit to the beginning of the next, unless appends gather by themselves.
const DISTANCE: Duration = Duration::from_millis(10);
/// Appends that arrive in [`DISTANCE`], on average, from which on waiting is worth it.
const COMPANY: f64 = 1.5;
/// Appends that arrive while a commit is written, on average, from which on they gather by themselves.
const GATHERED: f64 = 0.5;
/// How far the average rate looks back.
const MEMORY: Duration = Duration::from_millis(100);
/// What the shortest time grows by with each commit, so that a disk that has become slow is noticed after some hundred.
const FORGETTING: f64 = 1.02;

/// What the writer has seen of its own commits.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last_began: Option<Instant>,
    /// Appends a second.
    rate: f64,
    /// How long a commit takes of which nothing but the disk takes part, in seconds: the shortest, forgotten slowly, as a
    /// busy machine makes many longer than they need be.
    time: f64,
}

impl Pace {
    /// A commit of so many appends took this long.
    pub(super) fn note(&mut self, appends: usize, began: Instant, took: Duration) {
        let appends = appends as f64;
        let took = took.as_secs_f64();
        let Some(last_began) = self.last_began.replace(began) else {
            self.time = took;
            return;
        };
        self.time = took.min(self.time * FORGETTING);
        let since = began.saturating_duration_since(last_began).as_secs_f64();
        if since == 0.0 {
            return;
        }
        // Of an average over a time, each moment counts the less the longer ago it was.
        let weight = 1.0 - (-since / MEMORY.as_secs_f64()).exp();
        self.rate += weight * (appends / since - self.rate);
    }

    /// Until when the next commit should wait for company, if at all.
    pub(super) fn not_before(&self) -> Option<Instant> {
        let gathers = self.rate * self.time >= GATHERED;
        let has_company = self.rate * DISTANCE.as_secs_f64() >= COMPANY;
        self.last_began
            .filter(|_| has_company && !gathers)
            .and_then(|began| began.checked_add(DISTANCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// A second of commits, each of so many appends, `apart` from beginning to beginning.
    fn after_a_second(appends: usize, apart: Duration, took: Duration) -> (Pace, Instant) {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        let count = micros(1_000_000).as_micros() / apart.as_micros();
        for _ in 0..count {
            now += apart;
            pace.note(appends, now, took);
        }
        (pace, now)
    }

    #[test]
    fn the_first_commit_waits_for_nothing() {
        assert_eq!(Pace::default().not_before(), None);
    }

    #[test]
    fn on_a_fast_disk_commits_keep_their_distance() {
        // A thousand appends a second, alone or in tens, and two hundred in pairs.
        for (appends, apart) in [
            (1, micros(1_000)),
            (10, micros(10_000)),
            (2, micros(10_000)),
        ] {
            let (pace, last_began) = after_a_second(appends, apart, micros(150));
            assert_eq!(pace.not_before(), Some(last_began + DISTANCE));
        }
    }

    #[test]
    fn an_append_after_a_pause_finds_the_distance_kept() {
        let (pace, last_began) = after_a_second(10, micros(20_000), micros(150));
        let next = last_began + micros(20_000);
        assert!(pace.not_before().is_some_and(|at| at < next));
    }

    #[test]
    fn who_would_wait_alone_does_not_wait() {
        for apart in [micros(50_000), micros(10_000), micros(8_000)] {
            let (pace, _) = after_a_second(1, apart, micros(150));
            assert_eq!(pace.not_before(), None);
        }
    }

    #[test]
    fn what_gathers_by_itself_waits_for_nothing() {
        // A slow disk, and a fast one under much load.
        for (appends, apart, took) in [
            (5, micros(5_000), micros(5_000)),
            (1, micros(150), micros(140)),
            (80, micros(10_000), micros(150)),
        ] {
            let (pace, _) = after_a_second(appends, apart, took);
            assert_eq!(pace.not_before(), None);
        }
    }

    #[test]
    fn a_busy_machine_is_not_taken_for_a_slow_disk() {
        let (mut pace, mut now) = after_a_second(1, micros(1_000), micros(150));
        for round in 0..20 {
            now += micros(10_000);
            pace.note(10, now, micros(if round % 5 == 0 { 150 } else { 5_000 }));
        }
        assert_eq!(pace.not_before(), Some(now + DISTANCE));
    }

    #[test]
    fn a_disk_that_becomes_slow_is_noticed() {
        let (mut pace, mut now) = after_a_second(1, micros(1_000), micros(150));
        for _ in 0..200 {
            now += micros(5_000);
            pace.note(5, now, micros(5_000));
        }
        assert_eq!(pace.not_before(), None);
    }

    #[test]
    fn commits_at_the_same_moment_do_no_harm() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for _ in 0..3 {
            pace.note(1, now, Duration::ZERO);
        }
        assert!(pace.rate.is_finite() && pace.last_began == Some(now));
    }
}
