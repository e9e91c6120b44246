//! Opening a connection and the two steps of the Yjs handshake (`sync.md` 2).

use bytes::Bytes;
use epicenter_room::{Command, ConnectionId, Entry, Note, Outgoing, Request, RoomConfig};
use epicenter_sync::{CloseCode, Frame, encode_step1};
use epicenter_update::{StateVector, Update};

use crate::host::{ADA, Host, LIMITLESS};
use crate::yjs;

fn state_vector(entries: &[(u64, u32)]) -> StateVector {
    let mut state_vector = StateVector::default();
    for (client, clock) in entries {
        state_vector.advance(*client, *clock);
    }
    state_vector
}

#[test]
fn accept_sends_step1_and_then_presence() {
    let mut host = Host::new();
    let laptop = host.open(1, ADA, "laptop");
    assert_eq!(host.log, [Entry::Created]);
    let sent = host.take(laptop);
    let [Outgoing::Binary(step1), Outgoing::Text(presence)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(&step1[..], [0, 1, 0]);
    assert_eq!(&presence[..], br#"{"type":"presence","devices":[]}"#);
}

#[test]
fn a_second_open_of_the_same_id_is_ignored() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.open(1, ADA, "phone");
    assert!(host.take(laptop).is_empty());
    assert_eq!(host.room.connections(), 1);
}

#[test]
fn step1_is_answered_with_what_the_client_lacks() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(9, 1, 2));
    host.take(phone);
    host.binary(phone, encode_step1(&state_vector(&[(9, 1)]).encode()));
    let frames = host.take_frames(phone);
    let [Frame::Step2(update)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let summary = Update::parse(update, &LIMITLESS).unwrap().summary();
    assert_eq!(summary.structs[&9], std::slice::from_ref(&(1..2)));
}

#[test]
fn the_first_step1_of_a_later_socket_shows_the_document() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.push(laptop, &yjs::set(9, 0, 1));
    let phone = host.open(2, ADA, "phone");
    let expected = Frame::Step1(Bytes::from(state_vector(&[(9, 1)]).encode()));
    assert_eq!(host.take_frames(phone), [expected]);
}

#[test]
fn unreadable_frames_are_dropped_and_noted_once_a_kind() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let unreadable: [&[u8]; 8] = [
        b"",           // no subtype
        &[3, 0],       // unknown subtype
        &[2, 9, 1],    // payload cut off
        &[0, 0],       // a state vector of length zero
        &[0, 2, 5, 1], // a state vector that names more than there is
        &[2, 0],       // an update of length zero
        &[2, 1, 0xff], // an update that is none
        &[1, 2, 0, 0], // an update in the first format
    ];
    for _ in 0..2 {
        for frame in unreadable {
            host.binary(laptop, Bytes::from_static(frame));
        }
    }
    assert_eq!(host.log, [Entry::Created]);
    assert!(host.take(phone).is_empty() && host.take(laptop).is_empty());
    assert!(host.closed.is_empty());
    let kinds: Vec<&str> = host
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::FrameDropped {
                connection,
                what,
                is_first,
            } => {
                assert_eq!(*connection, laptop);
                is_first.then_some(*what)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["frame", "state vector", "update"]);
    assert!(host.notes.len() > kinds.len(), "each frame is noted");
}

#[test]
fn a_state_vector_that_documents_would_read_and_the_room_does_not_closes_its_socket() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    // One client twice.
    host.binary(laptop, encode_step1(&[2, 5, 1, 5, 1]));
    assert_eq!(host.closed[&laptop].0, CloseCode::UpdateRefused);
    assert!(
        matches!(&host.notes[..], [Note::UpdateRefused { .. }]),
        "{:?}",
        host.notes
    );
}

#[test]
fn nobody_waits_for_a_state_whose_receiver_is_gone() {
    let mut host = Host::new();
    host.fast_builder = false;
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    for socket in [laptop, phone] {
        host.binary(socket, encode_step1(&[0]));
    }
    let call = host.call(
        3,
        Request::Snapshot {
            if_none_match: Vec::new(),
        },
    );
    assert_eq!(host.room.states_wanted(), 3);
    host.leave(laptop, None);
    host.feed(Command::HangUp { call });
    let wanted: Vec<bool> = host
        .builds
        .iter()
        .map(|(ticket, ..)| host.room.wants(*ticket))
        .collect();
    assert_eq!(
        (wanted, host.room.states_wanted()),
        (vec![false, true, false], 1)
    );
}

