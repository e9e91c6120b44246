#![doc = include_str!("../README.md")]
//!
//! ## Place in the flow
//!
//! Ring 2: the only place of the native program with sockets, files, drivers, clocks and environment. It builds the
//! ports that `epicenter-server` asks for, carries out what `epicenter-room` decides, and owns every task and thread.

pub mod admin;
mod admin_listener;
mod admission;
pub mod ai;
pub mod backup;
mod clock;
pub mod config;
pub mod data_dir;
pub mod doctor;
mod feed;
mod hub;
pub mod identity_store;
pub mod keys;
pub mod lease;
mod lingering_body;
mod listener;
pub mod log;
mod metrics;
pub mod password;
pub mod peer;
mod random;
pub mod rooms;
mod socket;
mod sqlite;
pub mod store;
pub mod websocket;

pub use hub::Hub;
