//! Accounts, browser sessions and how they begin and end (`identity.md` 1).

pub(crate) mod routes;
pub(crate) mod rules;
pub(crate) mod service;
pub mod store;
