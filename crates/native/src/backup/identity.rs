//! The embedded identity store in a backup: its tables, row by row, of one moment.
//!
//! Rows and not the database file: nothing has to be copied into a file of its own first, a restore writes what it has
//! checked into tables that this program made, and damage to one table is not damage to the others.

use std::path::{Path, PathBuf};

use epicenter_encryption::AuthSecret;
use epicenter_store::schema::MIGRATIONS;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};

use super::manifest::TableHead;
use crate::sqlite::{self, DatabaseError};
use crate::store::opens_signing_key;

/// What a restore leaves out unless sessions are kept: whoever was signed in signs in again, and every link and code that
/// waited ends.
pub(super) const ENDED: &[&str] = &[
    "codes",
    "grants",
    "invitations",
    "refresh_tokens",
    "sessions",
    "setup_link",
];

/// What a backup leaves out and a restore never takes: signing keys are made anew, so that no older token is good, and a lease was held by a
/// process that is gone.
pub(super) const NEVER_RESTORED: &[&str] = &["leases", "signing_keys"];

/// Without these there are no accounts; the hub makes the other tables' rows again, or does without.
pub(super) const ESSENTIAL: &[&str] = &["counters", "meta", "users"];

/// The identity store at one moment, read beside whoever writes.
pub(super) struct IdentitySnapshot {
    connection: Connection,
    path: PathBuf,
    version: u32,
}

