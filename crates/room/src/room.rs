//! `Room`: the machine behind the gate.

use std::fmt;
use std::sync::Arc;

use epicenter_identity::RoomName;

use crate::action::Action;
use crate::command::{Command, Loaded, Millis, Ticket};
use crate::config::RoomConfig;
use crate::gate::Gate;
use crate::machine::Machine;

/// What may wait for one connection behind a state that is being built: the size of an outbound queue (`sync.md` 2),
/// which is where it goes next. Over it the connection counts as a slow consumer.
const MAX_BEHIND_BYTES: usize = 8 * 1024 * 1024;

/// One room in memory. A host feeds it commands, one at a time, and carries out the actions it gets back.
pub struct Room {
    name: RoomName,
    machine: Machine,
    gate: Gate,
    discarded: bool,
}

impl Room {
    /// A room that knows nothing yet; its first input makes it ask for its log.
    pub fn new(name: RoomName, config: Arc<RoomConfig>) -> Self {
        Room {
            name,
            gate: Gate::new(MAX_BEHIND_BYTES),
            machine: Machine::new(config),
            discarded: false,
        }
    }

    /// The durable name of this room.
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    /// Feeds one command; returns what the host may do now, in order.
    pub fn handle(&mut self, command: Command, now: Millis) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.discarded || !self.is_expected(&command) {
            return actions;
        }
        let mut cannot_be_served = None;
        match command {
            Command::LoadFailed | Command::AppendFailed(_) => {
                self.fail(&mut actions);
                return actions;
            }
            Command::Loaded(loaded) if !self.machine.goes_on_with(&loaded) => {
                self.machine.note_mismatch(loaded.last);
                self.fail(&mut actions);
                return actions;
            }
            Command::Durable(seq) => {
                // Never more than was handed over: a host that counts ahead must not open the gate for later appends.
                let seq = seq.min(self.machine.last());
                self.machine.durable(seq);
                self.gate.durable(seq, &mut actions);
                self.machine.time_passed(now);
            }
            Command::StateBuilt { ticket, update } => {
                cannot_be_served = self.gate.state_built(ticket, update, &mut actions);
                self.machine.time_passed(now);
            }
            Command::Loaded(loaded) => {
                self.gate.durable(loaded.last, &mut actions);
                self.machine.loaded(loaded, now);
            }
            command => self.machine.handle(command, now),
        }
        if let Some(connection) = cannot_be_served {
            self.machine.storage_failed_for(connection);
        }
        self.pass_effects(&mut actions);
        actions
    }

    /// Whether `Open`, `Frame` and `Call` may be fed now; otherwise they wait in the host's bounded inbox
    /// (while loading, and while too many bytes wait for the disk). All other commands may be fed at any time.
    pub fn accepts_input(&self) -> bool {
        let waiting = self.machine.in_flight_bytes() + self.gate.held_bytes();
        !self.discarded
            && !self.machine.is_loading()
            && waiting < self.machine.max_in_flight_bytes()
    }

    /// No sockets, no calls, nothing held, nothing in flight: the host may drop the room.
    pub fn is_idle(&self) -> bool {
        let busy = self.machine.is_loading()
            || self.machine.in_flight_bytes() > 0
            || !self.gate.is_empty();
        self.discarded || !busy
    }

    /// Whether the document may be forgotten: sockets may be open, but nothing loads, waits for the disk, is held back,
    /// built or called over HTTP, and nobody is about to be asked for what is missing.
    pub fn can_sleep(&self) -> bool {
        !self.discarded && self.machine.can_sleep() && self.gate.is_at_rest()
    }

    /// Forgets the document, if that may be; the next input that needs it asks for the log again. Text frames, departures,
    /// the timer, revocations and the end do not.
    ///
    /// What is forgotten is what the log would say; a host that keeps it may answer the next `Load` with it.
    pub fn sleep(&mut self) -> Option<Loaded> {
        self.can_sleep().then(|| {
            self.gate.shrink();
            self.machine.sleep()
        })
    }

    /// Whether the document is in memory or being read.
    pub fn is_awake(&self) -> bool {
        self.machine.is_awake()
    }

    /// Whether anybody still waits for the state that was asked for under this ticket.
    pub fn wants(&self, ticket: Ticket) -> bool {
        self.gate.is_building(ticket)
    }

    /// States that somebody waits for: at most one for each socket and call.
    pub fn states_wanted(&self) -> usize {
        self.gate.states_being_built()
    }

    /// Open sockets.
    pub fn connections(&self) -> usize {
        self.gate.connections()
    }

    /// Storage failed: the memory of this room is void.
    fn fail(&mut self, actions: &mut Vec<Action>) {
        self.discarded = true;
        self.machine.stop_timer();
        self.pass_effects(actions);
        self.gate.fail(actions);
    }

    /// Keeps the gate's book of who is owed something; false for a command that cannot mean anything.
    fn is_expected(&mut self, command: &Command) -> bool {
        match command {
            Command::Open { connection, .. } => self.gate.connection_opened(*connection),
            Command::Call { call, .. } => self.gate.call_opened(*call),
            Command::Disconnected { connection, .. } => {
                self.gate.connection_gone(*connection);
                true
            }
            Command::HangUp { call } => {
                self.gate.call_gone(*call);
                true
            }
            Command::Loaded(_) | Command::LoadFailed => self.machine.is_loading(),
            Command::AppendFailed(_) => self.machine.in_flight_bytes() > 0,
            _ => true,
        }
    }

    fn pass_effects(&mut self, actions: &mut Vec<Action>) {
        loop {
            for effect in self.machine.take_effects() {
                self.gate.admit(effect, actions);
            }
            match self.gate.take_overflowed() {
                Some(connection) => self.machine.too_slow(connection),
                None => break,
            }
        }
    }
}

/// Names and counts only: document bytes stay out of logs.
impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("name", &self.name)
            .field("connections", &self.gate.connections())
            .field("last", &self.machine.last())
            .finish_non_exhaustive()
    }
}
