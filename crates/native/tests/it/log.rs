//! The room log: what it promises, and what it does when the disk or the file fails it.

mod append;
mod damage;
mod failures;
mod files;
mod generations;
mod migration;
mod model;
mod quarantine;
mod queue;
mod replace;
mod replace_failures;
mod rooms;
mod tombstones;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::log::{
    AppendDone, AppendError, AppendRequest, Extent, Generation, Log, LogConfig, LogId, ReplaceDone,
    ReplaceError, Replacement, SqliteLog,
};
use epicenter_room::{Append, Entry, Seq};
use epicenter_server::ports::Clock;
use rusqlite::Connection;

/// A directory with a log in it, and a clock that stands still.
struct Disk {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
}

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Disk {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock(AtomicU64::new(1_000_000))),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("rooms.db")
    }

    fn open(&self) -> SqliteLog {
        self.open_with(LogConfig::default())
    }

    fn open_with(&self, config: LogConfig) -> SqliteLog {
        SqliteLog::open(&self.path(), config, Arc::clone(&self.clock) as _).unwrap()
    }

    /// A connection beside the log's own, as a tool or a fault would have it.
    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn advance(&self, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap();
        self.clock.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn count(&self, query: &str) -> u64 {
        let count: i64 = self.sql().query_row(query, [], |row| row.get(0)).unwrap();
        u64::try_from(count).unwrap()
    }
}

fn room(owner: &str, id: &str) -> RoomName {
    RoomName::stored(OwnerId::parse(owner).unwrap(), RoomId::parse(id).unwrap())
}

fn ready(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry::Ready(Bytes::from(bytes.into()))
}

fn pending(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry::Pending(Bytes::from(bytes.into()))
}

/// Where the results of appends arrive.
type Results = Receiver<Result<Seq, AppendError>>;

fn send(
    log: &SqliteLog,
    room: &RoomName,
    generation: u64,
    first: u64,
    entries: Vec<Entry>,
    results: &Sender<Result<Seq, AppendError>>,
) {
    let results = results.clone();
    log.append(AppendRequest {
        room: room.clone(),
        generation: Generation(generation),
        append: Append {
            first: Seq(first),
            entries,
        },
        // A test that does not look drops the receiver.
        done: AppendDone(Box::new(move |result| drop(results.send(result)))),
    });
}

/// Appends and waits.
fn append(
    log: &SqliteLog,
    room: &RoomName,
    generation: u64,
    first: u64,
    entries: Vec<Entry>,
) -> Result<Seq, AppendError> {
    let (sender, results) = channel();
    send(log, room, generation, first, entries, &sender);
    results.recv().unwrap()
}

fn texts(bodies: &[Bytes]) -> Vec<&str> {
    bodies
        .iter()
        .map(|body| std::str::from_utf8(body).unwrap())
        .collect()
}

/// Stops the writer inside the answer to an append, until it is dropped or released.
struct Valve {
    entry: u64,
    release: Sender<()>,
    done: Results,
}

impl Valve {
    fn shut(log: &SqliteLog) -> Self {
        let (release, released) = channel::<()>();
        let (entered, has_entered) = channel();
        let (sender, done) = channel();
        let name = room("valve", "valve");
        let entry = log.extent(&name).map_or(1, |extent| extent.last.0 + 1);
        log.append(AppendRequest {
            room: name,
            generation: Generation(1),
            append: Append {
                first: Seq(entry),
                entries: vec![Entry::Created],
            },
            done: AppendDone(Box::new(move |result| {
                entered.send(()).unwrap();
                // The end of the valve releases as well.
                let _ = released.recv();
                sender.send(result).unwrap();
            })),
        });
        has_entered.recv().unwrap();
        Self {
            entry,
            release,
            done,
        }
    }

    fn open(self) {
        self.release.send(()).unwrap();
        assert_eq!(self.done.recv().unwrap(), Ok(Seq(self.entry)));
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn extent(log: &SqliteLog, room: &RoomName) -> Extent {
    log.extent(room).unwrap()
}

type Replaced = Receiver<Result<(), ReplaceError>>;

/// Hands over a state for the log that counts now.
fn send_state(
    log: &SqliteLog,
    room: &RoomName,
    upto: u64,
    ready: &[u8],
    pending: Option<&[u8]>,
) -> Replaced {
    let of = extent(log, room).log;
    send_state_of(log, room, of, upto, ready, pending)
}

fn send_state_of(
    log: &SqliteLog,
    room: &RoomName,
    of: LogId,
    upto: u64,
    ready: &[u8],
    pending: Option<&[u8]>,
) -> Replaced {
    let (sender, result) = channel();
    log.replace(Replacement {
        room: room.clone(),
        log: of,
        upto: Seq(upto),
        ready: Bytes::copy_from_slice(ready),
        pending: pending.map(Bytes::copy_from_slice),
        // A test that does not look drops the receiver.
        done: ReplaceDone(Box::new(move |result| drop(sender.send(result)))),
    });
    result
}

/// Replaces everything up to an entry and waits.
fn replace(log: &SqliteLog, room: &RoomName, upto: u64, ready: &str) -> Result<(), ReplaceError> {
    send_state(log, room, upto, ready.as_bytes(), None)
        .recv()
        .unwrap()
}

/// The bodies that are read after an entry: the visible ones, those that wait, and the last entry considered.
fn bodies(
    log: &SqliteLog,
    room: &RoomName,
    after: u64,
    upto: Option<u64>,
) -> (Vec<String>, Vec<String>, u64) {
    let stored = log.read(room, Seq(after), upto.map(Seq)).unwrap();
    let owned = |bodies: &[Bytes]| texts(bodies).into_iter().map(str::to_owned).collect();
    (owned(&stored.ready), owned(&stored.pending), stored.last.0)
}

fn visible(log: &SqliteLog, room: &RoomName) -> Vec<String> {
    bodies(log, room, 0, None).0
}

/// Looks again until it holds; the writer does its upkeep when it is idle.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Gives an idle writer a reason to look at the clock.
fn wake(log: &SqliteLog) {
    let name = room("nobody", "wake");
    let next = log.extent(&name).map_or(1, |extent| extent.last.0 + 1);
    append(log, &name, 1, next, vec![ready("")]).unwrap();
}

/// Nothing is left to be deleted. The disk is asked too: the writer counts what there is to delete only after others can
/// see that it has to go.
fn is_clean(disk: &Disk, log: &SqliteLog) -> bool {
    log.stats().purge_backlog == 0 && disk.count("SELECT count(*) FROM retired_logs") == 0
}
