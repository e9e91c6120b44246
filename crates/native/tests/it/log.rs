//! The room log: what it promises, and what it does when the disk or the file fails it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::log::{
    AppendDone, AppendError, AppendRequest, Generation, Log, LogConfig, SqliteLog,
};
use epicenter_room::{Append, Entry, RoomStatus, Seq};
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
    release: Sender<()>,
    done: Results,
}

impl Valve {
    fn shut(log: &SqliteLog) -> Self {
        let (release, released) = channel::<()>();
        let (entered, has_entered) = channel();
        let (sender, done) = channel();
        log.append(AppendRequest {
            room: room("valve", "valve"),
            generation: Generation(1),
            append: Append {
                first: Seq(1),
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
        Self { release, done }
    }

    fn open(self) {
        self.release.send(()).unwrap();
        assert_eq!(self.done.recv().unwrap(), Ok(Seq(1)));
    }
}

#[test]
fn what_was_appended_is_read_back_also_after_reopening() {
    let disk = Disk::new();
    let name = room("ada", "notes");
    let check = |log: &SqliteLog| {
        let stored = log.read(&name, Seq(0), None).unwrap();
        assert_eq!((stored.status, stored.last), (RoomStatus::Live, Seq(5)));
        assert_eq!(texts(&stored.ready), ["one", "", "four"]);
        assert_eq!(texts(&stored.pending), ["three"]);
        let part = log.read(&name, Seq(2), Some(Seq(4))).unwrap();
        assert_eq!(part.last, Seq(4));
        assert_eq!(texts(&part.ready), [""]);
        assert_eq!(texts(&part.pending), ["three"]);
        let beyond = log.read(&name, Seq(5), Some(Seq(99))).unwrap();
        assert_eq!((beyond.last, beyond.ready.len()), (Seq(5), 0));
    };
    let log = disk.open();
    assert_eq!(
        append(&log, &name, 1, 1, vec![Entry::Created, ready("one")]),
        Ok(Seq(2))
    );
    assert_eq!(
        append(
            &log,
            &name,
            1,
            3,
            vec![ready(""), pending("three"), ready("four")]
        ),
        Ok(Seq(5))
    );
    check(&log);
    drop(log);
    check(&disk.open());
    let absent = disk
        .open()
        .read(&room("ada", "other"), Seq(0), None)
        .unwrap();
    assert_eq!((absent.status, absent.last), (RoomStatus::Absent, Seq(0)));
}

#[test]
fn large_entries_are_stored_in_parts() {
    const MIB: usize = 1 << 20;
    let disk = Disk::new();
    let name = room("ada", "large");
    let bodies: Vec<Vec<u8>> = [3 * MIB + 17, 5, 2 * MIB, MIB + 1]
        .iter()
        .map(|size| (0..*size).map(|at| (at * 7 + size) as u8).collect())
        .collect();
    let check = |log: &SqliteLog| {
        let stored = log.read(&name, Seq(0), None).unwrap();
        assert!(stored.ready == bodies);
        let second = log.read(&name, Seq(1), Some(Seq(2))).unwrap();
        assert!(second.ready == bodies[1..2]);
        let third = log.read(&name, Seq(2), Some(Seq(3))).unwrap();
        assert!(third.ready == bodies[2..3]);
    };
    let log = disk.open();
    let entries = bodies.iter().cloned().map(ready).collect();
    assert_eq!(append(&log, &name, 1, 1, entries), Ok(Seq(4)));
    check(&log);
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 4 + 1 + 2 + 2);
    assert_eq!(
        disk.count("SELECT max(length(body)) FROM entries"),
        MIB as u64
    );
    assert_eq!(
        log.stats().commits,
        1,
        "all parts of an append are one transaction"
    );
    drop(log);
    check(&disk.open());
}

#[test]
fn rows_keep_arrival_order_and_name_format_and_epoch() {
    let disk = Disk::new();
    let (a, b) = (room("ada", "a"), room("ada", "b"));
    for epoch in 1..=3 {
        let log = disk.open();
        assert_eq!(log.epoch(), epoch);
        append(&log, &a, 1, epoch, vec![ready("a")]).unwrap();
        append(&log, &b, 1, epoch, vec![ready("b")]).unwrap();
    }
    let sql = disk.sql();
    let mut statement = sql
        .prepare(
            "SELECT row, format, log, entry, part, last, kind, epoch FROM entries ORDER BY row",
        )
        .unwrap();
    let rows: Vec<[i64; 8]> = statement
        .query_map([], |row| {
            Ok(std::array::from_fn(|column| row.get(column).unwrap()))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows,
        [
            [1, 1, 1, 1, 0, 1, 1, 1],
            [2, 1, 2, 1, 0, 1, 1, 1],
            [3, 1, 1, 2, 0, 1, 1, 2],
            [4, 1, 2, 2, 0, 1, 1, 2],
            [5, 1, 1, 3, 0, 1, 1, 3],
            [6, 1, 2, 3, 0, 1, 1, 3],
        ]
    );
}

#[test]
fn everything_that_arrived_meanwhile_is_one_commit_and_is_answered_in_order() {
    let disk = Disk::new();
    let log = disk.open();
    let rooms: Vec<_> = (0..20)
        .map(|number| room("ada", &format!("room-{number}")))
        .collect();
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    for first in 1..=50 {
        for name in &rooms {
            send(
                &log,
                name,
                1,
                first,
                vec![ready(format!("{name} {first}"))],
                &sender,
            );
        }
    }
    valve.open();
    for first in 1..=50 {
        for _ in &rooms {
            assert_eq!(results.recv().unwrap(), Ok(Seq(first)));
        }
    }
    let stats = log.stats();
    assert_eq!((stats.commits, stats.rows), (2, 1 + 1000));
    for name in &rooms {
        let stored = log.read(name, Seq(0), None).unwrap();
        let expect: Vec<_> = (1..=50).map(|first| format!("{name} {first}")).collect();
        assert_eq!(texts(&stored.ready), expect);
    }
}

#[test]
fn a_commit_is_bounded_by_rows_and_by_bytes() {
    let check = |config: LogConfig, bytes: usize, commits: u64| {
        let disk = Disk::new();
        let log = disk.open_with(config);
        let name = room("ada", "notes");
        let valve = Valve::shut(&log);
        let (sender, results) = channel();
        for first in 1..=30 {
            send(&log, &name, 1, first, vec![ready(vec![0; bytes])], &sender);
        }
        valve.open();
        for _ in 1..=30 {
            results.recv().unwrap().unwrap();
        }
        assert_eq!(log.stats().commits - 1, commits);
    };
    check(LogConfig::default(), 10, 1);
    check(
        LogConfig {
            max_commit_rows: 10,
            ..LogConfig::default()
        },
        10,
        3,
    );
    check(
        LogConfig {
            max_commit_bytes: 30_000,
            ..LogConfig::default()
        },
        5_000,
        6,
    );
    // One append that is larger than a commit may be goes alone.
    check(
        LogConfig {
            max_commit_bytes: 1_000,
            ..LogConfig::default()
        },
        5_000,
        30,
    );
}

#[test]
fn nothing_is_readable_before_it_is_answered_for() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &name, 1, 1, vec![ready("secret")], &sender);
    assert_eq!(
        log.read(&name, Seq(0), None).unwrap().status,
        RoomStatus::Absent
    );
    assert_eq!(log.list(name.owner(), None, 10), []);
    valve.open();
    results.recv().unwrap().unwrap();
    assert_eq!(
        texts(&log.read(&name, Seq(0), None).unwrap().ready),
        ["secret"]
    );
}

#[test]
fn an_append_must_continue_the_log_exactly() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(&log, &name, 1, 1, vec![ready("one"), ready("two")]).unwrap();
    let check = |generation, first| {
        let error = append(&log, &name, generation, first, vec![ready("x")]).unwrap_err();
        assert!(
            error.to_string().contains("where entry 3 belongs"),
            "{error}"
        );
    };
    check(2, 1);
    check(3, 2);
    check(4, 4);
    let error = append(&log, &name, 4, 3, vec![ready("three")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "append failed: an earlier append of this room failed"
    );
    assert_eq!(append(&log, &name, 5, 3, vec![ready("three")]), Ok(Seq(3)));
    assert!(
        append(&log, &other, 1, 2, vec![ready("x")]).is_err(),
        "a log begins with entry 1"
    );
    assert_eq!(
        texts(&log.read(&name, Seq(0), None).unwrap().ready),
        ["one", "two", "three"]
    );
}

#[test]
fn a_failed_commit_fails_its_generations_and_nothing_else() {
    let disk = Disk::new();
    let log = disk.open();
    let (sick, neighbour, third) = (
        room("ada", "sick"),
        room("ada", "neighbour"),
        room("ada", "third"),
    );
    for name in [&sick, &neighbour, &third] {
        append(&log, name, 1, 1, vec![ready("1")]).unwrap();
    }
    disk.sql()
        .execute_batch(
            "CREATE TRIGGER sick BEFORE INSERT ON entries WHEN new.body = CAST('poison' AS BLOB)
             BEGIN SELECT RAISE(ABORT, 'disk trouble'); END",
        )
        .unwrap();
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &neighbour, 1, 2, vec![ready("2")], &sender);
    send(&log, &sick, 1, 2, vec![ready("poison")], &sender);
    send(&log, &sick, 1, 3, vec![ready("3")], &sender);
    valve.open();
    for _ in 0..3 {
        results.recv().unwrap().unwrap_err();
    }
    assert_eq!(log.stats().failed_commits, 1);
    // Both generations are lost, although these appends alone would succeed.
    append(&log, &sick, 1, 2, vec![ready("2")]).unwrap_err();
    append(&log, &neighbour, 1, 2, vec![ready("2")]).unwrap_err();
    append(&log, &neighbour, 1, 3, vec![ready("3")]).unwrap_err();
    // The neighbour lost one commit and goes on with a new life; the third never noticed.
    assert_eq!(append(&log, &third, 1, 2, vec![ready("2")]), Ok(Seq(2)));
    assert_eq!(
        append(&log, &neighbour, 2, 2, vec![ready("two")]),
        Ok(Seq(2))
    );
    assert_eq!(append(&log, &sick, 2, 2, vec![ready("two")]), Ok(Seq(2)));
    let error = append(&log, &neighbour, 1, 3, vec![ready("3")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "append failed: an earlier append of this room failed"
    );
    drop(log);
    let log = disk.open();
    assert_eq!(
        texts(&log.read(&sick, Seq(0), None).unwrap().ready),
        ["1", "two"]
    );
    assert_eq!(
        texts(&log.read(&neighbour, Seq(0), None).unwrap().ready),
        ["1", "two"]
    );
    assert_eq!(
        texts(&log.read(&third, Seq(0), None).unwrap().ready),
        ["1", "2"]
    );
}

#[test]
fn appends_already_queued_behind_a_failed_one_fail() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_commit_rows: 1,
        ..LogConfig::default()
    });
    let name = room("ada", "sick");
    append(&log, &name, 1, 1, vec![ready("1")]).unwrap();
    disk.sql()
        .execute_batch(
            "CREATE TRIGGER sick BEFORE INSERT ON entries WHEN new.body = CAST('poison' AS BLOB)
             BEGIN SELECT RAISE(ABORT, 'disk trouble'); END",
        )
        .unwrap();
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &name, 1, 2, vec![ready("poison")], &sender);
    // Commits of their own, which would succeed.
    send(&log, &name, 1, 2, vec![ready("2")], &sender);
    send(&log, &name, 1, 3, vec![ready("3")], &sender);
    valve.open();
    for _ in 0..3 {
        results.recv().unwrap().unwrap_err();
    }
    assert_eq!(
        log.stats().failed_commits,
        1,
        "the later ones never reach the disk"
    );
    assert_eq!(log.read(&name, Seq(0), None).unwrap().last, Seq(1));
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_database_pages: Some(100),
        ..LogConfig::default()
    });
    let (large, small) = (room("ada", "large"), room("ada", "small"));
    append(&log, &small, 1, 1, vec![ready("1")]).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match append(
            &log,
            &large,
            1,
            acknowledged + 1,
            vec![ready(vec![7; 30_000])],
        ) {
            Ok(seq) => acknowledged = seq.0,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the disk never filled up");
    };
    assert!(acknowledged > 5);
    assert_eq!(
        error.to_string(),
        "append failed: the disk or the database refused the commit"
    );
    append(&log, &large, 1, acknowledged + 1, vec![ready("fits")]).unwrap_err();
    // Small ones still fit; the room of the large one may go on in a new life.
    assert_eq!(append(&log, &small, 1, 2, vec![ready("2")]), Ok(Seq(2)));
    append(
        &log,
        &large,
        2,
        acknowledged + 1,
        vec![ready(vec![7; 30_000])],
    )
    .unwrap_err();
    assert_eq!(
        append(&log, &large, 3, acknowledged + 1, vec![ready("fits")]),
        Ok(Seq(acknowledged + 1))
    );
    let check = |log: &SqliteLog| {
        assert_eq!(
            texts(&log.read(&small, Seq(0), None).unwrap().ready),
            ["1", "2"]
        );
        let stored = log.read(&large, Seq(0), None).unwrap();
        assert_eq!(stored.last, Seq(acknowledged + 1));
        assert_eq!(stored.ready.len() as u64, acknowledged + 1);
    };
    check(&log);
    drop(log);
    let log = disk.open();
    check(&log);
    append(
        &log,
        &large,
        1,
        acknowledged + 2,
        vec![ready(vec![7; 30_000])],
    )
    .unwrap();
}

