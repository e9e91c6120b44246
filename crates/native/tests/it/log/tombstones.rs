//! Deleted rooms: restored with their content for thirty days, and nothing but a tombstone after that.

use std::time::Duration;

use epicenter_native::log::{Log, LogConfig, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};

use super::{
    DAY, Disk, append, bodies, eventually, extent, is_clean, pending, ready, replace, room,
    visible, wake,
};

const DAY_MS: u64 = 86_400_000;

#[test]
fn a_restored_room_goes_on_with_its_content() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(
        &log,
        &name,
        1,
        1,
        vec![Entry::Created, ready("one"), pending("two")],
    )
    .unwrap();
    replace(&log, &name, 2, "state").unwrap();
    disk.advance(DAY);
    append(&log, &name, 1, 4, vec![Entry::Deleted]).unwrap();
    let deleted = extent(&log, &name);
    assert_eq!(deleted.status, RoomStatus::Deleted);
    assert_eq!(
        (deleted.deleted_at, deleted.is_purged),
        (Some(1_000_000 + DAY_MS), false)
    );
    assert_eq!(log.usage(name.owner()).rooms, 0);
    assert_eq!(log.usage(name.owner()).bytes, 0);
    disk.advance(DAY);
    // A second deletion changes nothing.
    append(&log, &name, 1, 5, vec![Entry::Deleted]).unwrap();
    drop(log);
    let log = disk.open();
    assert_eq!(extent(&log, &name).deleted_at, deleted.deleted_at);
    append(&log, &name, 1, 6, vec![Entry::Restored, ready("seven")]).unwrap();
    let check = |log: &SqliteLog| {
        let now = extent(log, &name);
        assert_eq!(
            (now.status, now.last, now.deleted_at),
            (RoomStatus::Live, Seq(7), None)
        );
        assert!(!log.read(&name, Seq(5), None).unwrap().is_reset);
        let expect = (
            vec!["state".to_owned(), "seven".into()],
            vec!["two".to_owned()],
            7,
        );
        assert_eq!(bodies(log, &name, 0, None), expect);
        assert_eq!(
            (log.usage(name.owner()).rooms, log.usage(name.owner()).bytes),
            (1, 13)
        );
        assert_eq!(log.list(name.owner(), None, 9).len(), 1);
    };
    check(&log);
    assert_eq!(
        disk.count("SELECT count(*) FROM rooms WHERE deleted_at IS NOT NULL"),
        0
    );
    assert_eq!(disk.count("SELECT kind FROM entries WHERE entry = 6"), 7);
    drop(log);
    let log = disk.open();
    check(&log);
    // It is not deleted any more, so nothing is purged.
    disk.advance(60 * DAY);
    wake(&log);
    eventually("upkeep is done", || log.stats().generations == 0);
    check(&log);
}

#[test]
fn after_thirty_days_only_the_tombstone_is_left() {
    let disk = Disk::new();
    let log = disk.open();
    let (old, young, alive) = (
        room("ada", "old"),
        room("ada", "young"),
        room("ada", "alive"),
    );
    for name in [&old, &young, &alive] {
        let entries = (1..=700).map(|number| ready(number.to_string())).collect();
        append(&log, name, 1, 1, entries).unwrap();
    }
    append(&log, &old, 1, 701, vec![Entry::Deleted]).unwrap();
    disk.advance(Duration::from_millis(1));
    append(&log, &young, 1, 701, vec![Entry::Deleted]).unwrap();
    disk.advance(30 * DAY - Duration::from_millis(2));
    wake(&log);
    assert!(!extent(&log, &old).is_purged);
    disk.advance(Duration::from_millis(1));
    wake(&log);
    eventually("the content is gone", || {
        extent(&log, &old).is_purged && is_clean(&disk, &log)
    });
    let check = |log: &SqliteLog| {
        let left = extent(log, &old);
        assert_eq!((left.status, left.last), (RoomStatus::Deleted, Seq(701)));
        assert_eq!((left.entries, left.bytes, left.state), (1, 0, Seq(0)));
        assert!(left.is_purged && left.deleted_at == Some(1_000_000));
        // Whoever has read of it before is told that this is void.
        for after in [0, 700] {
            let stored = log.read(&old, Seq(after), None).unwrap();
            assert_eq!(
                (stored.status, stored.last),
                (RoomStatus::Deleted, Seq(701))
            );
            assert!(stored.is_reset && stored.ready.is_empty());
        }
        assert_eq!(visible(log, &young).len(), 700);
        assert!(!extent(log, &young).is_purged);
        assert_eq!(visible(log, &alive).len(), 700);
    };
    check(&log);
    assert_eq!(log.stats().purged_rooms, 1);
    assert_eq!(
        disk.count("SELECT count(*) FROM entries"),
        1 + 701 + 700 + 2
    );
    assert_eq!(
        disk.count("SELECT deleted_at FROM rooms WHERE room = 'old'"),
        1_000_000
    );
    drop(log);
    let log = disk.open();
    check(&log);
    // Content that is gone does not come back; a new beginning is possible.
    let error = append(&log, &old, 1, 702, vec![Entry::Restored]).unwrap_err();
    assert!(
        error.to_string().contains("can only be re-created"),
        "{error}"
    );
    append(&log, &old, 2, 702, vec![Entry::Recreated, ready("new")]).unwrap();
    let now = extent(&log, &old);
    assert_eq!(
        (now.status, now.last, now.is_purged),
        (RoomStatus::Live, Seq(703), false)
    );
    assert_eq!(visible(&log, &old), ["new"]);
    append(&log, &young, 1, 702, vec![Entry::Restored]).unwrap();
    assert_eq!(visible(&log, &young).len(), 700);
    drop(log);
    assert_eq!(visible(&disk.open(), &old), ["new"]);
}

