//! What one commit will change, worked out in memory before the disk is touched.
//!
//! Staging checks that every append continues its room's log exactly, gives each part its row, and keeps the changes of
//! each room together. After the commit `Stage::publish` makes the directory say the same; if the commit fails, the
//! stage is dropped and the directory has never changed.

use std::collections::HashMap;

use epicenter_identity::RoomName;
use epicenter_room::{Append, Entry, RoomStatus, Seq};

use super::AppendError;
use super::directory::{Directory, RoomRecord};
use super::row::{self, Header, Kind};
use super::row_list::RowList;
use super::scan::RetiredLog;

/// One row to be written.
#[derive(Debug)]
pub(super) struct StagedRow<'a> {
    pub(super) row: u64,
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// One room's part of the commit.
#[derive(Debug)]
pub(super) struct StagedRoom {
    /// The room has no line in the directory yet.
    pub(super) is_new: bool,
    /// The line in the directory differs from the stored one.
    pub(super) is_changed: bool,
    /// The log that the stored line names; differs from `log` once the room is re-created.
    pub(super) stored_log: u64,
    pub(super) log: u64,
    pub(super) status: RoomStatus,
    /// Logs that this commit retires.
    pub(super) retired: Vec<RetiredLog>,
    /// Set when `rows` replaces the directory's list instead of continuing it.
    replaces_rows: bool,
    last_entry: u64,
    base: u64,
    rows: Vec<(u64, bool)>,
    bytes: u64,
}

/// A commit in the making.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) rows: Vec<StagedRow<'a>>,
    pub(super) rooms: HashMap<&'a RoomName, StagedRoom>,
    pub(super) next_row: u64,
    pub(super) next_log: u64,
    pub(super) epoch: u64,
    first_log: u64,
}

impl<'a> Stage<'a> {
    pub(super) fn new(next_row: u64, next_log: u64, epoch: u64) -> Self {
        Self {
            rows: Vec::new(),
            rooms: HashMap::new(),
            next_row,
            next_log,
            epoch,
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
        let last_entry = match self.rooms.get(room) {
            Some(staged) => staged.last_entry,
            None => {
                let record = directory.look_up(room).map_err(AppendError)?;
                record.map_or(0, |record| record.rows.last_entry())
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
        for entry in &append.entries {
            self.add_entry(room, entry, directory);
        }
        Ok(Seq(last_entry + append.entries.len() as u64))
    }

    /// Whether the commit begins a log, so that the number of the next one changes.
    pub(super) fn begins_logs(&self) -> bool {
        self.next_log != self.first_log
    }

    fn add_entry(&mut self, room: &'a RoomName, entry: &'a Entry, directory: &Directory) {
        let next_log = &mut self.next_log;
        let staged = self
            .rooms
            .entry(room)
            .or_insert_with(|| match directory.find(room) {
                Some(record) => StagedRoom::of(record),
                None => StagedRoom::absent(take_number(next_log)),
            });
        match entry {
            Entry::Created | Entry::Restored => staged.set_status(RoomStatus::Live),
            Entry::Deleted => staged.set_status(RoomStatus::Deleted),
            Entry::Recreated => staged.begin_log(take_number(next_log)),
            Entry::Ready(_) | Entry::Pending(_) => {}
        }
        staged.last_entry += 1;
        for (part, last, body) in row::parts(row::body(entry)) {
            let number = take_number(&mut self.next_row);
            staged.rows.push((number, part == 0));
            staged.bytes += body.len() as u64;
            self.rows.push(StagedRow {
                row: number,
                header: Header {
                    log: staged.log,
                    entry: staged.last_entry,
                    part,
                    last,
                    kind: Kind::of(entry),
                    epoch: self.epoch,
                },
                body,
            });
        }
    }

    /// The commit is durable: the directory learns of it. Returns the logs whose rows are to be deleted.
    pub(super) fn publish(self, directory: &mut Directory, now_ms: u64) -> Vec<RetiredLog> {
        let mut retired = Vec::new();
        for (room, staged) in self.rooms {
            let record = directory.find_or_insert(room, || RoomRecord::new(staged.log, now_ms));
            retired.append(&mut staged.publish(record));
        }
        retired
    }
}

impl StagedRoom {
    fn of(record: &RoomRecord) -> Self {
        Self {
            is_new: false,
            is_changed: false,
            stored_log: record.log,
            log: record.log,
            status: record.status,
            retired: Vec::new(),
            replaces_rows: false,
            last_entry: record.rows.last_entry(),
            base: 0,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    fn absent(log: u64) -> Self {
        Self {
            is_new: true,
            is_changed: true,
            stored_log: log,
            log,
            status: RoomStatus::Live,
            retired: Vec::new(),
            replaces_rows: false,
            last_entry: 0,
            base: 0,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    fn set_status(&mut self, status: RoomStatus) {
        self.is_changed |= self.status != status;
        self.status = status;
    }

    /// What was stored so far no longer counts; the numbers go on.
    fn begin_log(&mut self, log: u64) {
        self.retired.push(RetiredLog {
            log: self.log,
            rows: self.rows.drain(..).map(|(row, _)| row).collect(),
        });
        self.log = log;
        self.base = self.last_entry;
        self.bytes = 0;
        self.replaces_rows = true;
        self.is_changed = true;
        self.status = RoomStatus::Live;
    }

    fn publish(mut self, record: &mut RoomRecord) -> Vec<RetiredLog> {
        if self.replaces_rows {
            let old = std::mem::replace(&mut record.rows, RowList::new(self.base));
            // The first log that this commit retires is the one that was stored.
            if let Some(first) = self.retired.first_mut() {
                let appended = std::mem::take(&mut first.rows);
                first.rows = old
                    .all()
                    .into_iter()
                    .map(|row| row.row)
                    .chain(appended)
                    .collect();
            }
            record.bytes = 0;
        }
        for (row, starts_entry) in self.rows {
            record.rows.push(row, starts_entry);
        }
        record.log = self.log;
        record.status = self.status;
        record.bytes += self.bytes;
        self.retired
    }
}

/// Returns the number and moves on to the next one.
fn take_number(next: &mut u64) -> u64 {
    let number = *next;
    *next += 1;
    number
}
