//! Backup and restore (`backup.md`): one private file that holds everything a hub keeps, made beside a running hub.
//!
//! ```text
//! header
//! about            whose, when, schema versions, fingerprints of the secrets
//! configuration    the effective one, without secrets
//! secrets          only with a passphrase, sealed
//! room …           one section for each: its line, then its entries as they are stored
//! table …          one section for each table of the embedded identity store
//! manifest         counts, and where every section is with its SHA-256
//! trailer          where the manifest is
//! ```
//!
//! **Made.** Rooms are read inside one read transaction that begins first, accounts inside another that begins right after
//! it, so that each is of one moment and no writer waits. One row is in memory at a time, besides the list of rows that a
//! start reads too. The file gets its name when it is whole and durable. A room that cannot be read is left out and named.
//!
//! **Restored.** Every hash is checked before anything is made. Then a new data directory is written beside the target,
//! made durable, and renamed. Sessions, grants, codes and links that waited are left out, and so are signing keys: a token
//! that was revoked after the backup stays dead. Rooms keep their names, states, tombstones and the numbers of their
//! entries; generations that compaction has replaced are not in a backup.
//!
//! **Damaged.** A changed bit is found and said to be in one section; `skip_damaged` restores the others.

mod create;
mod error;
mod file;
mod format;
mod identity;
mod manifest;
mod read;
mod restore;
mod sealed;
mod source;

pub use create::{IdentityPart, KeptSecret, Made, UnreadableRoom, create};
pub use error::{BackupError, RestoreError};
pub use format::Fault;
pub use manifest::Totals;
pub use read::{Checked, Damage, check};
pub use restore::{
    CONFIGURATION_FILE, IdentityOutcome, RestoreOptions, Restored, SecretsOutcome, restore,
};
pub use sealed::{Passphrase, PassphraseError};
