//! The native host: its stores on real files, its sockets on real connections.

#![cfg(test)]

mod admin;
mod ai;
mod ai_calls;
mod backup;
mod backup_damage;
mod backup_load;
mod backup_secrets;
mod close_log;
mod compaction;
mod data_dir;
mod doctor;
mod durable;
mod failing_disk;
mod hostile_provider;
mod identity_store;
mod keys;
mod log;
mod metrics;
mod revocation;
mod rooms;
mod schema;
mod sockets;
mod storage_limits;
mod sweep;

/// Runs a call to its end.
fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(call)
}
