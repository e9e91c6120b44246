//! A room that forgets its document while its sockets stay (`sync.md` 7).

use epicenter_room::{
    Action, Answer, CallId, Command, ConnectionId, Entry, Message, Millis, Note, Request,
    RoomStatus, Seq,
};
use epicenter_sync::{CloseCode, Frame};

use crate::host::{ADA, BOB, Host, START, Who, access, device};
use crate::yjs;

const MINUTE: u64 = 60_000;

/// A room with a laptop and a phone, one update, asleep.
fn asleep() -> (Host, ConnectionId, ConnectionId) {
    let mut host = Host::new();
    let laptop = host.open(1, ADA, "laptop");
    let phone = host.open(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 0, 1));
    host.advance(1_000);
    host.sent.clear();
    assert!(host.room.can_sleep() && host.room.is_awake());
    assert!(host.room.sleep().is_some());
    assert!(!host.room.is_awake());
    host.loads = 0;
    (host, laptop, phone)
}

#[test]
fn an_update_wakes_the_room_and_meets_the_document_that_slept() {
    let (mut host, laptop, phone) = asleep();
    host.push(laptop, &yjs::set(9, 0, 1));
    assert_eq!(host.loads, 1);
    assert!(host.room.is_awake());
    assert!(host.sent.is_empty(), "it is still known, so it is a no-op");

    assert!(host.room.sleep().is_some());
    host.push(laptop, &yjs::set(9, 1, 1));
    assert_eq!(host.loads, 2);
    assert_eq!(host.clocks(), [(9, 2)]);
    assert_eq!(host.take_updates(phone), [yjs::set(9, 1, 1)]);
    assert_eq!(host.log.len(), 3, "entries go on where they had ended");
}

#[test]
fn a_handshake_and_an_opening_wake_the_room() {
    let (mut host, laptop, _) = asleep();
    let step1 = epicenter_sync::encode_step1(&[0]);
    host.binary(laptop, step1);
    assert_eq!(host.loads, 1);
    assert!(matches!(host.take_frames(laptop)[..], [Frame::Step2(_)]));

    assert!(host.room.sleep().is_some());
    let tablet = host.open(3, ADA, "tablet");
    assert_eq!(host.loads, 2);
    let Frame::Step1(state_vector) = &host.take_frames(tablet)[0] else {
        panic!("the opening begins with step 1");
    };
    assert_eq!(state_vector[..], [1, 9, 1]);
}

#[test]
fn presence_dispatch_departures_and_the_end_of_sockets_wake_nothing() {
    let (mut host, laptop, phone) = asleep();
    host.text(
        laptop,
        r#"{"type":"presence_publish","actions":{"a":{"type":"query"}}}"#,
    );
    let [list] = &host.take_texts(phone)[..] else {
        panic!("one list");
    };
    assert_eq!(list["devices"][0]["actions"]["a"]["type"], "query");

    host.text(
        phone,
        r#"{"type":"dispatch_request","id":"1","to":"laptop","action":"a"}"#,
    );
    let inbound = host.take_texts(laptop).pop().unwrap();
    assert_eq!(inbound["type"], "dispatch_inbound");
    host.text(
        laptop,
        r#"{"type":"dispatch_response","id":"1","result":{"data":7,"error":null}}"#,
    );
    let result = host.take_texts(phone).pop().unwrap();
    assert_eq!(result["result"]["data"], 7);

    let call = host.call(
        5,
        Request::Dispatch {
            to: device("phone"),
            action: "a".to_owned(),
            input: None,
        },
    );
    assert!(!host.answers.contains_key(&call));
    host.leave(phone, None);
    assert!(matches!(host.answers[&call], Answer::Dispatched { .. }));
    assert_eq!(host.take_lists(laptop), [] as [Vec<String>; 0]);
    host.advance(300);
    assert_eq!(host.take_lists(laptop), [[] as [String; 0]]);

    host.text(laptop, "garbage");
    assert_eq!(host.closed[&laptop].0, CloseCode::Protocol);
    assert_eq!(host.loads, 0);
    assert!(!host.room.is_awake() && host.room.is_idle());
}

