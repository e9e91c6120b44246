//! How many answers one person may stream at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epicenter_identity::UserId;

/// Counts open answers. People without one take no memory.
#[derive(Debug, Default)]
pub(super) struct StreamCounts {
    open: Mutex<HashMap<UserId, usize>>,
}

/// One open answer; dropping it makes room.
#[derive(Debug)]
pub(super) struct StreamPermit {
    counts: Arc<StreamCounts>,
    user: UserId,
}

impl StreamCounts {
    /// `None` when the person has `max` open already.
    pub(super) fn open(self: &Arc<Self>, user: &UserId, max: usize) -> Option<StreamPermit> {
        let mut open = self.lock();
        let count = open.get(user).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        open.insert(user.clone(), count + 1);
        Some(StreamPermit {
            counts: Arc::clone(self),
            user: user.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        // Nothing in between two changes can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.counts.lock();
        match open.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use epicenter_identity::UserId;

    use super::StreamCounts;

    #[test]
    fn permits_are_counted_by_person_and_given_back() {
        let counts = Arc::new(StreamCounts::default());
        let (ada, bob) = (UserId::parse("ada").unwrap(), UserId::parse("bob").unwrap());
        let first = counts.open(&ada, 2).unwrap();
        let second = counts.open(&ada, 2).unwrap();
        assert!(counts.open(&ada, 2).is_none());
        assert!(counts.open(&bob, 2).is_some());
        drop(first);
        let third = counts.open(&ada, 2).unwrap();
        assert!(counts.open(&ada, 2).is_none());
        drop((second, third));
        assert!(counts.lock().is_empty());
    }
}
