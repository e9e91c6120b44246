//! What a backup says about itself: the head of each section, and the manifest that lists them all.
//!
//! All of it is JSON, so that a person can read it. Names of members are part of the stored form.

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;
use serde::{Deserialize, Serialize};

use super::format::{Fault, HASH_BYTES, MAX_FRAME_BYTES, Place, SectionReader};
use crate::data_dir::awaited::SecretFingerprints;
use crate::log::export::RoomLine;

/// The first frame of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "section", rename_all = "camelCase")]
pub(super) enum Head {
    /// The first section: whose backup it is and when it was made. Nothing follows.
    About(Box<About>),
    /// A room. Its parts follow, a frame each.
    Room(RoomHead),
    /// A table of the identity store. Its rows follow, a frame each.
    Table(TableHead),
    /// The configuration without secrets. Its text follows.
    Configuration,
    /// The secrets, sealed under a passphrase. One frame follows.
    Secrets(SealedHead),
    /// The manifest, the last section. Its text follows.
    Manifest,
}

/// What a restore must know before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct About {
    /// Version of the program that made it.
    pub(super) program: String,
    /// Milliseconds since the Unix epoch.
    pub(super) created_at: u64,
    /// The origin that the hub served last.
    pub(super) origin: Option<String>,
    pub(super) rooms_schema: u32,
    pub(super) identity: IdentityAbout,
    pub(super) secrets: SecretFingerprints,
    /// Lines of the room directory that could not be read.
    pub(super) lost_lines: u64,
    /// Rooms may be missing that not even a line told of.
    pub(super) is_directory_damaged: bool,
}

/// Where the accounts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "camelCase")]
pub(super) enum IdentityAbout {
    /// In the backup.
    Sqlite { schema: u32 },
    /// In a database of which `pg_dump` makes the copy.
    Postgres { schema: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomHead {
    pub(super) owner: String,
    pub(super) room: String,
    pub(super) status: Status,
    pub(super) created_at: u64,
    pub(super) last_accessed_at: u64,
    pub(super) deleted_at: Option<u64>,
    /// Number of its last entry.
    pub(super) last: u64,
    /// Bytes of its entries.
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    Live,
    Deleted,
}

impl RoomHead {
    pub(super) fn of(line: &RoomLine, last: u64, bytes: u64) -> Self {
        Self {
            owner: line.name.owner().as_str().to_owned(),
            room: line.name.room().as_str().to_owned(),
            status: match line.status {
                RoomStatus::Deleted => Status::Deleted,
                RoomStatus::Live | RoomStatus::Absent => Status::Live,
            },
            created_at: line.created_at_ms,
            last_accessed_at: line.last_accessed_at_ms,
            deleted_at: line.deleted_at_ms,
            last,
            bytes,
        }
    }

    /// None when the name is none.
    pub(super) fn line(&self) -> Option<RoomLine> {
        let owner = OwnerId::parse(&self.owner).ok()?;
        let room = RoomId::parse(&self.room).ok()?;
        Some(RoomLine {
            name: RoomName::stored(owner, room),
            status: match self.status {
                Status::Live => RoomStatus::Live,
                Status::Deleted => RoomStatus::Deleted,
            },
            created_at_ms: self.created_at,
            last_accessed_at_ms: self.last_accessed_at,
            deleted_at_ms: self.deleted_at,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableHead {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
}

/// How the key of the sealed secrets comes of a passphrase: Argon2id with these parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SealedHead {
    pub(super) kdf: String,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
    /// Base64url.
    pub(super) salt: String,
    pub(super) cipher: String,
}

/// The last section's text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) about: About,
    pub(super) totals: Totals,
    pub(super) sections: Vec<Listed>,
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Rooms that exist.
    pub rooms: u64,
    /// Tombstones.
    pub deleted_rooms: u64,
    /// Rooms that could not be read, and so are not in it.
    pub unreadable_rooms: u64,
    /// Entries of all rooms that are in it.
    pub entries: u64,
    /// Bytes of those entries.
    pub bytes: u64,
    /// Rows of the identity store.
    pub identity_rows: u64,
}

/// A section, where it is and what it hashes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    #[serde(flatten)]
    pub(super) content: Content,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
}

/// What a section holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "section", rename_all = "camelCase")]
pub(super) enum Content {
    About,
    Room {
        owner: String,
        room: String,
        /// Parts, each of which is a frame.
        parts: u64,
        /// Why reading it stopped; such a section is not restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unreadable: Option<String>,
    },
    Table {
        table: String,
        rows: u64,
    },
    Configuration,
    Secrets,
}

impl Content {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::About => "the description of the backup".to_owned(),
            Self::Room { owner, room, .. } => format!("room owners/{owner}/rooms/{room}"),
            Self::Table { table, .. } => format!("the accounts' table {table}"),
            Self::Configuration => "the configuration".to_owned(),
            Self::Secrets => "the sealed secrets".to_owned(),
        }
    }
}

impl Listed {
    pub(super) fn new(content: Content, place: &Place) -> Self {
        Self {
            content,
            offset: place.offset,
            length: place.length,
            sha256: hex(&place.sha256),
        }
    }

    /// Whether the section is where and what the manifest says.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        (self.offset, self.length) == (place.offset, place.length)
            && self.sha256 == hex(&place.sha256)
    }

    /// The first byte after it.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

fn hex(bytes: &[u8; HASH_BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the head of a section.
pub(super) fn read_head<R: std::io::Read + std::io::Seek>(
    section: &mut SectionReader<R>,
) -> Result<Head, Fault> {
    let frame = section.next()?.ok_or(Fault::Structure)?;
    serde_json::from_slice(frame).map_err(|_| Fault::Structure)
}

/// A text as frames.
pub(super) fn chunks(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.chunks(MAX_FRAME_BYTES)
}