#[test]
fn only_the_receiver_of_a_state_waits_for_it() {
    let mut host = Host::new();
    host.fast_builder = false;
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let tablet = host.join(3, ADA, "tablet");
    host.binary(phone, encode_step1(&[0]));
    host.push(laptop, &yjs::set(9, 0, 1));
    host.binary(phone, encode_step1(&[0]));
    host.push(laptop, &yjs::set(9, 1, 2));
    assert_eq!(host.take_updates(tablet).len(), 2);
    assert!(host.take(phone).is_empty());
    assert_eq!(host.builds.len(), 1);

    host.build();
    let frames = host.take_frames(phone);
    assert!(
        matches!(&frames[..], [Frame::Step2(_), Frame::Update(_)]),
        "{frames:?}"
    );
    assert_eq!(host.builds.len(), 1);
    host.build();
    let frames = host.take_frames(phone);
    assert!(
        matches!(&frames[..], [Frame::Step2(_), Frame::Update(_)]),
        "{frames:?}"
    );
}

#[test]
fn a_state_for_a_socket_that_has_gone_is_forgotten() {
    let mut host = Host::new();
    host.fast_builder = false;
    let phone = host.join(1, ADA, "phone");
    host.binary(phone, encode_step1(&[0]));
    host.leave(phone, None);
    host.build();
    assert!(host.take(phone).is_empty());
    assert!(host.room.is_idle());
}

#[test]
fn a_state_that_cannot_be_built_closes_its_receiver_only() {
    let mut host = Host::new();
    host.fast_builder = false;
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.binary(phone, encode_step1(&[0]));
    let (ticket, ..) = host.builds.pop_front().unwrap();
    host.feed(Command::StateBuilt {
        ticket,
        update: None,
    });
    let (code, reason) = &host.closed[&phone];
    assert_eq!(*code, CloseCode::TryAgainLater);
    assert_eq!(
        reason,
        r#"{"name":"StorageUnavailable","code":"storage_unavailable","status":503}"#
    );
    assert!(!host.closed.contains_key(&laptop));
    assert!(!host.is_discarded);
    // The same ticket again means nothing.
    host.feed(Command::StateBuilt {
        ticket,
        update: Some(yjs::nothing()),
    });
    assert!(host.take(phone).is_empty());
}

#[test]
fn what_piles_up_behind_a_state_is_bounded() {
    let mut host = Host::new();
    host.fast_builder = false;
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.binary(phone, encode_step1(&[0]));
    let id = "x".repeat(100);
    let input = "y".repeat(1024 * 1024);
    for number in 0..9 {
        assert!(host.closed.is_empty(), "after {number} MiB");
        host.text(
            laptop,
            &format!(r#"{{"type":"dispatch_request","id":"{id}{number}","to":"phone","action":"a","input":"{input}"}}"#),
        );
    }
    assert_eq!(
        host.closed.get(&phone),
        Some(&(CloseCode::TryAgainLater, "slow-consumer".to_owned()))
    );
    assert_eq!(host.closed.len(), 1);
}

#[test]
fn one_connection_too_many_is_refused() {
    let refusal = r#"{"name":"TooManyConnections","code":"too_many_connections","status":429}"#;
    let config = RoomConfig {
        max_device_connections: 2,
        max_connections: 3,
        ..RoomConfig::default()
    };
    let mut host = Host::with(config);
    host.open(1, ADA, "laptop");
    host.open(2, ADA, "laptop");
    let third_tab = host.open(3, ADA, "laptop");
    assert_eq!(
        host.closed.remove(&third_tab),
        Some((CloseCode::Policy, refusal.to_owned()))
    );
    assert!(host.take(third_tab).is_empty());
    host.open(4, ADA, "phone");
    let fourth = host.open(5, ADA, "tablet");
    assert_eq!(
        host.closed.remove(&fourth),
        Some((CloseCode::Policy, refusal.to_owned()))
    );
    host.leave(ConnectionId(1), None);
    host.open(6, ADA, "laptop");
    assert!(host.closed.is_empty());
    assert_eq!(host.room.connections(), 3);
}
