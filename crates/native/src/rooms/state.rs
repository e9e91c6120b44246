//! Merged states: what a room's log amounts to, built outside the room's turn.
//!
//! The log holds one row per accepted update. A handshake, a snapshot or an HTTP answer wants their merge. The merge of
//! the rows read so far is kept in the cache, so that each of these costs the new rows and one pass over the document. `Ready` rows alone are the visible document; what is pending is laid over it, and never replaces a
//! clock that the ready rows hold.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_room::{Loaded, Seq};
use epicenter_update::{
    EMPTY_UPDATE, Limits, StateVector, Update, UpdateError, diff, ingest, merge_bytes,
};

use crate::log::{Log, ReadError, StoredRoom};

/// Everything in the log was accepted under the limits of its day; reading it back knows none.
pub(crate) const STORED: Limits = Limits {
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
        let (ready, deletes) = Update::parse_with_deletes(&state.ready, &STORED)?;
        let loaded = Loaded {
            status,
            last,
            state_vector: ready.state_vector(),
            deletes,
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

/// Drops from `pending` what `ready` holds.
///
/// What has become ready is in a ready row as a rule: the append that freed it wrote it there. Where it is not, it goes on
/// waiting for the next room that loads it; nothing else holds it.
fn without_covered(pending: &Bytes, ready: &Bytes) -> Result<Option<Bytes>, UpdateError> {
    let ready = Update::parse(ready, &STORED)?;
    let known = ready.state_vector();
    let update = Update::parse(pending, &STORED)?;
    let split = ingest(&update, &known);
    let is_covered = split.advanced.is_empty()
        && (split.deletes.is_empty() || ready.deletes().contains_all(&split.deletes));
    if is_covered {
        Ok(split.pending.map(Bytes::from))
    } else {
        Ok(Some(diff(&update, &known).into()))
    }
}

#[cfg(test)]
mod tests {
    use epicenter_testkit::Typist;

    use super::*;

    /// Client 7 has typed `a` and `b`; its `b` is deleted.
    fn rows() -> [Bytes; 3] {
        let mut typist = Typist::new(7);
        let mut deletion = EMPTY_UPDATE.to_vec();
        deletion.pop();
        deletion.extend([1, 7, 1, 1, 0]);
        [
            typist.types("a").into(),
            typist.types("b").into(),
            deletion.into(),
        ]
    }

    fn pending_of(ready: &[&Bytes], pending: &[&Bytes]) -> Option<Bytes> {
        let owned = |rows: &[&Bytes]| rows.iter().map(|row| (*row).clone()).collect();
        let mut state = MergedState::empty();
        state
            .extend(StoredRoom {
                ready: owned(ready),
                pending: owned(pending),
                ..StoredRoom::default()
            })
            .unwrap();
        state.pending
    }

    #[test]
    fn what_ready_rows_hold_waits_no_longer() {
        let [a, b, deletion] = rows();
        assert_eq!(
            pending_of(&[&a, &b, &deletion], &[&b, &deletion, &deletion]),
            None
        );
        assert_eq!(pending_of(&[&a], &[&a]), None);
    }

    #[test]
    fn what_no_ready_row_holds_goes_on_waiting_though_it_is_ready() {
        let [a, b, deletion] = rows();
        let struct_only = pending_of(&[&a], &[&a, &b]);
        assert_eq!(clocks(struct_only.as_ref()), (vec![7], vec![]));
        let delete_only = pending_of(&[&a, &b], &[&b, &deletion]);
        assert_eq!(clocks(delete_only.as_ref()), (vec![], vec![7]));
        let both = pending_of(&[&a], &[&b, &deletion]);
        assert_eq!(clocks(both.as_ref()), (vec![7], vec![7]));
    }

    /// The clients with structs, and those with deletions.
    fn clocks(pending: Option<&Bytes>) -> (Vec<u64>, Vec<u64>) {
        let update = Update::parse(pending.expect("something waits"), &STORED).unwrap();
        let summary = update.summary();
        let deleted = summary.deletes.iter().map(|(client, _)| client);
        (summary.structs.keys().copied().collect(), deleted.collect())
    }
}
