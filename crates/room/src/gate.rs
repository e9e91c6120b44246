//! The gate: where "durable before visible" (`sync.md` 3.1) is decided.
//!
//! The machine says what to do and after which log entry; the gate turns that into actions when they may go. It is
//! the last thing before the host, in both hosts and in every simulation.
//!
//! * `Gate::may_go` is the one comparison that keeps an effect back until its entry is durable.
//! * Effects wait in one queue and leave in order; their numbers never decrease, so looking at the front is enough.
//! * What a receiver gets after a state that is still being built waits behind it; other receivers do not.
//! * Of several counts of saved updates that become free together, each connection gets the last one.
//! * Nothing leaves for a receiver that was closed, answered or lost meanwhile.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use epicenter_sync::{CloseCode, encode_saved, encode_step2};
use epicenter_update::StateVector;

use crate::action::{Action, Answer, Outgoing, Tag};
use crate::command::{CallId, ConnectionId, Seq, Ticket};
use crate::effect::{Close, Effect, Held, Immediate};
use crate::reason;
use crate::sorted::SortedMap;

/// What a held effect costs in memory beside the bytes it does not share.
const HELD_OVERHEAD: usize = 128;

/// Holds effects until they may go.
#[derive(Debug)]
pub(crate) struct Gate {
    durable: Seq,
    held: VecDeque<(Seq, Held)>,
    held_bytes: usize,
    connections: SortedMap<ConnectionId, Option<Box<Building>>>,
    /// Calls that are owed an answer, and the state that is being built for each.
    calls: BTreeMap<CallId, Option<Ticket>>,
    tickets: BTreeMap<Ticket, Destination>,
    last_ticket: u64,
    max_behind_bytes: usize,
    overflowed: Vec<ConnectionId>,
}

/// A connection whose next message is being built, and what it gets after it.
#[derive(Debug)]
struct Building {
    ticket: Ticket,
    behind: VecDeque<Held>,
    behind_bytes: usize,
}

impl Building {
    /// Whether too much waits for this connection. One message may pass however large it is.
    fn is_full(&self, max_bytes: usize) -> bool {
        !self.behind.is_empty() && self.behind_bytes > max_bytes
    }

    fn queue(&mut self, held: Held) {
        if let (Held::Saved { .. }, Some(last @ Held::Saved { .. })) =
            (&held, self.behind.back_mut())
        {
            *last = held;
            return;
        }
        self.behind_bytes += queued_bytes(&held);
        self.behind.push_back(held);
    }
}

/// Who asked for a state.
#[derive(Clone, Copy, Debug)]
enum Destination {
    Connection(ConnectionId),
    Call(CallId, Tag),
}

impl Gate {
    pub(crate) fn new(max_behind_bytes: usize) -> Self {
        Gate {
            durable: Seq(0),
            held: VecDeque::new(),
            held_bytes: 0,
            connections: SortedMap::default(),
            calls: BTreeMap::new(),
            tickets: BTreeMap::new(),
            last_ticket: 0,
            max_behind_bytes,
            overflowed: Vec::new(),
        }
    }

    /// Whether an effect that follows this entry may be seen.
    fn may_go(&self, after: Seq) -> bool {
        after <= self.durable
    }

    /// A socket that may receive from now on; false if this id is open already.
    pub(crate) fn connection_opened(&mut self, connection: ConnectionId) -> bool {
        if self.connections.contains_key(&connection) {
            return false;
        }
        self.connections.insert(connection, None);
        true
    }

