//! The one thread that writes: takes every append that has arrived, commits them together, answers them in order.
//!
//! A commit that fails fails the appends in it and condemns the generations they came from; the next commit starts from
//! a connection whose state is known again. What a reader may see (the directory) is changed between the commit and the
//! first answer. A panic is treated as a failed commit, and an end of the thread for any reason answers everything.

mod jobs;
mod pace;
mod upkeep;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use std::time::Instant;

use epicenter_identity::RoomName;
use epicenter_room::Seq;
use epicenter_server::ports::Clock;
use rusqlite::Connection;

use super::directory::Directory;
use super::queue::{self, Taken};
use super::scan::{self, RetiredLog, Scanned};
use super::sqlite::{LogConfig, Shared};
use super::stage::Stage;
use super::statements::{self, CommitError};
use super::{AppendError, AppendRequest, Generation, ReplaceError, schema};
use pace::Pace;
use upkeep::Upkeep;

/// Answers of one commit that this thread carries on by itself, if nothing waits: under little load that spares waking
/// another thread for each update.
const ANSWERS_CARRIED_ON: usize = 16;
/// Times of last use that one commit carries along; the rest waits for the next.
const ACCESSES_PER_COMMIT: usize = 256;

/// The state of the writer thread.
pub(super) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    path: PathBuf,
    limits: LogConfig,
    clock: Arc<dyn Clock>,
    epoch: u64,
    next_row: u64,
    next_log: u64,
    retired: VecDeque<RetiredLog>,
    /// The latest generation of a room that lost an append.
    condemned: HashMap<RoomName, Generation>,
    /// The connection and the directory are known to agree with the disk.
    is_sound: bool,
    /// A panic may have left the directory half changed.
    is_directory_suspect: bool,
    pace: Pace,
    upkeep: Upkeep,
    #[cfg(test)]
    panic_at_row: Option<u64>,
}