#[test]
fn a_damaged_body_is_a_fault_of_its_room_alone() {
    let disk = Disk::new();
    let (bad, good) = (room("ada", "bad"), room("ada", "good"));
    let log = disk.open();
    append(
        &log,
        &bad,
        1,
        1,
        vec![ready("first"), ready("the needle in the file")],
    )
    .unwrap();
    append(&log, &good, 1, 1, vec![ready("fine")]).unwrap();
    drop(log);
    let mut bytes = std::fs::read(disk.path()).unwrap();
    let needle = b"the needle";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(disk.path(), bytes).unwrap();

    let log = disk.open();
    let error = log.read(&bad, Seq(0), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "room log cannot be read: owners/ada/rooms/bad: row 2 (entry 2, part 0) is damaged: its checksum does not match"
    );
    assert_eq!(
        texts(&log.read(&bad, Seq(0), Some(Seq(1))).unwrap().ready),
        ["first"]
    );
    assert_eq!(
        texts(&log.read(&good, Seq(0), None).unwrap().ready),
        ["fine"]
    );
    assert_eq!(append(&log, &good, 1, 2, vec![ready("still")]), Ok(Seq(2)));
    assert_eq!(log.stats().read_faults, 1);
}

#[test]
fn a_missing_row_is_noticed_while_running_and_at_the_next_start() {
    let disk = Disk::new();
    let (bad, good) = (room("ada", "bad"), room("ada", "good"));
    let log = disk.open();
    append(&log, &bad, 1, 1, vec![ready("1"), ready("2"), ready("3")]).unwrap();
    append(&log, &good, 1, 1, vec![ready("fine")]).unwrap();
    assert_eq!(
        disk.sql()
            .execute("DELETE FROM entries WHERE row = 2", [])
            .unwrap(),
        1
    );
    let error = log.read(&bad, Seq(0), None).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("rooms/bad: row 2 (entry 2, part 0) is missing"),
        "{error}"
    );
    drop(log);

    let log = disk.open();
    let error = log.read(&bad, Seq(0), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rooms/bad: row 3 holds part 0 of entry 3 where part 0 of entry 2 belongs"),
        "{error}"
    );
    let error = append(&log, &bad, 1, 4, vec![ready("4")]).unwrap_err();
    assert!(error.to_string().contains("row 3"), "{error}");
    assert_eq!(
        texts(&log.read(&good, Seq(0), None).unwrap().ready),
        ["fine"]
    );
}

