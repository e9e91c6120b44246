//! The file that holds one sign-in of this machine, shared by every process of the person.
//!
//! Two locks keep it right, both on files beside it that stay for ever. The *refresh lock* is held while a refresh
//! token is being used, so that processes rotate one after another. The *write lock* is held for the moment of a
//! change. A sign-out takes only the second: it never waits for a network, and because every change under a refresh
//! names the grant that it replaces, a removed file is not made again.
//!
//! Functions here block for as long as a disk does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use epicenter_auth::{Grant, HubUrl, PersistedAuth, PersistedAuthError};
use rustix::fs::{FlockOperation, OFlags, flock};
use zeroize::Zeroizing;

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const OTHERS: u32 = 0o077;
/// Far above every record; a file that is larger is none.
const MAX_BYTES: u64 = 1 << 20;
/// Longer than one request may take, so that whoever waits outlasts one refresh of another process.
const LOCK_PATIENCE: Duration = Duration::from_secs(45);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFileError {
    /// Others may read or change it.
    #[error("{} has mode {mode:o}: others could read or change it", path.display())]
    TooOpen {
        /// File or folder.
        path: PathBuf,
        /// What it has.
        mode: u32,
        /// What it should have.
        wanted: u32,
    },
    /// It belongs to another user, or is no ordinary file.
    #[error("{} is not an ordinary file or folder of this user", .0.display())]
    NotOurs(PathBuf),
    /// Another process refreshed for longer than a refresh can take.
    #[error("another process has held {} for too long", .0.display())]
    Locked(PathBuf),
    /// The operating system refused.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// As a verb.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl AuthFileError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::TooOpen { path, wanted, .. } => {
                let path = path.display().to_string().replace('\'', r"'\''");
                format!("if nobody else read it, run: chmod {wanted:o} '{path}'")
            }
            Self::NotOurs(_) => {
                "move it away, or name another folder with EPICENTER_DATA_DIR".to_owned()
            }
            Self::Locked(_) => "look for an epicenter process that hangs, end it and try again".to_owned(),
            Self::Io { .. } => {
                "check the disk and the owner of the folder, or name another one with EPICENTER_DATA_DIR"
                    .to_owned()
            }
        }
    }
}

/// What is stored.
#[derive(Debug)]
pub enum Stored {
    /// Nothing: signed out.
    Absent,
    /// Something that is no record, which counts as signed out.
    Corrupt(PersistedAuthError),
    /// A sign-in.
    Present(PersistedAuth),
}

impl Stored {
    /// The sign-in, if there is one.
    pub fn into_auth(self) -> Option<PersistedAuth> {
        match self {
            Self::Present(auth) => Some(auth),
            Self::Absent | Self::Corrupt(_) => None,
        }
    }
}

/// What became of a change that named the grant it replaces.
#[derive(Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It is on disk.
    Done,
    /// Somebody signed out; nothing was written.
    Gone,
    /// Another grant is stored by now; nothing was written.
    Changed(PersistedAuth),
}

/// The right to use the stored refresh token. Ends when dropped, also by the death of the process.
#[derive(Debug)]
#[must_use]
pub struct RefreshLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// The file of one hub.
#[derive(Clone, Debug)]
pub struct AuthFile {
    folder: PathBuf,
    path: PathBuf,
}

impl AuthFile {
    /// The file of a hub below a data directory. Touches nothing.
    pub fn new(data_dir: &Path, hub: &HubUrl) -> Self {
        let folder = data_dir.join("auth");
        let path = folder.join(format!("{}.json", hub.file_stem()));
        Self { folder, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder if there is none, and checks that a record could be kept in it.
    ///
    /// # Errors
    /// Why it could not.
    pub fn prepare(&self) -> Result<(), AuthFileError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&self.folder)
            .map_err(failed("create", &self.folder))?;
        self.check_folder()
    }

