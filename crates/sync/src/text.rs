//! Text frames: presence and dispatch as JSON (sync.md 6), and what became of a client's updates (sync.md 3.5).
//!
//! What clients say and what the hub says are apart, each in a module of its own: no message of the one is
//! a message of the other, so a frame that is sent back to its sender is a protocol error.
//! JSON that the hub does not interpret (`actions`, `input`, `result`) travels as the sender's text.

mod client;
mod server;

pub use client::{ClientText, TextError};
pub use server::{
    PresenceEntry, PresenceLists, action_failed, encode_dispatch_inbound, encode_dispatch_result,
    encode_presence, encode_refused, encode_saved, recipient_offline,
};

/// The literal text that a client sends to keep a connection alive. Hosts answer it themselves.
pub const PING: &str = "ping";
/// The literal answer to [`PING`].
pub const PONG: &str = "pong";
