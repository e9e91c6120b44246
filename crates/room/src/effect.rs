//! What the machine emits: actions with the rule of when each may go.
//!
//! Only two things exist: what never waits (`Immediate`: it carries no document data) and what waits for the last
//! append before it (`Held`). The outbox stamps the second kind itself, so no part of the machine can forget to.

use std::collections::VecDeque;

use bytes::Bytes;
use epicenter_sync::CloseCode;
use epicenter_update::StateVector;

use crate::action::{Answer, Append, Entry, Note, Outgoing, Tag};
use crate::command::{CallId, ConnectionId, Millis, Seq};

/// What an append costs in memory beside its bytes.
const APPEND_OVERHEAD: usize = 64;

/// One decision of the machine.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Goes at once.
    Now(Immediate),
    /// Goes when the log is durable up to this entry. These numbers never decrease from one effect to the next.
    After(Seq, Held),
}

/// What carries no document data. A stalled disk must not keep a revoked socket open.
#[derive(Debug)]
pub(crate) enum Immediate {
    Load,
    Append(Append),
    Close(Close),
    /// Every socket is closed with 1001 and every call answered.
    GoAway,
    SetTimer(Option<Millis>),
    Note(Note),
}

/// The end of a socket.
#[derive(Debug)]
pub(crate) struct Close {
    pub(crate) connection: ConnectionId,
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    /// A text that the socket gets before, ahead of whatever is held for it.
    pub(crate) last_words: Option<Bytes>,
}

/// What could show something of the document to somebody.
#[derive(Debug)]
pub(crate) enum Held {
    Send {
        to: ConnectionId,
        message: Outgoing,
    },
    /// A step2 with what the receiver lacks.
    SendState {
        to: ConnectionId,
        state_vector: StateVector,
        upto: Seq,
    },
    /// The first so many updates of a connection are settled.
    Saved {
        to: ConnectionId,
        count: u64,
        /// A later count goes out at the same time and says it too.
        is_joined: bool,
    },
    Close(Close),
    Answer {
        call: CallId,
        answer: Answer,
    },
    /// `Answer::Update` with what the caller lacks.
    AnswerState {
        call: CallId,
        tag: Tag,
        state_vector: StateVector,
        upto: Seq,
    },
}

/// The effects of one command, in order, and the bytes that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    last: Seq,
    effects: Vec<Effect>,
    in_flight: VecDeque<(Seq, usize)>,
    in_flight_bytes: usize,
}

impl Outbox {
    /// The log ends here.
    pub(crate) fn start_at(&mut self, last: Seq) {
        self.last = last;
    }

    /// Number of the last entry handed to the log.
    pub(crate) fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The log is durable up to this entry.
    pub(crate) fn durable(&mut self, seq: Seq) {
        while let Some((last, bytes)) = self.in_flight.front().copied() {
            if last > seq {
                break;
            }
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
        }
    }

    /// Gives back the memory of what is empty.
    pub(crate) fn shrink(&mut self) {
        self.effects.shrink_to_fit();
        self.in_flight.shrink_to_fit();
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let append = Append {
            first: Seq(self.last.0 + 1),
            entries,
        };
        let bytes = append.bytes() + APPEND_OVERHEAD;
        self.last = append.last();
        self.in_flight.push_back((self.last, bytes));
        self.in_flight_bytes += bytes;
        self.now(Immediate::Append(append));
    }

    pub(crate) fn load(&mut self) {
        self.now(Immediate::Load);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.now(Immediate::Note(note));
    }

    pub(crate) fn set_timer(&mut self, at: Option<Millis>) {
        self.now(Immediate::SetTimer(at));
    }

    pub(crate) fn go_away(&mut self) {
        self.now(Immediate::GoAway);
    }

    /// Closes without regard to the disk: revocation, shutdown, limits, lifetime, broken protocol.
    pub(crate) fn close_now(&mut self, connection: ConnectionId, code: CloseCode, reason: String) {
        self.now(Immediate::Close(Close {
            connection,
            code,
            reason,
            last_words: None,
        }));
    }

    /// The same, with a text before it that shows nothing of the document.
    pub(crate) fn close_now_with(&mut self, close: Close) {
        self.now(Immediate::Close(close));
    }

    /// Closes once the entry that is the reason for it is durable.
    pub(crate) fn close_held(&mut self, close: Close) {
        self.held(Held::Close(close));
    }

    /// Everything that was said of these updates, and whatever they repeat, is on disk when this goes.
    pub(crate) fn saved(&mut self, to: ConnectionId, count: u64) {
        self.held(Held::Saved {
            to,
            count,
            is_joined: false,
        });
    }

    pub(crate) fn send(&mut self, to: ConnectionId, message: Outgoing) {
        self.held(Held::Send { to, message });
    }

    pub(crate) fn send_state(&mut self, to: ConnectionId, state_vector: StateVector) {
        self.held(Held::SendState {
            to,
            state_vector,
            upto: self.last,
        });
    }

    pub(crate) fn answer(&mut self, call: CallId, answer: Answer) {
        self.held(Held::Answer { call, answer });
    }

    pub(crate) fn answer_state(&mut self, call: CallId, tag: Tag, state_vector: StateVector) {
        self.held(Held::AnswerState {
            call,
            tag,
            state_vector,
            upto: self.last,
        });
    }

    fn now(&mut self, effect: Immediate) {
        self.effects.push(Effect::Now(effect));
    }

    fn held(&mut self, effect: Held) {
        self.effects.push(Effect::After(self.last, effect));
    }
}
