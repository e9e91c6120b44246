//! The task that owns one room: it feeds commands to the state machine and carries out its actions, one at a time.
//!
//! A *life* is one `Room` value. When storage fails or the machine panics the life ends: its sockets are closed, its
//! calls answered, and a fresh life takes over the same mailbox, which reads the log again. Results that belong to an
//! ended life are told apart by its generation, and a new life does not read the log before every append of the ones
//! before it has been decided.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use epicenter_api::{ApiError, ErrorName};
use epicenter_identity::RoomName;
use epicenter_room::{
    Action, Answer, Author, CallId, Command, ConnectionId, Note, Outgoing, Room, Seq, Ticket,
};
use epicenter_server::ports::Refusal;
use epicenter_server::revocations::Subject;
use epicenter_sync::CloseCode;
use epicenter_update::StateVector;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message as WireMessage, Utf8Bytes};

use super::mailbox::{Control, Input, Outcome, Receiver};
use super::state::{MergedState, caught};
use super::{RoomCounters, Shared};
use crate::log::{AppendDone, AppendRequest, Generation};
use crate::socket::outbox::{CloseOrder, Outbox};

/// How long an idle room stays in memory: long enough for a reload of a page, short enough to free what a crowd left.
const IDLE_BEFORE_RETIRING: Duration = Duration::from_secs(10);
/// Inputs handled before the task lets others run.
const INPUTS_PER_TURN: usize = 64;

pub(super) struct RoomTask {
    shared: Arc<Shared>,
    name: RoomName,
    counters: Arc<RoomCounters>,
    receiver: Receiver,
    control: mpsc::UnboundedSender<Control>,
    /// Appends handed to the log by any life and not yet decided.
    undecided_appends: usize,
    /// The log has no room for more; it will say when it has.
    log_is_full: bool,
    is_shutting_down: bool,
    life: Life,
}

impl Drop for RoomTask {
    /// However the task ends: its mailbox must not stay where others find it.
    fn drop(&mut self) {
        self.shared.forget(&self.name, &self.counters);
    }
}

struct Life {
    generation: Generation,
    room: Room,
    connections: HashMap<ConnectionId, Arc<Outbox>>,
    calls: HashMap<CallId, oneshot::Sender<Answer>>,
    timer: Option<Instant>,
    load: LoadState,
    states: StateQueue,
}

/// Whether the log has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadState {
    NotAsked,
    /// Waits until the appends of earlier lives are decided.
    Wanted,
    Asked,
}

/// States to build, one at a time, in order; the merged state travels with the job.
#[derive(Default)]
struct StateQueue {
    merged: Option<MergedState>,
    waiting: VecDeque<(Ticket, StateVector, Seq)>,
    running: bool,
}

/// What the caller of `RoomTask::step` does next.
enum Step {
    Continue,
    NewLife,
}