#[test]
fn other_damage_is_a_fault_of_its_room_alone() {
    let check = |damage: &str, expect: &str| {
        let disk = Disk::new();
        let (bad, good) = (room("ada", "bad"), room("ada", "good"));
        let log = disk.open();
        append(
            &log,
            &bad,
            1,
            1,
            vec![ready("1"), ready(vec![5; 2 << 20]), ready("3")],
        )
        .unwrap();
        append(&log, &good, 1, 1, vec![ready("fine")]).unwrap();
        drop(log);
        disk.sql().execute_batch(damage).unwrap();
        let log = disk.open();
        let error = log.read(&bad, Seq(0), None).unwrap_err().to_string();
        assert!(error.contains(expect), "{damage}: {error}");
        assert_eq!(
            texts(&log.read(&good, Seq(0), None).unwrap().ready),
            ["fine"],
            "{damage}"
        );
        assert_eq!(
            append(&log, &good, 1, 2, vec![ready("2")]),
            Ok(Seq(2)),
            "{damage}"
        );
    };
    check("DELETE FROM entries WHERE log = 1", "its rows are missing");
    check(
        "DELETE FROM entries WHERE row = 1",
        "row 2 holds part 0 of entry 2 where part 0 of entry 1 belongs",
    );
    check(
        "DELETE FROM entries WHERE row = 3",
        "row 4 holds part 0 of entry 3 where part 1 of entry 2 belongs",
    );
    check(
        "DELETE FROM entries WHERE row IN (3, 4)",
        "part 1 of entry 2 is missing",
    );
    check(
        "UPDATE entries SET format = 2 WHERE row = 1",
        "row 1 is unreadable",
    );
    check(
        "UPDATE entries SET kind = 9 WHERE row = 1",
        "row 1 is unreadable",
    );
    check(
        "UPDATE entries SET kind = 2 WHERE row = 1",
        "row 1 (entry 1, part 0) is damaged: its checksum does not match",
    );
    check(
        "UPDATE entries SET epoch = 2 WHERE row = 2",
        "row 3 was written by an earlier writer",
    );
    check(
        "UPDATE entries SET epoch = 9 WHERE row = 4",
        "row 4 (entry 3, part 0) is damaged: its checksum does not match",
    );
    check(
        "UPDATE entries SET body = x'00' WHERE row = 3",
        "row 3 (entry 2, part 1) is damaged: its checksum does not match",
    );
    check(
        "UPDATE entries SET row = row + 100 WHERE row = 1",
        "row 2 holds part 0 of entry 2",
    );
}

