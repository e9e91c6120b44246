//! The data directory: one private folder that holds everything a hub keeps.
//!
//! ```text
//! lock                           held by the process that serves; says which
//! identity.db, rooms.db          SQLite, with their -wal and -shm beside them
//! secrets/encryption-secrets     only when ENCRYPTION_SECRETS was not given
//! secrets/auth-secret            only when AUTH_SECRET was not given
//! setup-link                     the link to the first account, where no terminal shows it
//! secrets-awaited                from a restore to the first start with the right secrets
//! restored-configuration.toml    what the hub of a backup ran with; nothing reads it
//! restore-unfinished             while a restore moves its files in; no hub starts beside it
//! ```
//!
//! Invariants: the directory has mode 0700 and nothing in it can be read by others; one process at a time serves it, and
//! a second one is refused before it has changed anything; a secret is made once, never again under data that hangs on a
//! lost one, and a given secret is never copied into the directory.

pub(crate) mod awaited;
pub(crate) mod secrets;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, flock};

use crate::identity_store::StoreError;
use crate::sqlite::sync_directory_of;

pub use secrets::{GivenSecrets, Secrets, SecretsSource};

/// Nothing that group or others may do.
const PRIVATE_UMASK: u32 = 0o077;

/// A restore leaves this file in a directory that it could not fill.
pub(crate) const UNFINISHED: &str = "restore-unfinished";

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// There is none.
    #[error("there is no data directory {}", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// A restore into it was interrupted.
    #[error("a restore into the data directory {} was interrupted, so that parts of it are missing", path.display())]
    Unfinished {
        /// Which.
        path: PathBuf,
    },
    /// Another hub serves it.
    #[error("the data directory {} is in use by another hub{}", path.display(), holder(*process))]
    InUse {
        /// Which.
        path: PathBuf,
        /// The process that holds the lock, as far as it is known.
        process: Option<u32>,
    },
    /// The system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret that was made here is gone.
    #[error(
        "{variable} is not set and {} is missing, but this data directory was used with a secret before: {needs}",
        path.display()
    )]
    SecretLost {
        /// The variable that could give it.
        variable: &'static str,
        /// The file it was in, or would be.
        path: PathBuf,
        /// What has to be done.
        needs: &'static str,
    },
    /// A secret that other processes have is not given.
    #[error(
        "{variable} is not set and {} is missing, but the database that DATABASE_URL names is in use with a secret: every \
         hub and command that shares it needs the same {variable}",
        path.display()
    )]
    SecretNotShared {
        /// The variable that could give it.
        variable: &'static str,
        /// The file it could be in.
        path: PathBuf,
    },
    /// A secret is not the one that the data was made with.
    #[error(
        "version {version} of ENCRYPTION_SECRETS is not the secret that was used with what is stored: \
         give the old one back, and give a new secret a version of its own, as in \"{next}:new,{version}:old\""
    )]
    SecretChanged {
        /// Which version.
        version: u8,
        /// A version that is free.
        next: u8,
    },
    /// The directory was restored, and a secret is not given.
    #[error(
        "this data directory was restored from a backup without secrets, and {variable} is not given: the hub waits for \
         the one that the backup was made with"
    )]
    SecretAwaited {
        /// The variable that could give it.
        variable: &'static str,
    },
    /// The directory was restored, and a secret is another one.
    #[error(
        "this data directory was restored from a backup that was made with another {variable}{}",
        named_version(*version)
    )]
    SecretUnexpected {
        /// The variable that gives it.
        variable: &'static str,
        /// The version that is missing or another one.
        version: Option<u8>,
    },
    /// A secret has not its form.
    #[error("{origin} cannot be used")]
    MalformedSecret {
        /// The variable or file.
        origin: String,
        /// What is wrong with it.
        source: epicenter_encryption::SecretsError,
    },
    /// The system gave no random bytes.
    #[error("no secret could be made")]
    Random(#[from] crate::random::RandomError),
    /// What the directory remembers cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl DataDirError {
    /// The same error of a hub whose identity store others share: it is not this directory that tells of the secret.
    #[must_use]
    pub fn of_shared_store(self) -> Self {
        match self {
            Self::SecretLost { variable, path, .. } => Self::SecretNotShared { variable, path },
            other => other,
        }
    }
}

fn named_version(version: Option<u8>) -> String {
    version.map_or_else(String::new, |version| format!(" (version {version})"))
}

fn holder(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// An open data directory; holds the lock when it was opened to be served.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked until it is closed.
    _lock: Option<File>,
}