    /// A call that is owed an answer from now on; false if this id is owed one already.
    pub(crate) fn call_opened(&mut self, call: CallId) -> bool {
        match self.calls.entry(call) {
            Entry::Vacant(place) => {
                place.insert(None);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// The socket is gone; what is held for it will be dropped. False if it was not open.
    pub(crate) fn connection_gone(&mut self, connection: ConnectionId) -> bool {
        match self.connections.remove(&connection) {
            Some(Some(building)) => {
                self.tickets.remove(&building.ticket);
                true
            }
            Some(None) => true,
            None => false,
        }
    }

    /// The caller is gone or answered. False if it was not waiting.
    pub(crate) fn call_gone(&mut self, call: CallId) -> bool {
        let Some(ticket) = self.calls.remove(&call) else {
            return false;
        };
        if let Some(ticket) = ticket {
            self.tickets.remove(&ticket);
        }
        true
    }

    /// Takes one effect of the machine; effects must come in the order they were emitted.
    pub(crate) fn admit(&mut self, effect: Effect, actions: &mut Vec<Action>) {
        match effect {
            Effect::Now(effect) => self.carry_out(effect, actions),
            Effect::After(after, held) => {
                self.held_bytes += weight(&held);
                self.held.push_back((after, held));
                self.release(actions);
            }
        }
    }

    /// The log is durable up to this entry.
    pub(crate) fn durable(&mut self, seq: Seq, actions: &mut Vec<Action>) {
        self.durable = self.durable.max(seq);
        let free = self.held.partition_point(|(after, _)| self.may_go(*after));
        join_saved(self.held.range_mut(..free).map(|(_, held)| held));
        self.release(actions);
    }

    /// A state was built, or could not be. Returns the connection that cannot be served.
    pub(crate) fn state_built(
        &mut self,
        ticket: Ticket,
        update: Option<Bytes>,
        actions: &mut Vec<Action>,
    ) -> Option<ConnectionId> {
        match (self.tickets.remove(&ticket)?, update) {
            (Destination::Connection(to), Some(update)) => {
                let message = Outgoing::Binary(encode_step2(&update));
                actions.push(Action::Send { to, message });
                self.resume(to, actions);
                None
            }
            (Destination::Connection(connection), None) => Some(connection),
            (Destination::Call(call, tag), Some(update)) => {
                self.answer(call, Answer::Update { update, tag }, actions);
                None
            }
            (Destination::Call(call, _), None) => {
                self.answer(call, Answer::Unavailable, actions);
                None
            }
        }
    }

    /// Storage failed: drops everything held, closes every socket, answers every call.
    pub(crate) fn fail(&mut self, actions: &mut Vec<Action>) {
        self.end(
            CloseCode::TryAgainLater,
            reason::STORAGE,
            &Answer::Unavailable,
            actions,
        );
        self.held.clear();
        self.held_bytes = 0;
        actions.push(Action::Discard);
    }

    /// Whether anybody still waits for this state.
    pub(crate) fn is_building(&self, ticket: Ticket) -> bool {
        self.tickets.contains_key(&ticket)
    }

    pub(crate) fn states_being_built(&self) -> usize {
        self.tickets.len()
    }

    /// A connection for which too much waits behind a state that is being built.
    pub(crate) fn take_overflowed(&mut self) -> Option<ConnectionId> {
        self.overflowed.pop()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Memory that held effects use beside shared frames.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Nobody is owed anything and nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.calls.is_empty() && self.held.is_empty()
    }

    /// Nothing is held, built or owed over HTTP; sockets may be open.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.held.is_empty() && self.tickets.is_empty() && self.calls.is_empty()
    }

    /// Gives back the memory of what is empty.
    pub(crate) fn shrink(&mut self) {
        self.held.shrink_to_fit();
        self.overflowed.shrink_to_fit();
        if self.calls.is_empty() {
            self.calls = BTreeMap::new();
        }
        if self.tickets.is_empty() {
            self.tickets = BTreeMap::new();
        }
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        while let Some((after, _)) = self.held.front() {
            if !self.may_go(*after) {
                break;
            }
            let Some((_, held)) = self.held.pop_front() else {
                break;
            };
            self.held_bytes -= weight(&held);
            self.deliver(held, actions);
        }
    }

    fn carry_out(&mut self, effect: Immediate, actions: &mut Vec<Action>) {
        match effect {
            Immediate::Load => actions.push(Action::Load),
            Immediate::Append(append) => actions.push(Action::Append(append)),
            Immediate::SetTimer(at) => actions.push(Action::SetTimer(at)),
            Immediate::Note(note) => actions.push(Action::Note(note)),
            Immediate::Close(close) => self.close(close, actions),
            Immediate::GoAway => {
                self.end(
                    CloseCode::GoingAway,
                    reason::GOING_AWAY,
                    &Answer::GoingAway,
                    actions,
                );
            }
        }
    }

    /// Carries out what is durable, unless it has to wait behind a state or nobody waits for it any more.
    fn deliver(&mut self, held: Held, actions: &mut Vec<Action>) {
        match held {
            Held::Close(close) => self.close(close, actions),
            Held::Saved {
                is_joined: true, ..
            } => {}
            Held::Answer { call, answer } => self.answer(call, answer, actions),
            Held::AnswerState {
                call,
                tag,
                state_vector,
                upto,
            } => {
                if self.calls.contains_key(&call) {
                    let to = Destination::Call(call, tag);
                    let ticket = self.build(to, state_vector, upto, actions);
                    self.calls.insert(call, Some(ticket));
                }
            }
            Held::Send { to, .. } | Held::SendState { to, .. } | Held::Saved { to, .. } => {
                match self.connections.get_mut(&to) {
                    Some(Some(building)) => {
                        if building.is_full(self.max_behind_bytes) {
                            self.overflowed.push(to);
                        } else {
                            building.queue(held);
                        }
                    }
                    Some(None) => self.send(held, actions),
                    None => {}
                }
            }
        }
    }

    /// Sends to a connection that waits for nothing.
    fn send(&mut self, held: Held, actions: &mut Vec<Action>) {
        match held {
            Held::SendState {
                to,
                state_vector,
                upto,
            } => {
                let ticket = self.build(Destination::Connection(to), state_vector, upto, actions);
                let building = Building {
                    ticket,
                    behind: VecDeque::new(),
                    behind_bytes: 0,
                };
                self.connections.insert(to, Some(Box::new(building)));
            }
            Held::Send { to, message } => actions.push(Action::Send { to, message }),
            Held::Saved { to, count, .. } => {
                let message = Outgoing::Text(Bytes::from(encode_saved(count)));
                actions.push(Action::Send { to, message });
            }
            Held::Close(_) | Held::Answer { .. } | Held::AnswerState { .. } => {}
        }
    }

    /// Sends what waited behind a state, up to the next state that must be built.
    fn resume(&mut self, connection: ConnectionId, actions: &mut Vec<Action>) {
        let Some(mut building) = self.connections.get_mut(&connection).and_then(Option::take)
        else {
            return;
        };
        join_saved(building.behind.iter_mut());
        for held in building.behind {
            self.deliver(held, actions);
        }
    }

    fn build(
        &mut self,
        destination: Destination,
        state_vector: StateVector,
        upto: Seq,
        actions: &mut Vec<Action>,
    ) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, destination);
        actions.push(Action::BuildState {
            ticket,
            state_vector,
            upto,
        });
        ticket
    }