#[test]
fn a_deleted_room_keeps_its_content_and_a_recreated_one_begins_anew() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(
        &log,
        &name,
        1,
        1,
        vec![Entry::Created, ready("old"), ready(vec![1; 3 << 20])],
    )
    .unwrap();
    append(&log, &other, 1, 1, vec![ready("other")]).unwrap();
    append(&log, &name, 1, 4, vec![Entry::Deleted]).unwrap();
    let stored = log.read(&name, Seq(0), None).unwrap();
    assert_eq!(
        (stored.status, stored.last, stored.ready.len()),
        (RoomStatus::Deleted, Seq(4), 2)
    );
    let listed: Vec<_> = log
        .list(name.owner(), None, 10)
        .into_iter()
        .map(|entry| entry.room)
        .collect();
    assert_eq!(listed, [other.room().clone()]);
    assert_eq!(
        disk.count("SELECT deleted_at FROM rooms WHERE room = 'notes'"),
        1_000_000
    );
    drop(log);

    let log = disk.open();
    assert_eq!(
        log.read(&name, Seq(0), None).unwrap().status,
        RoomStatus::Deleted
    );
    append(&log, &name, 1, 5, vec![Entry::Recreated, ready("new")]).unwrap();
    append(&log, &name, 1, 7, vec![ready("newer")]).unwrap();
    let check = |log: &SqliteLog| {
        for after in [0, 3, 5] {
            let stored = log.read(&name, Seq(after), None).unwrap();
            assert_eq!((stored.status, stored.last), (RoomStatus::Live, Seq(7)));
            assert_eq!(texts(&stored.ready), ["new", "newer"]);
        }
        assert_eq!(
            texts(&log.read(&name, Seq(6), None).unwrap().ready),
            ["newer"]
        );
        assert_eq!(log.list(name.owner(), None, 1)[0].storage_bytes, 8);
    };
    check(&log);
    // The old rows go away in the background; the others stay.
    while disk.count("SELECT count(*) FROM retired_logs") > 0 {
        std::thread::yield_now();
    }
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 3 + 1);
    check(&log);
    drop(log);
    let log = disk.open();
    check(&log);
    assert_eq!(
        texts(&log.read(&other, Seq(0), None).unwrap().ready),
        ["other"]
    );
    assert_eq!(append(&log, &name, 1, 8, vec![ready("newest")]), Ok(Seq(8)));
}

