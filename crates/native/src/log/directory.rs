//! What the log knows about every room without asking the disk: the directory and the rows of each room.
//!
//! It equals what is durable: the writer changes it after a commit and before it answers the appends of that commit.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;

use super::DirectoryEntry;
use super::row_list::RowList;

/// How often the time of a room's last use is written.
const TOUCH_INTERVAL_MS: u64 = 60_000;

/// One room.
#[derive(Debug)]
pub(super) struct RoomRecord {
    /// The log that counts.
    pub(super) log: u64,
    pub(super) status: RoomStatus,
    /// Bytes of all bodies in the log.
    pub(super) bytes: u64,
    pub(super) rows: RowList,
    /// Why the room can be neither read nor appended to.
    pub(super) fault: Option<Arc<str>>,
    pub(super) last_accessed_at: u64,
    /// The `last_accessed_at` that is on disk.
    pub(super) written_access: u64,
    /// The room is in `Directory::touched`.
    pub(super) is_touched: bool,
}

impl RoomRecord {
    /// A room without entries.
    pub(super) fn new(log: u64, now_ms: u64) -> Self {
        Self {
            log,
            status: RoomStatus::Live,
            bytes: 0,
            rows: RowList::new(0),
            fault: None,
            last_accessed_at: now_ms,
            written_access: now_ms,
            is_touched: false,
        }
    }
}

/// All rooms.
#[derive(Debug, Default)]
pub(super) struct Directory {
    owners: HashMap<OwnerId, BTreeMap<RoomId, RoomRecord>>,
    /// A room that is not here may exist all the same.
    is_incomplete: bool,
    /// Rooms whose last use should be written with the next commit.
    touched: Vec<RoomName>,
}

impl Directory {
    pub(super) fn find(&self, room: &RoomName) -> Option<&RoomRecord> {
        self.owners.get(room.owner())?.get(room.room())
    }

    /// The room, or proof that there is none, or why neither can be said.
    pub(super) fn look_up(&self, room: &RoomName) -> Result<Option<&RoomRecord>, Arc<str>> {
        match self.find(room) {
            Some(RoomRecord {
                fault: Some(fault), ..
            }) => Err(Arc::clone(fault)),
            None if self.is_incomplete => {
                Err("the room directory is damaged, and the room may be one that it lost".into())
            }
            found => Ok(found),
        }
    }

    /// Lines of the stored directory are lost.
    pub(super) fn mark_incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// Whether rooms may exist that are not here.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    pub(super) fn find_mut(&mut self, room: &RoomName) -> Option<&mut RoomRecord> {
        self.owners.get_mut(room.owner())?.get_mut(room.room())
    }

    pub(super) fn find_or_insert(
        &mut self,
        room: &RoomName,
        record: impl FnOnce() -> RoomRecord,
    ) -> &mut RoomRecord {
        self.owners
            .entry(room.owner().clone())
            .or_default()
            .entry(room.room().clone())
            .or_insert_with(record)
    }

    pub(super) fn insert(&mut self, room: &RoomName, record: RoomRecord) {
        self.owners
            .entry(room.owner().clone())
            .or_default()
            .insert(room.room().clone(), record);
    }

    /// Live rooms of an owner, sorted.
    pub(super) fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Vec<DirectoryEntry> {
        let Some(rooms) = self.owners.get(owner) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        rooms
            .range::<RoomId, _>((start, Bound::Unbounded))
            .filter(|(_, record)| record.status == RoomStatus::Live)
            .take(limit)
            .map(|(room, record)| DirectoryEntry {
                room: room.clone(),
                storage_bytes: record.bytes,
                last_accessed_at: record.last_accessed_at,
            })
            .collect()
    }

    pub(super) fn touch(&mut self, room: &RoomName, now_ms: u64) {
        let Some(record) = self.find_mut(room) else {
            return;
        };
        record.last_accessed_at = record.last_accessed_at.max(now_ms);
        let is_due =
            record.last_accessed_at >= record.written_access.saturating_add(TOUCH_INTERVAL_MS);
        if is_due && !record.is_touched {
            record.is_touched = true;
            self.touched.push(room.clone());
        }
    }

    /// Up to `limit` uses that are due, as (room, log, time). They stay due until `note_access_written`.
    pub(super) fn due_accesses(&self, limit: usize) -> Vec<(RoomName, u64, u64)> {
        let due = self.touched.iter().take(limit);
        due.filter_map(|room| {
            let record = self.find(room)?;
            Some((room.clone(), record.log, record.last_accessed_at))
        })
        .collect()
    }

    /// Every use that is not on disk, due or not, as (log, time).
    pub(super) fn unwritten_accesses(&self) -> Vec<(u64, u64)> {
        self.owners
            .values()
            .flat_map(BTreeMap::values)
            .filter(|record| record.last_accessed_at > record.written_access)
            .map(|record| (record.log, record.last_accessed_at))
            .collect()
    }

    /// The first `written` due uses are on disk.
    pub(super) fn note_accesses_written(&mut self, written: Vec<(RoomName, u64, u64)>) {
        self.touched.drain(..written.len().min(self.touched.len()));
        for (room, _, at) in written {
            if let Some(record) = self.find_mut(&room) {
                record.written_access = at;
                record.is_touched = false;
            }
        }
    }

    /// Takes over what only memory knows from the directory that this one replaces.
    pub(super) fn inherit_accesses(&mut self, old: &Self) {
        for (owner, rooms) in &old.owners {
            for (room, record) in rooms {
                self.touch(
                    &RoomName::stored(owner.clone(), room.clone()),
                    record.last_accessed_at,
                );
            }
        }
    }
}
