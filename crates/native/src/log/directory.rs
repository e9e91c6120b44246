//! What the log knows about every room without asking the disk: the directory and the rows of each room.
//!
//! It equals what is durable: the writer changes it after a commit and before it answers the appends of that commit.

mod kept;
mod room;

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;

use super::row_list::RowList;
use super::scan::RetiredLog;
use super::{DirectoryEntry, Extent, LogId, Usage};
pub(super) use kept::{Generation, Generations, KeptRows, Rejection, Rejections};
pub(super) use room::{Head, RoomRecord};

/// How often the time of a room's last use is written.
const TOUCH_INTERVAL_MS: u64 = 60_000;

/// All rooms.
#[derive(Debug, Default)]
pub(super) struct Directory {
    owners: HashMap<OwnerId, Owner>,
    /// A room that is not here may exist all the same.
    is_incomplete: bool,
    /// Rooms whose last use should be written with the next commit.
    touched: Vec<RoomName>,
    /// Deleted rooms whose content is still stored, by the time of their deletion.
    tombstones: BTreeSet<(u64, RoomName)>,
    pub(super) generations: Generations,
    pub(super) rejections: Rejections,
}

/// The rooms of one owner.
#[derive(Debug, Default)]
struct Owner {
    rooms: BTreeMap<RoomId, RoomRecord>,
    /// The sum over them.
    usage: Usage,
}

/// What of a room is counted elsewhere.
#[derive(Debug, Default)]
struct Counted {
    usage: Usage,
    tombstone_since: Option<u64>,
}

impl Counted {
    fn of(record: &RoomRecord) -> Self {
        Self {
            usage: record.usage(),
            tombstone_since: record.full_tombstone_since(),
        }
    }
}

impl Directory {
    pub(super) fn find(&self, room: &RoomName) -> Option<&RoomRecord> {
        self.owners.get(room.owner())?.rooms.get(room.room())
    }

    /// The rows of a log that is kept beside the one that counts, a previous generation or a rejected state: all of them,
    /// or what is wrong with it.
    pub(super) fn kept_rows(&self, log: LogId) -> Result<&RowList, String> {
        let (rows, expected) = match self.generations.find(log) {
            Some(generation) => (&generation.rows, generation.entries),
            None => {
                let rejection = self.rejections.find(log);
                let rejection = rejection.ok_or_else(|| "it is not kept any longer".to_owned())?;
                (&rejection.rows, 1)
            }
        };
        if let Some(fault) = &rows.fault {
            return Err(fault.to_string());
        }
        let found = rows.rows.entries();
        if found != expected {
            return Err(format!("it holds {found} entries of {expected}"));
        }
        Ok(&rows.rows)
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

    /// For what no sum depends on.
    fn find_mut(&mut self, room: &RoomName) -> Option<&mut RoomRecord> {
        self.owners
            .get_mut(room.owner())?
            .rooms
            .get_mut(room.room())
    }

    /// Changes a room, which is made if there is none, and everything that is counted over rooms with it.
    pub(super) fn change<T>(
        &mut self,
        room: &RoomName,
        make: impl FnOnce() -> RoomRecord,
        change: impl FnOnce(&mut RoomRecord) -> T,
    ) -> T {
        let owner = self.owners.entry(room.owner().clone()).or_default();
        let mut before = Counted::default();
        let record = match owner.rooms.entry(room.room().clone()) {
            Entry::Occupied(found) => {
                let record = found.into_mut();
                before = Counted::of(record);
                record
            }
            Entry::Vacant(place) => place.insert(make()),
        };
        let result = change(record);
        record.is_quarantined = self.rejections.has(record.log);
        let after = Counted::of(record);
        owner.usage.rooms = owner.usage.rooms + after.usage.rooms - before.usage.rooms;
        owner.usage.bytes = owner.usage.bytes + after.usage.bytes - before.usage.bytes;
        if before.tombstone_since != after.tombstone_since {
            if let Some(since) = before.tombstone_since {
                self.tombstones.remove(&(since, room.clone()));
            }
            if let Some(since) = after.tombstone_since {
                self.tombstones.insert((since, room.clone()));
            }
        }
        result
    }

    /// Marks a log, and keeps the state that was made of it.
    pub(super) fn reject(&mut self, of: u64, rejection: Rejection) {
        let room = rejection.room.clone();
        self.rejections.insert(of, rejection);
        if let Some(record) = self.find_mut(&room) {
            record.is_quarantined |= record.log == of;
        }
    }

    /// Takes out the mark of a room's log, and what was kept with it.
    pub(super) fn lift(&mut self, room: &RoomName, of: u64) -> Option<RetiredLog> {
        let rejection = self.rejections.remove(of)?;
        if let Some(record) = self.find_mut(room) {
            record.is_quarantined &= record.log != of;
        }
        Some(RetiredLog::of(rejection.log, &rejection.rows))
    }

    /// Takes out everything that is kept of a room's past.
    pub(super) fn drop_kept(&mut self, room: &RoomName) -> Vec<RetiredLog> {
        let generations = self.generations.remove_room(room);
        let rejections = self.rejections.remove_room(room);
        let generations = generations.iter().map(|(log, kept)| (*log, &kept.rows));
        let rejections = rejections.iter().map(|kept| (kept.log, &kept.rows));
        generations
            .chain(rejections)
            .map(|(log, rows)| RetiredLog::of(log, rows))
            .collect()
    }

    /// Up to `limit` rooms that were deleted before this time and still have their content, the oldest first.
    pub(super) fn old_tombstones(&self, deleted_before: u64, limit: usize) -> Vec<RoomName> {
        let old = self.tombstones.iter();
        old.take_while(|(since, _)| *since < deleted_before)
            .take(limit)
            .map(|(_, room)| room.clone())
            .collect()
    }

    /// When the oldest of the rooms was deleted that still have their content.
    pub(super) fn oldest_tombstone(&self) -> Option<u64> {
        self.tombstones.first().map(|(since, _)| *since)
    }

    /// Live rooms of an owner, sorted.
    pub(super) fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Vec<DirectoryEntry> {
        let Some(owner) = self.owners.get(owner) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rooms = &owner.rooms;
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

    /// What is durable of a room; none where that cannot be said.
    pub(super) fn extent(&self, room: &RoomName) -> Option<Extent> {
        let record = self.look_up(room).ok().flatten()?;
        Some(record.extent())
    }

    /// What an owner's live rooms amount to.
    pub(super) fn usage(&self, owner: &OwnerId) -> Usage {
        self.owners
            .get(owner)
            .map_or_else(Usage::default, |owner| owner.usage)
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
            .flat_map(|owner| owner.rooms.values())
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
        for (owner, known) in &old.owners {
            for (room, record) in &known.rooms {
                self.touch(
                    &RoomName::stored(owner.clone(), room.clone()),
                    record.last_accessed_at,
                );
            }
        }
    }
}
