//! A room's state between turns: it feeds commands to the state machine and carries out its actions, one at a time.
//!
//! A *life* is one `Room` value. When storage fails or the machine panics the life ends: its sockets are closed, its
//! calls answered, and a fresh life takes its place, which reads the log again. Results that belong to an ended life are
//! told apart by its generation, and a new life does not read the log before every append of the ones before it has been
//! decided.
//!
//! Every turn ends with a rest, see `rest`.

mod rest;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use epicenter_api::{ApiError, ErrorName};
use epicenter_identity::{Access, RoomName};
use epicenter_room::{
    Action, Answer, Append, CallId, Command, ConnectionId, Entry, Millis, Room, Seq, StorageFull,
    StorageUse, Ticket,
};
use epicenter_server::revocations::Subject;
use epicenter_sync::CloseCode;
use epicenter_update::StateVector;
use tokio::sync::oneshot;

use super::compaction::{Growth, Progress};
use super::counters::Sent;
use super::inbox::{Call, Control, Input, Opening, Outcome};
use super::outbox::{CloseOrder, Outbox};
use super::ports::JobKind;
use super::slot::Slot;
use super::{Shared, is_of};
use super::{jobs, notes};
use crate::log::{AppendDone, AppendRequest, Generation};
use crate::websocket::Frame;

/// What lives behind a slot's lock.
pub(super) struct Core {
    life: Life,
    /// Appends handed to the log by any life and not yet decided.
    undecided_appends: usize,
    /// The log has no room for more; it will say when it has.
    log_is_full: bool,
    is_shutting_down: bool,
    growth: Growth,
    /// The used up quota that the room was told of.
    full: Option<StorageFull>,
    compaction: Progress,
    /// When something last happened.
    last_used: Millis,
    /// When the room last had a socket or a call, if it has none now.
    deserted_at: Millis,
    /// The time noted for the next turn.
    alarm: Option<Millis>,
    /// Sockets that are being closed behind what their peers do not read.
    leaving: HashMap<ConnectionId, Member>,
    /// What this turn has put something into.
    receivers: Vec<Arc<Outbox>>,
    /// What this turn has sent.
    sent: Sent,
}

struct Life {
    generation: Generation,
    room: Room,
    connections: HashMap<ConnectionId, Member>,
    calls: HashMap<CallId, oneshot::Sender<Answer>>,
    timer: Option<Millis>,
    load: LoadState,
    states: StateQueue,
    /// The entry that brings back what was deleted: once it is on disk, the log says how much that is.
    restored: Option<Seq>,
}

/// A socket in the room.
struct Member {
    access: Access,
    outbox: Arc<Outbox>,
}

/// Whether the log has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoadState {
    NotAsked,
    /// Waits until the appends of earlier lives are decided.
    Wanted,
    Asked,
}

/// States to build, one at a time, in order.
#[derive(Default)]
struct StateQueue {
    waiting: VecDeque<(Ticket, StateVector, Seq)>,
    is_running: bool,
}

/// What follows from carrying out actions.
enum Step {
    Continue,
    NewLife,
}

impl Core {
    pub(super) fn new(shared: &Shared, name: &RoomName) -> Self {
        let now = shared.host.now();
        Self {
            life: Life::new(shared, name),
            undecided_appends: 0,
            log_is_full: false,
            is_shutting_down: false,
            growth: Growth::default(),
            full: None,
            compaction: Progress::default(),
            last_used: now,
            deserted_at: now,
            alarm: None,
            leaving: HashMap::new(),
            receivers: Vec::new(),
            sent: Sent::default(),
        }
    }

    /// The outboxes to be flushed after the turn.
    pub(super) fn take_receivers(&mut self) -> Vec<Arc<Outbox>> {
        std::mem::take(&mut self.receivers)
    }

