//! Rebuilds the directory and every room's row list from the database: one pass over the row headers.
//!
//! Bodies are not read (SQLite keeps large ones on pages of their own), so a start costs the headers only; their
//! checksums are for the reader. What contradicts itself here becomes a fault of the room it belongs to, and the
//! other rooms go on.

mod lines;
mod log;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use epicenter_room::RoomStatus;
use rusqlite::Connection;

use super::directory::{Directory, Generation, KeptRows, Rejection, RoomRecord};
use super::{reader, schema};
use crate::sqlite::DatabaseError;
pub(super) use lines::RoomLine;
use lines::{KeptLines, unsigned};
use log::{LogScan, ScannedHeader};

/// What the writer begins with.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) directory: Directory,
    /// The row that will be written next.
    pub(super) next_row: u64,
    /// The log that will be begun next.
    pub(super) next_log: u64,
    /// The lines of the directory, for whoever needs more of them than the directory holds.
    pub(super) rooms: Vec<RoomLine>,
    /// Lines of the directory that cannot be read.
    pub(super) lost_rooms: u64,
    /// Lines about logs that are kept, which cannot be read.
    pub(super) lost_kept: u64,
    /// Rows of retired logs, still to be deleted.
    pub(super) retired: VecDeque<RetiredLog>,
}

/// A log that no longer counts.
#[derive(Debug)]
pub(super) struct RetiredLog {
    pub(super) log: u64,
    pub(super) rows: VecDeque<u64>,
}

impl RetiredLog {
    pub(super) fn of(log: u64, rows: &KeptRows) -> Self {
        Self {
            log,
            rows: rows.numbers().collect(),
        }
    }
}

/// Reads the directory and all row headers.
pub(super) fn scan(
    connection: &Connection,
    path: &Path,
    now_ms: u64,
) -> Result<Scanned, DatabaseError> {
    let next_log = schema::number(connection, path, "next_log")?;
    scan_tables(connection, next_log, now_ms).map_err(|source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    })
}

fn scan_tables(connection: &Connection, next_log: u64, now_ms: u64) -> rusqlite::Result<Scanned> {
    let rooms = lines::load_rooms(connection)?;
    let kept = lines::load_kept(connection)?;
    let mut headers = Headers::new(&rooms.lines, &kept, lines::load_retired(connection)?);
    headers.read(connection)?;
    let has_lost_a_room = headers.examine_strays(connection)?;

    let mut scanned = Scanned {
        next_row: headers.last_row + 1,
        // Should the stored number be damaged, no log may be begun twice.
        next_log: next_log.max(headers.last_log() + 1),
        ..Scanned::default()
    };
    let directory = &mut scanned.directory;
    if rooms.lost > 0 || has_lost_a_room {
        tracing::error!(
            "the room directory is damaged: the rooms that it names are served, others are refused"
        );
        directory.mark_incomplete();
    }
    // Rooms first: no line about a kept log can take away one that counts.
    let mut logs = headers.logs;
    let of_rooms = rooms.lines.iter();
    let of_rooms: Vec<_> = of_rooms
        .map(|room| logs.remove(&room.log).unwrap_or_default())
        .collect();
    scanned.lost_kept = kept.lost;
    enter_kept(kept, &mut logs, directory);
    for (room, log) in rooms.lines.iter().zip(of_rooms) {
        enter(room, log, directory, now_ms);
    }
    scanned.rooms = rooms.lines;
    scanned.lost_rooms = rooms.lost;
    let retired = headers.retired.into_iter();
    scanned.retired = retired
        .map(|(log, rows)| RetiredLog { log, rows })
        .collect();
    Ok(scanned)
}

fn enter(room: &RoomLine, log: LogScan, directory: &mut Directory, now_ms: u64) {
    let log = log.finish();
    let is_live = room.status != RoomStatus::Deleted;
    let fault = match log.fault {
        None if log.head.is_purged() && is_live => Some("its first rows are missing".to_owned()),
        fault => fault,
    };
    let fault = fault.map(|what| {
        tracing::error!(room.name = %room.name, error = %what, "the stored log of a room is damaged");
        Arc::from(what)
    });
    let record = RoomRecord {
        log: room.log,
        status: room.status,
        bytes: log.bytes,
        rows: log.rows,
        head: log.head,
        // Should the stored time be damaged, the content is kept rather too long.
        deleted_at: (!is_live).then(|| room.deleted_at.unwrap_or(now_ms)),
        is_quarantined: false,
        fault,
        last_accessed_at: room.last_accessed_at,
        written_access: room.last_accessed_at,
        is_touched: false,
    };
    directory.change(&room.name, || record, |_| ());
}

/// Enters the logs that are kept. What no sound line names is left alone.
fn enter_kept(kept: KeptLines, logs: &mut HashMap<u64, LogScan>, directory: &mut Directory) {
    for line in kept.generations {
        let Some(log) = logs.remove(&line.log) else {
            continue;
        };
        let (rows, _) = log.finish_kept();
        let generation = Generation {
            room: line.room,
            upto: line.upto,
            entries: line.entries,
            bytes: line.bytes,
            rows,
        };
        directory
            .generations
            .insert(line.replaced_at, line.log, generation);
    }
    for line in kept.rejections {
        let Some(log) = logs.remove(&line.log) else {
            continue;
        };
        let (rows, bytes) = log.finish_kept();
        let rejection = Rejection {
            log: line.log,
            room: line.room,
            upto: line.upto,
            bytes,
            rejected_at: line.rejected_at,
            reason: line.reason,
            rows,
        };
        directory.rejections.insert(line.of, rejection);
    }
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
    fn new(rooms: &[RoomLine], kept: &KeptLines, retired: Vec<u64>) -> Self {
        let rooms = rooms.iter().map(|room| room.log);
        let logs = rooms.chain(kept.logs.iter().copied());
        Self {
            logs: logs.map(|log| (log, LogScan::default())).collect(),
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
                    scanned.blame(format!("row {row} names another log"));
                }
            }
        }
        Ok(has_lost_a_room)
    }
}
