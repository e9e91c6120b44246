//! The SQL of the writer: what goes into one transaction, and why one fails.
//!
//! Every transaction that changes the log checks first that no other process has opened it for writing since. Statements
//! that a commit of updates uses are cached: reading their text again cost an eighth of the server's.

use std::ops::Deref;

use epicenter_identity::RoomName;
use rusqlite::{Connection, Params, params};

#[cfg(test)]
use super::failpoint;
use super::row::{self, FORMAT};
use super::scan::RetiredLog;
use super::stage::{Fate, KeptLog, Stage, StagedRejection, StagedRoom};
use crate::sqlite::{DatabaseError, find_meta, set_meta};

/// A row with everything in it.
pub(super) const INSERT_ROW: &str =
    "INSERT INTO entries (row, format, log, entry, part, last, kind, epoch, checksum, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Rows and bytes of retired logs that one transaction deletes: a few milliseconds of work.
const PURGE_ROWS: usize = 512;
const PURGE_BYTES: u64 = 8 << 20;

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    #[error("the disk or the database refused the commit")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database cannot be used after an earlier failure")]
    Database(#[from] DatabaseError),
    #[error("another process has opened the room log for writing")]
    Fenced,
    #[error("a line of the room directory has disappeared")]
    NoLine,
    #[error("a number is too large to be stored")]
    Range(#[from] std::num::TryFromIntError),
}

/// Writes what a stage holds, and the times of last use, in one durable transaction.
pub(super) fn write(
    connection: &mut Connection,
    stage: &Stage<'_>,
    accesses: &[(RoomName, u64, u64)],
) -> Result<(), CommitError> {
    let transaction = begin(connection, stage.epoch)?;
    // Before the rooms: one that begins a new log here still has the one that its access names.
    for (_, log, at) in accesses {
        write_access(&transaction, *log, *at)?;
    }
    insert_rows(&transaction, stage)?;
    for (room, staged) in &stage.rooms {
        write_room(&transaction, room, staged, stage.now_ms)?;
        reached("a room was written");
    }
    for staged in &stage.rejections {
        write_rejection(&transaction, staged, stage.now_ms)?;
        reached("a rejection was written");
    }
    if stage.begins_logs() {
        set_meta(&transaction, "next_log", &stage.next_log.to_string())?;
    }
    reached("everything was written");
    transaction.commit()?;
    reached("the commit is done");
    Ok(())
}

/// A place where tests cut the power.
fn reached(_place: &'static str) {
    #[cfg(test)]
    failpoint::reached(_place);
}

/// An open transaction: undone when it is dropped before its commit.
struct Transaction<'a>(&'a Connection);

impl Transaction<'_> {
    fn commit(self) -> rusqlite::Result<()> {
        run(&self, "COMMIT", [])?;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // The next commit begins by looking at the connection if this one failed.
            drop(self.0.execute_batch("ROLLBACK"));
        }
    }
}

/// Begins a transaction; fails when the database was opened for writing again since.
fn begin(connection: &mut Connection, epoch: u64) -> Result<Transaction<'_>, CommitError> {
    run(connection, "BEGIN IMMEDIATE", [])?;
    let transaction = Transaction(connection);
    let stored = find_meta(&transaction, "epoch")?;
    if stored.is_some_and(|stored| stored == epoch.to_string()) {
        Ok(transaction)
    } else {
        Err(CommitError::Fenced)
    }
}

/// Runs a statement whose text is read once for each connection; says how many rows it changed.
fn run(connection: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(values)
}

fn insert_rows(transaction: &Transaction<'_>, stage: &Stage<'_>) -> Result<(), CommitError> {
    let mut insert = transaction.prepare_cached(INSERT_ROW)?;
    for staged in &stage.rows {
        let header = &staged.header;
        insert.execute(params![
            i64::try_from(staged.row)?,
            FORMAT,
            i64::try_from(header.log)?,
            i64::try_from(header.entry)?,
            header.part,
            header.last,
            header.kind.encode(),
            i64::try_from(header.epoch)?,
            header.checksum(staged.body),
            staged.body,
        ])?;
        reached("a row was written");
    }
    Ok(())
}

fn write_room(
    transaction: &Transaction<'_>,
    name: &RoomName,
    staged: &StagedRoom,
    now_ms: u64,
) -> Result<(), CommitError> {
    if staged.is_new || staged.is_changed {
        write_line(transaction, name, staged, now_ms)?;
        reached("a line was written");
    }
    for old in &staged.old {
        match &old.fate {
            Fate::Retire => retire(transaction, old.log, now_ms)?,
            Fate::Keep(kept) => write_generation(transaction, name, old.log, kept, now_ms)?,
        }
        reached("an old log was noted");
    }
    if staged.drops_kept {
        drop_kept(transaction, name, now_ms)?;
    }
    Ok(())
}

fn write_line(
    transaction: &Transaction<'_>,
    name: &RoomName,
    staged: &StagedRoom,
    now_ms: u64,
) -> Result<(), CommitError> {
    let log = i64::try_from(staged.log)?;
    let now = i64::try_from(now_ms)?;
    let status = row::encode_status(staged.status);
    let deleted_at = staged.deleted_at.map(i64::try_from).transpose()?;
    let checksum = row::room_checksum(name, staged.log, staged.status);
    if staged.is_new {
        run(
            transaction,
            "INSERT INTO rooms (log, owner, room, status, checksum, created_at, last_accessed_at, deleted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
            params![
                log,
                name.owner().as_str(),
                name.room().as_str(),
                status,
                checksum,
                now,
                deleted_at
            ],
        )?;
        return Ok(());
    }
    let changed = run(
        transaction,
        "UPDATE rooms SET log = ?1, status = ?2, checksum = ?3, deleted_at = ?4 WHERE log = ?5",
        params![
            log,
            status,
            checksum,
            deleted_at,
            i64::try_from(staged.stored_log)?
        ],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(CommitError::NoLine)
    }
}

