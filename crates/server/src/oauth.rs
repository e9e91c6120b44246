//! The authorization server, as far as it exists: its public keys.

pub(crate) mod routes;
