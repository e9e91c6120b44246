//! The feed of revocations: what the store says has ended reaches verification and open sockets (`identity.md` 3).
//!
//! One task reads new rows whenever the store may have changed, and at least every [`READ_EVERY`]. Verification is told
//! first and the rooms second, so that no socket can be opened in between with what has just ended. When the store cannot
//! be read nothing is told: verification notices the silence by itself, and sockets stay.

use std::sync::Arc;
use std::time::Duration;

use epicenter_server::ports::{Clock as _, StoreUnavailable};
use epicenter_server::revocations::Revocations;
use epicenter_store::SqlStore;
use tokio::sync::watch;

use crate::clock::HostClock;
use crate::rooms::RoomRegistry;
use crate::store::ChangeSignal;

/// Revocations are to be known within 500 ms, also when the news of a change gets lost.
const READ_EVERY: Duration = Duration::from_millis(400);

/// What the task needs.
pub(crate) struct Feed {
    pub(crate) store: SqlStore,
    pub(crate) changes: Arc<dyn ChangeSignal>,
    pub(crate) revocations: Revocations,
    pub(crate) rooms: RoomRegistry,
    pub(crate) clock: HostClock,
    /// The last row that was read.
    pub(crate) seq: u64,
}

impl Feed {
    /// Reads to the end. The first time these are all rows that the store keeps, which is longer than any token lives.
    pub(crate) async fn read(&mut self) -> Result<(), StoreUnavailable> {
        loop {
            // What is committed after this instant may be missing from the answer.
            let asked_at_ms = self.clock.now_ms();
            let rows = self.store.revocations_since(self.seq).await?;
            if rows.is_empty() {
                self.revocations.heard(asked_at_ms);
                return Ok(());
            }
            for row in rows {
                self.revocations.note(&row.subject, row.at_ms);
                self.rooms.revoke(&row.subject);
                self.seq = self.seq.max(row.seq);
            }
        }
    }

    /// Runs until the hub stops.
    pub(crate) async fn follow(mut self, mut stopping: watch::Receiver<bool>) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = self.changes.changed() => {}
                () = tokio::time::sleep(READ_EVERY) => {}
                // An error means that the hub itself is gone.
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            match (self.read().await, failing) {
                (Ok(()), true) => {
                    failing = false;
                    tracing::info!("revocations can be read again");
                }
                (Err(StoreUnavailable), false) => {
                    failing = true;
                    tracing::error!(
                        "revocations cannot be read; until they can, access tokens are answered with 503"
                    );
                }
                _ => {}
            }
        }
    }
}
