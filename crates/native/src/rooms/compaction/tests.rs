//! When there is something to compact, and what becomes of a state that does not equal its log.

use std::sync::mpsc::channel;

use epicenter_identity::{OwnerId, RoomId};
use epicenter_room::{Append, Entry};
use epicenter_server::ports::Clock;
use epicenter_testkit::Typist;
use epicenter_update::EMPTY_UPDATE;
use tempfile::TempDir;

use super::*;
use crate::log::{AppendDone, AppendRequest, Generation, LogConfig, SqliteLog};

#[test]
fn what_waits_behind_a_state_is_no_growth() {
    let config = CompactionConfig {
        busy_bytes: 100,
        close_entries: 1,
        ..CompactionConfig::default()
    };
    let extent = |log, entries, bytes| Extent {
        log: LogId(log),
        status: RoomStatus::Live,
        last: Seq(9),
        state: Seq(7),
        state_bytes: 50,
        entries,
        bytes,
        is_quarantined: false,
        deleted_at: None,
        is_purged: false,
    };
    let waiting = Bytes::from(vec![0; 200]);
    let state = MergedState::compacted(Seq(8), Bytes::new(), Some(waiting));
    let mut progress = Progress::default();
    let due = |growth: Growth| {
        (
            growth.is_due_while_busy(&config),
            growth.is_due_after_close(&config),
        )
    };
    assert_eq!(due(progress.growth(&extent(2, 1, 200))), (true, true));
    progress.done(LogId(2), &state);
    let left = progress.growth(&extent(2, 1, 200));
    assert_eq!((due(left), left.all_bytes()), ((false, false), 250));
    assert_eq!(due(progress.growth(&extent(2, 2, 230))), (false, true));
    assert_eq!(due(progress.growth(&extent(2, 9, 460))), (true, true));
    assert_eq!(
        due(progress.growth(&extent(3, 1, 200))),
        (true, true),
        "another log"
    );
}

struct Midnight;

impl Clock for Midnight {
    fn now_ms(&self) -> u64 {
        0
    }
}

/// A log with one room.
struct Disk {
    log: Arc<SqliteLog>,
    room: RoomName,
    _directory: TempDir,
}

impl Disk {
    fn with(entries: Vec<Entry>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rooms.db");
        let log = SqliteLog::open(&path, LogConfig::default(), Arc::new(Midnight)).unwrap();
        let room = RoomName::stored(
            OwnerId::parse("ada").unwrap(),
            RoomId::parse("notes").unwrap(),
        );
        let (sender, receiver) = channel();
        log.append(AppendRequest {
            room: room.clone(),
            generation: Generation(1),
            append: Append {
                first: Seq(1),
                entries,
            },
            done: AppendDone(Box::new(move |result| sender.send(result).unwrap())),
        });
        receiver.recv().unwrap().unwrap();
        Self {
            log: Arc::new(log),
            room,
            _directory: directory,
        }
    }

    /// Compacts in this way.
    fn compact(
        &self,
        compactor: impl FnOnce(StoredRoom) -> Result<Compacted, StateError>,
    ) -> Outcome {
        let (sender, receiver) = channel();
        let log: Arc<dyn Log> = self.log.clone();
        run_with(&log, &self.room, compactor, move |outcome| {
            sender.send(outcome).unwrap();
        });
        receiver.recv().unwrap()
    }

    /// The log's number, its last entry, its ready and its pending rows.
    fn rows(&self) -> (LogId, Seq, Vec<Bytes>, Vec<Bytes>) {
        let stored = self.log.read(&self.room, Seq(0), None).unwrap();
        (stored.log, stored.last, stored.ready, stored.pending)
    }
}

/// Deletes clocks of a client; all numbers are below 64.
fn deletion(client: u8, from: u8, count: u8) -> Bytes {
    let mut update = EMPTY_UPDATE.to_vec();
    update.pop();
    update.extend([1, client, 1, from, count - 1]);
    update.into()
}

