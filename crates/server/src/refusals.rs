//! Which updates rooms have refused, for the list of rooms (`sync.md` 1).
//!
//! A refused update cuts its sender off: everything it writes later builds on what is missing. So the owner can look it up,
//! until the sender's whole document was taken in. Refusals outlive the room's stay in memory and not the process: whoever
//! is cut off reconnects, sends the same again, and stands in the list again.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use epicenter_identity::RoomName;
use epicenter_room::Author;

use crate::auth::cache::BoundedCache;
use crate::ports::Refusal;

/// Rooms that are remembered. Those that were not looked at for longest go first.
const MAX_ROOMS: usize = 10_000;

/// Refusals of one room, newest last.
const MAX_REFUSALS: usize = 16;

/// The refusals of all rooms of a process.
pub struct Refusals(Mutex<BoundedCache<RoomName, Vec<(Option<Author>, Refusal)>>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(BoundedCache::new(MAX_ROOMS)))
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Refusals")
    }
}

impl Refusals {
    /// An update was refused. The same again, as of a client that keeps trying, only moves to the end.
    pub fn refuse(&self, room: &RoomName, by: Option<Author>, refusal: Refusal) {
        let mut rooms = self.lock();
        let mut refusals = rooms.find(room).unwrap_or_default();
        refusals.retain(|(author, known)| {
            let is_same = known.reason == refusal.reason && known.bytes == refusal.bytes;
            *author != by || !is_same
        });
        if refusals.len() == MAX_REFUSALS {
            refusals.remove(0);
        }
        refusals.push((by, refusal));
        rooms.insert(room.clone(), refusals);
    }

    /// Everything that this author has was taken in.
    pub fn settle(&self, room: &RoomName, by: Option<&Author>) {
        let mut rooms = self.lock();
        let Some(mut refusals) = rooms.find(room) else {
            return;
        };
        refusals.retain(|(author, _)| author.as_ref() != by);
        if refusals.is_empty() {
            rooms.remove(room);
        } else {
            rooms.insert(room.clone(), refusals);
        }
    }

    /// What was refused and not taken in since, oldest first.
    pub fn of(&self, room: &RoomName) -> Vec<Refusal> {
        let refusals = self.lock().find(room).unwrap_or_default();
        refusals.into_iter().map(|(_, refusal)| refusal).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BoundedCache<RoomName, Vec<(Option<Author>, Refusal)>>> {
        // Lists are replaced whole, so a panic spoils none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use epicenter_identity::{DeviceId, OwnerId, RoomId, RoomName};
    use epicenter_room::Author;

    use super::{MAX_REFUSALS, Refusals};
    use crate::ports::Refusal;

    fn room(id: &str) -> RoomName {
        RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(id).unwrap())
    }

    fn device(id: &str) -> Option<Author> {
        Some(Author::Device(DeviceId::parse(id).unwrap()))
    }

    fn refusal(at: u64, reason: &str) -> Refusal {
        Refusal {
            at,
            reason: reason.to_owned(),
            bytes: 7,
        }
    }

    #[test]
    fn a_refusal_stays_until_its_author_is_taken_in_whole() {
        let refusals = Refusals::default();
        refusals.refuse(&room("a"), device("laptop"), refusal(1, "big"));
        refusals.refuse(&room("a"), device("phone"), refusal(2, "big"));
        refusals.refuse(&room("b"), device("laptop"), refusal(3, "big"));
        refusals.settle(&room("a"), device("tablet").as_ref());
        assert_eq!(refusals.of(&room("a")).len(), 2);
        refusals.settle(&room("a"), device("laptop").as_ref());
        assert_eq!(refusals.of(&room("a")), [refusal(2, "big")]);
        assert_eq!(refusals.of(&room("b")), [refusal(3, "big")]);
        refusals.settle(&room("a"), device("phone").as_ref());
        assert_eq!(refusals.of(&room("a")), []);
    }

    #[test]
    fn trying_again_is_one_entry_and_a_room_has_a_bounded_number() {
        let refusals = Refusals::default();
        for at in 0..100 {
            refusals.refuse(&room("a"), device("laptop"), refusal(at, "big"));
        }
        assert_eq!(refusals.of(&room("a")), [refusal(99, "big")]);
        for at in 0..100 {
            let by = device(&format!("device-{at}"));
            refusals.refuse(&room("a"), by, refusal(at, "deep"));
        }
        let kept = refusals.of(&room("a"));
        assert_eq!(kept.len(), MAX_REFUSALS);
        assert_eq!(kept.last(), Some(&refusal(99, "deep")));
    }
}
