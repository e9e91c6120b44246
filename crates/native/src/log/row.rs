//! The stored rows: their headers, their checksums, and how entries are cut into parts.
//!
//! The checksum of an entry's row is CRC-32 (IEEE) over, little endian: format (1 byte), kind (1), part (4), last (1),
//! log (8), entry (8), epoch (8), then the body. That of a room's line is over log (8), status (1), bytes of the owner
//! (4), owner, room. That of a kept generation or a rejected state is over its numbers in the order of their columns (8
//! each), bytes of the owner (4), owner, bytes of the room (4), room, and the reason where there is one. All are stored
//! for ever; `checksums_are_pinned` holds them.

use epicenter_identity::RoomName;
use epicenter_room::{Entry, RoomStatus};

/// The format that this program writes.
pub(super) const FORMAT: u8 = 1;

/// A large entry is stored in parts of this size: other stores that hold the same rows refuse more than 2 MB in one.
pub(super) const MAX_PART_BYTES: usize = 1 << 20;

/// What an entry is, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ready,
    Pending,
    Created,
    Deleted,
    Recreated,
    /// The document as it was after this entry: stands for all before it, at the head of its log only.
    State,
    Restored,
}

impl Kind {
    pub(super) fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Ready(_) => Self::Ready,
            Entry::Pending(_) => Self::Pending,
            Entry::Created => Self::Created,
            Entry::Deleted => Self::Deleted,
            Entry::Recreated => Self::Recreated,
            Entry::Restored => Self::Restored,
        }
    }

    pub(super) fn encode(self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Pending => 2,
            Self::Created => 3,
            Self::Deleted => 4,
            Self::Recreated => 5,
            Self::State => 6,
            Self::Restored => 7,
        }
    }

    pub(super) fn decode(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Ready,
            2 => Self::Pending,
            3 => Self::Created,
            4 => Self::Deleted,
            5 => Self::Recreated,
            6 => Self::State,
            7 => Self::Restored,
            _ => return None,
        })
    }
}

/// Everything a row holds but its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log: u64,
    pub(super) entry: u64,
    pub(super) part: u32,
    pub(super) last: bool,
    pub(super) kind: Kind,
    pub(super) epoch: u64,
}

impl Header {
    /// Of a row in the current format.
    pub(super) fn checksum(&self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[FORMAT, self.kind.encode()]);
        hasher.update(&self.part.to_le_bytes());
        hasher.update(&[u8::from(self.last)]);
        hasher.update(&self.log.to_le_bytes());
        hasher.update(&self.entry.to_le_bytes());
        hasher.update(&self.epoch.to_le_bytes());
        hasher.update(body);
        hasher.finalize()
    }
}

/// `rooms.status`; a line is written for rooms that exist only.
pub(super) fn encode_status(status: RoomStatus) -> u8 {
    match status {
        RoomStatus::Live | RoomStatus::Absent => 1,
        RoomStatus::Deleted => 2,
    }
}

pub(super) fn decode_status(number: i64) -> Option<RoomStatus> {
    match number {
        1 => Some(RoomStatus::Live),
        2 => Some(RoomStatus::Deleted),
        _ => None,
    }
}

/// The checksum of a line of the directory.
pub(super) fn room_checksum(name: &RoomName, log: u64, status: RoomStatus) -> u32 {
    let owner = name.owner().as_str().as_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&log.to_le_bytes());
    hasher.update(&[encode_status(status)]);
    // An owner's id is far shorter than this can count.
    hasher.update(&u32::try_from(owner.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.update(owner);
    hasher.update(name.room().as_str().as_bytes());
    hasher.finalize()
}

/// The checksum of a line about a log that is kept beside those of the rooms.
pub(super) fn kept_checksum(name: &RoomName, numbers: &[u64], reason: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    for text in [name.owner().as_str(), name.room().as_str()] {
        // Both are far shorter than this can count.
        hasher.update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(reason.as_bytes());
    hasher.finalize()
}

/// The bytes of an entry; none for those that only mark an event.
pub(super) fn body(entry: &Entry) -> &[u8] {
    match entry {
        Entry::Ready(bytes) | Entry::Pending(bytes) => bytes,
        Entry::Created | Entry::Deleted | Entry::Recreated | Entry::Restored => &[],
    }
}

/// Cuts a body into parts, at least one: (part number, whether it is the last, bytes).
pub(super) fn parts(body: &[u8]) -> impl Iterator<Item = (u32, bool, &[u8])> {
    let count = part_count(body);
    (0..count).map(move |part| {
        let start = part * MAX_PART_BYTES;
        let end = body.len().min(start + MAX_PART_BYTES);
        // A body is at most a frame of some megabytes, so its parts are few.
        let number = u32::try_from(part).unwrap_or(u32::MAX);
        (number, part + 1 == count, &body[start..end])
    })
}

/// Rows that a body takes.
pub(super) fn part_count(body: &[u8]) -> usize {
    body.len().div_ceil(MAX_PART_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use epicenter_identity::{OwnerId, RoomId};

    use super::*;

    #[test]
    fn checksums_are_pinned() {
        let header = Header {
            log: 7,
            entry: 300,
            part: 1,
            last: true,
            kind: Kind::Pending,
            epoch: 2,
        };
        let mut stored = vec![1, 2, 1, 0, 0, 0, 1];
        stored.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        stored.extend([44, 1, 0, 0, 0, 0, 0, 0]);
        stored.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        stored.extend(b"body");
        assert_eq!(header.checksum(b"body"), crc32fast::hash(&stored));
        assert_eq!(header.checksum(b"body"), 3_596_746_654);

        let name = RoomName::stored(
            OwnerId::parse("ada").unwrap(),
            RoomId::parse("notes").unwrap(),
        );
        let stored = b"\x07\0\0\0\0\0\0\0\x02\x03\0\0\0adanotes";
        let checksum = room_checksum(&name, 7, RoomStatus::Deleted);
        assert_eq!(checksum, crc32fast::hash(stored));

        let stored = b"\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x03\0\0\0ada\x05\0\0\0noteswhy";
        let checksum = kept_checksum(&name, &[7, 258], "why");
        assert_eq!(checksum, crc32fast::hash(stored));
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for (kind, number) in [
            (Kind::Ready, 1),
            (Kind::Pending, 2),
            (Kind::Created, 3),
            (Kind::Deleted, 4),
            (Kind::Recreated, 5),
            (Kind::State, 6),
            (Kind::Restored, 7),
        ] {
            assert_eq!(i64::from(kind.encode()), number);
            assert_eq!(Kind::decode(number), Some(kind));
        }
        assert_eq!(Kind::decode(0), None);
        assert_eq!(Kind::decode(8), None);
    }

    #[test]
    fn bodies_are_cut_at_one_mebibyte() {
        let check = |bytes: usize, expect: &[(u32, bool, usize)]| {
            let body = vec![0; bytes];
            let cut: Vec<_> = parts(&body)
                .map(|(part, last, bytes)| (part, last, bytes.len()))
                .collect();
            assert_eq!(cut, expect);
        };
        check(0, &[(0, true, 0)]);
        check(MAX_PART_BYTES, &[(0, true, MAX_PART_BYTES)]);
        check(
            MAX_PART_BYTES + 1,
            &[(0, false, MAX_PART_BYTES), (1, true, 1)],
        );
    }
}
