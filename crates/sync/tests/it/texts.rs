//! Presence and dispatch.

use epicenter_sync::{
    ClientText, PresenceEntry, PresenceLists, TextError, action_failed, encode_dispatch_inbound,
    encode_dispatch_result, encode_presence, encode_refused, encode_saved, recipient_offline,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn error(text: &str) -> TextError {
    ClientText::parse(text).expect_err(text)
}

/// Whether a frame with these `actions` is taken, and that they come out as they were written.
fn takes_actions(actions: &str) -> bool {
    match ClientText::parse(&format!(
        r#"{{"type":"presence_publish","actions":{actions}}}"#
    )) {
        Ok(ClientText::PresencePublish { actions: kept }) => {
            assert_eq!(kept.get(), actions.trim());
            true
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error, TextError::Fields, "{actions}");
            false
        }
    }
}

/// Whether a frame with this `result` is taken, and that it comes out as it was written.
fn takes_result(result: &str) -> bool {
    match ClientText::parse(&format!(
        r#"{{"type":"dispatch_response","id":"1","result":{result}}}"#
    )) {
        Ok(ClientText::DispatchResponse { id, result: kept }) => {
            assert_eq!((id.as_str(), kept.get()), ("1", result.trim()));
            true
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error, TextError::Fields, "{result}");
            false
        }
    }
}

#[test]
fn what_is_no_message_of_a_client_is_a_protocol_error() {
    for text in [
        "",
        "ping",
        "pong",
        "hello",
        "null",
        "1",
        "\"presence_publish\"",
        "[]",
        "{",
        "{} {}",
        "{}",
        "\u{feff}{\"type\":\"presence_publish\",\"actions\":{}}",
        "{'type':'presence_publish'}",
        r#"{"type":"presence_publish","actions":{},}"#,
        r#"{"type":null}"#,
        r#"{"type":["presence_publish"]}"#,
        r#"{"type":"Presence_publish","actions":{}}"#,
        r#"{"type":"unknown"}"#,
        r#"{"kind":"presence_publish","actions":{}}"#,
        // What only the hub says.
        r#"{"type":"presence","devices":[]}"#,
        r#"{"type":"dispatch_inbound","id":"1","action":"a"}"#,
        r#"{"type":"dispatch_result","id":"1","result":{"data":1,"error":null}}"#,
        r#"{"type":"saved","count":1}"#,
    ] {
        assert_eq!(error(text), TextError::Protocol, "{text}");
    }
}