    /// What is stored now.
    ///
    /// # Errors
    /// When the file or its folder is open to others, or cannot be read.
    pub fn load(&self) -> Result<Stored, AuthFileError> {
        match fs::symlink_metadata(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stored::Absent),
            _ => self.check_folder()?,
        }
        let Some(file) = self.open()? else {
            return Ok(Stored::Absent);
        };
        let metadata = file.metadata().map_err(failed("look at", &self.path))?;
        check_access(&self.path, &metadata, FILE_MODE)?;
        self.read(file)
    }

    /// Takes the refresh lock if nobody has it. Reload after that: what was stored may be another's by now.
    ///
    /// # Errors
    /// When the lock's file cannot be used.
    pub fn try_lock(&self) -> Result<Option<RefreshLock>, AuthFileError> {
        self.prepare()?;
        let (path, file) = self.open_lock("lock")?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(RefreshLock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed("lock", &path)(error.into())),
        }
    }

    /// Waits for the refresh lock, at most for 45 seconds.
    ///
    /// # Errors
    /// [`AuthFileError::Locked`] after that, or when the lock's file cannot be used.
    pub async fn lock(&self) -> Result<RefreshLock, AuthFileError> {
        // A lock that blocks could not be given up, and the operating system wakes nobody at a deadline.
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(AuthFileError::Locked(self.path.clone()));
            }
            tokio::time::sleep(LOCK_POLL).await;
        }
    }

    /// Stores a new sign-in, whatever was there; returns what it replaced.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn put(&self, auth: &PersistedAuth) -> Result<Stored, AuthFileError> {
        self.prepare()?;
        let _lock = self.lock_for_writing()?;
        let before = self.load()?;
        self.write(auth)?;
        Ok(before)
    }

    /// Stores `next` (`None` removes the file) if `expected` is still the grant that is stored.
    ///
    /// # Errors
    /// When the change is not on disk.
    pub fn swap(
        &self,
        expected: &Grant,
        next: Option<&PersistedAuth>,
    ) -> Result<Swapped, AuthFileError> {
        self.prepare()?;
        let _lock = self.lock_for_writing()?;
        match self.load()?.into_auth() {
            None => return Ok(Swapped::Gone),
            Some(stored) if stored.grant != *expected => return Ok(Swapped::Changed(stored)),
            Some(_) => {}
        }
        match next {
            Some(auth) => self.write(auth)?,
            None => self.unlink()?,
        }
        Ok(Swapped::Done)
    }

    /// Removes the file, also one that is corrupt or open to others; returns what it held.
    ///
    /// # Errors
    /// When it is still there.
    pub fn remove(&self) -> Result<Stored, AuthFileError> {
        if !self.folder.exists() {
            return Ok(Stored::Absent);
        }
        let _lock = self.lock_for_writing()?;
        // A grant that others may have read must end all the more; one that cannot be read is removed unread.
        let stored = self
            .open()
            .ok()
            .flatten()
            .and_then(|file| self.read(file).ok());
        self.unlink()?;
        Ok(stored.unwrap_or(Stored::Absent))
    }

    fn check_folder(&self) -> Result<(), AuthFileError> {
        let metadata =
            fs::symlink_metadata(&self.folder).map_err(failed("look at", &self.folder))?;
        if !metadata.is_dir() {
            return Err(AuthFileError::NotOurs(self.folder.clone()));
        }
        check_access(&self.folder, &metadata, FOLDER_MODE)
    }

    fn open(&self) -> Result<Option<File>, AuthFileError> {
        match open_options().read(true).open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", &self.path)(error)),
        }
    }

    fn read(&self, file: File) -> Result<Stored, AuthFileError> {
        let metadata = file.metadata().map_err(failed("look at", &self.path))?;
        if !metadata.is_file() {
            return Err(AuthFileError::NotOurs(self.path.clone()));
        }
        // Room for the whole, because a text that grows leaves copies behind.
        let room = usize::try_from(metadata.len().min(MAX_BYTES)).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room + 1));
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(failed("read", &self.path))?;
        // Bytes that are no text become a text that is no record.
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(match PersistedAuth::parse(text) {
            Ok(auth) => Stored::Present(auth),
            Err(error) => Stored::Corrupt(error),
        })
    }

    /// Under the write lock: nobody else uses the temporary file, and one that a killed process left is taken over.
    fn write(&self, auth: &PersistedAuth) -> Result<(), AuthFileError> {
        let temporary = self.beside("tmp");
        remove_if_present(&temporary)?;
        let mut file = open_options()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temporary)
            .map_err(failed("create", &temporary))?;
        let written = file
            .write_all(auth.serialize().as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed("write", &temporary))
            .and_then(|()| {
                fs::rename(&temporary, &self.path).map_err(failed("replace", &self.path))
            });
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.sync_folder())
    }

    fn unlink(&self) -> Result<(), AuthFileError> {
        remove_if_present(&self.path)?;
        remove_if_present(&self.beside("tmp"))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), AuthFileError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("flush", &self.folder))
    }

    fn lock_for_writing(&self) -> Result<File, AuthFileError> {
        let (path, file) = self.open_lock("write-lock")?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                // A signal that is handled ends the wait and nothing else.
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("lock", &path)(error.into())),
            }
        }
    }

    /// Lock files are never removed: whoever holds a removed one would exclude nobody.
    fn open_lock(&self, suffix: &str) -> Result<(PathBuf, File), AuthFileError> {
        let path = self.beside(suffix);
        let file = open_options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(failed("open", &path))?;
        Ok((path, file))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }
}

/// Never follows a link: what is at the end of one was not checked. Never waits for a pipe's other end either.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    options.custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()));
    options
}

fn check_access(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), AuthFileError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(AuthFileError::NotOurs(path.to_owned()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(AuthFileError::TooOpen {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}

fn remove_if_present(path: &Path) -> Result<(), AuthFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthFileError {
    let path = path.to_owned();
    move |source| AuthFileError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
