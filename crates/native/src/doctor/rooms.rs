//! What an operator looks at and does about single rooms: their logs, the generations that compaction has replaced, and
//! states that it rejected.
//!
//! Looking works beside a running hub. A generation is restored as a forward merge: what the room lacks of it is appended
//! as one more update, so that nothing that came later is lost and every client takes it like any other edit. What was
//! deleted since stays deleted in that room; in a room of its own (`into`) it is as it was.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Append, Entry, RoomStatus, Seq};
use epicenter_update::{Ready, Update, ingest, merge_bytes};

use crate::clock::HostClock;
use crate::config::HostConfig;
use crate::data_dir::{DataDir, DataDirError};
use crate::log::export::Snapshot;
use crate::log::{
    AppendDone, AppendRequest, Generation, Log as _, LogConfig, LogId, ReplaceError, SqliteLog,
    StoredGeneration, StoredRejection,
};
use crate::rooms::STORED;
use crate::store::DatabaseError;

/// A room as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its durable name.
    pub name: RoomName,
    /// Whether it is a tombstone.
    pub is_deleted: bool,
    /// Number of its last entry.
    pub last: u64,
    /// Bytes of its log.
    pub bytes: u64,
    /// When it was used last, in milliseconds since the Unix epoch.
    pub last_accessed_at_ms: u64,
    /// Why it cannot be read.
    pub fault: Option<String>,
    /// Logs of it that were replaced and are still kept.
    pub generations: usize,
}

/// Something was not done about a room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomsError {
    /// The data directory cannot be used, or a hub serves it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The room log cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The room has no such generation.
    #[error("room {room} has no generation {log}")]
    NoGeneration {
        /// The room.
        room: RoomName,
        /// The number.
        log: LogId,
    },
    /// The room is a tombstone or was never there.
    #[error("room {0} does not exist")]
    NoRoom(RoomName),
    /// The room that was to be made exists, or has existed.
    #[error("room {0} exists")]
    Exists(RoomName),
    /// A log cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The update was not written.
    #[error("{0}")]
    NotWritten(String),
    /// Nothing is known against this log.
    #[error("nothing was rejected that was made of this log")]
    NotQuarantined,
}

impl RoomsError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DataDir(DataDirError::InUse { .. }) => {
                "stop the hub first; looking works beside it"
            }
            Self::DataDir(_) | Self::Database(_) => {
                "name the folder of a hub with --data-dir, and run this as the user that runs it"
            }
            Self::NoGeneration { .. } => {
                "`epicenter doctor rooms generations` lists those that are kept"
            }
            Self::NoRoom(_) => {
                "`epicenter doctor rooms list` names the rooms; --as restores into another one"
            }
            Self::Exists(_) => "choose the name of a room that has never been",
            Self::Unreadable(_) => "`epicenter doctor` says what is damaged",
            Self::NotWritten(_) => "check the room on the disk; nothing was changed",
            Self::NotQuarantined => "`epicenter doctor rooms quarantine` lists what was rejected",
        }
    }
}

/// Every room, by owner and id. Works beside a running hub.
///
/// # Errors
/// When the room log cannot be opened.
pub fn list(data_dir: &Path) -> Result<Vec<RoomSummary>, RoomsError> {
    let snapshot = look(data_dir)?;
    let rooms = snapshot.rooms().iter();
    Ok(rooms
        .map(|room| RoomSummary {
            name: room.line.name.clone(),
            is_deleted: room.line.status == RoomStatus::Deleted,
            last: room.last,
            bytes: room.bytes,
            last_accessed_at_ms: room.line.last_accessed_at_ms,
            fault: room.fault.as_ref().map(ToString::to_string),
            generations: snapshot.generations(&room.line.name).len(),
        })
        .collect())
}

/// The logs of a room that were replaced and are still kept. Works beside a running hub.
///
/// # Errors
/// When the room log cannot be opened.
pub fn generations(data_dir: &Path, room: &RoomName) -> Result<Vec<StoredGeneration>, RoomsError> {
    Ok(look(data_dir)?.generations(room))
}

/// Every state that compaction rejected. Works beside a running hub.
///
/// # Errors
/// When the room log cannot be opened.
pub fn quarantine(data_dir: &Path) -> Result<Vec<(RoomName, StoredRejection)>, RoomsError> {
    let snapshot = look(data_dir)?;
    let rooms = snapshot.rooms().iter();
    let rejections = rooms.flat_map(|room| {
        let name = &room.line.name;
        let rejections = snapshot.rejections(name).into_iter();
        rejections.map(|rejection| (name.clone(), rejection))
    });
    Ok(rejections.collect())
}

/// Lets a log be compacted again of which a state was rejected. Needs the hub to be stopped.
///
/// # Errors
/// When a hub serves the data directory, or nothing is known against this log.
pub fn lift_quarantine(config: &HostConfig, room: &RoomName, of: LogId) -> Result<(), RoomsError> {
    let stopped = Stopped::open(config)?;
    match stopped.log.lift_quarantine(room, of) {
        Ok(()) => Ok(()),
        Err(ReplaceError::Stale) => Err(RoomsError::NotQuarantined),
        Err(error) => Err(RoomsError::NotWritten(error.to_string())),
    }
}

