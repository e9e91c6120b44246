//! Noticing changes: commits of this process are told at once, those of other processes are seen by polling.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::sqlite::{DatabaseError, open_readonly};
use crate::store::ChangeSignal;

/// Another process's revocation must be known within 500 ms (`identity.md` 3).
const POLL: Duration = Duration::from_millis(100);

/// Under load every commit is news; reading that often is enough.
const PAUSE: Duration = Duration::from_millis(20);

/// The commits of this process, and the file's own count of those of all.
pub(in crate::store) struct SqliteChanges {
    committed: tokio::sync::Mutex<Heard>,
    version: Arc<Mutex<DataVersion>>,
}

struct Heard {
    own: watch::Receiver<u64>,
    returned: Instant,
}

struct DataVersion {
    connection: Connection,
    seen: i64,
}

impl DataVersion {
    /// Whether any other connection, of this process or another, has committed since the last call.
    fn has_changed(&mut self) -> rusqlite::Result<bool> {
        let found: i64 = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?;
        let has_changed = found != self.seen;
        self.seen = found;
        Ok(has_changed)
    }
}

impl SqliteChanges {
    pub(in crate::store) fn open(
        path: &Path,
        own: watch::Receiver<u64>,
    ) -> Result<Self, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let connection = open_readonly(path).map_err(failed)?;
        let mut version = DataVersion {
            connection,
            seen: 0,
        };
        version.has_changed().map_err(failed)?;
        Ok(Self {
            committed: tokio::sync::Mutex::new(Heard {
                own,
                returned: Instant::now(),
            }),
            version: Arc::new(Mutex::new(version)),
        })
    }

    /// A failure counts as a change: whoever reads the store then finds out what is wrong with it.
    async fn has_changed_elsewhere(&self) -> bool {
        let version = Arc::clone(&self.version);
        let look = move || {
            version
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .has_changed()
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(has_changed)) => has_changed,
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "changes to the identity store cannot be noticed"
                );
                true
            }
            Err(_) => true,
        }
    }
}

#[async_trait]
impl ChangeSignal for SqliteChanges {
    async fn changed(&self) {
        // Held across waits by intention: one task listens.
        let mut heard = self.committed.lock().await;
        sleep_until(heard.returned + PAUSE).await;
        loop {
            match timeout(POLL, heard.own.changed()).await {
                Ok(Ok(())) => break,
                // The engine is gone; other processes are not.
                Ok(Err(_)) => sleep(POLL).await,
                Err(_) => {}
            }
            if self.has_changed_elsewhere().await {
                break;
            }
        }
        heard.returned = Instant::now();
    }
}