#[test]
fn the_lifetime_of_a_socket_goes_on_while_the_room_sleeps() {
    let (mut host, laptop, phone) = asleep();
    host.advance_to(START + 30 * MINUTE + 1);
    host.text(laptop, r#"{"type":"presence_publish","actions":{}}"#);
    assert_eq!(host.closed[&laptop].0, CloseCode::LifetimeOver);
    host.advance_to(START + 35 * MINUTE - 1);
    assert!(!host.closed.contains_key(&phone));
    host.advance(1);
    assert_eq!(host.closed[&phone].0, CloseCode::LifetimeOver);
    assert_eq!(host.timer, None);
    assert_eq!(host.loads, 0);
}

#[test]
fn a_call_without_an_answer_ends_after_its_time_while_the_room_sleeps() {
    let (mut host, laptop, _) = asleep();
    host.text(
        laptop,
        r#"{"type":"dispatch_request","id":"1","to":"phone","action":"a"}"#,
    );
    host.advance(60_000);
    let result = host.take_texts(laptop).pop().unwrap();
    assert_eq!(result["result"]["error"]["name"], "RecipientOffline");
    assert_eq!(host.loads, 0);
}

#[test]
fn revocations_and_the_end_of_the_hub_wake_nothing() {
    let (mut host, laptop, phone) = asleep();
    let carol = Who {
        user: "carol",
        grant: "grant-carol",
    };
    let tablet = host.open(3, carol, "tablet");
    assert!(host.room.sleep().is_some());
    host.loads = 0;
    host.feed(Command::Revoke {
        grant: access(carol).grant().clone(),
    });
    assert_eq!(host.closed[&tablet].0, CloseCode::Unauthorized);
    host.feed(Command::RevokeUser {
        user: access(BOB).user().clone(),
    });
    host.feed(Command::Shutdown);
    for socket in [laptop, phone] {
        assert_eq!(host.closed[&socket].0, CloseCode::GoingAway);
    }
    assert_eq!(host.loads, 0);
}

#[test]
fn what_comes_for_nobody_wakes_nothing() {
    let (mut host, laptop, phone) = asleep();
    host.binary(
        ConnectionId(77),
        epicenter_sync::encode_update(&yjs::set(9, 1, 1)),
    );
    host.text(ConnectionId(77), "{}");
    host.timer = None;
    host.feed(Command::Timer);
    host.leave(laptop, None);
    host.leave(phone, None);
    host.binary(laptop, epicenter_sync::encode_update(&yjs::set(9, 1, 1)));
    assert_eq!(host.loads, 0);
}

#[test]
fn a_dispatch_to_a_room_without_sockets_asks_whether_it_exists() {
    let mut host = Host::new();
    host.log = vec![Entry::Created, Entry::Deleted];
    let dispatch = Request::Dispatch {
        to: device("phone"),
        action: "a".to_owned(),
        input: None,
    };
    let call = host.call(1, dispatch);
    assert_eq!(host.loads, 1);
    assert_eq!(host.answers[&call], Answer::Gone);
}

#[test]
fn deadlines_are_kept_while_the_log_is_read() {
    let (mut host, laptop, phone) = asleep();
    host.leave(phone, None);
    let frame = epicenter_sync::encode_update(&yjs::set(9, 1, 1));
    let wake = Command::Frame {
        connection: laptop,
        message: Message::Binary(frame),
    };
    let now = Millis(host.now);
    assert_eq!(host.room.handle(wake, now), [Action::Load]);
    assert!(!host.room.accepts_input() && !host.room.can_sleep());
    let due = host.timer.unwrap();
    assert_eq!(due, now.plus(300));
    let actions = host.room.handle(Command::Timer, due);
    assert!(
        matches!(actions[..], [Action::Send { .. }, Action::SetTimer(Some(next))] if next > due),
        "the departure is told, and the timer does not come at once: {actions:?}"
    );
    host.now = due.0;
    let loaded = host.read_log();
    host.timer = None;
    host.feed(Command::Loaded(loaded));
    assert_eq!(host.clocks(), [(9, 2)]);
}

#[test]
fn what_waits_for_structs_is_known_again_and_asked_for() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.push(laptop, &yjs::set(9, 1, 1));
    assert!(matches!(host.take_frames(laptop)[..], [Frame::Step1(_)]));
    assert!(host.room.can_sleep());
    // A second gap may be asked for in 30 s only; until then the room stays awake.
    host.push(laptop, &yjs::set(8, 1, 1));
    assert!(!host.room.can_sleep());
    assert!(host.room.sleep().is_none());
    assert!(host.room.is_awake());
    host.advance(30_000);
    assert!(matches!(host.take_frames(laptop)[..], [Frame::Step1(_)]));
    host.sent.clear();

    assert!(host.room.sleep().is_some());
    assert!(!host.room.is_awake());
    host.push(laptop, &yjs::set(9, 0, 1));
    let updates = host.take_updates(phone);
    assert_eq!(updates.len(), 2, "what waited comes with it");
    assert_eq!(host.clocks(), [(9, 2)]);
}

