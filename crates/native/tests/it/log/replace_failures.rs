//! Replacements that the disk, the file or another process prevents.

use epicenter_native::log::{Log, LogConfig, ReplaceError};
use epicenter_room::Seq;

use super::{Disk, append, extent, ready, replace, room, send_state, texts, visible};

fn letters(count: usize) -> Vec<u8> {
    vec![b'x'; count]
}

#[test]
fn a_full_disk_leaves_the_old_log_and_the_other_rooms() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_database_pages: Some(100),
        ..LogConfig::default()
    });
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(&log, &name, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    append(&log, &other, 1, 1, vec![ready("1")]).unwrap();
    let before = extent(&log, &name);
    let result = send_state(&log, &name, 2, &letters(600_000), None);
    let error = result.recv().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log was not replaced: the disk or the database refused the commit"
    );
    assert_eq!(
        (extent(&log, &name), visible(&log, &name)),
        (before, vec!["1".into(), "2".into()])
    );
    // Nothing depends on a state: the room goes on in its life.
    assert_eq!(append(&log, &name, 1, 3, vec![ready("3")]), Ok(Seq(3)));
    assert_eq!(append(&log, &other, 1, 2, vec![ready("2")]), Ok(Seq(2)));
    assert_eq!(replace(&log, &name, 2, "small"), Ok(()));
    assert_eq!(log.stats().failed_replacements, 1);
    drop(log);
    let log = disk.open();
    assert_eq!(visible(&log, &name), ["small", "3"]);
    assert_eq!(visible(&log, &other), ["1", "2"]);
}

#[test]
fn a_writer_that_was_fenced_off_replaces_nothing() {
    let disk = Disk::new();
    let first = disk.open();
    let name = room("ada", "notes");
    append(&first, &name, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    let second = disk.open();
    let error = replace(&first, &name, 2, "state").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log was not replaced: another process has opened the room log for writing"
    );
    assert_eq!(visible(&second, &name), ["1", "2"]);
    assert_eq!(replace(&second, &name, 2, "state"), Ok(()));
    assert_eq!(visible(&second, &name), ["state"]);
}

#[test]
fn a_damaged_entry_is_not_copied() {
    let disk = Disk::new();
    let log = disk.open();
    let (bad, good) = (room("ada", "bad"), room("ada", "good"));
    append(&log, &bad, 1, 1, vec![ready("1"), ready("2"), ready("3")]).unwrap();
    append(&log, &good, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    disk.sql()
        .execute("UPDATE entries SET body = x'00' WHERE row = 3", [])
        .unwrap();
    let error = replace(&log, &bad, 1, "state").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log was not replaced: row 3 (entry 3, part 0) is damaged: its checksum does not match"
    );
    log.read(&bad, Seq(0), None).unwrap_err();
    let stored = log.read(&bad, Seq(0), Some(Seq(2))).unwrap();
    assert_eq!(texts(&stored.ready), ["1", "2"]);
    assert_eq!(replace(&log, &good, 1, "state"), Ok(()));
}

#[test]
fn a_damaged_state_is_a_fault_of_its_room_alone() {
    let check = |damage: &str, expect: &str| {
        let disk = Disk::new();
        let (bad, good) = (room("ada", "bad"), room("ada", "good"));
        let log = disk.open_with(LogConfig {
            keep_generations_ms: 0,
            ..LogConfig::default()
        });
        append(&log, &bad, 1, 1, vec![ready("1"), ready("2")]).unwrap();
        append(&log, &good, 1, 1, vec![ready("1")]).unwrap();
        let state = send_state(&log, &bad, 2, &letters(2_500_000), None);
        assert_eq!(state.recv().unwrap(), Ok(()));
        append(&log, &bad, 1, 3, vec![ready("3")]).unwrap();
        replace(&log, &good, 1, "fine").unwrap();
        drop(log);
        // Rows 4, 5 and 6 are the state, 7 is entry 3, 8 is the other state.
        disk.sql().execute_batch(damage).unwrap();
        let log = disk.open();
        let error = log.read(&bad, Seq(0), None).unwrap_err().to_string();
        assert!(error.contains(expect), "{damage}: {error}");
        assert_eq!(visible(&log, &good), ["fine"], "{damage}");
        assert_eq!(
            append(&log, &good, 1, 2, vec![ready("2")]),
            Ok(Seq(2)),
            "{damage}"
        );
        let error = replace(&log, &good, 2, "finer");
        assert_eq!(error, Ok(()), "{damage}");
    };
    check(
        "UPDATE entries SET body = x'00' WHERE row = 5",
        "row 5 (entry 2, part 1) is damaged",
    );
    check(
        "UPDATE entries SET kind = 1 WHERE row = 4",
        "row 4 holds part 0 of entry 2",
    );
    check(
        "UPDATE entries SET kind = 1 WHERE row IN (4, 5, 6)",
        "row 4 holds part 0 of entry 2",
    );
    check(
        "DELETE FROM entries WHERE row = 4",
        "row 5 holds part 1 of entry 2",
    );
    check(
        "DELETE FROM entries WHERE row = 6",
        "row 7 holds part 0 of entry 3",
    );
    check(
        "DELETE FROM entries WHERE row IN (4, 5, 6)",
        "row 7 holds part 0 of entry 3",
    );
    check(
        "UPDATE entries SET kind = 6 WHERE row = 7",
        "row 7 does not belong behind",
    );
    check(
        "UPDATE entries SET kind = 5 WHERE row = 7",
        "row 7 does not belong behind",
    );
}

#[test]
fn a_room_with_a_fault_is_not_replaced() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "bad");
    append(&log, &name, 1, 1, vec![ready("1"), ready("2"), ready("3")]).unwrap();
    let of = extent(&log, &name).log;
    drop(log);
    disk.sql()
        .execute("DELETE FROM entries WHERE row = 2", [])
        .unwrap();
    let log = disk.open();
    assert_eq!(log.extent(&name), None);
    let result = super::send_state_of(&log, &name, of, 3, b"state", None);
    let error = result.recv().unwrap().unwrap_err();
    assert!(
        matches!(&error, ReplaceError::Failed(what) if what.contains("row 3")),
        "{error}"
    );
}

#[test]
fn a_line_that_disappeared_stops_the_commit() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, vec![ready("1")]).unwrap();
    disk.sql().execute("DELETE FROM rooms", []).unwrap();
    let error = replace(&log, &name, 1, "state").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log was not replaced: a line of the room directory has disappeared"
    );
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 1);
}
