//! Paths, built and read.

use epicenter_api::{
    PathRoomError, RoomOperation, RoomRoute, RoomsRoute, dispatch_path, percent_decode,
    restore_path, room_path, rooms_path,
};
use epicenter_identity::{OwnerId, RoomId};
use proptest::prelude::*;

fn room_route(path: &str) -> RoomRoute<'_> {
    match RoomsRoute::parse(path) {
        Some(RoomsRoute::Room(route)) => route,
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn room_ids_are_decoded_exactly_once() {
    let check = |segment: &str, expect: &str| {
        let path = format!("/api/owners/ada/rooms/{segment}");
        assert_eq!(room_route(&path).room_id().unwrap().as_str(), expect);
    };
    check("epicenter.notes", "epicenter.notes");
    check("a%2Fb", "a/b");
    check("a%2fb", "a/b");
    check("a%252Fb", "a%2Fb");
    check("a+b", "a+b");
    check("caf%C3%A9", "café");
    check("..", "..");
    check("a%3Fb%23c%20d", "a?b#c d");
    check("dispatch", "dispatch");
}

#[test]
fn what_does_not_decode_to_a_room_id_is_an_invalid_room_id() {
    let check = |segment: &str, is_encoding: bool| {
        let path = format!("/api/owners/ada/rooms/{segment}");
        let error = room_route(&path).room_id().expect_err(segment);
        assert_eq!(
            matches!(error, PathRoomError::Encoding),
            is_encoding,
            "{segment}"
        );
    };
    check("%", true);
    check("a%2", true);
    check("a%zzb", true);
    check("%+1", true);
    check("%FF", true);
    check("%ED%A0%80", true);
    check("%00", false);
    check("a%0Ab", false);
    check("%C2%85", false);
    check(&"a".repeat(257), false);
}

#[test]
fn decoding_happens_once_and_guesses_nothing() {
    let check = |segment: &str, expect: Option<&str>| {
        assert_eq!(percent_decode(segment).as_deref(), expect, "{segment}");
    };
    check("a+b", Some("a+b"));
    check("a%2525", Some("a%25"));
    check("", Some(""));
    check("%e3%83%8e", Some("ノ"));
    check("%e3%83", None);
    check("%é", None);
}

#[test]
fn other_paths_are_no_routes() {
    for path in [
        "/api/owners/ada/rooms/",
        "/api/owners/ada/rooms/a/b",
        "/api/owners/ada/rooms/a/",
        "/api/owners/ada/rooms/a/dispatch/",
        "/api/owners/ada/rooms/a/dispatch/b",
        "/api/owners/ada/rooms//dispatch",
        "/api/owners//rooms/a",
        "/api/owners//rooms",
        "/api/owners/ada",
        "/api/owners/ada/",
        "/api/owners/ada/room/a",
        "/api/owners/ada/rooms%2Fa",
        "/api/owner/ada/rooms/a",
        "api/owners/ada/rooms/a",
        "",
    ] {
        assert_eq!(RoomsRoute::parse(path), None, "{path}");
    }
}

#[test]
fn the_list_and_the_operations_are_routes_of_their_own() {
    assert_eq!(
        RoomsRoute::parse("/api/owners/ada/rooms"),
        Some(RoomsRoute::List { owner: "ada" })
    );
    let check = |path: &str, expect| assert_eq!(room_route(path).operation, expect);
    check("/api/owners/ada/rooms/a", RoomOperation::Room);
    check("/api/owners/ada/rooms/a/dispatch", RoomOperation::Dispatch);
    check("/api/owners/ada/rooms/a/restore", RoomOperation::Restore);
}

#[test]
fn a_path_is_owned_by_the_owner_it_names() {
    let owner = OwnerId::parse("café").unwrap();
    let check = |segment: &str, expect: bool| {
        let path = format!("/api/owners/{segment}/rooms/%FF");
        assert_eq!(
            RoomsRoute::parse(&path).unwrap().is_owned_by(&owner),
            expect,
            "{segment}"
        );
    };
    check("caf%C3%A9", true);
    check("caf%c3%a9", true);
    check("caf%25C3%25A9", false);
    check("cafe", false);
    check("%", false);
    check("%FF", false);
}

#[test]
fn clients_build_what_the_hub_reads() {
    let (owner, room) = (
        OwnerId::parse("ada").unwrap(),
        RoomId::parse("a/b c~%").unwrap(),
    );
    assert_eq!(rooms_path(&owner), "/api/owners/ada/rooms");
    assert_eq!(
        room_path(&owner, &room),
        "/api/owners/ada/rooms/a%2Fb%20c~%25"
    );
    assert_eq!(
        dispatch_path(&owner, &room),
        "/api/owners/ada/rooms/a%2Fb%20c~%25/dispatch"
    );
    assert_eq!(
        restore_path(&owner, &room),
        "/api/owners/ada/rooms/a%2Fb%20c~%25/restore"
    );
}

proptest! {
    #[test]
    fn every_room_has_a_path_that_leads_to_it(owner in "[^\\pC/]{1,20}", room in "[^\\pC]{1,40}") {
        let (owner, room) = (OwnerId::parse(&owner).unwrap(), RoomId::parse(&room).unwrap());
        let path = room_path(&owner, &room);
        prop_assert!(path.is_ascii());
        prop_assert!(RoomsRoute::parse(&path).unwrap().is_owned_by(&owner));
        prop_assert_eq!(room_route(&path).room_id().unwrap(), room);
    }

    #[test]
    fn no_path_breaks_the_parser(rest in "[a-z%/0-9A-F.é]{0,60}") {
        if let Some(RoomsRoute::Room(route)) = RoomsRoute::parse(&format!("/api/owners/{rest}")) {
            let _ = route.room_id();
        }
    }
}
