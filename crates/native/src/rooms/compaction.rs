//! Compaction: a room's log becomes one state, with what was deleted collected (`sync.md` 3.6).
//!
//! When: after a load that had much to merge, some time after the last connection has closed, and while the room is
//! busy, once what was appended since the last time outweighs the state. So the work is a constant part of that of
//! writing, and a cold open costs the state and a bounded rest, however long the room's history is.
//!
//! How: the log is read anew, not taken from the cache, and merged. The bytes that come out are decoded once more and must
//! have the same content digest as the merge, and the same clocks and deletions as the rows of the log, which were read
//! one by one (`holdings`). Only then the log swaps, in one transaction; what was appended meanwhile stays behind the
//! state. A state that differs is kept for a human beside the log, which goes on as it was.

mod holdings;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Millis, RoomStatus, Seq};
use epicenter_update::{Collect, Update, compact};

use super::state::{MergedState, STORED, StateError};
use crate::log::{
    Extent, Log, LogId, Rejected, ReplaceDone, ReplaceError, Replacement, StoredRoom,
};
use holdings::{Holdings, Mismatch};

/// When rooms are compacted, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Whether deleted content goes (`update.md`, rule 3), or updates are only merged.
    pub collect: Collect,
    /// Entries since the last state, at which a room that is read from the log is compacted. 256.
    pub load_entries: usize,
    /// Entries since the last state, at which a busy room is compacted. 4,096.
    pub busy_entries: usize,
    /// Bytes since the last state, at which a busy room is compacted if they also outweigh that state. 1 MiB.
    pub busy_bytes: usize,
    /// How long after its last connection has closed a room is compacted, in milliseconds. 30,000.
    pub after_close_ms: u64,
    /// Entries since the last state that are worth a compaction after the last close. 8.
    pub close_entries: usize,
    /// How long a room waits after a compaction that did not succeed, in milliseconds. 60,000.
    pub retry_ms: u64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            collect: Collect::Deleted,
            load_entries: 256,
            busy_entries: 4_096,
            busy_bytes: 1 << 20,
            after_close_ms: 30_000,
            close_entries: 8,
            retry_ms: 60_000,
        }
    }
}

/// How a compaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The log now begins with this state.
    Done(MergedState),
    /// Nothing to gain: the room is absent, deleted, or as small as it gets.
    Useless,
    /// Not this time.
    Failed,
}

/// What has come to a room's log since it was last one state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    entries: u64,
    bytes: u64,
    state_bytes: u64,
    is_quarantined: bool,
}

impl Growth {
    fn of(extent: &Extent) -> Self {
        Self {
            entries: extent.entries,
            bytes: extent.bytes,
            state_bytes: extent.state_bytes,
            is_quarantined: extent.is_quarantined,
        }
    }

    pub(super) fn add(&mut self, entries: usize, bytes: usize) {
        self.entries = self.entries.saturating_add(entries as u64);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// What waits for something is stored behind the state that a compaction made, and is no growth: otherwise a room in which
    /// it outweighs the rest would be compacted for ever.
    fn without_waiting(self, bytes: u64) -> Self {
        Self {
            entries: self.entries.saturating_sub(u64::from(bytes > 0)),
            bytes: self.bytes.saturating_sub(bytes),
            state_bytes: self.state_bytes.saturating_add(bytes.min(self.bytes)),
            ..self
        }
    }

    /// Bytes of the whole log.
    pub(super) fn all_bytes(&self) -> u64 {
        self.state_bytes.saturating_add(self.bytes)
    }

    fn outweighs_state(&self) -> bool {
        self.bytes >= self.state_bytes
    }

    pub(super) fn is_due_after_load(&self, config: &CompactionConfig) -> bool {
        !self.is_quarantined && self.entries >= config.load_entries as u64
    }

    pub(super) fn is_due_while_busy(&self, config: &CompactionConfig) -> bool {
        let is_long =
            self.entries >= config.busy_entries as u64 || self.bytes >= config.busy_bytes as u64;
        !self.is_quarantined && is_long && self.outweighs_state()
    }

    pub(super) fn is_due_after_close(&self, config: &CompactionConfig) -> bool {
        !self.is_quarantined && self.entries >= config.close_entries as u64
    }
}

/// The compactions of one room.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) is_running: bool,
    /// Not before this time.
    pub(super) not_before: Millis,
    /// The log that the last one made, and the bytes that wait in it for something.
    left: Option<(LogId, u64)>,
}

