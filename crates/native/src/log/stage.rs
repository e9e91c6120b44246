//! What one commit will change, worked out in memory before the disk is touched.
//!
//! Staging checks that every append continues its room's log exactly, gives each part its row, and keeps the changes of
//! each room together. After the commit `Stage::publish` makes the directory say the same; if the commit fails, the
//! stage is dropped and the directory has never changed.

mod room;

use std::collections::HashMap;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Append, Entry, RoomStatus, Seq};

use super::directory::{Directory, KeptRows, Rejection, RoomRecord};
use super::row::{self, Header, Kind};
use super::row_list::RowList;
use super::scan::RetiredLog;
use super::{AppendError, Rejected};
pub(super) use room::{Fate, KeptLog, StagedRoom};

/// One row to be written.
#[derive(Debug)]
pub(super) struct StagedRow<'a> {
    pub(super) row: u64,
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// A room's new log, worked out by whoever has read the old one.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) upto: Seq,
    pub(super) ready: Bytes,
    pub(super) pending: Option<Bytes>,
    /// The entries after `upto`.
    pub(super) copies: Vec<(Kind, Bytes)>,
}

/// A rejected state with the log that it gets.
#[derive(Debug)]
pub(super) struct StagedRejection<'a> {
    pub(super) rejected: &'a Rejected,
    pub(super) log: u64,
    rows: Vec<(u64, bool)>,
}

