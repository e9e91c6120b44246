//! What a hub remembers about itself in its identity store, over whichever engine: the mode it was first served in and
//! the origin it was served at last.

use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::StoreUnavailable;
use epicenter_store::SqlStore;

use crate::keys::KeyError;
use crate::lease;
use crate::sqlite::DatabaseError;
use crate::store::postgres;

const MODE: &str = "mode";
pub(crate) const ORIGIN: &str = "origin";

/// The identity store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("the identity store cannot be opened")]
    Open(#[from] DatabaseError),
    /// PostgreSQL cannot be used.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// `AUTH_SECRET` is not the one of the other processes.
    #[error(
        "AUTH_SECRET opens none of the signing keys in the database, so it is not the one that this hub's other processes have"
    )]
    OtherAuthSecret,
    /// An operation failed; its cause is in the log.
    #[error("the identity store failed")]
    Failed(#[from] StoreUnavailable),
    /// A stored value is not what was written.
    #[error("the identity store is damaged: {0}")]
    Damaged(&'static str),
    /// A signing key cannot be made.
    #[error("a signing key cannot be made")]
    Key(#[from] KeyError),
    /// The system gave no random bytes.
    #[error("no id could be drawn")]
    Random(#[from] crate::random::RandomError),
    /// Other processes changed the same thing again and again.
    #[error("other processes change the identity store at the same time")]
    Contended,
}

/// What to do about [`StoreError::OtherAuthSecret`].
pub const OTHER_AUTH_SECRET_HINT: &str = "give every process that shares DATABASE_URL the same AUTH_SECRET; if the old one is lost, \
     `epicenter keys rotate-signing` with the new one makes a key for it";

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
    /// The data directory or the database was used in the other mode.
    #[error(
        "what is stored belongs to a hub in {recorded} mode and cannot be served in {wanted} mode, because encryption \
         keys and room names hang on the mode: set mode = \"{recorded}\", or use another data directory or DATABASE_URL"
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

/// Records the mode of the first start and refuses the other one ever after.
///
/// # Errors
/// When the other mode is recorded.
pub async fn claim_mode(store: &SqlStore, mode: OwnershipMode) -> Result<(), ModeError> {
    let recorded = store
        .claim_meta(MODE, mode.as_str())
        .await
        .map_err(StoreError::from)?;
    if recorded == mode.as_str() {
        return Ok(());
    }
    Err(ModeError::Other {
        recorded,
        wanted: mode.as_str(),
    })
}

/// A hub may not start under this origin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Another process serves the same accounts under another origin.
    #[error(
        "this hub's public origin is {wanted}, and another hub that shares its database serves {recorded}: tokens of one \
         would be refused by the other"
    )]
    Other {
        /// What the other process serves.
        recorded: String,
        /// The configured one.
        wanted: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Refuses an origin beside a process that serves the same database under another one. Moving to another origin is for
/// when none serves.
///
/// # Errors
/// When there is such a process.
pub(crate) async fn check_origin(
    engine: &postgres::PostgresEngine,
    store: &SqlStore,
    origin: &PublicOrigin,
) -> Result<(), OriginError> {
    let recorded = find_origin(store).await?;
    let Some(recorded) = recorded.filter(|recorded| recorded.as_str() != origin.as_str()) else {
        return Ok(());
    };
    // The holder of the lease is the one that would be broken; a hub that was killed counts for a few seconds more.
    match lease::find_holder(engine, store)
        .await
        .map_err(StoreError::from)?
    {
        None => Ok(()),
        Some(_) => Err(OriginError::Other {
            recorded: recorded.as_str().to_owned(),
            wanted: origin.as_str().to_owned(),
        }),
    }
}

/// Records the public origin that the hub serves now, for commands that have to name it.
///
/// # Errors
/// When the store fails.
pub async fn record_origin(store: &SqlStore, origin: &PublicOrigin) -> Result<(), StoreError> {
    Ok(store.set_meta(ORIGIN, origin.as_str()).await?)
}

/// The public origin that `serve` recorded last.
///
/// # Errors
/// When the store fails.
pub async fn find_origin(store: &SqlStore) -> Result<Option<PublicOrigin>, StoreError> {
    match store.find_meta(ORIGIN).await? {
        // It was parsed before it was written.
        Some(text) => PublicOrigin::parse(&text)
            .map(Some)
            .map_err(|_| StoreError::Damaged("its public origin is unreadable")),
        None => Ok(None),
    }
}
