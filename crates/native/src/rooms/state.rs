//! Merged states: what a room's log amounts to, built off the room's task.
//!
//! The log holds one row per accepted update. A handshake, a snapshot or an HTTP answer wants their merge. The merge of
//! the rows read so far is kept in the cache, so that each of these costs the new rows and one pass over the document. `Ready` rows alone are the visible document; what is pending is laid over it, and never replaces a
//! clock that the ready rows hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Loaded, Seq};
use epicenter_update::{
    EMPTY_UPDATE, Limits, Ready, StateVector, Update, UpdateError, diff, ingest, merge_bytes,
};

use crate::log::{Log, ReadError, StoredRoom};

/// Everything in the log was accepted under the limits of its day; reading it back knows none.
pub(super) const STORED: Limits = Limits {
    max_structs: u32::MAX,
    max_state_vector_entries: u32::MAX,
    max_nesting: u32::MAX,
};

/// Why a state could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    #[error("a stored update does not parse")]
    Stored(#[from] UpdateError),
    /// The panic hook has written message and place.
    #[error("building the state panicked")]
    Panicked,
}

/// Turns a panic into an error: the room waits for an answer.
pub(super) fn caught<T>(job: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or(Err(StateError::Panicked))
}

/// The merge of a room's log up to an entry.
#[derive(Debug)]
pub(super) struct MergedState {
    upto: Seq,
    ready: Bytes,
    pending: Option<Bytes>,
}

impl MergedState {
    /// A state without content, before the first entry.
    pub(super) fn empty() -> Self {
        Self {
            upto: Seq(0),
            ready: Bytes::from_static(&EMPTY_UPDATE),
            pending: None,
        }
    }

    /// What a compaction has stored.
    pub(super) fn compacted(upto: Seq, ready: Bytes, pending: Option<Bytes>) -> Self {
        Self {
            upto,
            ready,
            pending,
        }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.ready.len() + self.pending.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn ready(&self) -> &Bytes {
        &self.ready
    }

    pub(super) fn pending(&self) -> Option<&Bytes> {
        self.pending.as_ref()
    }

    /// Reads what the log of a room holds beyond this state.
    pub(super) fn load(
        mut state: Self,
        log: &dyn Log,
        room: &RoomName,
    ) -> Result<(Self, Loaded), StateError> {
        let stored = log.read(room, state.upto, None)?;
        let (status, last) = (stored.status, stored.last);
        state.extend(stored)?;
        let ready = Update::parse(&state.ready, &STORED)?;
        let loaded = Loaded {
            status,
            last,
            state_vector: ready.state_vector(),
            deletes: ready.deletes(),
            pending: state.pending.clone(),
            is_purged: log.extent(room).is_some_and(|extent| extent.is_purged),
        };
        Ok((state, loaded))
    }

    /// Brings the state to `upto` and answers what a peer with this state vector lacks, pending parts included.
    pub(super) fn answer(
        &mut self,
        log: &dyn Log,
        room: &RoomName,
        upto: Seq,
        state_vector: &StateVector,
    ) -> Result<Bytes, StateError> {
        if self.upto < upto {
            let stored = log.read(room, self.upto, Some(upto))?;
            self.extend(stored)?;
        }
        let whole = match &self.pending {
            None => self.ready.clone(),
            Some(pending) => merge_bytes(&[&self.ready, pending], &STORED)?.into(),
        };
        if state_vector.is_empty() {
            return Ok(whole);
        }
        Ok(diff(&Update::parse(&whole, &STORED)?, state_vector).into())
    }

    pub(super) fn extend(&mut self, stored: StoredRoom) -> Result<(), StateError> {
        if stored.is_reset {
            self.ready = Bytes::from_static(&EMPTY_UPDATE);
            self.pending = None;
        }
        if !stored.ready.is_empty() {
            self.ready = merge_all(&self.ready, &stored.ready)?;
        }
        if !stored.pending.is_empty() {
            let known = self
                .pending
                .clone()
                .unwrap_or(Bytes::from_static(&EMPTY_UPDATE));
            self.pending = Some(merge_all(&known, &stored.pending)?);
        }
        if let Some(pending) = self.pending.take() {
            self.pending = without_covered(&pending, &self.ready)?;
        }
        self.upto = stored.last;
        Ok(())
    }
}

fn merge_all(first: &Bytes, more: &[Bytes]) -> Result<Bytes, UpdateError> {
    match more {
        // What a compaction has left is opened as it is.
        [only] if first == EMPTY_UPDATE.as_slice() => return Ok(only.clone()),
        _ => {}
    }
    let updates: Vec<&Bytes> = std::iter::once(first).chain(more).collect();
    Ok(merge_bytes(&updates, &STORED)?.into())
}

/// Drops from `pending` every struct that `ready` holds.
fn without_covered(pending: &Bytes, ready: &Bytes) -> Result<Option<Bytes>, UpdateError> {
    let known = Update::parse(ready, &STORED)?.state_vector();
    let update = Update::parse(pending, &STORED)?;
    let split = ingest(&update, &known);
    let Some(waiting) = split.pending else {
        return Ok(None);
    };
    // A part that has become ready is in a ready row already: the append that freed it wrote it there.
    debug_assert!(split.advanced.is_empty() || !matches!(split.ready, Ready::Nothing));
    Ok(Some(waiting.into()))
}
