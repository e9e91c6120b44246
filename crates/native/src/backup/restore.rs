//! Restoring: a new data directory, written beside its place and renamed when it is whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use epicenter_server::ports::Clock as _;
use epicenter_store::BackupEvent;
use epicenter_store::schema::MIGRATIONS;
use tokio::runtime;

use super::create::PART_BYTES;
use super::error::RestoreError;
use super::file::NewFolder;
use super::format::Fault;
use super::identity::{ENDED, ESSENTIAL, IdentityImport, IdentityImportError, NEVER_RESTORED};
use super::manifest::{
    Content, Head, IdentityAbout, Listed, RoomHead, Status, TableHead, read_head,
};
use super::read::{Archive, Damage};
use super::sealed::{self, Passphrase, SecretTexts};
use crate::admin::operator;
use crate::clock::HostClock;
use crate::data_dir::awaited;
use crate::data_dir::secrets::{AUTH_FILE, ENCRYPTION_FILE, FOLDER, store_secret};
use crate::identity_store::StoreError;
use crate::log::export::{Import, ImportError, Part};
use crate::log::schema_version;
use crate::sqlite::{self, DatabaseError};
use crate::store::open_sqlite;

/// Where a restored data directory has the configuration that the hub ran with. Nothing reads it.
pub const CONFIGURATION_FILE: &str = "restored-configuration.toml";

/// How to restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct RestoreOptions<'p> {
    /// Opens the secrets in the backup.
    pub passphrase: Option<&'p Passphrase>,
    /// Restores what is sound of a damaged backup.
    pub skip_damaged: bool,
    /// Keeps sessions, grants, codes and links as they were.
    pub keep_sessions: bool,
    /// Takes any `AUTH_SECRET` at the start, because the one of the backup is lost.
    pub any_auth_secret: bool,
}

/// A data directory that was restored.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The data directory.
    pub path: PathBuf,
    /// When the backup was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Rooms that exist.
    pub rooms: u64,
    /// Tombstones.
    pub deleted_rooms: u64,
    /// The accounts.
    pub identity: IdentityOutcome,
    /// The secrets.
    pub secrets: SecretsOutcome,
    /// Parts of the backup that were damaged, and are not here.
    pub damages: Vec<Damage>,
    /// Rooms that could not be read when the backup was made.
    pub unreadable: Vec<String>,
    /// Whether rooms are missing of which not even the names could be read.
    pub has_lost_rooms: bool,
    /// Where the configuration is that the hub ran with.
    pub configuration: Option<PathBuf>,
}

/// What became of the accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityOutcome {
    /// They are here.
    Restored {
        /// Whether who was signed in still is.
        keeps_sessions: bool,
    },
    /// They are too damaged.
    Lost,
    /// They are in PostgreSQL, with this version of their schema.
    Postgres {
        /// Its version.
        schema: u64,
    },
}

/// What became of the secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsOutcome {
    /// They are in the data directory.
    Restored,
    /// The hub starts with the ones that the backup was made with, and no others.
    Awaited {
        /// Whether they are in the backup, for who knows the passphrase.
        are_sealed: bool,
    },
}

/// Restores a backup into a data directory that does not exist or is empty.
///
/// # Errors
/// When the backup is damaged (and that was not to be passed over), or the directory cannot be made. The target is then as
/// it was.
pub fn restore(
    source: &Path,
    target: &Path,
    options: RestoreOptions<'_>,
) -> Result<Restored, RestoreError> {
    check_target(target)?;
    let mut archive = Archive::open(source)?;
    if !archive.damages.is_empty() && !options.skip_damaged {
        return Err(RestoreError::Damaged {
            damages: archive.damages,
        });
    }
    check_versions(&archive)?;
    let secrets = open_secrets(&archive, options.passphrase)?;
    // Nothing that is made here is for others.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let folder = NewFolder::create(target).map_err(|error| refused(target, error))?;
    let (rooms, deleted_rooms) = restore_rooms(&archive, folder.path())?;
    let identity = restore_identity(&archive, folder.path(), options.keep_sessions)?;
    let secrets = place_secrets(&archive, folder.path(), secrets.as_ref(), options)?;
    let has_configuration = restore_configuration(&archive, folder.path())?;
    folder.place().map_err(|error| refused(target, error))?;
    Ok(Restored {
        path: target.to_owned(),
        created_at_ms: archive.about.created_at,
        rooms,
        deleted_rooms,
        identity,
        secrets,
        unreadable: archive.unreadable(),
        has_lost_rooms: archive.has_lost_rooms(),
        damages: std::mem::take(&mut archive.damages),
        configuration: has_configuration.then(|| target.join(CONFIGURATION_FILE)),
    })
}

