//! How much rooms may store (`operations.md`, Limits). A host knows what there is; which quota that uses up is the same in
//! every host.

use crate::command::{StorageFull, StorageScope};

/// What an operator allows. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageQuota {
    /// Bytes of one room.
    pub room_bytes: u64,
    /// Bytes of all rooms of an owner.
    pub owner_bytes: u64,
    /// Rooms of an owner that live.
    pub owner_rooms: u64,
}

/// What there is, on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    /// Bytes of this room.
    pub room_bytes: u64,
    /// Bytes of all rooms of the owner.
    pub owner_bytes: u64,
    /// Rooms of the owner that live.
    pub owner_rooms: u64,
}

impl StorageQuota {
    /// What to tell a room with `Command::Storage`: the quota that is used up. Bytes come first, because they concern a room
    /// that lives as well.
    pub fn check(&self, used: &StorageUse) -> Option<StorageFull> {
        [
            (StorageScope::Room, self.room_bytes, used.room_bytes),
            (StorageScope::Owner, self.owner_bytes, used.owner_bytes),
            (StorageScope::Rooms, self.owner_rooms, used.owner_rooms),
        ]
        .into_iter()
        .find(|(_, limit, used)| *limit > 0 && used >= limit)
        .map(|(scope, limit, used)| StorageFull { scope, limit, used })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room_bytes: u64, owner_bytes: u64, owner_rooms: u64) -> Option<StorageScope> {
        let quota = StorageQuota {
            room_bytes: 10,
            owner_bytes: 20,
            owner_rooms: 3,
        };
        let used = StorageUse {
            room_bytes,
            owner_bytes,
            owner_rooms,
        };
        let full = quota.check(&used)?;
        assert!(full.used >= full.limit);
        Some(full.scope)
    }

    #[test]
    fn a_quota_is_used_up_when_it_is_reached_and_bytes_come_first() {
        assert_eq!(check(9, 19, 2), None);
        assert_eq!(check(10, 19, 2), Some(StorageScope::Room));
        assert_eq!(check(9, 20, 3), Some(StorageScope::Owner));
        assert_eq!(check(9, 19, 3), Some(StorageScope::Rooms));
        assert_eq!(check(99, 99, 99), Some(StorageScope::Room));
    }

    #[test]
    fn nothing_is_a_limit_of_nothing() {
        let used = StorageUse {
            room_bytes: u64::MAX,
            owner_bytes: u64::MAX,
            owner_rooms: u64::MAX,
        };
        assert_eq!(StorageQuota::default().check(&used), None);
    }
}