    fn close(&mut self, close: Close, actions: &mut Vec<Action>) {
        let Close {
            connection,
            code,
            reason,
            last_words,
        } = close;
        if !self.connection_gone(connection) {
            return;
        }
        if let Some(text) = last_words {
            let message = Outgoing::Text(text);
            actions.push(Action::Send {
                to: connection,
                message,
            });
        }
        actions.push(Action::Close {
            connection,
            code,
            reason,
        });
    }

    fn answer(&mut self, call: CallId, answer: Answer, actions: &mut Vec<Action>) {
        if self.call_gone(call) {
            actions.push(Action::Answer { call, answer });
        }
    }

    fn end(&mut self, code: CloseCode, reason: &str, answer: &Answer, actions: &mut Vec<Action>) {
        for connection in std::mem::take(&mut self.connections).into_keys() {
            actions.push(Action::Close {
                connection,
                code,
                reason: reason.to_owned(),
            });
        }
        for call in std::mem::take(&mut self.calls).into_keys() {
            actions.push(Action::Answer {
                call,
                answer: answer.clone(),
            });
        }
        self.tickets.clear();
        self.overflowed.clear();
    }
}

/// Of the counts that become free together, the last one of a connection says it all. One behind a state that has yet to
/// be built is not free with those before it.
fn join_saved<'a>(free: impl DoubleEndedIterator<Item = &'a mut Held>) {
    let mut told = BTreeSet::new();
    for held in free.rev() {
        match held {
            Held::Saved { to, is_joined, .. } => *is_joined = !told.insert(*to),
            Held::SendState { to, .. } => {
                told.remove(to);
            }
            _ => {}
        }
    }
}

/// Memory of a held effect. The bytes of binary frames are shared with the append and the other receivers.
fn weight(held: &Held) -> usize {
    HELD_OVERHEAD
        + match held {
            Held::Send {
                message: Outgoing::Text(text),
                ..
            } => text.len(),
            Held::SendState { state_vector, .. } | Held::AnswerState { state_vector, .. } => {
                state_vector_bytes(state_vector)
            }
            Held::Send { .. } | Held::Saved { .. } | Held::Close(_) | Held::Answer { .. } => 0,
        }
}

/// What waits for one connection counts in full: it is on its way to that connection's outbound queue.
fn queued_bytes(held: &Held) -> usize {
    HELD_OVERHEAD
        + match held {
            Held::Send { message, .. } => message.bytes().len(),
            Held::SendState { state_vector, .. } => state_vector_bytes(state_vector),
            Held::Saved { .. }
            | Held::Close(_)
            | Held::Answer { .. }
            | Held::AnswerState { .. } => 0,
        }
}

fn state_vector_bytes(state_vector: &StateVector) -> usize {
    state_vector.len() * 16
}

#[cfg(test)]
mod tests;
