//! Presence lists: who gets one, when, and what it says (`sync.md` 6).

use epicenter_room::{ConnectionId, RoomConfig};
use serde_json::json;

use crate::host::{ADA, BOB, Host, START};

const PUBLISH: &str = r#"{"type":"presence_publish","actions":{"greet":{"type":"query"}}}"#;

/// Later than anything a list could be joined with.
const QUIET: u64 = 1_000;

fn publish(host: &mut Host, connection: ConnectionId, actions: &str) {
    host.text(
        connection,
        &format!(r#"{{"type":"presence_publish","actions":{actions}}}"#),
    );
}

/// An `actions` object of exactly this many bytes.
fn actions_of(bytes: usize) -> String {
    let (head, tail) = (r#"{"a":{"type":"query","pad":""#, r#""}}"#);
    format!(
        "{head}{}{tail}",
        "x".repeat(bytes - head.len() - tail.len())
    )
}

/// The last list a connection got, as JSON.
fn last_list(host: &mut Host, connection: ConnectionId) -> serde_json::Value {
    host.take_texts(connection).pop().expect("a list")["devices"].clone()
}

#[test]
fn a_list_names_all_other_devices_in_order() {
    let mut host = Host::new();
    host.open(1, ADA, "phone");
    host.advance(5);
    host.open(2, ADA, "laptop");
    host.advance(5);
    let tablet = host.open(3, ADA, "tablet");
    assert_eq!(
        last_list(&mut host, tablet),
        json!([
            {"deviceId": "laptop", "connectedAt": START + 5, "actions": {}},
            {"deviceId": "phone", "connectedAt": START, "actions": {}},
        ])
    );
}

#[test]
fn a_first_socket_is_announced_at_once_to_the_others() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance(1);
    let phone = host.open(2, ADA, "phone");
    assert_eq!(host.take_lists(laptop), [["phone"]]);
    assert_eq!(host.take_lists(phone), [["laptop"]]);
    host.advance(1);
    host.open(3, ADA, "tablet");
    assert_eq!(host.take_lists(laptop), [["phone", "tablet"]]);
    assert_eq!(host.take_lists(phone), [["laptop", "tablet"]]);
    host.advance(QUIET);
    assert!(host.take_lists(laptop).is_empty());
}

#[test]
fn all_tabs_of_the_own_device_are_left_out() {
    let mut host = Host::new();
    let first = host.open(1, ADA, "laptop");
    host.advance(QUIET);
    let second = host.open(2, ADA, "laptop");
    host.advance(QUIET);
    assert_eq!(host.take_lists(first), [[""; 0]]);
    assert_eq!(host.take_lists(second), [[""; 0]]);
}

#[test]
fn the_newest_connection_of_a_device_is_shown() {
    let mut host = Host::new();
    let phone = host.join(1, ADA, "phone");
    host.advance(QUIET);
    let old = host.open(2, ADA, "laptop");
    publish(&mut host, old, r#"{"old":{"type":"query"}}"#);
    host.advance(QUIET);
    host.take(phone);
    let new = host.open(3, ADA, "laptop");
    assert_eq!(
        last_list(&mut host, phone),
        json!([{"deviceId": "laptop", "connectedAt": START + 2 * QUIET, "actions": {}}])
    );
    // A publish of the older one is told to all, yet changes nothing.
    host.advance(QUIET);
    publish(&mut host, old, r#"{"older":{"type":"query"}}"#);
    assert_eq!(last_list(&mut host, phone)[0]["actions"], json!({}));
    // When the newer one goes, what the older one can do is seen again.
    host.advance(QUIET);
    host.leave(new, None);
    assert_eq!(
        last_list(&mut host, phone),
        json!([{
            "deviceId": "laptop",
            "connectedAt": START + QUIET,
            "actions": {"older": {"type": "query"}},
        }])
    );
    host.advance(QUIET);
    assert!(host.take(phone).is_empty(), "the device never left");
}

#[test]
fn closing_an_older_tab_changes_nothing() {
    let mut host = Host::new();
    let phone = host.join(1, ADA, "phone");
    let old = host.open(2, ADA, "laptop");
    host.open(3, ADA, "laptop");
    host.advance(QUIET);
    host.take(phone);
    host.leave(old, None);
    host.advance(QUIET);
    assert!(host.take(phone).is_empty());
}

#[test]
fn a_publish_goes_to_all_with_the_publisher() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.advance(QUIET);
    host.text(laptop, PUBLISH);
    assert_eq!(host.take_lists(laptop), [["phone"]]);
    let list = last_list(&mut host, phone);
    assert_eq!(list[0]["actions"], json!({"greet": {"type": "query"}}));
}

#[test]
fn actions_travel_as_the_text_they_were_written_in() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.advance(QUIET);
    let actions = r#"{ "a": {"type":"query", "max": 12345678901234567890.10e2 } }"#;
    publish(&mut host, laptop, actions);
    let sent = host.take(phone);
    let text = std::str::from_utf8(sent[0].bytes()).unwrap();
    assert!(text.contains(actions), "{text}");
}

#[test]
fn changes_close_to_the_last_list_are_joined_at_their_end() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance(99);
    host.text(laptop, PUBLISH);
    assert!(
        host.take_lists(laptop).is_empty(),
        "within 100 ms of the list on accept"
    );
    host.advance(1);
    assert_eq!(host.take_lists(laptop).len(), 1);
    host.advance(99);
    host.text(laptop, PUBLISH);
    host.text(laptop, PUBLISH);
    assert!(host.take_lists(laptop).is_empty());
    host.advance(1);
    assert_eq!(host.take_lists(laptop).len(), 1);
    // Exactly 100 ms after a list the next change goes out at once.
    host.advance(100);
    host.text(laptop, PUBLISH);
    assert_eq!(host.take_lists(laptop).len(), 1);
    host.advance(QUIET);
    assert!(host.take_lists(laptop).is_empty());
}

