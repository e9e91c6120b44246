//! The one clock of all rooms: at most one time per room, and one alarm of the host for the earliest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use epicenter_room::Millis;

use super::lock;
use super::ports::RoomHost;
use super::slot::Slot;

/// The times at which rooms want a turn.
#[derive(Default)]
pub(super) struct Timers(Mutex<Times>);

#[derive(Default)]
struct Times {
    due: BTreeMap<(Millis, u64), Weak<Slot>>,
    armed: Option<Millis>,
}

impl Times {
    /// With the lock held, so that a later change cannot overtake an earlier one.
    fn rearm(&mut self, host: &dyn RoomHost) {
        let earliest = self.due.keys().next().map(|(at, _)| *at);
        if earliest != self.armed {
            self.armed = earliest;
            host.set_alarm(earliest);
        }
    }
}

impl Timers {
    /// Rooms that want a turn some time.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).due.len()
    }

    /// Moves a room's time from `old` to `new`.
    pub(super) fn change(&self, slot: &Arc<Slot>, old: Option<Millis>, new: Option<Millis>) {
        let mut times = lock(&self.0);
        if let Some(old) = old {
            times.due.remove(&(old, slot.id()));
        }
        if let Some(new) = new {
            times.due.insert((new, slot.id()), Arc::downgrade(slot));
        }
        times.rearm(slot.shared().host.as_ref());
    }

    /// Takes the rooms whose time has come.
    pub(super) fn take_due(&self, host: &dyn RoomHost) -> Vec<Arc<Slot>> {
        let mut times = lock(&self.0);
        let later = times.due.split_off(&(host.now().plus(1), 0));
        let due = std::mem::replace(&mut times.due, later);
        // It rang, or was about to: the host has forgotten it.
        times.armed = None;
        times.rearm(host);
        due.into_values()
            .filter_map(|slot| slot.upgrade())
            .collect()
    }
}
