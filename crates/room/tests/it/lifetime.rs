//! How long a socket lives, and what ends it early (`sync.md` 5).

use epicenter_room::{Answer, Command, ConnectionId, Request, StorageFull, StorageScope};
use epicenter_sync::CloseCode;

use crate::host::{ADA, BOB, Host, START, Who, access, device};
use crate::yjs;

const MINUTE: u64 = 60_000;

fn code(host: &Host, connection: ConnectionId) -> Option<CloseCode> {
    host.closed.get(&connection).map(|(code, _)| *code)
}

#[test]
fn the_first_frame_past_the_lifetime_is_the_last() {
    for (age, is_closed) in [(30 * MINUTE, false), (30 * MINUTE + 1, true)] {
        let mut host = Host::new();
        let laptop = host.join(1, ADA, "laptop");
        host.advance_to(START + age);
        host.push(laptop, &yjs::set(9, 0, 1));
        assert_eq!(host.clocks(), [(9, 1)], "it is processed");
        assert_eq!(
            code(&host, laptop) == Some(CloseCode::LifetimeOver),
            is_closed,
            "{age}"
        );
        host.push(laptop, &yjs::set(9, 1, 1));
        assert_eq!(host.clocks(), [(9, if is_closed { 1 } else { 2 })]);
    }
}

#[test]
fn a_text_frame_is_a_frame() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance_to(START + 30 * MINUTE + 1);
    host.text(laptop, r#"{"type":"presence_publish","actions":{}}"#);
    assert_eq!(
        host.closed[&laptop],
        (
            CloseCode::LifetimeOver,
            "connection lifetime exceeded".to_owned()
        )
    );
    assert_eq!(host.room.connections(), 0);
}

#[test]
fn a_frame_that_closes_its_socket_closes_it_once() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance_to(START + 30 * MINUTE + 1);
    host.text(laptop, "garbage");
    assert_eq!(code(&host, laptop), Some(CloseCode::Protocol));
}

#[test]
fn silent_sockets_are_closed_at_the_oldest_expiry_plus_five_minutes() {
    let mut host = Host::new();
    let oldest = host.join(1, ADA, "laptop");
    host.advance(4 * MINUTE);
    let older = host.join(2, ADA, "phone");
    host.advance(MINUTE - 1);
    let expired = host.join(3, ADA, "tablet");
    host.advance(1);
    let young = host.join(4, ADA, "watch");
    assert_eq!(host.timer.map(|at| at.0), Some(START + 35 * MINUTE));

    host.advance_to(START + 35 * MINUTE - 1);
    assert!(host.closed.is_empty());
    host.advance_to(START + 35 * MINUTE);
    for connection in [oldest, older, expired] {
        assert_eq!(code(&host, connection), Some(CloseCode::LifetimeOver));
    }
    assert_eq!(code(&host, young), None, "its 30 minutes end now");
    host.advance(MINUTE);
    assert_eq!(host.timer.map(|at| at.0), Some(START + 40 * MINUTE));
    host.advance_to(START + 40 * MINUTE - 1);
    assert_eq!(code(&host, young), None);
    host.advance(1);
    assert_eq!(code(&host, young), Some(CloseCode::LifetimeOver));
    assert_eq!(host.timer, None);
    assert!(host.room.is_idle());
}

#[test]
fn the_timer_is_set_only_when_the_earliest_deadline_changes() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    assert_eq!(host.timers_set, 1);
    host.advance(MINUTE);
    host.join(2, ADA, "phone");
    for clock in 0..10 {
        host.push(laptop, &yjs::set(9, clock, 1));
        host.text(
            laptop,
            r#"{"type":"dispatch_request","id":"1","to":"ghost","action":"a"}"#,
        );
    }
    assert_eq!(host.timers_set, 1);
    host.leave(laptop, Some(4401));
    assert_eq!(host.timers_set, 2);
    assert_eq!(host.timer.map(|at| at.0), Some(START + 36 * MINUTE));
}

#[test]
fn a_spurious_timer_does_no_harm() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let deadline = host.timer;
    host.timer = None;
    host.feed(Command::Timer);
    assert_eq!(host.timer, deadline, "it is asked for again");
    assert!(host.closed.is_empty());
    host.leave(laptop, None);
    host.feed(Command::Timer);
    assert_eq!(host.timer, None);
}

#[test]
fn time_that_goes_back_does_no_harm() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.now = 5;
    host.push(laptop, &yjs::set(9, 0, 1));
    assert!(host.closed.is_empty());
    assert_eq!(host.clocks(), [(9, 1)]);
}

#[test]
fn revoking_a_grant_closes_its_sockets_only() {
    let other_grant = Who {
        user: "ada",
        grant: "grant-other",
    };
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let other = host.join(3, other_grant, "tablet");
    let bob = host.join(4, BOB, "watch");
    host.sent.clear();
    host.feed(Command::Revoke {
        grant: access(ADA).grant().clone(),
    });
    let reason = r#"{"name":"InvalidToken","code":"invalid_token","status":401}"#;
    for connection in [laptop, phone] {
        assert_eq!(
            host.closed[&connection],
            (CloseCode::Unauthorized, reason.to_owned())
        );
    }
    assert_eq!(host.closed.len(), 2);
    let lists = host.take_lists(bob);
    assert_eq!(
        lists.last().map(Vec::as_slice),
        Some(&["tablet".to_owned()][..]),
        "at once"
    );
    assert_eq!(host.take_lists(other).last().map(Vec::len), Some(1));
}

