//! The native host: its stores on real files, its sockets on real connections.

#![cfg(test)]

mod data_dir;
mod durable;
mod identity_store;
mod keys;
mod log;
mod sockets;
