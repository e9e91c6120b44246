//! Rebuilds the directory and every room's row list from the database: one pass over the row headers.
//!
//! Bodies are not read (SQLite keeps large ones on pages of their own), so a start costs the headers only; their
//! checksums are for the reader. What contradicts itself here becomes a fault of the room it belongs to, and the
//! other rooms go on.

mod lines;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::directory::{Directory, RoomRecord};
use super::row::{FORMAT, Header, Kind};
use super::row_list::RowList;
use super::{reader, schema};
use crate::sqlite::DatabaseError;
use lines::{RoomLine, unsigned};

/// What the writer begins with.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) directory: Directory,
    /// The row that will be written next.
    pub(super) next_row: u64,
    /// The log that will be begun next.
    pub(super) next_log: u64,
    /// Rows of retired logs, still to be deleted.
    pub(super) retired: VecDeque<RetiredLog>,
}

/// A log that no longer counts.
#[derive(Debug)]
pub(super) struct RetiredLog {
    pub(super) log: u64,
    pub(super) rows: VecDeque<u64>,
}

/// Reads the directory and all row headers.
pub(super) fn scan(connection: &Connection, path: &Path) -> Result<Scanned, DatabaseError> {
    let next_log = schema::number(connection, path, "next_log")?;
    scan_tables(connection, next_log).map_err(|source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    })
}

fn scan_tables(connection: &Connection, next_log: u64) -> rusqlite::Result<Scanned> {
    let rooms = lines::load_rooms(connection)?;
    let mut headers = Headers::new(&rooms.lines, lines::load_retired(connection)?);
    headers.read(connection)?;
    let has_lost_a_room = headers.examine_strays(connection)?;

    let mut scanned = Scanned {
        next_row: headers.last_row + 1,
        // Should the stored number be damaged, no log may be begun twice.
        next_log: next_log.max(headers.last_log() + 1),
        ..Scanned::default()
    };
    if rooms.is_damaged || has_lost_a_room {
        tracing::error!(
            "the room directory is damaged: the rooms that it names are served, others are refused"
        );
        scanned.directory.mark_incomplete();
    }
    for room in rooms.lines {
        let log = headers.logs.remove(&room.log).unwrap_or_default();
        enter(room, log, &mut scanned.directory);
    }
    let retired = headers.retired.into_iter();
    scanned.retired = retired
        .map(|(log, rows)| RetiredLog { log, rows })
        .collect();
    Ok(scanned)
}

fn enter(room: RoomLine, log: LogScan, directory: &mut Directory) {
    let (rows, bytes, fault) = log.finish();
    let fault = fault.map(|what| {
        tracing::error!(room.name = %room.name, error = %what, "the stored log of a room is damaged");
        Arc::from(what)
    });
    let record = RoomRecord {
        log: room.log,
        status: room.status,
        bytes,
        rows,
        fault,
        last_accessed_at: room.last_accessed_at,
        written_access: room.last_accessed_at,
        is_touched: false,
    };
    directory.insert(&room.name, record);
}

/// The rows seen so far.
struct Headers {
    logs: HashMap<u64, LogScan>,
    retired: HashMap<u64, VecDeque<u64>>,
    last_row: u64,
    /// Rows that name a log that nobody has, the first of each.
    strays: BTreeMap<u64, u64>,
}

impl Headers {
    fn new(rooms: &[RoomLine], retired: Vec<u64>) -> Self {
        let logs = rooms.iter().map(|room| (room.log, LogScan::default()));
        Self {
            logs: logs.collect(),
            retired: retired
                .into_iter()
                .map(|log| (log, VecDeque::new()))
                .collect(),
            last_row: 0,
            strays: BTreeMap::new(),
        }
    }

    fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT row, log, format, entry, part, last, kind, epoch, length(body) FROM entries ORDER BY row",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // A damaged page can hold numbers below zero, or that do not rise, although SQLite relies on it.
            let number = unsigned(row, 0).unwrap_or(self.last_row);
            let is_in_order = number > self.last_row;
            self.last_row = self.last_row.max(number);
            let log = unsigned(row, 1).unwrap_or(0);
            if let Some(scanned) = self.logs.get_mut(&log) {
                let header = ScannedHeader::parse(row).filter(|_| is_in_order);
                scanned.add(number, header);
            } else if let Some(rows) = self.retired.get_mut(&log) {
                rows.push_back(number);
            } else {
                self.strays.entry(log).or_insert(number);
            }
        }
        Ok(())
    }

    fn last_log(&self) -> u64 {
        let logs = self.logs.keys().chain(self.retired.keys());
        logs.copied().max().unwrap_or(0)
    }

    /// A sound row of an unknown log means that a room is missing from the directory. A damaged one may be the last of
    /// a room that would seem whole without it.
    fn examine_strays(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut has_lost_a_room = false;
        for row in std::mem::take(&mut self.strays).into_values() {
            tracing::error!(log.row = row, "a row belongs to no room; it is left alone");
            let Some(stray) = reader::find_row(connection, row)? else {
                continue;
            };
            has_lost_a_room |= stray.matches(stray.header.log);
            for (log, scanned) in &mut self.logs {
                if scanned.awaits(&stray.header) && stray.matches(*log) {
                    scanned.fault = Some(format!("row {row} names another log"));
                }
            }
        }
        Ok(has_lost_a_room)
    }
}

struct ScannedHeader {
    entry: u64,
    part: u64,
    last: bool,
    kind: Kind,
    epoch: u64,
    bytes: u64,
}

impl ScannedHeader {
    fn parse(row: &Row<'_>) -> Option<Self> {
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

/// One room's log while its rows pass by.
#[derive(Default)]
struct LogScan {
    rows: Option<RowList>,
    bytes: u64,
    epoch: u64,
    /// The part that must come next, while an entry is incomplete.
    awaited_part: Option<u64>,
    fault: Option<String>,
}

impl LogScan {
    fn add(&mut self, row: u64, header: Option<ScannedHeader>) {
        if self.fault.is_some() {
            return;
        }
        let Some(header) = header else {
            self.fault = Some(format!("row {row} is unreadable"));
            return;
        };
        // A log begins with its room's first entry, or with the one that re-created the room.
        let rows = self.rows.get_or_insert_with(|| {
            let is_reset = header.kind == Kind::Recreated;
            RowList::new(if is_reset {
                header.entry.saturating_sub(1)
            } else {
                0
            })
        });
        let (entry, part) = match self.awaited_part {
            Some(part) => (rows.last_entry(), part),
            None => (rows.last_entry() + 1, 0),
        };
        if (header.entry, header.part) != (entry, part) {
            self.fault = Some(format!(
                "row {row} holds part {} of entry {} where part {part} of entry {entry} belongs",
                header.part, header.entry
            ));
        } else if header.epoch < self.epoch {
            self.fault = Some(format!(
                "row {row} was written by an earlier writer than the row before it"
            ));
        } else {
            rows.push(row, part == 0);
            self.bytes += header.bytes;
            self.epoch = header.epoch;
            self.awaited_part = if header.last { None } else { Some(part + 1) };
        }
    }

    /// Whether this row would be the next one.
    fn awaits(&self, header: &Header) -> bool {
        let last_entry = self.rows.as_ref().map_or(0, RowList::last_entry);
        let awaited = match self.awaited_part {
            Some(part) => (last_entry, part),
            None => (last_entry + 1, 0),
        };
        self.fault.is_none() && (header.entry, u64::from(header.part)) == awaited
    }

    fn finish(self) -> (RowList, u64, Option<String>) {
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
        (rows, self.bytes, fault)
    }
}
