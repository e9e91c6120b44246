//! The two queues that lead to a room's task.
//!
//! *Input* (opens, frames, departures, calls) is bounded in commands and bytes: a sender waits, and with it the
//! peer's TCP window. Input keeps its order, so that a frame that came before a close is handled before it. *Control*
//! (results of the log, built states, hang-ups, shutdown) must reach a room that does not read its input; it is
//! bounded by what the room itself has outstanding.

use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{Access, DeviceId};
use epicenter_room::{CallId, ConnectionId, Loaded, Message, Request, Seq, Ticket};
use epicenter_server::revocations::Subject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::state::MergedState;
use crate::log::Generation;
use crate::socket::outbox::Outbox;

/// What a client takes in a decoded state vector, roughly.
const STATE_VECTOR_ENTRY_BYTES: usize = 32;

/// What sockets and HTTP handlers say to a room.
#[derive(Debug)]
pub(crate) enum Input {
    Open {
        connection: ConnectionId,
        access: Access,
        device: DeviceId,
        /// How many revocations were known before the token was checked.
        revocations_seen: u64,
        /// Whether it asked to be told what became of its updates.
        reports: bool,
        outbox: Arc<Outbox>,
    },
    Frame {
        connection: ConnectionId,
        message: Message,
    },
    Disconnected {
        connection: ConnectionId,
        code: Option<u16>,
    },
    Call {
        call: CallId,
        access: Access,
        request: Request,
        answer: oneshot::Sender<epicenter_room::Answer>,
    },
}

impl Input {
    fn weight(&self) -> usize {
        let payload = match self {
            Self::Frame {
                message: Message::Binary(bytes),
                ..
            } => bytes.len(),
            Self::Frame {
                message: Message::Text(text),
                ..
            } => text.len(),
            Self::Call {
                request:
                    Request::Sync {
                        update,
                        state_vector,
                        ..
                    },
                ..
            } => update
                .len()
                .saturating_add(state_vector.len().saturating_mul(STATE_VECTOR_ENTRY_BYTES)),
            Self::Call {
                request: Request::Dispatch { input, .. },
                ..
            } => input.as_ref().map_or(0, String::len),
            _ => 0,
        };
        // A command costs its own size too, so that empty ones are not free.
        payload.saturating_add(64)
    }
}

/// What the host's own parts say to a room.
#[derive(Debug)]
pub(crate) enum Control {
    /// Results that belong to one life of the room; those of an earlier one are ignored.
    Of(Generation, Outcome),
    HangUp(CallId),
    /// The log takes appends again.
    LogHasRoom,
    /// These tokens have ended.
    Revoke(Subject),
    /// Another process may serve rooms from now on: the life ends, and the next one reads the log.
    Suspend,
    Shutdown,
}

/// The end of something that the room asked for.
#[derive(Debug)]
pub(crate) enum Outcome {
    Loaded(Loaded, MergedState),
    LoadFailed,
    Durable(Seq),
    AppendFailed(Seq),
    /// The merged state comes back with the answer; without one it is read anew the next time.
    StateBuilt {
        ticket: Ticket,
        update: Option<Bytes>,
        merged: Option<MergedState>,
    },
}

/// An input with the room it takes up in the inbox.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) input: Input,
    _room: OwnedSemaphorePermit,
}

/// The sending half. The registry holds one reference; every socket and call in the room holds another, which is what
/// keeps the room's task alive.
#[derive(Debug)]
pub(crate) struct Mailbox {
    input: mpsc::Sender<Delivery>,
    control: mpsc::UnboundedSender<Control>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
}

/// The receiving half, owned by the room's task.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) input: mpsc::Receiver<Delivery>,
    pub(crate) control: mpsc::UnboundedReceiver<Control>,
}

/// The room's task has ended, which it does only when the runtime shuts down or nobody holds its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomGone;

impl Mailbox {
    pub(crate) fn new(max_commands: usize, max_bytes: usize) -> (Self, Receiver) {
        let max_bytes = max_bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (input, input_receiver) = mpsc::channel(max_commands.max(1));
        let (control, control_receiver) = mpsc::unbounded_channel();
        let mailbox = Self {
            input,
            control,
            bytes: Arc::new(Semaphore::new(max_bytes)),
            max_bytes,
        };
        let receiver = Receiver {
            input: input_receiver,
            control: control_receiver,
        };
        (mailbox, receiver)
    }

    /// Waits for room in the inbox, then delivers.
    pub(crate) async fn deliver(&self, input: Input) -> Result<(), RoomGone> {
        // One input larger than the whole inbox passes when the inbox is empty.
        let weight = input.weight().min(self.max_bytes);
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        // Both errors say the same: the receiving half is gone.
        let room = Arc::clone(&self.bytes)
            .acquire_many_owned(permits)
            .await
            .map_err(|_closed| RoomGone)?;
        self.input
            .send(Delivery { input, _room: room })
            .await
            .map_err(|_closed| RoomGone)
    }

    /// A sender of control messages that does not keep the room alive.
    pub(crate) fn control(&self) -> mpsc::UnboundedSender<Control> {
        self.control.clone()
    }

    /// Delivers at once; a room that has ended needs no news.
    pub(crate) fn tell(&self, control: Control) {
        drop(self.control.send(control));
    }
}
