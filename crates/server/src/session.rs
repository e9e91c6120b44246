//! `GET /api/session`: the one bridge from a token to user, owner and keyring (`identity.md` 3).

pub(crate) mod routes;
mod service;
