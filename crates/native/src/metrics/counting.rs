//! Counters that many threads add to: relaxed atomics, read one after the other when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks. Whoever lets it rise lets it fall once, later.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    pub(crate) fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fall(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each of a fixed set of names, and one for all others, so that nothing that comes from outside can
/// become a label.
#[derive(Debug)]
pub(crate) struct Labelled<const N: usize> {
    names: [&'static str; N],
    counts: [Count; N],
    other: Count,
}

impl<const N: usize> Labelled<N> {
    pub(crate) fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            counts: std::array::from_fn(|_| Count::default()),
            other: Count::default(),
        }
    }

    pub(crate) fn add(&self, name: &str) {
        let known = self.names.iter().position(|known| *known == name);
        let count = known.and_then(|index| self.counts.get(index));
        count.unwrap_or(&self.other).add(1);
    }

    /// Every name with its count, then `other` if there were any.
    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let others = Some(self.other.read()).filter(|count| *count > 0);
        let counts = self.counts.iter().map(Count::read);
        let named = self.names.iter().copied().zip(counts);
        named.chain(others.map(|count| ("other", count)))
    }
}

/// Upper bounds of the classes of times, in microseconds: from an answer out of memory to one that hardly comes.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Times {
    classes: [Count; BOUNDS_US.len() + 1],
    total_us: Count,
}

impl Times {
    pub(crate) fn note(&self, took: Duration) {
        // What takes centuries does not end.
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.total_us.add(microseconds);
        let class = BOUNDS_US.partition_point(|bound| *bound < microseconds);
        if let Some(class) = self.classes.get(class) {
            class.add(1);
        }
    }

    pub(crate) fn read(&self) -> Histogram {
        let bounds = BOUNDS_US.map(|bound| bound as f64 / 1e6);
        let counts = self.classes.iter().map(Count::read);
        Histogram::new(&bounds, counts, self.total_us.read() as f64 / 1e6)
    }
}

/// Times as they are shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bounds in seconds, and how many fell into each class; the last has no bound.
    pub(crate) classes: Vec<(f64, u64)>,
    pub(crate) sum_seconds: f64,
}

impl Histogram {
    /// The counts are one more than the bounds.
    pub(crate) fn new(
        bounds_seconds: &[f64],
        counts: impl Iterator<Item = u64>,
        sum_seconds: f64,
    ) -> Self {
        let bounds = bounds_seconds.iter().copied();
        Self {
            classes: bounds.chain([f64::INFINITY]).zip(counts).collect(),
            sum_seconds,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.classes.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_fixed_are_counted_together() {
        let counts = Labelled::new(["a", "b"]);
        assert_eq!(counts.read().collect::<Vec<_>>(), [("a", 0), ("b", 0)]);
        for name in ["b", "room-of-ada", "b", "another"] {
            counts.add(name);
        }
        let read: Vec<_> = counts.read().collect();
        assert_eq!(read, [("a", 0), ("b", 2), ("other", 2)]);
    }

    #[test]
    fn times_fall_into_classes() {
        let times = Times::default();
        for microseconds in [0, 500, 501, 61_000_000] {
            times.note(Duration::from_micros(microseconds));
        }
        let read = times.read();
        assert_eq!(read.count(), 4);
        assert_eq!(read.classes[0], (0.0005, 2));
        assert_eq!(read.classes[1], (0.001, 1));
        assert_eq!(read.classes[14], (f64::INFINITY, 1));
        assert!((read.sum_seconds - 61.001_001).abs() < 1e-9);
    }
}
