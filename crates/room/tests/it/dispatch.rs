//! Dispatch between connections and from HTTP (`sync.md` 6).

use epicenter_room::{Answer, CallId, Command, ConnectionId, Request, RoomConfig};
use epicenter_sync::CloseCode;
use serde_json::{Value, json};

use crate::host::{ADA, BOB, Host, access, device};

const DONE: &str = r#"{"data":1,"error":null}"#;

fn request(host: &mut Host, from: ConnectionId, id: &str, to: &str) {
    host.text(
        from,
        &format!(r#"{{"type":"dispatch_request","id":"{id}","to":"{to}","action":"greet"}}"#),
    );
}

fn respond(host: &mut Host, from: ConnectionId, id: &str) {
    host.text(
        from,
        &format!(r#"{{"type":"dispatch_response","id":"{id}","result":{DONE}}}"#),
    );
}

/// The ids of the calls a connection was asked to run.
fn inbound(host: &mut Host, connection: ConnectionId) -> Vec<String> {
    let texts = host.take_texts(connection).into_iter();
    texts
        .filter(|text| text["type"] == "dispatch_inbound")
        .map(|text| text["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The results a connection got: their ids, and the name of the error if there was one.
fn results(host: &mut Host, connection: ConnectionId) -> Vec<(String, Option<String>)> {
    let texts = host.take_texts(connection).into_iter();
    texts
        .filter(|text| text["type"] == "dispatch_result")
        .map(|text| {
            let error = text["result"]["error"]["name"].as_str().map(str::to_owned);
            (text["id"].as_str().unwrap().to_owned(), error)
        })
        .collect()
}

fn done(id: &str) -> (String, Option<String>) {
    (id.to_owned(), None)
}

fn offline(id: &str) -> (String, Option<String>) {
    (id.to_owned(), Some("RecipientOffline".to_owned()))
}

fn pair() -> (Host, ConnectionId, ConnectionId) {
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, ADA, "phone");
    host.sent.clear();
    (host, laptop, phone)
}

fn call(host: &mut Host, id: u64, to: &str) -> CallId {
    let input = Some(r#"{"n":1.50}"#.to_owned());
    let request = Request::Dispatch {
        to: device(to),
        action: "greet".to_owned(),
        input,
    };
    host.call(id, request)
}

#[test]
fn a_call_travels_there_and_back_as_it_was_written() {
    let (mut host, laptop, phone) = pair();
    host.text(
        laptop,
        r#"{"type":"dispatch_request","id":"1","to":"phone","action":"greet","input":{ "n": 1.50 }}"#,
    );
    let sent = host.take(phone);
    let text = std::str::from_utf8(sent[0].bytes()).unwrap();
    assert_eq!(
        text,
        r#"{"type":"dispatch_inbound","id":"1","action":"greet","input":{ "n": 1.50 }}"#
    );
    host.text(
        phone,
        r#"{"type":"dispatch_response","id":"1","result":{"data": 1e2,"error":null}}"#,
    );
    let sent = host.take(laptop);
    let text = std::str::from_utf8(sent[0].bytes()).unwrap();
    assert_eq!(
        text,
        r#"{"type":"dispatch_result","id":"1","result":{"data": 1e2,"error":null}}"#
    );
}

#[test]
fn an_absent_input_stays_absent() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "phone");
    let texts = host.take_texts(phone);
    assert_eq!(
        texts,
        [json!({"type": "dispatch_inbound", "id": "1", "action": "greet"})]
    );
}

#[test]
fn a_device_may_call_itself() {
    let (mut host, laptop, _) = pair();
    request(&mut host, laptop, "1", "laptop");
    assert_eq!(inbound(&mut host, laptop), ["1"]);
    respond(&mut host, laptop, "1");
    assert_eq!(results(&mut host, laptop), [done("1")]);
}

#[test]
fn the_newest_socket_of_the_device_is_asked() {
    let (mut host, laptop, phone) = pair();
    let newest = host.join(3, ADA, "phone");
    request(&mut host, laptop, "1", "phone");
    assert!(inbound(&mut host, phone).is_empty());
    assert_eq!(inbound(&mut host, newest), ["1"]);
}

#[test]
fn nobody_there_is_answered_at_once() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "ghost");
    let texts = host.take_texts(laptop);
    let error = json!({"name": "RecipientOffline", "to": "ghost"});
    assert_eq!(texts[0]["result"], json!({"data": null, "error": error}));
    // A device that has left is not there, though its departure is yet to be announced.
    host.leave(phone, None);
    request(&mut host, laptop, "2", "phone");
    assert_eq!(results(&mut host, laptop), [offline("2")]);
    // No device can have such a name.
    request(&mut host, laptop, "3", "a/b");
    assert_eq!(results(&mut host, laptop), [offline("3")]);
}

#[test]
fn a_response_counts_once_and_from_the_asked_socket_only() {
    let (mut host, laptop, phone) = pair();
    let other = host.join(3, ADA, "tablet");
    request(&mut host, laptop, "1", "phone");
    respond(&mut host, other, "1");
    respond(&mut host, laptop, "1");
    assert!(results(&mut host, laptop).is_empty());
    respond(&mut host, phone, "1");
    respond(&mut host, phone, "1");
    assert_eq!(results(&mut host, laptop), [done("1")]);
}

#[test]
fn the_asked_socket_closing_is_offline() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "phone");
    let newer = host.join(3, ADA, "phone");
    host.leave(phone, None);
    assert_eq!(results(&mut host, laptop), [offline("1")]);
    respond(&mut host, newer, "1");
    assert!(results(&mut host, laptop).is_empty());
}

