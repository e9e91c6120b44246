//! Accounts, browser sessions and how they begin and end (`identity.md` 1).

mod answers;
mod fields;
mod problem;
pub(crate) mod routes;
pub mod rules;
pub(crate) mod service;
pub(crate) mod sessions;
pub mod store;
