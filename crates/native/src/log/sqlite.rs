//! The log that ships: the handle that rooms share, in front of the writer thread and the read connections.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::{RoomStatus, Seq};
use epicenter_server::ports::Clock;

use super::directory::Directory;
use super::queue::{Job, Lift, Queue};
use super::reader::{ReadPool, RowsError};
use super::row::Kind;
use super::row_list::RowRef;
use super::stats::{Counters, LogStats};
use super::writer::Writer;
use super::{
    AppendError, AppendRequest, DirectoryEntry, Extent, Log, LogId, ReadError, Rejected,
    ReplaceError, Replacement, StoredGeneration, StoredRejection, StoredRoom, Usage, scan, schema,
};
use crate::config::HostConfig;
use crate::sqlite::DatabaseError;

/// How often a read starts again because the room was re-created under it.
const READ_ATTEMPTS: usize = 4;

/// Sizes of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Rows of one commit, unless a single append has more: 4,096.
    pub max_commit_rows: usize,
    /// Bytes of one commit, unless a single append has more: 16 MiB.
    pub max_commit_bytes: usize,
    /// Bytes waiting for the disk at which `is_full` holds: 64 MiB.
    pub max_queue_bytes: usize,
    /// Rooms read at once: 4. Each reader holds a connection with a page cache of about 2 MiB.
    pub max_reads: usize,
    /// Pages of 4 KiB that the database may grow to; none by default.
    pub max_database_pages: Option<u32>,
    /// How long a log is kept that was replaced by a state: 7 days; 0 for not at all.
    pub keep_generations_ms: u64,
    /// Bytes of all logs that are kept so, the oldest go first: 1 GiB; 0 for none.
    pub max_generation_bytes: u64,
    /// How long the content of a deleted room is kept: 30 days.
    pub keep_deleted_ms: u64,
}

const DAY_MS: u64 = 86_400_000;

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_commit_rows: 4096,
            max_commit_bytes: 16 << 20,
            max_queue_bytes: 64 << 20,
            max_reads: 4,
            max_database_pages: None,
            keep_generations_ms: 7 * DAY_MS,
            max_generation_bytes: 1 << 30,
            keep_deleted_ms: 30 * DAY_MS,
        }
    }
}

impl LogConfig {
    /// What the settings say of the log; the rest as it is by default.
    pub(crate) fn of(config: &HostConfig) -> Self {
        let (limits, retention) = (&config.limits, &config.retention);
        Self {
            max_commit_rows: limits.max_commit_rows,
            max_commit_bytes: limits.max_commit_bytes,
            max_queue_bytes: limits.max_log_queue_bytes,
            keep_generations_ms: retention.keep_generations_ms,
            // No number of bytes in memory is larger than what this counts.
            max_generation_bytes: retention.max_generation_bytes as u64,
            keep_deleted_ms: retention.keep_deleted_ms,
            ..Self::default()
        }
    }

    /// Whether replaced logs are kept at all.
    pub(super) fn keeps_generations(&self) -> bool {
        self.keep_generations_ms > 0 && self.max_generation_bytes > 0
    }
}

/// What the handle and the writer thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) queue: Queue,
    pub(super) directory: RwLock<Directory>,
    pub(super) counters: Counters,
    /// The writer has more to do than to carry on what its answers lead to.
    pub(super) is_busy: AtomicBool,
}

