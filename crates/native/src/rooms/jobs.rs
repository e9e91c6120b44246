//! What rooms have done off their turns, where it may block: reading a room, and building states of it.

use bytes::Bytes;
use epicenter_room::Seq;
use epicenter_update::StateVector;

use super::counters::between;
use super::inbox::Outcome;
use super::slot::Slot;
use super::state::{MergedState, caught};

/// Reads a room from cache and log.
pub(super) fn load(slot: &Slot) -> Outcome {
    let shared = slot.shared();
    let began = shared.host.now();
    let cached = shared.cache.take_merged(slot.name());
    let state = cached.unwrap_or_else(MergedState::empty);
    let loaded = caught(|| MergedState::load(state, shared.log.as_ref(), slot.name()));
    shared.stats.loads.note(between(began, shared.host.now()));
    match loaded {
        Ok((merged, loaded)) => {
            shared.cache.put_merged(slot.name(), merged);
            Outcome::Loaded(Box::new(loaded))
        }
        Err(error) => {
            shared.stats.failed_loads.add(1);
            tracing::error!(room.name = %slot.name(), error = &error as &dyn std::error::Error, "a room cannot be read; its sockets are closed and every next use tries again");
            Outcome::LoadFailed
        }
    }
}

/// What a peer with this state vector lacks; none when it cannot be said.
pub(super) fn build(slot: &Slot, upto: Seq, state_vector: &StateVector) -> Option<Bytes> {
    let shared = slot.shared();
    let (log, name) = (shared.log.as_ref(), slot.name());
    let began = shared.host.now();
    let cached = shared.cache.take_merged(name);
    let built = caught(|| {
        let mut merged = cached.unwrap_or_else(MergedState::empty);
        let update = merged.answer(log, name, upto, state_vector)?;
        Ok((update, merged))
    });
    shared.stats.answers.note(between(began, shared.host.now()));
    match built {
        Ok((update, merged)) => {
            shared.cache.put_merged(name, merged);
            Some(update)
        }
        Err(error) => {
            shared.stats.failed_answers.add(1);
            tracing::error!(room.name = %name, error = &error as &dyn std::error::Error, "a room's state cannot be built");
            None
        }
    }
}
