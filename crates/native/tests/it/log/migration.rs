//! A database of the first version goes on where it was.

use std::path::Path;

use epicenter_native::log::{Log, LogConfig, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};
use rusqlite::Connection;

use super::{
    DAY, Disk, append, bodies, eventually, extent, pending, ready, replace, room, visible,
};

/// As the first released program made it, byte for byte.
const FIRST_VERSION: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE entries (
        row INTEGER PRIMARY KEY,
        format INTEGER NOT NULL,
        log INTEGER NOT NULL,
        entry INTEGER NOT NULL,
        part INTEGER NOT NULL,
        last INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE rooms (
        log INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        room TEXT NOT NULL,
        status INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        last_accessed_at INTEGER NOT NULL,
        deleted_at INTEGER,
        UNIQUE (owner, room)
    ) STRICT;
    CREATE TABLE retired_logs (
        log INTEGER PRIMARY KEY,
        retired_at INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta (key, value) VALUES ('schema_version', '1');
";

/// Fills a database of the first version with what another one holds; nothing in it is newer than that.
fn copy_into_first_version(from: &Path, to: &Path) {
    let first = Connection::open(to).unwrap();
    first.execute_batch(FIRST_VERSION).unwrap();
    first
        .execute("ATTACH ?1 AS old", [from.to_str().unwrap()])
        .unwrap();
    first
        .execute_batch(
            "INSERT INTO entries SELECT * FROM old.entries;
             INSERT INTO rooms SELECT * FROM old.rooms;
             INSERT INTO retired_logs SELECT * FROM old.retired_logs;
             INSERT INTO meta SELECT * FROM old.meta WHERE key <> 'schema_version';",
        )
        .unwrap();
}

#[test]
fn nothing_is_lost_and_everything_new_works() {
    let old = Disk::new();
    let names = ["notes", "deleted", "recreated"].map(|id| room("ada", id));
    let [notes, deleted, recreated] = &names;
    let log = old.open_with(LogConfig::default());
    let entries = vec![Entry::Created, ready(vec![b'x'; 2 << 20]), pending("three")];
    append(&log, notes, 1, 1, entries).unwrap();
    append(&log, deleted, 1, 1, vec![ready("kept"), Entry::Deleted]).unwrap();
    append(&log, recreated, 1, 1, vec![ready("old"), Entry::Deleted]).unwrap();
    old.sql()
        .execute_batch(
            "CREATE TRIGGER keep BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    append(&log, recreated, 1, 3, vec![Entry::Recreated, ready("new")]).unwrap();
    let expect = names.clone().map(|name| bodies(&log, &name, 0, None));
    let extents = names.clone().map(|name| extent(&log, &name));
    drop(log);

    let disk = Disk::new();
    copy_into_first_version(&old.path(), &disk.path());
    assert_eq!(disk.count("SELECT count(*) FROM retired_logs"), 1);
    let log = disk.open();
    let check = |log: &SqliteLog| {
        assert!(names.clone().map(|name| bodies(log, &name, 0, None)) == expect);
        assert_eq!(names.clone().map(|name| extent(log, &name)), extents);
    };
    check(&log);
    assert_eq!(log.epoch(), 2);
    assert_eq!(
        disk.count("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'schema_version'"),
        2
    );
    eventually("what was being deleted is gone", || {
        disk.count("SELECT count(*) FROM retired_logs") == 0
    });
    drop(log);
    let log = disk.open();
    check(&log);
    assert_eq!(replace(&log, notes, 2, "state"), Ok(()));
    append(&log, notes, 1, 4, vec![ready("four")]).unwrap();
    append(&log, deleted, 1, 3, vec![Entry::Restored]).unwrap();
    disk.advance(31 * DAY);
    drop(log);
    let log = disk.open();
    assert_eq!(
        bodies(&log, notes, 0, None),
        (vec!["state".into(), "four".into()], vec!["three".into()], 4)
    );
    assert_eq!(visible(&log, deleted), ["kept"]);
    assert_eq!(
        log.read(deleted, Seq(0), None).unwrap().status,
        RoomStatus::Live
    );
}

#[test]
fn a_deletion_of_the_first_version_expires_like_any_other() {
    let old = Disk::new();
    let name = room("ada", "notes");
    let log = old.open();
    append(&log, &name, 1, 1, vec![ready("1"), Entry::Deleted]).unwrap();
    drop(log);
    let disk = Disk::new();
    copy_into_first_version(&old.path(), &disk.path());
    disk.advance(29 * DAY);
    let log = disk.open();
    assert_eq!(visible(&log, &name), ["1"]);
    drop(log);
    disk.advance(DAY);
    let log = disk.open();
    eventually("it is purged", || extent(&log, &name).is_purged);
}
