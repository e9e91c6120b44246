//! The authorization server (`identity.md` 2): codes, grants, tokens, keys, metadata.

pub(crate) mod authorize;
pub mod clients;
pub(crate) mod routes;
pub mod store;
