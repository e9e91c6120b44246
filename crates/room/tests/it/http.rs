//! HTTP calls on a room (`sync.md` 1 and 4).

use bytes::Bytes;
use epicenter_room::{Answer, CallId, Command, Entry, Request, RoomConfig, Tag};
use epicenter_sync::CloseCode;
use epicenter_update::{EMPTY_UPDATE, Limits, StateVector, Update};

use crate::host::{ADA, Host, LIMITLESS};
use crate::yjs;

const NOTHING: Bytes = Bytes::new();

fn have(entries: &[(u64, u32)]) -> StateVector {
    let mut state_vector = StateVector::default();
    for (client, clock) in entries {
        state_vector.advance(*client, *clock);
    }
    state_vector
}

fn tag_of(answer: &Answer) -> Tag {
    match answer {
        Answer::Update { tag, .. } | Answer::UpToDate { tag } | Answer::NotModified { tag } => *tag,
        other => panic!("{other:?}"),
    }
}

fn is_up_to_date(answer: &Answer) -> bool {
    matches!(answer, Answer::UpToDate { .. })
}

#[test]
fn reading_an_unknown_room_stores_nothing() {
    let mut host = Host::new();
    let answer = host.snapshot(1);
    let Answer::Update { update, tag } = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(update[..], EMPTY_UPDATE);
    let again = host.call(
        2,
        Request::Snapshot {
            if_none_match: vec![*tag],
        },
    );
    assert_eq!(host.answers[&again], Answer::NotModified { tag: *tag });
    assert!(is_up_to_date(&host.sync(3, &have(&[]), &NOTHING, &[])));
    let answer = host.sync(4, &have(&[(9, 1)]), &NOTHING, &[]);
    let Answer::Update { update, .. } = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(update[..], EMPTY_UPDATE);
    host.sync(5, &have(&[]), &yjs::nothing(), &[]);
    assert_eq!(host.log, []);
}

#[test]
fn a_pushed_update_creates_the_room() {
    let mut host = Host::new();
    let update = yjs::set(9, 0, 1);
    assert!(is_up_to_date(&host.sync(1, &have(&[(9, 1)]), &update, &[])));
    assert_eq!(host.log, [Entry::Created, Entry::Ready(update)]);
}

#[test]
fn a_push_goes_to_every_socket() {
    let mut host = Host::new();
    let sockets = [host.join(1, ADA, "laptop"), host.join(2, ADA, "phone")];
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    for socket in sockets {
        assert_eq!(host.take_updates(socket), [yjs::set(9, 0, 1)]);
    }
}

#[test]
fn a_caller_gets_what_it_lacks() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    let answer = host.sync(2, &have(&[(8, 1)]), &yjs::set(8, 0, 1), &[]);
    let Answer::Update { update, .. } = &answer else {
        panic!("{answer:?}")
    };
    let structs = Update::parse(update, &LIMITLESS).unwrap().summary().structs;
    assert_eq!(structs.keys().copied().collect::<Vec<_>>(), [9]);
}

#[test]
fn up_to_date_needs_equal_state_vectors() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    assert!(is_up_to_date(&host.sync(
        2,
        &have(&[(9, 1)]),
        &NOTHING,
        &[]
    )));
    assert!(!is_up_to_date(&host.sync(
        3,
        &have(&[(9, 2)]),
        &NOTHING,
        &[]
    )));
    assert!(!is_up_to_date(&host.sync(
        4,
        &have(&[(8, 1), (9, 1)]),
        &NOTHING,
        &[]
    )));
    assert!(!is_up_to_date(&host.sync(5, &have(&[]), &NOTHING, &[])));
}

#[test]
fn deletions_need_the_tag_or_a_covering_delete_set() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::two(9), &[]);
    let before = tag_of(&host.sync(2, &have(&[(9, 2)]), &NOTHING, &[]));
    let answer = host.sync(3, &have(&[(9, 2)]), &yjs::delete(9, 0, 2), &[]);
    assert!(
        is_up_to_date(&answer),
        "its own delete set covers the room's"
    );
    let tag = tag_of(&answer);
    assert_ne!(tag, before);

    assert!(!is_up_to_date(&host.sync(
        4,
        &have(&[(9, 2)]),
        &NOTHING,
        &[]
    )));
    assert!(!is_up_to_date(&host.sync(
        5,
        &have(&[(9, 2)]),
        &NOTHING,
        &[before]
    )));
    assert!(is_up_to_date(&host.sync(
        6,
        &have(&[(9, 2)]),
        &NOTHING,
        &[before, tag]
    )));
    assert!(!is_up_to_date(&host.sync(
        7,
        &have(&[(9, 2)]),
        &yjs::delete(9, 0, 1),
        &[]
    )));
    assert!(is_up_to_date(&host.sync(
        8,
        &have(&[(9, 2)]),
        &yjs::delete(9, 0, 2),
        &[]
    )));
    assert!(!is_up_to_date(&host.sync(
        9,
        &have(&[(9, 1)]),
        &NOTHING,
        &[tag]
    )));
}

