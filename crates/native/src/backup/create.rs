//! Making a backup beside a running hub: its sections, one after another, into a file that appears when it is whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use epicenter_store::BackupEvent;
use zeroize::Zeroizing;

use super::error::BackupError;
use super::file::NewFile;
use super::format::{Place, Writer};
use super::identity::{IdentitySnapshot, NEVER_RESTORED};
use super::manifest::{Content, Head, Listed, Manifest, RoomHead, TableHead, Totals, chunks};
use super::sealed::{self, Passphrase, SecretTexts};
use super::source::{Identity, Source};
use crate::config::{self, Loaded};
use crate::log::export::{Part, ReadRoomError, StoredLine};
use crate::random::RandomError;
use crate::sqlite::DatabaseError;

/// What waits in memory on its way to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// The first byte of a room's last frame when the rest of it cannot be read; the kinds of entries begin at 1.
pub(super) const ABANDONED: u8 = 0;
/// Bytes before the body of a part: kind, whether it is the last, entry, part.
pub(super) const PART_BYTES: usize = 14;

/// A backup that was made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Made {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What is in it.
    pub totals: Totals,
    /// Where the accounts are.
    pub identity: IdentityPart,
    /// Whether the secrets are in it, sealed.
    pub has_secrets: bool,
    /// Without them: what must be kept elsewhere, and where it is now.
    pub secrets: Vec<KeptSecret>,
    /// Rooms that could not be read, and are not in it.
    pub unreadable: Vec<UnreadableRoom>,
    /// Lines of the room directory that could not be read: so many rooms are not in it either.
    pub lost_lines: u64,
    /// Rooms may be missing that not even a line told of.
    pub is_directory_damaged: bool,
    /// Whether the audit log has a line about it; not in a store that waits for a migration.
    pub is_audited: bool,
}

/// Where the accounts of a backup are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityPart {
    /// In the backup.
    Included {
        /// Version of their schema.
        schema: u32,
    },
    /// In PostgreSQL, of which `pg_dump` makes the copy.
    Postgres {
        /// Version of their schema.
        schema: u64,
    },
}

/// A secret that a backup goes without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSecret {
    /// The variable that gives it.
    pub variable: &'static str,
    /// The file that holds it; none when it was given.
    pub file: Option<PathBuf>,
}

/// A room that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableRoom {
    /// `owners/{owner}/rooms/{room}`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Makes a backup of the hub that this configuration is of, running or not.
///
/// # Errors
/// When the hub's data or secrets cannot be read, or the file cannot be written. Nothing has the name then.
pub fn create(
    loaded: &Loaded,
    target: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Made, BackupError> {
    let source = Source::open(&loaded.config)?;
    let new = NewFile::create(target).map_err(|error| refused(target, error))?;
    let out = BufWriter::with_capacity(BUFFER_BYTES, new.file());
    let written = write(out, &source, &config::render(loaded), passphrase);
    let Draft {
        totals, unreadable, ..
    } = written.map_err(|error| error.at(target))?;
    let metadata = new.file().metadata();
    let bytes = metadata.map_err(|error| refused(target, error))?.len();
    new.place().map_err(|error| refused(target, error))?;
    let (lost_lines, is_directory_damaged) = source.rooms.lost_lines();
    Ok(Made {
        path: target.to_owned(),
        bytes,
        totals,
        identity: source.identity.part(),
        has_secrets: passphrase.is_some(),
        secrets: match passphrase {
            Some(_) => Vec::new(),
            None => source.kept_secrets(),
        },
        unreadable,
        lost_lines,
        is_directory_damaged,
        is_audited: source.record(BackupEvent::Made)?,
    })
}

fn refused(path: &Path, source: io::Error) -> BackupError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path },
        _ => BackupError::Write { path, source },
    }
}

/// Why a backup could not be written.
enum WriteError {
    /// The file.
    Output(io::Error),
    /// What goes into it.
    Source(BackupError),
}

