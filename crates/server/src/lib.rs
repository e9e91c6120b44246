#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod accounts;
pub mod ai;
pub mod auth;
mod body;
pub mod config;
mod error;
mod handshake;
mod limits;
mod middleware;
pub mod oauth;
mod origins;
mod pages;
pub mod peer;
pub mod ports;
mod query;
pub mod refusals;
pub mod revocations;
mod rooms;
mod router;
pub mod secret;
mod session;
mod state;
mod status;
pub mod upgrade;

pub use router::Hub;
