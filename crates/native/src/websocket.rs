//! The server's half of a WebSocket after its handshake (RFC 6455), without I/O.
//!
//! Why our own: an idle socket must cost next to nothing and a fan-out must not be encoded once per receiver. Here a
//! decoder holds no buffer between messages, and a frame that goes out is a header of a few bytes and the payload that
//! all receivers share. No extension is ever negotiated, so reserved bits are errors.

mod decode;
mod frame;

pub(crate) use decode::{Decoder, Incoming, Violation};
pub use frame::{Frame, Opcode};