impl Progress {
    /// This state has become the beginning of a log.
    pub(super) fn done(&mut self, log: LogId, state: &MergedState) {
        let waiting = state.pending().map_or(0, Bytes::len);
        self.left = Some((log, waiting as u64));
    }

    /// What there is to compact in a log.
    pub(super) fn growth(&self, extent: &Extent) -> Growth {
        let growth = Growth::of(extent);
        match self.left {
            Some((log, waiting)) if log == extent.log => growth.without_waiting(waiting),
            _ => growth,
        }
    }
}

/// Compacts a room and tells how it ended, exactly once. Blocks, and uses several times the document's size in memory.
pub(super) fn run(
    log: &Arc<dyn Log>,
    room: &RoomName,
    collect: Collect,
    tell: impl FnOnce(Outcome) + Send + 'static,
) {
    run_with(log, room, |stored| compacted(stored, collect), tell);
}

/// The same with another way to compact.
fn run_with(
    log: &Arc<dyn Log>,
    room: &RoomName,
    compactor: impl FnOnce(StoredRoom) -> Result<Compacted, StateError>,
    tell: impl FnOnce(Outcome) + Send + 'static,
) {
    let made = catch_unwind(AssertUnwindSafe(|| make(log.as_ref(), room, compactor)))
        .unwrap_or(Err(StateError::Panicked));
    let made = match made {
        Ok(Some(made)) => made,
        Ok(None) => return tell(Outcome::Useless),
        Err(error) => {
            tracing::error!(room.name = %room, error = &error as &dyn std::error::Error, "a room cannot be compacted; its log stays as it is");
            return tell(Outcome::Failed);
        }
    };
    let Made {
        log: compacted_log,
        upto,
        ready,
        pending,
        mismatch,
    } = made;
    if let Some(mismatch) = mismatch {
        // The log tells whoever runs the hub.
        log.quarantine(Rejected {
            room: room.clone(),
            log: compacted_log,
            upto,
            ready,
            reason: mismatch.to_string(),
        });
        return tell(Outcome::Failed);
    }
    let state = MergedState::compacted(upto, ready.clone(), pending.clone());
    let name = room.clone();
    log.replace(Replacement {
        room: room.clone(),
        log: compacted_log,
        upto,
        ready,
        pending,
        done: ReplaceDone(Box::new(move |replaced| {
            tell(match replaced {
                Ok(()) => Outcome::Done(state),
                Err(ReplaceError::Stale) => Outcome::Failed,
                Err(ReplaceError::Failed(reason)) => {
                    tracing::warn!(room.name = %name, error = %reason, "a compacted room could not be stored; its log stays as it is");
                    Outcome::Failed
                }
            });
        })),
    });
}

/// What a log comes to.
struct Compacted {
    /// The merge of its ready rows.
    merged: Bytes,
    /// The same without deleted content.
    ready: Bytes,
    /// What waits for something.
    pending: Option<Bytes>,
}

fn compacted(stored: StoredRoom, collect: Collect) -> Result<Compacted, StateError> {
    let mut merged = MergedState::empty();
    merged.extend(stored)?;
    let whole = Update::parse(merged.ready(), &STORED)?;
    Ok(Compacted {
        ready: compact(&whole, collect).into(),
        merged: merged.ready().clone(),
        pending: merged.pending().cloned(),
    })
}

/// What is to replace a log.
struct Made {
    log: LogId,
    upto: Seq,
    ready: Bytes,
    pending: Option<Bytes>,
    /// Why it must not.
    mismatch: Option<Mismatch>,
}

fn make(
    log: &dyn Log,
    room: &RoomName,
    compactor: impl FnOnce(StoredRoom) -> Result<Compacted, StateError>,
) -> Result<Option<Made>, StateError> {
    let stored = log.read(room, Seq(0), None)?;
    if stored.status != RoomStatus::Live {
        return Ok(None);
    }
    let (from, upto) = (stored.log, stored.last);
    let held = Holdings::of(&stored)?;
    let compacted = compactor(stored)?;
    Ok(Some(Made {
        log: from,
        upto,
        mismatch: held.check(&compacted).err(),
        ready: compacted.ready,
        pending: compacted.pending,
    }))
}

#[cfg(test)]
mod tests;
