//! What compaction asks of the log: what there is to compact, the swap, and what is kept for the case of a mistake.
//!
//! A replacement is one transaction: a new log with one state entry, behind it copies of the entries that the state does
//! not cover, under their old numbers. A crash leaves the old log or the new one, whole. The old one is kept for a while
//! as a previous generation.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{RoomStatus, Seq};

/// Number of a stored log; a room gets a new one when it is re-created or compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How much the log holds of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The log that counts now.
    pub log: LogId,
    /// Whether the room exists now.
    pub status: RoomStatus,
    /// The last durable entry.
    pub last: Seq,
    /// The entry that stands for all before it; 0 when there is none.
    pub state: Seq,
    /// Its bytes.
    pub state_bytes: u64,
    /// Entries after it.
    pub entries: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// A compaction of this log was rejected; it is left alone until `doctor` has looked.
    pub is_quarantined: bool,
    /// When the room was deleted, in milliseconds since the Unix epoch; none unless its status says so.
    pub deleted_at: Option<u64>,
    /// A deleted room whose content is gone for good: it can be re-created, not restored.
    pub is_purged: bool,
}

/// What an owner's live rooms amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub rooms: u64,
    /// Bytes of the entries in their logs.
    pub bytes: u64,
}

/// One state in place of all entries up to a number.
#[derive(Debug)]
pub struct Replacement {
    /// The room.
    pub room: RoomName,
    /// The log that the state was made of.
    pub log: LogId,
    /// The last entry that went into the state.
    pub upto: Seq,
    /// The visible document.
    pub ready: Bytes,
    /// What waits for something; it takes the number `upto`, and the state the one before.
    pub pending: Option<Bytes>,
    /// Where the result goes.
    pub done: ReplaceDone,
}

/// Receives the result of a replacement exactly once, after the fsync of its commit.
///
/// Called from the writer's thread, or by [`Log::replace`](super::Log::replace) itself when the log has stopped. It must
/// not block.
pub struct ReplaceDone(pub Box<dyn FnOnce(Result<(), ReplaceError>) + Send>);

impl fmt::Debug for ReplaceDone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReplaceDone")
    }
}

/// Why a log was not replaced; it is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplaceError {
    /// The state was made of a log that no longer counts, of a room that no longer lives, or so long ago that too much
    /// has been appended since. Another attempt begins by reading the log again.
    #[error("the room has changed since its state was made")]
    Stale,
    /// The storage, or the room's log itself, is at fault.
    #[error("the log was not replaced: {0}")]
    Failed(Arc<str>),
}

/// A state that must not replace its log.
#[derive(Debug)]
pub struct Rejected {
    /// The room.
    pub room: RoomName,
    /// The log that the state was made of.
    pub log: LogId,
    /// The last entry that went into it.
    pub upto: Seq,
    /// The state.
    pub ready: Bytes,
    /// What is wrong, for whoever runs the hub.
    pub reason: String,
}

/// A log that was replaced and is still kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGeneration {
    /// Its number.
    pub log: LogId,
    /// The last entry that its replacement covers.
    pub upto: Seq,
    /// How many entries it holds.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub replaced_at: u64,
}

/// A state that was rejected and is kept for whoever looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRejection {
    /// The log that holds the state.
    pub log: LogId,
    /// The log that it was made of.
    pub of: LogId,
    /// The last entry that went into it.
    pub upto: Seq,
    /// Its bytes.
    pub bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub rejected_at: u64,
    /// What is wrong with it.
    pub reason: String,
}
