#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod close;
mod frame;
mod http;
pub mod limits;
mod subprotocol;
mod text;

pub use close::{CloseCode, MAX_CLOSE_REASON_BYTES, truncate_close_reason};
pub use frame::{Frame, FrameError, carries_update, encode_step1, encode_step2, encode_update};
pub use http::{SyncBody, SyncBodyError};
pub use subprotocol::{BEARER_PREFIX, BearerOffer, MAIN_SUBPROTOCOL, Offer};
pub use text::{
    ClientText, PING, PONG, PresenceEntry, PresenceLists, TextError, action_failed,
    encode_dispatch_inbound, encode_dispatch_result, encode_presence, encode_refused, encode_saved,
    recipient_offline,
};
