//! Sync frames: updates of peers are checked, stored and passed on, and whoever sent what cannot be placed is asked for
//! what is missing (`sync.md` 2 to 3, `update.md` Gaps).
//!
//! A connection that asked for it hears what became of its updates (`sync.md` 3.5): each of its frames of subtype 1 or 2
//! gets a number, and is settled by a count that goes out when everything before it is durable.

use bytes::Bytes;
use epicenter_sync::{
    CloseCode, Frame, FrameError, carries_update, encode_refused, encode_step1, encode_update,
};
use epicenter_update::{StateVector, UpdateError};

use super::document::{Rejection, Room};
use super::{Machine, Noted};
use crate::action::{Author, Entry, Note, Outgoing};
use crate::command::{ConnectionId, RoomStatus, StorageFull, StorageScope};
use crate::effect::Close;
use crate::reason;
use crate::schedule::Deadline;

/// Reasons in `refused` frames and notes, beside the names of limits.
const MALFORMED: &str = "malformed";
pub(super) const PENDING_LIMIT: &str = "pending-limit";
pub(super) const QUOTA: &str = "quota";

impl Machine {
    pub(super) fn binary_frame(&mut self, id: ConnectionId, message: &Bytes) {
        match Frame::parse(message) {
            Ok(Frame::Step1(state_vector)) => {
                let bytes = state_vector.len();
                match StateVector::decode(&state_vector, &self.config.limits) {
                    Ok(state_vector) => self.out.send_state(id, state_vector),
                    Err(UpdateError::Malformed { .. }) => {
                        self.note_dropped(id, Noted::STATE_VECTOR, "state vector");
                    }
                    // Dropped, it would leave a client without an answer that documents would have understood.
                    Err(error) => self.refuse_frame(id, &error, bytes, None),
                }
            }
            Ok(Frame::Step2(update)) => {
                if self.update_frame(id, &update) {
                    self.note_accepted(id);
                }
            }
            Ok(Frame::Update(update)) => {
                self.update_frame(id, &update);
            }
            Err(FrameError::UnknownSubtype(_)) => {
                self.note_dropped(id, Noted::FRAME, "frame of an unknown subtype");
            }
            Err(_) => {
                self.note_dropped(id, Noted::FRAME, "frame");
                if carries_update(message) {
                    self.count_update(id);
                    self.report_refused(id, MALFORMED);
                    self.report_saved(id);
                }
            }
        }
    }

    /// A frame that came before its socket was closed, and can be looked at only now.
    pub(super) fn orphan_frame(&mut self, message: &Bytes) {
        if let Ok(Frame::Step2(update) | Frame::Update(update)) = Frame::parse(message)
            && self.document.status == RoomStatus::Live
        {
            // Nobody is left to be told of a refusal, and whoever sent it will send it again.
            let _unheard = self.take_update(None, &update);
        }
    }

    /// Whether all of the update was taken in.
    fn update_frame(&mut self, id: ConnectionId, update: &Bytes) -> bool {
        self.count_update(id);
        let mut is_whole = false;
        match self.take_update(Some(id), update) {
            Ok(0) => is_whole = true,
            Ok(dropped) => {
                self.report_refused(id, PENDING_LIMIT);
                self.note_pending_dropped(id, dropped);
            }
            Err(Rejection::Update(UpdateError::Malformed { .. })) => {
                self.report_refused(id, MALFORMED);
                self.note_dropped(id, Noted::UPDATE, "update");
            }
            Err(Rejection::Update(error)) => {
                let last_words = self.refused(id, limit_of(&error));
                self.refuse_frame(id, &error, update.len(), last_words);
            }
            Err(Rejection::Full(full)) => {
                self.note_refused(id, QUOTA.to_owned(), QUOTA, update.len());
                // That something is new here depends on what others may have sent just before.
                self.close_when_durable(Close {
                    connection: id,
                    code: CloseCode::TryAgainLater,
                    reason: reason::quota_exceeded(&full),
                    last_words: self.refused(id, QUOTA),
                });
                self.forget_closed(id, CloseCode::TryAgainLater);
            }
        }
        self.report_saved(id);
        is_whole
    }

    /// Closes a socket for what is wrong with its frame, which its sender can know from its own bytes.
    fn refuse_frame(
        &mut self,
        id: ConnectionId,
        error: &UpdateError,
        bytes: usize,
        last_words: Option<Bytes>,
    ) {
        let (words, limit) = (error.to_string(), limit_of(error));
        let reason = reason::update_refused(&words, limit);
        self.note_refused(id, words, limit, bytes);
        self.out.close_now_with(Close {
            connection: id,
            code: CloseCode::UpdateRefused,
            reason,
            last_words,
        });
        self.forget_closed(id, CloseCode::UpdateRefused);
    }

