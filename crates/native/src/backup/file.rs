//! New files and folders that appear whole or not at all: written under a name of their own, made durable, renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::data_dir::UNFINISHED;
use crate::random;
use crate::sqlite::sync_directory_of;

/// A file that is not there yet. Dropped before it is, its draft goes with it.
pub(super) struct NewFile {
    file: File,
    draft: PathBuf,
    target: PathBuf,
    is_placed: bool,
}

impl NewFile {
    /// Makes the draft, mode 0600, in the folder of the target.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let draft = draft_beside(target)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        Ok(Self {
            file,
            draft,
            target: target.to_owned(),
            is_placed: false,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Makes it durable and gives it its name; never in place of another file.
    pub(super) fn place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_new(&self.draft, &self.target)?;
        self.is_placed = true;
        sync_directory_of(&self.target)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_placed {
            // Whoever dropped it has an error to tell already.
            let _ = fs::remove_file(&self.draft);
        }
    }
}

/// A folder that is not there yet, or is there and empty. Dropped before it is placed, its draft goes with it.
///
/// A mount point, such as a volume of a container, cannot be renamed onto: there the draft is inside, and its files are
/// renamed one by one under the protection of [`UNFINISHED`], with which no hub starts.
pub(super) struct NewFolder {
    draft: PathBuf,
    target: PathBuf,
    is_inside: bool,
    is_placed: bool,
}

impl NewFolder {
    /// Makes the draft, mode 0700, beside the target or in it.
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        Self::create_at(target, is_mount_point(target))
    }

    fn create_at(target: &Path, is_inside: bool) -> io::Result<Self> {
        let draft = if is_inside {
            draft_beside(&target.join("restore"))?
        } else {
            draft_beside(target)?
        };
        if let Some(parent) = parent_of(target) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        DirBuilder::new().mode(0o700).create(&draft)?;
        Ok(Self {
            draft,
            target: target.to_owned(),
            is_inside,
            is_placed: false,
        })
    }

    /// Where its files are written.
    pub(super) fn path(&self) -> &Path {
        &self.draft
    }

    /// Makes all of it durable and gives it its name; only in place of an empty folder.
    pub(super) fn place(mut self) -> io::Result<()> {
        sync_all(&self.draft)?;
        if self.is_inside {
            self.move_out()?;
        } else {
            // The system refuses a folder that is not empty.
            fs::rename(&self.draft, &self.target)?;
        }
        self.is_placed = true;
        sync_directory_of(&self.target)
    }

    fn move_out(&self) -> io::Result<()> {
        let mark = self.target.join(UNFINISHED);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&mark)?;
        file.sync_all()?;
        sync_directory_of(&mark)?;
        for entry in fs::read_dir(&self.draft)? {
            let entry = entry?;
            rename_new(&entry.path(), &self.target.join(entry.file_name()))?;
        }
        fs::remove_dir(&self.draft)?;
        sync_directory_of(&mark)?;
        fs::remove_file(&mark)?;
        sync_directory_of(&mark)
    }
}

/// Whether the folder is another disk than the one that it is in.
fn is_mount_point(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else {
        return false;
    };
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    folder
        .parent()
        .is_some_and(|parent| device(parent) != device(&folder))
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_placed {
            // Whoever dropped it has an error to tell already.
            let _ = fs::remove_dir_all(&self.draft);
        }
    }
}

/// A name in the same folder, and so on the same disk, that shows what it is.
fn draft_beside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let suffix = random::alphanumeric(8).map_err(io::Error::other)?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{suffix}.part"));
    Ok(target.with_file_name(draft))
}

fn parent_of(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it: look first, then.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name =
            |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        entries.map(name).collect()
    }

    #[test]
    fn a_file_appears_whole_and_takes_nobodys_place() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("copy");
        let new = NewFile::create(&target).unwrap();
        new.file().write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(new);
        assert!(names(place.path()).is_empty());

        let first = NewFile::create(&target).unwrap();
        let second = NewFile::create(&target).unwrap();
        first.file().write_all(b"first").unwrap();
        first.place().unwrap();
        let refused = second.place().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        let refused = NewFile::create(&target).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(place.path()), ["copy"]);
        assert_eq!(fs::read(&target).unwrap(), b"first");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_folder_takes_the_place_of_an_empty_one_only() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("deep/data");
        let new = NewFolder::create(&target).unwrap();
        fs::write(new.path().join("file"), b"x").unwrap();
        fs::create_dir(&target).unwrap();
        new.place().unwrap();
        assert_eq!(names(&target), ["file"]);
        let other = NewFolder::create(&target).unwrap();
        other.place().unwrap_err();
        assert_eq!(names(&target), ["file"]);
        assert_eq!(names(target.parent().unwrap()), ["data"]);
    }

    #[test]
    fn a_mount_point_is_filled_from_inside() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("data");
        fs::create_dir(&target).unwrap();
        assert!(!is_mount_point(&target));
        assert!(is_mount_point(Path::new("/proc")));
        let new = NewFolder::create_at(&target, true).unwrap();
        fs::create_dir(new.path().join("secrets")).unwrap();
        fs::write(new.path().join("secrets/file"), b"x").unwrap();
        assert_eq!(names(&target).len(), 1, "the draft alone");
        new.place().unwrap();
        assert_eq!(names(&target), ["secrets"]);
        assert_eq!(fs::read(target.join("secrets/file")).unwrap(), b"x");
        // What cannot be finished says so to the next start.
        let new = NewFolder::create_at(&target, true).unwrap();
        fs::create_dir(new.path().join("secrets")).unwrap();
        new.place().unwrap_err();
        assert!(target.join(UNFINISHED).is_file());
    }
}
