//! The log that ships: the handle that room tasks share, in front of the writer thread and the read connections.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_room::Seq;
use epicenter_server::ports::Clock;

use super::directory::Directory;
use super::queue::Queue;
use super::reader::{ReadPool, RowsError};
use super::row::Kind;
use super::row_list::RowRef;
use super::writer::Writer;
use super::{
    AppendError, AppendRequest, DirectoryEntry, Extent, Log, LogId, ReadError, Rejected,
    ReplaceError, Replacement, StoredRoom, Usage, scan, schema,
};
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
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_commit_rows: 4096,
            max_commit_bytes: 16 << 20,
            max_queue_bytes: 64 << 20,
            max_reads: 4,
            max_database_pages: None,
        }
    }
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Commits that carried appends.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
    /// Commits that failed, with every append in them.
    pub failed_commits: u64,
    /// Reads that failed.
    pub read_faults: u64,
    /// Bytes waiting for the disk now.
    pub queued_bytes: usize,
}

/// What the handle and the writer thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) queue: Queue,
    pub(super) directory: RwLock<Directory>,
    pub(super) counters: Counters,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) failed_commits: AtomicU64,
    read_faults: AtomicU64,
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
        let mut scanned = scan::scan(&connection, path)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            queue: Queue::new(limits.max_queue_bytes),
            directory: RwLock::new(std::mem::take(&mut scanned.directory)),
            counters: Counters::default(),
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
        let counters = &self.shared.counters;
        LogStats {
            commits: counters.commits.load(Ordering::Relaxed),
            rows: counters.rows.load(Ordering::Relaxed),
            failed_commits: counters.failed_commits.load(Ordering::Relaxed),
            read_faults: counters.read_faults.load(Ordering::Relaxed),
            queued_bytes: self.shared.queue.bytes(),
        }
    }

    /// What the directory says now, and which rows that makes.
    fn look_up(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<Option<LookedUp>, ReadError> {
        let directory = self
            .shared
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let found = directory.look_up(room);
        let Some(record) = found.map_err(|fault| ReadError(format!("{room}: {fault}")))? else {
            return Ok(None);
        };
        let durable = record.rows.last_entry();
        let upto = upto.map_or(durable, |upto| upto.0.min(durable));
        Ok(Some(LookedUp {
            log: record.log,
            rows: record.rows.rows(after.0, upto),
            stored: StoredRoom {
                status: record.status,
                last: Seq(upto),
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
                Ok(entries) => {
                    let mut stored = found.stored;
                    for (kind, bytes) in entries {
                        match kind {
                            Kind::Ready => stored.ready.push(bytes),
                            Kind::Pending => stored.pending.push(bytes),
                            Kind::Recreated => stored.is_reset = true,
                            Kind::Created | Kind::Deleted | Kind::Restored => {}
                        }
                    }
                    return Ok(stored);
                }
                // The room may have been re-created meanwhile, and its old rows deleted.
                Err(RowsError::Missing { .. }) if !is_retry_useless => {}
                Err(error) => return Err(ReadError(format!("{room}: {error}"))),
            }
        }
        Err(ReadError(format!("{room}: it is re-created all the time")))
    }
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
            self.shared
                .counters
                .read_faults
                .fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry> {
        let directory = self
            .shared
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.list(owner, after, limit)
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
        let directory = self
            .shared
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.extent(room)
    }

    fn replace(&self, replacement: Replacement) {
        (replacement.done.0)(Err(ReplaceError::Stale));
    }

    fn quarantine(&self, rejected: Rejected) {
        tracing::error!(room.name = %rejected.room, reason = rejected.reason, "a compaction was rejected");
    }

    fn usage(&self, owner: &OwnerId) -> Usage {
        let directory = self
            .shared
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        directory.usage(owner)
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
