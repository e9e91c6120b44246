#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod access;
mod id;
mod ownership;
mod room_name;
mod scope;

pub use access::Access;
pub use id::{
    ClientId, ClientIdError, DeviceId, DeviceIdError, GrantId, GrantIdError, OwnerId, OwnerIdError,
    RoomId, RoomIdError, UserId, UserIdError,
};
pub use ownership::{Admit, NotAdmitted, OwnershipRule, Person, personal, shared};
pub use room_name::RoomName;
pub use scope::{Scope, Scopes};