#[test]
fn the_wait_is_each_receivers_own() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance(QUIET);
    let tab = host.open(2, ADA, "laptop");
    host.advance(50);
    host.sent.clear();
    host.text(laptop, PUBLISH);
    assert_eq!(host.take_lists(laptop).len(), 1);
    assert_eq!(host.take_lists(tab).len(), 0);
    host.advance(50);
    assert_eq!(host.take_lists(laptop).len(), 0);
    assert_eq!(host.take_lists(tab).len(), 1);
}

#[test]
fn an_immediate_list_takes_a_waiting_one_with_it() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.text(laptop, PUBLISH);
    host.advance(10);
    host.open(2, ADA, "phone");
    assert_eq!(host.take_lists(laptop), [["phone"]]);
    host.advance(QUIET);
    assert!(host.take_lists(laptop).is_empty());
}

#[test]
fn a_departure_is_announced_300_ms_late() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.sent.clear();
    host.advance(QUIET);
    host.leave(phone, Some(1000));
    host.advance(299);
    assert!(host.take_lists(laptop).is_empty());
    host.advance(1);
    assert_eq!(host.take_lists(laptop), [[""; 0]]);
}

#[test]
fn a_departure_waits_for_its_turn_like_any_change() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.advance(QUIET);
    host.leave(phone, None);
    host.advance(250);
    host.sent.clear();
    host.text(laptop, PUBLISH);
    assert_eq!(
        host.take_lists(laptop),
        [["phone"]],
        "no list tells it early"
    );
    host.advance(99);
    assert!(host.take_lists(laptop).is_empty());
    host.advance(1);
    assert_eq!(host.take_lists(laptop), [[""; 0]]);
}

#[test]
fn a_return_swallows_the_departure_and_is_announced_at_once() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.advance(QUIET);
    host.sent.clear();
    host.leave(phone, None);
    host.advance(299);
    host.open(3, ADA, "phone");
    assert_eq!(
        last_list(&mut host, laptop),
        json!([{"deviceId": "phone", "connectedAt": START + QUIET + 299, "actions": {}}])
    );
    host.advance(QUIET);
    assert!(host.take(laptop).is_empty());
}

#[test]
fn a_refused_token_is_a_departure_at_once() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.sent.clear();
    host.leave(phone, Some(4401));
    assert_eq!(
        host.take_lists(laptop),
        [[""; 0]],
        "not even joined with the list on accept"
    );
    host.advance(QUIET);
    assert!(host.take_lists(laptop).is_empty());
}

#[test]
fn an_empty_room_has_nobody_to_tell() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.leave(laptop, None);
    assert!(host.room.is_idle());
    assert_eq!(host.timer, None);
    let phone = host.open(2, ADA, "phone");
    assert_eq!(host.take_lists(phone), [[""; 0]]);
}

#[test]
fn a_device_may_tell_64_kib() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    for (bytes, is_kept) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
        host.advance(QUIET);
        publish(&mut host, laptop, &actions_of(bytes));
        let actions = last_list(&mut host, phone)[0]["actions"].clone();
        assert_eq!(actions != json!({}), is_kept, "{bytes}");
    }
}

#[test]
fn over_1_mib_in_a_room_the_newest_is_shown_with_nothing() {
    let config = RoomConfig {
        max_room_actions_bytes: 200,
        ..RoomConfig::default()
    };
    assert_eq!(RoomConfig::default().max_room_actions_bytes, 1024 * 1024);
    let mut host = Host::with(config);
    let names = ["a", "b", "c"];
    let devices = [1, 2, 3].map(|id| host.join(id, ADA, names[id as usize - 1]));
    let observer = host.join(9, ADA, "z");
    let shown = |host: &mut Host| -> Vec<bool> {
        host.advance(QUIET);
        let list = last_list(host, observer);
        list.as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["actions"] != json!({}))
            .collect()
    };
    for device in devices {
        publish(&mut host, device, &actions_of(80));
    }
    assert_eq!(shown(&mut host), [true, true, false]);
    // What was there before counts as replaced.
    publish(&mut host, devices[0], &actions_of(120));
    publish(&mut host, devices[2], &actions_of(80));
    assert_eq!(shown(&mut host), [true, true, false]);
    host.leave(devices[1], Some(4401));
    publish(&mut host, devices[2], &actions_of(80));
    assert_eq!(shown(&mut host), [true, true]);
}

#[test]
fn a_shared_owner_names_users() {
    let mut host = Host::with(RoomConfig {
        shared: true,
        ..RoomConfig::default()
    });
    host.open(1, ADA, "laptop");
    let phone = host.open(2, BOB, "phone");
    assert_eq!(
        last_list(&mut host, phone),
        json!([{"deviceId": "laptop", "connectedAt": START, "actions": {}, "userId": "ada"}])
    );
}

#[test]
fn malformed_presence_is_dropped() {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    host.advance(QUIET);
    for actions in ["[]", "null", r#"{"a":{}}"#, r#"{"a":{"type":"other"}}"#] {
        publish(&mut host, laptop, actions);
    }
    host.text(laptop, r#"{"type":"presence_publish"}"#);
    assert!(host.take(laptop).is_empty() && host.closed.is_empty());
    assert_eq!(host.drops_noted(), [true, false, false, false, false]);
}
