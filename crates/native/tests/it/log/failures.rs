//! Commits that fail: what is lost with them, and what is not.

use std::sync::mpsc::channel;

use epicenter_native::log::{AppendDone, AppendRequest, Generation, Log, LogConfig, SqliteLog};
use epicenter_room::{Append, Seq};

use super::{Disk, Valve, append, ready, room, send, texts};

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
