//! What the log has done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes of commit times, in nanoseconds: from a fast disk's fsync to one in deep trouble.
pub const COMMIT_TIME_BOUNDS_NS: [u64; 13] = [
    250_000,
    500_000,
    1_000_000,
    2_000_000,
    4_000_000,
    8_000_000,
    16_000_000,
    32_000_000,
    64_000_000,
    128_000_000,
    256_000_000,
    1_000_000_000,
    4_000_000_000,
];

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Commits that carried appends.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
    /// How long they took.
    pub commit_times: CommitTimes,
    /// Commits that failed, with every append in them.
    pub failed_commits: u64,
    /// Reads that failed.
    pub read_faults: u64,
    /// Bytes waiting for the disk now.
    pub queued_bytes: usize,
    /// Logs that were replaced by a state.
    pub replaced: u64,
    /// Replacements that came too late.
    pub stale_replacements: u64,
    /// Replacements that the storage refused.
    pub failed_replacements: u64,
    /// States that did not equal their log.
    pub rejected: u64,
    /// Previous generations that are kept now.
    pub generations: u64,
    /// Bytes of their entries.
    pub generation_bytes: u64,
    /// Rejected states that are kept now.
    pub rejections: u64,
    /// Deleted rooms that lost their content.
    pub purged_rooms: u64,
    /// Rows that no longer count and are still to be deleted.
    pub purge_backlog: u64,
}

/// Times of commits, from the start of the transaction to the end of its fsync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// That of the last one, in nanoseconds.
    pub last_ns: u64,
    /// The sum over all, in nanoseconds.
    pub total_ns: u64,
    /// How many took at most the time of [`COMMIT_TIME_BOUNDS_NS`] and more than the one before; the last class is for
    /// those that took longer than all of them.
    pub classes: [u64; COMMIT_TIME_BOUNDS_NS.len() + 1],
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) failed_commits: AtomicU64,
    pub(super) read_faults: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) stale_replacements: AtomicU64,
    pub(super) failed_replacements: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) purged_rooms: AtomicU64,
    pub(super) purge_backlog: AtomicU64,
    last_ns: AtomicU64,
    total_ns: AtomicU64,
    classes: [AtomicU64; COMMIT_TIME_BOUNDS_NS.len() + 1],
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// A commit of appends took so long.
    pub(super) fn note_commit(&self, rows: usize, took: Duration) {
        Self::add(&self.commits, 1);
        Self::add(&self.rows, rows as u64);
        // A commit that takes centuries does not end.
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(nanoseconds, Ordering::Relaxed);
        Self::add(&self.total_ns, nanoseconds);
        let class = COMMIT_TIME_BOUNDS_NS.partition_point(|bound| *bound < nanoseconds);
        if let Some(class) = self.classes.get(class) {
            Self::add(class, 1);
        }
    }

    /// Everything but what the queue and the directory know.
    pub(super) fn read(&self) -> LogStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            commits: read(&self.commits),
            rows: read(&self.rows),
            commit_times: CommitTimes {
                last_ns: read(&self.last_ns),
                total_ns: read(&self.total_ns),
                classes: std::array::from_fn(|class| self.classes.get(class).map_or(0, read)),
            },
            failed_commits: read(&self.failed_commits),
            read_faults: read(&self.read_faults),
            replaced: read(&self.replaced),
            stale_replacements: read(&self.stale_replacements),
            failed_replacements: read(&self.failed_replacements),
            rejected: read(&self.rejected),
            purged_rooms: read(&self.purged_rooms),
            purge_backlog: read(&self.purge_backlog),
            ..LogStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_times_fall_into_classes() {
        let counters = Counters::default();
        for nanoseconds in [1, 250_000, 250_001, 5_000_000_000] {
            counters.note_commit(2, Duration::from_nanos(nanoseconds));
        }
        let stats = counters.read();
        assert_eq!((stats.commits, stats.rows), (4, 8));
        let times = stats.commit_times;
        assert_eq!(times.last_ns, 5_000_000_000);
        assert_eq!(times.total_ns, 5_000_500_002);
        assert_eq!(
            (times.classes[0], times.classes[1], times.classes[13]),
            (2, 1, 1)
        );
        assert_eq!(times.classes.iter().sum::<u64>(), 4);
    }
}
