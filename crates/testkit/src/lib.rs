#![doc = include_str!("../README.md")]
//!
//! ## Panics
//!
//! Helpers panic when something is off, as tests do.

mod delaying_log;
mod dice;
mod http;
mod hub;
mod model_provider;
mod postgres;
pub mod refresh_model;
pub mod simulation;
mod socket;
pub mod store_suite;
mod updates;

pub use delaying_log::DelayingLog;
pub use http::{HttpAnswer, HttpRequest};
pub use hub::{PASSWORD, TestHub, TestUser};
pub use model_provider::{ModelCall, ModelProvider};
pub use postgres::PostgresCluster;
pub use socket::{Received, TestSocket};
pub use updates::Typist;

/// How long anything that must happen may take before a test gives up.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// Awaits with [`DEADLINE`].
///
/// # Panics
/// When the time is over; `what` says what was awaited.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {DEADLINE:?}"),
    }
}