    /// Stores what an update brings and passes it on; returns how many bytes had to be dropped.
    pub(super) fn take_update(
        &mut self,
        origin: Option<ConnectionId>,
        update: &Bytes,
    ) -> Result<usize, Rejection> {
        let room = Room {
            limits: &self.config.limits,
            max_pending_bytes: self.config.max_pending_bytes,
            full: self.full_for_updates(),
        };
        let absorbed = self.document.absorb(update, room)?;
        let visible = absorbed.ready.iter().chain(&absorbed.freed);
        let mut entries: Vec<Entry> = visible.cloned().map(Entry::Ready).collect();
        entries.extend(absorbed.waiting.map(Entry::Pending));
        if !entries.is_empty() && self.document.status == RoomStatus::Absent {
            self.document.status = RoomStatus::Live;
            entries.insert(0, Entry::Created);
        }
        self.out.append(entries);
        if let Some(ready) = absorbed.ready {
            self.fan_out(&ready, origin);
        }
        for freed in absorbed.freed {
            self.fan_out(&freed, None);
        }
        if let Some(origin) = origin
            && absorbed.misses_more
        {
            self.request_gap(origin);
        }
        Ok(absorbed.dropped)
    }

    /// The quota that keeps updates out which hold something new.
    fn full_for_updates(&self) -> Option<StorageFull> {
        let is_absent = self.document.status == RoomStatus::Absent;
        self.full
            .filter(|full| full.scope != StorageScope::Rooms || is_absent)
    }

    /// The quota that keeps a room from coming into being, anew or again.
    pub(super) fn full_for_rooms(&self) -> Option<StorageFull> {
        self.full.filter(|full| full.scope != StorageScope::Room)
    }

    fn fan_out(&mut self, update: &Bytes, except: Option<ConnectionId>) {
        let mut frame: Option<Bytes> = None;
        for id in self.connections.keys().filter(|id| Some(**id) != except) {
            let frame = frame.get_or_insert_with(|| encode_update(update));
            self.out.send(*id, Outgoing::Binary(frame.clone()));
        }
    }

    /// Asks a connection for what is missing, now or when it may be asked again.
    fn request_gap(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let next = connection
            .last_gap_request
            .map(|at| at.plus(self.config.gap_request_ms));
        match next {
            Some(next) if self.now < next => {
                if !self.schedule.contains(&Deadline::GapRequest(id)) {
                    self.schedule.set(Deadline::GapRequest(id), next);
                }
            }
            _ => {
                connection.last_gap_request = Some(self.now);
                self.schedule.clear(&Deadline::GapRequest(id));
                let step1 = encode_step1(&self.document.state_vector.encode());
                self.out.send(id, Outgoing::Binary(step1));
            }
        }
    }

    /// The connection may be asked again; nothing is asked if the gap was closed meanwhile.
    pub(super) fn gap_request_due(&mut self, id: ConnectionId) {
        if self.document.has_pending() {
            self.request_gap(id);
        }
    }

    /// Gives the next number to an update that a connection sent.
    fn count_update(&mut self, id: ConnectionId) {
        let reports = self.connections.get_mut(&id);
        if let Some(count) = reports.and_then(|connection| connection.updates.as_mut()) {
            *count += 1;
        }
    }

    /// What a connection that asked for it is told when its last update was not taken in, or not whole.
    fn refused(&self, id: ConnectionId, reason: &str) -> Option<Bytes> {
        let count = self.connections.get(&id)?.updates?;
        Some(Bytes::from(encode_refused(count, reason)))
    }

    fn report_refused(&mut self, id: ConnectionId, reason: &str) {
        if let Some(text) = self.refused(id, reason) {
            self.out.send(id, Outgoing::Text(text));
        }
    }

    fn report_saved(&mut self, id: ConnectionId) {
        let connection = self.connections.get(&id);
        if let Some(count) = connection.and_then(|connection| connection.updates) {
            self.out.saved(id, count);
        }
    }

    fn author(&self, id: ConnectionId) -> Option<Author> {
        let connection = self.connections.get(&id)?;
        Some(Author::Device(connection.device.clone()))
    }

    fn note_refused(
        &mut self,
        id: ConnectionId,
        reason: String,
        limit: &'static str,
        bytes: usize,
    ) {
        let by = self.author(id);
        self.out.note(Note::UpdateRefused {
            by,
            reason,
            limit,
            bytes,
        });
    }

    fn note_pending_dropped(&mut self, id: ConnectionId, bytes: usize) {
        let by = self.author(id);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.noted.forget(Noted::ACCEPTED);
        let is_first = connection.noted.first(Noted::PENDING);
        self.out.note(Note::PendingDropped {
            by,
            bytes,
            is_first,
        });
    }

    /// A step 2 holds whatever its sender has and the hub lacked: once it is taken in whole, nothing of this device is
    /// refused any more.
    fn note_accepted(&mut self, id: ConnectionId) {
        let by = self.author(id);
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.noted.first(Noted::ACCEPTED)
        {
            connection.noted.forget(Noted::PENDING);
            self.out.note(Note::UpdatesAccepted { by });
        }
    }
}

/// The stable name of the limit that an update met.
pub(super) fn limit_of(error: &UpdateError) -> &'static str {
    match error {
        UpdateError::Refused { limit, .. } => limit,
        _ => "update",
    }
}
