//! The form of the simulated disk's file: records of operations, each whole or void, and what they amount to.

use std::collections::BTreeMap;

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::log::{Extent, LogId, StoredRoom};
use epicenter_room::{Entry, RoomStatus, Seq};
use epicenter_update::lib0::{ReadError, Reader, write_var_bytes, write_var_uint};

use crate::dice::mix;

/// Length and checksum.
const HEADER: usize = 12;

/// What a row of a room's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ready = 1,
    Pending = 2,
    Created = 3,
    Deleted = 4,
    Recreated = 5,
    State = 6,
    Restored = 7,
}

impl Kind {
    pub(super) fn of(entry: &Entry) -> (Self, Bytes) {
        match entry {
            Entry::Ready(bytes) => (Self::Ready, bytes.clone()),
            Entry::Pending(bytes) => (Self::Pending, bytes.clone()),
            Entry::Created => (Self::Created, Bytes::new()),
            Entry::Deleted => (Self::Deleted, Bytes::new()),
            Entry::Recreated => (Self::Recreated, Bytes::new()),
            Entry::Restored => (Self::Restored, Bytes::new()),
        }
    }

    fn from_number(number: u64) -> Self {
        let all = [
            Self::Pending,
            Self::Created,
            Self::Deleted,
            Self::Recreated,
            Self::State,
            Self::Restored,
        ];
        let found = all.into_iter().find(|kind| *kind as u64 == number);
        found.unwrap_or(Self::Ready)
    }
}

/// One thing that a commit does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Append {
        room: RoomName,
        first: u64,
        entries: Vec<(Kind, Bytes)>,
    },
    Replace {
        room: RoomName,
        upto: u64,
        ready: Bytes,
        pending: Option<Bytes>,
    },
    Quarantine {
        room: RoomName,
    },
}

impl Op {
    pub(super) fn room(&self) -> &RoomName {
        match self {
            Self::Append { room, .. } | Self::Replace { room, .. } | Self::Quarantine { room } => {
                room
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let room = self.room();
        write_var_bytes(out, room.owner().as_str().as_bytes());
        write_var_bytes(out, room.room().as_str().as_bytes());
        match self {
            Self::Append { first, entries, .. } => {
                write_var_uint(out, 0);
                write_var_uint(out, *first);
                write_var_uint(out, entries.len() as u64);
                for (kind, body) in entries {
                    write_var_uint(out, *kind as u64);
                    write_var_bytes(out, body);
                }
            }
            Self::Replace {
                upto,
                ready,
                pending,
                ..
            } => {
                write_var_uint(out, 1);
                write_var_uint(out, *upto);
                write_var_bytes(out, ready);
                write_var_bytes(out, pending.as_deref().unwrap_or_default());
            }
            Self::Quarantine { .. } => write_var_uint(out, 2),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let owner = text(reader.read_var_bytes()?);
        let room = text(reader.read_var_bytes()?);
        let owner = OwnerId::parse(&owner).expect("only valid names are written");
        let room = RoomId::parse(&room).expect("only valid names are written");
        let room = RoomName::stored(owner, room);
        Ok(match reader.read_var_uint()? {
            0 => {
                let first = reader.read_var_uint()?;
                let mut entries = Vec::new();
                for _ in 0..reader.read_var_uint()? {
                    let kind = Kind::from_number(reader.read_var_uint()?);
                    entries.push((kind, Bytes::copy_from_slice(reader.read_var_bytes()?)));
                }
                Self::Append {
                    room,
                    first,
                    entries,
                }
            }
            1 => {
                let upto = reader.read_var_uint()?;
                let ready = Bytes::copy_from_slice(reader.read_var_bytes()?);
                let pending = Bytes::copy_from_slice(reader.read_var_bytes()?);
                let pending = Some(pending).filter(|pending| !pending.is_empty());
                Self::Replace {
                    room,
                    upto,
                    ready,
                    pending,
                }
            }
            _ => Self::Quarantine { room },
        })
    }
}

/// One commit as it is written.
pub(super) fn record(ops: &[Op]) -> Vec<u8> {
    let mut body = Vec::new();
    write_var_uint(&mut body, ops.len() as u64);
    for op in ops {
        op.encode(&mut body);
    }
    let mut record = Vec::with_capacity(HEADER + body.len());
    record.extend_from_slice(&(body.len() as u32).to_le_bytes());
    record.extend_from_slice(&checksum(&body).to_le_bytes());
    record.extend_from_slice(&body);
    record
}

/// All whole records from the beginning, and where they end.
pub(super) fn scan(content: &[u8]) -> (Vec<Op>, usize) {
    let mut ops = Vec::new();
    let mut at = 0;
    while let Some((body, end)) = whole_record(content, at) {
        let mut reader = Reader::new(body);
        let count = reader.read_var_uint().unwrap_or_default();
        for _ in 0..count {
            ops.extend(Op::decode(&mut reader));
        }
        at = end;
    }
    (ops, at)
}

fn whole_record(content: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let header = content.get(at..at + HEADER)?;
    let (len, sum) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let sum = u64::from_le_bytes(sum.try_into().ok()?);
    let end = at + HEADER + len;
    let body = content.get(at + HEADER..end)?;
    (len > 0 && checksum(body) == sum).then_some((body, end))
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        mix(sum ^ u64::from(*byte)).wrapping_add(1)
    })
}

/// One room's log.
#[derive(Clone, Debug, Default)]
pub(super) struct RoomLog {
    pub(super) log: u64,
    pub(super) status: RoomStatus,
    pub(super) rows: Vec<(u64, Kind, Bytes)>,
    pub(super) is_quarantined: bool,
    /// The last entry that the state, if there is one, stands for: the pending part that belongs to it, or itself.
    state_end: u64,
    /// How many times an empty document has begun.
    pub(super) lives: u64,
}

impl RoomLog {
    pub(super) fn last(&self) -> u64 {
        self.rows.last().map_or(0, |(seq, ..)| *seq)
    }