/// The room log in one SQLite database. Dropping it is a [`SqliteLog::shutdown`].
#[derive(Debug)]
pub struct SqliteLog {
    shared: Arc<Shared>,
    readers: ReadPool,
    epoch: u64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLog {
    /// Opens or creates the database and starts the writer thread. Only the process that holds the data directory's
    /// lock may do this: opening fences off every earlier writer.
    ///
    /// # Errors
    /// When the database cannot be used, or a newer program has written it.
    pub fn open(
        path: &Path,
        limits: LogConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DatabaseError> {
        let mut connection = schema::open(path, limits.max_database_pages)?;
        let epoch = schema::begin_epoch(&mut connection, path)?;
        let mut scanned = scan::scan(&connection, path, clock.now_ms())?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            queue: Queue::new(limits.max_queue_bytes),
            directory: RwLock::new(std::mem::take(&mut scanned.directory)),
            counters: Counters::default(),
            is_busy: AtomicBool::new(false),
        });
        let readers = ReadPool::new(path.to_owned(), limits.max_reads);
        let writer = Writer::new(
            connection,
            Arc::clone(&shared),
            scanned,
            epoch,
            limits,
            clock,
        );
        let thread = thread::Builder::new()
            .name("room-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| DatabaseError::Create {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            shared,
            readers,
            epoch,
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Writes what is queued and ends the writer thread; blocks until that is done. Later appends fail.
    pub fn shutdown(&self) {
        self.shared.queue.close();
        // The connection that closes last tidies up, and only the writer's can.
        self.readers.close();
        let thread = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the room log ended with a panic");
        }
    }

    /// Which opening of the database this is; every row carries the number of the one that wrote it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Counters since the log was opened.
    pub fn stats(&self) -> LogStats {
        let directory = self.directory();
        LogStats {
            queued_bytes: self.shared.queue.bytes(),
            generations: directory.generations.len() as u64,
            generation_bytes: directory.generations.bytes(),
            rejections: directory.rejections.len() as u64,
            ..self.shared.counters.read()
        }
    }

    /// The previous generations of a room that are still kept, the newest first.
    pub fn generations(&self, room: &RoomName) -> Vec<StoredGeneration> {
        self.directory().generations.list(room)
    }

    /// The rejected states of a room; its log is not compacted while there is one.
    pub fn rejections(&self, room: &RoomName) -> Vec<StoredRejection> {
        self.directory().rejections.list(room)
    }

    /// Reads a previous generation or a rejected state, whole. Blocks.
    ///
    /// # Errors
    /// When there is none of this number, the disk fails or a row is missing or damaged.
    pub fn read_generation(&self, log: LogId) -> Result<StoredRoom, ReadError> {
        let result = self.read_kept(log);
        if result.is_err() {
            Counters::add(&self.shared.counters.read_faults, 1);
        }
        result
    }

    /// Forgets that a state made of this log was rejected, so that it is compacted again. Blocks.
    ///
    /// # Errors
    /// `Stale` when nothing is known against this log; otherwise when the storage fails.
    pub fn lift_quarantine(&self, room: &RoomName, log: LogId) -> Result<(), ReplaceError> {
        let (sender, receiver) = channel();
        self.push(Job::Lift(Lift {
            room: room.clone(),
            log,
            // Whoever waits is below.
            done: Box::new(move |result| drop(sender.send(result))),
        }));
        receiver
            .recv()
            .unwrap_or_else(|_| Err(ReplaceError::Failed("the log has stopped".into())))
    }

    fn push(&self, job: Job) {
        if let Err(refused) = self.shared.queue.push_job(job) {
            let (job, reason) = *refused;
            job.answer(Err(ReplaceError::Failed(reason)));
        }
    }

    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        let directory = &self.shared.directory;
        directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_kept(&self, log: LogId) -> Result<StoredRoom, ReadError> {
        let damaged = |fault: &dyn fmt::Display| ReadError(format!("log {log}: {fault}"));
        let rows = {
            let directory = self.directory();
            let rows = directory.kept_rows(log).map_err(|fault| damaged(&fault))?;
            rows.clone()
        };
        let stored = StoredRoom {
            // Only the logs of live rooms are replaced.
            status: RoomStatus::Live,
            last: Seq(rows.last_entry()),
            log,
            ..StoredRoom::default()
        };
        let entries = self.readers.read(log.0, &rows.all());
        Ok(gather(stored, entries.map_err(|error| damaged(&error))?))
    }

    /// What the directory says now, and which rows that makes.
    fn look_up(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<Option<LookedUp>, ReadError> {
        let directory = self.directory();
        let found = directory.look_up(room);
        let Some(record) = found.map_err(|fault| ReadError(format!("{room}: {fault}")))? else {
            return Ok(None);
        };
        let durable = record.rows.last_entry();
        let mut upto = upto.map_or(durable, |upto| upto.0.min(durable));
        // Some of what the caller asks for is only to be had within the head.
        let is_reset = after.0 < record.head.end();
        let after = if is_reset {
            upto = upto.max(record.head.end());
            record.head.entry() - 1
        } else {
            after.0
        };
        Ok(Some(LookedUp {
            log: record.log,
            rows: record.rows.rows(after, upto),
            stored: StoredRoom {
                status: record.status,
                last: Seq(upto),
                is_reset,
                log: LogId(record.log),
                ..StoredRoom::default()
            },
        }))
    }

    fn read_room(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<StoredRoom, ReadError> {
        let mut log = None;
        for _ in 0..READ_ATTEMPTS {
            let Some(found) = self.look_up(room, after, upto)? else {
                return Ok(StoredRoom::default());
            };
            let is_retry_useless = log == Some(found.log);
            log = Some(found.log);
            match self.readers.read(found.log, &found.rows) {
                Ok(entries) => return Ok(gather(found.stored, entries)),
                // The log may have been replaced meanwhile, and its old rows deleted.
                Err(RowsError::Missing { .. }) if !is_retry_useless => {}
                Err(error) => return Err(ReadError(format!("{room}: {error}"))),
            }
        }
        Err(ReadError(format!(
            "{room}: its log is replaced all the time"
        )))
    }
}

/// Puts the bodies of entries where they belong.
fn gather(mut stored: StoredRoom, entries: Vec<(Kind, Bytes)>) -> StoredRoom {
    for (kind, bytes) in entries {
        match kind {
            Kind::State | Kind::Ready => stored.ready.push(bytes),
            Kind::Pending => stored.pending.push(bytes),
            Kind::Created | Kind::Deleted | Kind::Recreated | Kind::Restored => {}
        }
    }
    stored
}

/// A room's rows at one moment.
struct LookedUp {
    log: u64,
    rows: Vec<RowRef>,
    stored: StoredRoom,
}

impl Log for SqliteLog {
    fn append(&self, request: AppendRequest) {
        if let Err(refused) = self.shared.queue.push(request) {
            let (request, reason) = *refused;
            request.done.0(Err(AppendError(reason)));
        }
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<StoredRoom, ReadError> {
        let result = self.read_room(room, after, upto);
        if result.is_err() {
            Counters::add(&self.shared.counters.read_faults, 1);
        }
        result
    }

    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry> {
        self.directory().list(owner, after, limit)
    }

    fn touch(&self, room: &RoomName, now_ms: u64) {
        let mut directory = self
            .shared
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        directory.touch(room, now_ms);
    }

    fn extent(&self, room: &RoomName) -> Option<Extent> {
        self.directory().extent(room)
    }

    fn replace(&self, replacement: Replacement) {
        self.push(Job::Replace(replacement));
    }

    fn quarantine(&self, rejected: Rejected) {
        tracing::error!(
            room.name = %rejected.room,
            reason = rejected.reason,
            "a state does not equal the log that it was made of; the log is kept as it is, the state is kept beside it"
        );
        self.push(Job::Reject(rejected));
    }

    fn usage(&self, owner: &OwnerId) -> Usage {
        self.directory().usage(owner)
    }

    fn is_busy(&self) -> bool {
        self.shared.is_busy.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.shared.queue.is_full()
    }

    fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        self.shared.queue.when_not_full(wake);
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.shutdown();
    }
}
