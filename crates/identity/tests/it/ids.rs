//! Which texts are identifiers.

use epicenter_identity::{
    Access, ClientId, DeviceId, GrantId, OwnerId, RoomId, RoomName, Scopes, UserId,
};
use proptest::prelude::*;

/// Checks both answers of a parser and that what was taken comes out unchanged.
macro_rules! check {
    ($id:ident, accepts: [$($good:expr),* $(,)?], refuses: [$($bad:expr),* $(,)?]) => {
        for good in [$(String::from($good)),*] {
            let id = $id::parse(&good).unwrap_or_else(|error| panic!("{good:?}: {error}"));
            assert_eq!(id.as_str(), good);
            assert_eq!(id.to_string(), good);
        }
        for bad in [$(String::from($bad)),*] {
            assert!($id::parse(&bad).is_err(), "{bad:?} was taken");
        }
    };
}

#[test]
fn user_ids_are_plain_names_and_never_shared() {
    check!(
        UserId,
        accepts: ["a", "oMDXDPUL8AjAXkvss1iCL1X1tbRAeJRt", "V1StGXR8_Z5jdHi6B-myT", "Shared", "shared2", "x".repeat(128)],
        refuses: ["", "shared", "a b", "a/b", "a:b", "café", "a\n", "x".repeat(129)]
    );
}

#[test]
fn owner_ids_take_the_owners_of_pinned_keys() {
    check!(
        OwnerId,
        accepts: ["shared", "V1StGXR8_Z5jdHi6B-myT", "a:b", "владелец-名前-🚀", "cafe\u{301}", "caf\u{e9}", "é".repeat(64)],
        refuses: ["", "a/b", "a\0", "a\u{85}", "é".repeat(65)]
    );
    assert_ne!(OwnerId::parse("cafe\u{301}"), OwnerId::parse("caf\u{e9}"));
}

#[test]
fn device_ids_hold_no_control_characters_and_no_path_separators() {
    check!(
        DeviceId,
        accepts: ["laptop", "Ada's phone 📱", "a:b;c=d&e", "é".repeat(64)],
        refuses: ["", "a/b", "a?b", "a#b", "a\tb", "a\u{7f}", "a\u{80}", "a\u{9f}", "é".repeat(65)]
    );
}

#[test]
fn room_ids_hold_anything_but_control_characters() {
    check!(
        RoomId,
        accepts: ["epicenter.notes", "a/b", "..", "a?b#c", "ノート📓", "\u{a0}", "é".repeat(128)],
        refuses: ["", "a\0b", "a\r", "a\u{1f}", "a\u{7f}", "a\u{80}", "a\u{9f}", "é".repeat(129)]
    );
}

#[test]
fn client_ids_are_visible_ascii() {
    check!(
        ClientId,
        accepts: ["epicenter-cli", "https://app.example/client.json", "x".repeat(512)],
        refuses: ["", "a b", "é", "a\u{7f}", "x".repeat(513)]
    );
}

#[test]
fn grant_ids_are_plain_names() {
    check!(GrantId, accepts: ["g1", "x".repeat(128)], refuses: ["", "a.b", "x".repeat(129)]);
}

#[test]
fn errors_state_the_rule_and_not_the_text() {
    let message = DeviceId::parse("hidden/value")
        .expect_err("it holds '/'")
        .to_string();
    assert_eq!(
        message,
        "a device id is 1 to 128 bytes of UTF-8 without control characters, '/', '?' and '#'"
    );
}

#[test]
fn a_room_is_named_after_the_owner_of_the_access() {
    let access = Access::authenticated_as(
        UserId::parse("ada").unwrap(),
        OwnerId::parse("shared").unwrap(),
        ClientId::parse("epicenter-cli").unwrap(),
        GrantId::parse("g1").unwrap(),
        Scopes::NONE,
    );
    let name = RoomName::of(&access, RoomId::parse("a/b").unwrap());
    assert_eq!(name.to_string(), "owners/shared/rooms/a/b");
    assert_eq!(
        name,
        RoomName::stored(access.owner().clone(), name.room().clone())
    );
}

proptest! {
    #[test]
    fn no_text_breaks_a_parser(text in ".*") {
        let parsed = [
            UserId::parse(&text).map(|id| id.to_string()).ok(),
            OwnerId::parse(&text).map(|id| id.to_string()).ok(),
            DeviceId::parse(&text).map(|id| id.to_string()).ok(),
            RoomId::parse(&text).map(|id| id.to_string()).ok(),
            ClientId::parse(&text).map(|id| id.to_string()).ok(),
            GrantId::parse(&text).map(|id| id.to_string()).ok(),
        ];
        for id in parsed.into_iter().flatten() {
            prop_assert_eq!(&id, &text);
        }
    }
}
