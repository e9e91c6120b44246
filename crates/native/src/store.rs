//! The identity store of this host: an engine, opened, migrated and told apart from nothing else by those who use it.
//!
//! What is stored and how is `epicenter-store`'s; here are the engine, the news that another process changed something,
//! and the ports that need both the store and a secret or a thread.

mod passwords;
pub mod postgres;
mod signer;
mod sqlite;
mod sweeper;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use epicenter_store::SqlStore;

use crate::config::SecretText;
use crate::data_dir::DataDir;
use crate::identity_store::StoreError;

pub use crate::sqlite::DatabaseError;
pub use passwords::PasswordQueue;
pub(crate) use sweeper::Sweeper;

pub(crate) use signer::opens_signing_key;
pub use signer::{StoreSigner, ensure_signing_key, rotate_signing_key, share_signing_key};

/// Says when it is worth reading the store again.
#[async_trait]
pub trait ChangeSignal: Send + Sync {
    /// Returns when something in the store has changed since it returned last, by this process or another, or may have.
    /// Changes that come close together count as one. For one task at a time.
    async fn changed(&self);
}

/// An open identity store.
#[derive(Clone)]
pub struct OpenStore {
    /// The store; clones share it.
    pub store: SqlStore,
    /// When to read it again.
    pub changes: Arc<dyn ChangeSignal>,
    /// The engine when it is PostgreSQL, which several processes may share.
    pub shared: Option<postgres::PostgresEngine>,
}

impl std::fmt::Debug for OpenStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OpenStore")
    }
}

/// Where the identity store is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreLocation {
    /// The embedded database in this file.
    Sqlite(PathBuf),
    /// The PostgreSQL database at this URL.
    Postgres(SecretText),
}

impl StoreLocation {
    /// At the URL if there is one, in the data directory otherwise.
    pub fn of(database_url: Option<&SecretText>, data_dir: &DataDir) -> Self {
        match database_url {
            Some(url) => Self::Postgres(url.clone()),
            None => Self::Sqlite(data_dir.identity_database()),
        }
    }
}

/// Opens or creates the store and brings its schema up to date; other processes may have it open.
///
/// # Errors
/// When it cannot be used, or a newer program has written it.
pub async fn open(location: &StoreLocation) -> Result<OpenStore, StoreError> {
    match location {
        StoreLocation::Sqlite(path) => Ok(open_sqlite(path)?),
        StoreLocation::Postgres(url) => Ok(postgres::open(url.expose()).await?),
    }
}

/// Opens or creates the embedded store and brings its schema up to date; other processes may have it open. Blocks on files.
///
/// # Errors
/// When it cannot be used, or a newer program has written it.
pub fn open_sqlite(path: &Path) -> Result<OpenStore, DatabaseError> {
    let engine = sqlite::SqliteEngine::open(path)?;
    let changes = Arc::new(sqlite::SqliteChanges::open(path, engine.subscribe())?);
    Ok(OpenStore {
        store: SqlStore::new(Arc::new(engine)),
        changes,
        shared: None,
    })
}