#[test]
fn sixty_seconds_are_enough() {
    for (waited, expected) in [(59_999, done("1")), (60_000, offline("1"))] {
        let (mut host, laptop, phone) = pair();
        request(&mut host, laptop, "1", "phone");
        host.advance(waited);
        respond(&mut host, phone, "1");
        assert_eq!(results(&mut host, laptop), [expected], "{waited}");
        host.advance(60_000);
        assert!(results(&mut host, laptop).is_empty());
    }
}

#[test]
fn a_late_timer_does_not_let_a_response_in() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "phone");
    host.now += 60_000;
    respond(&mut host, phone, "1");
    assert_eq!(results(&mut host, laptop), [offline("1")]);
}

#[test]
fn two_callers_may_use_the_same_id() {
    let (mut host, laptop, phone) = pair();
    let tablet = host.join(3, ADA, "tablet");
    host.take(laptop);
    request(&mut host, laptop, "1", "phone");
    request(&mut host, tablet, "1", "phone");
    let ids = inbound(&mut host, phone);
    assert_eq!(ids[0], "1");
    assert_ne!(ids[1], "1");
    respond(&mut host, phone, &ids[1]);
    assert_eq!(results(&mut host, tablet), [done("1")]);
    assert!(results(&mut host, laptop).is_empty());
    respond(&mut host, phone, "1");
    assert_eq!(results(&mut host, laptop), [done("1")]);
}

#[test]
fn a_fresh_id_is_fresh() {
    let (mut host, laptop, phone) = pair();
    let tablet = host.join(3, ADA, "tablet");
    for id in ["hub-1", "hub-2", "x"] {
        request(&mut host, laptop, id, "phone");
    }
    request(&mut host, tablet, "x", "phone");
    let mut ids = inbound(&mut host, phone);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn callers_over_http_share_one_limit() {
    let (mut host, laptop, phone) = pair();
    for number in 0..256 {
        call(&mut host, 1_000 + number, "phone");
    }
    assert_eq!(inbound(&mut host, phone).len(), 256);
    let last = call(&mut host, 2_000, "phone");
    assert!(inbound(&mut host, phone).is_empty());
    let answer = format!("{:?}", host.answers.get(&last));
    assert!(answer.contains("too many calls"), "{answer}");
    request(&mut host, laptop, "1", "phone");
    assert_eq!(inbound(&mut host, phone), ["1"], "sockets have their own");
}

#[test]
fn a_second_request_with_an_id_in_flight_is_dropped() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "phone");
    request(&mut host, laptop, "1", "phone");
    request(&mut host, laptop, "1", "ghost");
    assert_eq!(inbound(&mut host, phone), ["1"]);
    respond(&mut host, phone, "1");
    assert_eq!(results(&mut host, laptop), [done("1")]);
    request(&mut host, laptop, "1", "phone");
    assert_eq!(inbound(&mut host, phone), ["1"]);
}