impl RoomTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: RoomName,
        counters: Arc<RoomCounters>,
        receiver: Receiver,
        control: mpsc::UnboundedSender<Control>,
    ) -> Self {
        let life = Life::new(&shared, &name);
        Self {
            shared,
            name,
            counters,
            receiver,
            control,
            undecided_appends: 0,
            log_is_full: false,
            is_shutting_down: false,
            life,
        }
    }

    /// Runs until the room is idle and nobody holds its mailbox.
    pub(super) async fn run(mut self) {
        let mut idle_since = Instant::now();
        loop {
            let timer = self.life.timer;
            let retire_at = idle_since + IDLE_BEFORE_RETIRING;
            tokio::select! {
                biased;
                control = self.receiver.control.recv() => {
                    // The task itself holds a sender, so the channel never ends.
                    if let Some(control) = control {
                        self.on_control(control);
                    }
                }
                () = sleep_until(timer), if timer.is_some() => {
                    self.life.timer = None;
                    self.feed(Command::Timer);
                }
                delivery = self.receiver.input.recv(), if self.reads_input() => {
                    let Some(delivery) = delivery else { return };
                    self.on_input(delivery.input);
                    for _ in 1..INPUTS_PER_TURN {
                        if !self.reads_input() {
                            break;
                        }
                        let Ok(delivery) = self.receiver.input.try_recv() else { break };
                        self.on_input(delivery.input);
                    }
                }
                () = tokio::time::sleep_until(retire_at), if self.life.room.is_idle() => {
                    if self.is_at_rest() && self.shared.retire(&self.name, || self.has_no_mail()) {
                        return;
                    }
                    idle_since = Instant::now();
                    continue;
                }
            }
            if !self.life.room.is_idle() {
                idle_since = Instant::now();
            }
            self.counters
                .connections
                .store(self.life.room.connections(), Ordering::Relaxed);
        }
    }

    /// Input waits in its bounded inbox while the room loads and while the disk does not keep up.
    fn reads_input(&mut self) -> bool {
        if !self.log_is_full && self.shared.log.is_full() {
            self.log_is_full = true;
            let control = self.control.clone();
            self.shared.log.when_not_full(Box::new(move || {
                drop(control.send(Control::LogHasRoom));
            }));
        }
        !self.log_is_full && self.life.room.accepts_input()
    }

    fn is_at_rest(&self) -> bool {
        self.undecided_appends == 0 && !self.life.states.running && self.life.calls.is_empty()
    }

    fn has_no_mail(&self) -> bool {
        self.receiver.input.is_empty() && self.receiver.control.is_empty()
    }

    fn on_input(&mut self, input: Input) {
        let command = match input {
            Input::Open {
                connection,
                access,
                device,
                revocations_seen,
                reports,
                outbox,
            } => {
                if self.shared.was_revoked_since(revocations_seen, &access) {
                    outbox.close(CloseOrder {
                        code: CloseCode::Unauthorized,
                        reason: ApiError::new(ErrorName::InvalidToken).close_reason(),
                    });
                    return;
                }
                self.shared.log.touch(&self.name, self.shared.clock.now().0);
                self.life.connections.insert(connection, outbox);
                Command::Open {
                    connection,
                    access,
                    device,
                    reports,
                }
            }
            Input::Frame {
                connection,
                message,
            } => {
                // A socket that an earlier life opened has been closed; what it still sent comes again when it
                // reconnects.
                if !self.life.connections.contains_key(&connection) {
                    return;
                }
                Command::Frame {
                    connection,
                    message,
                }
            }
            Input::Disconnected { connection, code } => {
                if self.life.connections.remove(&connection).is_none() {
                    return;
                }
                Command::Disconnected { connection, code }
            }
            Input::Call {
                call,
                access,
                request,
                answer,
            } => {
                if answer.is_closed() {
                    return;
                }
                self.shared.log.touch(&self.name, self.shared.clock.now().0);
                self.life.calls.insert(call, answer);
                Command::Call {
                    call,
                    access,
                    request,
                }
            }
        };
        self.feed(command);
    }

    fn on_control(&mut self, control: Control) {
        let command = match control {
            Control::HangUp(call) => {
                self.life.calls.remove(&call);
                Command::HangUp { call }
            }
            Control::Revoke(Subject::Grant(grant)) => Command::Revoke { grant },
            Control::Revoke(Subject::User(user)) => Command::RevokeUser { user },
            Control::Suspend => {
                self.begin_new_life();
                return;
            }
            Control::Shutdown => {
                self.is_shutting_down = true;
                Command::Shutdown
            }
            Control::LogHasRoom => {
                self.log_is_full = false;
                return;
            }
            Control::Of(generation, outcome) => {
                if matches!(outcome, Outcome::Durable(_) | Outcome::AppendFailed(_)) {
                    self.undecided_appends = self.undecided_appends.saturating_sub(1);
                    self.load_if_wanted();
                }
                if generation != self.life.generation {
                    return;
                }
                match outcome {
                    Outcome::Loaded(loaded, merged) => {
                        self.life.states.merged = Some(merged);
                        Command::Loaded(loaded)
                    }
                    Outcome::LoadFailed => Command::LoadFailed,
                    Outcome::Durable(seq) => Command::Durable(seq),
                    Outcome::AppendFailed(seq) => Command::AppendFailed(seq),
                    Outcome::StateBuilt {
                        ticket,
                        update,
                        merged,
                    } => {
                        self.life.states.running = false;
                        self.life.states.merged = merged;
                        self.build_next_state();
                        Command::StateBuilt { ticket, update }
                    }
                }
            }
        };
        self.feed(command);
    }

    /// Feeds one command and carries out what it leads to.
    fn feed(&mut self, command: Command) {
        let now = self.shared.clock.now();
        let step = catch_unwind(AssertUnwindSafe(|| {
            let actions = self.life.room.handle(command, now);
            self.carry_out(actions)
        }));
        match step {
            Ok(Step::Continue) => {}
            Ok(Step::NewLife) => self.begin_new_life(),
            Err(_) => {
                // The panic hook has written message and place; a human should look.
                tracing::error!(room.owner = %self.name.owner(), room.id = %self.name.room(), "a room panicked; it is closed and read again from its log");
                self.begin_new_life();
            }
        }
    }

    fn begin_new_life(&mut self) {
        let mut next = Life::new(&self.shared, &self.name);
        if self.is_shutting_down {
            // Nobody is in it yet, so there is nothing to carry out; it will let nobody in.
            let _none = next.room.handle(Command::Shutdown, self.shared.clock.now());
        }
        let ended = std::mem::replace(&mut self.life, next);
        for outbox in ended.connections.into_values() {
            // Most were closed by the room itself; for them this is void.
            outbox.close(CloseOrder {
                code: CloseCode::TryAgainLater,
                reason: ApiError::new(ErrorName::StorageUnavailable).close_reason(),
            });
        }
        for answer in ended.calls.into_values() {
            drop(answer.send(Answer::Unavailable));
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Step {
        let mut step = Step::Continue;
        for action in actions {
            match action {
                Action::Load => {
                    self.life.load = LoadState::Wanted;
                    self.load_if_wanted();
                }
                Action::Append(append) => {
                    self.undecided_appends = self.undecided_appends.saturating_add(1);
                    let generation = self.life.generation;
                    let control = self.control.clone();
                    let last = append.last();
                    self.shared.log.append(AppendRequest {
                        room: self.name.clone(),
                        generation,
                        append,
                        done: AppendDone(Box::new(move |result| {
                            let outcome = match result {
                                Ok(seq) => Outcome::Durable(seq),
                                Err(_) => Outcome::AppendFailed(last),
                            };
                            // Nobody listens after the runtime has been shut down.
                            drop(control.send(Control::Of(generation, outcome)));
                        })),
                    });
                }
                Action::Send { to, message } => {
                    if let Some(outbox) = self.life.connections.get(&to) {
                        outbox.push(wire_message(message));
                    }
                }
                Action::BuildState {
                    ticket,
                    state_vector,
                    upto,
                } => {
                    self.life
                        .states
                        .waiting
                        .push_back((ticket, state_vector, upto));
                    self.build_next_state();
                }
                Action::Close {
                    connection,
                    code,
                    reason,
                } => {
                    if let Some(outbox) = self.life.connections.remove(&connection) {
                        outbox.close(CloseOrder { code, reason });
                    }
                }
                Action::Answer { call, answer } => {
                    if let Some(sender) = self.life.calls.remove(&call) {
                        drop(sender.send(answer));
                    }
                }
                Action::SetTimer(at) => {
                    self.life.timer = at.map(|at| self.shared.clock.instant_of(at));
                }
                Action::Discard => step = Step::NewLife,
                Action::Note(note) => self.note(&note),
            }
        }
        step
    }

    fn load_if_wanted(&mut self) {
        if self.life.load != LoadState::Wanted || self.undecided_appends > 0 {
            return;
        }
        self.life.load = LoadState::Asked;
        let shared = Arc::clone(&self.shared);
        let name = self.name.clone();
        let control = self.control.clone();
        let generation = self.life.generation;
        self.shared.blocking(move || {
            let outcome = match caught(|| MergedState::load(shared.log.as_ref(), &name)) {
                Ok((merged, loaded)) => Outcome::Loaded(loaded, merged),
                Err(error) => {
                    tracing::error!(room.owner = %name.owner(), room.id = %name.room(), error = &error as &dyn std::error::Error, "a room cannot be read; its sockets are closed and every next use tries again");
                    Outcome::LoadFailed
                }
            };
            drop(control.send(Control::Of(generation, outcome)));
        });
    }

    fn build_next_state(&mut self) {
        let states = &mut self.life.states;
        if states.running {
            return;
        }
        let Some((ticket, state_vector, upto)) = states.waiting.pop_front() else {
            return;
        };
        states.running = true;
        let merged = states.merged.take();
        let shared = Arc::clone(&self.shared);
        let name = self.name.clone();
        let control = self.control.clone();
        let generation = self.life.generation;
        self.shared.blocking(move || {
            let log = shared.log.as_ref();
            let built = caught(|| {
                let mut merged = match merged {
                    Some(merged) => merged,
                    None => MergedState::load(log, &name)?.0,
                };
                let update = merged.answer(log, &name, upto, &state_vector)?;
                Ok((update, merged))
            });
            let (update, merged) = match built {
                Ok((update, merged)) => (Some(update), Some(merged)),
                Err(error) => {
                    tracing::error!(room.owner = %name.owner(), room.id = %name.room(), error = &error as &dyn std::error::Error, "a room's state cannot be built");
                    (None, None)
                }
            };
            drop(control.send(Control::Of(
                generation,
                Outcome::StateBuilt {
                    ticket,
                    update,
                    merged,
                },
            )));
        });
    }

    fn refuse(&self, by: Option<&Author>, reason: &str, bytes: usize) {
        let refusal = Refusal {
            at: self.shared.clock.now().0,
            reason: reason.to_owned(),
            bytes: bytes as u64,
        };
        self.shared
            .refusals
            .refuse(&self.name, by.cloned(), refusal);
    }

    fn note(&self, note: &Note) {
        let (owner, room) = (self.name.owner(), self.name.room());
        match note {
            Note::FrameDropped { connection, what } => {
                tracing::debug!(room.owner = %owner, room.id = %room, connection = connection.0, what, "a frame was dropped");
            }
            Note::UpdateRefused { by, reason, bytes } => {
                tracing::warn!(room.owner = %owner, room.id = %room, reason, update_bytes = bytes, "an update was refused and its connection closed");
                self.refuse(by.as_ref(), reason, *bytes);
            }
            Note::PendingDropped { by, bytes } => {
                tracing::warn!(room.owner = %owner, room.id = %room, update_bytes = bytes, "pending structs passed the room's limit and were dropped");
                self.refuse(by.as_ref(), "pending-limit", *bytes);
            }
            Note::UpdatesAccepted { by } => self.shared.refusals.settle(&self.name, by.as_ref()),
            Note::LogMismatch { known, read } => {
                tracing::error!(room.owner = %owner, room.id = %room, known = known.0, read = read.0, "the log of a room does not end where the room had left it; the room is closed and read again");
            }
            Note::ProtocolError { connection } => {
                tracing::debug!(room.owner = %owner, room.id = %room, connection = connection.0, "a connection was closed for a protocol error");
            }
        }
    }
}

impl Life {
    fn new(shared: &Shared, name: &RoomName) -> Self {
        Self {
            generation: shared.next_generation(),
            room: Room::new(name.clone(), Arc::clone(&shared.config)),
            connections: HashMap::new(),
            calls: HashMap::new(),
            timer: None,
            load: LoadState::NotAsked,
            states: StateQueue::default(),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

fn wire_message(message: Outgoing) -> WireMessage {
    match message {
        Outgoing::Binary(bytes) => WireMessage::Binary(bytes),
        Outgoing::Text(bytes) => match Utf8Bytes::try_from(bytes) {
            Ok(text) => WireMessage::Text(text),
            // Text is made by the JSON encoder; should it ever not be UTF-8, the peer is told that the frame is void.
            Err(_) => WireMessage::Text(Utf8Bytes::from_static("{}")),
        },
    }
}