fn refused(path: &Path, source: io::Error) -> RestoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::DirectoryNotEmpty => RestoreError::TargetNotEmpty { path },
        _ => RestoreError::Write { path, source },
    }
}

fn check_target(target: &Path) -> Result<(), RestoreError> {
    // What a file system puts into its root by itself does not count.
    let is_own = |entry: &io::Result<fs::DirEntry>| {
        !entry
            .as_ref()
            .is_ok_and(|entry| entry.file_name() == "lost+found")
    };
    match fs::read_dir(target).map(|mut entries| !entries.any(|entry| is_own(&entry))) {
        Ok(true) => Ok(()),
        Ok(false) => Err(RestoreError::TargetNotEmpty {
            path: target.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(target, error)),
    }
}

fn check_versions(archive: &Archive) -> Result<(), RestoreError> {
    let check = |what, found: u64, known: u64| {
        if found > known {
            return Err(RestoreError::Newer { what, found, known });
        }
        Ok(())
    };
    let about = &archive.about;
    check(
        "rooms of schema version",
        about.rooms_schema.into(),
        schema_version().into(),
    )?;
    match about.identity {
        IdentityAbout::Sqlite { schema } => check(
            "accounts of schema version",
            schema.into(),
            MIGRATIONS.len() as u64,
        ),
        IdentityAbout::Postgres { .. } => Ok(()),
    }
}

fn open_secrets(
    archive: &Archive,
    passphrase: Option<&Passphrase>,
) -> Result<Option<SecretTexts>, RestoreError> {
    let Some(passphrase) = passphrase else {
        return Ok(None);
    };
    let mut sound = archive.sound.iter();
    let listed = sound.find(|listed| listed.content == Content::Secrets);
    let listed = listed.ok_or(RestoreError::NoSecrets)?;
    let read = || {
        let mut section = archive.section(listed)?;
        let Head::Secrets(head) = read_head(&mut section)? else {
            return Err(Fault::Structure);
        };
        let sealed = section.next()?.ok_or(Fault::Structure)?.to_vec();
        Ok((head, sealed))
    };
    let (head, sealed) = read().map_err(|fault| malformed(listed, fault))?;
    match sealed::open(&head, &sealed, passphrase) {
        Ok(secrets) => Ok(Some(secrets)),
        Err(sealed::OpenError::WrongPassphrase) => Err(RestoreError::WrongPassphrase),
        Err(sealed::OpenError::Unknown) => Err(RestoreError::UnknownSeal),
    }
}

/// A section that was sound a moment ago.
fn malformed(listed: &Listed, why: impl std::fmt::Display) -> RestoreError {
    RestoreError::Malformed {
        what: listed.content.name(),
        why: why.to_string(),
    }
}

fn restore_rooms(archive: &Archive, folder: &Path) -> Result<(u64, u64), RestoreError> {
    let failed = |error| match error {
        ImportError::Database(error) => RestoreError::Database(error),
        ImportError::Malformed(why) => RestoreError::Malformed {
            what: "the rooms".to_owned(),
            why,
        },
    };
    let mut import = Import::create(&folder.join("rooms.db")).map_err(failed)?;
    let (mut live, mut deleted) = (0, 0);
    for listed in &archive.sound {
        let is_room = matches!(
            listed.content,
            Content::Room {
                unreadable: None,
                ..
            }
        );
        if is_room {
            match restore_room(archive, listed, &mut import)? {
                Status::Live => live += 1,
                Status::Deleted => deleted += 1,
            }
        }
    }
    import.finish().map_err(failed)?;
    Ok((live, deleted))
}

fn restore_room(
    archive: &Archive,
    listed: &Listed,
    import: &mut Import,
) -> Result<Status, RestoreError> {
    let fault = |fault: Fault| malformed(listed, fault);
    let failed = |error| match error {
        ImportError::Database(error) => RestoreError::Database(error),
        ImportError::Malformed(why) => malformed(listed, why),
    };
    let mut section = archive.section(listed).map_err(fault)?;
    let Head::Room(head) = read_head(&mut section).map_err(fault)? else {
        return Err(malformed(listed, Fault::Structure));
    };
    let line = head.line().filter(|_| names_room(&listed.content, &head));
    let line = line.ok_or_else(|| malformed(listed, "its name is none"))?;
    let mut last = 0;
    while let Some(frame) = section.next().map_err(fault)? {
        let part = decode_part(frame).ok_or_else(|| malformed(listed, Fault::Structure))?;
        import.add(part).map_err(failed)?;
        last = part.entry;
    }
    archive.check_again(listed, section).map_err(fault)?;
    if last != head.last {
        return Err(malformed(listed, "its last entry is missing"));
    }
    import.end_room(&line).map_err(failed)?;
    Ok(head.status)
}

fn names_room(content: &Content, head: &RoomHead) -> bool {
    matches!(content, Content::Room { owner, room, .. } if (owner, room) == (&head.owner, &head.room))
}

fn decode_part(frame: &[u8]) -> Option<Part<'_>> {
    let (head, body) = frame.split_first_chunk::<PART_BYTES>()?;
    let (&[kind, last], numbers) = head.split_first_chunk()?;
    let (entry, part) = numbers.split_first_chunk()?;
    Some(Part {
        entry: u64::from_le_bytes(*entry),
        part: u32::from_le_bytes(part.try_into().ok()?),
        is_last: match last {
            0 => false,
            1 => true,
            _ => return None,
        },
        kind,
        body,
    })
}

