//! Rooms that are deleted and created again, and the list of those that live.

use epicenter_identity::{OwnerId, RoomId};
use epicenter_native::log::{Log, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};

use super::{Disk, append, ready, room, texts};

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
