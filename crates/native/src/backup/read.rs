//! Reading a backup: where its sections are, and which of them are what was written.
//!
//! The manifest leads to the sections. Where it or the trailer is damaged, or the file is cut off, the sections are walked
//! from the first one on, each of which says what it is and proves itself.

use std::fs::File;
use std::io;
use std::path::Path;

use super::IdentityPart;
use super::create::ABANDONED;
use super::error::RestoreError;
use super::format::{
    Fault, HEADER_BYTES, Header, Place, SectionReader, TRAILER_BYTES, read_header, read_trailer,
};
use super::manifest::{About, Content, Head, IdentityAbout, Listed, Manifest, Totals, read_head};

/// A part of a backup that is not what was written.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damage {
    /// Which part.
    pub what: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What a look at a backup found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked {
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// The version of the program that made it.
    pub program: String,
    /// What is in it; none when its manifest is damaged.
    pub totals: Option<Totals>,
    /// Where the accounts are.
    pub identity: IdentityPart,
    /// Whether the secrets are in it, sealed.
    pub has_secrets: bool,
    /// Its rooms that could not be read when it was made.
    pub unreadable: Vec<String>,
    /// Whether rooms are missing of which not even the names could be read.
    pub has_lost_rooms: bool,
    /// Parts that are not what was written; none in a sound backup.
    pub damages: Vec<Damage>,
}

/// Reads a whole backup and checks every hash.
///
/// # Errors
/// When the file is no backup, or cannot be read at all.
pub fn check(source: &Path) -> Result<Checked, RestoreError> {
    let archive = Archive::open(source)?;
    Ok(Checked {
        created_at_ms: archive.about.created_at,
        program: archive.about.program.clone(),
        totals: archive.totals,
        identity: archive.identity(),
        has_secrets: archive.has_secrets(),
        unreadable: archive.unreadable(),
        has_lost_rooms: archive.has_lost_rooms(),
        damages: archive.damages,
    })
}

/// A backup all of whose hashes were checked.
pub(super) struct Archive {
    file: File,
    pub(super) about: About,
    pub(super) totals: Option<Totals>,
    /// The sections that are what was written.
    pub(super) sound: Vec<Listed>,
    pub(super) damages: Vec<Damage>,
}

/// What the manifest, or a walk, says is in the file.
struct Index {
    about: Option<About>,
    totals: Option<Totals>,
    sections: Vec<Listed>,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, RestoreError> {
        let unreadable = |source| RestoreError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut damages = Vec::new();
        match read_header(&mut file) {
            Ok(Header::Known) => {}
            Ok(Header::Newer(version)) => {
                return Err(RestoreError::Newer {
                    what: "format",
                    found: version.into(),
                    known: 1,
                });
            }
            Ok(Header::Damaged) => note(&mut damages, "the header", Fault::Structure),
            Err(fault) => return Err(unreadable(io_error(fault))),
        }
        let index = read_index(&file, length, &mut damages);
        let about = index.about.ok_or_else(|| RestoreError::NoBackup {
            path: path.to_owned(),
        })?;
        let mut archive = Self {
            file,
            about,
            totals: index.totals,
            sound: Vec::new(),
            damages,
        };
        archive.check_all(index.sections);
        Ok(archive)
    }

    /// Opens a section that was found sound.
    pub(super) fn section(&self, listed: &Listed) -> Result<SectionReader<&File>, Fault> {
        SectionReader::open(&self.file, listed.offset)
    }

    /// After the last frame of a section: it must still be what it was when it was checked.
    pub(super) fn check_again(
        &self,
        listed: &Listed,
        section: SectionReader<&File>,
    ) -> Result<(), Fault> {
        let place = section.check_end()?;
        if listed.is_at(&place) {
            Ok(())
        } else {
            Err(Fault::Hash)
        }
    }

    pub(super) fn identity(&self) -> IdentityPart {
        match self.about.identity {
            IdentityAbout::Sqlite { schema } => IdentityPart::Included { schema },
            IdentityAbout::Postgres { schema } => IdentityPart::Postgres { schema },
        }
    }

    pub(super) fn has_secrets(&self) -> bool {
        let mut sound = self.sound.iter();
        sound.any(|listed| matches!(listed.content, Content::Secrets))
    }

    /// Rooms that could not be read when the backup was made.
    pub(super) fn has_lost_rooms(&self) -> bool {
        self.about.lost_lines > 0 || self.about.is_directory_damaged
    }

    pub(super) fn unreadable(&self) -> Vec<String> {
        let name = |listed: &Listed| match &listed.content {
            Content::Room {
                unreadable: Some(_),
                ..
            } => Some(listed.content.name()),
            _ => None,
        };
        self.sound.iter().filter_map(name).collect()
    }

    fn check_all(&mut self, sections: Vec<Listed>) {
        for listed in sections {
            let found =
                SectionReader::open(&self.file, listed.offset).and_then(SectionReader::finish);
            let fault = match found {
                Ok(place) if listed.is_at(&place) => None,
                Ok(_) => Some(Fault::Hash),
                Err(fault) => Some(fault),
            };
            match fault {
                None => self.sound.push(listed),
                Some(fault) => note(&mut self.damages, &listed.content.name(), fault),
            }
        }
    }
}