#[test]
fn two_hundred_and_fifty_six_calls_may_fly() {
    let (mut host, laptop, phone) = pair();
    for number in 0..256 {
        request(&mut host, laptop, &number.to_string(), "phone");
    }
    assert_eq!(inbound(&mut host, phone).len(), 256);
    request(&mut host, laptop, "256", "phone");
    assert!(inbound(&mut host, phone).is_empty());
    let texts = host.take_texts(laptop);
    let error = json!({"name": "ActionFailed", "action": "greet", "cause": "too many calls"});
    assert_eq!(texts[0]["result"], json!({"data": null, "error": error}));
    // The bound is each caller's own, and one that has landed makes room.
    request(&mut host, phone, "256", "laptop");
    assert_eq!(inbound(&mut host, laptop), ["256"]);
    respond(&mut host, phone, "0");
    request(&mut host, laptop, "257", "phone");
    assert_eq!(inbound(&mut host, phone), ["257"]);
}

#[test]
fn a_closed_callers_calls_are_forgotten() {
    let (mut host, laptop, phone) = pair();
    request(&mut host, laptop, "1", "phone");
    assert_eq!(inbound(&mut host, phone), ["1"]);
    host.leave(laptop, None);
    host.sent.clear();
    respond(&mut host, phone, "1");
    host.advance(61_000);
    assert!(host.take(laptop).is_empty());
    // Its id is free again at the asked socket.
    let laptop = host.join(4, ADA, "laptop");
    host.take(phone);
    request(&mut host, laptop, "1", "phone");
    assert_eq!(inbound(&mut host, phone), ["1"]);
}

#[test]
fn in_a_shared_owner_other_users_are_out_of_reach_by_default() {
    for allowed in [false, true] {
        let config = RoomConfig {
            shared: true,
            cross_user_dispatch: allowed,
            ..RoomConfig::default()
        };
        let mut host = Host::with(config);
        let laptop = host.join(1, ADA, "laptop");
        let phone = host.join(2, BOB, "phone");
        let tablet = host.join(3, ADA, "tablet");
        host.sent.clear();
        request(&mut host, laptop, "1", "phone");
        if allowed {
            let texts = host.take_texts(phone);
            assert_eq!(
                texts[0]["from"],
                json!({"deviceId": "laptop", "userId": "ada"})
            );
        } else {
            assert_eq!(results(&mut host, laptop), [offline("1")]);
            assert!(host.take(phone).is_empty());
        }
        request(&mut host, laptop, "2", "tablet");
        assert_eq!(inbound(&mut host, tablet), ["2"]);
        let http = call(&mut host, 1, "phone");
        assert_eq!(host.answers.contains_key(&http), !allowed);
    }
}

