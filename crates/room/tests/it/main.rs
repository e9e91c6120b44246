//! The room as its hosts see it: commands in, actions out.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be fails"
)]

mod dispatch;
mod gate;
mod handshake;
mod histories;
mod host;
mod http;
mod lifetime;
mod memory;
mod pending;
mod presence;
mod quota;
mod reports;
mod restore;
mod sleep;
mod storage;
mod updates;
mod vectors;
mod yjs;
