//! The room log: everything that rooms must not forget, and the port through which rooms use it.
//!
//! A room hands over numbered entries with [`Log::append`] and goes on; the log answers each append once, after the
//! fsync of the commit that carries it. Rooms release what others may see on that answer only. [`SqliteLog`] is the
//! log that ships: one database for all rooms, one writer thread, one commit for every append that arrived meanwhile.
//!
//! Invariants: the appends of one room are written in the order in which they were handed over; a reader sees durable
//! entries only; once an append of a room's generation has failed, every later one of that generation fails as well,
//! because it may depend on the lost one.

mod compaction;
mod directory;
pub(crate) mod export;
#[cfg(test)]
mod failpoint;
mod queue;
mod reader;
mod row;
mod row_list;
mod scan;
mod schema;
mod sqlite;
mod stage;
mod statements;
mod stats;
mod writer;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::{Append, RoomStatus, Seq};

pub use compaction::{
    Extent, LogId, Rejected, ReplaceDone, ReplaceError, Replacement, StoredGeneration,
    StoredRejection, Usage,
};
pub use sqlite::{LogConfig, SqliteLog};
pub use stats::{COMMIT_TIME_BOUNDS_NS, CommitTimes, LogStats};

/// The version of the schema of `rooms.db` that this program writes.
pub(crate) fn schema_version() -> u32 {
    schema::VERSION
}

/// Tells the lives of a room in memory apart. A later life of a room has a higher number, for as long as the process
/// runs; appends of a generation that failed once all fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// One append on its way to the disk.
#[derive(Debug)]
pub struct AppendRequest {
    /// The room.
    pub room: RoomName,
    /// Which life of it.
    pub generation: Generation,
    /// The entries; the first one continues the room's log without a gap.
    pub append: Append,
    /// Where the result goes.
    pub done: AppendDone,
}

/// Receives the result of an append exactly once: `Ok` with the last entry's number after the fsync of its commit.
///
/// Called from the writer's thread, or by [`Log::append`] itself when the log has stopped. It must not block.
pub struct AppendDone(pub Box<dyn FnOnce(Result<Seq, AppendError>) + Send>);

impl fmt::Debug for AppendDone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AppendDone")
    }
}

/// Why an append failed. The log has written the details of a storage failure to the process's log, once per commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("append failed: {0}")]
pub struct AppendError(pub Arc<str>);

/// What the log holds of one room.
#[derive(Debug, Default)]
pub struct StoredRoom {
    /// Whether the room exists now.
    pub status: RoomStatus,
    /// The last entry considered; 0 when there is none.
    pub last: Seq,
    /// Whatever a caller read of the room before is void: an entry that replaces all before it (a state, or a
    /// `Recreated`) lies after `after`.
    pub is_reset: bool,
    /// The state that stands for all before it, if it is read, then `Ready` entries, in order.
    pub ready: Vec<Bytes>,
    /// `Pending` entries likewise.
    pub pending: Vec<Bytes>,
    /// Which log of the room this is.
    pub log: LogId,
}

/// A room's log cannot be read; names the room and, where one is to blame, the row.
#[derive(Debug, thiserror::Error)]
#[error("room log cannot be read: {0}")]
pub struct ReadError(pub String);

/// One line of the room directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The room within its owner.
    pub room: RoomId,
    /// Bytes of the entries its log holds.
    pub storage_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub last_accessed_at: u64,
}

/// The log as rooms see it. [`SqliteLog`] is the one that ships; tests wrap it to delay and fail.
pub trait Log: Send + Sync + 'static {
    /// Queues an append; the order of one room's appends is kept. Never blocks: what bounds the queue is that rooms
    /// stop reading their inbox while [`Log::is_full`] holds or too many of their own bytes wait for the disk.
    fn append(&self, request: AppendRequest);

    /// Reads the entries numbered `after < n <= upto`; `upto` `None` means all durable ones. Blocks: call it from a
    /// blocking thread.
    ///
    /// When entries after `after` have been replaced by a state, the state and the pending part that belongs to it are
    /// read, even where `upto` lies before them: [`StoredRoom::last`] says how far the answer goes.
    ///
    /// # Errors
    /// When the disk fails or a row is missing or damaged. Other rooms are not affected.
    fn read(&self, room: &RoomName, after: Seq, upto: Option<Seq>)
    -> Result<StoredRoom, ReadError>;

    /// Live rooms of an owner with ids after `after`, sorted by id.
    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry>;

    /// Remembers that the room was used; written with a later commit, at most once a minute per room, or at shutdown.
    fn touch(&self, room: &RoomName, now_ms: u64);

    /// What is durable of a room, from memory. None for a room that was never created, and for one whose log is damaged.
    fn extent(&self, room: &RoomName) -> Option<Extent>;

    /// Queues the replacement of a room's entries by one state; counts in the queue's bytes. Never blocks.
    ///
    /// It may take effect after appends that were handed over later; they keep their numbers.
    fn replace(&self, replacement: Replacement);

    /// Keeps a state that does not equal the log it was made of, for `doctor`, and marks that log, so that it is not
    /// compacted again. Never blocks; a failure is logged.
    fn quarantine(&self, rejected: Rejected);

    /// What the live rooms of an owner amount to, from memory, in constant time.
    fn usage(&self, owner: &OwnerId) -> Usage;

    /// Whether the thread that answers appends has other things to do than what an answer leads to. Asked from within an
    /// answer.
    fn is_busy(&self) -> bool {
        true
    }

    /// Whether so many bytes wait for the disk that rooms should stop reading.
    fn is_full(&self) -> bool {
        false
    }

    /// Calls `wake` once as soon as the log is not full, at once if it is not. It must not block.
    fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        wake();
    }
}