/// The first clocks of a client, collected; all numbers are below 64.
fn collected(client: u8, count: u8) -> Bytes {
    let columns = [
        0, 0, 1, client, 0, 0, 1, 0, 1, 0, 0, 0, 1, count, 1, 1, 0, 0,
    ];
    Bytes::from(columns.to_vec())
}

/// Two insertions, a deletion, and two updates that wait.
fn entries() -> Vec<Entry> {
    let mut typist = Typist::new(7);
    let (first, second) = (typist.types("ab"), typist.types("cd"));
    typist.skips(3);
    vec![
        Entry::Created,
        Entry::Ready(first.into()),
        Entry::Ready(second.into()),
        Entry::Ready(deletion(7, 1, 1)),
        Entry::Pending(typist.types("far").into()),
        Entry::Pending(deletion(9, 0, 3)),
    ]
}

fn sound(stored: StoredRoom) -> Result<Compacted, StateError> {
    compacted(stored, Collect::Deleted)
}

#[test]
fn a_sound_state_takes_the_place_of_its_log() {
    let disk = Disk::with(entries());
    let (before, ..) = disk.rows();
    let outcome = disk.compact(sound);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    let (after, last, ready, pending) = disk.rows();
    assert_ne!(after, before);
    assert_eq!((last, ready.len(), pending.len()), (Seq(6), 1, 1));
    assert_eq!(disk.log.stats().rejected, 0);
}

/// Compacts in a wrong way and looks at what is left.
fn check_rejected(
    reason: &str,
    compactor: impl FnOnce(StoredRoom) -> Result<Compacted, StateError>,
) {
    let disk = Disk::with(entries());
    let before = disk.rows();
    let mut rejected = Bytes::new();
    let outcome = disk.compact(|stored| {
        let compacted = compactor(stored)?;
        rejected = compacted.ready.clone();
        Ok(compacted)
    });
    assert!(matches!(outcome, Outcome::Failed), "{reason}: {outcome:?}");
    // Not even a sound state replaces that log now. Its refusal comes after the rejection was stored.
    let outcome = disk.compact(sound);
    assert!(matches!(outcome, Outcome::Failed), "{reason}: {outcome:?}");

    assert_eq!(disk.rows(), before, "{reason}");
    let stats = disk.log.stats();
    let counted = (stats.rejected, stats.rejections, stats.replaced);
    assert_eq!(counted, (1, 1, 0), "{reason}");
    let kept = disk.log.rejections(&disk.room);
    let of = (kept[0].of, kept[0].upto, kept[0].reason.as_str());
    assert_eq!(of, (before.0, before.1, reason));
    let stored = disk.log.read_generation(kept[0].log).unwrap();
    assert_eq!(stored.ready, [rejected], "{reason}");

    let extent = disk.log.extent(&disk.room).unwrap();
    let growth = Growth::of(&extent);
    let always = CompactionConfig {
        load_entries: 1,
        busy_entries: 1,
        close_entries: 1,
        ..CompactionConfig::default()
    };
    assert!(extent.is_quarantined && extent.entries > 0, "{reason}");
    assert!(!growth.is_due_after_load(&always), "{reason}");
    assert!(!growth.is_due_while_busy(&always), "{reason}");
    assert!(!growth.is_due_after_close(&always), "{reason}");
}

#[test]
fn a_state_that_lost_something_is_kept_beside_its_log() {
    check_rejected("the clocks that have a struct differ", |mut stored| {
        stored.ready.remove(1);
        sound(stored)
    });
    check_rejected("the deletions differ", |mut stored| {
        stored.ready.remove(2);
        sound(stored)
    });
    for row in 0..2 {
        check_rejected("what waits differs", |mut stored| {
            stored.pending.remove(row);
            sound(stored)
        });
    }
    check_rejected("what waits differs", |stored| {
        Ok(Compacted {
            pending: None,
            ..sound(stored)?
        })
    });
}