#[test]
fn revoking_a_person_closes_all_of_their_sockets_and_no_others() {
    let other_grant = Who {
        user: "ada",
        grant: "grant-other",
    };
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let tablet = host.join(2, other_grant, "tablet");
    let bob = host.join(3, BOB, "watch");
    host.feed(Command::RevokeUser {
        user: access(ADA).user().clone(),
    });
    for connection in [laptop, tablet] {
        assert_eq!(code(&host, connection), Some(CloseCode::Unauthorized));
    }
    assert_eq!(code(&host, bob), None);
}

#[test]
fn a_stalled_disk_keeps_no_revoked_socket_open() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let bob = host.join(2, BOB, "watch");
    host.fast_disk = false;
    host.push(bob, &yjs::set(9, 0, 1));
    host.feed(Command::Revoke {
        grant: access(ADA).grant().clone(),
    });
    assert_eq!(code(&host, laptop), Some(CloseCode::Unauthorized));
    host.sent.clear();
    host.disk();
    // The update that was held for it has gone with it.
    assert!(host.take(laptop).is_empty());
    assert_eq!(host.take_lists(bob).len(), 1);
}

#[test]
fn a_close_that_waits_for_the_disk_does_not_hide_its_socket_from_a_revocation() {
    let revoke = |host: &mut Host, who| {
        host.feed(Command::Revoke {
            grant: access(who).grant().clone(),
        });
    };
    let mut host = Host::new();
    let full = host.join(1, ADA, "full");
    let present = host.join(2, ADA, "present");
    let bob = host.join(3, BOB, "watch");
    host.fast_disk = false;
    host.push(bob, &yjs::set(9, 0, 1));
    host.feed(Command::Storage(Some(StorageFull {
        scope: StorageScope::Room,
        limit: 1,
        used: 2,
    })));
    host.push(full, &yjs::set(8, 0, 1));
    host.call(1, Request::Delete);
    let late = host.open(4, ADA, "late");
    let late_bob = host.open(5, BOB, "late");
    assert!(host.closed.is_empty(), "nothing is on disk yet");
    revoke(&mut host, ADA);
    for socket in [full, present, late] {
        assert_eq!(code(&host, socket), Some(CloseCode::Unauthorized));
    }
    assert_eq!(host.closed.len(), 3);

    host.sent.clear();
    host.disk_all();
    for socket in [bob, late_bob] {
        assert_eq!(code(&host, socket), Some(CloseCode::RoomDeleted));
    }
    revoke(&mut host, BOB);
    for socket in [full, present, late] {
        assert!(host.take(socket).is_empty());
    }
}

#[test]
fn no_other_close_without_data_waits_either() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    let tablet = host.join(3, ADA, "tablet");
    host.fast_disk = false;
    host.push(tablet, &yjs::set(9, 0, 1));
    host.text(laptop, "garbage");
    assert_eq!(code(&host, laptop), Some(CloseCode::Protocol));
    host.advance_to(START + 30 * MINUTE + 1);
    host.push(phone, &yjs::set(8, 0, 1));
    assert_eq!(code(&host, phone), Some(CloseCode::LifetimeOver));
    host.advance_to(START + 35 * MINUTE);
    assert_eq!(code(&host, tablet), Some(CloseCode::LifetimeOver));
    assert!(!host.room.is_idle(), "the appends are not decided");
    host.disk_all();
    assert!(host.room.is_idle());
}

#[test]
fn shutdown_closes_and_answers_everybody_at_once() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.join(2, ADA, "phone");
    host.fast_disk = false;
    host.push(laptop, &yjs::set(9, 0, 1));
    let snapshot = host.call(
        1,
        Request::Snapshot {
            if_none_match: vec![],
        },
    );
    let to = device("phone");
    let dispatch = host.call(
        2,
        Request::Dispatch {
            to,
            action: "a".to_owned(),
            input: None,
        },
    );
    host.feed(Command::Shutdown);
    assert_eq!(host.closed.len(), 2);
    assert!(
        host.closed
            .values()
            .all(|(code, _)| *code == CloseCode::GoingAway)
    );
    for call in [snapshot, dispatch] {
        assert_eq!(host.answers[&call], Answer::GoingAway);
    }
    assert_eq!(host.timer, None);
    assert!(!host.room.is_idle());
    host.disk();
    assert!(host.room.is_idle());
    // Who comes later hears the same.
    let late = host.open(3, ADA, "tablet");
    assert_eq!(code(&host, late), Some(CloseCode::GoingAway));
    let late = host.call(
        3,
        Request::Snapshot {
            if_none_match: vec![],
        },
    );
    assert_eq!(host.answers[&late], Answer::GoingAway);
}