#[test]
fn http_callers_call_like_sockets() {
    let (mut host, _, phone) = pair();
    let http = call(&mut host, 1, "phone");
    let texts = host.take_texts(phone);
    assert_eq!(texts[0]["input"].to_string(), r#"{"n":1.5}"#);
    assert_eq!(texts[0].get("from"), None);
    let id = texts[0]["id"].as_str().unwrap().to_owned();
    assert!(host.answers.is_empty());
    respond(&mut host, phone, &id);
    assert_eq!(
        host.answers[&http],
        Answer::Dispatched {
            result: DONE.to_owned()
        }
    );
}

#[test]
fn in_a_shared_owner_http_callers_have_no_device() {
    let mut host = Host::with(RoomConfig {
        shared: true,
        ..RoomConfig::default()
    });
    let phone = host.join(1, ADA, "phone");
    call(&mut host, 1, "phone");
    let texts = host.take_texts(phone);
    assert_eq!(texts[0]["from"], json!({"deviceId": null, "userId": "ada"}));
}

#[test]
fn http_callers_hear_that_nobody_is_there() {
    let result_of = |host: &Host, call: CallId| -> Value {
        let Answer::Dispatched { result } = &host.answers[&call] else {
            panic!()
        };
        serde_json::from_str(result).unwrap()
    };
    let mut host = Host::new();
    let absent = call(&mut host, 1, "phone");
    assert_eq!(
        result_of(&host, absent)["error"]["name"],
        "RecipientOffline"
    );
    assert_eq!(host.log, [], "asking creates no room");

    let phone = host.join(1, ADA, "phone");
    let closing = call(&mut host, 2, "phone");
    host.leave(phone, None);
    assert_eq!(result_of(&host, closing)["error"]["to"], "phone");

    host.join(2, ADA, "phone");
    let silent = call(&mut host, 3, "phone");
    host.advance(59_999);
    assert!(!host.answers.contains_key(&silent));
    host.advance(1);
    assert_eq!(
        result_of(&host, silent)["error"]["name"],
        "RecipientOffline"
    );
}

#[test]
fn a_caller_that_hung_up_is_forgotten() {
    let (mut host, _, phone) = pair();
    let http = call(&mut host, 1, "phone");
    let id = inbound(&mut host, phone).remove(0);
    host.feed(Command::HangUp { call: http });
    respond(&mut host, phone, &id);
    host.advance(61_000);
    assert!(host.answers.is_empty());
}

#[test]
fn deleting_the_room_ends_its_calls() {
    let (mut host, laptop, _) = pair();
    let http = call(&mut host, 1, "phone");
    request(&mut host, laptop, "1", "phone");
    host.call(2, Request::Delete);
    assert!(matches!(&host.answers[&http], Answer::Dispatched { .. }));
    assert!(host.room.is_idle());
}

#[test]
fn calls_wait_for_the_disk_too() {
    let (mut host, laptop, phone) = pair();
    host.fast_disk = false;
    host.push(laptop, &crate::yjs::set(9, 0, 1));
    request(&mut host, laptop, "1", "phone");
    request(&mut host, laptop, "2", "ghost");
    assert!(host.sent.is_empty());
    host.disk();
    assert_eq!(inbound(&mut host, phone), ["1"]);
    assert_eq!(results(&mut host, laptop), [offline("2")]);
}

#[test]
fn text_that_is_no_message_closes_its_sender() {
    let garbage = [
        "garbage",
        "[]",
        "3",
        r#"{"type":"presence","devices":[]}"#,
        r#"{"type":"dispatch_result","id":"1","result":{}}"#,
        r#"{"type":"dispatch_inbound","id":"1","action":"a"}"#,
        r#"{"type":"other"}"#,
    ];
    for text in garbage {
        let (mut host, laptop, _) = pair();
        host.text(laptop, text);
        let expected = (CloseCode::Protocol, "protocol-error".to_owned());
        assert_eq!(host.closed.get(&laptop), Some(&expected), "{text}");
        assert_eq!(host.notes.len(), 1);
        assert_eq!(host.room.connections(), 1);
    }
}

#[test]
fn malformed_fields_are_dropped() {
    let (mut host, laptop, phone) = pair();
    let long = "x".repeat(129);
    let texts = [
        r#"{"type":"dispatch_request","id":1,"to":"phone","action":"a"}"#.to_owned(),
        r#"{"type":"dispatch_request","id":"","to":"phone","action":"a"}"#.to_owned(),
        format!(r#"{{"type":"dispatch_request","id":"{long}","to":"phone","action":"a"}}"#),
        format!(r#"{{"type":"dispatch_request","id":"1","to":"phone","action":"{long}"}}"#),
        r#"{"type":"dispatch_request","id":"1","action":"a"}"#.to_owned(),
        r#"{"type":"dispatch_response","id":"1"}"#.to_owned(),
    ];
    for text in texts {
        host.text(laptop, &text);
    }
    assert!(host.take(phone).is_empty() && host.take(laptop).is_empty());
    assert!(host.closed.is_empty());
    assert_eq!(
        host.drops_noted(),
        [true, false, false, false, false, false]
    );
}

#[test]
fn calls_of_another_user_with_the_same_address_stay_apart() {
    // A personal owner has one user; the flag alone decides whether users are compared.
    let mut host = Host::new();
    let laptop = host.join(1, ADA, "laptop");
    let phone = host.join(2, BOB, "phone");
    host.sent.clear();
    request(&mut host, laptop, "1", "phone");
    assert_eq!(inbound(&mut host, phone), ["1"]);
    let stranger = Command::Call {
        call: CallId(9),
        access: access(BOB),
        request: Request::Dispatch {
            to: device("laptop"),
            action: "a".into(),
            input: None,
        },
    };
    host.feed(stranger);
    assert_eq!(inbound(&mut host, laptop).len(), 1);
}
