//! The Yjs document of a room, without its content: what is known, what waits, and who is asked for what is missing
//! (`sync.md` 2 to 3, `update.md` Gaps).
//!
//! An update is checked, split against what the room knows, appended and fanned out as bytes. The only document bytes
//! kept are those of pending structs, as one merged update.

use std::collections::BTreeSet;

use bytes::Bytes;
use epicenter_sync::{CloseCode, Frame, FrameError, encode_step1, encode_update};
use epicenter_update::{
    ClientId, DeleteSet, Limits, Ready, StateVector, Update, UpdateError, ingest, merge_bytes,
    snapshot_tag,
};

use super::calls::limit_of;
use super::{Machine, Noted};
use crate::action::{Entry, Note, Outgoing, Tag};
use crate::command::{ConnectionId, Loaded, RoomStatus};
use crate::reason;
use crate::schedule::Deadline;

/// What a room knows of its document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) status: RoomStatus,
    /// Of ready structs only.
    pub(super) state_vector: StateVector,
    /// Normalised, of the ready part only.
    pub(super) deletes: DeleteSet,
    pending: Option<Pending>,
}

/// What waits for something.
#[derive(Debug)]
struct Pending {
    /// One update in the form that `merge` gives it, so that equal bytes mean nothing new.
    bytes: Bytes,
    missing: StateVector,
    /// Clients whose progress may free or cover a part of it.
    watched: BTreeSet<ClientId>,
}

/// What an update changed.
#[derive(Debug, Default)]
struct Absorbed {
    /// The part of the update that became visible.
    ready: Option<Bytes>,
    /// What had been waiting and became visible with it.
    freed: Vec<Bytes>,
    /// The part of the update that must wait.
    waiting: Option<Bytes>,
    /// Bytes that would have to wait but found no room.
    dropped: usize,
    /// Something is missing now that was not before.
    misses_more: bool,
}

impl Document {
    /// A room without content.
    pub(super) fn empty(status: RoomStatus) -> Self {
        Document {
            status,
            ..Document::default()
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The tag of what a reader gets now.
    pub(super) fn tag(&self, limits: &Limits) -> Tag {
        let pending = self.pending.as_ref();
        let pending = pending.and_then(|pending| Update::parse(&pending.bytes, limits).ok());
        Tag(snapshot_tag(
            &self.state_vector,
            &self.deletes,
            pending.as_ref(),
        ))
    }

    /// Takes in an update of a peer.
    fn absorb(
        &mut self,
        payload: &Bytes,
        limits: &Limits,
        max_pending_bytes: usize,
    ) -> Result<Absorbed, UpdateError> {
        let update = Update::parse(payload, limits)?;
        let parts = ingest(&update, &self.state_vector);
        let mut absorbed = Absorbed::default();
        if self.advance(&parts.advanced, &parts.deletes) {
            absorbed.ready = ready_bytes(parts.ready, payload);
        }
        let touches_pending = self.pending.as_ref().is_some_and(|pending| {
            parts
                .advanced
                .iter()
                .any(|(client, _)| pending.watched.contains(&client))
        });
        if parts.pending.is_some() || touches_pending {
            let waiting = parts.pending.map(Bytes::from);
            self.settle(
                waiting,
                touches_pending,
                limits,
                max_pending_bytes,
                &mut absorbed,
            );
        }
        Ok(absorbed)
    }

    /// Whether anything of this was new.
    fn advance(&mut self, clocks: &StateVector, deletes: &DeleteSet) -> bool {
        let is_new = !clocks.is_empty() || !self.deletes.contains_all(deletes);
        for (client, clock) in clocks.iter() {
            self.state_vector.advance(client, clock);
        }
        self.deletes.extend(deletes);
        is_new
    }

    /// Joins what newly waits with what is waiting, and frees what has become ready.
    fn settle(
        &mut self,
        waiting: Option<Bytes>,
        touched: bool,
        limits: &Limits,
        max_pending_bytes: usize,
        absorbed: &mut Absorbed,
    ) {
        let held = self.pending.take();
        let joined = match (&held, &waiting) {
            (Some(held), None) => Some(held.bytes.clone()),
            (held, Some(waiting)) => {
                let held = held.as_ref().map(|held| &held.bytes);
                join(held.into_iter().chain([waiting]), limits)
            }
            (None, None) => None,
        };
        let adds_nothing = match (&held, &joined) {
            (Some(held), Some(joined)) => held.bytes == *joined,
            _ => false,
        };
        if adds_nothing && !touched {
            self.pending = held;
            return;
        }
        let asked_before = held
            .as_ref()
            .map(|held| held.missing.clone())
            .unwrap_or_default();
        let mut rest = joined
            .as_ref()
            .and_then(|joined| self.examine(joined, limits, &mut absorbed.freed));
        let is_too_much = joined.is_none()
            || rest
                .as_ref()
                .is_some_and(|rest| rest.bytes.len() > max_pending_bytes);
        match waiting {
            Some(waiting) if is_too_much && !adds_nothing => {
                absorbed.dropped = waiting.len();
                rest = held.and_then(|held| self.examine(&held.bytes, limits, &mut absorbed.freed));
            }
            Some(waiting) if rest.is_some() && !adds_nothing => absorbed.waiting = Some(waiting),
            _ => {}
        }
        absorbed.misses_more = rest
            .as_ref()
            .is_some_and(|rest| !asked_before.covers(&rest.missing));
        self.pending = rest;
    }

    /// Takes what is ready out of an update that was waiting; returns what still has to wait.
    fn examine(
        &mut self,
        waiting: &Bytes,
        limits: &Limits,
        freed: &mut Vec<Bytes>,
    ) -> Option<Pending> {
        let update = Update::parse(waiting, limits).ok()?;
        let parts = ingest(&update, &self.state_vector);
        if self.advance(&parts.advanced, &parts.deletes) {
            freed.extend(ready_bytes(parts.ready, waiting));
        }
        let rest = Bytes::from(parts.pending?);
        let bytes = join([&rest], limits)?;
        let summary = Update::parse(&bytes, limits).ok()?.summary();
        let watched = summary
            .structs
            .keys()
            .copied()
            .chain(summary.deletes.iter().map(|(client, _)| client))
            .chain(parts.missing.iter().map(|(client, _)| client))
            .collect();
        Some(Pending {
            bytes,
            missing: parts.missing,
            watched,
        })
    }
}

/// Merges updates; None if the result is more than the limits allow.
fn join<'a>(updates: impl IntoIterator<Item = &'a Bytes>, limits: &Limits) -> Option<Bytes> {
    let updates: Vec<&Bytes> = updates.into_iter().collect();
    let merged = Bytes::from(merge_bytes(&updates, limits).ok()?);
    Update::parse(&merged, limits).is_ok().then_some(merged)
}

fn ready_bytes(ready: Ready, whole: &Bytes) -> Option<Bytes> {
    match ready {
        Ready::Nothing => None,
        Ready::Whole => Some(whole.clone()),
        Ready::Part(part) => Some(Bytes::from(part)),
    }
}

impl Machine {
    /// Takes over what the log holds. Pending rows that are ready after all become part of the document.
    pub(super) fn take_over(&mut self, loaded: Loaded) {
        self.document = Document {
            status: loaded.status,
            state_vector: loaded.state_vector,
            deletes: loaded.deletes,
            pending: None,
        };
        let Some(pending) = loaded.pending else {
            return;
        };
        let mut absorbed = Absorbed::default();
        // What is stored stays, whatever the limit is today.
        self.document.settle(
            Some(pending),
            true,
            &self.config.limits,
            usize::MAX,
            &mut absorbed,
        );
        if absorbed.dropped > 0 {
            self.out.note(Note::PendingDropped {
                bytes: absorbed.dropped,
            });
        }
        self.out
            .append(absorbed.freed.into_iter().map(Entry::Ready).collect());
    }

