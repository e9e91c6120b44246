//! One room's part of a commit.

use epicenter_identity::RoomName;
use epicenter_room::RoomStatus;

use crate::log::directory::{Directory, Generation, Head, KeptRows, RoomRecord};
use crate::log::row::Kind;
use crate::log::row_list::RowList;
use crate::log::scan::RetiredLog;

/// What the commit does to one room.
#[derive(Debug)]
pub(in crate::log) struct StagedRoom {
    /// The room has no line in the directory yet.
    pub(in crate::log) is_new: bool,
    /// The line in the directory differs from the stored one.
    pub(in crate::log) is_changed: bool,
    /// The log that the stored line names; differs from `log` once the room begins another.
    pub(in crate::log) stored_log: u64,
    pub(in crate::log) log: u64,
    pub(in crate::log) status: RoomStatus,
    pub(in crate::log) deleted_at: Option<u64>,
    /// Logs that cease to count with this commit. The first is the stored one, the others began in this commit.
    pub(in crate::log) old: Vec<OldLog>,
    /// Whatever is kept of the room's past goes as well.
    pub(in crate::log) drops_kept: bool,
    pub(in crate::log) last_entry: u64,
    pub(in crate::log) head: Head,
    /// The entry before the first of `rows`, where they begin a log instead of continuing the directory's.
    begins_after: Option<u64>,
    rows: Vec<(u64, bool)>,
    bytes: u64,
}

/// A log that no longer counts.
#[derive(Debug)]
pub(in crate::log) struct OldLog {
    pub(in crate::log) log: u64,
    pub(in crate::log) fate: Fate,
    /// Its rows in this commit.
    rows: Vec<u64>,
}

/// What becomes of it.
#[derive(Debug)]
pub(in crate::log) enum Fate {
    /// Its rows are deleted.
    Retire,
    /// It is kept as a previous generation.
    Keep(KeptLog),
}

/// What is stored about a previous generation.
#[derive(Debug)]
pub(in crate::log) struct KeptLog {
    pub(in crate::log) upto: u64,
    pub(in crate::log) entries: u64,
    pub(in crate::log) bytes: u64,
}

impl StagedRoom {
    pub(super) fn of(record: &RoomRecord) -> Self {
        Self {
            is_new: false,
            is_changed: false,
            stored_log: record.log,
            log: record.log,
            status: record.status,
            deleted_at: record.deleted_at,
            old: Vec::new(),
            drops_kept: false,
            last_entry: record.rows.last_entry(),
            head: record.head,
            begins_after: None,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn absent(log: u64) -> Self {
        Self {
            is_new: true,
            is_changed: true,
            stored_log: log,
            log,
            status: RoomStatus::Live,
            deleted_at: None,
            old: Vec::new(),
            drops_kept: false,
            last_entry: 0,
            head: Head::Beginning,
            begins_after: Some(0),
            rows: Vec::new(),
            bytes: 0,
        }
    }

    /// The time counts only where the status changes.
    pub(super) fn set_status(&mut self, status: RoomStatus, deleted_at: Option<u64>) {
        if self.status != status {
            self.is_changed = true;
            self.status = status;
            self.deleted_at = deleted_at;
        }
    }

    /// What was stored so far no longer counts; the numbers go on after `base`.
    pub(super) fn begin_log(&mut self, log: u64, base: u64, fate: Fate) {
        self.old.push(OldLog {
            log: self.log,
            fate,
            rows: self.rows.drain(..).map(|(row, _)| row).collect(),
        });
        self.log = log;
        self.begins_after = Some(base);
        self.last_entry = base;
        self.bytes = 0;
        self.is_changed = true;
    }

    /// Adds a row of the entry `last_entry`.
    pub(super) fn push(&mut self, row: u64, kind: Kind, starts_entry: bool, bytes: u64) {
        if self.begins_after.is_some() && self.rows.is_empty() {
            self.head = Head::of(kind, self.last_entry);
        }
        let fits = self.head.add(kind, self.last_entry, bytes);
        debug_assert!(
            fits,
            "a log was staged that the next start would find damaged"
        );
        self.rows.push((row, starts_entry));
        self.bytes += bytes;
    }

    pub(super) fn publish(
        mut self,
        room: &RoomName,
        directory: &mut Directory,
        now_ms: u64,
        retired: &mut Vec<RetiredLog>,
    ) {
        if self.drops_kept {
            retired.extend(directory.drop_kept(room));
        }
        let old = std::mem::take(&mut self.old);
        let (is_new, log) = (self.is_new, self.log);
        let make = || RoomRecord::new(log, now_ms);
        let (rows, bytes) = directory.change(room, make, |record| self.apply(record));
        // The directory's own rows are those of the first log that ceases to count.
        let mut stored = Some((rows, bytes)).filter(|_| !is_new);
        for old in old {
            let (rows, bytes) = stored.take().unwrap_or_else(|| (RowList::new(0), 0));
            match old.fate {
                Fate::Retire => {
                    let stored = rows.all().into_iter().map(|row| row.row);
                    retired.push(RetiredLog {
                        log: old.log,
                        rows: stored.chain(old.rows).collect(),
                    });
                }
                Fate::Keep(kept) => {
                    let generation = Generation {
                        room: room.clone(),
                        upto: kept.upto,
                        entries: kept.entries,
                        bytes,
                        rows: KeptRows::sound(rows),
                    };
                    directory.generations.insert(now_ms, old.log, generation);
                }
            }
        }
    }

    /// Brings the record up to date and returns what it held if another log takes its place.
    fn apply(self, record: &mut RoomRecord) -> (RowList, u64) {
        let mut before = (RowList::new(0), 0);
        if let Some(base) = self.begins_after {
            let rows = std::mem::replace(&mut record.rows, RowList::new(base));
            before = (rows, std::mem::take(&mut record.bytes));
        }
        for (row, starts_entry) in self.rows {
            record.rows.push(row, starts_entry);
        }
        record.log = self.log;
        record.status = self.status;
        record.deleted_at = self.deleted_at;
        record.head = self.head;
        record.bytes += self.bytes;
        before
    }
}