#[test]
fn an_interrupted_cleaning_up_goes_on_after_the_next_start() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    let old = (0..2_000)
        .map(|number| ready(format!("{number}")))
        .collect();
    append(&log, &name, 1, 1, old).unwrap();
    disk.sql()
        .execute_batch(
            "CREATE TRIGGER keep BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    append(&log, &name, 1, 2_001, vec![Entry::Recreated, ready("new")]).unwrap();
    drop(log);
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 2_002);
    disk.sql().execute_batch("DROP TRIGGER keep").unwrap();
    let log = disk.open();
    while disk.count("SELECT count(*) FROM retired_logs") > 0 {
        std::thread::yield_now();
    }
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 2);
    assert_eq!(
        texts(&log.read(&name, Seq(0), None).unwrap().ready),
        ["new"]
    );
}

#[test]
fn a_room_may_be_deleted_and_recreated_within_one_append() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    let entries = vec![
        Entry::Created,
        ready("1"),
        Entry::Deleted,
        Entry::Recreated,
        ready("2"),
        Entry::Deleted,
        Entry::Recreated,
        ready("3"),
    ];
    assert_eq!(append(&log, &name, 1, 1, entries), Ok(Seq(8)));
    assert_eq!(
        append(
            &log,
            &name,
            1,
            9,
            vec![Entry::Deleted, Entry::Recreated, ready("4")]
        ),
        Ok(Seq(11))
    );
    let check = |log: &SqliteLog| {
        let stored = log.read(&name, Seq(0), None).unwrap();
        assert_eq!((texts(&stored.ready), stored.last), (vec!["4"], Seq(11)));
    };
    check(&log);
    drop(log);
    check(&disk.open());
}

#[test]
fn a_second_writer_fences_the_first_one_off() {
    let disk = Disk::new();
    let first = disk.open();
    let name = room("ada", "notes");
    append(&first, &name, 1, 1, vec![ready("1")]).unwrap();
    let second = disk.open();
    append(&second, &name, 1, 2, vec![ready("2")]).unwrap();
    let error = append(&first, &name, 1, 2, vec![ready("two")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "append failed: another process has opened the room log for writing"
    );
    append(&first, &name, 2, 3, vec![ready("3")]).unwrap_err();
    assert_eq!(
        texts(&second.read(&name, Seq(0), None).unwrap().ready),
        ["1", "2"]
    );
}

#[test]
fn uses_are_written_at_most_once_a_minute_and_at_shutdown() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    let on_disk = || disk.count("SELECT last_accessed_at FROM rooms WHERE room = 'notes'");
    let listed = |log: &SqliteLog| log.list(name.owner(), None, 1)[0].last_accessed_at;
    append(&log, &name, 1, 1, vec![Entry::Created]).unwrap();
    assert_eq!((on_disk(), listed(&log)), (1_000_000, 1_000_000));
    log.touch(&name, 1_059_999);
    append(&log, &other, 1, 1, vec![Entry::Created]).unwrap();
    assert_eq!((on_disk(), listed(&log)), (1_000_000, 1_059_999));
    log.touch(&name, 1_060_000);
    log.touch(&name, 1_000);
    log.touch(&room("ada", "absent"), 1_060_000);
    assert_eq!(on_disk(), 1_000_000, "a use alone is not worth an fsync");
    append(&log, &other, 1, 2, vec![ready("x")]).unwrap();
    assert_eq!((on_disk(), listed(&log)), (1_060_000, 1_060_000));
    log.touch(&name, 1_060_001);
    append(&log, &other, 1, 3, vec![ready("x")]).unwrap();
    assert_eq!(on_disk(), 1_060_000);
    log.shutdown();
    assert_eq!(on_disk(), 1_060_001);
    assert_eq!(listed(&disk.open()), 1_060_001);
}

