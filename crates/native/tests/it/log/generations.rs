//! Logs that were replaced: how long they are kept, and that letting them go touches nothing else.

use std::sync::Arc;
use std::time::Duration;

use epicenter_identity::RoomName;
use epicenter_native::log::{LogConfig, LogId, SqliteLog, StoredGeneration};
use epicenter_room::{Entry, RoomStatus, Seq};
use epicenter_server::ports::Clock;

use super::{
    DAY, Disk, append, eventually, extent, is_clean, pending, ready, replace, room, texts, visible,
    wake,
};

fn logs(log: &SqliteLog, name: &RoomName) -> Vec<LogId> {
    let kept = log.generations(name);
    kept.iter().map(|generation| generation.log).collect()
}

/// A room that was replaced so many times, with `1`, `2` and so on as its states.
fn replaced(log: &SqliteLog, name: &RoomName, times: u64) {
    for number in 1..=times {
        append(log, name, 1, number, vec![ready(number.to_string())]).unwrap();
        replace(log, name, number, &number.to_string()).unwrap();
    }
}

#[test]
fn a_replaced_log_is_kept_listed_and_read() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    let entries = vec![Entry::Created, ready("one"), pending("two"), ready("three")];
    append(&log, &name, 1, 1, entries).unwrap();
    let first = extent(&log, &name).log;
    replace(&log, &name, 2, "state").unwrap();
    disk.advance(DAY);
    append(&log, &name, 1, 5, vec![ready("five")]).unwrap();
    let second = extent(&log, &name).log;
    replace(&log, &name, 5, "second state").unwrap();
    let check = |log: &SqliteLog| {
        let day = u64::try_from(DAY.as_millis()).unwrap();
        let expect = [
            StoredGeneration {
                log: second,
                upto: Seq(5),
                entries: 4,
                bytes: 5 + 3 + 5 + 4,
                replaced_at: 1_000_000 + day,
            },
            StoredGeneration {
                log: first,
                upto: Seq(2),
                entries: 4,
                bytes: 3 + 3 + 5,
                replaced_at: 1_000_000,
            },
        ];
        assert_eq!(log.generations(&name), expect);
        let stored = log.read_generation(first).unwrap();
        assert_eq!(
            (stored.status, stored.last, stored.log),
            (RoomStatus::Live, Seq(4), first)
        );
        assert_eq!(texts(&stored.ready), ["one", "three"]);
        assert_eq!(texts(&stored.pending), ["two"]);
        let stored = log.read_generation(second).unwrap();
        assert_eq!(texts(&stored.ready), ["state", "three", "five"]);
        let stats = log.stats();
        assert_eq!((stats.generations, stats.generation_bytes), (2, 17 + 11));
        assert_eq!(log.generations(&room("ada", "other")), []);
        let error = log.read_generation(extent(log, &name).log).unwrap_err();
        assert!(
            error.to_string().contains("it is not kept any longer"),
            "{error}"
        );
    };
    check(&log);
    drop(log);
    check(&disk.open());
}

#[test]
fn they_go_by_age_and_nothing_else_goes_with_them() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(
        &log,
        &other,
        1,
        1,
        (1..=700).map(|number| ready(number.to_string())).collect(),
    )
    .unwrap();
    replaced(&log, &name, 3);
    disk.advance(3 * DAY);
    append(&log, &name, 1, 4, vec![ready("4")]).unwrap();
    replace(&log, &name, 3, "state").unwrap();
    replace(&log, &other, 600, "600 of them").unwrap();
    assert_eq!(logs(&log, &name).len(), 4);
    // To the millisecond: those of the first day are kept for seven.
    disk.advance(4 * DAY - Duration::from_millis(1));
    wake(&log);
    assert_eq!(logs(&log, &name).len(), 4);
    disk.advance(Duration::from_millis(1));
    wake(&log);
    eventually("the old ones are gone", || {
        logs(&log, &name).len() == 1 && is_clean(&disk, &log)
    });
    let check = |log: &SqliteLog, generations: usize| {
        assert_eq!(visible(log, &name), ["state", "4"]);
        assert_eq!(visible(log, &other).len(), 101);
        assert_eq!(
            logs(log, &name).len() + logs(log, &other).len(),
            generations
        );
    };
    check(&log, 2);
    // 2 + 101 entries that count, 2 + 700 that are kept, and the two of the room that wakes the writer.
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 103 + 702 + 2);
    assert_eq!(
        log.read_generation(logs(&log, &other)[0])
            .unwrap()
            .ready
            .len(),
        700
    );
    disk.advance(4 * DAY);
    drop(log);
    // What expired while nobody was looking goes at the next start.
    let log = disk.open();
    eventually("all are gone", || {
        log.stats().generations == 0 && is_clean(&disk, &log)
    });
    check(&log, 0);
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 103 + 2);
    assert_eq!(log.stats().generation_bytes, 0);
}

