//! The deadlines of a room behind its one timer.
//!
//! Each deadline stands here at most once; the host only ever hears of the earliest.

use std::collections::{BTreeMap, BTreeSet};

use epicenter_identity::DeviceId;

use crate::command::{ConnectionId, Millis};
use crate::machine::dispatch::FlightId;

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// A dispatch call has had no response.
    Flight(FlightId),
    /// The departure of a device is announced.
    Departure(DeviceId),
    /// Joined presence changes are sent to a connection.
    List(ConnectionId),
    /// A connection may be asked for missing structs again.
    GapRequest(ConnectionId),
}

/// All deadlines of a room.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    times: BTreeMap<Deadline, Millis>,
    order: BTreeSet<(Millis, Deadline)>,
}

impl Schedule {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, deadline: Deadline, at: Millis) {
        self.clear(&deadline);
        self.times.insert(deadline.clone(), at);
        self.order.insert((at, deadline));
    }

    pub(crate) fn clear(&mut self, deadline: &Deadline) {
        if let Some((deadline, at)) = self.times.remove_entry(deadline) {
            self.order.remove(&(at, deadline));
            self.shrink();
        }
    }

    /// An empty tree keeps its root; most rooms have no deadline most of the time.
    fn shrink(&mut self) {
        if self.times.is_empty() {
            *self = Schedule::default();
        }
    }

    pub(crate) fn contains(&self, deadline: &Deadline) -> bool {
        self.times.contains_key(deadline)
    }

    /// Whether somebody is to be asked for what is missing.
    pub(crate) fn has_gap_request(&self) -> bool {
        // The last kind in order.
        let last = self.times.last_key_value();
        last.is_some_and(|(deadline, _)| matches!(deadline, Deadline::GapRequest(_)))
    }

    pub(crate) fn earliest(&self) -> Option<Millis> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<Deadline> {
        if self.earliest()? > now {
            return None;
        }
        let (_, deadline) = self.order.pop_first()?;
        self.times.remove(&deadline);
        self.shrink();
        Some(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_not_early() {
        let mut schedule = Schedule::default();
        let first = Deadline::List(ConnectionId(1));
        let second = Deadline::GapRequest(ConnectionId(1));
        schedule.set(second.clone(), Millis(20));
        schedule.set(first.clone(), Millis(30));
        schedule.set(first.clone(), Millis(10));
        assert_eq!(schedule.earliest(), Some(Millis(10)));
        assert_eq!(schedule.pop_due(Millis(9)), None);
        assert_eq!(schedule.pop_due(Millis(20)), Some(first.clone()));
        assert_eq!(schedule.pop_due(Millis(20)), Some(second));
        assert_eq!(schedule.pop_due(Millis(20)), None);
        assert!(!schedule.contains(&first));
    }

    #[test]
    fn a_cleared_deadline_never_comes() {
        let mut schedule = Schedule::default();
        schedule.set(Deadline::List(ConnectionId(1)), Millis(1));
        schedule.clear(&Deadline::List(ConnectionId(1)));
        schedule.clear(&Deadline::List(ConnectionId(2)));
        assert_eq!(schedule.pop_due(Millis(9)), None);
        assert_eq!(schedule.earliest(), None);
    }
}
