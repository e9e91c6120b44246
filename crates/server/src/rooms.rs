//! The routes of rooms (`sync.md` 1, 4, 5): snapshot, sync, sockets, creation, deletion, dispatch and the list.
//!
//! Refusals come in the order of `sync.md` 1: after the middleware's, token, owner, scope, ids, and last what the room
//! itself says. The room's durable name is built from the resolved owner, never from the URL.

mod caller;
pub(crate) mod routes;
mod rules;
mod service;
