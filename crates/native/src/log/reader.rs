//! Reading a room's rows: on connections of their own, so that reading never waits for a commit.
//!
//! The directory says which rows there must be; every one of them must be there, name the same log, entry and part, and
//! match its checksum. Anything else is a fault of that room alone.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::row::{FORMAT, Header, Kind};
use super::row_list::RowRef;
use crate::sqlite;

/// Rows of other rooms that are stepped over rather than looked up anew: they mostly share a page.
const MAX_SKIPPED_ROWS: u64 = 16;

/// Rows of a log between two rows. The log is part of the question, so that rows of other rooms are stepped over without
/// reading their bodies.
pub(super) const ROWS_OF_A_LOG: &str =
    "SELECT row, format, log, entry, part, last, kind, epoch, checksum, body
     FROM entries WHERE row BETWEEN ?1 AND ?2 AND log = ?3";

/// The parameters of [`ROWS_OF_A_LOG`].
pub(super) fn bounds(first: u64, last: u64, log: u64) -> [i64; 3] {
    [to_sql(first), to_sql(last), to_sql(log)]
}

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    #[error("the database cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("row {row} (entry {entry}, part {part}) is missing")]
    Missing { row: u64, entry: u64, part: u32 },
    #[error("row {row} (entry {entry}, part {part}) is damaged: {what}")]
    Damaged {
        row: u64,
        entry: u64,
        part: u32,
        what: &'static str,
    },
}

/// A few read-only connections, opened when first needed.
#[derive(Debug)]
pub(super) struct ReadPool {
    path: PathBuf,
    max_reads: usize,
    state: Mutex<PoolState>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    idle: Vec<Connection>,
    reads: usize,
}

impl ReadPool {
    pub(super) fn new(path: PathBuf, max_reads: usize) -> Self {
        Self {
            path,
            max_reads: max_reads.max(1),
            state: Mutex::default(),
            finished: Condvar::new(),
        }
    }

    /// Reads whole entries: `refs` holds every part of each of them. Waits while too many others read.
    pub(super) fn read(&self, log: u64, refs: &[RowRef]) -> Result<Vec<(Kind, Bytes)>, RowsError> {
        if refs.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.wait_for_turn();
        let idle = self.lock().idle.pop();
        let connection = match idle {
            Some(connection) => connection,
            None => sqlite::open_readonly(&self.path)?,
        };
        let result = read_entries(&connection, log, refs);
        if !matches!(result, Err(RowsError::Sqlite(_))) {
            // After an error of SQLite's own the connection is not trusted again.
            self.lock().idle.push(connection);
        }
        result
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.lock().idle.clear();
    }

    fn wait_for_turn(&self) -> Turn<'_> {
        let mut state = self.lock();
        while state.reads >= self.max_reads {
            state = self
                .finished
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.reads += 1;
        Turn(self)
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // No critical section here leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to read now.
struct Turn<'a>(&'a ReadPool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().reads -= 1;
        self.0.finished.notify_one();
    }
}

/// Reads whole entries: `refs` holds every part of each of them.
pub(super) fn read_entries(
    connection: &Connection,
    log: u64,
    refs: &[RowRef],
) -> Result<Vec<(Kind, Bytes)>, RowsError> {
    let mut statement = connection.prepare(ROWS_OF_A_LOG)?;
    let mut assembly = Assembly::default();
    for span in spans(refs) {
        let (Some(first), Some(last)) = (span.first(), span.last()) else {
            continue;
        };
        let mut rows = statement.query(bounds(first.row, last.row, log))?;
        for expected in span {
            let row = rows.next()?.ok_or_else(|| missing(expected))?;
            let (header, body) = check_row(row, log, expected)?;
            assembly.add(header, body, expected)?;
        }
    }
    assembly.finish(refs)
}

/// Cuts the rows where a query of their whole range would step over too many others.
pub(super) fn spans(refs: &[RowRef]) -> impl Iterator<Item = &[RowRef]> {
    refs.chunk_by(|left, right| right.row - left.row <= MAX_SKIPPED_ROWS)
}

