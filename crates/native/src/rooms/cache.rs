//! Merged states of rooms, within one budget of bytes for the whole process.
//!
//! What is here can be had from the log again, so anything may be dropped at any time: the least recently used first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use epicenter_identity::RoomName;
use epicenter_room::Loaded;

use super::lock;
use super::state::MergedState;

/// What an entry costs beside its content: names, map slots.
const ENTRY_BYTES: usize = 256;
/// A client in a decoded state vector, and a range of a delete set.
const CLOCK_BYTES: usize = 16;

/// The cache.
pub(super) struct StateCache {
    max_bytes: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    rooms: HashMap<RoomName, Entry>,
    /// By time of last use.
    order: BTreeMap<u64, RoomName>,
    bytes: usize,
    clock: u64,
}

#[derive(Default)]
struct Entry {
    used: u64,
    bytes: usize,
    merged: Option<MergedState>,
    /// What a sleeping room forgot.
    asleep: Option<Loaded>,
}

impl Entry {
    fn weigh(&mut self) {
        let merged = self.merged.as_ref().map_or(0, MergedState::bytes);
        let asleep = self.asleep.as_ref().map_or(0, |loaded| {
            let ranges: usize = loaded.deletes.iter().map(|(_, ranges)| ranges.len()).sum();
            let waiting = loaded.pending.as_ref().map_or(0, |pending| pending.len());
            (loaded.state_vector.len() + ranges) * CLOCK_BYTES + waiting
        });
        self.bytes = ENTRY_BYTES + merged + asleep;
    }
}

impl StateCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            entries: Mutex::default(),
        }
    }

    /// Takes a room's merged state out; whoever works with it puts it back.
    pub(super) fn take_merged(&self, room: &RoomName) -> Option<MergedState> {
        lock(&self.entries).change(room, |entry| entry.merged.take())
    }

    pub(super) fn put_merged(&self, room: &RoomName, merged: MergedState) {
        self.put(room, |entry| entry.merged = Some(merged));
    }

    /// Takes what the room forgot when it fell asleep.
    pub(super) fn take_asleep(&self, room: &RoomName) -> Option<Loaded> {
        lock(&self.entries).change(room, |entry| entry.asleep.take())
    }

    pub(super) fn put_asleep(&self, room: &RoomName, loaded: Loaded) {
        self.put(room, |entry| entry.asleep = Some(loaded));
    }

    pub(super) fn clear(&self) {
        *lock(&self.entries) = Entries::default();
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.entries).bytes
    }

    fn put(&self, room: &RoomName, change: impl FnOnce(&mut Entry)) {
        let mut entries = lock(&self.entries);
        if !entries.rooms.contains_key(room) {
            entries.rooms.insert(room.clone(), Entry::default());
        }
        entries.change(room, |entry| {
            change(entry);
            None::<()>
        });
        while entries.bytes > self.max_bytes && entries.drop_oldest() {}
    }
}

impl Entries {
    /// Changes an entry, counts it anew and makes it the last used one.
    fn change<T>(
        &mut self,
        room: &RoomName,
        change: impl FnOnce(&mut Entry) -> Option<T>,
    ) -> Option<T> {
        let entry = self.rooms.get_mut(room)?;
        let (was_used, were_bytes) = (entry.used, entry.bytes);
        let result = change(entry);
        entry.weigh();
        self.clock += 1;
        entry.used = self.clock;
        self.bytes = self.bytes - were_bytes + entry.bytes;
        let is_empty = entry.merged.is_none() && entry.asleep.is_none();
        let name = self.order.remove(&was_used);
        if is_empty {
            if let Some(entry) = self.rooms.remove(room) {
                self.bytes -= entry.bytes;
            }
        } else {
            self.order
                .insert(self.clock, name.unwrap_or_else(|| room.clone()));
        }
        result
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, room)) = self.order.pop_first() else {
            return false;
        };
        if let Some(entry) = self.rooms.remove(&room) {
            self.bytes -= entry.bytes;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use epicenter_identity::{OwnerId, RoomId};
    use epicenter_room::Seq;

    use super::*;

    fn room(name: &str) -> RoomName {
        RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(name).unwrap())
    }

    fn state(bytes: usize) -> MergedState {
        MergedState::compacted(Seq(1), Bytes::from(vec![0; bytes]), None)
    }

    #[test]
    fn the_least_recently_used_goes_when_the_budget_is_passed() {
        let cache = StateCache::new(3_000);
        for name in ["a", "b"] {
            cache.put_merged(&room(name), state(1_000));
            cache.put_asleep(&room(name), Loaded::default());
        }
        // Using "a" makes "b" the oldest.
        let used = cache.take_merged(&room("a")).unwrap();
        cache.put_merged(&room("a"), used);
        cache.put_merged(&room("c"), state(1_000));
        assert!(cache.bytes() <= 3_000);
        assert!(cache.take_merged(&room("b")).is_none());
        assert!(cache.take_asleep(&room("b")).is_none());
        assert_eq!(cache.take_merged(&room("a")).unwrap().bytes(), 1_000);
        assert!(cache.take_asleep(&room("a")).is_some());
        assert_eq!(cache.take_merged(&room("c")).unwrap().bytes(), 1_000);
        assert_eq!(cache.bytes(), 0, "an empty entry costs nothing");
        let entries = lock(&cache.entries);
        assert!(entries.rooms.is_empty() && entries.order.is_empty());
    }

    #[test]
    fn what_is_larger_than_the_budget_is_not_kept() {
        let cache = StateCache::new(3_000);
        cache.put_merged(&room("a"), state(5_000));
        assert!(cache.take_merged(&room("a")).is_none());
        assert_eq!(cache.bytes(), 0);
    }
}
