//! `identity.db`: accounts, signing keys, devices, and what a data directory must remember about itself.
//!
//! A running hub and `admin` commands use it at the same time, each with a connection of its own; every change is one
//! transaction. Secrets are stored hashed or sealed. The server sees it through its ports only (`ports.rs`); the blocking
//! methods are for start-up and the command line.

mod accounts;
mod devices;
mod ports;
mod signing_keys;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epicenter_server::config::PublicOrigin;
use rusqlite::{Connection, TransactionBehavior};

pub use accounts::{AddUserError, NewUser};

use crate::keys::KeyError;
use crate::sqlite::{self, DatabaseError, find_meta, set_meta};

/// Version 1. Times are milliseconds since the Unix epoch.
///
/// * `users.email`: ASCII lower case. `password_hash`: PHC string, absent without a password.
/// * `signing_keys.kid`: RFC 7638 thumbprint of `point`, the uncompressed SEC1 point. `sealed_private`: PKCS#8 sealed
///   under `AUTH_SECRET`, bound to `kid`. `retired_at`: signs no more, still verifies.
/// * `devices`: which user a device id of a shared owner belongs to.
/// * `meta`: schema version, `mode`, `origin` and `encryption_secrets` (fingerprints by version).
const VERSION_1: &str = "
    CREATE TABLE users (
        id TEXT PRIMARY KEY NOT NULL,
        email TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        email_verified INTEGER NOT NULL,
        password_hash TEXT,
        admin INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        disabled_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE signing_keys (
        kid TEXT PRIMARY KEY NOT NULL,
        point BLOB NOT NULL,
        sealed_private BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        retired_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE devices (
        owner TEXT NOT NULL,
        device TEXT NOT NULL,
        user TEXT NOT NULL,
        client TEXT NOT NULL,
        last_used_at INTEGER NOT NULL,
        PRIMARY KEY (owner, device)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX devices_by_last_use ON devices (last_used_at);
";

/// The identity store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("the identity store cannot be opened")]
    Open(#[from] DatabaseError),
    /// A statement failed.
    #[error("the identity store failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value is not what was written.
    #[error("the identity store is damaged: {0}")]
    Damaged(&'static str),
    /// A signing key cannot be made.
    #[error("a signing key cannot be made")]
    Key(#[from] KeyError),
    /// The system gave no random bytes.
    #[error("no id could be drawn")]
    Random(#[from] crate::random::RandomError),
    /// A time or count that the database cannot hold.
    #[error("a number is too large to be stored")]
    Range(#[from] std::num::TryFromIntError),
}

/// Whether everybody owns their own rooms, or one owner holds them all. Keys and room names hang on it, so that a data
/// directory keeps the one it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnershipMode {
    /// The owner is the user's id.
    Personal,
    /// One owner, `shared`.
    Shared,
}

impl OwnershipMode {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Shared => "shared",
        }
    }
}

/// A hub may not start in this mode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// The data directory was used in the other mode.
    #[error(
        "this data directory belongs to a hub in {recorded} mode and cannot be served in {wanted} mode, because encryption \
         keys and room names hang on the mode: set mode = \"{recorded}\" or use another data directory"
    )]
    Other {
        /// The mode it was first served in.
        recorded: String,
        /// The configured one.
        wanted: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The embedded identity store; clones share one connection.
#[derive(Clone, Debug)]
pub struct IdentityStore {
    connection: Arc<Mutex<Connection>>,
}

impl IdentityStore {
    /// Opens or creates the database and brings its schema up to date; other processes may have it open.
    ///
    /// # Errors
    /// When it cannot be used, or a newer program has written it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = sqlite::open_writable(path, &[VERSION_1])?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Records the mode of the first start and refuses the other one ever after.
    ///
    /// # Errors
    /// When the other mode is recorded.
    pub fn claim_mode(&self, mode: OwnershipMode) -> Result<(), ModeError> {
        let recorded = self.transact(|connection| claim_mode(connection, mode))?;
        if recorded == mode.as_str() {
            return Ok(());
        }
        Err(ModeError::Other {
            recorded,
            wanted: mode.as_str(),
        })
    }

    /// Records the public origin that the hub serves now, for commands that have to name it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn record_origin(&self, origin: &PublicOrigin) -> Result<(), StoreError> {
        Ok(set_meta(&self.lock(), "origin", origin.as_str())?)
    }

    /// The public origin that `serve` recorded last.
    ///
    /// # Errors
    /// When the store fails.
    pub fn find_origin(&self) -> Result<Option<PublicOrigin>, StoreError> {
        match find_meta(&self.lock(), "origin")? {
            // It was parsed before it was written.
            Some(text) => PublicOrigin::parse(&text)
                .map(Some)
                .map_err(|_| StoreError::Damaged("its public origin is unreadable")),
            None => Ok(None),
        }
    }

    /// A line that only this crate knows.
    pub(crate) fn find_meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(find_meta(&self.lock(), key)?)
    }

    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        Ok(set_meta(&self.lock(), key, value)?)
    }

    /// Runs a change as one transaction that nothing else can come between, in this process or another.
    fn transact<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.lock();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)?;
        let result = change(&transaction)?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(result)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in a transaction has rolled it back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn claim_mode(connection: &Connection, mode: OwnershipMode) -> Result<String, StoreError> {
    if let Some(recorded) = find_meta(connection, "mode")? {
        return Ok(recorded);
    }
    set_meta(connection, "mode", mode.as_str())?;
    Ok(mode.as_str().to_owned())
}
