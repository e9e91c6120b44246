//! The tables of `rooms.db`. Stored for ever: a change is a new migration, never an edit of an old one.
//!
//! `entries` has no key but its arrival order: an index by room and number would touch a page per room and commit,
//! many times the bytes of the updates themselves. The per-room order lives in memory and is rebuilt from the row
//! headers at start (`scan.rs`).

use std::path::Path;

use rusqlite::Connection;

use crate::sqlite::{self, DatabaseError};

/// Version 1.
///
/// * `entries.row`: arrival order over all rooms. `format`: how the other columns are to be read, 1. `log`: which
///   log of `rooms.log`. `entry`, `part`, `last`: an entry's number in its room, the number of this part of it, and
///   whether it is the last part. `kind`: 1 ready, 2 pending, 3 created, 4 deleted, 5 re-created. `epoch`: which
///   opening of the database wrote the row. `checksum`: CRC-32 over all of these and `body` (`row.rs`). `body` comes
///   last, so that reading the others does not read it.
/// * `rooms.log`: the log that counts; a room gets a new one when it is re-created. `status`: 1 live, 2 deleted.
///   `checksum`: CRC-32 over `log`, `status`, `owner` and `room` (`row.rs`), because a room under a damaged name would
///   look like one that never was. Times are milliseconds since the Unix epoch.
/// * `retired_logs`: logs whose rows are being deleted, a bounded number at a time.
/// * `meta`: `epoch` and `next_log` besides the schema version.
const VERSION_1: &str = "
    CREATE TABLE entries (
        row INTEGER PRIMARY KEY,
        format INTEGER NOT NULL,
        log INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        part INTEGER NOT NULL,
        last INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE rooms (
        log INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        room TEXT NOT NULL,
        status INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        last_accessed_at INTEGER NOT NULL,
        deleted_at INTEGER,
        UNIQUE (owner, room)
    ) STRICT;
    CREATE TABLE retired_logs (
        log INTEGER PRIMARY KEY,
        retired_at INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta (key, value) VALUES ('epoch', '0'), ('next_log', '1');
";

/// Version 2: logs are replaced by states. It only adds.
///
/// * `entries.kind`: 6 a state that stands for all entries before it, 7 restored. A log begins with its room's first
///   entry, with a re-creation, with a state, or with the tombstone of a room whose content is gone.
/// * `generations`: logs that were replaced and are still kept, and `upto`, the last entry that the state in their place
///   covers. `checksum`: CRC-32 over the other columns (`row.rs`).
/// * `rejections`: states that must not replace the log they were made of, `of`. Each is the only entry of a log of its
///   own, `log`; a room whose log has one is not compacted.
const VERSION_2: &str = "
    CREATE TABLE generations (
        log INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        room TEXT NOT NULL,
        upto INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        replaced_at INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX generations_by_room ON generations (owner, room);
    CREATE TABLE rejections (
        log INTEGER PRIMARY KEY,
        of INTEGER NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        room TEXT NOT NULL,
        upto INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        rejected_at INTEGER NOT NULL,
        reason TEXT NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
";

/// Pages of write-ahead log after which a commit copies them into the database: 4 MiB, some ten milliseconds of work.
/// Where commits are small, each has written the same page as the one before, so that rarer copying saves little, and
/// a file that is written anew from its beginning is cheaper to sync than one that grows.
const CHECKPOINT_PAGES: i64 = 1024;
/// All that the writer runs more than once.
const CACHED_STATEMENTS: usize = 32;

/// Every migration, the first one first.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

/// The version of the schema that this program writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Refuses a database that this program does not know how to read, without changing anything.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<u32, DatabaseError> {
    sqlite::check_version(connection, path, MIGRATIONS)
}

/// Opens the database for writing, its schema up to date.
pub(super) fn open(path: &Path, max_pages: Option<u32>) -> Result<Connection, DatabaseError> {
    let connection = sqlite::open_writable(path, MIGRATIONS)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    let set_limits = || -> rusqlite::Result<()> {
        connection
            .pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
        if let Some(pages) = max_pages {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        Ok(())
    };
    set_limits().map_err(|source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    })?;
    Ok(connection)
}

/// Makes this opening the one that may write, and returns its number. Every earlier writer finds itself fenced off at
/// its next commit.
pub(super) fn begin_epoch(connection: &mut Connection, path: &Path) -> Result<u64, DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    let epoch = number(&transaction, path, "epoch")? + 1;
    sqlite::set_meta(&transaction, "epoch", &epoch.to_string()).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(epoch)
}

/// A number in the `meta` table.
pub(super) fn number(
    connection: &Connection,
    path: &Path,
    key: &str,
) -> Result<u64, DatabaseError> {
    sqlite::find_meta(connection, key)
        .map_err(|source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        })?
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| DatabaseError::Damaged {
            path: path.to_owned(),
            what: format!("its {key} is unreadable"),
        })
}