#[test]
fn a_room_that_is_busy_does_not_sleep() {
    let mut host = Host::new();
    assert!(!host.room.can_sleep(), "nothing is known yet");
    host.fast_disk = false;
    let laptop = host.open(1, ADA, "laptop");
    host.disk_all();
    assert!(host.room.can_sleep());

    host.push(laptop, &yjs::set(9, 0, 1));
    assert!(!host.room.can_sleep(), "an entry is on its way to the disk");
    host.binary(laptop, epicenter_sync::encode_step1(&[0]));
    host.fast_builder = false;
    host.disk_all();
    assert!(!host.room.can_sleep(), "a state is being built");
    assert!(host.room.sleep().is_none());
    assert!(host.room.is_awake());
    host.build();
    assert!(host.room.can_sleep());

    let call = host.call(
        1,
        Request::Dispatch {
            to: device("laptop"),
            action: "a".to_owned(),
            input: None,
        },
    );
    assert!(!host.room.can_sleep(), "somebody waits for an answer");
    host.feed(Command::HangUp { call });
    assert!(host.room.can_sleep());
}

#[test]
fn a_log_that_ends_elsewhere_is_not_the_one_that_slept() {
    for (last, status) in [
        (1, RoomStatus::Live),
        (3, RoomStatus::Live),
        (2, RoomStatus::Deleted),
    ] {
        let (mut host, laptop, _) = asleep();
        let frame = epicenter_sync::encode_update(&yjs::set(9, 1, 1));
        let wake = Command::Frame {
            connection: laptop,
            message: Message::Binary(frame),
        };
        host.room.handle(wake, Millis(host.now));
        let mut loaded = host.read_log();
        assert_eq!(loaded.last, Seq(2));
        (loaded.last, loaded.status) = (Seq(last), status);
        host.feed(Command::Loaded(loaded));
        assert!(host.is_discarded);
        assert_eq!(host.closed[&laptop].0, CloseCode::TryAgainLater);
        let mismatch = Note::LogMismatch {
            known: Seq(2),
            read: Seq(last),
        };
        assert_eq!(host.notes, [mismatch]);
    }
}

#[test]
fn a_log_that_cannot_be_read_again_ends_the_sockets() {
    let (mut host, laptop, phone) = asleep();
    let call = CallId(9);
    let request = Request::Snapshot {
        if_none_match: vec![],
    };
    let snapshot = Command::Call {
        call,
        access: access(ADA),
        request,
    };
    host.room.handle(snapshot, Millis(host.now));
    host.feed(Command::LoadFailed);
    assert!(host.is_discarded);
    assert_eq!(host.answers[&call], Answer::Unavailable);
    for socket in [laptop, phone] {
        assert_eq!(host.closed[&socket].0, CloseCode::TryAgainLater);
    }
}

#[test]
fn what_was_said_before_a_close_counts_although_the_log_had_to_be_read_first() {
    let (mut host, laptop, phone) = asleep();
    let update = yjs::set(9, 1, 1);
    let wake = Command::Frame {
        connection: laptop,
        message: Message::Binary(epicenter_sync::encode_update(&update)),
    };
    host.room.handle(wake, Millis(host.now));
    host.leave(laptop, None);
    let loaded = host.read_log();
    host.feed(Command::Loaded(loaded));
    assert_eq!(host.clocks(), [(9, 2)]);
    assert_eq!(host.take_updates(phone), [update]);
    assert!(!host.sent.contains_key(&laptop));
}

#[test]
fn what_was_said_before_the_lifetime_was_over_counts_although_the_log_had_to_be_read_first() {
    let (mut host, laptop, phone) = asleep();
    // The phone came later, and stays.
    host.leave(phone, None);
    host.advance_to(START + 34 * MINUTE);
    let tablet = host.join(3, ADA, "tablet");
    assert!(host.room.sleep().is_some());
    let update = yjs::set(9, 1, 1);
    let wake = Command::Frame {
        connection: laptop,
        message: Message::Binary(epicenter_sync::encode_update(&update)),
    };
    host.room.handle(wake, Millis(host.now));
    host.advance_to(START + 35 * MINUTE);
    assert_eq!(host.closed[&laptop].0, CloseCode::LifetimeOver);
    let loaded = host.read_log();
    host.feed(Command::Loaded(loaded));
    assert_eq!(host.clocks(), [(9, 2)]);
    assert_eq!(host.take_updates(tablet), [update]);
}
