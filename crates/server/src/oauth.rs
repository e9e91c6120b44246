//! The authorization server (`identity.md` 2): codes, grants, tokens, keys, metadata.

pub(crate) mod authorize;
pub mod clients;
mod parameters;
mod pending;
mod pkce;
mod redirect;
mod request;
pub(crate) mod routes;
mod scopes;
pub mod store;