#[test]
fn what_expired_while_nobody_was_looking_goes_at_the_next_start() {
    let disk = Disk::new();
    let log = disk.open();
    let names: Vec<_> = (0..150)
        .map(|number| room("ada", &format!("room-{number}")))
        .collect();
    for name in &names {
        append(
            &log,
            name,
            1,
            1,
            vec![ready("1"), ready("2"), Entry::Deleted],
        )
        .unwrap();
    }
    replace_nothing(&log, &names[0]);
    drop(log);
    disk.advance(30 * DAY);
    let log = disk.open();
    eventually("all are purged", || {
        names.iter().all(|name| extent(&log, name).is_purged) && is_clean(&disk, &log)
    });
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 150);
    assert_eq!(log.stats().purged_rooms, 150);
}

/// A room that does not live is not compacted.
fn replace_nothing(log: &SqliteLog, name: &epicenter_identity::RoomName) {
    replace(log, name, 2, "state").unwrap_err();
}

#[test]
fn how_long_is_a_setting() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        keep_deleted_ms: 0,
        ..LogConfig::default()
    });
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, vec![ready("1"), Entry::Deleted]).unwrap();
    eventually("it is purged", || extent(&log, &name).is_purged);
}

#[test]
fn a_purge_that_fails_is_tried_again_and_stops_nobody() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(&log, &name, 1, 1, vec![ready("1"), Entry::Deleted]).unwrap();
    disk.sql()
        .execute_batch(
            "CREATE TRIGGER keep BEFORE INSERT ON retired_logs BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    disk.advance(31 * DAY);
    wake(&log);
    for number in 1..=20 {
        append(&log, &other, 1, number, vec![ready("x")]).unwrap();
    }
    assert_eq!(visible(&log, &name), ["1"]);
    assert_eq!(log.stats().failed_commits, 0);
    drop(log);
    disk.sql().execute_batch("DROP TRIGGER keep").unwrap();
    let log = disk.open();
    eventually("it is purged", || extent(&log, &name).is_purged);
    assert_eq!(visible(&log, &other).len(), 20);
}

#[test]
fn a_log_that_has_lost_its_beginning_is_not_taken_for_a_purged_one() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(
        &log,
        &name,
        1,
        1,
        vec![ready("1"), Entry::Deleted, Entry::Restored],
    )
    .unwrap();
    append(&log, &other, 1, 1, vec![ready("1"), Entry::Deleted]).unwrap();
    append(&log, &other, 1, 3, vec![Entry::Restored]).unwrap();
    drop(log);
    disk.sql()
        .execute_batch("DELETE FROM entries WHERE row IN (1, 4, 6)")
        .unwrap();
    let log = disk.open();
    let error = log.read(&name, Seq(0), None).unwrap_err().to_string();
    assert!(error.contains("does not belong behind"), "{error}");
    let error = log.read(&other, Seq(0), None).unwrap_err().to_string();
    assert!(error.contains("its first rows are missing"), "{error}");
}