fn retire(transaction: &Transaction<'_>, log: u64, now_ms: u64) -> Result<(), CommitError> {
    // An earlier commit may have done it that was reported as failed.
    run(
        transaction,
        "INSERT OR IGNORE INTO retired_logs (log, retired_at) VALUES (?1, ?2)",
        [i64::try_from(log)?, i64::try_from(now_ms)?],
    )?;
    Ok(())
}

fn write_generation(
    transaction: &Transaction<'_>,
    name: &RoomName,
    log: u64,
    kept: &KeptLog,
    now_ms: u64,
) -> Result<(), CommitError> {
    let numbers = [log, kept.upto, kept.entries, kept.bytes, now_ms];
    run(
        transaction,
        "INSERT INTO generations (log, owner, room, upto, entries, bytes, replaced_at, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            i64::try_from(log)?,
            name.owner().as_str(),
            name.room().as_str(),
            i64::try_from(kept.upto)?,
            i64::try_from(kept.entries)?,
            i64::try_from(kept.bytes)?,
            i64::try_from(now_ms)?,
            row::kept_checksum(name, &numbers, "")
        ],
    )?;
    Ok(())
}

fn write_rejection(
    transaction: &Transaction<'_>,
    staged: &StagedRejection<'_>,
    now_ms: u64,
) -> Result<(), CommitError> {
    let rejected = staged.rejected;
    let name = &rejected.room;
    let bytes = u64::try_from(rejected.ready.len())?;
    let numbers = [staged.log, rejected.log.0, rejected.upto.0, bytes, now_ms];
    run(
        transaction,
        "INSERT INTO rejections (log, of, owner, room, upto, bytes, rejected_at, reason, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            i64::try_from(staged.log)?,
            i64::try_from(rejected.log.0)?,
            name.owner().as_str(),
            name.room().as_str(),
            i64::try_from(rejected.upto.0)?,
            i64::try_from(bytes)?,
            i64::try_from(now_ms)?,
            rejected.reason,
            row::kept_checksum(name, &numbers, &rejected.reason)
        ],
    )?;
    Ok(())
}

/// Retires whatever is kept of a room's past.
fn drop_kept(
    transaction: &Transaction<'_>,
    name: &RoomName,
    now_ms: u64,
) -> Result<(), CommitError> {
    for table in ["generations", "rejections"] {
        let names = [name.owner().as_str(), name.room().as_str()];
        let mut delete = transaction.prepare_cached(&format!(
            "DELETE FROM {table} WHERE owner = ?1 AND room = ?2 RETURNING log"
        ))?;
        let logs = delete.query_map(names, |row| row.get::<_, i64>(0))?;
        for log in logs.collect::<Result<Vec<_>, _>>()? {
            retire(transaction, u64::try_from(log)?, now_ms)?;
        }
    }
    Ok(())
}

/// Retires logs that one of the tables of kept logs names.
pub(super) fn retire_kept(
    connection: &mut Connection,
    epoch: u64,
    table: KeptTable,
    logs: &[u64],
    now_ms: u64,
) -> Result<(), CommitError> {
    let transaction = begin(connection, epoch)?;
    let delete = match table {
        KeptTable::Generations => "DELETE FROM generations WHERE log = ?1",
        KeptTable::Rejections => "DELETE FROM rejections WHERE log = ?1",
    };
    for log in logs {
        run(&transaction, delete, [i64::try_from(*log)?])?;
        retire(&transaction, *log, now_ms)?;
        reached("a kept log was retired");
    }
    transaction.commit()?;
    reached("the commit is done");
    Ok(())
}

/// Where a kept log is noted.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeptTable {
    Generations,
    Rejections,
}

fn write_access(transaction: &Transaction<'_>, log: u64, at: u64) -> Result<(), CommitError> {
    run(
        transaction,
        "UPDATE rooms SET last_accessed_at = ?2 WHERE log = ?1",
        [i64::try_from(log)?, i64::try_from(at)?],
    )?;
    Ok(())
}

/// Writes the times of last use on their own.
pub(super) fn write_accesses(
    connection: &mut Connection,
    epoch: u64,
    accesses: &[(u64, u64)],
) -> Result<(), CommitError> {
    let transaction = begin(connection, epoch)?;
    for (log, at) in accesses {
        write_access(&transaction, *log, *at)?;
    }
    Ok(transaction.commit()?)
}

/// Deletes some of the rows, and the log's line with the last of them.
pub(super) fn delete_rows(
    connection: &mut Connection,
    epoch: u64,
    retired: &mut RetiredLog,
) -> Result<(), CommitError> {
    let log = i64::try_from(retired.log)?;
    let transaction = begin(connection, epoch)?;
    let mut deleted = 0;
    {
        let mut delete = transaction.prepare_cached(
            "DELETE FROM entries WHERE row = ?1 AND log = ?2 RETURNING length(body)",
        )?;
        let mut bytes = 0;
        for row in retired.rows.iter().take(PURGE_ROWS) {
            let mut lengths = delete.query(params![i64::try_from(*row)?, log])?;
            while let Some(length) = lengths.next()? {
                bytes += length.get::<_, u32>(0).map_or(0, u64::from);
            }
            deleted += 1;
            reached("a row was deleted");
            if bytes >= PURGE_BYTES {
                break;
            }
        }
    }
    if deleted == retired.rows.len() {
        run(
            &transaction,
            "DELETE FROM retired_logs WHERE log = ?1",
            [log],
        )?;
    }
    transaction.commit()?;
    reached("the commit is done");
    retired.rows.drain(..deleted);
    Ok(())
}
