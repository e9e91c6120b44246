//! What a revocation must reach however long the disk takes and whether or not a peer reads (`sync.md` 5 and 8).

use epicenter_server::revocations::Subject;

use super::*;

const REVOKED: Option<u16> = Some(4401);

fn ended(grant: &str) -> Subject {
    Subject::Grant(GrantId::parse(grant).unwrap())
}

/// A room whose disk has stalled, so that it reads nothing.
fn stalled(limits: LimitsConfig) -> (Stage, RoomHandle, Joined) {
    let config = RoomConfig {
        max_in_flight_bytes: 1,
        ..RoomConfig::default()
    };
    let stage = Stage::new(config, EngineConfig::default(), limits);
    stage.log.hold();
    let room = stage.rooms.enter(&room_name("notes")).unwrap();
    let first = stage.join(&room, "first", &Arc::default());
    // The room is created, and waits for that to be on disk.
    stage.until("the first append", || stage.log.arrived() == 1);
    (stage, room, first)
}

#[test]
fn a_revocation_reaches_a_socket_that_is_being_closed_behind_a_peer_that_does_not_read() {
    let stage = Stage::new(
        RoomConfig::default(),
        EngineConfig::default(),
        LimitsConfig::default(),
    );
    let room = stage.rooms.enter(&room_name("notes")).unwrap();
    let socket = stage.join(&room, "phone", &Peer::deaf());
    stage.until("what a socket is told first", || {
        socket.outbox.queued().0 >= 2
    });
    let nonsense = socket.says(Message::Text("no JSON".into()));
    room.try_deliver(nonsense).unwrap();
    stage.until("the close", || socket.outbox.is_draining());
    assert_eq!(socket.close(), None, "it waits for its peer");
    stage.rooms.revoke(&ended("tablet"));
    stage.run();
    assert_eq!(socket.close(), None, "somebody else's grant has ended");
    stage.rooms.revoke(&ended("phone"));
    stage.run();
    assert_eq!(socket.close(), REVOKED);
    assert_eq!(socket.outbox.queued(), (0, 0), "it is told nothing more");
}

#[test]
fn a_revocation_reaches_who_waits_to_join() {
    let (stage, room, _first) = stalled(LimitsConfig::default());
    let [second, third] =
        ["second", "third"].map(|grant| stage.join(&room, grant, &Arc::default()));
    stage.run();
    stage.rooms.revoke(&ended("second"));
    stage.run();
    assert_eq!((second.close(), third.close()), (REVOKED, None));
}

#[test]
fn a_full_inbox_does_not_hide_who_waits_to_join() {
    let (stage, room, first) = stalled(LimitsConfig {
        max_inbox_commands: 1,
        ..LimitsConfig::default()
    });
    let ping = || first.says(Message::Text("{}".into()));
    room.try_deliver(ping()).unwrap();
    assert!(room.try_deliver(ping()).is_err(), "the inbox is full");
    let second = stage.join(&room, "second", &Arc::default());
    stage.rooms.revoke(&ended("second"));
    stage.run();
    assert_eq!(second.close(), REVOKED);
    assert_eq!(room.waiting().0, 1, "only what is bounded counts");
}

#[test]
fn who_was_let_in_just_before_its_grant_ended_does_not_wait_for_the_disk_to_hear_of_it() {
    let (stage, room, _first) = stalled(LimitsConfig::default());
    let seen = stage.rooms.revocations_seen();
    stage.rooms.revoke(&ended("second"));
    stage.run();
    let second = stage.join_after(seen, &room, "second", &Arc::default());
    let third = stage.join_after(seen, &room, "third", &Arc::default());
    assert_eq!((second.close(), third.close()), (REVOKED, None));
}
