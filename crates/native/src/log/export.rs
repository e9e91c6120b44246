//! Rooms as a backup takes them and gives them back: by name and number, whatever rows they were in.
//!
//! A [`Snapshot`] reads inside one read transaction, so that a hub goes on writing and all rooms are of one moment. Parts
//! come as they are stored, one at a time. An [`Import`] writes them into a new database, under new rows and checksums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::RoomStatus;
use rusqlite::{Connection, params};

use super::directory::Directory;
use super::reader::{self, RowsError};
use super::row::{self, FORMAT, Header, Kind};
use super::{LogId, StoredGeneration, StoredRejection, scan, schema};
use crate::sqlite::{self, DatabaseError};

/// What one transaction of an import writes before the next one begins.
const ROWS_PER_COMMIT: u64 = 4096;
const BYTES_PER_COMMIT: u64 = 16 << 20;

/// Rows of an import are written by no opening of the log; the first one is number 1.
const EPOCH: u64 = 0;

/// The line of a room in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomLine {
    pub(crate) name: RoomName,
    pub(crate) status: RoomStatus,
    pub(crate) created_at_ms: u64,
    pub(crate) last_accessed_at_ms: u64,
    pub(crate) deleted_at_ms: Option<u64>,
}

/// A room of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct StoredLine {
    pub(crate) line: RoomLine,
    log: u64,
    /// Number of its last entry.
    pub(crate) last: u64,
    /// Bytes of its entries.
    pub(crate) bytes: u64,
    /// Why it cannot be read.
    pub(crate) fault: Option<Arc<str>>,
}

/// The updates of one room.
#[derive(Debug, Default)]
pub(crate) struct Updates {
    pub(crate) ready: Vec<Bytes>,
    pub(crate) pending: Vec<Bytes>,
}

/// A stored part of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) entry: u64,
    pub(crate) part: u32,
    pub(crate) is_last: bool,
    pub(crate) kind: u8,
    pub(crate) body: &'a [u8],
}

/// A room's rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadRoomError<E> {
    /// They are missing or damaged.
    #[error("{0}")]
    Damaged(String),
    /// Whoever takes the parts has failed.
    #[error("the part was not taken")]
    Taker(E),
}

/// All rooms at one moment, read beside whoever writes.
pub(crate) struct Snapshot {
    connection: Connection,
    directory: Directory,
    rooms: Vec<StoredLine>,
    lost_lines: u64,
    lost_kept: u64,
}

impl Snapshot {
    /// Begins the read transaction. The database is not changed, but for the files that SQLite keeps beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let connection = sqlite::open_readonly(path).map_err(failed)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        schema::check_version(&connection, path)?;
        let scan::Scanned {
            directory,
            rooms: lines,
            lost_rooms: mut lost_lines,
            lost_kept,
            ..
        } = scan::scan(&connection, path, 0)?;
        let mut rooms = BTreeMap::new();
        for line in lines {
            match stored_line(&directory, line) {
                Some(room) => drop(rooms.insert(key(&room.line.name), room)),
                None => lost_lines += 1,
            }
        }
        Ok(Self {
            connection,
            rooms: rooms.into_values().collect(),
            lost_lines,
            lost_kept,
            directory,
        })
    }

    /// Every room that can be named, by owner and id.
    pub(crate) fn rooms(&self) -> &[StoredLine] {
        &self.rooms
    }

    /// Lines of the directory that cannot be read, and whether rooms may be missing from it altogether.
    pub(crate) fn lost_lines(&self) -> (u64, bool) {
        (self.lost_lines, self.directory.is_incomplete())
    }

    /// Gives every part of the room's log, in order.
    pub(crate) fn read_room<E>(
        &self,
        room: &StoredLine,
        take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), ReadRoomError<E>> {
        let found = self.directory.look_up(&room.line.name);
        let record = found.map_err(|fault| ReadRoomError::Damaged(fault.to_string()))?;
        let rows = record.map(|record| record.rows.all()).unwrap_or_default();
        read_rows(&self.connection, room.log, &rows, take)
    }

    /// The visible and the waiting updates of a room, whole; all of its rows are checked.
    pub(crate) fn read_updates(&self, room: &StoredLine) -> Result<Updates, String> {
        let found = self.directory.look_up(&room.line.name);
        let record = found.map_err(|fault| fault.to_string())?;
        let rows = record.map(|record| record.rows.all()).unwrap_or_default();
        self.updates_of(room.log, &rows)
    }

    /// The same of a log that is kept beside the one that counts: a previous generation or a rejected state.
    pub(crate) fn read_kept(&self, log: LogId) -> Result<Updates, String> {
        let rows = self.directory.kept_rows(log)?;
        self.updates_of(log.0, &rows.all())
    }

    /// Lines about kept logs that cannot be read, so that nobody can say whose they are.
    pub(crate) fn lost_kept(&self) -> u64 {
        self.lost_kept
    }

    /// What is kept of replaced logs, for every room that has any.
    pub(crate) fn generations(&self, room: &RoomName) -> Vec<StoredGeneration> {
        self.directory.generations.list(room)
    }

    /// States of a room that were rejected.
    pub(crate) fn rejections(&self, room: &RoomName) -> Vec<StoredRejection> {
        self.directory.rejections.list(room)
    }

    /// What SQLite itself finds wrong with the file; nothing, mostly.
    pub(crate) fn check_integrity(&self) -> rusqlite::Result<Vec<String>> {
        sqlite::check_integrity(&self.connection)
    }

    /// The version of the schema that the file has.
    pub(crate) fn version(&self, path: &Path) -> Result<u32, DatabaseError> {
        schema::check_version(&self.connection, path)
    }

    fn updates_of(&self, log: u64, rows: &[super::row_list::RowRef]) -> Result<Updates, String> {
        let entries = reader::read_entries(&self.connection, log, rows);
        let mut updates = Updates::default();
        for (kind, bytes) in entries.map_err(|error| error.to_string())? {
            match kind {
                Kind::Ready | Kind::State => updates.ready.push(bytes),
                Kind::Pending => updates.pending.push(bytes),
                Kind::Created | Kind::Deleted | Kind::Recreated | Kind::Restored => {}
            }
        }
        Ok(updates)
    }
}

