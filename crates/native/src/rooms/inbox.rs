//! The two queues in front of a room, and who gets to empty them.
//!
//! *Input* (opens, frames, departures, calls) is bounded in commands and bytes: a sender waits, and with it the peer's
//! TCP window. Input keeps its order, so that a frame that came before a close is handled before it. *Control* (results
//! of the log, built states, hang-ups, shutdown) must reach a room that does not read its input; it is bounded by what
//! the room itself has outstanding.
//!
//! A room has no task. Whoever puts something in while no turn is scheduled is told to have one run; everybody else's
//! mail is found by that turn. So a room with no traffic costs what this struct and its sockets cost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use epicenter_identity::{Access, DeviceId};
use epicenter_room::{Answer, CallId, ConnectionId, Loaded, Message, Request, Seq, Ticket};
use epicenter_server::revocations::Subject;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use super::lock;
use super::outbox::Outbox;
use crate::log::Generation;

/// What a client takes in a decoded state vector, roughly.
const STATE_VECTOR_ENTRY_BYTES: usize = 32;
/// A command costs its own size too, so that empty ones are not free.
const COMMAND_BYTES: usize = 64;
/// Input that a turn may leave behind without giving its memory back.
const KEPT_CAPACITY: usize = 8;

/// What sockets and HTTP handlers say to a room.
#[derive(Debug)]
pub enum Input {
    /// A socket joins; see [`RoomHandle::join`](super::RoomHandle::join).
    Open(Box<Opening>),
    /// A message of a socket.
    Frame {
        /// Where it came from.
        connection: ConnectionId,
        /// What it said.
        message: Message,
    },
    /// A socket is gone.
    Disconnected {
        /// Which one.
        connection: ConnectionId,
        /// The close code of the peer, if it sent one.
        code: Option<u16>,
    },
    /// An HTTP call.
    Call(Box<Call>),
}

/// A socket that joins.
#[derive(Debug)]
pub struct Opening {
    /// Its id.
    pub connection: ConnectionId,
    /// Proof that it may.
    pub access: Access,
    /// Its dispatch address.
    pub device: DeviceId,
    /// It wants to hear when its updates are on disk.
    pub reports: bool,
    /// How many revocations were known before its token was checked.
    pub revocations_seen: u64,
    /// Where what the room says to it goes.
    pub outbox: Arc<Outbox>,
}

/// An HTTP call.
#[derive(Debug)]
pub struct Call {
    /// Its id.
    pub call: CallId,
    /// Proof that it may.
    pub access: Access,
    /// What it wants.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
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
            Self::Call(call) => match &call.request {
                Request::Sync {
                    update,
                    state_vector,
                    ..
                } => update
                    .len()
                    .saturating_add(state_vector.len().saturating_mul(STATE_VECTOR_ENTRY_BYTES)),
                Request::Dispatch { input, .. } => input.as_ref().map_or(0, String::len),
                _ => 0,
            },
            Self::Open(_) | Self::Disconnected { .. } => 0,
        };
        payload.saturating_add(COMMAND_BYTES)
    }
}

/// What the host's own parts say to a room.
#[derive(Debug)]
pub(super) enum Control {
    /// Results that belong to one life of the room; those of an earlier one are ignored.
    Of(Generation, Outcome),
    /// A compaction has ended.
    Compacted(super::compaction::Outcome),
    HangUp(CallId),
    /// The log takes appends again.
    LogHasRoom,
    /// The time that the room asked for has come.
    Alarm,
    /// A socket or call has given its handle back.
    Left,
    /// These tokens have ended.
    Revoke(Subject),
    /// Another process may serve rooms from now on: the life ends, and the next one reads the log.
    Suspend,
    Shutdown,
}

/// The end of something that a life asked for.
#[derive(Debug)]
pub(super) enum Outcome {
    Loaded(Box<Loaded>),
    LoadFailed,
    Durable(Seq),
    AppendFailed(Seq),
    StateBuilt {
        ticket: Ticket,
        update: Option<bytes::Bytes>,
    },
}

/// What a turn finds.
pub(super) enum Next {
    Control(Control),
    Input(Input, Weight),
    Nothing,
}

/// The room that an input takes up until it was handled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight(u32);

impl Weight {
    /// Of a socket that joins.
    const NONE: Self = Self(0);
}

/// Whether the caller must have a turn run.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nobody else will.
    Needed,
    NotNeeded,
}

/// The queues of one room.
pub(super) struct Inbox {
    state: Mutex<State>,
    commands: Semaphore,
    bytes: Semaphore,
    max_commands: usize,
    max_bytes: u32,
}

struct State {
    input: VecDeque<(Input, Weight)>,
    control: VecDeque<Control>,
    /// A turn runs or will run.
    is_scheduled: bool,
    /// The room reads its input, as far as its last turn knew.
    accepts_input: bool,
    /// Sockets and calls that hold the room.
    users: usize,
}

impl Inbox {
    pub(super) fn new(max_commands: usize, max_bytes: usize) -> Self {
        let max_commands = max_commands.clamp(1, Semaphore::MAX_PERMITS);
        let max_bytes =
            u32::try_from(max_bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            state: Mutex::new(State {
                input: VecDeque::new(),
                control: VecDeque::new(),
                is_scheduled: false,
                accepts_input: true,
                users: 0,
            }),
            commands: Semaphore::new(max_commands),
            bytes: Semaphore::new(max_bytes as usize),
            max_commands,
            max_bytes,
        }
    }

