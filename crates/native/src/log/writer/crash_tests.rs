//! The power goes between any two statements, or in the middle of writing a commit: what is found afterwards is what was
//! before or what should come, whole. Images of the files are taken where `failpoint` is reached.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use epicenter_room::{Append, Entry};
use tempfile::TempDir;

use super::tests::{name, writer};
use super::*;
use crate::log::queue::{Job, Lift, Wait};
use crate::log::row::Kind;
use crate::log::{
    AppendDone, AppendRequest, Extent, LogId, Rejected, ReplaceDone, Replacement, StoredGeneration,
    StoredRejection, failpoint, reader,
};

const ROOMS: [&str; 4] = ["a", "b", "c", "untouched"];

/// Everything that anybody can see of the log.
#[derive(Debug, PartialEq)]
struct Seen {
    rooms: Vec<(Extent, Vec<(Kind, Bytes)>)>,
    kept: Vec<(Vec<StoredGeneration>, Vec<StoredRejection>)>,
    kept_bodies: Vec<Vec<(Kind, Bytes)>>,
}

fn look(directory: &Directory, connection: &Connection) -> Seen {
    let bodies = |log, rows: &crate::log::row_list::RowList| {
        reader::read_entries(connection, log, &rows.all()).unwrap()
    };
    let mut seen = Seen {
        rooms: Vec::new(),
        kept: Vec::new(),
        kept_bodies: Vec::new(),
    };
    for name in ROOMS.map(name) {
        let record = directory.look_up(&name).unwrap().unwrap();
        let extent = directory.extent(&name).unwrap();
        seen.rooms.push((extent, bodies(record.log, &record.rows)));
        let generations = directory.generations.list(&name);
        let rejections = directory.rejections.list(&name);
        for kept in &generations {
            let rows = &directory.generations.find(kept.log).unwrap().rows;
            assert!(rows.fault.is_none());
            seen.kept_bodies.push(bodies(kept.log.0, &rows.rows));
        }
        for kept in &rejections {
            let rows = &directory.rejections.find(kept.log).unwrap().rows;
            assert!(rows.fault.is_none());
            seen.kept_bodies.push(bodies(kept.log.0, &rows.rows));
        }
        seen.kept.push((generations, rejections));
    }
    // No row is taken for that of a room that was lost.
    let absent = name("never was");
    assert!(directory.look_up(&absent).unwrap().is_none());
    seen
}

/// The files as a dead process leaves them.
fn image(writer: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for file in ["rooms.db", "rooms.db-wal"] {
        std::fs::copy(writer.with_file_name(file), image.path().join(file)).unwrap();
    }
    image
}

fn look_at(image: &TempDir) -> Seen {
    let path = image.path().join("rooms.db");
    let connection = schema::open(&path, None).unwrap();
    let scanned = scan::scan(&connection, &path, 0).unwrap();
    look(&scanned.directory, &connection)
}

fn append(writer: &mut Writer, room: &str, entries: Vec<Entry>) {
    let last = {
        let directory = read(&writer.shared.directory);
        let record = directory.find(&name(room));
        record.map_or(0, |record| record.rows.last_entry())
    };
    let request = AppendRequest {
        room: name(room),
        // A panic condemns a generation; each append here is a life of its own.
        generation: Generation(writer.next_row),
        append: Append {
            first: Seq(last + 1),
            entries,
        },
        done: AppendDone(Box::new(|_| {})),
    };
    writer.shared.queue.push(request).unwrap();
    take(writer);
}

fn run(writer: &mut Writer, jobs: Vec<Job>) {
    for job in jobs {
        writer.shared.queue.push_job(job).unwrap();
    }
    take(writer);
}

/// Carries out what is queued, as the thread would.
fn take(writer: &mut Writer) {
    let taken = writer.shared.queue.take((100, 64 << 20), Wait::Not, None);
    let Taken::Work { appends, jobs } = taken else {
        panic!("the queue is open");
    };
    if !appends.is_empty() {
        writer.write(appends);
    }
    writer.run_jobs(jobs);
}