impl IdentitySnapshot {
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let connection = sqlite::open_readonly(path).map_err(failed)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        // The first statement that reads is what the moment is of.
        let version = sqlite::check_version(&connection, path, MIGRATIONS)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            version,
        })
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// Whether nothing has to be migrated.
    pub(super) fn is_current(&self) -> bool {
        usize::try_from(self.version) == Ok(MIGRATIONS.len())
    }

    pub(super) fn find_meta(&self, key: &str) -> Result<Option<String>, DatabaseError> {
        sqlite::find_meta(&self.connection, key).map_err(|error| self.failed(error))
    }

    /// Whether the secret opens a signing key, or there is none to open.
    pub(super) fn is_sealed_by(&self, secret: &AuthSecret) -> Result<bool, DatabaseError> {
        let read = || -> rusqlite::Result<bool> {
            let mut statement = self
                .connection
                .prepare("SELECT kid, sealed_private FROM signing_keys")?;
            let mut rows = statement.query([])?;
            let mut is_empty = true;
            while let Some(row) = rows.next()? {
                is_empty = false;
                let (kid, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                if opens_signing_key(secret, &kid, &sealed) {
                    return Ok(true);
                }
            }
            Ok(is_empty)
        };
        read().map_err(|error| self.failed(error))
    }

    /// Every table with its columns, by name.
    pub(super) fn tables(&self) -> Result<Vec<TableHead>, DatabaseError> {
        tables(&self.connection).map_err(|error| self.failed(error))
    }

    /// Gives every row of a table, encoded.
    pub(super) fn read_table<E>(
        &self,
        table: &TableHead,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, DatabaseError> {
        let mut read = || -> rusqlite::Result<Result<(), E>> {
            let mut statement = self.connection.prepare(&select(table))?;
            let mut rows = statement.query([])?;
            let mut encoded = Vec::new();
            while let Some(row) = rows.next()? {
                encoded.clear();
                for column in 0..table.columns.len() {
                    encode(row.get_ref(column)?, &mut encoded);
                }
                if let Err(error) = take(&encoded) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        read().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: rusqlite::Error) -> DatabaseError {
        DatabaseError::Open {
            path: self.path.clone(),
            source,
        }
    }
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<TableHead>> {
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut tables = Vec::new();
    for name in names {
        let table = name?;
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let columns = statement.query_map([&table], |row| row.get(0))?;
        let columns = columns.collect::<Result<_, _>>()?;
        tables.push(TableHead { table, columns });
    }
    Ok(tables)
}

fn select(table: &TableHead) -> String {
    format!("SELECT {} FROM {}", column_list(table), quote(&table.table))
}

fn column_list(table: &TableHead) -> String {
    let columns: Vec<_> = table.columns.iter().map(|column| quote(column)).collect();
    columns.join(", ")
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes tables into a new identity store of a certain version.
pub(super) struct IdentityImport {
    connection: Connection,
    path: PathBuf,
    known: Vec<TableHead>,
}

/// An import failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityImportError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("{0}")]
    Malformed(String),
}

impl IdentityImport {
    /// Makes the database with empty tables; there must be none.
    pub(super) fn create(path: &Path, version: u32) -> Result<Self, IdentityImportError> {
        let migrations = usize::try_from(version)
            .ok()
            .and_then(|version| MIGRATIONS.get(..version))
            .filter(|migrations| !migrations.is_empty());
        let migrations = migrations.ok_or_else(|| {
            IdentityImportError::Malformed(format!(
                "the accounts' schema version {version} is unknown"
            ))
        })?;
        let connection = sqlite::open_writable(path, migrations)?;
        let mut import = Self {
            connection,
            path: path.to_owned(),
            known: Vec::new(),
        };
        import.run("BEGIN IMMEDIATE")?;
        import.known = tables(&import.connection).map_err(|error| import.failed(error))?;
        Ok(import)
    }

    /// The table with this head, to be filled: what the migrations put there gives way.
    pub(super) fn table(&self, head: &TableHead) -> Result<TableImport<'_>, IdentityImportError> {
        // Names in statements are those of the schema and never the file's own.
        let known = self.known.iter().find(|known| *known == head);
        let known = known.ok_or_else(|| {
            IdentityImportError::Malformed(format!("its schema has no table like {}", head.table))
        })?;
        self.run(&format!("DELETE FROM {}", quote(&known.table)))?;
        let places: Vec<_> = (1..=known.columns.len())
            .map(|place| format!("?{place}"))
            .collect();
        Ok(TableImport {
            import: self,
            columns: known.columns.len(),
            insert: format!(
                "INSERT INTO {} ({}) VALUES ({})",
                quote(&known.table),
                column_list(known),
                places.join(", ")
            ),
        })
    }

    /// Commits and leaves one file.
    pub(super) fn finish(self) -> Result<(), IdentityImportError> {
        self.run("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
        let path = self.path;
        self.connection.close().map_err(|(_, source)| {
            IdentityImportError::Database(DatabaseError::Open { path, source })
        })
    }

    fn run(&self, sql: &str) -> Result<(), IdentityImportError> {
        self.connection
            .execute_batch(sql)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, source: rusqlite::Error) -> IdentityImportError {
        IdentityImportError::Database(DatabaseError::Open {
            path: self.path.clone(),
            source,
        })
    }
}

/// A table that is being filled.
pub(super) struct TableImport<'i> {
    import: &'i IdentityImport,
    columns: usize,
    insert: String,
}

impl TableImport<'_> {
    pub(super) fn add(&self, row: &[u8]) -> Result<(), IdentityImportError> {
        let values = decode(row, self.columns)
            .ok_or_else(|| IdentityImportError::Malformed("a row is unreadable".to_owned()))?;
        let connection = &self.import.connection;
        connection
            .prepare_cached(&self.insert)
            .and_then(|mut insert| insert.execute(params_from_iter(values)))
            .map_err(|error| self.import.failed(error))?;
        Ok(())
    }
}

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const BLOB: u8 = 3;

/// A tag, then 8 bytes of a number, or 4 bytes of a length and so many bytes.
fn encode(value: ValueRef<'_>, out: &mut Vec<u8>) {
    let mut bytes = |tag, bytes: &[u8]| {
        out.push(tag);
        // SQLite holds at most 1 GB in a column.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Text(text) => bytes(TEXT, text),
        ValueRef::Blob(blob) => bytes(BLOB, blob),
        ValueRef::Integer(number) => {
            out.push(INTEGER);
            out.extend_from_slice(&number.to_le_bytes());
        }
        // The tables are strict and have no column of the other type.
        ValueRef::Null | ValueRef::Real(_) => out.push(NULL),
    }
}

fn decode(mut row: &[u8], columns: usize) -> Option<Vec<Value>> {
    let mut values = Vec::with_capacity(columns);
    while let Some((tag, rest)) = row.split_first() {
        let (value, rest) = match *tag {
            NULL => (Value::Null, rest),
            INTEGER => {
                let (number, rest) = rest.split_first_chunk()?;
                (Value::Integer(i64::from_le_bytes(*number)), rest)
            }
            TEXT | BLOB => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                let (bytes, rest) = rest.split_at_checked(length)?;
                let value = if *tag == TEXT {
                    Value::Text(String::from_utf8(bytes.to_vec()).ok()?)
                } else {
                    Value::Blob(bytes.to_vec())
                };
                (value, rest)
            }
            _ => return None,
        };
        values.push(value);
        row = rest;
    }
    (values.len() == columns).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive() {
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Text("é\"; DROP".to_owned()),
            Value::Blob(vec![0, 255]),
            Value::Text(String::new()),
        ];
        let mut row = Vec::new();
        for value in &values {
            encode(ValueRef::from(value), &mut row);
        }
        assert_eq!(decode(&row, 5).unwrap(), values);
        assert_eq!(decode(&row, 4), None);
        for length in 0..row.len() {
            assert_eq!(decode(&row[..length], 5), None, "{length}");
        }
    }

    #[test]
    fn accounts_of_an_older_schema_are_restored_and_migrated() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("old.db");
        let connection = sqlite::open_writable(&old, &MIGRATIONS[..1]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO users VALUES ('id', 'a@b.test', 'Ada', 1, NULL, 1, 7, NULL)",
            )
            .unwrap();
        drop(connection);
        let snapshot = IdentitySnapshot::open(&old).unwrap();
        let new = directory.path().join("new.db");
        let import = IdentityImport::create(&new, snapshot.version()).unwrap();
        for table in snapshot.tables().unwrap() {
            let rows = import.table(&table).unwrap();
            let copied = snapshot.read_table(&table, |row| rows.add(row));
            copied.unwrap().unwrap();
        }
        import.finish().unwrap();
        assert!(!snapshot.is_current());
        let connection = sqlite::open_writable(&new, MIGRATIONS).unwrap();
        let user = connection.query_row("SELECT name, updated_at FROM users", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        });
        assert_eq!(user.unwrap(), ("Ada".to_owned(), 7));
    }

    #[test]
    fn names_in_a_file_never_reach_a_statement() {
        let directory = tempfile::tempdir().unwrap();
        let import = IdentityImport::create(&directory.path().join("new.db"), 2).unwrap();
        let users = import.known.iter().find(|known| known.table == "users");
        let users = users.unwrap().clone();
        let mut other = users.clone();
        other.table = "users; DROP TABLE users".to_owned();
        assert!(import.table(&other).is_err());
        let mut other = users.clone();
        other.columns[0] = "id\" = ''; --".to_owned();
        assert!(import.table(&other).is_err());
        assert!(import.table(&users).is_ok());
        assert!(IdentityImport::create(&directory.path().join("other.db"), 99).is_err());
        assert!(IdentityImport::create(&directory.path().join("other.db"), 0).is_err());
    }

    /// A new table is forgotten here only on purpose: what is in none of the lists is restored.
    #[test]
    fn every_table_has_its_place() {
        // A reservation that was open ends by itself, as it does when a hub dies.
        const KEPT: &[&str] = &[
            "ai_credits",
            "ai_reservations",
            "ai_usage",
            "audit",
            "consents",
            "devices",
            "revocations",
        ];
        let directory = tempfile::tempdir().unwrap();
        let connection =
            sqlite::open_writable(&directory.path().join("identity.db"), MIGRATIONS).unwrap();
        let found: Vec<_> = tables(&connection)
            .unwrap()
            .into_iter()
            .map(|table| table.table)
            .collect();
        let mut placed = [ENDED, NEVER_RESTORED, ESSENTIAL, KEPT].concat();
        placed.sort_unstable();
        assert_eq!(found, placed);
    }
}
