//! A state in the place of entries: what is read afterwards, and what comes too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use epicenter_native::log::{Log, LogConfig, LogId, ReplaceError, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};

use super::{
    Disk, Valve, append, bodies, eventually, extent, pending, ready, replace, room, send,
    send_state, send_state_of, visible,
};

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    numbers.map(|number| ready(number.to_string())).collect()
}

#[test]
fn a_state_stands_for_what_came_before_and_the_rest_keeps_its_numbers() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, vec![Entry::Created]).unwrap();
    append(&log, &name, 1, 2, numbered(2..=8)).unwrap();
    append(&log, &name, 1, 9, vec![pending("nine")]).unwrap();
    let before = extent(&log, &name);
    assert_eq!(
        (before.state, before.entries, before.bytes),
        (Seq(0), 9, 11)
    );
    assert_eq!(replace(&log, &name, 6, "state of 6"), Ok(()));
    let check = |log: &SqliteLog| {
        let now = extent(log, &name);
        assert_ne!(now.log, before.log);
        assert_eq!((now.status, now.last), (RoomStatus::Live, Seq(9)));
        assert_eq!((now.state, now.state_bytes), (Seq(6), 10));
        assert_eq!((now.entries, now.bytes), (3, 6));
        // Whoever has read nothing, or less than the state holds, gets all of it.
        for after in [0, 1, 5] {
            for upto in [None, Some(9)] {
                let stored = log.read(&name, Seq(after), upto.map(Seq)).unwrap();
                assert!(stored.is_reset);
                assert_eq!(stored.log, now.log);
                let (visible, waiting, last) = bodies(log, &name, after, upto);
                assert_eq!(
                    (visible, last),
                    (vec!["state of 6".to_owned(), "7".into(), "8".into()], 9)
                );
                assert_eq!(waiting, ["nine"]);
            }
        }
        // Even when it asks for less than the state stands for.
        for upto in [3, 6] {
            let (visible, waiting, last) = bodies(log, &name, 2, Some(upto));
            assert_eq!((visible, last), (vec!["state of 6".to_owned()], 6));
            assert!(waiting.is_empty());
        }
        let stored = log.read(&name, Seq(6), None).unwrap();
        assert!(!stored.is_reset);
        assert_eq!(
            bodies(log, &name, 6, Some(7)),
            (vec!["7".into()], vec![], 7)
        );
        assert_eq!(
            bodies(log, &name, 8, None),
            (vec![], vec!["nine".into()], 9)
        );
        assert_eq!(log.list(name.owner(), None, 1)[0].storage_bytes, 16);
        assert_eq!(
            (log.usage(name.owner()).rooms, log.usage(name.owner()).bytes),
            (1, 16)
        );
    };
    check(&log);
    drop(log);
    let log = disk.open();
    check(&log);
    assert_eq!(append(&log, &name, 1, 10, numbered(10..=10)), Ok(Seq(10)));
    assert_eq!(replace(&log, &name, 10, "state of 10"), Ok(()));
    assert_eq!(visible(&log, &name), ["state of 10"]);
    assert_eq!(extent(&log, &name).entries, 0);
}

#[test]
fn a_pending_part_has_a_number_of_its_own_and_belongs_to_the_state() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=5)).unwrap();
    let result = send_state(&log, &name, 5, b"state", Some(b"waits"));
    assert_eq!(result.recv().unwrap(), Ok(()));
    append(&log, &name, 1, 6, numbered(6..=6)).unwrap();
    let check = |log: &SqliteLog| {
        let now = extent(log, &name);
        assert_eq!(
            (now.state, now.last, now.entries, now.bytes),
            (Seq(4), Seq(6), 2, 6)
        );
        // Whoever has read up to 4 knows nothing of what entry 5 was, and that is in the state.
        for (after, upto) in [(0, None), (4, None), (4, Some(6))] {
            assert!(log.read(&name, Seq(after), upto.map(Seq)).unwrap().is_reset);
            let expect = (
                vec!["state".to_owned(), "6".into()],
                vec!["waits".to_owned()],
                6,
            );
            assert_eq!(bodies(log, &name, after, upto), expect);
        }
        let expect = (vec!["state".to_owned()], vec!["waits".to_owned()], 5);
        assert_eq!(bodies(log, &name, 0, Some(4)), expect);
        assert!(!log.read(&name, Seq(5), None).unwrap().is_reset);
        assert_eq!(bodies(log, &name, 5, None), (vec!["6".into()], vec![], 6));
    };
    check(&log);
    drop(log);
    check(&disk.open());
}

