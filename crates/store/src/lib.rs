#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accounts;
mod ai;
mod audit;
mod credits;
mod devices;
mod grants;
mod leases;
pub mod memory;
mod meta;
mod operation;
mod revocations;
mod rotation;
pub mod schema;
mod sessions;
mod signing_keys;
pub mod sql;
mod sweep;
mod users;
mod values;

use std::fmt;
use std::sync::Arc;

pub use audit::{AuditLine, BackupEvent};
pub use credits::{CreditStatement, Gift, Given};
pub use leases::Lease;
pub use signing_keys::{NewSigningKey, StoredSigningKey};

use sql::Engine;

/// The identity store over any engine; clones share it. The server sees it through its ports.
#[derive(Clone)]
pub struct SqlStore {
    engine: Arc<dyn Engine>,
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SqlStore")
    }
}

impl SqlStore {
    /// Operates on an engine whose schema is [`schema::MIGRATIONS`]' last.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine }
    }
}