fn ready(text: &str) -> Entry {
    Entry::Ready(Bytes::copy_from_slice(text.as_bytes()))
}

fn log_of(writer: &Writer, room: &str) -> LogId {
    let directory = read(&writer.shared.directory);
    LogId(directory.find(&name(room)).unwrap().log)
}

fn replacement(writer: &Writer, room: &str, upto: u64, pending: Option<&'static [u8]>) -> Job {
    Job::Replace(Replacement {
        room: name(room),
        log: log_of(writer, room),
        upto: Seq(upto),
        ready: Bytes::from(vec![b's'; (1 << 20) + 100]),
        pending: pending.map(Bytes::from_static),
        done: ReplaceDone(Box::new(|_| {})),
    })
}

fn rejection(writer: &Writer, room: &str) -> Job {
    Job::Reject(Rejected {
        room: name(room),
        log: log_of(writer, room),
        upto: Seq(2),
        ready: Bytes::from_static(b"wrong"),
        reason: "the digests differ".to_owned(),
    })
}

/// One change of the log, from a state that something has prepared.
struct Scene {
    what: &'static str,
    prepare: fn(&mut Writer),
    act: fn(&mut Writer),
}

const NOTHING: fn(&mut Writer) = |_| {};

const SCENES: &[Scene] = &[
    Scene {
        what: "an append to several rooms",
        prepare: NOTHING,
        act: |writer| append(writer, "a", vec![ready("4"), Entry::Pending(Bytes::new())]),
    },
    Scene {
        what: "a re-creation that ends what was kept",
        prepare: |writer| {
            let job = replacement(writer, "a", 2, None);
            run(writer, vec![job]);
            let job = rejection(writer, "a");
            run(writer, vec![job]);
        },
        act: |writer| {
            let entries = vec![Entry::Deleted, Entry::Recreated, ready("new")];
            append(writer, "a", entries);
        },
    },
    Scene {
        what: "replacements that keep the old log",
        prepare: NOTHING,
        act: |writer| {
            let jobs = vec![
                replacement(writer, "a", 2, None),
                replacement(writer, "b", 3, Some(b"waits")),
                rejection(writer, "c"),
            ];
            run(writer, jobs);
        },
    },
    Scene {
        what: "a replacement that keeps nothing",
        prepare: |writer| writer.limits.keep_generations_ms = 0,
        act: |writer| {
            let job = replacement(writer, "a", 3, None);
            run(writer, vec![job]);
        },
    },
    Scene {
        what: "the end of a deleted room's content",
        prepare: |writer| {
            append(writer, "a", vec![Entry::Deleted]);
            append(writer, "b", vec![Entry::Deleted]);
            writer.limits.keep_deleted_ms = 0;
        },
        act: Writer::keep_up,
    },
    Scene {
        what: "the end of old generations",
        prepare: |writer| {
            let jobs = vec![
                replacement(writer, "a", 2, None),
                replacement(writer, "b", 2, None),
            ];
            run(writer, jobs);
            writer.limits.keep_generations_ms = 0;
        },
        act: Writer::keep_up,
    },
    Scene {
        what: "the end of a quarantine",
        prepare: |writer| {
            let job = rejection(writer, "c");
            run(writer, vec![job]);
        },
        act: |writer| {
            let job = Job::Lift(Lift {
                room: name("c"),
                log: log_of(writer, "c"),
                done: Box::new(|_| {}),
            });
            run(writer, vec![job]);
        },
    },
    Scene {
        what: "the deletion of rows that no longer count",
        prepare: |writer| {
            append(writer, "a", vec![Entry::Deleted, Entry::Recreated]);
        },
        act: Writer::keep_up,
    },
];

impl Scene {
    fn prepared(&self, directory: &TempDir) -> Writer {
        let mut writer = writer(directory);
        for room in ROOMS {
            append(
                &mut writer,
                room,
                vec![Entry::Created, ready("2"), ready("3")],
            );
        }
        (self.prepare)(&mut writer);
        writer
    }
}