fn note(damages: &mut Vec<Damage>, what: &str, fault: Fault) {
    damages.push(Damage {
        what: what.to_owned(),
        fault,
    });
}

fn io_error(fault: Fault) -> io::Error {
    match fault {
        Fault::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn read_index(file: &File, length: u64, damages: &mut Vec<Damage>) -> Index {
    let trailer = read_trailer(&mut &*file, length);
    let manifest = match trailer {
        Ok(Some(offset)) => read_manifest(file, offset, length.checked_sub(TRAILER_BYTES)),
        Ok(None) | Err(Fault::Cut) => Err(Fault::Cut),
        Err(fault) => Err(fault),
    };
    let fault = match manifest {
        Ok(manifest) => return manifest.into(),
        Err(fault) => fault,
    };
    let walk = walk(file);
    match walk.manifest {
        // It ends where the trailer ought to stand.
        Some(manifest) => {
            note(damages, "the end of the file", Fault::Structure);
            manifest.into()
        }
        None => {
            note(damages, "the manifest", fault);
            if let Some((offset, fault)) = walk.stopped {
                note(damages, &format!("everything from byte {offset} on"), fault);
            }
            Index {
                about: walk.about,
                totals: None,
                sections: walk.sections,
            }
        }
    }
}

impl From<Manifest> for Index {
    fn from(manifest: Manifest) -> Self {
        Self {
            about: Some(manifest.about),
            totals: Some(manifest.totals),
            sections: manifest.sections,
        }
    }
}

/// The manifest at this offset; its sections fill everything before it, and it ends at `end` where that is known.
fn read_manifest(file: &File, offset: u64, end: Option<u64>) -> Result<Manifest, Fault> {
    let mut section = SectionReader::open(file, offset)?;
    let head = read_head(&mut section)?;
    let (manifest, place) = read_manifest_text(head, section)?;
    let mut at = HEADER_BYTES;
    for listed in &manifest.sections {
        if listed.offset != at {
            return Err(Fault::Structure);
        }
        at = listed.end();
    }
    let is_last = end.is_none_or(|end| place.end() == end);
    if at == offset && is_last {
        Ok(manifest)
    } else {
        Err(Fault::Structure)
    }
}

fn read_manifest_text(
    head: Head,
    mut section: SectionReader<&File>,
) -> Result<(Manifest, Place), Fault> {
    if head != Head::Manifest {
        return Err(Fault::Structure);
    }
    let mut text = Vec::new();
    while let Some(frame) = section.next()? {
        text.extend_from_slice(frame);
    }
    let place = section.check_end()?;
    let manifest =
        serde_json::from_slice(&text).map_err(|error| Fault::Content(error.to_string()))?;
    Ok((manifest, place))
}

/// What is found without a manifest.
#[derive(Default)]
struct Walk {
    about: Option<About>,
    sections: Vec<Listed>,
    /// At the end of the walk, when the manifest itself is sound.
    manifest: Option<Manifest>,
    /// Where a section is not what was written: from there on no other can be found.
    stopped: Option<(u64, Fault)>,
}

fn walk(file: &File) -> Walk {
    let mut found = Walk::default();
    let mut offset = HEADER_BYTES;
    loop {
        match step(file, offset, &mut found) {
            Ok(Some(next)) => offset = next,
            Ok(None) => return found,
            Err(fault) => {
                found.stopped = Some((offset, fault));
                return found;
            }
        }
    }
}

/// Reads the section at this offset; where the next one is.
fn step(file: &File, offset: u64, found: &mut Walk) -> Result<Option<u64>, Fault> {
    let mut section = SectionReader::open(file, offset)?;
    let content = match read_head(&mut section)? {
        Head::Manifest => {
            found.manifest = Some(read_manifest(file, offset, None)?);
            return Ok(None);
        }
        Head::About(about) => {
            let place = section.finish()?;
            found.about = Some(*about);
            found.sections.push(Listed::new(Content::About, &place));
            return Ok(Some(place.end()));
        }
        Head::Room(room) => {
            let (mut parts, mut unreadable) = (0, None);
            while let Some(frame) = section.next()? {
                parts += 1;
                if frame.first() == Some(&ABANDONED) {
                    let reason = String::from_utf8_lossy(frame.get(1..).unwrap_or_default());
                    unreadable = Some(reason.into_owned());
                }
            }
            let content = Content::Room {
                owner: room.owner,
                room: room.room,
                parts,
                unreadable,
            };
            let place = section.check_end()?;
            found.sections.push(Listed::new(content, &place));
            return Ok(Some(place.end()));
        }
        Head::Table(table) => Content::Table {
            table: table.table,
            rows: 0,
        },
        Head::Configuration => Content::Configuration,
        Head::Secrets(_) => Content::Secrets,
    };
    let place = section.finish()?;
    found.sections.push(Listed::new(content, &place));
    Ok(Some(place.end()))
}