impl WriteError {
    fn at(self, target: &Path) -> BackupError {
        match self {
            Self::Output(error) => refused(target, error),
            Self::Source(error) => error,
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<DatabaseError> for WriteError {
    fn from(error: DatabaseError) -> Self {
        Self::Source(error.into())
    }
}

impl From<RandomError> for WriteError {
    fn from(error: RandomError) -> Self {
        Self::Source(error.into())
    }
}

/// What was written so far.
struct Draft<W> {
    writer: Writer<W>,
    listed: Vec<Listed>,
    totals: Totals,
    unreadable: Vec<UnreadableRoom>,
}

/// Writes a whole backup.
fn write<W: Write>(
    out: W,
    source: &Source,
    configuration: &str,
    passphrase: Option<&Passphrase>,
) -> Result<Draft<W>, WriteError> {
    let about = source.about().map_err(WriteError::Source)?;
    let mut draft = Draft {
        writer: Writer::new(out)?,
        listed: Vec::new(),
        totals: Totals::default(),
        unreadable: Vec::new(),
    };
    let head = Head::About(Box::new(about.clone()));
    draft.add(Content::About, &head, [])?;
    let text = chunks(configuration.as_bytes());
    draft.add(Content::Configuration, &Head::Configuration, text)?;
    if let Some(passphrase) = passphrase {
        let texts = SecretTexts {
            encryption: Zeroizing::clone(&source.secrets.encryption),
            auth: Zeroizing::clone(&source.secrets.auth),
        };
        let (head, sealed) = sealed::seal(&texts, passphrase)?;
        draft.add(Content::Secrets, &Head::Secrets(head), [&*sealed])?;
    }
    for room in source.rooms.rooms() {
        draft.add_room(source, room)?;
    }
    if let Identity::Sqlite(snapshot) = &source.identity {
        for table in snapshot.tables()? {
            if !NEVER_RESTORED.contains(&table.table.as_str()) {
                draft.add_table(snapshot, table)?;
            }
        }
    }
    draft.finish(about)
}

impl<W: Write> Draft<W> {
    /// A section whose frames are at hand.
    fn add<'t>(
        &mut self,
        content: Content,
        head: &Head,
        frames: impl IntoIterator<Item = &'t [u8]>,
    ) -> io::Result<()> {
        let place = self.section(head, frames)?;
        self.listed.push(Listed::new(content, &place));
        Ok(())
    }

    fn section<'t>(
        &mut self,
        head: &Head,
        frames: impl IntoIterator<Item = &'t [u8]>,
    ) -> io::Result<Place> {
        let mut section = self.writer.section()?;
        section.frame(&[&encode(head)])?;
        for frame in frames {
            section.frame(&[frame])?;
        }
        section.end()
    }

    /// A room that turns out to be damaged is abandoned in the middle, and said to be.
    fn add_room(&mut self, source: &Source, room: &StoredLine) -> Result<(), WriteError> {
        let head = Head::Room(RoomHead::of(&room.line, room.last, room.bytes));
        let mut section = self.writer.section()?;
        section.frame(&[&encode(&head)])?;
        let (mut parts, mut entries, mut bytes) = (0, 0, 0);
        let read = match &room.fault {
            Some(fault) => Err(ReadRoomError::Damaged(fault.to_string())),
            None => source.rooms.read_room(room, |part| {
                parts += 1;
                entries += u64::from(part.is_last);
                bytes += part.body.len() as u64;
                section.frame(&[&encode_part(&part), part.body])
            }),
        };
        let unreadable = match read {
            Ok(()) => None,
            Err(ReadRoomError::Taker(error)) => return Err(error.into()),
            Err(ReadRoomError::Damaged(reason)) => {
                section.frame(&[&[ABANDONED], reason.as_bytes()])?;
                Some(reason)
            }
        };
        let place = section.end()?;
        match &unreadable {
            None => self.count(room, entries, bytes),
            Some(reason) => {
                self.totals.unreadable_rooms += 1;
                self.unreadable.push(UnreadableRoom {
                    name: room.line.name.to_string(),
                    reason: reason.clone(),
                });
            }
        }
        let content = Content::Room {
            owner: room.line.name.owner().as_str().to_owned(),
            room: room.line.name.room().as_str().to_owned(),
            parts,
            unreadable,
        };
        self.listed.push(Listed::new(content, &place));
        Ok(())
    }

    fn count(&mut self, room: &StoredLine, entries: u64, bytes: u64) {
        match room.line.status {
            epicenter_room::RoomStatus::Deleted => self.totals.deleted_rooms += 1,
            _ => self.totals.rooms += 1,
        }
        self.totals.entries += entries;
        self.totals.bytes += bytes;
    }

    fn add_table(
        &mut self,
        snapshot: &IdentitySnapshot,
        table: TableHead,
    ) -> Result<(), WriteError> {
        let mut section = self.writer.section()?;
        section.frame(&[&encode(&Head::Table(table.clone()))])?;
        let mut rows = 0;
        snapshot.read_table(&table, |row| {
            rows += 1;
            section.frame(&[row])
        })??;
        let place = section.end()?;
        self.totals.identity_rows += rows;
        let content = Content::Table {
            table: table.table,
            rows,
        };
        self.listed.push(Listed::new(content, &place));
        Ok(())
    }

    fn finish(mut self, about: super::manifest::About) -> Result<Self, WriteError> {
        let manifest = Manifest {
            about,
            totals: self.totals,
            sections: std::mem::take(&mut self.listed),
        };
        let text = encode(&manifest);
        let place = self.section(&Head::Manifest, chunks(&text))?;
        self.writer.write_trailer(&place)?;
        Ok(self)
    }
}

fn encode_part(part: &Part<'_>) -> [u8; PART_BYTES] {
    let mut bytes = [0; PART_BYTES];
    bytes[0] = part.kind;
    bytes[1] = u8::from(part.is_last);
    bytes[2..10].copy_from_slice(&part.entry.to_le_bytes());
    bytes[10..].copy_from_slice(&part.part.to_le_bytes());
    bytes
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("structs of texts and numbers have a JSON form")
}