type Images = Rc<RefCell<Vec<(&'static str, TempDir)>>>;

#[test]
fn a_crash_leaves_what_was_or_what_should_come() {
    for scene in SCENES {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = scene.prepared(&directory);
        let path = writer.path.clone();
        let before = look_at(&image(&path));
        let images = Images::default();
        let taken = Rc::clone(&images);
        failpoint::set(Some(Box::new(move |place| {
            taken.borrow_mut().push((place, image(&path)));
        })));
        (scene.act)(&mut writer);
        failpoint::set(None);
        let after = look_at(&image(&writer.path));
        assert_eq!(
            look(&read(&writer.shared.directory), &writer.connection),
            after
        );
        let images = images.take();
        assert!(images.len() >= 2, "{}: {}", scene.what, images.len());
        for (place, image) in &images {
            let is_done = *place == "the commit is done";
            let expect = if is_done { &after } else { &before };
            assert!(look_at(image) == *expect, "{}: {place}", scene.what);
        }
        assert_eq!(images.last().unwrap().0, "the commit is done");
    }
}

#[test]
fn a_torn_commit_never_was() {
    for scene in SCENES {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = scene.prepared(&directory);
        let wal = writer.path.with_file_name("rooms.db-wal");
        let length = || std::fs::metadata(&wal).unwrap().len();
        let before = (look_at(&image(&writer.path)), length());
        (scene.act)(&mut writer);
        let after = (look_at(&image(&writer.path)), length());
        assert!(
            before.1 < after.1,
            "the write-ahead log grew: {}",
            scene.what
        );
        // Every few frames, and around the last one.
        let lengths = (before.1..after.1)
            .step_by(((after.1 - before.1) / 12) as usize + 1)
            .chain([after.1 - 4_000, after.1 - 1]);
        for length in lengths {
            let image = image(&writer.path);
            let file = OpenOptions::new()
                .write(true)
                .open(image.path().join("rooms.db-wal"))
                .unwrap();
            file.set_len(length).unwrap();
            assert!(look_at(&image) == before.0, "{} at {length}", scene.what);
        }
    }
}

#[test]
fn a_panic_at_any_place_leaves_memory_and_disk_in_agreement() {
    for scene in SCENES {
        for place in 0.. {
            let directory = tempfile::tempdir().unwrap();
            let mut writer = scene.prepared(&directory);
            let before = look_at(&image(&writer.path));
            let left = Rc::new(RefCell::new(place));
            let counter = Rc::clone(&left);
            failpoint::set(Some(Box::new(move |_| {
                let mut left = counter.borrow_mut();
                assert_ne!(*left, 0, "asked to");
                *left -= 1;
            })));
            (scene.act)(&mut writer);
            failpoint::set(None);
            if *left.borrow() > 0 {
                // There were no more places.
                break;
            }
            append(&mut writer, "untouched", vec![ready("4")]);
            let mut disk = look_at(&image(&writer.path));
            let memory = look(&read(&writer.shared.directory), &writer.connection);
            assert_eq!(memory, disk, "{} at {place}", scene.what);
            assert_eq!(disk.rooms[3].1.len(), 4, "the writer goes on");
            disk.rooms.truncate(3);
            let is_as_before = disk.rooms[..] == before.rooms[..3] && disk.kept == before.kept;
            // What the same scene comes to without a panic.
            let (whole, mut undisturbed) = {
                let directory = tempfile::tempdir().unwrap();
                let mut writer = scene.prepared(&directory);
                (scene.act)(&mut writer);
                (directory, look_at(&image(&writer.path)))
            };
            drop(whole);
            undisturbed.rooms.truncate(3);
            let is_done = disk.rooms == undisturbed.rooms && disk.kept == undisturbed.kept;
            assert!(is_as_before || is_done, "{} at {place}", scene.what);
            // And the next attempt finds nothing in its way.
            writer.upkeep.paused_until = None;
            (scene.act)(&mut writer);
            look_at(&image(&writer.path));
        }
    }
}