#[test]
fn live_rooms_are_listed_by_owner_in_order() {
    let disk = Disk::new();
    let log = disk.open();
    for id in ["b", "ä", "a", "c"] {
        append(
            &log,
            &room("ada", id),
            1,
            1,
            vec![Entry::Created, ready("12345")],
        )
        .unwrap();
    }
    append(&log, &room("bob", "x"), 1, 1, vec![Entry::Created]).unwrap();
    append(&log, &room("ada", "b"), 1, 3, vec![Entry::Deleted]).unwrap();
    let check = |log: &SqliteLog, owner: &str, after: Option<&str>, limit, expect: &[&str]| {
        let after = after.map(|id| RoomId::parse(id).unwrap());
        let owner = OwnerId::parse(owner).unwrap();
        let listed = log.list(&owner, after.as_ref(), limit);
        let ids: Vec<_> = listed.iter().map(|entry| entry.room.as_str()).collect();
        assert_eq!(ids, expect);
        assert!(
            listed
                .iter()
                .all(|entry| entry.storage_bytes == 5 || owner.as_str() == "bob")
        );
    };
    let check_all = |log: &SqliteLog| {
        check(log, "ada", None, 10, &["a", "c", "ä"]);
        check(log, "ada", None, 2, &["a", "c"]);
        check(log, "ada", Some("b"), 10, &["c", "ä"]);
        check(log, "ada", Some("c"), 10, &["ä"]);
        check(log, "bob", None, 10, &["x"]);
        check(log, "eve", None, 10, &[]);
    };
    check_all(&log);
    drop(log);
    check_all(&disk.open());
}

#[test]
fn a_full_queue_says_so_and_wakes_who_waits() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_queue_bytes: 10_000,
        ..LogConfig::default()
    });
    let name = room("ada", "notes");
    let (woken, wakes) = channel();
    let wake_me = |word: &'static str| {
        let woken = woken.clone();
        log.when_not_full(Box::new(move || woken.send(word).unwrap()));
    };
    wake_me("at once");
    assert_eq!(wakes.try_recv(), Ok("at once"));
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &name, 1, 1, vec![ready(vec![0; 9_000])], &sender);
    assert!(!log.is_full());
    send(&log, &name, 1, 2, vec![ready(vec![0; 9_000])], &sender);
    assert!(log.is_full());
    assert!(log.stats().queued_bytes >= 18_000);
    wake_me("later");
    assert!(wakes.try_recv().is_err());
    valve.open();
    assert_eq!(wakes.recv(), Ok("later"));
    assert!(!log.is_full());
    assert_eq!(results.recv().unwrap(), Ok(Seq(1)));
    log.shutdown();
    assert_eq!(log.stats().queued_bytes, 0);
}

#[test]
fn shutdown_writes_what_is_queued_and_takes_no_more() {
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        max_commit_rows: 7,
        ..LogConfig::default()
    }));
    let name = room("ada", "notes");
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    for first in 1..=100 {
        send(&log, &name, 1, first, vec![ready("x")], &sender);
    }
    let stopping = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.shutdown()
    });
    valve.open();
    stopping.join().unwrap();
    for first in 1..=100 {
        assert_eq!(results.try_recv().unwrap(), Ok(Seq(first)));
    }
    let error = append(&log, &name, 1, 101, vec![ready("x")]).unwrap_err();
    assert_eq!(error.to_string(), "append failed: the log has stopped");
    log.shutdown();
    assert_eq!(
        disk.open().read(&name, Seq(0), None).unwrap().last,
        Seq(100)
    );
}

#[test]
fn a_receiver_that_panics_harms_nobody() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    log.append(AppendRequest {
        room: name.clone(),
        generation: Generation(1),
        append: Append {
            first: Seq(1),
            entries: vec![ready("1")],
        },
        done: AppendDone(Box::new(|_| panic!("the receiver of this test panics"))),
    });
    assert_eq!(append(&log, &name, 1, 2, vec![ready("2")]), Ok(Seq(2)));
}