#[test]
fn large_states_are_stored_in_parts() {
    const MIB: usize = 1 << 20;
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "large");
    append(&log, &name, 1, 1, numbered(1..=3)).unwrap();
    for (turn, size) in (0_u64..).zip([MIB, MIB + 1, 5 * MIB + 7, 17 * MIB + 3]) {
        let state: Vec<u8> = (0..size).map(|at| (at * 31 + size) as u8).collect();
        let waiting = vec![turn as u8; MIB + 5];
        let last = 3 + turn;
        let result = send_state(&log, &name, last, &state, Some(&waiting));
        assert_eq!(result.recv().unwrap(), Ok(()));
        append(&log, &name, 1, last + 1, vec![ready("next")]).unwrap();
        let check = |log: &SqliteLog| {
            let stored = log.read(&name, Seq(0), None).unwrap();
            assert!(stored.ready[0] == state && stored.ready[1] == "next");
            assert!(stored.pending == [waiting.clone()]);
            assert_eq!(extent(log, &name).state_bytes, size as u64);
        };
        check(&log);
    }
    assert_eq!(
        disk.count("SELECT max(length(body)) FROM entries"),
        MIB as u64
    );
    drop(log);
    let log = disk.open();
    let stored = log.read(&name, Seq(0), None).unwrap();
    assert_eq!(stored.ready[0].len(), 17 * MIB + 3);
    assert_eq!(extent(&log, &name).state_bytes, (17 * MIB + 3) as u64);
}

#[test]
fn appends_that_arrive_while_it_is_queued_keep_their_numbers() {
    let disk = Disk::new();
    let log = disk.open();
    let (name, other) = (room("ada", "notes"), room("ada", "other"));
    append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
    append(&log, &other, 1, 1, numbered(1..=2)).unwrap();
    let valve = Valve::shut(&log);
    let (sender, results) = channel();
    send(&log, &name, 1, 5, numbered(5..=6), &sender);
    let replaced = send_state(&log, &name, 3, b"state of 3", None);
    let also = send_state(&log, &other, 2, b"state of 2", None);
    send(
        &log,
        &name,
        1,
        7,
        vec![pending("seven"), ready("8")],
        &sender,
    );
    valve.open();
    assert_eq!(results.recv().unwrap(), Ok(Seq(6)));
    assert_eq!(results.recv().unwrap(), Ok(Seq(8)));
    assert_eq!(
        (replaced.recv().unwrap(), also.recv().unwrap()),
        (Ok(()), Ok(()))
    );
    let check = |log: &SqliteLog| {
        assert_eq!(visible(log, &name), ["state of 3", "4", "5", "6", "8"]);
        assert_eq!(
            bodies(log, &name, 6, None),
            (vec!["8".into()], vec!["seven".into()], 8)
        );
        assert_eq!(visible(log, &other), ["state of 2"]);
    };
    check(&log);
    assert_eq!(log.stats().replaced, 2);
    drop(log);
    check(&disk.open());
}

#[test]
fn what_was_made_of_a_log_that_no_longer_counts_is_stale() {
    let check = |change: &dyn Fn(&SqliteLog, u64)| {
        let disk = Disk::new();
        let log = disk.open();
        let name = room("ada", "notes");
        append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
        let of = extent(&log, &name).log;
        change(&log, 4);
        let (before, read) = (extent(&log, &name), bodies(&log, &name, 0, None));
        let result = send_state_of(&log, &name, of, 4, b"too late", None);
        assert_eq!(result.recv().unwrap(), Err(ReplaceError::Stale));
        assert_eq!(
            (extent(&log, &name), bodies(&log, &name, 0, None)),
            (before, read)
        );
        assert_eq!(log.stats().stale_replacements, 1);
    };
    let name = room("ada", "notes");
    check(&|log, _| replace(log, &name, 2, "another").unwrap());
    check(&|log, last| {
        append(log, &name, 1, last + 1, vec![Entry::Deleted]).unwrap();
    });
    check(&|log, last| {
        let entries = vec![Entry::Deleted, Entry::Recreated];
        append(log, &name, 1, last + 1, entries).unwrap();
    });
    let disk = Disk::new();
    let log = disk.open();
    let result = send_state_of(&log, &name, LogId(1), 1, b"of nothing", None);
    assert_eq!(result.recv().unwrap(), Err(ReplaceError::Stale));
}