    /// Input waits in its bounded inbox while the room loads and while the disk does not keep up.
    pub(super) fn reads_input(&mut self, slot: &Arc<Slot>) -> bool {
        let log = &slot.shared().log;
        if !self.log_is_full && log.is_full() {
            self.log_is_full = true;
            let slot = Arc::clone(slot);
            log.when_not_full(Box::new(move || slot.tell(Control::LogHasRoom)));
        }
        !self.log_is_full && self.life.room.accepts_input()
    }

    pub(super) fn on_input(&mut self, slot: &Arc<Slot>, input: Input) {
        let shared = slot.shared();
        let now = shared.host.now();
        self.last_used = now;
        let command = match input {
            Input::Open(opening) => {
                let Opening {
                    connection,
                    access,
                    device,
                    reports,
                    revocations_seen,
                    outbox,
                } = *opening;
                if shared.was_revoked_since(revocations_seen, &access) {
                    outbox.close(revoked());
                    return;
                }
                shared.log.touch(slot.name(), now.0);
                let member = Member {
                    access: access.clone(),
                    outbox,
                };
                self.life.connections.insert(connection, member);
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
                shared.stats.frame_in(&message);
                Command::Frame {
                    connection,
                    message,
                }
            }
            Input::Disconnected { connection, code } => {
                self.leaving.remove(&connection);
                if self.life.connections.remove(&connection).is_none() {
                    return;
                }
                Command::Disconnected { connection, code }
            }
            Input::Call(call) => {
                let Call {
                    call,
                    access,
                    request,
                    answer,
                } = *call;
                if answer.is_closed() {
                    return;
                }
                shared.log.touch(slot.name(), now.0);
                self.life.calls.insert(call, answer);
                Command::Call {
                    call,
                    access,
                    request,
                }
            }
        };
        // Frames change rooms that exist, which only the quotas of bytes concern.
        let is_frame = matches!(command, Command::Frame { .. });
        if !is_frame || shared.quota.room_bytes > 0 || shared.quota.owner_bytes > 0 {
            self.check_storage(slot);
        }
        self.feed(slot, command);
    }

