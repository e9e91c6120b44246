//! What the directory knows of one room.

use std::sync::Arc;

use epicenter_room::{RoomStatus, Seq};

use crate::log::row::Kind;
use crate::log::row_list::RowList;
use crate::log::{Extent, LogId, Usage};

/// One room.
#[derive(Debug)]
pub(in crate::log) struct RoomRecord {
    /// The log that counts.
    pub(in crate::log) log: u64,
    pub(in crate::log) status: RoomStatus,
    /// Bytes of all bodies in the log.
    pub(in crate::log) bytes: u64,
    pub(in crate::log) rows: RowList,
    pub(in crate::log) head: Head,
    /// None unless the room is deleted.
    pub(in crate::log) deleted_at: Option<u64>,
    /// A state made of this log was rejected.
    pub(in crate::log) is_quarantined: bool,
    /// Why the room can be neither read nor appended to.
    pub(in crate::log) fault: Option<Arc<str>>,
    pub(in crate::log) last_accessed_at: u64,
    /// The `last_accessed_at` that is on disk.
    pub(in crate::log) written_access: u64,
    /// The room is in `Directory::touched`.
    pub(in crate::log) is_touched: bool,
}

impl RoomRecord {
    /// A room without entries.
    pub(in crate::log) fn new(log: u64, now_ms: u64) -> Self {
        Self {
            log,
            status: RoomStatus::Live,
            bytes: 0,
            rows: RowList::new(0),
            head: Head::Beginning,
            deleted_at: None,
            is_quarantined: false,
            fault: None,
            last_accessed_at: now_ms,
            written_access: now_ms,
            is_touched: false,
        }
    }

    pub(super) fn extent(&self) -> Extent {
        let (state, state_bytes) = match self.head {
            Head::State { entry, bytes, .. } => (entry, bytes),
            _ => (0, 0),
        };
        Extent {
            log: LogId(self.log),
            status: self.status,
            last: Seq(self.rows.last_entry()),
            state: Seq(state),
            state_bytes,
            entries: self.rows.entries() - u64::from(state > 0),
            bytes: self.bytes - state_bytes,
            is_quarantined: self.is_quarantined,
            deleted_at: self.deleted_at,
            is_purged: self.head.is_purged(),
        }
    }

    /// What it adds to its owner's usage.
    pub(super) fn usage(&self) -> Usage {
        match self.status {
            RoomStatus::Live => Usage {
                rooms: 1,
                bytes: self.bytes,
            },
            RoomStatus::Absent | RoomStatus::Deleted => Usage::default(),
        }
    }

    /// When it was deleted, if it is a tombstone that still has content behind it.
    pub(super) fn full_tombstone_since(&self) -> Option<u64> {
        let has_content = !self.head.is_purged() && self.rows.len() > 1;
        self.deleted_at
            .filter(|_| self.status == RoomStatus::Deleted && has_content && self.fault.is_none())
    }
}

/// How a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::log) enum Head {
    /// With the room's first entry.
    #[default]
    Beginning,
    /// With a re-creation.
    Recreated { entry: u64 },
    /// With a state. The pending part that the compaction found lies right behind it and belongs to it; `end` is the
    /// last of them.
    State { entry: u64, end: u64, bytes: u64 },
    /// With the tombstone of a room whose content is gone.
    Purged { entry: u64 },
}

impl Head {
    /// How a log begins whose first row is this one.
    pub(in crate::log) fn of(kind: Kind, entry: u64) -> Self {
        match kind {
            Kind::State => Self::State {
                entry,
                end: entry,
                bytes: 0,
            },
            Kind::Recreated => Self::Recreated { entry },
            // A room whose first entry is its tombstone never had any content.
            Kind::Deleted if entry > 1 => Self::Purged { entry },
            _ => Self::Beginning,
        }
    }

    /// Takes in a row of the log, the first one included; false where it contradicts what the log begins with.
    #[must_use]
    pub(in crate::log) fn add(&mut self, kind: Kind, entry: u64, row_bytes: u64) -> bool {
        match (&mut *self, kind) {
            (
                Self::State {
                    entry: at, bytes, ..
                },
                Kind::State,
            ) if *at == entry => {
                *bytes += row_bytes;
                true
            }
            (Self::State { entry: at, end, .. }, Kind::Pending) => {
                if entry == *at + 1 {
                    *end = entry;
                }
                true
            }
            (_, Kind::State) => false,
            (Self::Recreated { entry: at }, Kind::Recreated) => *at == entry,
            (_, Kind::Recreated) => false,
            (Self::Purged { .. }, kind) => kind == Kind::Deleted,
            _ => true,
        }
    }

    /// The entry that stands for all before it; 0 when there is none.
    pub(in crate::log) fn entry(&self) -> u64 {
        match self {
            Self::Beginning => 0,
            Self::Recreated { entry } | Self::State { entry, .. } | Self::Purged { entry } => {
                *entry
            }
        }
    }

    /// The last entry that belongs to it.
    pub(in crate::log) fn end(&self) -> u64 {
        match self {
            Self::State { end, .. } => *end,
            other => other.entry(),
        }
    }

    pub(in crate::log) fn is_purged(&self) -> bool {
        matches!(self, Self::Purged { .. })
    }
}