impl Writer {
    /// `scanned` is what the database holds; its directory has been moved into `shared`.
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        scanned: Scanned,
        epoch: u64,
        limits: LogConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            connection,
            path: shared.path.clone(),
            shared,
            limits,
            clock,
            epoch,
            next_row: scanned.next_row,
            next_log: scanned.next_log,
            retired: scanned.retired,
            condemned: HashMap::new(),
            is_sound: true,
            is_directory_suspect: false,
            pace: Pace::default(),
            upkeep: Upkeep::default(),
            #[cfg(test)]
            panic_at_row: None,
        }
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let goodbye = Goodbye(Arc::clone(&self.shared));
        self.note_backlog();
        loop {
            let taken = self.shared.queue.take(
                (self.limits.max_commit_rows, self.limits.max_commit_bytes),
                self.wait_for_work(),
                self.pace.not_before(),
            );
            let Taken::Work { appends, jobs } = taken else {
                break;
            };
            if !appends.is_empty() {
                self.write(appends);
            }
            if !jobs.is_empty() {
                self.run_jobs(jobs);
            }
            self.keep_up();
        }
        self.write_all_accesses();
        self.checkpoint();
        drop(goodbye);
    }

    /// Commits a batch and answers every append in it, in order.
    fn write(&mut self, batch: Vec<AppendRequest>) {
        let weight = batch.iter().map(queue::weight).sum();
        let results = match catch_unwind(AssertUnwindSafe(|| self.commit(&batch))) {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => self.fail(&batch, &error),
            Err(_panic) => {
                // The panic hook has printed where and why.
                self.note_panic();
                self.fail_all(&batch, "the writer of the room log panicked")
            }
        };
        let has_time = self.pace.not_before().is_some() || self.shared.queue.is_idle();
        let is_busy = batch.len() > ANSWERS_CARRIED_ON || !has_time;
        self.shared.is_busy.store(is_busy, Ordering::Relaxed);
        for (request, result) in batch.into_iter().zip(results) {
            if let Err(_panic) = catch_unwind(AssertUnwindSafe(|| request.done.0(result))) {
                tracing::error!("a receiver of an append's result panicked");
            }
        }
        self.shared.queue.release(weight);
    }

    fn commit(
        &mut self,
        batch: &[AppendRequest],
    ) -> Result<Vec<Result<Seq, AppendError>>, CommitError> {
        if !self.is_sound {
            self.recover()?;
        }
        let shared = Arc::clone(&self.shared);
        let mut stage = self.new_stage();
        let (results, accesses) = {
            let directory = read(&shared.directory);
            let add = |request| self.stage(&mut stage, request, &directory);
            let results = batch.iter().map(add).collect();
            (results, directory.due_accesses(ACCESSES_PER_COMMIT))
        };
        if stage.rows.is_empty() {
            return Ok(results);
        }
        #[cfg(test)]
        self.panic_if_asked(&stage);
        let (rows, began) = (stage.rows.len(), Instant::now());
        self.write_stage(stage, accesses)?;
        let took = began.elapsed();
        shared.counters.note_commit(rows, took);
        self.pace.note(batch.len(), began, took);
        Ok(results)
    }

    fn new_stage<'a>(&self) -> Stage<'a> {
        let now_ms = self.clock.now_ms();
        Stage::new(self.next_row, self.next_log, self.epoch, now_ms)
    }

    /// Makes a stage durable, and then known.
    fn write_stage(
        &mut self,
        stage: Stage<'_>,
        accesses: Vec<(RoomName, u64, u64)>,
    ) -> Result<(), CommitError> {
        statements::write(&mut self.connection, &stage, &accesses)?;
        (self.next_row, self.next_log) = (stage.next_row, stage.next_log);
        let mut directory = write(&self.shared.directory);
        directory.note_accesses_written(accesses);
        self.retired.extend(stage.publish(&mut directory));
        Ok(())
    }

    /// Adds one append to the commit, unless its generation lost an earlier one or it does not fit the log.
    fn stage<'a>(
        &mut self,
        stage: &mut Stage<'a>,
        request: &'a AppendRequest,
        directory: &Directory,
    ) -> Result<Seq, AppendError> {
        if let Some(lost) = self.condemned.get(&request.room)
            && request.generation <= *lost
        {
            return Err(AppendError("an earlier append of this room failed".into()));
        }
        let result = stage.add(&request.room, &request.append, directory);
        if result.is_err() {
            self.condemn(request);
        }
        result
    }

    /// Whatever the room's generation appends after this one may depend on it.
    fn condemn(&mut self, request: &AppendRequest) {
        let room = request.room.clone();
        let lost = self.condemned.entry(room).or_insert(request.generation);
        *lost = request.generation.max(*lost);
    }

    #[cfg(test)]
    fn panic_if_asked(&self, stage: &Stage<'_>) {
        if self
            .panic_at_row
            .is_some_and(|row| stage.rows.iter().any(|staged| staged.row == row))
        {
            panic!("asked to");
        }
    }

    fn fail(
        &mut self,
        batch: &[AppendRequest],
        error: &CommitError,
    ) -> Vec<Result<Seq, AppendError>> {
        self.note_failure(error);
        self.fail_all(batch, &error.to_string())
    }

    /// A commit failed: from now on nothing is taken for granted before it has been looked at again.
    fn note_failure(&mut self, error: &CommitError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a commit of the room log failed"
        );
        self.is_sound = false;
        if let Err(error) = self.recover() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the room log cannot be used now; the next append tries again"
            );
        }
    }

    /// A panic may have left anything half done.
    fn note_panic(&mut self) {
        self.is_sound = false;
        self.is_directory_suspect = true;
    }

    fn fail_all(&mut self, batch: &[AppendRequest], reason: &str) -> Vec<Result<Seq, AppendError>> {
        self.shared
            .counters
            .failed_commits
            .fetch_add(1, Ordering::Relaxed);
        let error = AppendError(reason.into());
        for request in batch {
            self.condemn(request);
        }
        batch.iter().map(|_| Err(error.clone())).collect()
    }

    /// Brings connection, directory and disk into agreement after a failure, whatever became of the failed commit.
    fn recover(&mut self) -> Result<(), CommitError> {
        match self.last_row() {
            Ok(last_row) if last_row + 1 == self.next_row && !self.is_directory_suspect => {}
            Ok(_) => self.rescan()?,
            Err(_) => {
                self.connection = schema::open(&self.path, self.limits.max_database_pages)?;
                self.rescan()?;
            }
        }
        self.is_sound = true;
        Ok(())
    }

    /// The last durable row, with no transaction open.
    fn last_row(&self) -> Result<u64, CommitError> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        let last_row: Option<i64> =
            self.connection
                .query_row("SELECT max(row) FROM entries", [], |row| row.get(0))?;
        Ok(u64::try_from(last_row.unwrap_or(0))?)
    }

    /// Takes everything from the disk again: a commit that was reported as failed may have reached it all the same.
    fn rescan(&mut self) -> Result<(), CommitError> {
        let scanned = scan::scan(&self.connection, &self.path, self.clock.now_ms())?;
        (self.next_row, self.next_log) = (scanned.next_row, scanned.next_log);
        self.retired = scanned.retired;
        let shared = Arc::clone(&self.shared);
        let mut directory = write(&shared.directory);
        let old = std::mem::replace(&mut *directory, scanned.directory);
        directory.inherit_accesses(&old);
        self.is_directory_suspect = false;
        Ok(())
    }

    /// Leaves one file behind instead of three; what is not copied now is copied at the next start.
    fn checkpoint(&self) {
        // A backup may be reading: a shutdown does not wait for it.
        let at_once = self.connection.busy_timeout(Duration::ZERO);
        let busy = at_once.and_then(|()| {
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        });
        if !matches!(busy, Ok(0)) {
            tracing::debug!(result = ?busy, "the room log was not checkpointed");
        }
    }

    fn write_all_accesses(&mut self) {
        let accesses = read(&self.shared.directory).unwritten_accesses();
        if accesses.is_empty() {
            return;
        }
        if let Err(error) = statements::write_accesses(&mut self.connection, self.epoch, &accesses)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the times at which rooms were last used are not stored"
            );
        }
    }
}

/// Answers what is left when the writer thread ends, however it ends.
struct Goodbye(Arc<Shared>);

impl Drop for Goodbye {
    fn drop(&mut self) {
        let reason: Arc<str> = Arc::from("the log has stopped");
        let (requests, jobs) = self.0.queue.abandon(&reason);
        for request in requests {
            let weight = queue::weight(&request);
            request.done.0(Err(AppendError(Arc::clone(&reason))));
            self.0.queue.release(weight);
        }
        let weight = queue::job_weight(&jobs);
        for job in jobs {
            job.answer(Err(ReplaceError::Failed(Arc::clone(&reason))));
        }
        self.0.queue.release(weight);
    }
}

/// A panic under this lock is followed by a rescan, which replaces what it may have left half changed.
fn read(directory: &RwLock<Directory>) -> RwLockReadGuard<'_, Directory> {
    directory.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(directory: &RwLock<Directory>) -> RwLockWriteGuard<'_, Directory> {
    directory.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