#[test]
fn many_threads_append_and_read_at_once() {
    const THREADS: usize = 8;
    const APPENDS: u64 = 200;
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        max_reads: 2,
        ..LogConfig::default()
    }));
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (log, barrier) = (Arc::clone(&log), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let name = room("ada", &format!("room-{thread}"));
                let (sender, results) = channel();
                barrier.wait();
                for first in 1..=APPENDS {
                    send(
                        &log,
                        &name,
                        1,
                        first,
                        vec![ready(format!("{thread}-{first}"))],
                        &sender,
                    );
                    if first % 50 == 0 {
                        // Whatever is durable by now is a prefix.
                        let stored = log.read(&name, Seq(0), None).unwrap();
                        let expect: Vec<_> = (1..=stored.last.0)
                            .map(|first| format!("{thread}-{first}"))
                            .collect();
                        assert_eq!(texts(&stored.ready), expect);
                    }
                }
                for first in 1..=APPENDS {
                    assert_eq!(results.recv().unwrap(), Ok(Seq(first)));
                }
                let stored = log.read(&name, Seq(0), None).unwrap();
                let expect: Vec<_> = (1..=APPENDS)
                    .map(|first| format!("{thread}-{first}"))
                    .collect();
                assert_eq!(texts(&stored.ready), expect);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let stats = log.stats();
    assert_eq!(stats.rows, THREADS as u64 * APPENDS);
    assert!(
        stats.commits < stats.rows,
        "nothing was committed together: {stats:?}"
    );
}

#[test]
fn random_histories_with_restarts_match_a_model() {
    for seed in 1..=10 {
        check_random_history(seed);
    }
}

#[derive(Default)]
struct Model {
    last: u64,
    ready: Vec<Vec<u8>>,
    pending: Vec<Vec<u8>>,
    status: RoomStatus,
}

fn check_random_history(seed: u64) {
    let mut state = seed;
    let mut random = move |below: u64| {
        // Numbers from Knuth's MMIX generator; the low bits are poor.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let disk = Disk::new();
    let mut log = disk.open();
    let mut models: BTreeMap<RoomName, Model> = BTreeMap::new();
    for _ in 0..30 {
        let (sender, results) = channel();
        let appends = random(20);
        for _ in 0..appends {
            let name = room("ada", &format!("room-{}", random(4)));
            let model = models.entry(name.clone()).or_default();
            let first = model.last + 1;
            let entries: Vec<_> = (0..1 + random(3))
                .map(|_| {
                    let body = vec![random(256) as u8; random(300) as usize];
                    model.last += 1;
                    if model.status == RoomStatus::Absent {
                        model.status = RoomStatus::Live;
                    }
                    match random(20) {
                        0 => {
                            model.status = RoomStatus::Deleted;
                            Entry::Deleted
                        }
                        1 => {
                            *model = Model {
                                last: model.last,
                                status: RoomStatus::Live,
                                ..Model::default()
                            };
                            Entry::Recreated
                        }
                        2..5 => {
                            model.pending.push(body.clone());
                            pending(body)
                        }
                        _ => {
                            model.ready.push(body.clone());
                            ready(body)
                        }
                    }
                })
                .collect();
            send(&log, &name, 1, first, entries, &sender);
        }
        for _ in 0..appends {
            results.recv().unwrap().unwrap();
        }
        if random(6) == 0 {
            drop(log);
            log = disk.open();
        }
        for (name, model) in &models {
            let stored = log.read(name, Seq(0), None).unwrap();
            assert_eq!(
                (stored.last.0, stored.status),
                (model.last, model.status),
                "seed {seed}, {name}"
            );
            assert!(
                stored.ready == model.ready && stored.pending == model.pending,
                "seed {seed}, {name}"
            );
        }
    }
}

#[test]
fn a_log_of_a_newer_program_is_refused_unchanged() {
    let disk = Disk::new();
    drop(disk.open());
    disk.sql()
        .execute(
            "UPDATE meta SET value = '2' WHERE key = 'schema_version'",
            [],
        )
        .unwrap();
    let error = SqliteLog::open(
        &disk.path(),
        LogConfig::default(),
        Arc::clone(&disk.clock) as _,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} has schema version 2 and this program knows versions up to 1: use the newer program",
            disk.path().display()
        )
    );
    assert_eq!(
        disk.count("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'"),
        1
    );
}

#[test]
fn a_file_that_is_no_log_is_refused() {
    let disk = Disk::new();
    std::fs::write(disk.path(), vec![b'x'; 8192]).unwrap();
    SqliteLog::open(
        &disk.path(),
        LogConfig::default(),
        Arc::clone(&disk.clock) as _,
    )
    .unwrap_err();
    assert_eq!(std::fs::read(disk.path()).unwrap(), vec![b'x'; 8192]);
}