    /// The first and last number of what stands for all before it.
    fn head(&self) -> Option<(u64, u64)> {
        match self.rows.as_slice() {
            [(seq, Kind::Recreated, _), ..] => Some((*seq, *seq)),
            [(seq, Kind::State, _), ..] => Some((*seq, self.state_end)),
            _ => None,
        }
    }

    pub(super) fn read(&self, after: u64, upto: Option<u64>) -> StoredRoom {
        let durable = self.last();
        let mut upto = upto.map_or(durable, |upto| upto.min(durable));
        let mut after = after;
        let head = self.head().filter(|(_, end)| after < *end);
        if let Some((begin, end)) = head {
            upto = upto.max(end);
            after = begin - 1;
        }
        let mut stored = StoredRoom {
            status: self.status,
            last: Seq(upto),
            is_reset: head.is_some(),
            log: LogId(self.log),
            ..StoredRoom::default()
        };
        for (seq, kind, body) in &self.rows {
            if *seq <= after || *seq > upto {
                continue;
            }
            match kind {
                Kind::Ready | Kind::State => stored.ready.push(body.clone()),
                Kind::Pending => stored.pending.push(body.clone()),
                Kind::Created | Kind::Deleted | Kind::Recreated | Kind::Restored => {}
            }
        }
        stored
    }

    pub(super) fn extent(&self) -> Extent {
        let state = self
            .rows
            .first()
            .filter(|(_, kind, _)| *kind == Kind::State);
        // What waits behind the state counts as well, as it does in the log that ships.
        let end = state.map_or(0, |(seq, ..)| *seq);
        let rest = self.rows.iter().filter(|(seq, ..)| *seq > end);
        Extent {
            log: LogId(self.log),
            status: self.status,
            last: Seq(self.last()),
            state: Seq(state.map_or(0, |(seq, ..)| *seq)),
            state_bytes: state.map_or(0, |(_, _, body)| body.len() as u64),
            entries: rest.clone().count() as u64,
            bytes: rest.map(|(_, _, body)| body.len() as u64).sum(),
            is_quarantined: self.is_quarantined,
            deleted_at: (self.status == RoomStatus::Deleted).then_some(0),
            is_purged: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.rows.iter().map(|(_, _, body)| body.len() as u64).sum()
    }
}

/// All rooms.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) rooms: BTreeMap<RoomName, RoomLog>,
    next_log: u64,
}

impl Index {
    pub(super) fn apply(&mut self, op: &Op) {
        if !self.rooms.contains_key(op.room()) {
            self.next_log += 1;
            let room = RoomLog {
                log: self.next_log,
                status: RoomStatus::Live,
                ..RoomLog::default()
            };
            self.rooms.insert(op.room().clone(), room);
        }
        let Some(room) = self.rooms.get_mut(op.room()) else {
            return;
        };
        match op {
            Op::Append { first, entries, .. } => {
                for (seq, (kind, body)) in (*first..).zip(entries) {
                    match kind {
                        Kind::Created | Kind::Restored => room.status = RoomStatus::Live,
                        Kind::Deleted => room.status = RoomStatus::Deleted,
                        Kind::Recreated => {
                            self.next_log += 1;
                            *room = RoomLog {
                                log: self.next_log,
                                status: RoomStatus::Live,
                                lives: room.lives + 1,
                                ..RoomLog::default()
                            };
                        }
                        Kind::Ready | Kind::Pending | Kind::State => {}
                    }
                    room.rows.push((seq, *kind, body.clone()));
                }
            }
            Op::Replace {
                upto,
                ready,
                pending,
                ..
            } => {
                self.next_log += 1;
                room.log = self.next_log;
                room.state_end = *upto;
                let state = upto - u64::from(pending.is_some());
                let mut rows = vec![(state, Kind::State, ready.clone())];
                rows.extend(
                    pending
                        .iter()
                        .map(|body| (*upto, Kind::Pending, body.clone())),
                );
                rows.extend(room.rows.drain(..).filter(|(seq, ..)| seq > upto));
                room.rows = rows;
            }
            Op::Quarantine { .. } => room.is_quarantined = true,
        }
    }
}
