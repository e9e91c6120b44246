//! SQLite as an engine: one thread writes, a few read, and nobody else's thread ever waits for the disk.
//!
//! All writes that arrived while the last commit was on its way share the next one: one `BEGIN IMMEDIATE`, one fsync. Each
//! job runs in a savepoint, so that its failure costs itself only, and every answer is given after the commit. Jobs are
//! futures by their type, but over SQLite nothing in them ever waits, so that they are polled once.

mod changes;
mod connection;
mod queue;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use epicenter_store::schema::MIGRATIONS;
use epicenter_store::sql::{Engine, Job, SqlError};
use rusqlite::Connection;
use tokio::sync::watch;

pub(super) use changes::SqliteChanges;
use connection::Statements;
use queue::{Queue, Work};

use crate::sqlite::{DatabaseError, open_readonly, open_writable};

/// Threads that read. Reads mostly find their pages in memory, so that more threads than cores only wait for the disk.
const READERS: usize = 3;

/// Work that waits or runs; more has to wait outside, where its requests are counted.
const MAX_QUEUED: usize = 1_024;

/// Jobs of one commit. The first of them waits for all others.
const MAX_BATCH: usize = 256;

/// The embedded engine; dropping it finishes what was begun.
pub(super) struct SqliteEngine {
    writes: Arc<Queue>,
    reads: Arc<Queue>,
    committed: watch::Sender<u64>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for SqliteEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SqliteEngine")
    }
}

impl SqliteEngine {
    /// Opens or creates the database and starts the threads.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = open_writable(path, MIGRATIONS)?;
        let readers: Vec<_> = (0..READERS)
            .map(|_| open_readonly(path))
            .collect::<Result<_, _>>()
            .map_err(|source| DatabaseError::Open {
                path: path.to_owned(),
                source,
            })?;
        let writes = Arc::new(Queue::new(MAX_QUEUED));
        let reads = Arc::new(Queue::new(MAX_QUEUED));
        let (committed, _) = watch::channel(0);
        let mut engine = Self {
            writes: Arc::clone(&writes),
            reads: Arc::clone(&reads),
            committed: committed.clone(),
            threads: Vec::new(),
        };
        let no_thread = |source| DatabaseError::NoThread {
            path: path.to_owned(),
            source,
        };
        engine
            .start("identity-writer", move || {
                write_batches(connection, &writes, &committed);
            })
            .map_err(no_thread)?;
        for connection in readers {
            let reads = Arc::clone(&reads);
            engine
                .start("identity-reader", move || read_jobs(connection, &reads))
                .map_err(no_thread)?;
        }
        Ok(engine)
    }

    /// Hears of every commit of this process; the number counts them.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn start(
        &mut self,
        name: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for SqliteEngine {
    fn drop(&mut self) {
        self.writes.close();
        self.reads.close();
        for thread in self.threads.drain(..) {
            // A panic has been caught where it happened, or there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn read(&self, job: Box<dyn Job>) -> Result<(), SqlError> {
        self.reads.perform(job).await
    }

    async fn write(&self, job: Box<dyn Job>) -> Result<(), SqlError> {
        self.writes.perform(job).await
    }
}

/// The writer thread.
fn write_batches(connection: Connection, queue: &Queue, committed: &watch::Sender<u64>) {
    let mut statements = Statements::new(connection);
    while let Some(batch) = queue.take(MAX_BATCH) {
        if write_batch(&mut statements, batch) {
            committed.send_modify(|commits| *commits += 1);
        }
    }
}

/// Runs the jobs as one commit and answers them; whether something was committed.
fn write_batch(statements: &mut Statements, batch: Vec<Work>) -> bool {
    if let Err(error) = statements.control("BEGIN IMMEDIATE") {
        statements.log(&error, "the transaction cannot begin");
        answer_all(batch, &SqlError::Unavailable);
        return false;
    }
    let mut waiting = Vec::with_capacity(batch.len());
    let mut batch = batch.into_iter();
    while let Some(mut work) = batch.next() {
        match run_in_savepoint(statements, &mut *work.job) {
            Ok(()) => waiting.push(work),
            Err(error) if statements.is_in_transaction() => work.answer(Err(error)),
            Err(error) => {
                // SQLite has rolled all of it back, as it does when the disk is full.
                work.answer(Err(error));
                answer_all(waiting, &SqlError::Unavailable);
                answer_all(batch.collect(), &SqlError::Unavailable);
                return false;
            }
        }
    }
    if let Err(error) = statements.control("COMMIT") {
        statements.log(&error, "the commit failed");
        statements.roll_back();
        answer_all(waiting, &SqlError::Unavailable);
        return false;
    }
    let has_committed = !waiting.is_empty();
    for work in waiting {
        work.answer(Ok(()));
    }
    has_committed
}

fn answer_all(works: Vec<Work>, error: &SqlError) {
    for work in works {
        work.answer(Err(error.clone()));
    }
}

/// A failure without an open transaction means that the whole batch is lost.
fn run_in_savepoint(statements: &mut Statements, job: &mut dyn Job) -> Result<(), SqlError> {
    statements.statement("SAVEPOINT job")?;
    let result = statements.run(job);
    if !statements.is_in_transaction() {
        return Err(result.err().unwrap_or(SqlError::Unavailable));
    }
    let closed = match &result {
        Ok(()) => statements.statement("RELEASE job"),
        Err(_) => statements
            .statement("ROLLBACK TO job")
            .and_then(|()| statements.statement("RELEASE job")),
    };
    if closed.is_err() {
        // What half a job has changed must not be committed with the others.
        statements.roll_back();
    }
    result.and(closed)
}

/// A reader thread: every job sees one state of the database.
fn read_jobs(connection: Connection, queue: &Queue) {
    let mut statements = Statements::new(connection);
    while let Some(batch) = queue.take(1) {
        for mut work in batch {
            let result = read_job(&mut statements, &mut *work.job);
            work.answer(result);
        }
    }
}

fn read_job(statements: &mut Statements, job: &mut dyn Job) -> Result<(), SqlError> {
    statements.statement("BEGIN")?;
    let result = statements.run(job);
    statements.roll_back();
    result
}

#[cfg(test)]
mod tests;