#[test]
fn of_what_is_queued_for_one_room_the_first_state_wins() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
    let valve = Valve::shut(&log);
    let first = send_state(&log, &name, 3, b"first", None);
    let second = send_state(&log, &name, 4, b"second", None);
    let (sender, results) = channel();
    send(&log, &name, 1, 5, vec![Entry::Deleted], &sender);
    let other = room("ada", "other");
    send(&log, &other, 1, 1, numbered(1..=1), &sender);
    valve.open();
    results.recv().unwrap().unwrap();
    // The deletion was committed before: appends pass what is queued beside them.
    assert_eq!(first.recv().unwrap(), Err(ReplaceError::Stale));
    assert_eq!(second.recv().unwrap(), Err(ReplaceError::Stale));
    append(&log, &name, 1, 6, vec![Entry::Restored]).unwrap();
    let valve = Valve::shut(&log);
    let first = send_state(&log, &name, 3, b"first", None);
    let second = send_state(&log, &name, 4, b"second", None);
    valve.open();
    assert_eq!(first.recv().unwrap(), Ok(()));
    assert_eq!(second.recv().unwrap(), Err(ReplaceError::Stale));
    assert_eq!(visible(&log, &name), ["first", "4"]);
}

#[test]
fn more_than_a_commit_is_not_copied() {
    let check = |config: LogConfig, body: usize| {
        let disk = Disk::new();
        let log = disk.open_with(config);
        let name = room("ada", "notes");
        let (last, fits) = (60, 55);
        for number in 1..=last {
            append(&log, &name, 1, number, vec![ready(vec![b'x'; body])]).unwrap();
        }
        assert_eq!(
            replace(&log, &name, 5, "too early"),
            Err(ReplaceError::Stale)
        );
        assert_eq!(visible(&log, &name).len(), 60);
        assert_eq!(replace(&log, &name, fits, "state"), Ok(()));
        assert_eq!(visible(&log, &name).len(), 6);
        // One that has to be copied beside others waits for the next commit.
        let rooms = ["a", "b", "c"].map(|id| room("ada", id));
        for name in &rooms {
            for number in 1..=10 {
                append(&log, name, 1, number, vec![ready(vec![b'x'; body])]).unwrap();
            }
        }
        let valve = Valve::shut(&log);
        let results: Vec<_> = rooms
            .iter()
            .map(|name| send_state(&log, name, 2, b"state", None))
            .collect();
        valve.open();
        for result in results {
            assert_eq!(result.recv().unwrap(), Ok(()));
        }
        for name in &rooms {
            assert_eq!(visible(&log, name).len(), 9);
        }
    };
    let rows = LogConfig {
        max_commit_rows: 10,
        ..LogConfig::default()
    };
    check(rows, 3);
    let bytes = LogConfig {
        max_commit_bytes: 10_000,
        ..LogConfig::default()
    };
    check(bytes, 1_000);
}

#[test]
fn a_state_that_cannot_be_true_is_refused() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
    let check = |upto, pending: Option<&[u8]>| {
        let result = send_state(&log, &name, upto, b"state", pending);
        let error = result.recv().unwrap().unwrap_err();
        assert!(
            error.to_string().contains("cannot replace entries"),
            "{error}"
        );
    };
    check(0, None);
    check(5, None);
    check(1, Some(b"waits"));
    replace(&log, &name, 3, "state of 3").unwrap();
    check(2, None);
    assert_eq!(log.stats().failed_replacements, 4);
    assert_eq!(visible(&log, &name), ["state of 3", "4"]);
}

#[test]
fn a_part_that_waits_right_behind_a_state_may_have_come_later() {
    let disk = Disk::new();
    let log = disk.open();
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=3)).unwrap();
    replace(&log, &name, 3, "state of 3").unwrap();
    append(&log, &name, 1, 4, vec![pending("four")]).unwrap();
    // Made before that part arrived.
    assert_eq!(replace(&log, &name, 3, "another state of 3"), Ok(()));
    let expect = (
        vec!["another state of 3".to_owned()],
        vec!["four".to_owned()],
        4,
    );
    assert_eq!(bodies(&log, &name, 0, None), expect);
    assert_eq!(bodies(&log, &name, 2, Some(3)), expect);
    drop(log);
    assert_eq!(bodies(&disk.open(), &name, 0, None), expect);
}

