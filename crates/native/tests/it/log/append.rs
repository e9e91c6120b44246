//! What is appended is read back, in order, and only once it is durable.

use std::sync::mpsc::channel;

use epicenter_native::log::{Log, LogConfig, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};

use super::{Disk, Valve, append, pending, ready, room, send, texts};

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
