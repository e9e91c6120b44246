//! Opening SQLite the one way this host does: write-ahead log, an fsync per commit, private files, forward-only schema.
//!
//! Both databases of a data directory come through here. What was asked of SQLite is read back, because it answers a
//! pragma it cannot honour with another value and no error. A database written by a newer program is refused before
//! anything in it is changed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

/// How long a statement waits for another process that holds the write lock, as `admin` commands of a running hub do.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between attempts where SQLite does not wait by itself.
const BUSY_RETRY: Duration = Duration::from_millis(5);
/// What is left of the write-ahead log on disk after a checkpoint; a burst may grow it further for a while.
const WAL_BYTES_KEPT: i64 = 64 << 20;

/// A database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The file cannot be created or made private.
    #[error("cannot create {}", path.display())]
    Create {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite cannot use the file.
    #[error("cannot use {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer program has written the file.
    #[error(
        "{} has schema version {found} and this program knows versions up to {known}: use the newer program",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The last version this program knows.
        known: u32,
    },
    /// SQLite would not keep what it acknowledges.
    #[error("{} cannot be used durably: {pragma} is {found}, not {wanted}", path.display())]
    NotDurable {
        /// The database file.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What SQLite answered.
        found: String,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A migration failed; the file is as it was before.
    #[error("cannot bring {} to schema version {version}", path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// The version that could not be reached.
        version: u32,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The system gives no thread to use it with.
    #[error("no thread can be started for {}", path.display())]
    NoThread {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content contradicts itself where the whole database depends on it.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Opens for writing: creates the file (mode 0600) if need be and brings its schema to `migrations.len()`.
///
/// Migration `n` of the list leads from version `n` to `n + 1` and runs under an exclusive lock, so that several
/// processes may start at once.
pub(crate) fn open_writable(path: &Path, migrations: &[&str]) -> Result<Connection, DatabaseError> {
    create_private(path).map_err(|source| DatabaseError::Create {
        path: path.to_owned(),
        source,
    })?;
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    refuse_newer(&connection, path, migrations)?;
    set_durable(&connection, path)?;
    migrate(&mut connection, path, migrations)?;
    Ok(connection)
}

/// Opens for reading only, without looking at the schema: the writer of this process has done that.
pub(crate) fn open_readonly(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The version of the schema, of a database that is opened for reading: at least 1, and none that a newer program wrote.
pub(crate) fn check_version(
    connection: &Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<u32, DatabaseError> {
    refuse_newer(connection, path, migrations)?;
    match schema_version(connection, path)? {
        0 => Err(DatabaseError::Damaged {
            path: path.to_owned(),
            what: "it has no tables".to_owned(),
        }),
        version => Ok(version),
    }
}

/// What SQLite itself finds wrong with a database, at most a hundred lines; none for a sound one.
pub(crate) fn check_integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<_> = lines.collect::<Result<_, _>>()?;
    Ok(if lines == ["ok"] { Vec::new() } else { lines })
}

/// One line of the `meta` table.
pub(crate) fn find_meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Writes one line of the `meta` table.
pub(crate) fn set_meta(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
        )?
        .execute([key, value])?;
    Ok(())
}

/// SQLite gives its `-wal` and `-shm` files the mode of the database, so creating that one privately covers all three.
///
/// An existing database is never opened here: closing any descriptor of a file drops the locks that this process's
/// SQLite connections hold on it.
fn create_private(path: &Path) -> io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(file) => {
            file.sync_all()?;
            sync_directory_of(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Makes the name of a new file durable.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn set_durable(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let not_durable = |pragma, found, wanted| DatabaseError::NotDurable {
        path: path.to_owned(),
        pragma,
        found,
        wanted,
    };
    let mode = switch_to_wal(connection).map_err(failed)?;
    if mode != "wal" {
        return Err(not_durable("journal_mode", mode, "wal"));
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;",
        )
        .map_err(failed)?;
    connection
        .pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))
        .map_err(failed)?;
    let level: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(failed)?;
    if level != 2 {
        return Err(not_durable("synchronous", level.to_string(), "2"));
    }
    Ok(())
}

/// SQLite answers "busy" to a change of journal mode without waiting, so two processes that create a database at once
/// have to wait here.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<String> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let answer =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        match answer {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_RETRY);
            }
            answer => return answer,
        }
    }
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), DatabaseError> {
    if usize::try_from(schema_version(connection, path)?) == Ok(migrations.len()) {
        return Ok(());
    }
    let failed = |version: u32| {
        move |source| DatabaseError::Migration {
            path: path.to_owned(),
            version,
            source,
        }
    };
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(failed(1))?;
    // Another process may have migrated while this one waited for the lock.
    refuse_newer(&transaction, path, migrations)?;
    let current = schema_version(&transaction, path)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        )
        .map_err(failed(current))?;
    for (version, migration) in (1_u32..).zip(migrations) {
        if version > current {
            transaction
                .execute_batch(migration)
                .map_err(failed(version))?;
            set_meta(&transaction, "schema_version", &version.to_string())
                .map_err(failed(version))?;
        }
    }
    transaction.commit().map_err(failed(current))
}

fn refuse_newer(
    connection: &Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), DatabaseError> {
    let found = schema_version(connection, path)?;
    match u32::try_from(migrations.len()) {
        Ok(known) if found > known => Err(DatabaseError::Newer {
            path: path.to_owned(),
            found,
            known,
        }),
        _ => Ok(()),
    }
}

/// 0 for a database without tables.
fn schema_version(connection: &Connection, path: &Path) -> Result<u32, DatabaseError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let has_meta = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'",
            [],
            |_| Ok(()),
        )
        .optional()
        .map_err(failed)?
        .is_some();
    if !has_meta {
        return Ok(0);
    }
    let text = find_meta(connection, "schema_version").map_err(failed)?;
    text.as_deref()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| DatabaseError::Damaged {
            path: path.to_owned(),
            what: "its schema version is unreadable".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE things (name TEXT) STRICT; INSERT INTO things VALUES ('old')";

    fn count(connection: &Connection, table: &str) -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
    }

    #[test]
    fn every_commit_is_synced() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_writable(&directory.path().join("a.db"), &[FIRST]).unwrap();
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        let level: i64 = connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap();
        assert_eq!((mode.as_str(), level), ("wal", 2));
    }

    #[test]
    fn migrations_run_once_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let second =
            "ALTER TABLE things ADD COLUMN size INTEGER; INSERT INTO things VALUES ('new', 1)";
        for (migrations, rows, version) in [
            (&[FIRST][..], 1, "1"),
            (&[FIRST], 1, "1"),
            (&[FIRST, second], 2, "2"),
            (&[FIRST, second], 2, "2"),
        ] {
            let connection = open_writable(&path, migrations).unwrap();
            assert_eq!(count(&connection, "things"), Ok(rows));
            let stored = find_meta(&connection, "schema_version").unwrap();
            assert_eq!(stored.as_deref(), Some(version));
        }
        let error = open_writable(&path, &[FIRST]).unwrap_err();
        assert!(matches!(
            error,
            DatabaseError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ));
    }

    #[test]
    fn a_failed_migration_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        drop(open_writable(&path, &[FIRST]).unwrap());
        let broken = "CREATE TABLE half (name TEXT); INSERT INTO nowhere VALUES (1)";
        let error = open_writable(&path, &[FIRST, broken]).unwrap_err();
        assert!(matches!(error, DatabaseError::Migration { version: 2, .. }));
        let connection = open_writable(&path, &[FIRST]).unwrap();
        assert_eq!(count(&connection, "things"), Ok(1));
        count(&connection, "half").unwrap_err();
    }
}
