//! The native host: its stores on real files, its sockets on real connections.

#![cfg(test)]

mod admin;
mod data_dir;
mod durable;
mod identity_store;
mod keys;
mod log;
mod metrics;
mod revocation;
mod schema;
mod sockets;
mod sweep;

/// Runs a call to its end.
fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(call)
}
