//! One log while the headers of its rows pass by.

use std::sync::Arc;

use rusqlite::Row;

use super::lines::unsigned;
use crate::log::directory::{Head, KeptRows};
use crate::log::row::{FORMAT, Header, Kind};
use crate::log::row_list::RowList;

/// A row's header, not yet believed.
pub(super) struct ScannedHeader {
    entry: u64,
    part: u64,
    last: bool,
    kind: Kind,
    epoch: u64,
    bytes: u64,
}

impl ScannedHeader {
    pub(super) fn parse(row: &Row<'_>) -> Option<Self> {
        if row.get::<_, i64>(2).ok()? != i64::from(FORMAT) {
            return None;
        }
        Some(Self {
            entry: unsigned(row, 3)?,
            part: unsigned(row, 4)?,
            last: match row.get::<_, i64>(5).ok()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            kind: Kind::decode(row.get(6).ok()?)?,
            epoch: unsigned(row, 7)?,
            bytes: unsigned(row, 8)?,
        })
    }
}

/// One log while its rows pass by.
#[derive(Default)]
pub(super) struct LogScan {
    rows: Option<RowList>,
    head: Head,
    bytes: u64,
    epoch: u64,
    /// The part that must come next, while an entry is incomplete.
    awaited_part: Option<u64>,
    fault: Option<String>,
    /// Rows that came after the fault.
    beyond: Vec<u64>,
}

/// What the rows of a log amount to.
pub(super) struct FinishedLog {
    pub(super) rows: RowList,
    pub(super) head: Head,
    pub(super) bytes: u64,
    pub(super) fault: Option<String>,
}

impl LogScan {
    pub(super) fn add(&mut self, row: u64, header: Option<ScannedHeader>) {
        if self.fault.is_none() {
            self.fault = self.judge(row, header).err();
        }
        if self.fault.is_some() {
            self.beyond.push(row);
        }
    }

    /// Takes a row in, or says what is wrong with it.
    fn judge(&mut self, row: u64, header: Option<ScannedHeader>) -> Result<(), String> {
        let header = header.ok_or_else(|| format!("row {row} is unreadable"))?;
        let (kind, entry) = (header.kind, header.entry);
        // A log begins with its room's first entry, or with one that stands for all before it.
        let rows = self.rows.get_or_insert_with(|| {
            self.head = Head::of(kind, entry);
            RowList::new(self.head.entry().saturating_sub(1))
        });
        let (awaited, part) = match self.awaited_part {
            Some(part) => (rows.last_entry(), part),
            None => (rows.last_entry() + 1, 0),
        };
        if (entry, header.part) != (awaited, part) {
            return Err(format!(
                "row {row} holds part {} of entry {entry} where part {part} of entry {awaited} belongs",
                header.part
            ));
        }
        if header.epoch < self.epoch {
            return Err(format!(
                "row {row} was written by an earlier writer than the row before it"
            ));
        }
        if !self.head.add(kind, entry, header.bytes) {
            return Err(format!(
                "row {row} does not belong behind what the log begins with"
            ));
        }
        rows.push(row, part == 0);
        self.bytes += header.bytes;
        self.epoch = header.epoch;
        self.awaited_part = if header.last { None } else { Some(part + 1) };
        Ok(())
    }

    /// Whether this row would be the next one.
    pub(super) fn awaits(&self, header: &Header) -> bool {
        let last_entry = self.rows.as_ref().map_or(0, RowList::last_entry);
        let awaited = match self.awaited_part {
            Some(part) => (last_entry, part),
            None => (last_entry + 1, 0),
        };
        self.fault.is_none() && (header.entry, u64::from(header.part)) == awaited
    }

    /// Something outside its rows shows that the log is damaged.
    pub(super) fn blame(&mut self, what: String) {
        self.fault = Some(what);
    }

    pub(super) fn finish(self) -> FinishedLog {
        let fault = match (&self.rows, self.fault, self.awaited_part) {
            (_, Some(fault), _) => Some(fault),
            (None, None, _) => Some("its rows are missing".to_owned()),
            (Some(rows), None, Some(part)) => Some(format!(
                "part {part} of entry {} is missing",
                rows.last_entry()
            )),
            (Some(_), None, None) => None,
        };
        let mut rows = self.rows.unwrap_or_else(|| RowList::new(0));
        rows.shrink();
        FinishedLog {
            rows,
            head: self.head,
            bytes: self.bytes,
            fault,
        }
    }

    /// Of a log that is kept beside those of the rooms: its rows and their bytes.
    pub(super) fn finish_kept(mut self) -> (KeptRows, u64) {
        let beyond = std::mem::take(&mut self.beyond);
        let log = self.finish();
        let rows = KeptRows {
            rows: log.rows,
            beyond,
            fault: log.fault.map(Arc::from),
        };
        (rows, log.bytes)
    }
}
