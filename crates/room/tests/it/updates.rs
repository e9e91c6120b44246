//! What becomes of an update: stored, passed on, dropped or refused (`sync.md` 2 and 3).

use bytes::Bytes;
use epicenter_room::{Entry, Message, Note, Outgoing, RoomConfig};
use epicenter_sync::{CloseCode, encode_step2, encode_update};
use epicenter_update::Limits;

use crate::host::{ADA, Host};
use crate::yjs;

#[test]
fn an_update_goes_to_all_others_as_one_shared_frame() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let others = [host.join(2, ADA, "phone"), host.join(3, ADA, "laptop")];
    let update = yjs::set(9, 0, 1);
    host.push(laptop, &update);
    assert_eq!(host.log[1..], [Entry::Ready(update.clone())]);
    assert!(host.take(laptop).is_empty());
    let frames = others.map(|other| host.take(other));
    assert_eq!(frames[0], [Outgoing::Binary(encode_update(&update))]);
    assert_eq!(frames[0], frames[1]);
    assert_eq!(frames[0][0].bytes().as_ptr(), frames[1][0].bytes().as_ptr());
}

#[test]
fn a_step2_is_passed_on_as_an_update() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.binary(laptop, encode_step2(&yjs::set(9, 0, 1)));
    assert_eq!(
        host.take(phone),
        [Outgoing::Binary(encode_update(&yjs::set(9, 0, 1)))]
    );
}

#[test]
fn the_stored_bytes_are_a_slice_of_the_frame() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let frame = encode_update(&yjs::set(9, 0, 1));
    let range = frame.as_ptr_range();
    host.binary(laptop, frame);
    let Entry::Ready(stored) = &host.log[1] else {
        panic!()
    };
    assert!(range.contains(&stored.as_ptr()));
}

#[test]
fn a_no_op_is_neither_stored_nor_passed_on() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::delete(9, 0, 1));
    assert_eq!(host.take(phone).len(), 2);
    let stored = host.log.len();
    for update in [yjs::set(9, 0, 1), yjs::delete(9, 0, 1), yjs::nothing()] {
        host.push(laptop, &update);
        host.push(phone, &update);
    }
    assert_eq!(host.log.len(), stored);
    assert!(host.take(phone).is_empty() && host.take(laptop).is_empty());
}

#[test]
fn a_deletion_alone_is_stored_and_passed_on() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(9, 1, 1));
    host.push(laptop, &yjs::delete(9, 0, 1));
    host.take(phone);
    // Part of it is new.
    host.push(laptop, &yjs::delete(9, 0, 2));
    assert_eq!(host.take_updates(phone), [yjs::delete(9, 0, 2)]);
    assert!(matches!(host.log.last(), Some(Entry::Ready(_))));
}

#[test]
fn what_is_known_already_is_not_passed_on_again() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(7, 0, 1));
    host.take(phone);
    host.push(laptop, &yjs::two(7));
    let updates = host.take_updates(phone);
    assert_eq!(updates.len(), 1);
    let parsed = epicenter_update::Update::parse(&updates[0], &Limits::default()).unwrap();
    assert_eq!(parsed.summary().structs[&7], std::slice::from_ref(&(1..2)));
    assert_eq!(host.clocks(), [(7, 2)]);
}

#[test]
fn a_refused_update_is_not_stored_and_closes_its_sender() {
    let limits = Limits {
        max_structs: 1,
        ..Limits::default()
    };
    let mut host = Host::with(RoomConfig {
        limits,
        ..RoomConfig::default()
    });
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let refused = yjs::two(7);
    host.push(laptop, &refused);
    assert_eq!(host.log, [Entry::Created]);
    assert!(host.take_updates(phone).is_empty());
    let (code, reason) = &host.closed[&laptop];
    assert_eq!(*code, CloseCode::UpdateRefused);
    let reason: serde_json::Value = serde_json::from_str(reason).unwrap();
    assert_eq!(reason["name"], "UpdateRefused");
    assert!(reason["reason"].is_string() && reason["limit"].is_string());
    let [Note::UpdateRefused { bytes, .. }] = &host.notes[..] else {
        panic!("{:?}", host.notes)
    };
    assert_eq!(*bytes, refused.len());
    // What it had still on the way is not looked at.
    host.push(laptop, &yjs::set(9, 0, 1));
    assert_eq!(host.log, [Entry::Created]);
}

#[test]
fn nothing_is_told_before_the_disk_has_it() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    host.push(laptop, &yjs::set(9, 1, 1));
    let tablet = host.open(3, ADA, "tablet");
    assert!(host.take(phone).is_empty());
    assert!(
        host.take(tablet).is_empty(),
        "its step1 would show both clocks"
    );
    host.disk();
    assert_eq!(host.take_updates(phone), [yjs::set(9, 0, 1)]);
    assert!(host.take(tablet).is_empty());
    host.disk();
    assert_eq!(host.take_updates(phone), [yjs::set(9, 1, 1)]);
    assert_eq!(host.take(tablet).len(), 2);
}

#[test]
fn a_host_that_counts_ahead_opens_nothing() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.fast_disk = false;
    host.feed(epicenter_room::Command::Durable(epicenter_room::Seq(99)));
    host.push(laptop, &yjs::set(9, 0, 1));
    assert!(host.take(phone).is_empty());
    host.disk();
    assert_eq!(host.take_updates(phone).len(), 1);
}

#[test]
fn input_waits_while_the_disk_is_far_behind() {
    let config = RoomConfig {
        max_in_flight_bytes: 2_000,
        ..RoomConfig::default()
    };
    let mut host = Host::with(config);
    let laptop = host.join(1, ADA, "laptop");
    host.fast_disk = false;
    let mut clock = 0;
    while host.room.accepts_input() {
        host.push(laptop, &yjs::set(9, clock, 1));
        clock += 1;
    }
    assert!((10..=22).contains(&clock), "{clock}");
    host.disk_all();
    assert!(host.room.accepts_input());
}

#[test]
fn frames_of_strangers_are_ignored() {
    let mut host = Host::new();
    host.join(1, ADA, "laptop");
    let stranger = epicenter_room::ConnectionId(77);
    host.push(stranger, &yjs::set(9, 0, 1));
    host.text(stranger, "garbage");
    host.leave(stranger, Some(4401));
    host.feed(epicenter_room::Command::Frame {
        connection: stranger,
        message: Message::Binary(Bytes::new()),
    });
    assert_eq!(host.log, [Entry::Created]);
    assert!(host.closed.is_empty() && host.sent.is_empty());
}
