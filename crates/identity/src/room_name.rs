//! The durable name of a room.

use std::fmt;

use crate::{Access, OwnerId, RoomId};

/// A room of an owner, written `owners/{ownerId}/rooms/{roomId}`.
///
/// An owner id holds no `/`, so two different rooms never share a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName {
    owner: OwnerId,
    room: RoomId,
}

impl RoomName {
    /// The room as the caller may reach it: under the resolved owner, never one named in a URL.
    pub fn of(access: &Access, room: RoomId) -> Self {
        Self {
            owner: access.owner().clone(),
            room,
        }
    }

    /// The room that a stored row is about.
    pub fn stored(owner: OwnerId, room: RoomId) -> Self {
        Self { owner, room }
    }

    /// Whose room it is.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// Which of the owner's rooms it is.
    pub fn room(&self) -> &RoomId {
        &self.room
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "owners/{}/rooms/{}", self.owner, self.room)
    }
}
