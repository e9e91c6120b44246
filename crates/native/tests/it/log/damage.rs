//! Damaged files: a fault of the room that they concern, and of no other.

use std::sync::Arc;

use epicenter_native::log::{Log, LogConfig, SqliteLog};
use epicenter_room::{Entry, Seq};

use super::{Disk, append, ready, room, texts};

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
