//! The small tables: the room directory, the logs that are kept, and those that are being deleted.

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;
use rusqlite::{Connection, Row};

use crate::log::row;

/// The lines of the `rooms` table.
#[derive(Debug, Default)]
pub(super) struct RoomLines {
    pub(super) lines: Vec<RoomLine>,
    /// How many could not be read.
    pub(super) lost: u64,
}

/// One room, as stored.
#[derive(Debug)]
pub(in crate::log) struct RoomLine {
    pub(in crate::log) name: RoomName,
    pub(in crate::log) log: u64,
    pub(in crate::log) status: RoomStatus,
    pub(in crate::log) created_at: u64,
    pub(in crate::log) last_accessed_at: u64,
    pub(in crate::log) deleted_at: Option<u64>,
}

/// The lines of the tables of kept logs.
#[derive(Debug, Default)]
pub(super) struct KeptLines {
    pub(super) generations: Vec<GenerationLine>,
    pub(super) rejections: Vec<RejectionLine>,
    /// How many could not be read.
    pub(super) lost: u64,
    /// The logs of all of them, also of those that cannot be read otherwise.
    pub(super) logs: Vec<u64>,
}

/// One previous generation, as stored.
#[derive(Debug)]
pub(super) struct GenerationLine {
    pub(super) room: RoomName,
    pub(super) log: u64,
    pub(super) upto: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) replaced_at: u64,
}

/// One rejected state, as stored.
#[derive(Debug)]
pub(super) struct RejectionLine {
    pub(super) room: RoomName,
    pub(super) log: u64,
    pub(super) of: u64,
    pub(super) upto: u64,
    pub(super) rejected_at: u64,
    pub(super) reason: String,
}

pub(super) fn load_rooms(connection: &Connection) -> rusqlite::Result<RoomLines> {
    let mut statement = connection.prepare(
        "SELECT log, owner, room, status, checksum, created_at, last_accessed_at, deleted_at FROM rooms",
    )?;
    let mut lines = statement.query([])?;
    let mut rooms = RoomLines::default();
    while let Some(line) = lines.next()? {
        match parse_room(line) {
            Some(room) => rooms.lines.push(room),
            None => {
                let log = unsigned(line, 0);
                tracing::error!(log.id = log, "a line of the room directory is damaged");
                rooms.lost += 1;
            }
        }
    }
    Ok(rooms)
}

fn parse_room(line: &Row<'_>) -> Option<RoomLine> {
    let room = RoomLine {
        name: parse_name(line)?,
        log: unsigned(line, 0)?,
        status: row::decode_status(line.get(3).ok()?)?,
        // Nothing hangs on these two, so they are not in the checksum either.
        created_at: unsigned(line, 5).unwrap_or(0),
        last_accessed_at: unsigned(line, 6).unwrap_or(0),
        deleted_at: unsigned(line, 7),
    };
    let checksum = row::room_checksum(&room.name, room.log, room.status);
    (unsigned(line, 4)? == u64::from(checksum)).then_some(room)
}

/// The name in the second and third column.
fn parse_name(line: &Row<'_>) -> Option<RoomName> {
    let owner = OwnerId::parse(&line.get::<_, String>(1).ok()?).ok()?;
    let room = RoomId::parse(&line.get::<_, String>(2).ok()?).ok()?;
    Some(RoomName::stored(owner, room))
}

pub(super) fn load_kept(connection: &Connection) -> rusqlite::Result<KeptLines> {
    let mut kept = KeptLines::default();
    if !connection.table_exists(None, "generations")? {
        // A backup may be made of a database that waits for its second version.
        return Ok(kept);
    }
    let mut statement = connection.prepare(
        "SELECT log, owner, room, upto, entries, bytes, replaced_at, checksum FROM generations",
    )?;
    let mut lines = statement.query([])?;
    while let Some(line) = lines.next()? {
        kept.logs.extend(unsigned(line, 0));
        match parse_generation(line) {
            Some(generation) => kept.generations.push(generation),
            None => kept.note_damage(line),
        }
    }
    let mut statement = connection.prepare(
        "SELECT log, owner, room, of, upto, bytes, rejected_at, reason, checksum FROM rejections",
    )?;
    let mut lines = statement.query([])?;
    while let Some(line) = lines.next()? {
        kept.logs.extend(unsigned(line, 0));
        match parse_rejection(line) {
            Some(rejection) => kept.rejections.push(rejection),
            None => kept.note_damage(line),
        }
    }
    Ok(kept)
}

impl KeptLines {
    fn note_damage(&mut self, line: &Row<'_>) {
        self.lost += 1;
        let log = unsigned(line, 0);
        tracing::error!(
            log.id = log,
            "a line about a log that is kept is damaged; the log is left alone"
        );
    }
}

fn parse_generation(line: &Row<'_>) -> Option<GenerationLine> {
    let generation = GenerationLine {
        room: parse_name(line)?,
        log: unsigned(line, 0)?,
        upto: unsigned(line, 3)?,
        entries: unsigned(line, 4)?,
        bytes: unsigned(line, 5)?,
        replaced_at: unsigned(line, 6)?,
    };
    let numbers = [
        generation.log,
        generation.upto,
        generation.entries,
        generation.bytes,
        generation.replaced_at,
    ];
    let checksum = row::kept_checksum(&generation.room, &numbers, "");
    (unsigned(line, 7)? == u64::from(checksum)).then_some(generation)
}

fn parse_rejection(line: &Row<'_>) -> Option<RejectionLine> {
    let rejection = RejectionLine {
        room: parse_name(line)?,
        log: unsigned(line, 0)?,
        of: unsigned(line, 3)?,
        upto: unsigned(line, 4)?,
        rejected_at: unsigned(line, 6)?,
        reason: line.get(7).ok()?,
    };
    let numbers = [
        rejection.log,
        rejection.of,
        rejection.upto,
        unsigned(line, 5)?,
        rejection.rejected_at,
    ];
    let checksum = row::kept_checksum(&rejection.room, &numbers, &rejection.reason);
    (unsigned(line, 8)? == u64::from(checksum)).then_some(rejection)
}

pub(super) fn load_retired(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    let mut statement = connection.prepare("SELECT log FROM retired_logs")?;
    let mut lines = statement.query([])?;
    let mut logs = Vec::new();
    while let Some(line) = lines.next()? {
        logs.extend(unsigned(line, 0));
    }
    Ok(logs)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Option<u64> {
    // A column of another type, or a negative number, can only come from damage.
    row.get::<_, i64>(column)
        .ok()
        .and_then(|number| u64::try_from(number).ok())
}
