//! The task that sweeps what has ended out of the identity store.

use std::time::Duration;

use epicenter_server::ports::{Clock as _, StoreUnavailable};
use epicenter_store::SqlStore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::HostClock;

/// Sealed answers must not lie about for much longer than they are of use, and those live for a minute.
const PERIOD: Duration = Duration::from_secs(60);

/// Sweeps until it is dropped; the first time at once.
#[derive(Debug)]
pub(crate) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    pub(crate) fn start(store: SqlStore, clock: HostClock) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match store.sweep(clock.now_ms()).await {
                    Ok(0) => {}
                    Ok(rows) => tracing::debug!(store.rows = rows, "swept what has ended"),
                    Err(StoreUnavailable) => {
                        tracing::warn!("what has ended could not be swept; it is tried again");
                    }
                }
            }
        }))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // Each step of a sweep is a transaction of its own.
        self.0.abort();
    }
}
