//! Failures of the writer that only code beside it can cause.

use std::sync::RwLock;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use epicenter_identity::{OwnerId, RoomId};
use epicenter_room::{Append, Entry};
use rusqlite::params;

use super::*;
use crate::log::AppendDone;
use crate::log::queue::{Queue, Wait};

struct Midnight;

impl Clock for Midnight {
    fn now_ms(&self) -> u64 {
        0
    }
}

pub(super) fn writer(directory: &tempfile::TempDir) -> Writer {
    let path = directory.path().join("rooms.db");
    let mut connection = schema::open(&path, None).unwrap();
    let epoch = schema::begin_epoch(&mut connection, &path).unwrap();
    let mut scanned = scan::scan(&connection, &path, 0).unwrap();
    let shared = Arc::new(Shared {
        path,
        queue: Queue::new(1 << 20),
        directory: RwLock::new(std::mem::take(&mut scanned.directory)),
        counters: Default::default(),
        is_busy: std::sync::atomic::AtomicBool::new(false),
    });
    Writer::new(
        connection,
        shared,
        scanned,
        epoch,
        LogConfig::default(),
        Arc::new(Midnight),
    )
}

pub(super) fn name(room: &str) -> RoomName {
    RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(room).unwrap())
}

type Answer = Receiver<Result<Seq, AppendError>>;

fn request(room: &str, generation: u64, first: u64) -> (AppendRequest, Answer) {
    let (sender, receiver) = channel();
    let request = AppendRequest {
        room: name(room),
        generation: Generation(generation),
        append: Append {
            first: Seq(first),
            entries: vec![Entry::Ready(Bytes::from_static(b"x"))],
        },
        done: AppendDone(Box::new(move |result| sender.send(result).unwrap())),
    };
    (request, receiver)
}

fn last_entry(writer: &Writer, room: &str) -> Option<u64> {
    let directory = writer.shared.directory.read().unwrap();
    directory
        .find(&name(room))
        .map(|record| record.rows.last_entry())
}

/// Sends the requests through the queue as one batch.
fn write(writer: &mut Writer, requests: Vec<(AppendRequest, Answer)>) -> Vec<Result<Seq, String>> {
    let mut answers = Vec::new();
    for (request, answer) in requests {
        writer.shared.queue.push(request).unwrap();
        answers.push(answer);
    }
    let taken = writer.shared.queue.take((100, 1 << 20), Wait::Not, None);
    let Taken::Work { appends, .. } = taken else {
        panic!("there is a batch");
    };
    writer.write(appends);
    let wait = |answer: Answer| answer.recv().unwrap().map_err(|error| error.to_string());
    answers.into_iter().map(wait).collect()
}

#[test]
fn a_panic_costs_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(&directory);
    let ok = |seq| Ok(Seq(seq));
    let panicked = || Err("append failed: the writer of the room log panicked".to_owned());
    assert_eq!(
        write(&mut writer, vec![request("a", 1, 1), request("b", 1, 1)]),
        [ok(1), ok(1)]
    );
    writer.panic_at_row = Some(4);
    assert_eq!(
        write(&mut writer, vec![request("a", 1, 2), request("b", 1, 2)]),
        [panicked(), panicked()]
    );
    writer.panic_at_row = None;
    assert_eq!(
        (last_entry(&writer, "a"), last_entry(&writer, "b")),
        (Some(1), Some(1))
    );
    let failed = Err("append failed: an earlier append of this room failed".to_owned());
    assert_eq!(
        write(&mut writer, vec![request("a", 1, 2), request("b", 2, 2)]),
        [failed, ok(2)]
    );
    assert_eq!(write(&mut writer, vec![request("a", 2, 2)]), [ok(2)]);
}

#[test]
fn a_commit_that_reached_the_disk_without_our_knowledge_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(&directory);
    assert_eq!(write(&mut writer, vec![request("a", 1, 1)]), [Ok(Seq(1))]);
    // What a commit leaves behind that SQLite reported as failed after it had become durable.
    let header = crate::log::row::Header {
        log: 1,
        entry: 2,
        part: 0,
        last: true,
        kind: crate::log::row::Kind::Ready,
        epoch: writer.epoch,
    };
    let insert = "INSERT INTO entries VALUES (2, 1, 1, 2, 0, 1, 1, ?1, ?2, x'78')";
    writer
        .connection
        .execute(insert, params![writer.epoch as i64, header.checksum(b"x")])
        .unwrap();
    assert_eq!(write(&mut writer, vec![request("a", 1, 2)]).len(), 1);
    assert_eq!(last_entry(&writer, "a"), Some(2));
    assert_eq!(write(&mut writer, vec![request("a", 2, 3)]), [Ok(Seq(3))]);
}

#[test]
fn a_lost_connection_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(&directory);
    assert_eq!(write(&mut writer, vec![request("a", 1, 1)]), [Ok(Seq(1))]);
    // An empty database of its own fails every statement, as one on a broken file does.
    writer.connection = Connection::open_in_memory().unwrap();
    write(&mut writer, vec![request("a", 1, 2)])[0]
        .clone()
        .unwrap_err();
    assert_eq!(write(&mut writer, vec![request("a", 2, 2)]), [Ok(Seq(2))]);
}

#[test]
fn whoever_waits_when_the_thread_ends_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let writer = writer(&directory);
    let (waiting, answer) = request("a", 1, 1);
    writer.shared.queue.push(waiting).unwrap();
    drop(Goodbye(Arc::clone(&writer.shared)));
    assert_eq!(
        answer.recv().unwrap(),
        Err(AppendError("the log has stopped".into()))
    );
    assert_eq!(writer.shared.queue.bytes(), 0);
    let (late, _answer) = request("a", 1, 1);
    let refused = writer.shared.queue.push(late).unwrap_err();
    assert_eq!(&*refused.1, "the log has stopped");
}

#[test]
fn a_disk_that_turns_read_only_refuses_appends_and_still_reads() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(&directory);
    assert_eq!(write(&mut writer, vec![request("a", 1, 1)]), [Ok(Seq(1))]);
    writer
        .connection
        .execute_batch("PRAGMA query_only = ON")
        .unwrap();
    write(&mut writer, vec![request("a", 1, 2)])[0]
        .clone()
        .unwrap_err();
    write(&mut writer, vec![request("a", 2, 2)])[0]
        .clone()
        .unwrap_err();
    assert_eq!(last_entry(&writer, "a"), Some(1));
    writer
        .connection
        .execute_batch("PRAGMA query_only = OFF")
        .unwrap();
    assert_eq!(write(&mut writer, vec![request("a", 3, 2)]), [Ok(Seq(2))]);
    assert_eq!(last_entry(&writer, "a"), Some(2));
}
