//! A map that never holds more than it was allowed to, used for checked tokens and known users.
//!
//! Two generations instead of a linked list: new and used entries live in `recent`; when that half is full it becomes
//! `older` and what was there is forgotten. Whoever fills the map with junk pushes out what nobody uses, and each step
//! costs a hash look-up or two.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct BoundedCache<K, V> {
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Clone> BoundedCache<K, V> {
    /// Holds at most `capacity` entries, and at least two.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            recent: HashMap::new(),
            older: HashMap::new(),
            half: (capacity / 2).max(1),
        }
    }

    /// The value, which counts as used now.
    pub(crate) fn find<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(value) = self.recent.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.older.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Adds or replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.older.remove(&key);
        if self.recent.len() >= self.half && !self.recent.contains_key(&key) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, value);
    }

    /// Forgets.
    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.recent.remove(key);
        self.older.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::BoundedCache;

    fn size(cache: &BoundedCache<u32, u32>) -> usize {
        cache.recent.len() + cache.older.len()
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut cache = BoundedCache::new(8);
        for key in 0..1_000 {
            cache.insert(key, key);
            assert!(size(&cache) <= 8);
        }
        assert_eq!(cache.find(&999), Some(999));
        assert_eq!(cache.find(&0), None);
    }

    #[test]
    fn an_entry_in_use_survives_a_flood() {
        let mut cache = BoundedCache::new(8);
        cache.insert(0, 7);
        for key in 1..1_000 {
            cache.insert(key, key);
            assert_eq!(cache.find(&0), Some(7), "after {key}");
            assert!(size(&cache) <= 8);
        }
    }

    #[test]
    fn a_removed_or_replaced_entry_does_not_come_back() {
        let mut cache = BoundedCache::new(2);
        cache.insert(1, 1);
        cache.insert(2, 2);
        cache.insert(1, 10);
        assert_eq!(cache.find(&1), Some(10));
        cache.remove(&1);
        assert_eq!(cache.find(&1), None);
        cache.insert(1, 11);
        assert_eq!(cache.find(&1), Some(11));
    }
}
