#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod auth;
mod body;
pub mod config;
mod error;
mod handshake;
mod middleware;
mod oauth;
pub mod ports;
mod query;
mod rooms;
mod router;
mod session;
mod state;
mod status;
pub mod upgrade;

pub use router::Hub;
