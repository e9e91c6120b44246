//! The small tables: the room directory and the logs that are being deleted.

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::RoomStatus;
use rusqlite::{Connection, Row};

use crate::log::row;

/// The lines of the `rooms` table.
#[derive(Debug, Default)]
pub(super) struct RoomLines {
    pub(super) lines: Vec<RoomLine>,
    /// Some could not be read.
    pub(super) is_damaged: bool,
}

/// One room, as stored.
#[derive(Debug)]
pub(super) struct RoomLine {
    pub(super) name: RoomName,
    pub(super) log: u64,
    pub(super) status: RoomStatus,
    pub(super) last_accessed_at: u64,
}

pub(super) fn load_rooms(connection: &Connection) -> rusqlite::Result<RoomLines> {
    let mut statement = connection
        .prepare("SELECT log, owner, room, status, checksum, last_accessed_at FROM rooms")?;
    let mut lines = statement.query([])?;
    let mut rooms = RoomLines::default();
    while let Some(line) = lines.next()? {
        match parse_room(line) {
            Some(room) => rooms.lines.push(room),
            None => {
                let log = unsigned(line, 0);
                tracing::error!(log.id = log, "a line of the room directory is damaged");
                rooms.is_damaged = true;
            }
        }
    }
    Ok(rooms)
}

fn parse_room(line: &Row<'_>) -> Option<RoomLine> {
    let owner = OwnerId::parse(&line.get::<_, String>(1).ok()?).ok()?;
    let room = RoomId::parse(&line.get::<_, String>(2).ok()?).ok()?;
    let room = RoomLine {
        name: RoomName::stored(owner, room),
        log: unsigned(line, 0)?,
        status: row::decode_status(line.get(3).ok()?)?,
        // Nothing hangs on it, so it is not in the checksum either.
        last_accessed_at: unsigned(line, 5).unwrap_or(0),
    };
    let checksum = row::room_checksum(&room.name, room.log, room.status);
    (unsigned(line, 4)? == u64::from(checksum)).then_some(room)
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