    pub(super) fn on_control(&mut self, slot: &Arc<Slot>, control: Control) {
        let command = match control {
            Control::HangUp(call) => {
                self.life.calls.remove(&call);
                Command::HangUp { call }
            }
            Control::Revoke(subject) => {
                self.revoke_others(slot, &subject);
                match subject {
                    Subject::Grant(grant) => Command::Revoke { grant },
                    Subject::User(user) => Command::RevokeUser { user },
                }
            }
            Control::Suspend => {
                self.begin_new_life(slot);
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
            Control::Alarm => {
                self.alarm = None;
                match self.life.timer {
                    Some(at) if at <= slot.shared().host.now() => {
                        self.life.timer = None;
                        Command::Timer
                    }
                    _ => return,
                }
            }
            // The rest at the end of the turn sees what that means.
            Control::Left => return,
            Control::Compacted(outcome) => {
                self.on_compacted(slot, outcome);
                return;
            }
            Control::Of(generation, outcome) => {
                if matches!(outcome, Outcome::Durable(_) | Outcome::AppendFailed(_)) {
                    self.undecided_appends = self.undecided_appends.saturating_sub(1);
                    self.load_if_wanted(slot);
                }
                if generation != self.life.generation {
                    return;
                }
                match outcome {
                    Outcome::Loaded(loaded) => {
                        self.life.load = LoadState::NotAsked;
                        self.measure(slot);
                        self.check_storage(slot);
                        self.compact_if(slot, |growth, config| growth.is_due_after_load(config));
                        Command::Loaded(*loaded)
                    }
                    Outcome::LoadFailed => Command::LoadFailed,
                    Outcome::Durable(seq) => {
                        if self.life.restored.take_if(|at| *at <= seq).is_some() {
                            self.measure(slot);
                            self.check_storage(slot);
                        }
                        Command::Durable(seq)
                    }
                    Outcome::AppendFailed(seq) => Command::AppendFailed(seq),
                    Outcome::StateBuilt { ticket, update } => {
                        self.life.states.is_running = false;
                        self.build_next_state(slot);
                        Command::StateBuilt { ticket, update }
                    }
                }
            }
        };
        self.feed(slot, command);
    }

    /// Closes the sockets with an access that has ended which the room does not know, or not any more: a stalled disk must
    /// not keep those connected that are about to join, nor a peer that does not read get what is queued for it.
    fn revoke_others(&self, slot: &Arc<Slot>, subject: &Subject) {
        let is_meant = |opening: &Opening| is_of(subject, &opening.access);
        for outbox in slot.inbox().withdraw(is_meant) {
            outbox.close(revoked());
        }
        for member in self.leaving.values() {
            if is_of(subject, &member.access) {
                member.outbox.close(revoked());
            }
        }
    }

    /// Tells the room which quota is used up, if that has changed.
    fn check_storage(&mut self, slot: &Arc<Slot>) {
        let shared = slot.shared();
        let usage = shared.log.usage(slot.name().owner());
        let full = shared.quota.check(&StorageUse {
            room_bytes: self.growth.all_bytes(),
            owner_bytes: usage.bytes,
            owner_rooms: usage.rooms,
        });
        if full != self.full {
            self.full = full;
            self.feed(slot, Command::Storage(full));
        }
    }

    /// Feeds one command and carries out what it leads to.
    fn feed(&mut self, slot: &Arc<Slot>, command: Command) {
        let now = slot.shared().host.now();
        let step = catch_unwind(AssertUnwindSafe(|| {
            let actions = self.life.room.handle(command, now);
            self.carry_out(slot, actions)
        }));
        match step {
            Ok(Step::Continue) => {}
            Ok(Step::NewLife) => self.begin_new_life(slot),
            Err(_) => {
                // The panic hook has written message and place; a human should look.
                slot.shared().stats.panics.add(1);
                tracing::error!(room.name = %slot.name(), "a room panicked; it is closed and read again from its log");
                self.begin_new_life(slot);
            }
        }
    }

    pub(super) fn begin_new_life(&mut self, slot: &Arc<Slot>) {
        let shared = slot.shared();
        shared.stats.restarts.add(1);
        // What is cached may be of a log that another process has written to meanwhile.
        drop(shared.cache.take_asleep(slot.name()));
        drop(shared.cache.take_merged(slot.name()));
        let mut next = Life::new(shared, slot.name());
        self.full = None;
        if self.is_shutting_down {
            // Nobody is in it yet, so there is nothing to carry out; it will let nobody in.
            let _none = next.room.handle(Command::Shutdown, shared.host.now());
        }
        let ended = std::mem::replace(&mut self.life, next);
        for member in ended.connections.into_values() {
            // Most were closed by the room itself; for them this is void.
            member.outbox.close(CloseOrder {
                code: CloseCode::TryAgainLater,
                reason: ApiError::new(ErrorName::StorageUnavailable).close_reason(),
            });
        }
        for answer in ended.calls.into_values() {
            drop(answer.send(Answer::Unavailable));
        }
    }

    fn carry_out(&mut self, slot: &Arc<Slot>, actions: Vec<Action>) -> Step {
        let mut step = Step::Continue;
        for action in actions {
            match action {
                Action::Load => {
                    self.life.load = LoadState::Wanted;
                    self.load_if_wanted(slot);
                }
                Action::Append(append) => self.append(slot, append),
                Action::Send { to, message } => {
                    if let Some(Member { outbox, .. }) = self.life.connections.get(&to) {
                        let frame = Frame::from(message);
                        self.sent.add(frame.len());
                        if outbox.push(frame) {
                            self.receivers.push(Arc::clone(outbox));
                        }
                    }
                }
                Action::BuildState {
                    ticket,
                    state_vector,
                    upto,
                } => {
                    let Life { room, states, .. } = &mut self.life;
                    // Whoever asked and left, over and over, leaves no queue behind.
                    if states.waiting.len() >= room.states_wanted() {
                        states.waiting.retain(|(ticket, ..)| room.wants(*ticket));
                    }
                    states.waiting.push_back((ticket, state_vector, upto));
                    self.build_next_state(slot);
                }
                Action::Close {
                    connection,
                    code,
                    reason,
                } => {
                    if let Some(member) = self.life.connections.remove(&connection)
                        && member.outbox.close(CloseOrder { code, reason })
                    {
                        self.leaving.insert(connection, member);
                    }
                }
                Action::Answer { call, answer } => {
                    if let Some(sender) = self.life.calls.remove(&call) {
                        drop(sender.send(answer));
                    }
                }
                Action::SetTimer(at) => self.life.timer = at,
                Action::Discard => step = Step::NewLife,
                Action::Note(note) => notes::note_down(slot, note),
            }
        }
        step
    }

    fn append(&mut self, slot: &Arc<Slot>, append: Append) {
        self.undecided_appends = self.undecided_appends.saturating_add(1);
        for entry in &append.entries {
            match entry {
                // What was before counts no more.
                Entry::Deleted | Entry::Recreated => self.growth = Growth::default(),
                Entry::Restored => self.life.restored = Some(append.last()),
                Entry::Ready(_) | Entry::Pending(_) | Entry::Created => {}
            }
        }
        self.growth.add(append.entries.len(), append.bytes());
        slot.shared().stats.appended(&append);
        let generation = self.life.generation;
        let last = append.last();
        let room = slot.name().clone();
        let slot = Arc::clone(slot);
        let log = Arc::clone(&slot.shared().log);
        log.append(AppendRequest {
            room,
            generation,
            append,
            done: AppendDone(Box::new(move |result| {
                let outcome = match result {
                    Ok(seq) => Outcome::Durable(seq),
                    Err(_) => Outcome::AppendFailed(last),
                };
                slot.answer(Control::Of(generation, outcome));
            })),
        });
    }

    fn load_if_wanted(&mut self, slot: &Arc<Slot>) {
        if self.life.load != LoadState::Wanted || self.undecided_appends > 0 {
            return;
        }
        self.life.load = LoadState::Asked;
        let generation = self.life.generation;
        if let Some(loaded) = slot.shared().cache.take_asleep(slot.name()) {
            let outcome = Outcome::Loaded(Box::new(loaded));
            slot.tell(Control::Of(generation, outcome));
            return;
        }
        let job_slot = Arc::clone(slot);
        slot.shared().host.run(
            JobKind::State,
            Box::new(move || {
                let slot = job_slot;
                slot.tell(Control::Of(generation, jobs::load(&slot)));
            }),
        );
    }

    fn build_next_state(&mut self, slot: &Arc<Slot>) {
        let Life { room, states, .. } = &mut self.life;
        if states.is_running {
            return;
        }
        let next = loop {
            match states.waiting.pop_front() {
                Some(next) if room.wants(next.0) => break next,
                Some(_unwanted) => {}
                None => return,
            }
        };
        let (ticket, state_vector, upto) = next;
        states.is_running = true;
        let generation = self.life.generation;
        let job_slot = Arc::clone(slot);
        slot.shared().host.run(
            JobKind::State,
            Box::new(move || {
                let slot = job_slot;
                let update = jobs::build(&slot, upto, &state_vector);
                slot.tell(Control::Of(
                    generation,
                    Outcome::StateBuilt { ticket, update },
                ));
            }),
        );
    }
}

impl Life {
    fn new(shared: &Shared, name: &RoomName) -> Self {
        Self {
            generation: shared.next_generation(),
            room: Room::new(name.clone(), Arc::clone(&shared.room)),
            connections: HashMap::new(),
            calls: HashMap::new(),
            timer: None,
            load: LoadState::NotAsked,
            states: StateQueue::default(),
            restored: None,
        }
    }
}

/// How a socket is closed whose access has ended.
pub(super) fn revoked() -> CloseOrder {
    CloseOrder {
        code: CloseCode::Unauthorized,
        reason: ApiError::new(ErrorName::InvalidToken).close_reason(),
    }
}