#[test]
fn the_files_of_the_log_are_private() {
    let disk = Disk::new();
    std::fs::write(disk.path(), "").unwrap();
    std::fs::set_permissions(disk.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let log = disk.open();
    append(&log, &room("ada", "notes"), 1, 1, vec![ready("x")]).unwrap();
    log.read(&room("ada", "notes"), Seq(0), None).unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(disk.directory.path()).unwrap() {
        let entry = entry.unwrap();
        seen.push(entry.file_name().into_string().unwrap());
        assert_eq!(mode(&entry.path()), 0o600, "{seen:?}");
    }
    seen.sort();
    assert_eq!(seen, ["rooms.db", "rooms.db-shm", "rooms.db-wal"]);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Bytes anywhere in the file but in the page headers of SQLite's own, which are `PRAGMA integrity_check`'s business.
#[test]
fn no_flipped_bit_makes_a_log_read_differently() {
    const PAGE: usize = 4096;
    const PAGE_HEADER: usize = 100;
    let disk = Disk::new();
    let names = ["a", "b", "c"].map(|id| room("ada", id));
    let log = disk.open();
    for first in 1..=4 {
        for name in &names {
            append(
                &log,
                name,
                1,
                first,
                vec![ready(format!("{first} of {name}").repeat(5))],
            )
            .unwrap();
        }
    }
    append(&log, &names[0], 1, 5, vec![ready(vec![9; 6000])]).unwrap();
    let expect = names
        .clone()
        .map(|name| log.read(&name, Seq(0), None).unwrap());
    drop(log);
    let original = std::fs::read(disk.path()).unwrap();
    assert!(
        original.len() > 5 * PAGE,
        "the log was copied into the database"
    );
    let mut faults = 0;
    for at in (0..original.len()).step_by(61) {
        if at % PAGE < PAGE_HEADER || original[at] == 0 {
            continue;
        }
        let mut bytes = original.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(disk.path(), &bytes).unwrap();
        let Ok(log) = SqliteLog::open(
            &disk.path(),
            LogConfig::default(),
            Arc::clone(&disk.clock) as _,
        ) else {
            faults += 1;
            continue;
        };
        for (name, expect) in names.iter().zip(&expect) {
            match log.read(name, Seq(0), None) {
                Ok(stored) => assert!(
                    (stored.last, &stored.ready) == (expect.last, &expect.ready),
                    "a flip at {at} changed {name}"
                ),
                Err(_) => faults += 1,
            }
        }
    }
    assert!(faults > 20, "most of the file was spared: {faults}");
}

#[test]
fn a_room_lost_from_the_directory_is_not_taken_for_one_that_never_was() {
    let check = |damage: &str| {
        let disk = Disk::new();
        let (bad, good) = (room("ada", "bad"), room("ada", "good"));
        let log = disk.open();
        append(&log, &bad, 1, 1, vec![ready("1")]).unwrap();
        append(&log, &good, 1, 1, vec![ready("fine")]).unwrap();
        drop(log);
        disk.sql().execute_batch(damage).unwrap();
        let log = disk.open();
        let error = log.read(&bad, Seq(0), None).unwrap_err().to_string();
        assert!(
            error.contains("the room may be one that it lost"),
            "{damage}: {error}"
        );
        append(&log, &bad, 1, 1, vec![Entry::Created]).unwrap_err();
        append(&log, &room("ada", "new"), 1, 1, vec![Entry::Created]).unwrap_err();
        assert_eq!(
            append(&log, &good, 1, 2, vec![ready("2")]),
            Ok(Seq(2)),
            "{damage}"
        );
        assert_eq!(
            texts(&log.read(&good, Seq(0), None).unwrap().ready),
            ["fine", "2"],
            "{damage}"
        );
    };
    check("UPDATE rooms SET room = 'bat' WHERE room = 'bad'");
    check("UPDATE rooms SET owner = 'eve' WHERE room = 'bad'");
    check("UPDATE rooms SET log = 9 WHERE room = 'bad'");
    check("UPDATE rooms SET status = 2 WHERE room = 'bad'");
    check("DELETE FROM rooms WHERE room = 'bad'");
}

#[test]
fn a_last_row_that_names_another_log_is_missed_where_it_belongs() {
    let disk = Disk::new();
    let (bad, good) = (room("ada", "bad"), room("ada", "good"));
    let log = disk.open();
    append(&log, &bad, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    append(&log, &good, 1, 1, vec![ready("fine")]).unwrap();
    drop(log);
    disk.sql()
        .execute("UPDATE entries SET log = 77 WHERE row = 2", [])
        .unwrap();
    let log = disk.open();
    let error = log.read(&bad, Seq(0), None).unwrap_err().to_string();
    assert!(
        error.ends_with("rooms/bad: row 2 names another log"),
        "{error}"
    );
    append(&log, &bad, 1, 2, vec![ready("2")]).unwrap_err();
    assert_eq!(append(&log, &good, 1, 2, vec![ready("2")]), Ok(Seq(2)));
    assert_eq!(
        append(&log, &room("ada", "new"), 1, 1, vec![Entry::Created]),
        Ok(Seq(1))
    );
}