#[test]
fn actions_are_queries_and_mutations_with_whatever_else_they_hold() {
    for actions in [
        "{}",
        " {} ",
        r#"{"list":{"type":"query"},"open":{"type":"mutation","title":"Open","description":""}}"#,
        r#"{ "a" : {"type":"query","input":{"maximum":1e999,"x":123456789012345678901},"more":[1.0]} }"#,
        r#"{"":{"type":"query","input":null}}"#,
        r#"{"a":{"type":"\u0071uery"}}"#,
        r#"{"a":{"type":"query","input":"\ud800"}}"#,
    ] {
        assert!(takes_actions(actions), "{actions}");
    }
    for actions in [
        "null",
        "[]",
        "1",
        "\"\"",
        "[{\"type\":\"query\"}]",
        r#"{"a":null}"#,
        r#"{"a":"query"}"#,
        r#"{"a":{}}"#,
        r#"{"a":{"type":"Query"}}"#,
        r#"{"a":{"type":"subscription"}}"#,
        r#"{"a":{"type":null}}"#,
        r#"{"a":{"type":"query","title":1}}"#,
        r#"{"a":{"type":"query","title":null}}"#,
        r#"{"a":{"type":"query","description":{}}}"#,
        r#"{"good":{"type":"query"},"bad":{"type":"x"}}"#,
    ] {
        assert!(!takes_actions(actions), "{actions}");
    }
    assert_eq!(error(r#"{"type":"presence_publish"}"#), TextError::Fields);
}

#[test]
fn a_request_keeps_its_input_as_written() {
    let text = r#" {"input": {"b" : 1.50, "a":[ ]} ,"action":"open tab","to":"Ada's phone","id":"é","type":"dispatch_request","x":0} "#;
    let Ok(ClientText::DispatchRequest {
        id,
        to,
        action,
        input,
    }) = ClientText::parse(text)
    else {
        panic!("not a request");
    };
    assert_eq!(
        (id.as_str(), to.as_str(), action.as_str()),
        ("é", "Ada's phone", "open tab")
    );
    assert_eq!(input.unwrap().get(), r#"{"b" : 1.50, "a":[ ]}"#);
}

#[test]
fn an_absent_input_stays_absent_and_null_stays_null() {
    let input = |rest: &str| {
        let text = format!(r#"{{"type":"dispatch_request","id":"1","to":"","action":"a"{rest}}}"#);
        match ClientText::parse(&text) {
            Ok(ClientText::DispatchRequest { input, .. }) => input.map(|input| input.to_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(input(""), None);
    assert_eq!(input(r#","input":null"#).as_deref(), Some("null"));
    assert_eq!(input(r#","input":0"#).as_deref(), Some("0"));
}

#[test]
fn ids_and_actions_are_1_to_128_bytes() {
    let parse = |id: &str, action: &str| {
        let request = json!({"type": "dispatch_request", "id": id, "to": "a", "action": action});
        let response = json!({
            "type": "dispatch_response", "id": id, "result": {"data": 1, "error": null},
        });
        let request = ClientText::parse(&request.to_string()).map(|_| ());
        (
            request,
            ClientText::parse(&response.to_string()).map(|_| ()),
        )
    };
    let (longest, too_long) = ("é".repeat(64), "é".repeat(65));
    assert_eq!(parse(&longest, &longest), (Ok(()), Ok(())));
    for bad in ["", too_long.as_str()] {
        assert_eq!(
            parse(bad, "a"),
            (Err(TextError::Fields), Err(TextError::Fields))
        );
        assert_eq!(parse("1", bad), (Err(TextError::Fields), Ok(())));
    }
}

#[test]
fn members_of_another_kind_are_malformed() {
    for (member, bad) in [
        ("id", "1"),
        ("id", "null"),
        ("to", "1"),
        ("to", "null"),
        ("action", "[]"),
    ] {
        let mut request = json!({"type": "dispatch_request", "id": "1", "to": "a", "action": "b"});
        request[member] = serde_json::from_str(bad).unwrap();
        assert_eq!(error(&request.to_string()), TextError::Fields, "{request}");
        request.as_object_mut().unwrap().remove(member);
        assert_eq!(error(&request.to_string()), TextError::Fields, "{request}");
    }
    assert_eq!(
        error(r#"{"type":"dispatch_response","id":"1"}"#),
        TextError::Fields
    );
}

#[test]
fn results_are_data_or_one_of_two_errors() {
    for result in [
        r#"{"data":1,"error":null}"#,
        r#"{"error":null,"data":null,"more":1}"#,
        r#" { "data" : {"n":1e400} , "error" : null } "#,
        // JavaScript leaves `data` out when an action returns nothing.
        r#"{"error":null}"#,
        r#"{"data":null,"error":{"name":"ActionNotFound","action":"a"}}"#,
        r#"{"error":{"name":"ActionNotFound","action":"a","hint":2},"data":null,"more":[]}"#,
        r#"{"data":null,"error":{"name":"ActionFailed","action":"a","cause":"b"}}"#,
    ] {
        assert!(takes_result(result), "{result}");
    }
    for result in [
        "null",
        "[]",
        "1",
        "{}",
        r#"{"data":1}"#,
        r#"{"data":1,"error":{"name":"ActionNotFound","action":"a"}}"#,
        r#"{"data":null,"error":{}}"#,
        r#"{"data":null,"error":"ActionFailed"}"#,
        r#"{"data":null,"error":{"name":"ActionNotFound"}}"#,
        r#"{"data":null,"error":{"name":"ActionNotFound","action":1}}"#,
        r#"{"data":null,"error":{"name":"ActionFailed","action":"a"}}"#,
        r#"{"data":null,"error":{"name":"ActionFailed","action":"a","cause":{}}}"#,
        // Only the hub says that a recipient is offline.
        r#"{"data":null,"error":{"name":"RecipientOffline","to":"a"}}"#,
        r#"{"data":null,"error":{"name":"Other"}}"#,
    ] {
        assert!(!takes_result(result), "{result}");
    }
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    let text = r#"{"type":"presence","actions":1,"type":"presence_publish","actions":{"a":{"type":1,"type":"query"}}}"#;
    let Ok(ClientText::PresencePublish { actions }) = ClientText::parse(text) else {
        panic!("not a publication");
    };
    assert_eq!(actions.get(), r#"{"a":{"type":1,"type":"query"}}"#);
    assert_eq!(
        error(r#"{"type":"presence_publish","type":"x"}"#),
        TextError::Protocol
    );
}

#[test]
fn deep_nesting_travels_and_does_not_reach_the_stack() {
    let depth = 2_000_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(takes_actions(&format!(
        r#"{{"a":{{"type":"query","input":{deep}}}}}"#
    )));
    assert!(takes_result(&format!(r#"{{"data":{deep},"error":null}}"#)));
    assert_eq!(error(&deep), TextError::Protocol);
    assert_eq!(error(&"[".repeat(depth)), TextError::Protocol);
    assert_eq!(error(&format!(r#"{{"type":{deep}}}"#)), TextError::Protocol);
    assert!(!takes_actions(&deep));
}

#[test]
fn presence_lists_devices_as_given() {
    assert_eq!(encode_presence(&[]), r#"{"type":"presence","devices":[]}"#);
    let entry = PresenceEntry {
        device: "Ada's \"phone\"",
        connected_at: 1_700_000_000_000,
        actions: r#"{ "a":{"type":"query","n":1.0}}"#,
        user: None,
    };
    let other = PresenceEntry {
        device: "b",
        actions: "{}",
        user: Some("bob"),
        ..entry
    };
    assert_eq!(
        encode_presence(&[entry, other]),
        r#"{"type":"presence","devices":[{"deviceId":"Ada's \"phone\"","connectedAt":1700000000000,"actions":{ "a":{"type":"query","n":1.0}}},{"deviceId":"b","connectedAt":1700000000000,"actions":{},"userId":"bob"}]}"#
    );
}

#[test]
fn each_list_leaves_one_entry_out() {
    let ids = ["a", "b\"", "c"];
    let entries = ids.map(|device| PresenceEntry {
        device,
        connected_at: 7,
        actions: "{}",
        user: None,
    });
    let lists = PresenceLists::new(entries);
    for position in 0..ids.len() {
        let mut others = entries.to_vec();
        others.remove(position);
        assert_eq!(lists.without(position), encode_presence(&others));
    }
    let alone = PresenceLists::new(entries.into_iter().take(1));
    let nobody = r#"{"type":"presence","devices":[]}"#;
    assert_eq!(alone.without(0), nobody);
    assert_eq!(encode_presence(&[]), nobody);
}

#[test]
fn calls_are_passed_on_with_what_the_caller_gave() {
    let check = |text: String, expect: &str| assert_eq!(text, expect);
    check(
        encode_dispatch_inbound("1", "a\n", None, None),
        r#"{"type":"dispatch_inbound","id":"1","action":"a\n"}"#,
    );
    check(
        encode_dispatch_inbound("1", "a", Some("[1.0]"), Some((Some("d"), "ada"))),
        r#"{"type":"dispatch_inbound","id":"1","action":"a","input":[1.0],"from":{"deviceId":"d","userId":"ada"}}"#,
    );
    check(
        encode_dispatch_inbound("1", "a", Some("null"), Some((None, "ada"))),
        r#"{"type":"dispatch_inbound","id":"1","action":"a","input":null,"from":{"deviceId":null,"userId":"ada"}}"#,
    );
    check(
        encode_dispatch_result("1", r#"{"data":1.0,"error":null}"#),
        r#"{"type":"dispatch_result","id":"1","result":{"data":1.0,"error":null}}"#,
    );
    check(
        recipient_offline("gh\"ost"),
        r#"{"data":null,"error":{"name":"RecipientOffline","to":"gh\"ost"}}"#,
    );
    check(
        action_failed("a", "too many calls"),
        r#"{"data":null,"error":{"name":"ActionFailed","action":"a","cause":"too many calls"}}"#,
    );
}

#[test]
fn a_client_hears_what_became_of_its_updates() {
    assert_eq!(encode_saved(0), r#"{"type":"saved","count":0}"#);
    assert_eq!(
        encode_saved(u64::MAX),
        r#"{"type":"saved","count":18446744073709551615}"#
    );
    assert_eq!(
        encode_refused(3, "a \"limit\""),
        r#"{"type":"refused","frame":3,"reason":"a \"limit\""}"#
    );
}

proptest! {
    #[test]
    fn what_the_hub_says_is_json_and_no_message_of_a_client(
        id in ".*", action in ".*", device in ".*", user in proptest::option::of(".*"),
    ) {
        let entry = PresenceEntry {
            device: &device, connected_at: 1, actions: "{}", user: user.as_deref(),
        };
        for text in [
            encode_presence(&[entry, entry]),
            encode_dispatch_inbound(&id, &action, Some("{}"), Some((user.as_deref(), &id))),
            encode_dispatch_result(&id, &recipient_offline(&device)),
            encode_refused(7, &action),
            encode_saved(7),
            encode_dispatch_result(&id, &action_failed(&action, &device)),
        ] {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            prop_assert_eq!(ClientText::parse(&text).unwrap_err(), TextError::Protocol);
        }
    }

    #[test]
    fn no_text_breaks_the_parser(
        text in "(\\{|\\}|\"type\":|\"presence_publish\"|\"actions\":|\"query\"|,|\\[|\\]|null|.){0,20}",
    ) {
        let _ = ClientText::parse(&text);
    }
}
