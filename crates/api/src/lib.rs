#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod dispatch;
mod error;
mod error_name;
mod etag;
mod hub;
mod jwks;
mod paths;
mod rooms;
mod session;

pub use dispatch::{DispatchBody, DispatchBodyError, is_action_name};
pub use error::{ApiError, MAX_CLOSE_REASON_BYTES};
pub use error_name::ErrorName;
pub use etag::{IfNoneMatch, format_etag};
pub use hub::{HubInfo, HubMode};
pub use jwks::{Jwk, Jwks};
pub use paths::{
    OWNERS_PREFIX, PathRoomError, RoomOperation, RoomRoute, RoomsRoute, dispatch_path,
    percent_decode, restore_path, room_path, rooms_path,
};
pub use rooms::{RefusalSummary, RoomSummary, RoomsPage};
pub use session::{KeyText, SessionKey, SessionResponse, SessionUser};
