//! Word of changes: LISTEN on a connection of its own, and a poll for what it misses.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::super::ChangeSignal;
use super::connection::{ConnectError, Connector};

/// Ends a transaction that wrote revocations.
pub(super) const NOTIFY_AND_COMMIT: &str = "NOTIFY epicenter_identity; COMMIT";
const LISTEN: &str = "LISTEN epicenter_identity";
/// Processes learn of revocations within this time (`identity.md` 3), heard or not.
const POLL: Duration = Duration::from_millis(500);
/// Pause between attempts to listen again.
const RECONNECT: Duration = Duration::from_secs(1);
/// A silent connection is asked for a sign of life so often.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Word of revocations that any process has written. Stops listening when dropped.
pub struct Changes {
    heard: Arc<Notify>,
    deaf: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Changes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Changes")
            .field("is_deaf", &self.is_deaf())
            .finish_non_exhaustive()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    pub(super) fn start(connector: Connector) -> Self {
        let heard = Arc::new(Notify::new());
        let deaf = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(listen(connector, Arc::clone(&heard), Arc::clone(&deaf)));
        Self { heard, deaf, task }
    }

    /// Whether the database does not tell at the moment, so that changes are found by polling alone.
    pub fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ChangeSignal for Changes {
    /// Something was heard, or half a second has passed. A word that arrives while nobody waits is kept.
    async fn changed(&self) {
        // Time up is an answer too.
        let _ = timeout(POLL, self.heard.notified()).await;
    }
}

async fn listen(connector: Connector, heard: Arc<Notify>, deaf: Arc<AtomicBool>) {
    loop {
        let notified = Arc::new(Notify::new());
        match connector.connect(Some(Arc::clone(&notified))).await {
            Ok(connection) => {
                if connection.client.batch_execute(LISTEN).await.is_ok() {
                    deaf.store(false, Ordering::Relaxed);
                    // What was written while nobody listened is to be read.
                    heard.notify_one();
                    loop {
                        let silent = timeout(HEARTBEAT, notified.notified()).await.is_err();
                        if connection.client.is_closed() {
                            break;
                        }
                        if silent {
                            let sign = connection.client.batch_execute("");
                            if !matches!(timeout(HEARTBEAT, sign).await, Ok(Ok(()))) {
                                break;
                            }
                        } else {
                            heard.notify_one();
                        }
                    }
                }
            }
            Err(ConnectError::Refused(error)) => {
                tracing::debug!(%error, "PostgreSQL cannot be reached to listen");
            }
            Err(ConnectError::Silent) => tracing::debug!("PostgreSQL does not answer"),
        }
        if !deaf.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "PostgreSQL tells no changes any more; they are polled for until it does"
            );
        }
        sleep(RECONNECT).await;
    }
}
