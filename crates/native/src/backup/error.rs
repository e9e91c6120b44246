//! Why a backup was not made or not restored, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::read::Damage;
use crate::data_dir::DataDirError;
use crate::identity_store::StoreError;
use crate::random::RandomError;
use crate::sqlite::DatabaseError;
use crate::store::postgres;

/// No backup was made, and nothing has its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// No hub has used the data directory.
    #[error("there is nothing to back up in {}: no hub has served it", path.display())]
    NeverServed {
        /// The data directory.
        path: PathBuf,
    },
    /// There is a file of this name.
    #[error("{} exists", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("the backup cannot be written to {}", path.display())]
    Write {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `AUTH_SECRET` is not the one that the hub runs with.
    #[error(
        "AUTH_SECRET opens none of the hub's signing keys, so it is not the one that the hub runs with"
    )]
    OtherAuthSecret,
    /// The data directory or its secrets cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A database cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The identity store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The system gives no runtime to talk to PostgreSQL with.
    #[error("the runtime cannot be started")]
    Start(#[source] io::Error),
}

impl From<postgres::OpenError> for BackupError {
    fn from(error: postgres::OpenError) -> Self {
        Self::Store(StoreError::Postgres(error))
    }
}

impl BackupError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NeverServed { .. } => "name the folder of a hub with --data-dir",
            Self::Exists { .. } => "a backup takes no file's place: choose another name",
            Self::Write { .. } => {
                "the folder must exist, be writable and have room; nothing was left under the name"
            }
            Self::OtherAuthSecret => {
                "give this command the configuration and the environment that the hub has"
            }
            Self::DataDir(
                DataDirError::SecretAwaited { .. } | DataDirError::SecretUnexpected { .. },
            ) => "start the hub once; until then the file it was restored from is its backup",
            Self::DataDir(DataDirError::Missing { .. }) => {
                "name the folder of a hub with --data-dir"
            }
            Self::DataDir(_) => {
                "run this as the user that runs the hub, with the same configuration and environment"
            }
            Self::Store(StoreError::Postgres(error)) => error.hint(),
            Self::Database(_) | Self::Store(_) => {
                "run this as the user that runs the hub; `epicenter doctor` says what is damaged"
            }
            Self::Random(_) | Self::Start(_) => "try again",
        }
    }
}

/// Nothing was restored, and the target is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The backup.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is none, or nothing of it can be told any more.
    #[error("{} is no backup, or its beginning and its end are both damaged", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has made it.
    #[error(
        "the backup was made by a newer program ({what} {found}, and this program knows {known})"
    )]
    Newer {
        /// What is newer.
        what: &'static str,
        /// Its version.
        found: u64,
        /// The last version that this program knows.
        known: u64,
    },
    /// Parts of it are damaged.
    #[error("the backup is damaged: {}", list(damages))]
    Damaged {
        /// Each of them.
        damages: Vec<Damage>,
    },
    /// The target is not empty.
    #[error("{} is not empty", path.display())]
    TargetNotEmpty {
        /// The data directory that was to be made.
        path: PathBuf,
    },
    /// A passphrase was given and there is nothing that it could open.
    #[error("the backup holds no secrets that a passphrase could open")]
    NoSecrets,
    /// The passphrase is another one.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// They were sealed in a way that this program does not know.
    #[error("the secrets in the backup were sealed in a way that this program does not know")]
    UnknownSeal,
    /// What is in it cannot be what a hub wrote.
    #[error("{what} cannot be restored: {why}")]
    Malformed {
        /// Which part.
        what: String,
        /// Why.
        why: String,
    },
    /// The new data directory cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The data directory that was to be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new database cannot be written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A secret cannot be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The new identity store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no runtime.
    #[error("the runtime cannot be started")]
    Start(#[source] io::Error),
}

impl RestoreError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the name and whether this user may read it",
            Self::NoBackup { .. } => "name a file that `epicenter backup` has made",
            Self::Newer { .. } => "use the program that made it, or a newer one",
            Self::Damaged { .. } => {
                "fetch another copy of the file; if there is none, --skip-damaged restores everything else"
            }
            Self::TargetNotEmpty { .. } => {
                "name a folder with --data-dir that does not exist yet; a restore replaces nothing"
            }
            Self::NoSecrets => {
                "leave --passphrase-file out; the hub will ask for its secrets at the start"
            }
            Self::WrongPassphrase => {
                "without --passphrase-file everything but the secrets is restored, and the hub asks for them at the start"
            }
            Self::UnknownSeal | Self::Malformed { .. } => {
                "use the version of the program that made the backup"
            }
            Self::Write { .. } => "the folder and the one above it must be writable and have room",
            Self::Database(_) | Self::DataDir(_) | Self::Store(_) => {
                "check the room on the disk; nothing was left under the name"
            }
            Self::Start(_) => "check the limits on threads and open files",
        }
    }
}

/// At most so many are named.
const NAMED: usize = 20;

fn list(damages: &[Damage]) -> String {
    let mut named: Vec<_> = damages
        .iter()
        .take(NAMED)
        .map(|damage| format!("{} ({})", damage.what, damage.fault))
        .collect();
    if let Some(more) = damages.len().checked_sub(NAMED).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}
