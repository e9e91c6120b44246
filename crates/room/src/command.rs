//! What a host tells a room, and the small ids both sides use.

use bytes::Bytes;
use epicenter_identity::{Access, DeviceId, GrantId, UserId};
use epicenter_update::{DeleteSet, StateVector};

use crate::action::Tag;

/// Milliseconds since the Unix epoch; never decreases within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment this many milliseconds later.
    pub const fn plus(self, milliseconds: u64) -> Self {
        Millis(self.0.saturating_add(milliseconds))
    }
}

/// A live socket; assigned by the host, unique in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An HTTP call that waits for its answer; assigned by the host, unique in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Number of an entry in a room's log. The first is 1; an empty log ends at 0. Never reused within one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

/// Names one `Action::BuildState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the host tells the room.
#[derive(Debug)]
pub enum Command {
    /// Answer to `Action::Load`.
    Loaded(Loaded),
    /// Answer to `Action::Load`: the log cannot be read. Everything waiting is answered as unavailable.
    LoadFailed,
    /// A socket has joined.
    Open {
        /// Its id.
        connection: ConnectionId,
        /// Proof that it may.
        access: Access,
        /// Its dispatch address.
        device: DeviceId,
        /// Whether it asked to be told what became of its updates (`sync.md` 3.5).
        reports: bool,
    },
    /// A message of a socket.
    Frame {
        /// Where it came from.
        connection: ConnectionId,
        /// What it said.
        message: Message,
    },
    /// The peer closed (its code) or vanished (None); also after the host itself closed a slow or oversized connection.
    Disconnected {
        /// The socket that is gone.
        connection: ConnectionId,
        /// The close code the peer sent.
        code: Option<u16>,
    },
    /// An HTTP call; it gets exactly one `Action::Answer` unless it hangs up.
    Call {
        /// Its id.
        call: CallId,
        /// Proof that it may.
        access: Access,
        /// What it wants.
        request: Request,
    },
    /// The HTTP caller is gone; forget the call (what it pushed stays).
    HangUp {
        /// The call.
        call: CallId,
    },
    /// Every entry up to and including this one is on disk.
    Durable(Seq),
    /// The append that ended with this entry (and so every later one) failed.
    AppendFailed(Seq),
    /// Answer to `Action::BuildState`.
    StateBuilt {
        /// The request it answers.
        ticket: Ticket,
        /// The difference as one V2 update; None: it could not be built.
        update: Option<Bytes>,
    },
    /// The time asked for by `Action::SetTimer` has come (a spurious one does no harm).
    Timer,
    /// Close the sockets of this grant with 4401.
    Revoke {
        /// The grant that ended.
        grant: GrantId,
    },
    /// Close the sockets of this person with 4401.
    RevokeUser {
        /// Whose tokens ended.
        user: UserId,
    },
    /// Whether a quota is used up; holds until the next one.
    Storage(Option<StorageFull>),
    /// Close every socket with 1001.
    Shutdown,
}

/// A quota that is used up (`operations.md`, Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFull {
    /// What is counted.
    pub scope: StorageScope,
    /// What is allowed.
    pub limit: u64,
    /// What there is.
    pub used: u64,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageScope {
    /// Bytes of this room.
    Room,
    /// Bytes of all rooms of the owner.
    Owner,
    /// Rooms of the owner. Those that live are not affected.
    Rooms,
}

impl StorageScope {
    /// As it stands in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            StorageScope::Room => "room",
            StorageScope::Owner => "owner",
            StorageScope::Rooms => "rooms",
        }
    }
}

/// A whole WebSocket message (never the literal text `ping`, which the host answers itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A Yjs sync frame.
    Binary(Bytes),
    /// Presence or dispatch.
    Text(String),
}

/// The visible document and what waits, as read from the log; of a deleted room what it held, as long as that is kept.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Whether the room exists.
    pub status: RoomStatus,
    /// Number of the last entry in the log, whatever its kind.
    pub last: Seq,
    /// Of the ready rows only.
    pub state_vector: StateVector,
    /// Of the ready rows only, normalised.
    pub deletes: DeleteSet,
    /// One merged update of the pending rows, without what the ready rows cover.
    pub pending: Option<Bytes>,
    /// Of a deleted room: its content is gone for good.
    pub is_purged: bool,
}

/// Whether a room exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomStatus {
    /// Never created.
    #[default]
    Absent,
    /// In use.
    Live,
    /// A tombstone.
    Deleted,
}

/// What an HTTP caller asks of a room.
#[derive(Clone, Debug)]
pub enum Request {
    /// The whole document (`GET`).
    Snapshot {
        /// The tags the caller holds; `*` is handled by the caller.
        if_none_match: Vec<Tag>,
    },
    /// One-round-trip sync (`POST`, `sync.md` 4).
    Sync {
        /// What the caller has.
        state_vector: StateVector,
        /// What it pushes; empty: nothing.
        update: Bytes,
        /// The tags the caller holds.
        if_none_match: Vec<Tag>,
    },
    /// Delete the room.
    Delete,
    /// `PUT`: create the room, or begin anew on a tombstone.
    Create,
    /// Undo the deletion of the room, content included.
    Restore,
    /// Call an action on a connected device (`sync.md` 6).
    Dispatch {
        /// The device to call.
        to: DeviceId,
        /// The action's name.
        action: String,
        /// JSON text that is opaque to the hub.
        input: Option<String>,
    },
}
