//! States that do not equal their log: kept for whoever looks into it, and the log left alone.

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_native::log::{Log, LogId, Rejected, ReplaceError, SqliteLog};
use epicenter_room::{Entry, Seq};

use super::{Disk, append, eventually, extent, ready, replace, room, texts, visible, wake};

fn reject(log: &SqliteLog, name: &RoomName, of: LogId, ready: &[u8]) {
    let before = log.stats().rejected;
    log.quarantine(Rejected {
        room: name.clone(),
        log: of,
        upto: Seq(2),
        ready: Bytes::copy_from_slice(ready),
        reason: "the digests differ".to_owned(),
    });
    eventually("it was handled", || log.stats().rejected > before);
}

#[test]
fn a_rejected_state_is_kept_and_its_log_left_alone() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(&log, &name, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    append(&log, &other, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    let of = extent(&log, &name).log;
    let state = vec![b'w'; (2 << 20) + 9];
    reject(&log, &name, of, &state);
    reject(&log, &name, of, b"the next attempt");
    let check = |log: &SqliteLog| {
        assert!(extent(log, &name).is_quarantined);
        assert_eq!(extent(log, &name).log, of);
        let kept = log.rejections(&name);
        assert_eq!(kept.len(), 1);
        assert_eq!(
            (kept[0].of, kept[0].upto, kept[0].bytes),
            (of, Seq(2), state.len() as u64)
        );
        assert_eq!(
            (kept[0].rejected_at, &*kept[0].reason),
            (1_000_000, "the digests differ")
        );
        assert!(log.read_generation(kept[0].log).unwrap().ready == [state.clone()]);
        let error = replace(log, &name, 2, "once more").unwrap_err();
        assert!(error.to_string().contains("rejected before"), "{error}");
        assert_eq!(log.stats().rejections, 1);
    };
    check(&log);
    // It goes on as if nothing had happened.
    append(&log, &name, 1, 3, vec![ready("3")]).unwrap();
    replace(&log, &other, 2, "fine").unwrap();
    drop(log);
    let log = disk.open();
    check(&log);
    assert_eq!(visible(&log, &name), ["1", "2", "3"]);

    assert_eq!(log.lift_quarantine(&name, of), Ok(()));
    assert_eq!(log.lift_quarantine(&name, of), Err(ReplaceError::Stale));
    assert!(!extent(&log, &name).is_quarantined);
    assert_eq!(log.rejections(&name), []);
    assert_eq!(replace(&log, &name, 3, "sound"), Ok(()));
    wake(&log);
    eventually("its rows are gone", || {
        disk.count("SELECT count(*) FROM entries WHERE log = 3") == 0
    });
    drop(log);
    let log = disk.open();
    assert!(!extent(&log, &name).is_quarantined);
    assert_eq!(visible(&log, &name), ["sound"]);
    assert_eq!(visible(&log, &other), ["fine"]);
}

#[test]
fn a_new_beginning_ends_it() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    let of = extent(&log, &name).log;
    reject(&log, &name, of, b"wrong");
    append(&log, &name, 1, 3, vec![Entry::Deleted]).unwrap();
    assert!(extent(&log, &name).is_quarantined);
    append(&log, &name, 1, 4, vec![Entry::Recreated, ready("new")]).unwrap();
    assert!(!extent(&log, &name).is_quarantined);
    // What is said too late about a log that is gone has no effect.
    reject(&log, &name, of, b"late");
    assert_eq!(
        (log.rejections(&name).len(), log.stats().rejections),
        (0, 0)
    );
    eventually("all old rows are gone", || {
        disk.count("SELECT count(*) FROM entries") == 2
            && disk.count("SELECT count(*) FROM retired_logs") == 0
    });
    drop(log);
    let log = disk.open();
    assert!(!extent(&log, &name).is_quarantined);
    assert_eq!(replace(&log, &name, 5, "state"), Ok(()));
}

#[test]
fn a_kept_state_that_is_damaged_harms_nobody() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, vec![ready("1"), ready("2")]).unwrap();
    reject(&log, &name, extent(&log, &name).log, b"wrong");
    let kept = log.rejections(&name);
    drop(log);
    disk.sql()
        .execute("UPDATE entries SET body = x'00' WHERE row = 3", [])
        .unwrap();
    let log = disk.open();
    let error = log.read_generation(kept[0].log).unwrap_err().to_string();
    assert!(error.contains("its checksum does not match"), "{error}");
    assert_eq!(visible(&log, &name), ["1", "2"]);
    assert_eq!(texts(&log.read(&name, Seq(1), None).unwrap().ready), ["2"]);
}
