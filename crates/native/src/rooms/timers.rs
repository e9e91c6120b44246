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
    /// With the lock held, so that a later change cannot overtake an earlier one. An alarm that is set rings even when its
    /// room has moved on: once for nothing costs less than to move it with every frame.
    fn rearm(&mut self, host: &dyn RoomHost) {
        let Some(earliest) = self.due.keys().next().map(|(at, _)| *at) else {
            if self.armed.take().is_some() {
                host.set_alarm(None);
            }
            return;
        };
        if self.armed.is_none_or(|armed| earliest < armed) {
            self.armed = Some(earliest);
            host.set_alarm(Some(earliest));
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
        times.armed = None;
        if times.due.is_empty() {
            // It rang, and would go on ringing.
            host.set_alarm(None);
        }
        times.rearm(host);
        due.into_values()
            .filter_map(|slot| slot.upgrade())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::{Job, JobKind};
    use super::*;

    /// Keeps what it is asked to ring at.
    struct Host(Mutex<Option<Millis>>);

    impl RoomHost for Host {
        fn now(&self) -> Millis {
            Millis(10)
        }

        fn schedule(&self, _slot: Arc<Slot>) {}

        fn run(&self, _kind: JobKind, _job: Job) {}

        fn set_alarm(&self, at: Option<Millis>) {
            *lock(&self.0) = at;
        }
    }

    #[test]
    fn an_alarm_that_rang_for_the_last_room_is_stopped() {
        let host = Host(Mutex::new(Some(Millis(10))));
        let timers = Timers::default();
        lock(&timers.0).armed = Some(Millis(10));
        assert!(timers.take_due(&host).is_empty());
        assert_eq!(
            *lock(&host.0),
            None,
            "it would ring again at once, for ever"
        );
    }
}