#[test]
fn nobody_is_up_to_date_while_something_waits() {
    let mut host = Host::new();
    let first = host.sync(1, &have(&[(9, 1)]), &yjs::set(9, 0, 1), &[]);
    assert!(is_up_to_date(&first));
    let answer = host.sync(2, &have(&[(9, 1)]), &yjs::set(9, 2, 1), &[]);
    assert!(!is_up_to_date(&answer));
    assert_ne!(
        tag_of(&answer),
        tag_of(&first),
        "what waits is part of the tag"
    );
    assert!(!is_up_to_date(&host.sync(
        3,
        &have(&[(9, 1)]),
        &NOTHING,
        &[tag_of(&answer)]
    )));
    host.sync(4, &have(&[]), &yjs::set(9, 1, 1), &[]);
    assert!(is_up_to_date(&host.sync(
        5,
        &have(&[(9, 3)]),
        &NOTHING,
        &[]
    )));
}

#[test]
fn a_snapshot_is_not_sent_again_to_who_holds_its_tag() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    let answer = host.snapshot(2);
    let tag = tag_of(&answer);
    let call = host.call(
        3,
        Request::Snapshot {
            if_none_match: vec![Tag([0; 16]), tag],
        },
    );
    assert_eq!(host.answers[&call], Answer::NotModified { tag });
    host.sync(4, &have(&[]), &yjs::delete(9, 0, 1), &[]);
    let call = host.call(
        5,
        Request::Snapshot {
            if_none_match: vec![tag],
        },
    );
    assert!(matches!(&host.answers[&call], Answer::Update { .. }));
}

#[test]
fn bad_updates_are_answered_and_not_stored() {
    let limits = Limits {
        max_structs: 1,
        ..Limits::default()
    };
    let mut host = Host::with(RoomConfig {
        limits,
        ..RoomConfig::default()
    });
    let answer = host.sync(1, &have(&[]), &Bytes::from_static(&[0xff]), &[]);
    assert!(matches!(answer, Answer::Malformed { .. }), "{answer:?}");
    let answer = host.sync(2, &have(&[]), &yjs::two(9), &[]);
    assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
    assert_eq!(host.log, []);
}

#[test]
fn no_answer_of_any_kind_comes_before_the_disk() {
    let mut host = Host::new();
    host.fast_disk = false;
    let sync = |update: Bytes, state_vector| Request::Sync {
        state_vector,
        update,
        if_none_match: vec![],
    };
    let pushed = host.call(1, sync(yjs::set(9, 0, 1), have(&[(9, 1)])));
    let different = host.call(2, sync(NOTHING, have(&[])));
    let snapshot = host.call(
        3,
        Request::Snapshot {
            if_none_match: vec![],
        },
    );
    let malformed = host.call(4, sync(Bytes::from_static(&[0xff]), have(&[])));
    let exists = host.call(5, Request::Create);
    assert!(host.answers.is_empty() && host.builds.is_empty());
    let deleted = host.call(6, Request::Delete);
    let gone = host.call(
        7,
        Request::Snapshot {
            if_none_match: vec![],
        },
    );
    let created = host.call(8, Request::Create);
    assert!(host.answers.is_empty());
    host.disk();
    let mut answered = vec![pushed, different, snapshot, malformed, exists];
    assert_eq!(host.answers.keys().copied().collect::<Vec<_>>(), answered);
    host.disk();
    answered.extend([deleted, gone]);
    assert_eq!(host.answers.keys().copied().collect::<Vec<_>>(), answered);
    host.disk();
    assert_eq!(host.answers[&created], Answer::Created);
}

#[test]
fn create_says_what_was_there() {
    let mut host = Host::new();
    let created = host.call(1, Request::Create);
    let exists = host.call(2, Request::Create);
    assert_eq!(host.answers[&created], Answer::Created);
    assert_eq!(host.answers[&exists], Answer::Exists);
    assert_eq!(host.log, [Entry::Created]);
}

