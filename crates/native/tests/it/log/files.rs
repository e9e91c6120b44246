//! The database as a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use epicenter_native::log::{Log, LogConfig, SqliteLog};
use epicenter_room::Seq;

use super::{Disk, append, ready, room};

#[test]
fn a_log_of_a_newer_program_is_refused_unchanged() {
    let disk = Disk::new();
    drop(disk.open());
    disk.sql()
        .execute(
            "UPDATE meta SET value = '3' WHERE key = 'schema_version'",
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
            "{} has schema version 3 and this program knows versions up to 2: use the newer program",
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