/// None when the room was found in another log.
fn stored_line(directory: &Directory, line: scan::RoomLine) -> Option<StoredLine> {
    let record = directory.find(&line.name)?;
    (record.log == line.log).then(|| StoredLine {
        line: RoomLine {
            name: line.name,
            status: line.status,
            created_at_ms: line.created_at,
            last_accessed_at_ms: line.last_accessed_at,
            deleted_at_ms: line.deleted_at,
        },
        log: line.log,
        last: record.rows.last_entry(),
        bytes: record.bytes,
        fault: record.fault.clone(),
    })
}

fn key(name: &RoomName) -> (String, String) {
    (
        name.owner().as_str().to_owned(),
        name.room().as_str().to_owned(),
    )
}

fn read_rows<E>(
    connection: &Connection,
    log: u64,
    rows: &[super::row_list::RowRef],
    mut take: impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<(), ReadRoomError<E>> {
    let damaged = |error: RowsError| ReadRoomError::Damaged(error.to_string());
    let refused = |error: rusqlite::Error| damaged(RowsError::Sqlite(error));
    let mut statement = connection.prepare(reader::ROWS_OF_A_LOG).map_err(refused)?;
    for span in reader::spans(rows) {
        let (Some(first), Some(last)) = (span.first(), span.last()) else {
            continue;
        };
        let bounds = reader::bounds(first.row, last.row, log);
        let mut found = statement.query(bounds).map_err(refused)?;
        for expected in span {
            let row = found.next().map_err(refused)?;
            let row = row.ok_or_else(|| damaged(reader::missing(expected)))?;
            let (header, body) = reader::check_row(row, log, expected).map_err(damaged)?;
            let part = Part {
                entry: header.entry,
                part: header.part,
                is_last: header.last,
                kind: header.kind.encode(),
                body,
            };
            take(part).map_err(ReadRoomError::Taker)?;
        }
    }
    Ok(())
}

/// An import failed; what was written so far is worth nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The database cannot be written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A part is not the one that comes next, or is none.
    #[error("{0}")]
    Malformed(String),
}

/// Writes rooms into a new database.
pub(crate) struct Import {
    connection: Connection,
    path: PathBuf,
    next_row: u64,
    next_log: u64,
    rooms: u64,
    rows_waiting: u64,
    bytes_waiting: u64,
    awaited: Awaited,
}

/// What must come next in the room that is being written.
#[derive(Clone, Copy, Default)]
struct Awaited {
    /// The entry that came last; none before the first.
    entry: Option<u64>,
    /// The part of it that must follow.
    part: Option<u32>,
}

impl Import {
    /// Makes the database; there must be none.
    pub(crate) fn create(path: &Path) -> Result<Self, ImportError> {
        let connection = schema::open(path, None)?;
        let import = Self {
            connection,
            path: path.to_owned(),
            next_row: 1,
            next_log: 1,
            rooms: 0,
            rows_waiting: 0,
            bytes_waiting: 0,
            awaited: Awaited::default(),
        };
        import.run("BEGIN IMMEDIATE")?;
        Ok(import)
    }

