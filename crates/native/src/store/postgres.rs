//! The identity store's database on PostgreSQL: one pool of at most [`MAX_CONNECTIONS`], transactions that are repeated
//! where PostgreSQL asks for it, and word of changes made by other processes.
//!
//! Isolation is READ COMMITTED. A write is durable when it returns: `synchronous_commit` is set for each connection, and
//! a server with `fsync` off is refused.

mod changes;
mod connection;
mod pool;
mod schema;
mod tls;
mod transaction;
mod url;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use epicenter_store::SqlStore;
use epicenter_store::sql::{Engine, Job, SqlError, Transaction, Value};

pub use changes::Changes;
pub use url::UrlError;

use super::OpenStore;
use connection::Connector;
use pool::Pool;
use transaction::{Failure, Mode, attempt};
use url::DatabaseUrl;

/// Connections for transactions; listening for changes takes one more. PostgreSQL allows 100 unless told otherwise, and
/// several processes may share it.
pub const MAX_CONNECTIONS: usize = 16;
/// Attempts at a transaction that others are in the way of.
const ATTEMPTS: u32 = 8;
/// Pause before the second attempt; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Why the database cannot be used. No message holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `DATABASE_URL` cannot be read.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server cannot be reached or does not let us in.
    #[error("cannot use PostgreSQL at {server}")]
    Connect {
        /// Host, port and database.
        server: String,
        /// What went wrong.
        source: tokio_postgres::Error,
    },
    /// The server did not answer in time.
    #[error("PostgreSQL at {server} does not answer")]
    Silent {
        /// Host, port and database.
        server: String,
    },
    /// The server would not keep what it acknowledges.
    #[error("PostgreSQL at {server} cannot be used durably: {setting} is {found}, not on")]
    NotDurable {
        /// Host, port and database.
        server: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
    },
    /// A newer program has written the database.
    #[error(
        "the database at {server} has schema version {found} and this program knows versions up to {known}: use the newer program"
    )]
    Newer {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: u64,
        /// The last version this program knows.
        known: u64,
    },
    /// The schema is old and only a check was asked for.
    #[error(
        "the database at {server} has schema version {found}; starting the hub brings it to {known}"
    )]
    Behind {
        /// Host, port and database.
        server: String,
        /// Its version.
        found: u64,
        /// The version this program works with.
        known: u64,
    },
    /// A migration failed; the database is as it was before.
    #[error("cannot bring the database at {server} to schema version {version}")]
    Migration {
        /// Host, port and database.
        server: String,
        /// The version that could not be reached.
        version: u64,
        /// What PostgreSQL said.
        source: tokio_postgres::Error,
    },
}

impl OpenError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Url(_) => {
                "DATABASE_URL or DATABASE_URL_FILE gives it; docs/operations.md says how to write it"
            }
            Self::Connect { .. } | Self::Silent { .. } => {
                "check that PostgreSQL runs and that DATABASE_URL has its host, port, database, user and password; a server on another machine must speak TLS"
            }
            Self::NotDurable { .. } => {
                "set it on in postgresql.conf, or use a server that keeps what it acknowledges"
            }
            Self::Newer { .. } => "nothing in the database was changed",
            Self::Behind { .. } => "make a copy with pg_dump, then start the hub",
            Self::Migration { .. } => {
                "the user of DATABASE_URL must own the database or be allowed to create tables in it; PostgreSQL's own log says more"
            }
        }
    }
}

/// What to do about an old schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Bring it up to date.
    Run,
    /// Change nothing, and say that it is old ([`OpenError::Behind`]).
    CheckOnly,
}

/// A PostgreSQL database; clones share its connections.
#[derive(Clone)]
pub struct PostgresEngine(Arc<Pool>);

impl fmt::Debug for PostgresEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("PostgresEngine")
            .field(&self.0.server())
            .finish()
    }
}

impl PostgresEngine {
    /// Connects and brings the schema up to date. Several processes may do this at once.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(url: &str, upgrade: Upgrade) -> Result<Self, OpenError> {
        let connector = Connector::new(DatabaseUrl::parse(url)?);
        schema::prepare(&connector, upgrade).await?;
        Ok(Self(Arc::new(Pool::new(connector))))
    }

    /// Word of revocations that any process has written.
    pub fn changes(&self) -> Changes {
        Changes::start(self.0.connector().clone())
    }

    /// The server's time in milliseconds since the Unix epoch: the one clock that all processes share.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn now_ms(&self) -> Result<u64, SqlError> {
        let now = Arc::new(AtomicI64::new(0));
        self.read(Box::new(ReadClock(Arc::clone(&now)))).await?;
        u64::try_from(now.load(Ordering::Relaxed)).map_err(|_| SqlError::Damaged("the time"))
    }

    async fn run(&self, mut job: Box<dyn Job>, mode: Mode) -> Result<(), SqlError> {
        let mut pause = FIRST_PAUSE;
        let mut last = SqlError::Unavailable;
        let mut broken = 0;
        for _ in 0..ATTEMPTS {
            let mut held = self.0.acquire().await?;
            match attempt(held.connection(), job.as_mut(), mode).await {
                Ok(()) => {
                    held.give_back();
                    return Ok(());
                }
                Err(Failure::Final(error)) => {
                    held.give_back();
                    return Err(error);
                }
                Err(Failure::Lost) => return Err(SqlError::Unavailable),
                Err(Failure::Repeat(error)) => {
                    held.give_back();
                    last = error;
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                // Nothing was committed. Others that waited idle broke with it when the server was started again.
                Err(Failure::Broken) => {
                    self.0.drop_idle();
                    broken += 1;
                    if broken > 1 {
                        return Err(SqlError::Unavailable);
                    }
                }
            }
        }
        tracing::warn!("a transaction was given up: others were in its way each time");
        Err(last)
    }
}

/// Opens the store at this URL and brings its schema up to date; other processes may have it open.
///
/// # Errors
/// See [`OpenError`].
pub async fn open(url: &str) -> Result<OpenStore, OpenError> {
    let engine = PostgresEngine::open(url, Upgrade::Run).await?;
    let changes = Arc::new(engine.changes());
    Ok(OpenStore {
        store: SqlStore::new(Arc::new(engine.clone())),
        changes,
        shared: Some(engine),
    })
}

struct ReadClock(Arc<AtomicI64>);

#[async_trait]
impl Job for ReadClock {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
        match transaction.query(now, &[]).await?.pop().map(|row| row.0) {
            Some(values) => match values[..] {
                [Value::Integer(now)] => {
                    self.0.store(now, Ordering::Relaxed);
                    Ok(())
                }
                _ => Err(SqlError::Damaged("the time")),
            },
            None => Err(SqlError::Damaged("the time")),
        }
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    async fn read(&self, job: Box<dyn Job>) -> Result<(), SqlError> {
        self.run(job, Mode::Read).await
    }

    async fn write(&self, job: Box<dyn Job>) -> Result<(), SqlError> {
        self.run(job, Mode::Write).await
    }
}