fn restore_identity(
    archive: &Archive,
    folder: &Path,
    keep_sessions: bool,
) -> Result<IdentityOutcome, RestoreError> {
    let schema = match archive.about.identity {
        IdentityAbout::Sqlite { schema } => schema,
        IdentityAbout::Postgres { schema } => return Ok(IdentityOutcome::Postgres { schema }),
    };
    let is_there = |name: &&str| {
        let mut sound = archive.sound.iter();
        sound.any(|listed| is_table(&listed.content, name))
    };
    // Counters came with the second version.
    let needed = ESSENTIAL
        .iter()
        .filter(|name| schema > 1 || **name != "counters");
    if !needed.clone().all(is_there) {
        return Ok(IdentityOutcome::Lost);
    }
    let path = folder.join("identity.db");
    let failed = |what: String| {
        move |error| match error {
            IdentityImportError::Database(error) => RestoreError::Database(error),
            IdentityImportError::Malformed(why) => RestoreError::Malformed { what, why },
        }
    };
    let accounts = || "the accounts".to_owned();
    let import = IdentityImport::create(&path, schema).map_err(failed(accounts()))?;
    for listed in &archive.sound {
        let Content::Table { table, .. } = &listed.content else {
            continue;
        };
        let has_ended = !keep_sessions && ENDED.contains(&table.as_str());
        if has_ended || NEVER_RESTORED.contains(&table.as_str()) {
            continue;
        }
        restore_table(archive, listed, &import)?;
    }
    import.finish().map_err(failed(accounts()))?;
    let event = if keep_sessions {
        BackupEvent::RestoredWithSessions
    } else {
        BackupEvent::Restored
    };
    record(&path, event)?;
    check_integrity(&path)?;
    Ok(IdentityOutcome::Restored {
        keeps_sessions: keep_sessions,
    })
}