impl DataDir {
    /// Opens or creates the directory and locks it for the life of the value.
    ///
    /// # Errors
    /// When another process serves it (nothing is changed then), or it cannot be made private.
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        create_private(path)?;
        if path.join(UNFINISHED).exists() {
            let path = path.to_owned();
            return Err(DataDirError::Unfinished { path });
        }
        let lock = lock(path)?;
        make_private(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: Some(lock),
        })
    }

    /// Opens or creates the directory beside whoever serves it.
    ///
    /// # Errors
    /// When it cannot be made private.
    pub fn open_or_create(path: &Path) -> Result<Self, DataDirError> {
        create_private(path)?;
        make_private(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: None,
        })
    }

    /// Opens the directory beside whoever serves it, or stands for one that need not exist: for commands on a remote
    /// database, which may find secrets there and keep nothing in it.
    ///
    /// # Errors
    /// When it is there and cannot be made private.
    pub fn open_if_present(path: &Path) -> Result<Self, DataDirError> {
        if path.is_dir() {
            return Self::open_or_create(path);
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: None,
        })
    }

    /// Opens the directory beside whoever serves it.
    ///
    /// # Errors
    /// When there is none, or it cannot be made private.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        if !path.is_dir() {
            return Err(DataDirError::Missing {
                path: path.to_owned(),
            });
        }
        Self::open_or_create(path)
    }

    /// The directory as it is, for whoever only looks: nothing is made or changed.
    pub(crate) fn look_at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _lock: None,
        }
    }

    /// Whether a hub serves the directory now.
    pub(crate) fn is_served(&self) -> bool {
        let Ok(file) = File::open(self.path.join("lock")) else {
            return false;
        };
        // Held for no longer than the question takes.
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Entries of the directory that others may use, with their permission bits.
    pub(crate) fn exposed(&self) -> Result<Vec<(PathBuf, u32)>, DataDirError> {
        let mut exposed = Vec::new();
        let mut look = |path: PathBuf| {
            if let Ok(metadata) = fs::symlink_metadata(&path) {
                let mode = metadata.permissions().mode() & 0o777;
                if mode & PRIVATE_UMASK != 0 {
                    exposed.push((path, mode));
                }
            }
        };
        for folder in [self.path.clone(), self.path.join(secrets::FOLDER)] {
            if folder.is_dir() {
                let entries = fs::read_dir(&folder).map_err(failed("list", &folder))?;
                entries.flatten().for_each(|entry| look(entry.path()));
            }
        }
        look(self.path.clone());
        Ok(exposed)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where accounts and keys are.
    pub fn identity_database(&self) -> PathBuf {
        self.path.join("identity.db")
    }

    /// Where the room log is.
    pub fn rooms_database(&self) -> PathBuf {
        self.path.join("rooms.db")
    }
}

fn create_private(path: &Path) -> Result<(), DataDirError> {
    // Whatever this process creates from here on, in the directory or elsewhere, is its own.
    rustix::process::umask(Mode::from_raw_mode(PRIVATE_UMASK));
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| sync_directory_of(path))
        .map_err(failed("create the data directory", path))
}

/// The lock belongs to the open file, so that it ends with the process however that ends.
fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Who holds it is a courtesy; a text that cannot be read costs the number only.
            let process = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::InUse {
                path: directory.to_owned(),
                process,
            });
        }
        Err(error) => return Err(failed("lock", &path)(error.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write", &path))?;
    Ok(file)
}

/// Takes every right of group and others from the directory, its secrets folder and the files in both: they may come
/// from a copy that was made carelessly.
fn make_private(directory: &Path) -> Result<(), DataDirError> {
    make_entry_private(directory)?;
    for folder in [directory.to_owned(), directory.join(secrets::FOLDER)] {
        if !folder.is_dir() {
            continue;
        }
        make_entry_private(&folder)?;
        for entry in fs::read_dir(&folder).map_err(failed("list", &folder))? {
            let entry = entry.map_err(failed("list", &folder))?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                make_entry_private(&entry.path())?;
            }
        }
    }
    Ok(())
}

fn make_entry_private(path: &Path) -> Result<(), DataDirError> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        // SQLite removes its side files whenever the last connection closes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
    };
    if mode & PRIVATE_UMASK == 0 {
        return Ok(());
    }
    tracing::warn!(
        file.path = %path.display(),
        "others had access to a part of the data directory; it is private now"
    );
    fs::set_permissions(path, fs::Permissions::from_mode(mode & !PRIVATE_UMASK))
        .map_err(failed("make private", path))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io {
        doing,
        path,
        source,
    }
}
