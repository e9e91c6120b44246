//! What will happen, by time; what falls on the same moment comes in an order of chance.

use std::collections::BTreeMap;

/// Future events.
pub(super) struct Agenda<E> {
    events: BTreeMap<(u64, u64, u64), E>,
    serial: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            serial: 0,
        }
    }
}

impl<E> Agenda<E> {
    /// `rank` orders what falls on one moment.
    pub(super) fn add(&mut self, at: u64, rank: u64, event: E) {
        self.serial += 1;
        self.events.insert((at, rank, self.serial), event);
    }

    /// When the next event is, with its rank.
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        let ((at, rank, _), _) = self.events.first_key_value()?;
        Some((*at, *rank))
    }

    pub(super) fn pop(&mut self) -> Option<(u64, E)> {
        let ((at, _, _), event) = self.events.pop_first()?;
        Some((at, event))
    }
}
