//! The Yjs document of a room, without its content: what is known and what waits (`update.md` Gaps).
//!
//! An update is checked and split against what the room knows. The only document bytes kept are those of pending structs,
//! as one merged update.

use std::collections::BTreeSet;

use bytes::Bytes;
use epicenter_update::{
    ClientId, DeleteSet, Limits, Ready, StateVector, Update, UpdateError, ingest, merge_bytes,
    snapshot_tag,
};

use super::Machine;
use crate::action::{Entry, Note, Tag};
use crate::command::{Loaded, RoomStatus, Seq, StorageFull};

/// What waits was accepted under the limits of its day; looking at it again knows none.
const STORED: Limits = Limits {
    max_structs: u32::MAX,
    max_state_vector_entries: u32::MAX,
    max_nesting: u32::MAX,
};

/// What a room knows of its document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) status: RoomStatus,
    /// Of a deleted room: its content is gone for good.
    pub(super) is_purged: bool,
    /// Of ready structs only.
    pub(super) state_vector: StateVector,
    /// Normalised, of the ready part only.
    pub(super) deletes: DeleteSet,
    pending: Option<Box<Pending>>,
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
pub(super) struct Absorbed {
    /// The part of the update that became visible.
    pub(super) ready: Option<Bytes>,
    /// What had been waiting and became visible with it.
    pub(super) freed: Vec<Bytes>,
    /// The part of the update that must wait.
    pub(super) waiting: Option<Bytes>,
    /// Bytes that would have to wait but found no room.
    pub(super) dropped: usize,
    /// Something is missing now that was not before.
    pub(super) misses_more: bool,
}

/// What a document may take in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) limits: &'a Limits,
    pub(super) max_pending_bytes: usize,
    /// The quota that is used up: only what repeats or deletes is taken.
    pub(super) full: Option<StorageFull>,
}

/// Why an update was not taken in; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// It cannot be read, or meets a limit.
    Update(UpdateError),
    /// It holds something new and there is no room for that.
    Full(StorageFull),
}

impl From<UpdateError> for Rejection {
    fn from(error: UpdateError) -> Self {
        Rejection::Update(error)
    }
}

impl Document {
    /// A room without content.
    pub(super) fn empty(status: RoomStatus) -> Self {
        Document {
            status,
            ..Document::default()
        }
    }

