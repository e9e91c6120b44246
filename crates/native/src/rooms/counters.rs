//! What the rooms of a process have done, for metrics. Never by room: names of rooms and owners are not for metrics.

use std::time::Duration;

use epicenter_room::{Append, Entry, Message, Millis};
use epicenter_sync::CloseCode;

use super::compaction::Outcome;
use crate::metrics::{Count, Labelled, Times};

/// Counters of all rooms together.
#[derive(Debug)]
pub(crate) struct EngineStats {
    pub(crate) binary_frames_in: Count,
    pub(crate) text_frames_in: Count,
    pub(crate) bytes_in: Count,
    pub(crate) frames_out: Count,
    pub(crate) bytes_out: Count,
    pub(crate) updates_accepted: Count,
    /// By the limit that they met.
    pub(crate) updates_refused: Labelled<5>,
    pub(crate) pending_dropped: Count,
    /// By what could not be read.
    pub(crate) frames_dropped: Labelled<5>,
    pub(crate) protocol_errors: Count,
    pub(crate) slow_consumers: Count,
    pub(crate) closes_by_hub: Labelled<11>,
    pub(crate) closes_by_peer: Labelled<4>,
    pub(crate) sockets_lost: Count,
    /// Rooms that were closed and read again, panics and mismatches among them.
    pub(crate) restarts: Count,
    pub(crate) panics: Count,
    pub(crate) log_mismatches: Count,
    pub(crate) loads: Times,
    pub(crate) failed_loads: Count,
    pub(crate) answers: Times,
    pub(crate) failed_answers: Count,
    pub(crate) compactions: Times,
    pub(crate) compaction_outcomes: Labelled<3>,
}

impl Default for EngineStats {
    fn default() -> Self {
        Self {
            binary_frames_in: Count::default(),
            text_frames_in: Count::default(),
            bytes_in: Count::default(),
            frames_out: Count::default(),
            bytes_out: Count::default(),
            updates_accepted: Count::default(),
            updates_refused: Labelled::new([
                "max_structs",
                "max_state_vector_entries",
                "max_nesting",
                "update",
                "quota",
            ]),
            pending_dropped: Count::default(),
            frames_dropped: Labelled::new([
                "frame",
                "frame of an unknown subtype",
                "state vector",
                "update",
                "text with malformed fields",
            ]),
            protocol_errors: Count::default(),
            slow_consumers: Count::default(),
            closes_by_hub: Labelled::new([
                "1001", "1007", "1008", "1009", "1013", "4400", "4401", "4403", "4408", "4410",
                "4503",
            ]),
            closes_by_peer: Labelled::new(["none", "1000", "1001", "1005"]),
            sockets_lost: Count::default(),
            restarts: Count::default(),
            panics: Count::default(),
            log_mismatches: Count::default(),
            loads: Times::default(),
            failed_loads: Count::default(),
            answers: Times::default(),
            failed_answers: Count::default(),
            compactions: Times::default(),
            compaction_outcomes: Labelled::new(["done", "useless", "failed"]),
        }
    }
}

impl EngineStats {
    pub(super) fn frame_in(&self, message: &Message) {
        let (frames, bytes) = match message {
            Message::Binary(bytes) => (&self.binary_frames_in, bytes.len()),
            Message::Text(text) => (&self.text_frames_in, text.len()),
        };
        frames.add(1);
        self.bytes_in.add(bytes as u64);
    }

    /// What one turn has put into outboxes.
    pub(super) fn frames_out(&self, sent: Sent) {
        if sent.frames > 0 {
            self.frames_out.add(sent.frames);
            self.bytes_out.add(sent.bytes);
        }
    }

    pub(super) fn appended(&self, append: &Append) {
        let is_update = |entry: &&Entry| matches!(entry, Entry::Ready(_) | Entry::Pending(_));
        let updates = append.entries.iter().filter(is_update).count();
        self.updates_accepted.add(updates as u64);
    }

    pub(super) fn compacted(&self, outcome: &Outcome, took: Duration) {
        self.compactions.note(took);
        self.compaction_outcomes.add(match outcome {
            Outcome::Done(_) => "done",
            Outcome::Useless => "useless",
            Outcome::Failed => "failed",
        });
    }

    /// This side closes a socket.
    pub(crate) fn closed_by_hub(&self, code: CloseCode, reason: &str) {
        self.closes_by_hub.add(&code.as_u16().to_string());
        if reason == super::outbox::SLOW_CONSUMER {
            self.slow_consumers.add(1);
        }
    }

    /// The peer has closed, with this code if it sent one.
    pub(crate) fn closed_by_peer(&self, code: Option<u16>) {
        match code {
            Some(code) => self.closes_by_peer.add(&code.to_string()),
            None => self.closes_by_peer.add("none"),
        }
    }
}

/// What a turn sends, counted once at its end: a frame for a thousand sockets must not touch a shared counter a thousand
/// times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    frames: u64,
    bytes: u64,
}

impl Sent {
    pub(super) fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// The time between two readings of the host's clock.
pub(super) fn between(began: Millis, ended: Millis) -> Duration {
    Duration::from_millis(ended.0.saturating_sub(began.0))
}

/// What is in memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) rooms: usize,
    /// Of them, those with their document.
    pub(crate) awake: usize,
    /// Sockets that have joined a room.
    pub(crate) connections: usize,
    pub(crate) inbox_commands: usize,
    pub(crate) inbox_bytes: usize,
    /// The fullest inbox.
    pub(crate) deepest_inbox: usize,
    pub(crate) timers: usize,
    pub(crate) cache_bytes: usize,
}
