//! Quotas: what a full room, and an owner with too many bytes or rooms, still may (`sync.md` 2).

use bytes::Bytes;
use epicenter_room::{Answer, Author, Command, Entry, Note, Request, StorageFull, StorageScope};
use epicenter_sync::{CloseCode, Frame, encode_step1};
use epicenter_update::StateVector;

use crate::host::{ADA, Host, access};
use crate::yjs;

const fn full(scope: StorageScope) -> StorageFull {
    StorageFull {
        scope,
        limit: 10,
        used: 11,
    }
}

const ROOM: StorageFull = full(StorageScope::Room);
const OWNER: StorageFull = full(StorageScope::Owner);
const ROOMS: StorageFull = full(StorageScope::Rooms);

const REASON: &str = r#"{"name":"QuotaExceeded","code":"quota_exceeded","status":507,"limit":10,"used":11,"scope":"rooms"}"#;

fn nobody() -> StateVector {
    StateVector::default()
}

#[test]
fn a_socket_that_brings_something_new_to_a_full_room_is_closed() {
    for full in [ROOM, OWNER] {
        let mut host = Host::new();
        let laptop = host.join(1, ADA, "laptop");
        let phone = host.join(2, ADA, "phone");
        host.push(laptop, &yjs::set(9, 0, 1));
        host.sent.clear();
        host.feed(Command::Storage(Some(full)));
        host.push(laptop, &yjs::set(9, 1, 1));
        let (code, reason) = &host.closed[&laptop];
        assert_eq!(*code, CloseCode::TryAgainLater);
        let reason: serde_json::Value = serde_json::from_str(reason).unwrap();
        assert_eq!(reason["name"], "QuotaExceeded");
        assert_eq!(
            (&reason["limit"], &reason["used"]),
            (&10.into(), &11.into())
        );
        assert_eq!(host.clocks(), [(9, 1)]);
        assert!(host.take(phone).is_empty());
        let refused = Note::UpdateRefused {
            by: Some(Author::Device(crate::host::device("laptop"))),
            reason: "quota".to_owned(),
            limit: "quota",
            bytes: yjs::set(9, 1, 1).len(),
        };
        assert_eq!(host.notes, [refused]);

        host.feed(Command::Storage(None));
        host.push(phone, &yjs::set(9, 1, 1));
        assert_eq!(host.clocks(), [(9, 2)], "there is room again");
    }
}

#[test]
fn a_full_room_still_serves_reads_repetitions_and_deletions() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(8, 1, 1));
    host.feed(Command::Storage(Some(ROOM)));
    host.sent.clear();

    let phone = host.open(2, ADA, "phone");
    host.binary(phone, encode_step1(&[0]));
    let frames = host.take_frames(phone);
    assert!(matches!(frames[..], [Frame::Step1(_), Frame::Step2(_)]));
    host.push(phone, &yjs::set(9, 0, 1));
    host.push(phone, &yjs::set(8, 1, 1));
    host.push(phone, &yjs::nothing());
    assert!(matches!(host.snapshot(1), Answer::Update { .. }));

    host.push(phone, &yjs::delete(9, 0, 1));
    assert_eq!(host.take_updates(laptop), [yjs::delete(9, 0, 1)]);
    let pushed = host.sync(2, &nobody(), &yjs::delete(9, 0, 1), &[]);
    assert!(matches!(pushed, Answer::Update { .. }));
    assert!(host.closed.is_empty());

    let call = host.call(3, Request::Delete);
    assert_eq!(host.answers[&call], Answer::Deleted);
}

#[test]
fn a_deletion_that_must_wait_is_something_new() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.feed(Command::Storage(Some(ROOM)));
    host.push(laptop, &yjs::delete(9, 0, 1));
    assert_eq!(host.closed[&laptop].0, CloseCode::TryAgainLater);
    assert_eq!(host.log, [Entry::Created]);
}

#[test]
fn a_deletion_that_comes_with_something_new_is_not_taken_either() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.feed(Command::Storage(Some(ROOM)));
    let both = crate::host::merge_all([&yjs::delete(9, 0, 1), &yjs::set(9, 1, 1)]);
    host.push(laptop, &both);
    assert_eq!(host.log.len(), 2);
    assert!(host.read_log().deletes.is_empty());
}

#[test]
fn a_push_over_http_is_507_with_the_numbers() {
    for full in [ROOM, OWNER] {
        let mut host = Host::new();
        host.join(1, ADA, "laptop");
        host.feed(Command::Storage(Some(full)));
        let answer = host.sync(1, &nobody(), &yjs::set(9, 0, 1), &[]);
        assert_eq!(answer, Answer::QuotaExceeded(full));
        let answer = host.sync(2, &nobody(), &Bytes::new(), &[]);
        assert!(matches!(answer, Answer::UpToDate { .. }));
        assert_eq!(host.log, [Entry::Created]);
        let by = Some(Author::User(access(ADA).user().clone()));
        assert!(
            matches!(&host.notes[..], [Note::UpdateRefused { by: author, .. }] if *author == by)
        );
    }
}

#[test]
fn no_room_comes_into_being_when_the_owner_has_used_everything_up() {
    for full in [OWNER, ROOMS] {
        let mut host = Host::new();
        host.feed(Command::Storage(Some(full)));
        let socket = host.open(1, ADA, "laptop");
        assert_eq!(host.closed[&socket].0, CloseCode::TryAgainLater);
        assert_eq!(
            host.closed[&socket].1,
            REASON.replace("rooms", full.scope.as_str())
        );
        let push = host.sync(2, &nobody(), &yjs::set(9, 0, 1), &[]);
        assert_eq!(push, Answer::QuotaExceeded(full));
        let call = host.call(3, Request::Create);
        assert_eq!(host.answers[&call], Answer::QuotaExceeded(full));
        assert_eq!(host.log, []);
        assert!(matches!(host.snapshot(4), Answer::Update { .. }));
        assert!(host.room.is_idle());
    }
}

#[test]
fn a_deleted_room_does_not_come_back_when_the_owner_has_used_everything_up() {
    for full in [OWNER, ROOMS] {
        let mut host = Host::new();
        host.log = vec![Entry::Created, Entry::Deleted];
        host.feed(Command::Storage(Some(full)));
        for (id, request) in [(1, Request::Create), (2, Request::Restore)] {
            let call = host.call(id, request);
            assert_eq!(host.answers[&call], Answer::QuotaExceeded(full));
        }
        assert_eq!(host.log.len(), 2);
    }
}

#[test]
fn too_many_rooms_do_not_concern_those_that_live() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.feed(Command::Storage(Some(ROOMS)));
    host.push(laptop, &yjs::set(9, 0, 1));
    host.join(2, ADA, "phone");
    let call = host.call(1, Request::Create);
    assert_eq!(host.answers[&call], Answer::Exists);
    assert_eq!(host.clocks(), [(9, 1)]);
    assert!(host.closed.is_empty());
}