fn is_table(content: &Content, name: &str) -> bool {
    matches!(content, Content::Table { table, .. } if table == name)
}

fn restore_table(
    archive: &Archive,
    listed: &Listed,
    import: &IdentityImport,
) -> Result<(), RestoreError> {
    let fault = |fault: Fault| malformed(listed, fault);
    let failed = |error| match error {
        IdentityImportError::Database(error) => RestoreError::Database(error),
        IdentityImportError::Malformed(why) => malformed(listed, why),
    };
    let mut section = archive.section(listed).map_err(fault)?;
    let head: TableHead = match read_head(&mut section).map_err(fault)? {
        Head::Table(head) if is_table(&listed.content, &head.table) => head,
        _ => return Err(malformed(listed, Fault::Structure)),
    };
    let table = import.table(&head).map_err(failed)?;
    while let Some(row) = section.next().map_err(fault)? {
        table.add(row).map_err(failed)?;
    }
    archive.check_again(listed, section).map_err(fault)
}

/// Brings the store to this program's schema and writes a line of its audit log.
fn record(path: &Path, event: BackupEvent) -> Result<(), RestoreError> {
    let runtime = runtime::Builder::new_current_thread()
        .build()
        .map_err(RestoreError::Start)?;
    let store = open_sqlite(path)?.store;
    let act = operator(HostClock::start().now_ms());
    let recorded = runtime.block_on(store.record_backup(event, &act));
    Ok(recorded.map_err(StoreError::from)?)
}

fn check_integrity(path: &Path) -> Result<(), RestoreError> {
    let failed = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let connection = sqlite::open_writable(path, MIGRATIONS)?;
    if let Some(what) = sqlite::check_integrity(&connection).map_err(failed)?.pop() {
        let path = path.to_owned();
        return Err(RestoreError::Database(DatabaseError::Damaged {
            path,
            what,
        }));
    }
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .map_err(failed)?;
    Ok(())
}

/// The secrets themselves, and what the first start checks whichever it is given.
fn place_secrets(
    archive: &Archive,
    folder: &Path,
    secrets: Option<&SecretTexts>,
    options: RestoreOptions<'_>,
) -> Result<SecretsOutcome, RestoreError> {
    if let Some(secrets) = secrets {
        let folder = folder.join(FOLDER);
        store_secret(&folder.join(ENCRYPTION_FILE), &secrets.encryption)?;
        store_secret(&folder.join(AUTH_FILE), &secrets.auth)?;
    }
    let mut awaited = archive.about.secrets.clone();
    if options.any_auth_secret {
        awaited = awaited.with_any_auth();
    }
    let text = serde_json::to_vec(&awaited).expect("texts have a JSON form");
    write_private(&folder.join(awaited::FILE), &text)?;
    Ok(match secrets {
        Some(_) => SecretsOutcome::Restored,
        None => SecretsOutcome::Awaited {
            are_sealed: archive.has_secrets(),
        },
    })
}

fn restore_configuration(archive: &Archive, folder: &Path) -> Result<bool, RestoreError> {
    let mut sound = archive.sound.iter();
    let Some(listed) = sound.find(|listed| listed.content == Content::Configuration) else {
        return Ok(false);
    };
    let read = || {
        let mut section = archive.section(listed)?;
        let mut text = Vec::new();
        read_head(&mut section)?;
        while let Some(frame) = section.next()? {
            text.extend_from_slice(frame);
        }
        Ok(text)
    };
    let text = read().map_err(|fault: Fault| malformed(listed, fault))?;
    write_private(&folder.join(CONFIGURATION_FILE), &text)?;
    Ok(true)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), RestoreError> {
    let write = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?
            .write_all(bytes)
    };
    write().map_err(|error| refused(path, error))
}
