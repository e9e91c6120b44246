//! What a room has its host carry out. Whatever reaches a host as an `Action` may be carried out at once.

use bytes::Bytes;
use epicenter_identity::{DeviceId, UserId};
use epicenter_sync::CloseCode;
use epicenter_update::StateVector;

use crate::command::{CallId, ConnectionId, Millis, Seq, StorageFull, Ticket};

/// What a host carries out, in order, at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Read the room's log and answer with `Loaded` or `LoadFailed`.
    Load,
    /// Hand to the log writer. One transaction; the reply is `Durable(last)` or `AppendFailed(last)`.
    Append(Append),
    /// Send a message to a socket.
    Send {
        /// The socket.
        to: ConnectionId,
        /// The message; the bytes are shared between receivers.
        message: Outgoing,
    },
    /// Merge the log up to `upto` (pending included), diff against the state vector, answer with `StateBuilt`.
    BuildState {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What the receiver has.
        state_vector: StateVector,
        /// The last entry that counts; it is durable.
        upto: Seq,
    },
    /// Close a socket. It gets nothing after this.
    Close {
        /// The socket.
        connection: ConnectionId,
        /// Close code of `sync.md` 5.
        code: CloseCode,
        /// At most 123 bytes.
        reason: String,
    },
    /// Answer an HTTP call.
    Answer {
        /// The call.
        call: CallId,
        /// Its answer.
        answer: Answer,
    },
    /// Replaces the one timer of the room; None stops it.
    SetTimer(Option<Millis>),
    /// The memory of this room is void (storage failed): after carrying out the rest, drop it; the next use reloads.
    Discard,
    /// Worth a line in the log and a counter; at most once per connection and kind.
    Note(Note),
}

/// Entries that are stored together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Number of the first entry; the others follow.
    pub first: Seq,
    /// At least one.
    pub entries: Vec<Entry>,
}

impl Append {
    /// Number of the last entry.
    pub fn last(&self) -> Seq {
        let count = self.entries.len() as u64;
        Seq((self.first.0 + count).saturating_sub(1))
    }

    /// Bytes of document data in the entries.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(Entry::bytes).sum()
    }
}

/// One entry of a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Part of the visible document.
    Ready(Bytes),
    /// Waits for something.
    Pending(Bytes),
    /// The room exists (first socket, first pushed update, PUT on an absent room).
    Created,
    /// Tombstone.
    Deleted,
    /// PUT on a tombstone: an empty document begins; entries before this one no longer count.
    Recreated,
    /// The tombstone before it no longer counts: the room lives again with what it held.
    Restored,
}

impl Entry {
    /// Bytes of document data.
    pub fn bytes(&self) -> usize {
        match self {
            Entry::Ready(update) | Entry::Pending(update) => update.len(),
            Entry::Created | Entry::Deleted | Entry::Recreated | Entry::Restored => 0,
        }
    }
}

/// A WebSocket message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A Yjs sync frame.
    Binary(Bytes),
    /// UTF-8 JSON.
    Text(Bytes),
}

impl Outgoing {
    /// Payload bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Outgoing::Binary(bytes) | Outgoing::Text(bytes) => bytes,
        }
    }
}

/// The ETag of a document's content, `W/"<32 hex>"` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 16]);

/// The answer to an HTTP call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with a V2 update.
    Update {
        /// What the caller lacks, or the whole document.
        update: Bytes,
        /// The document's tag.
        tag: Tag,
    },
    /// 204 of a POST.
    UpToDate {
        /// The document's tag.
        tag: Tag,
    },
    /// 304 of a GET.
    NotModified {
        /// The document's tag.
        tag: Tag,
    },
    /// 204 of DELETE.
    Deleted,
    /// 201 of PUT.
    Created,
    /// 204 of a restoration.
    Restored,
    /// 409 `RoomExists`.
    Exists,
    /// 404: there never was a room that could be restored.
    Unknown,
    /// 410 `RoomDeleted`.
    Gone,
    /// 410 `RoomDeleted`, and the content can no longer be had.
    Purged,
    /// 400 `MalformedSyncBody` (undecodable update).
    Malformed {
        /// What could not be decoded.
        what: String,
    },
    /// 422 `UpdateRefused`.
    Refused {
        /// In words.
        reason: String,
        /// The limit's stable name.
        limit: String,
    },
    /// 507: the room holds as many pending bytes as it may.
    PendingFull {
        /// That many.
        limit: u64,
    },
    /// 507 `QuotaExceeded`.
    QuotaExceeded(StorageFull),
    /// 200 with the `result` JSON text.
    Dispatched {
        /// JSON text.
        result: String,
    },
    /// 503 `StorageUnavailable`.
    Unavailable,
    /// 503, the hub is shutting down.
    GoingAway,
}

/// Who sent an update, as far as refusals are told apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Author {
    /// A device, over a socket.
    Device(DeviceId),
    /// A person, over HTTP.
    User(UserId),
}

/// Something an operator may want to know. Never holds document bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A frame could not be read and was dropped; the socket stays open. Noted each time.
    FrameDropped {
        /// Its sender.
        connection: ConnectionId,
        /// What could not be read.
        what: &'static str,
        /// Whether it is the first of its kind from this sender, and so worth a line in the log.
        is_first: bool,
    },
    /// An update was refused.
    UpdateRefused {
        /// Whose it was.
        by: Option<Author>,
        /// Why.
        reason: String,
        /// The stable name of the limit that it met.
        limit: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Pending structs were dropped because the room holds as many as it may.
    PendingDropped {
        /// Whose they were; unknown for what was stored before.
        by: Option<Author>,
        /// How much was dropped.
        bytes: usize,
        /// Whether it is the first time for this sender since all of theirs was taken in, and so worth a line in the log.
        is_first: bool,
    },
    /// Everything that this author has was taken in: what was refused before is settled.
    UpdatesAccepted {
        /// Whose updates they are.
        by: Option<Author>,
    },
    /// A text frame broke the protocol; the socket was closed.
    ProtocolError {
        /// Its sender.
        connection: ConnectionId,
    },
    /// The log does not end where a room that slept had left it; the room is discarded.
    LogMismatch {
        /// The last entry that the room knew of.
        known: Seq,
        /// The last entry that was read.
        read: Seq,
    },
}