    /// Adds a part to the room whose line will follow.
    pub(crate) fn add(&mut self, part: Part<'_>) -> Result<(), ImportError> {
        let kind = Kind::decode(i64::from(part.kind)).ok_or_else(|| {
            ImportError::Malformed(format!("entry {} has an unknown kind", part.entry))
        })?;
        self.awaited = self.awaited.follow(&part).ok_or_else(|| {
            let what = format!("part {} of entry {} is out of order", part.part, part.entry);
            ImportError::Malformed(what)
        })?;
        let header = Header {
            log: self.next_log,
            entry: part.entry,
            part: part.part,
            last: part.is_last,
            kind,
            epoch: EPOCH,
        };
        self.insert_row(&header, part.body)?;
        self.next_row += 1;
        self.rows_waiting += 1;
        self.bytes_waiting += part.body.len() as u64;
        Ok(())
    }

    /// Ends the room whose parts were added.
    pub(crate) fn end_room(&mut self, room: &RoomLine) -> Result<(), ImportError> {
        if self.awaited.entry.is_none() || self.awaited.part.is_some() {
            return Err(ImportError::Malformed("its entries are not whole".into()));
        }
        self.awaited = Awaited::default();
        self.insert_line(room)?;
        self.next_log += 1;
        self.rooms += 1;
        if self.rows_waiting >= ROWS_PER_COMMIT || self.bytes_waiting >= BYTES_PER_COMMIT {
            self.commit()?;
            self.run("BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    /// Commits the rest, leaves one file, and reads all of its headers as a start would.
    pub(crate) fn finish(mut self) -> Result<(), ImportError> {
        sqlite::set_meta(&self.connection, "next_log", &self.next_log.to_string())
            .map_err(|error| self.failed(error))?;
        self.commit()?;
        self.run("PRAGMA wal_checkpoint(TRUNCATE)")?;
        let path = self.path.clone();
        self.connection
            .close()
            .map_err(|(_, source)| DatabaseError::Open {
                path: path.clone(),
                source,
            })?;
        let written = Snapshot::open(&path)?;
        let sound = written.rooms().iter().filter(|room| room.fault.is_none());
        if sound.count() as u64 != self.rooms || written.lost_lines() != (0, false) {
            return Err(ImportError::Malformed(
                "what was written is not what was read".into(),
            ));
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), ImportError> {
        self.rows_waiting = 0;
        self.bytes_waiting = 0;
        self.run("COMMIT")
    }

    fn run(&self, sql: &str) -> Result<(), ImportError> {
        self.connection
            .execute_batch(sql)
            .map_err(|error| self.failed(error))
    }

    fn insert_row(&self, header: &Header, body: &[u8]) -> Result<(), ImportError> {
        let insert = || {
            let mut insert = self
                .connection
                .prepare_cached(super::statements::INSERT_ROW)?;
            insert.execute(params![
                to_sql(self.next_row),
                FORMAT,
                to_sql(header.log),
                to_sql(header.entry),
                header.part,
                header.last,
                header.kind.encode(),
                to_sql(header.epoch),
                header.checksum(body),
                body,
            ])
        };
        insert().map(drop).map_err(|error| self.failed(error))
    }

    fn insert_line(&self, room: &RoomLine) -> Result<(), ImportError> {
        let name = &room.name;
        let insert = || {
            let mut insert = self.connection.prepare_cached(
                "INSERT INTO rooms (log, owner, room, status, checksum, created_at, last_accessed_at, deleted_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            insert.execute(params![
                to_sql(self.next_log),
                name.owner().as_str(),
                name.room().as_str(),
                row::encode_status(room.status),
                row::room_checksum(name, self.next_log, room.status),
                to_sql(room.created_at_ms),
                to_sql(room.last_accessed_at_ms),
                room.deleted_at_ms.map(to_sql),
            ])
        };
        insert().map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, source: rusqlite::Error) -> ImportError {
        ImportError::Database(DatabaseError::Open {
            path: self.path.clone(),
            source,
        })
    }
}

impl Awaited {
    /// What must follow this part; none if it is not the one that must come.
    fn follow(self, part: &Part<'_>) -> Option<Self> {
        let is_next = match (self.entry, self.part) {
            (None, _) => part.part == 0 && part.entry > 0,
            (Some(entry), Some(number)) => (part.entry, part.part) == (entry, number),
            (Some(entry), None) => (part.entry, part.part) == (entry.checked_add(1)?, 0),
        };
        is_next.then(|| Self {
            entry: Some(part.entry),
            part: (!part.is_last).then(|| part.part.saturating_add(1)),
        })
    }
}

fn to_sql(number: u64) -> i64 {
    // Numbers of rows, logs and entries count up from 1; times end long before this.
    i64::try_from(number).unwrap_or(i64::MAX)
}
