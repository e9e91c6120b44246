//! Rebuilds the directory and every room's row list from the database: one pass over the row headers.
//!
//! Bodies are not read (SQLite keeps large ones on pages of their own), so a start costs the headers only; their
//! checksums are for the reader. What contradicts itself here becomes a fault of the room it belongs to, and the
//! other rooms go on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;
use rusqlite::{Connection, Row};

use super::directory::{Directory, RoomRecord};
use super::row::{FORMAT, Kind};
use super::row_list::RowList;
use super::schema;
use crate::sqlite::DatabaseError;

/// Status numbers of `rooms.status`.
pub(super) const LIVE: i64 = 1;
pub(super) const DELETED: i64 = 2;

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
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let next_log = schema::number(connection, path, "next_log")?;
    let rooms = load_rooms(connection).map_err(failed)?;
    let retired = load_retired(connection).map_err(failed)?;
    let mut headers = Headers {
        logs: rooms
            .iter()
            .map(|room| (room.log, LogScan::default()))
            .collect(),
        retired: retired
            .into_iter()
            .map(|log| (log, VecDeque::new()))
            .collect(),
        last_row: 0,
        strays: 0,
    };
    headers.read(connection).map_err(failed)?;
    if headers.strays > 0 {
        tracing::error!(
            log.rows = headers.strays,
            "rows of the room log are damaged so that nobody knows which room they belong to; they are left alone"
        );
    }
    let mut directory = Directory::default();
    for room in rooms {
        let scanned = headers.logs.remove(&room.log).unwrap_or_default();
        room.enter(scanned, &mut directory);
    }
    Ok(Scanned {
        directory,
        next_row: headers.last_row + 1,
        next_log,
        retired: headers
            .retired
            .into_iter()
            .map(|(log, rows)| RetiredLog { log, rows })
            .collect(),
    })
}

/// A line of the `rooms` table.
struct RoomLine {
    name: RoomName,
    log: u64,
    status: RoomStatus,
    last_accessed_at: u64,
}

impl RoomLine {
    fn enter(self, scanned: LogScan, directory: &mut Directory) {
        let (rows, bytes, fault) = scanned.finish();
        let fault = fault.map(|what| {
            tracing::error!(room.name = %self.name, error = %what, "the stored log of a room is damaged");
            Arc::from(what)
        });
        let record = RoomRecord {
            log: self.log,
            status: self.status,
            bytes,
            rows,
            fault,
            last_accessed_at: self.last_accessed_at,
            written_access: self.last_accessed_at,
            is_touched: false,
        };
        directory.insert(&self.name, record);
    }
}

fn load_rooms(connection: &Connection) -> rusqlite::Result<Vec<RoomLine>> {
    let mut statement =
        connection.prepare("SELECT log, owner, room, status, last_accessed_at FROM rooms")?;
    let mut lines = statement.query([])?;
    let mut rooms = Vec::new();
    while let Some(line) = lines.next()? {
        match parse_room(line) {
            Some(room) => rooms.push(room),
            None => tracing::error!(
                log.id = line.get::<_, i64>(0).unwrap_or_default(),
                "a line of the room directory is damaged; its room is not served"
            ),
        }
    }
    Ok(rooms)
}

fn parse_room(line: &Row<'_>) -> Option<RoomLine> {
    let owner = OwnerId::parse(&line.get::<_, String>(1).ok()?).ok()?;
    let room = RoomId::parse(&line.get::<_, String>(2).ok()?).ok()?;
    Some(RoomLine {
        name: RoomName::stored(owner, room),
        log: unsigned(line, 0)?,
        status: match line.get::<_, i64>(3).ok()? {
            LIVE => RoomStatus::Live,
            DELETED => RoomStatus::Deleted,
            _ => return None,
        },
        last_accessed_at: unsigned(line, 4)?,
    })
}

fn load_retired(connection: &Connection) -> rusqlite::Result<HashSet<u64>> {
    let mut statement = connection.prepare("SELECT log FROM retired_logs")?;
    let mut lines = statement.query([])?;
    let mut logs = HashSet::new();
    while let Some(line) = lines.next()? {
        logs.extend(unsigned(line, 0));
    }
    Ok(logs)
}

/// The rows seen so far.
struct Headers {
    logs: HashMap<u64, LogScan>,
    retired: HashMap<u64, VecDeque<u64>>,
    last_row: u64,
    strays: u64,
}

impl Headers {
    fn read(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT row, log, format, entry, part, last, kind, epoch, length(body) FROM entries ORDER BY row",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Some(number) = unsigned(row, 0) else {
                self.strays += 1;
                continue;
            };
            let is_in_order = number > self.last_row;
            self.last_row = self.last_row.max(number);
            let log = unsigned(row, 1);
            if let Some(scanned) = log.and_then(|log| self.logs.get_mut(&log)) {
                // A damaged page can hold numbers that do not rise, although SQLite relies on it.
                let header = ScannedHeader::parse(row).filter(|_| is_in_order);
                scanned.add(number, header);
            } else if let Some(rows) = log.and_then(|log| self.retired.get_mut(&log)) {
                rows.push_back(number);
            } else {
                self.strays += 1;
            }
        }
        Ok(())
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

fn unsigned(row: &Row<'_>, column: usize) -> Option<u64> {
    // A column of another type, or a negative number, can only come from damage.
    row.get::<_, i64>(column)
        .ok()
        .and_then(|number| u64::try_from(number).ok())
}
