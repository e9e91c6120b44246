//! The SQL of the writer: what goes into one transaction, and why one fails.
//!
//! Every transaction that changes the log checks first that no other process has opened it for writing since.

use epicenter_identity::RoomName;
use epicenter_room::RoomStatus;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::row::{self, FORMAT};
use super::scan::RetiredLog;
use super::stage::{Stage, StagedRoom};
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
    #[error("a number is too large to be stored")]
    Range(#[from] std::num::TryFromIntError),
}

/// Writes what a stage holds, and the times of last use, in one durable transaction.
pub(super) fn write(
    connection: &mut Connection,
    stage: &Stage<'_>,
    accesses: &[(RoomName, u64, u64)],
    now_ms: u64,
) -> Result<(), CommitError> {
    let transaction = begin(connection, stage.epoch)?;
    // Before the rooms: one that is re-created here still has the log that its access names.
    for (_, log, at) in accesses {
        write_access(&transaction, *log, *at)?;
    }
    insert_rows(&transaction, stage)?;
    for (room, staged) in &stage.rooms {
        write_room(&transaction, room, staged, now_ms)?;
    }
    if stage.begins_logs() {
        set_meta(&transaction, "next_log", &stage.next_log.to_string())?;
    }
    Ok(transaction.commit()?)
}

/// Begins a transaction; fails when the database was opened for writing again since.
fn begin(connection: &mut Connection, epoch: u64) -> Result<Transaction<'_>, CommitError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let stored = find_meta(&transaction, "epoch")?;
    if stored.is_some_and(|stored| stored == epoch.to_string()) {
        Ok(transaction)
    } else {
        Err(CommitError::Fenced)
    }
}

fn insert_rows(transaction: &Transaction<'_>, stage: &Stage<'_>) -> Result<(), CommitError> {
    let mut insert = transaction.prepare(INSERT_ROW)?;
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
    }
    Ok(())
}

fn write_room(
    transaction: &Transaction<'_>,
    name: &RoomName,
    staged: &StagedRoom,
    now_ms: u64,
) -> Result<(), CommitError> {
    let log = i64::try_from(staged.log)?;
    let now = i64::try_from(now_ms)?;
    let status = row::encode_status(staged.status);
    let deleted_at = (staged.status == RoomStatus::Deleted).then_some(now);
    let checksum = row::room_checksum(name, staged.log, staged.status);
    if staged.is_new {
        transaction.execute(
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
    } else if staged.is_changed {
        transaction.execute(
            "UPDATE rooms SET log = ?1, status = ?2, checksum = ?3, deleted_at = ?4 WHERE log = ?5",
            params![
                log,
                status,
                checksum,
                deleted_at,
                i64::try_from(staged.stored_log)?
            ],
        )?;
    }
    for retired in &staged.retired {
        transaction.execute(
            "INSERT INTO retired_logs (log, retired_at) VALUES (?1, ?2)",
            params![i64::try_from(retired.log)?, now],
        )?;
    }
    Ok(())
}

fn write_access(transaction: &Transaction<'_>, log: u64, at: u64) -> Result<(), CommitError> {
    transaction.execute(
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
        let mut delete = transaction
            .prepare("DELETE FROM entries WHERE row = ?1 AND log = ?2 RETURNING length(body)")?;
        let mut bytes = 0;
        for row in retired.rows.iter().take(PURGE_ROWS) {
            let mut lengths = delete.query(params![i64::try_from(*row)?, log])?;
            while let Some(length) = lengths.next()? {
                bytes += length.get::<_, u32>(0).map_or(0, u64::from);
            }
            deleted += 1;
            if bytes >= PURGE_BYTES {
                break;
            }
        }
    }
    if deleted == retired.rows.len() {
        transaction.execute("DELETE FROM retired_logs WHERE log = ?1", [log])?;
    }
    transaction.commit()?;
    retired.rows.drain(..deleted);
    Ok(())
}