#[test]
fn a_state_with_more_than_its_log_is_kept_beside_it() {
    check_rejected("the clocks that have a struct differ", |mut stored| {
        stored.ready.push(Typist::new(8).types("more").into());
        sound(stored)
    });
    check_rejected("the deletions differ", |mut stored| {
        stored.ready.push(deletion(7, 3, 1));
        sound(stored)
    });
    check_rejected("what waits differs", |mut stored| {
        stored.pending.push(deletion(9, 3, 1));
        sound(stored)
    });
}

#[test]
fn a_state_with_other_content_is_kept_beside_its_log() {
    check_rejected("the content digest differs", |stored| {
        let mut typist = Typist::new(7);
        let others = StoredRoom {
            ready: vec![
                typist.types("ab").into(),
                typist.types("xd").into(),
                deletion(7, 1, 1),
            ],
            ..StoredRoom::default()
        };
        Ok(Compacted {
            ready: sound(others)?.ready,
            ..sound(stored)?
        })
    });
    check_rejected("the new bytes cannot be read", |stored| {
        Ok(Compacted {
            ready: Bytes::from_static(b"no update"),
            ..sound(stored)?
        })
    });
}

/// Compacts a log with these rows, and what comes out once more; nothing may be found to differ.
fn check_sound(what: &str, ready: &[&Bytes], pending: &[&Bytes]) {
    let owned = |rows: &[&Bytes]| rows.iter().map(|row| (*row).clone()).collect();
    for collect in [Collect::Deleted, Collect::Nothing] {
        let mut stored = StoredRoom {
            ready: owned(ready),
            pending: owned(pending),
            ..StoredRoom::default()
        };
        for _ in 0..2 {
            let held = Holdings::of(&stored).unwrap();
            let made = compacted(stored, collect).unwrap();
            assert_eq!(held.check(&made), Ok(()), "{what}, {collect:?}");
            stored = StoredRoom {
                ready: vec![made.ready],
                pending: made.pending.into_iter().collect(),
                ..StoredRoom::default()
            };
        }
    }
}

#[test]
fn rows_that_overlap_or_wait_are_no_mismatch() {
    let mut typist = Typist::new(7);
    let ab = Bytes::from(typist.types("ab"));
    let cd = Bytes::from(typist.types("cd"));
    typist.skips(3);
    let far = Bytes::from(typist.types("far"));
    let abcd = Bytes::from(Typist::new(7).types("abcd"));
    let xyz = Bytes::from(Typist::new(8).types("xyz"));
    let (gone, of_nobody) = (deletion(7, 1, 1), deletion(9, 0, 3));
    check_sound("nothing", &[], &[]);
    check_sound("rows that came twice", &[&ab, &ab, &cd, &gone, &gone], &[]);
    check_sound("rows that overlap", &[&abcd, &cd, &gone, &ab], &[]);
    check_sound("a deletion of nothing known", &[&ab, &of_nobody], &[]);
    check_sound("rows that wait", &[&ab], &[&far, &of_nobody, &far]);
    check_sound(
        "what is ready by now",
        &[&ab, &cd, &gone],
        &[&gone, &cd, &far],
    );
    check_sound("what is ready in part", &[&ab], &[&abcd, &far]);
    check_sound("what is ready in no ready row", &[&ab], &[&cd, &gone]);
    check_sound("collected clocks", &[&collected(8, 3), &ab], &[]);
    check_sound("collected clocks that wait", &[&ab], &[&collected(8, 3)]);
    check_sound(
        "content beside collected clocks",
        &[&collected(8, 3), &xyz],
        &[],
    );
    check_sound(
        "part of it collected",
        &[&xyz, &collected(8, 2)],
        &[&collected(8, 3)],
    );
}

#[test]
fn many_scattered_deletions_are_joined() {
    // In descending order, each of them twice.
    let rows: Vec<Bytes> = (0..60_u8)
        .rev()
        .flat_map(|client| (0..60).rev().map(move |clock| (client + 1, clock)))
        .flat_map(|(client, clock)| [deletion(client, clock, 2), deletion(client, clock, 1)])
        .collect();
    let rows: Vec<&Bytes> = rows.iter().collect();
    check_sound("deletions of nobody", &rows, &[]);
}