#[test]
fn its_bytes_count_in_the_queue() {
    let disk = Disk::new();
    let log = disk.open_with(LogConfig {
        max_queue_bytes: 10_000,
        ..LogConfig::default()
    });
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
    let valve = Valve::shut(&log);
    let result = send_state(&log, &name, 4, &[b'x'; 6_000], Some(&[b'y'; 6_000]));
    assert!(log.is_full());
    assert!(log.stats().queued_bytes >= 12_000);
    valve.open();
    assert_eq!(result.recv().unwrap(), Ok(()));
    log.shutdown();
    assert_eq!(log.stats().queued_bytes, 0);
}

#[test]
fn shutdown_writes_what_is_queued_and_answers_what_comes_later() {
    let disk = Disk::new();
    let log = Arc::new(disk.open());
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=4)).unwrap();
    let valve = Valve::shut(&log);
    let result = send_state(&log, &name, 4, b"state", None);
    let stopping = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.shutdown()
    });
    valve.open();
    stopping.join().unwrap();
    assert_eq!(result.recv().unwrap(), Ok(()));
    let late = replace(&log, &name, 4, "late").unwrap_err();
    assert_eq!(
        late.to_string(),
        "the log was not replaced: the log has stopped"
    );
    assert_eq!(visible(&disk.open(), &name), ["state"]);
}

/// With nothing kept, old rows disappear under the readers.
#[test]
fn readers_see_one_log_or_the_other() {
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        keep_generations_ms: 0,
        ..LogConfig::default()
    }));
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=50)).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let reads: Arc<[AtomicU64; 3]> = Arc::default();
    let readers: Vec<_> = (0..reads.len())
        .map(|reader| {
            let (log, name) = (Arc::clone(&log), name.clone());
            let (is_over, reads) = (Arc::clone(&is_over), Arc::clone(&reads));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let (visible, _, last) = bodies(&log, &name, 0, None);
                    // Every state lists the numbers that it stands for.
                    let numbers: Vec<u64> = visible
                        .iter()
                        .flat_map(|text| text.split(' '))
                        .map(|number| number.parse().unwrap())
                        .collect();
                    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
                    reads[reader].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let counts = || -> Vec<u64> {
        let counts = reads.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    };
    for last in 51..=150 {
        append(&log, &name, 1, last, numbered(last..=last)).unwrap();
        let upto = last - last % 3;
        let state: Vec<_> = (1..=upto).map(|number| number.to_string()).collect();
        replace(&log, &name, upto, &state.join(" ")).unwrap();
        // On a busy machine all of this may be over before a reader has had its turn.
        if last % 25 == 0 {
            let before = counts();
            eventually("everybody reads on", || {
                let now = counts();
                now.iter().zip(&before).all(|(now, before)| now > before)
            });
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(log.stats().replaced, 100);
}

/// As the hub does it: one thread appends without waiting, another reads what is durable and hands over its merge.
#[test]
fn compactions_beside_a_stream_of_appends_lose_nothing() {
    const APPENDS: u64 = 1_500;
    let disk = Disk::new();
    let log = Arc::new(disk.open_with(LogConfig {
        max_commit_rows: 40,
        keep_generations_ms: 0,
        ..LogConfig::default()
    }));
    let name = room("ada", "notes");
    append(&log, &name, 1, 1, numbered(1..=1)).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let compactor = std::thread::spawn({
        let (log, name, is_over) = (Arc::clone(&log), name.clone(), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                let stored = log.read(&name, Seq(0), None).unwrap();
                let state = super::texts(&stored.ready).join(" ");
                let Seq(upto) = stored.last;
                let result = send_state_of(&log, &name, stored.log, upto, state.as_bytes(), None);
                match result.recv().unwrap() {
                    Ok(()) | Err(ReplaceError::Stale) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let (sender, results) = channel();
    for number in 2..=APPENDS {
        send(&log, &name, 1, number, numbered(number..=number), &sender);
        if number % 20 == 0 {
            std::thread::yield_now();
        }
    }
    for number in 2..=APPENDS {
        assert_eq!(results.recv().unwrap(), Ok(Seq(number)));
    }
    // On a busy machine every state so far may have come too late for what was appended meanwhile.
    let deadline = Instant::now() + Duration::from_secs(60);
    while log.stats().replaced == 0 {
        assert!(Instant::now() < deadline, "{:?}", log.stats());
        std::thread::yield_now();
    }
    is_over.store(true, Ordering::Relaxed);
    compactor.join().unwrap();
    let check = |log: &SqliteLog| {
        let texts = visible(log, &name).join(" ");
        let expect: Vec<_> = (1..=APPENDS).map(|number| number.to_string()).collect();
        assert_eq!(texts, expect.join(" "));
    };
    check(&log);
    log.shutdown();
    check(&disk.open());
}
