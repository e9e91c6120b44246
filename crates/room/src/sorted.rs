//! A map kept as a sorted vector, for what a room has few of: a tree takes a kilobyte for its first entry, and ten thousand
//! rooms with one socket each would pay that several times.
//!
//! Adding and removing moves the entries behind; with 2,000 sockets in a room that is a few microseconds.

/// Below this many, memory is taken for exactly as many as there are.
const FEW: usize = 4;

/// A map whose entries are in order of their keys.
#[derive(Debug)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        SortedMap(Vec::new())
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let at = self.find(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Adds or replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => {
                if let Some((_, old)) = self.0.get_mut(at) {
                    *old = value;
                }
            }
            Err(at) => {
                if self.0.len() < FEW {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, value));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key).ok()?;
        let (_, value) = self.0.remove(at);
        Some(value)
    }

    pub(crate) fn first_key(&self) -> Option<&K> {
        self.0.first().map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(crate) fn into_keys(self) -> impl Iterator<Item = K> {
        self.0.into_iter().map(|(key, _)| key)
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::SortedMap;

    #[test]
    fn entries_are_in_order_and_found_by_key() {
        let mut map = SortedMap::default();
        for key in [5, 1, 9, 3, 7, 3] {
            map.insert(key, key * 10);
        }
        map.insert(3, 31);
        assert_eq!(map.len(), 5);
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
        assert_eq!((map.get(&3), map.get(&4)), (Some(&31), None));
        assert_eq!(map.first_key(), Some(&1));
        *map.get_mut(&9).unwrap() += 1;
        assert_eq!(map.remove(&9), Some(91));
        assert_eq!(map.remove(&9), None);
        assert!(!map.contains_key(&9) && !map.is_empty());
        assert_eq!(map.into_keys().collect::<Vec<_>>(), [1, 3, 5, 7]);
    }
}