    pub(super) fn binary_frame(&mut self, id: ConnectionId, message: &Bytes) {
        match Frame::parse(message) {
            Ok(Frame::Step1(state_vector)) => {
                match StateVector::decode(&state_vector, &self.config.limits) {
                    Ok(state_vector) => self.out.send_state(id, state_vector),
                    Err(_) => self.note_dropped(id, Noted::STATE_VECTOR, "state vector"),
                }
            }
            Ok(Frame::Step2(update) | Frame::Update(update)) => self.update_frame(id, &update),
            Err(FrameError::UnknownSubtype(_)) => {
                self.note_dropped(id, Noted::FRAME, "frame of an unknown subtype");
            }
            Err(_) => self.note_dropped(id, Noted::FRAME, "frame"),
        }
    }

    fn update_frame(&mut self, id: ConnectionId, update: &Bytes) {
        match self.take_update(Some(id), update) {
            Ok(0) => {}
            Ok(dropped) => {
                if let Some(connection) = self.connections.get_mut(&id)
                    && connection.noted.first(Noted::PENDING)
                {
                    self.out.note(Note::PendingDropped { bytes: dropped });
                }
            }
            Err(UpdateError::Malformed { .. }) => self.note_dropped(id, Noted::UPDATE, "update"),
            Err(error) => {
                let reason = error.to_string();
                let close_reason = reason::update_refused(&reason, limit_of(&error));
                self.out.note(Note::UpdateRefused {
                    reason,
                    bytes: update.len(),
                });
                self.close(id, CloseCode::UpdateRefused, &close_reason);
            }
        }
    }

    /// Stores what an update brings and passes it on; returns how many bytes had to be dropped.
    pub(super) fn take_update(
        &mut self,
        origin: Option<ConnectionId>,
        update: &Bytes,
    ) -> Result<usize, UpdateError> {
        let limits = &self.config.limits;
        let absorbed = self
            .document
            .absorb(update, limits, self.config.max_pending_bytes)?;
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
}