/// Brings back into a room what it lacks of a previous generation, or makes another room of it. Needs the hub to be stopped.
/// Returns the bytes of the update; 0 when the room lacks nothing, and is as it was.
///
/// # Errors
/// When a hub serves the data directory, or the generation or the room is not there.
pub fn restore_generation(
    config: &HostConfig,
    room: &RoomName,
    log: LogId,
    into: Option<&RoomName>,
) -> Result<usize, RoomsError> {
    let stopped = Stopped::open(config)?;
    let mut kept = stopped.log.generations(room).into_iter();
    if !kept.any(|generation| generation.log == log) {
        let room = room.clone();
        return Err(RoomsError::NoGeneration { room, log });
    }
    let stored = stopped.log.read_generation(log).map_err(unreadable)?;
    let generation = merge_all(&stored.ready)?;
    let target = into.unwrap_or(room);
    let found = stopped.log.read(target, Seq(0), None).map_err(unreadable)?;
    let entries: Vec<Entry> = match (found.status, into) {
        // What waited has stayed with the log that came after.
        (RoomStatus::Live, None) => lacking(&generation, &merge_all(&found.ready)?)?,
        (RoomStatus::Absent, Some(_)) => {
            let whole = [Entry::Created, Entry::Ready(generation)].into_iter();
            whole
                .chain(stored.pending.into_iter().map(Entry::Pending))
                .collect()
        }
        (_, None) => return Err(RoomsError::NoRoom(target.clone())),
        (_, Some(_)) => return Err(RoomsError::Exists(target.clone())),
    };
    let bytes = entries.iter().map(|entry| match entry {
        Entry::Ready(update) => update.len(),
        _ => 0,
    });
    let bytes: usize = bytes.sum();
    if !entries.is_empty() {
        stopped.append(target, Seq(found.last.0 + 1), entries)?;
    }
    Ok(bytes)
}

/// What a room lacks of a generation. Clocks that it knows are left alone: compaction may have collected what they held, and
/// no log holds two versions of one (`update.md`, One clock, one struct).
fn lacking(generation: &Bytes, room: &Bytes) -> Result<Vec<Entry>, RoomsError> {
    let known = parse(room)?;
    let parts = ingest(&parse(generation)?, &known.state_vector());
    let is_new = !parts.advanced.is_empty() || !known.deletes().contains_all(&parts.deletes);
    let ready = match parts.ready {
        Ready::Whole if is_new => Some(generation.clone()),
        Ready::Part(part) if is_new => Some(Bytes::from(part)),
        _ => None,
    };
    let waiting = parts.pending.map(|part| Entry::Pending(part.into()));
    Ok(ready.map(Entry::Ready).into_iter().chain(waiting).collect())
}

fn parse(bytes: &Bytes) -> Result<Update<'_>, RoomsError> {
    Update::parse(bytes, &STORED).map_err(unreadable)
}

fn merge_all(updates: &[Bytes]) -> Result<Bytes, RoomsError> {
    let merged = merge_bytes(updates, &STORED).map_err(unreadable)?;
    Ok(merged.into())
}

fn unreadable(error: impl fmt::Display) -> RoomsError {
    RoomsError::Unreadable(error.to_string())
}

fn look(data_dir: &Path) -> Result<Snapshot, RoomsError> {
    let data_dir = DataDir::look_at(data_dir);
    let path = data_dir.rooms_database();
    if !path.is_file() {
        let path = data_dir.path().to_owned();
        return Err(DataDirError::Missing { path }.into());
    }
    Ok(Snapshot::open(&path)?)
}

/// A data directory that no hub serves, for as long as this lives.
struct Stopped {
    log: SqliteLog,
    _data_dir: DataDir,
}

impl Stopped {
    fn open(config: &HostConfig) -> Result<Self, RoomsError> {
        let path = config.data_dir.as_path();
        // A lock makes what is missing; a command about rooms must not.
        if !DataDir::look_at(path).rooms_database().is_file() {
            let path = path.to_owned();
            return Err(DataDirError::Missing { path }.into());
        }
        let data_dir = DataDir::lock(path)?;
        // What is kept is kept for as long as the hub keeps it, and no shorter.
        let limits = LogConfig::of(config);
        let clock = Arc::new(HostClock::start());
        let log = SqliteLog::open(&data_dir.rooms_database(), limits, clock)?;
        Ok(Self {
            log,
            _data_dir: data_dir,
        })
    }

    fn append(&self, room: &RoomName, first: Seq, entries: Vec<Entry>) -> Result<(), RoomsError> {
        let (sender, results) = channel();
        self.log.append(AppendRequest {
            room: room.clone(),
            generation: Generation(1),
            append: Append { first, entries },
            // Whoever waits is below.
            done: AppendDone(Box::new(move |result| drop(sender.send(result)))),
        });
        match results.recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(RoomsError::NotWritten(error.to_string())),
            Err(_) => Err(RoomsError::NotWritten("the log has stopped".to_owned())),
        }
    }
}
