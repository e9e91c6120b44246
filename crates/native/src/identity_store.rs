//! What a hub remembers about itself in its identity store, over whichever engine: the mode it was first served in and
//! the origin it was served at last.

use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::StoreUnavailable;
use epicenter_store::SqlStore;

use crate::keys::KeyError;
use crate::sqlite::DatabaseError;

const MODE: &str = "mode";
const ORIGIN: &str = "origin";

/// The identity store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("the identity store cannot be opened")]
    Open(#[from] DatabaseError),
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