#[test]
fn deleting_nothing_stores_nothing() {
    let mut host = Host::new();
    let absent = host.call(1, Request::Delete);
    assert_eq!(host.answers[&absent], Answer::Deleted);
    assert_eq!(host.log, []);
    host.call(2, Request::Create);
    let live = host.call(3, Request::Delete);
    let again = host.call(4, Request::Delete);
    assert_eq!(host.answers[&live], Answer::Deleted);
    assert_eq!(host.answers[&again], Answer::Deleted);
    assert_eq!(host.log, [Entry::Created, Entry::Deleted]);
}

#[test]
fn a_tombstone_closes_sockets_once_it_is_durable() {
    let gone = r#"{"name":"RoomDeleted","code":"room_deleted","status":410}"#;
    let mut host = Host::new();
    let sockets = [host.join(1, ADA, "laptop"), host.join(2, ADA, "phone")];
    host.fast_disk = false;
    host.push(sockets[0], &yjs::set(9, 0, 1));
    let call = host.call(1, Request::Delete);
    let late = host.open(3, ADA, "tablet");
    host.push(sockets[0], &yjs::set(9, 1, 1));
    assert!(host.closed.is_empty() && host.answers.is_empty());
    host.disk();
    assert_eq!(host.take_updates(sockets[1]), [yjs::set(9, 0, 1)]);
    assert!(host.closed.is_empty());
    host.disk();
    assert_eq!(host.answers[&call], Answer::Deleted);
    for socket in [sockets[0], sockets[1], late] {
        assert_eq!(
            host.closed[&socket],
            (CloseCode::RoomDeleted, gone.to_owned())
        );
    }
    assert!(host.room.is_idle());
    assert_eq!(host.timer, None);
    assert_eq!(host.log.len(), 3);
}

#[test]
fn a_tombstone_outlives_the_memory_of_the_room() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    host.call(2, Request::Delete);
    host.restart();
    assert_eq!(host.snapshot(3), Answer::Gone);
    assert_eq!(
        host.sync(4, &have(&[]), &yjs::set(9, 0, 1), &[]),
        Answer::Gone
    );
    let to = crate::host::device("laptop");
    let call = host.call(
        5,
        Request::Dispatch {
            to,
            action: "a".to_owned(),
            input: None,
        },
    );
    assert_eq!(host.answers[&call], Answer::Gone);
    let socket = host.open(1, ADA, "laptop");
    assert_eq!(host.closed[&socket].0, CloseCode::RoomDeleted);
    assert_eq!(host.log.len(), 3);
}

#[test]
fn a_recreated_room_is_empty() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    host.sync(2, &have(&[]), &yjs::set(8, 4, 1), &[]);
    host.call(3, Request::Delete);
    let call = host.call(4, Request::Create);
    assert_eq!(host.answers[&call], Answer::Created);
    assert_eq!(host.log.last(), Some(&Entry::Recreated));
    for restart in [false, true] {
        if restart {
            host.restart();
        }
        let answer = host.snapshot(5 + u64::from(restart));
        let Answer::Update { update, .. } = &answer else {
            panic!("{answer:?}")
        };
        assert_eq!(update[..], EMPTY_UPDATE);
    }
    assert!(is_up_to_date(&host.sync(
        7,
        &have(&[(9, 1)]),
        &yjs::set(9, 0, 2),
        &[]
    )));
}

#[test]
fn a_call_that_hung_up_gets_no_answer_but_its_update_stays() {
    let mut host = Host::new();
    host.fast_disk = false;
    host.fast_builder = false;
    let request = Request::Sync {
        state_vector: have(&[(1, 1)]),
        update: yjs::set(9, 0, 1),
        if_none_match: vec![],
    };
    let early = host.call(1, request.clone());
    host.feed(Command::HangUp { call: early });
    host.disk();
    assert!(host.builds.is_empty());
    let late = host.call(2, request);
    host.feed(Command::HangUp { call: late });
    host.build();
    host.feed(Command::HangUp { call: CallId(77) });
    assert!(host.answers.is_empty());
    assert_eq!(host.clocks(), [(9, 1)]);
    assert!(host.room.is_idle());
}

#[test]
fn a_state_that_cannot_be_built_is_unavailable() {
    let mut host = Host::new();
    host.sync(1, &have(&[]), &yjs::set(9, 0, 1), &[]);
    host.fast_builder = false;
    let call = host.call(
        2,
        Request::Snapshot {
            if_none_match: vec![],
        },
    );
    let (ticket, ..) = host.builds.pop_front().unwrap();
    host.feed(Command::StateBuilt {
        ticket,
        update: None,
    });
    assert_eq!(host.answers[&call], Answer::Unavailable);
}