#[test]
fn they_go_by_bytes_the_oldest_first() {
    let disk = Disk::new();
    let config = LogConfig {
        max_generation_bytes: 2_500,
        ..LogConfig::default()
    };
    let log = disk.open_with(config.clone());
    let names = ["a", "b", "c", "d"].map(|id| room("ada", id));
    for name in &names {
        append(&log, name, 1, 1, vec![ready(vec![b'x'; 1_000])]).unwrap();
        replace(&log, name, 1, "state").unwrap();
        disk.advance(Duration::from_secs(1));
    }
    let kept = |log: &SqliteLog| names.clone().map(|name| logs(log, &name).len());
    eventually("what is too much is gone", || kept(&log) == [0, 0, 1, 1]);
    eventually("its rows too", || is_clean(&disk, &log));
    assert_eq!(log.stats().generation_bytes, 2_000);
    drop(log);
    let log = disk.open_with(config);
    assert_eq!(kept(&log), [0, 0, 1, 1]);
    for name in &names {
        assert_eq!(visible(&log, name), ["state"]);
    }
    drop(log);
    // With less room than before, the next start lets go of more.
    let log = disk.open_with(LogConfig {
        max_generation_bytes: 1_500,
        ..LogConfig::default()
    });
    eventually("less is kept", || kept(&log) == [0, 0, 0, 1]);
}

#[test]
fn none_are_kept_when_they_are_off() {
    let check = |config: LogConfig| {
        let disk = Disk::new();
        let name = room("ada", "notes");
        let log = disk.open();
        replaced(&log, &name, 1);
        drop(log);
        let log = disk.open_with(config);
        append(&log, &name, 1, 2, vec![ready("2")]).unwrap();
        replace(&log, &name, 2, "state").unwrap();
        // Nor does what was kept before stay.
        eventually("nothing is kept", || {
            log.stats().generations == 0 && is_clean(&disk, &log)
        });
        assert_eq!(disk.count("SELECT count(*) FROM generations"), 0);
        assert_eq!(disk.count("SELECT count(*) FROM entries"), 1);
        assert_eq!(visible(&log, &name), ["state"]);
    };
    check(LogConfig {
        keep_generations_ms: 0,
        ..LogConfig::default()
    });
    check(LogConfig {
        max_generation_bytes: 0,
        ..LogConfig::default()
    });
}

#[test]
fn an_idle_writer_lets_go_of_them_without_being_asked() {
    struct WallClock(std::time::Instant);
    impl Clock for WallClock {
        fn now_ms(&self) -> u64 {
            1_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
        }
    }
    let disk = Disk::new();
    let config = LogConfig {
        keep_generations_ms: 50,
        ..LogConfig::default()
    };
    let clock = Arc::new(WallClock(std::time::Instant::now()));
    let log = SqliteLog::open(&disk.path(), config, clock).unwrap();
    replaced(&log, &room("ada", "notes"), 2);
    eventually("they expire", || {
        log.stats().generations == 0 && is_clean(&disk, &log)
    });
}

#[test]
fn a_room_that_is_created_again_has_no_past() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    replaced(&log, &name, 2);
    replaced(&log, &other, 1);
    append(&log, &name, 1, 3, vec![Entry::Deleted]).unwrap();
    assert_eq!(logs(&log, &name).len(), 2);
    append(&log, &name, 1, 4, vec![Entry::Recreated]).unwrap();
    assert_eq!(logs(&log, &name), []);
    assert_eq!(logs(&log, &other).len(), 1);
    eventually("the old rows are gone", || is_clean(&disk, &log));
    assert_eq!(disk.count("SELECT count(*) FROM entries"), 1 + 2);
    drop(log);
    let log = disk.open();
    assert_eq!((logs(&log, &name).len(), logs(&log, &other).len()), (0, 1));
}

#[test]
fn damage_to_one_costs_that_one() {
    let check = |damage: &str, listed: usize| {
        let disk = Disk::new();
        let log = disk.open();
        let (name, other) = (room("ada", "notes"), room("ada", "other"));
        let entries = vec![ready("1"), ready("2"), ready("3")];
        append(&log, &name, 1, 1, entries).unwrap();
        let old = extent(&log, &name).log;
        replace(&log, &name, 3, "state").unwrap();
        replaced(&log, &other, 1);
        let others = logs(&log, &other);
        drop(log);
        disk.sql().execute_batch(damage).unwrap();
        let log = disk.open();
        assert_eq!(logs(&log, &name).len(), listed, "{damage}");
        log.read_generation(old).unwrap_err();
        assert_eq!(
            texts(&log.read_generation(others[0]).unwrap().ready),
            ["1"],
            "{damage}"
        );
        assert_eq!(visible(&log, &name), ["state"], "{damage}");
        // No room seems to be lost, so that new ones can be made.
        append(&log, &room("ada", "new"), 1, 1, vec![Entry::Created]).unwrap();
        replaced(&log, &room("ada", "newer"), 1);
        let sound = logs(&log, &name).len() + logs(&log, &other).len() + 1;
        assert_eq!(log.stats().generations, sound as u64);
        disk.advance(8 * DAY);
        wake(&log);
        eventually("the sound ones expire", || {
            log.stats().generations == 0 && is_clean(&disk, &log)
        });
        drop(log);
        let log = disk.open();
        assert_eq!(visible(&log, &name), ["state"], "{damage}");
        append(&log, &room("ada", "last"), 1, 1, vec![Entry::Created]).unwrap();
    };
    check("DELETE FROM entries WHERE row = 1", 1);
    check("DELETE FROM entries WHERE row = 2", 1);
    check("UPDATE entries SET body = x'00' WHERE row = 2", 1);
    check("UPDATE entries SET format = 9 WHERE row = 2", 1);
    check("DELETE FROM entries WHERE log = 1", 1);
    // A line that cannot be believed is not acted upon either: its rows stay.
    check("UPDATE generations SET replaced_at = 5 WHERE log = 1", 0);
    check("UPDATE generations SET room = 'other' WHERE log = 1", 0);
    check("UPDATE generations SET bytes = -1 WHERE log = 1", 0);
}
