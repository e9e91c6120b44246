//! The paths of rooms, built by clients and read by the hub.
//!
//! Both sides work on the raw path, as it stands in the request line, and every segment is
//! percent-encoded or decoded exactly once: `a%2Fb` is one room id, `a/b` is no route.
//! Reading a route and reading the ids in it are apart, because a caller who may not know whether a room
//! id is valid is told about the owner first (sync.md 1).

use std::borrow::Cow;

use epicenter_identity::{OwnerId, RoomId, RoomIdError};

/// What every path of an owner begins with.
pub const OWNERS_PREFIX: &str = "/api/owners/";

/// What is done to a room, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomOperation {
    /// The room's own path: upgrade, snapshot, sync, creation, deletion.
    Room,
    /// `…/dispatch`.
    Dispatch,
    /// `…/restore`.
    Restore,
}

/// A raw path below `/api/owners/` that is a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomsRoute<'a> {
    /// `/api/owners/:ownerId/rooms`.
    List {
        /// The owner's segment, encoded.
        owner: &'a str,
    },
    /// `/api/owners/:ownerId/rooms/:roomId` and what is below it.
    Room(RoomRoute<'a>),
}

/// The path of one room, its ids still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomRoute<'a> {
    /// The owner's segment, encoded.
    pub owner: &'a str,
    /// The room's segment, encoded.
    pub room: &'a str,
    /// What is asked of the room.
    pub operation: RoomOperation,
}

/// The room's segment is no room id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathRoomError {
    /// A `%` that is not followed by two hex digits, or bytes that are no UTF-8.
    #[error("the room id is not percent-encoded UTF-8")]
    Encoding,
    /// The decoded text breaks the rule.
    #[error("the decoded text is not a room id")]
    Rule(#[source] RoomIdError),
}

impl<'a> RoomsRoute<'a> {
    /// Reads a raw path, without query. `None`: it is no route of rooms.
    pub fn parse(raw_path: &'a str) -> Option<Self> {
        let mut segments = raw_path.strip_prefix(OWNERS_PREFIX)?.split('/');
        let owner = segments.next().filter(|owner| !owner.is_empty())?;
        if segments.next() != Some("rooms") {
            return None;
        }
        let Some(room) = segments.next() else {
            return Some(RoomsRoute::List { owner });
        };
        let operation = match (segments.next(), segments.next()) {
            (None, _) => RoomOperation::Room,
            (Some("dispatch"), None) => RoomOperation::Dispatch,
            (Some("restore"), None) => RoomOperation::Restore,
            _ => return None,
        };
        (!room.is_empty()).then_some(RoomsRoute::Room(RoomRoute {
            owner,
            room,
            operation,
        }))
    }

    /// The owner's segment, encoded.
    pub fn owner(&self) -> &'a str {
        match self {
            RoomsRoute::List { owner } => owner,
            RoomsRoute::Room(route) => route.owner,
        }
    }

    /// Whether the path names this owner. Anything that cannot be decoded names nobody.
    pub fn is_owned_by(&self, owner: &OwnerId) -> bool {
        percent_decode(self.owner()).is_some_and(|named| named == owner.as_str())
    }
}

impl RoomRoute<'_> {
    /// The room that the path names.
    ///
    /// # Errors
    /// [`PathRoomError`]; to the caller both are `InvalidRoomId`.
    pub fn room_id(&self) -> Result<RoomId, PathRoomError> {
        let text = percent_decode(self.room).ok_or(PathRoomError::Encoding)?;
        RoomId::parse(&text).map_err(PathRoomError::Rule)
    }
}

/// `/api/owners/:ownerId/rooms`.
pub fn rooms_path(owner: &OwnerId) -> String {
    let mut path = OWNERS_PREFIX.to_owned();
    percent_encode(owner.as_str(), &mut path);
    path.push_str("/rooms");
    path
}

/// `/api/owners/:ownerId/rooms/:roomId`.
pub fn room_path(owner: &OwnerId, room: &RoomId) -> String {
    let mut path = rooms_path(owner);
    path.push('/');
    percent_encode(room.as_str(), &mut path);
    path
}

/// `/api/owners/:ownerId/rooms/:roomId/dispatch`.
pub fn dispatch_path(owner: &OwnerId, room: &RoomId) -> String {
    room_path(owner, room) + "/dispatch"
}

/// `/api/owners/:ownerId/rooms/:roomId/restore`.
pub fn restore_path(owner: &OwnerId, room: &RoomId) -> String {
    room_path(owner, room) + "/restore"
}

/// Keeps the unreserved characters of RFC 3986, as `encodeURIComponent` nearly does.
fn percent_encode(text: &str, path: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push(char::from(DIGITS[usize::from(byte >> 4)]));
            path.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Decodes percent-encoded text once. `None`: a broken escape, or no UTF-8.
pub fn percent_decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}
