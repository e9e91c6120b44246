//! The connections: a bounded number, the one used last is used next.
//!
//! A connection is handed back only after a transaction that ended; one whose user went away in the middle is dropped,
//! and PostgreSQL rolls back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use epicenter_store::sql::SqlError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::MAX_CONNECTIONS;
use super::connection::{ConnectError, Connection, Connector};

/// How long somebody waits for a free connection: as long as a statement of those before may take.
const FREE_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Pool {
    connector: Connector,
    slots: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

/// A connection in use.
pub(super) struct Held<'a> {
    pool: &'a Pool,
    connection: Connection,
    _slot: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            slots: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) fn server(&self) -> String {
        self.connector.server()
    }

    pub(super) async fn acquire(&self) -> Result<Held<'_>, SqlError> {
        let Ok(Ok(slot)) = timeout(FREE_WITHIN, self.slots.acquire()).await else {
            tracing::warn!("all connections to PostgreSQL are in use");
            return Err(SqlError::Unavailable);
        };
        let idle = self.take_idle();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect(None).await.map_err(|error| {
                let server = self.server();
                match error {
                    ConnectError::Refused(error) => {
                        tracing::error!(server, error = %full(&error), "PostgreSQL cannot be reached");
                    }
                    ConnectError::Silent => tracing::error!(server, "PostgreSQL does not answer"),
                }
                SqlError::Unavailable
            })?,
        };
        Ok(Held {
            pool: self,
            connection,
            _slot: slot,
        })
    }

    /// Closes what waits: the server they were made to is gone.
    pub(super) fn drop_idle(&self) {
        self.lock().clear();
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some(connection) = idle.pop() {
            if !connection.client.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Each critical section is one step of a vector.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn give_back(self) {
        if !self.connection.client.is_closed() {
            self.pool.lock().push(self.connection);
        }
    }
}

/// An error with its causes on one line.
pub(super) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