    /// What the log would say, if it ends with this entry.
    pub(super) fn given_away(self, last: Seq) -> Loaded {
        Loaded {
            status: self.status,
            last,
            state_vector: self.state_vector,
            deletes: self.deletes,
            pending: self.pending.map(|pending| pending.bytes),
            is_purged: self.is_purged,
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The tag of what a reader gets now.
    pub(super) fn tag(&self) -> Tag {
        let pending = self.pending.as_ref();
        let pending = pending.and_then(|pending| Update::parse(&pending.bytes, &STORED).ok());
        Tag(snapshot_tag(
            &self.state_vector,
            &self.deletes,
            pending.as_ref(),
        ))
    }

    /// Takes in an update of a peer.
    pub(super) fn absorb(
        &mut self,
        payload: &Bytes,
        room: Room<'_>,
    ) -> Result<Absorbed, Rejection> {
        let limits = room.limits;
        let update = Update::parse(payload, limits)?;
        let parts = ingest(&update, &self.state_vector);
        let waiting = parts.pending.map(Bytes::from);
        if let Some(full) = room.full {
            let is_new = |waiting| self.would_wait_longer(waiting);
            if !parts.advanced.is_empty() || waiting.as_ref().is_some_and(is_new) {
                return Err(Rejection::Full(full));
            }
        }
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
        if waiting.is_some() || touches_pending {
            self.settle(
                waiting,
                touches_pending,
                limits,
                room.max_pending_bytes,
                &mut absorbed,
            );
        }
        Ok(absorbed)
    }

    /// Whether this would add to what waits already.
    fn would_wait_longer(&self, waiting: &Bytes) -> bool {
        let held = self.pending.as_ref().map(|held| &held.bytes);
        held.is_none_or(|held| join([held, waiting]).as_ref() != Some(held))
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

    /// Joins what newly waits with what is waiting, and frees what has become ready. What newly waits is dropped if all that
    /// would wait then is beyond a limit; what is waiting stays.
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
                join(held.into_iter().chain([waiting]))
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
            .and_then(|joined| self.examine(joined, &mut absorbed.freed));
        let is_too_much = joined.is_none()
            || rest.as_ref().is_some_and(|rest| {
                rest.bytes.len() > max_pending_bytes || Update::parse(&rest.bytes, limits).is_err()
            });
        match waiting {
            Some(waiting) if is_too_much && !adds_nothing => {
                absorbed.dropped = waiting.len();
                rest = held.and_then(|held| self.examine(&held.bytes, &mut absorbed.freed));
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
    fn examine(&mut self, waiting: &Bytes, freed: &mut Vec<Bytes>) -> Option<Box<Pending>> {
        let update = Update::parse(waiting, &STORED).ok()?;
        let parts = ingest(&update, &self.state_vector);
        if self.advance(&parts.advanced, &parts.deletes) {
            freed.extend(ready_bytes(parts.ready, waiting));
        }
        let rest = Bytes::from(parts.pending?);
        let bytes = join([&rest])?;
        let summary = Update::parse(&bytes, &STORED).ok()?.summary();
        let watched = summary
            .structs
            .keys()
            .copied()
            .chain(summary.deletes.iter().map(|(client, _)| client))
            .chain(parts.missing.iter().map(|(client, _)| client))
            .collect();
        Some(Box::new(Pending {
            bytes,
            missing: parts.missing,
            watched,
        }))
    }
}

/// Merges updates; None if one of them is none.
fn join<'a>(updates: impl IntoIterator<Item = &'a Bytes>) -> Option<Bytes> {
    let updates: Vec<&Bytes> = updates.into_iter().collect();
    merge_bytes(&updates, &STORED).ok().map(Bytes::from)
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
            is_purged: loaded.is_purged,
            state_vector: loaded.state_vector,
            deletes: loaded.deletes,
            pending: None,
        };
        let Some(pending) = loaded.pending else {
            return;
        };
        let mut absorbed = Absorbed::default();
        // What is stored stays, whatever the limit is today.
        self.document
            .settle(Some(pending), true, &STORED, usize::MAX, &mut absorbed);
        if absorbed.dropped > 0 {
            self.out.note(Note::PendingDropped {
                by: None,
                bytes: absorbed.dropped,
                is_first: true,
            });
        }
        self.out
            .append(absorbed.freed.into_iter().map(Entry::Ready).collect());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::RoomConfig;

    /// `meta.a = 1`, by a client at a clock; laid out as in `tests/it/yjs.rs`.
    fn set(client: u8, clock: u8) -> Bytes {
        let mut update = vec![0, 0, 1, client, 0, 0, 1, 0x28];
        update.extend([8, 5, b'm', b'e', b't', b'a', b'a', 4, 1]);
        update.extend([1, 1, 0, 1, 1, 1, 1, clock, 0x7d, 1, 0]);
        Bytes::from(update)
    }

    #[test]
    fn what_is_stored_waits_whatever_the_limit_is_today() {
        let limits = Limits {
            max_structs: 1,
            ..Limits::default()
        };
        let config = RoomConfig {
            limits: limits.clone(),
            ..RoomConfig::default()
        };
        let (eight, nine) = (set(8, 1), set(9, 1));
        let stored = join([&eight, &nine]).unwrap();
        assert!(Update::parse(&stored, &limits).is_err());
        let mut machine = Machine::new(Arc::new(config));
        machine.take_over(Loaded {
            status: RoomStatus::Live,
            last: Seq(3),
            state_vector: StateVector::default(),
            deletes: DeleteSet::default(),
            pending: Some(stored),
            is_purged: false,
        });
        let mut absorb = |update: &Bytes| {
            let room = Room {
                limits: &limits,
                max_pending_bytes: usize::MAX,
                full: None,
            };
            machine.document.absorb(update, room).unwrap()
        };
        assert_eq!(absorb(&nine).dropped, 0, "it waits already");
        assert!(
            absorb(&set(7, 1)).dropped > 0,
            "the limit is for what comes"
        );
        assert_eq!(absorb(&set(9, 0)).freed, [nine]);
        assert_eq!(absorb(&set(8, 0)).freed, [eight]);
        assert!(!machine.document.has_pending());
    }
}