/// The row must be the one that is expected, and sound.
pub(super) fn check_row<'a>(
    row: &'a Row<'_>,
    log: u64,
    expected: &RowRef,
) -> Result<(Header, &'a [u8]), RowsError> {
    if row.get::<_, i64>(0).ok() != Some(to_sql(expected.row)) {
        return Err(missing(expected));
    }
    let stored = StoredRow::parse(row).ok_or_else(|| damaged(expected, "it is unreadable"))?;
    if !stored.matches(log) {
        return Err(damaged(expected, "its checksum does not match"));
    }
    if (stored.header.entry, stored.header.part) != (expected.entry, expected.part) {
        return Err(damaged(expected, "another entry is in its place"));
    }
    Ok((stored.header, stored.body))
}

/// A row by its number alone, to tell what a stray one is; none when it cannot be read.
pub(super) fn find_row(
    connection: &Connection,
    row: u64,
) -> rusqlite::Result<Option<StoredRow<Vec<u8>>>> {
    let mut statement = connection.prepare(
        "SELECT row, format, log, entry, part, last, kind, epoch, checksum, body FROM entries WHERE row = ?1",
    )?;
    let mut rows = statement.query([to_sql(row)])?;
    let found = rows.next()?.and_then(StoredRow::parse);
    Ok(found.map(|stored| StoredRow {
        header: stored.header,
        checksum: stored.checksum,
        body: stored.body.to_vec(),
    }))
}

/// A row in the current format, not yet believed.
#[derive(Debug)]
pub(super) struct StoredRow<Body> {
    pub(super) header: Header,
    checksum: u32,
    body: Body,
}

impl<'a> StoredRow<&'a [u8]> {
    fn parse(row: &'a Row<'_>) -> Option<Self> {
        let number = |column| row.get::<_, i64>(column).ok();
        if number(1)? != i64::from(FORMAT) {
            return None;
        }
        let header = Header {
            log: u64::try_from(number(2)?).ok()?,
            entry: u64::try_from(number(3)?).ok()?,
            part: u32::try_from(number(4)?).ok()?,
            last: match number(5)? {
                0 => false,
                1 => true,
                _ => return None,
            },
            kind: Kind::decode(number(6)?)?,
            epoch: u64::try_from(number(7)?).ok()?,
        };
        let checksum = u32::try_from(number(8)?).ok()?;
        match row.get_ref(9).ok()? {
            ValueRef::Blob(body) => Some(Self {
                header,
                checksum,
                body,
            }),
            _ => None,
        }
    }
}

impl<Body: AsRef<[u8]>> StoredRow<Body> {
    /// Whether the checksum is that of a row of this log.
    pub(super) fn matches(&self, log: u64) -> bool {
        Header { log, ..self.header }.checksum(self.body.as_ref()) == self.checksum
    }
}

/// Puts parts together.
#[derive(Default)]
struct Assembly {
    entries: Vec<(Kind, Bytes)>,
    partial: Option<(Header, Vec<u8>)>,
}

impl Assembly {
    fn add(&mut self, header: Header, body: &[u8], expected: &RowRef) -> Result<(), RowsError> {
        match self.partial.take() {
            None if header.part == 0 && header.last => {
                self.entries
                    .push((header.kind, Bytes::copy_from_slice(body)));
            }
            None if header.part == 0 => self.partial = Some((header, body.to_vec())),
            Some((first, mut bytes))
                if header.entry == first.entry && header.kind == first.kind =>
            {
                bytes.extend_from_slice(body);
                if header.last {
                    self.entries.push((first.kind, Bytes::from(bytes)));
                } else {
                    self.partial = Some((first, bytes));
                }
            }
            _ => {
                return Err(damaged(
                    expected,
                    "the parts of its entry do not belong together",
                ));
            }
        }
        Ok(())
    }

    fn finish(self, refs: &[RowRef]) -> Result<Vec<(Kind, Bytes)>, RowsError> {
        match (self.partial, refs.last()) {
            (Some(_), Some(last)) => Err(damaged(last, "later parts of its entry are missing")),
            _ => Ok(self.entries),
        }
    }
}

pub(super) fn missing(expected: &RowRef) -> RowsError {
    RowsError::Missing {
        row: expected.row,
        entry: expected.entry,
        part: expected.part,
    }
}

fn damaged(expected: &RowRef, what: &'static str) -> RowsError {
    RowsError::Damaged {
        row: expected.row,
        entry: expected.entry,
        part: expected.part,
        what,
    }
}

fn to_sql(number: u64) -> i64 {
    // Every number here was read from a column of this type.
    i64::try_from(number).unwrap_or(i64::MAX)
}