/// A commit in the making.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) rows: Vec<StagedRow<'a>>,
    pub(super) rooms: HashMap<&'a RoomName, StagedRoom>,
    pub(super) rejections: Vec<StagedRejection<'a>>,
    pub(super) next_row: u64,
    pub(super) next_log: u64,
    pub(super) epoch: u64,
    pub(super) now_ms: u64,
    first_log: u64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(next_row: u64, next_log: u64, epoch: u64, now_ms: u64) -> Self {
        Self {
            rows: Vec::new(),
            rooms: HashMap::new(),
            rejections: Vec::new(),
            next_row,
            next_log,
            epoch,
            now_ms,
            first_log: next_log,
        }
    }

    /// Adds an append and returns the number of its last entry. A refused append leaves the stage as it was.
    pub(super) fn add(
        &mut self,
        room: &'a RoomName,
        append: &'a Append,
        directory: &Directory,
    ) -> Result<Seq, AppendError> {
        let (last_entry, is_purged) = match self.rooms.get(room) {
            Some(staged) => (staged.last_entry, staged.head.is_purged()),
            None => {
                let record = directory.look_up(room).map_err(AppendError)?;
                record.map_or((0, false), |record| {
                    (record.rows.last_entry(), record.head.is_purged())
                })
            }
        };
        // Two owners of one room would both continue from the same entry: the second one fails here.
        if append.first.0 != last_entry + 1 {
            let what = format!(
                "bug: entry {} was appended where entry {} belongs",
                append.first.0,
                last_entry + 1
            );
            tracing::error!(room.name = %room, error = %what, "a room has lost count of its entries");
            return Err(AppendError(what.into()));
        }
        if is_purged && append.entries.first() != Some(&Entry::Recreated) {
            return Err(AppendError(
                "the content of the deleted room is gone: it can only be re-created".into(),
            ));
        }
        let staged = self.rooms.remove(room);
        let mut staged = staged.unwrap_or_else(|| match directory.find(room) {
            Some(record) => StagedRoom::of(record),
            None => StagedRoom::absent(take_number(&mut self.next_log)),
        });
        for entry in &append.entries {
            self.add_entry(&mut staged, entry);
        }
        self.rooms.insert(room, staged);
        Ok(Seq(last_entry + append.entries.len() as u64))
    }

    /// Gives a room a log that begins with a state. The room must be in the directory and not in this commit yet.
    pub(super) fn replace(
        &mut self,
        room: &'a RoomName,
        plan: &'a Plan,
        record: &RoomRecord,
        keeps_old: bool,
    ) {
        let log = take_number(&mut self.next_log);
        let mut staged = StagedRoom::of(record);
        let fate = if keeps_old {
            Fate::Keep(KeptLog {
                upto: plan.upto.0,
                entries: record.rows.entries(),
                bytes: record.bytes,
            })
        } else {
            Fate::Retire
        };
        let state = plan.upto.0 - u64::from(plan.pending.is_some());
        staged.begin_log(log, state - 1, fate);
        self.push(&mut staged, Kind::State, &plan.ready);
        if let Some(pending) = &plan.pending {
            self.push(&mut staged, Kind::Pending, pending);
        }
        for (kind, body) in &plan.copies {
            self.push(&mut staged, *kind, body);
        }
        self.rooms.insert(room, staged);
    }

    /// Leaves of a deleted room nothing but its tombstone.
    pub(super) fn purge(&mut self, room: &'a RoomName, record: &RoomRecord) {
        let log = take_number(&mut self.next_log);
        let mut staged = StagedRoom::of(record);
        staged.begin_log(log, record.rows.last_entry() - 1, Fate::Retire);
        staged.drops_kept = true;
        self.push(&mut staged, Kind::Deleted, &[]);
        self.rooms.insert(room, staged);
    }

    /// Keeps a rejected state, in a log of its own.
    pub(super) fn reject(&mut self, rejected: &'a Rejected) {
        let log = take_number(&mut self.next_log);
        let mut rows = Vec::new();
        for (part, last, body) in row::parts(&rejected.ready) {
            let number = take_number(&mut self.next_row);
            rows.push((number, part == 0));
            self.rows.push(StagedRow {
                row: number,
                header: Header {
                    log,
                    entry: rejected.upto.0,
                    part,
                    last,
                    kind: Kind::State,
                    epoch: self.epoch,
                },
                body,
            });
        }
        self.rejections.push(StagedRejection {
            rejected,
            log,
            rows,
        });
    }

    /// Whether the commit changes this room already.
    pub(super) fn has(&self, room: &RoomName) -> bool {
        let mut rejections = self.rejections.iter();
        self.rooms.contains_key(room) || rejections.any(|staged| staged.rejected.room == *room)
    }

    /// Whether the commit begins a log, so that the number of the next one changes.
    pub(super) fn begins_logs(&self) -> bool {
        self.next_log != self.first_log
    }

    fn add_entry(&mut self, staged: &mut StagedRoom, entry: &'a Entry) {
        match entry {
            Entry::Created | Entry::Restored => staged.set_status(RoomStatus::Live, None),
            Entry::Deleted => staged.set_status(RoomStatus::Deleted, Some(self.now_ms)),
            Entry::Recreated => {
                let base = staged.last_entry;
                staged.begin_log(take_number(&mut self.next_log), base, Fate::Retire);
                staged.drops_kept = true;
                staged.set_status(RoomStatus::Live, None);
            }
            Entry::Ready(_) | Entry::Pending(_) => {}
        }
        self.push(staged, Kind::of(entry), row::body(entry));
    }

    /// Adds the next entry of a room.
    fn push(&mut self, staged: &mut StagedRoom, kind: Kind, body: &'a [u8]) {
        staged.last_entry += 1;
        for (part, last, body) in row::parts(body) {
            let number = take_number(&mut self.next_row);
            staged.push(number, kind, part == 0, body.len() as u64);
            self.rows.push(StagedRow {
                row: number,
                header: Header {
                    log: staged.log,
                    entry: staged.last_entry,
                    part,
                    last,
                    kind,
                    epoch: self.epoch,
                },
                body,
            });
        }
    }

    /// The commit is durable: the directory learns of it. Returns the logs whose rows are to be deleted.
    pub(super) fn publish(self, directory: &mut Directory) -> Vec<RetiredLog> {
        let mut retired = Vec::new();
        for (room, staged) in self.rooms {
            staged.publish(room, directory, self.now_ms, &mut retired);
        }
        for staged in self.rejections {
            staged.publish(directory, self.now_ms);
        }
        retired
    }
}

impl StagedRejection<'_> {
    fn publish(self, directory: &mut Directory, now_ms: u64) {
        let rejected = self.rejected;
        let mut rows = RowList::new(rejected.upto.0 - 1);
        for (row, starts_entry) in self.rows {
            rows.push(row, starts_entry);
        }
        let rejection = Rejection {
            log: self.log,
            room: rejected.room.clone(),
            upto: rejected.upto.0,
            bytes: rejected.ready.len() as u64,
            rejected_at: now_ms,
            reason: rejected.reason.clone(),
            rows: KeptRows::sound(rows),
        };
        directory.reject(rejected.log.0, rejection);
    }
}

/// Returns the number and moves on to the next one.
fn take_number(next: &mut u64) -> u64 {
    let number = *next;
    *next += 1;
    number
}