    /// Commands and bytes that were taken in and are not yet handled, without a lock.
    pub(super) fn depth(&self) -> (usize, usize) {
        let max_bytes = self.max_bytes as usize;
        (
            self.max_commands
                .saturating_sub(self.commands.available_permits()),
            max_bytes.saturating_sub(self.bytes.available_permits()),
        )
    }

    /// One input larger than the whole inbox passes when the inbox is empty.
    fn weight(&self, input: &Input) -> Weight {
        Weight(
            u32::try_from(input.weight())
                .unwrap_or(u32::MAX)
                .min(self.max_bytes),
        )
    }

    /// Waits for room, then puts the input in.
    pub(super) async fn put(&self, input: Input) -> Turn {
        let weight = self.weight(&input);
        // The semaphores are never closed.
        let command = self.commands.acquire().await;
        let bytes = self.bytes.acquire_many(weight.0).await;
        if let (Ok(command), Ok(bytes)) = (command, bytes) {
            command.forget();
            bytes.forget();
        }
        self.push(input, weight)
    }

    /// Puts the input in, or gives it back when there is no room.
    pub(super) fn try_put(&self, input: Input) -> Result<Turn, Input> {
        let weight = self.weight(&input);
        let room = self.commands.try_acquire().and_then(|command| {
            let bytes = self.bytes.try_acquire_many(weight.0)?;
            command.forget();
            bytes.forget();
            Ok::<(), TryAcquireError>(())
        });
        match room {
            Ok(()) => Ok(self.push(input, weight)),
            Err(_full) => Err(input),
        }
    }

    /// Puts a socket that joins in, at once and beside the bounds: it takes no more than its connection does, of which the
    /// listener has a bound, and one that waited outside could not be told that its access has ended.
    pub(super) fn join(&self, opening: Opening) -> Turn {
        self.push(Input::Open(Box::new(opening)), Weight::NONE)
    }

    fn push(&self, input: Input, weight: Weight) -> Turn {
        let mut state = self.lock();
        state.input.push_back((input, weight));
        let is_read = state.accepts_input;
        state.schedule(is_read)
    }

    /// Puts news in, at once.
    pub(super) fn tell(&self, control: Control) -> Turn {
        let mut state = self.lock();
        state.control.push_back(control);
        state.schedule(true)
    }

    /// The next thing to handle; news first.
    pub(super) fn next(&self, reads_input: bool) -> Next {
        let mut state = self.lock();
        if let Some(control) = state.control.pop_front() {
            return Next::Control(control);
        }
        if reads_input && let Some((input, weight)) = state.input.pop_front() {
            return Next::Input(input, weight);
        }
        Next::Nothing
    }

    /// Takes out those sockets that wait to join, and gives their outboxes. What they sent behind it stays and is void.
    pub(super) fn withdraw(&self, is_meant: impl Fn(&Opening) -> bool) -> Vec<Arc<Outbox>> {
        let mut withdrawn = Vec::new();
        let mut state = self.lock();
        for (input, weight) in std::mem::take(&mut state.input) {
            match input {
                Input::Open(opening) if is_meant(&opening) => {
                    self.release(weight);
                    withdrawn.push(opening.outbox);
                }
                input => state.input.push_back((input, weight)),
            }
        }
        withdrawn
    }

    /// An input was handled.
    pub(super) fn release(&self, weight: Weight) {
        if weight.0 > 0 {
            self.commands.add_permits(1);
            self.bytes.add_permits(weight.0 as usize);
        }
    }

    /// Ends a turn, unless there is more to do: then the turn stays scheduled.
    pub(super) fn finish(&self, accepts_input: bool) -> Turn {
        let mut state = self.lock();
        state.accepts_input = accepts_input;
        if !state.control.is_empty() || (accepts_input && !state.input.is_empty()) {
            return Turn::Needed;
        }
        state.is_scheduled = false;
        if state.input.capacity() > KEPT_CAPACITY && state.input.is_empty() {
            state.input = VecDeque::new();
        }
        if state.control.capacity() > KEPT_CAPACITY {
            state.control = VecDeque::new();
        }
        Turn::NotNeeded
    }

    /// Input that waits, but for sockets that join: how many, and its bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        let weights = state.input.iter().map(|(_, weight)| weight.0 as usize);
        let bounded = weights.filter(|weight| *weight > 0);
        bounded.fold((0, 0), |(count, bytes), weight| (count + 1, bytes + weight))
    }

    pub(super) fn enter(&self) {
        self.lock().users += 1;
    }

    pub(super) fn leave(&self) -> Turn {
        let mut state = self.lock();
        state.users = state.users.saturating_sub(1);
        if state.users > 0 {
            return Turn::NotNeeded;
        }
        state.control.push_back(Control::Left);
        state.schedule(true)
    }

    /// Nobody holds the room and nothing waits for it.
    pub(super) fn is_deserted(&self) -> bool {
        let state = self.lock();
        state.users == 0 && state.input.is_empty() && state.control.is_empty()
    }

    pub(super) fn has_users(&self) -> bool {
        self.lock().users > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn schedule(&mut self, is_read: bool) -> Turn {
        if self.is_scheduled || !is_read {
            return Turn::NotNeeded;
        }
        self.is_scheduled = true;
        Turn::Needed
    }
}
