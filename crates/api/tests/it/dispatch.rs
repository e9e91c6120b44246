//! The body of a dispatch over HTTP.

use epicenter_api::{DispatchBody, DispatchBodyError, is_action_name};
use proptest::prelude::*;

#[test]
fn a_body_names_a_device_and_an_action_and_keeps_the_input_as_written() {
    let body = br#" {"to":"laptop","action":"list_tabs","input":{"n": 1.0e2, "big":12345678901234567890123,"n":2},"x":1} "#;
    let dispatch = DispatchBody::parse(body).unwrap();
    assert_eq!(dispatch.to.as_str(), "laptop");
    assert_eq!(dispatch.action, "list_tabs");
    assert_eq!(
        dispatch.input.unwrap().get(),
        r#"{"n": 1.0e2, "big":12345678901234567890123,"n":2}"#
    );
}

#[test]
fn an_absent_input_stays_absent_and_null_stays_null() {
    let input = |body: &str| DispatchBody::parse(body.as_bytes()).unwrap().input;
    assert!(input(r#"{"to":"a","action":"b"}"#).is_none());
    assert_eq!(
        input(r#"{"to":"a","action":"b","input":null}"#)
            .unwrap()
            .get(),
        "null"
    );
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    let body = br#"{"to":1,"to":"a","action":"x","action":"y","input":1,"input":2}"#;
    let dispatch = DispatchBody::parse(body).unwrap();
    assert_eq!((dispatch.to.as_str(), dispatch.action.as_str()), ("a", "y"));
    assert_eq!(dispatch.input.unwrap().get(), "2");
}

#[test]
fn bad_bodies_are_refused_by_the_member_that_is_wrong() {
    let check = |body: &str, expect| {
        assert_eq!(
            DispatchBody::parse(body.as_bytes()).unwrap_err(),
            expect,
            "{body}"
        );
    };
    for body in [
        "",
        "null",
        "[]",
        "{",
        "{\"to\":\"a\",\"action\":\"b\"} x",
        "{\"to\":\"a\",}",
    ] {
        check(body, DispatchBodyError::NotAnObject);
    }
    for to in ["1", "null", "\"\"", "\"a/b\"", "\"a\\u0000\""] {
        check(
            &format!(r#"{{"to":{to},"action":"b"}}"#),
            DispatchBodyError::To,
        );
    }
    check(r#"{"action":"b"}"#, DispatchBodyError::To);
    for action in ["1", "null", "\"\"", "\"B\"", "\"a-b\"", "\"é\""] {
        check(
            &format!(r#"{{"to":"a","action":{action}}}"#),
            DispatchBodyError::Action,
        );
    }
    check(r#"{"to":"a"}"#, DispatchBodyError::Action);
    assert_eq!(
        DispatchBody::parse(b"\xff").unwrap_err(),
        DispatchBodyError::NotAnObject
    );
}

#[test]
fn action_names_are_short_and_lower_case() {
    for good in ["a", "z9_", "list_tabs", &"a".repeat(64)] {
        assert!(is_action_name(good), "{good}");
    }
    for bad in [
        "",
        "_a",
        "9a",
        "A",
        "aB",
        "a-b",
        "a.b",
        "a\n",
        "é",
        &"a".repeat(65),
    ] {
        assert!(!is_action_name(bad), "{bad}");
    }
}

#[test]
fn deep_nesting_does_not_reach_the_stack() {
    let depth = 2_000_000;
    let input = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let body = format!(r#"{{"to":"a","action":"b","input":{input}}}"#);
    assert_eq!(
        DispatchBody::parse(body.as_bytes())
            .unwrap()
            .input
            .unwrap()
            .get(),
        input
    );
}

proptest! {
    #[test]
    fn no_bytes_break_the_parser(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = DispatchBody::parse(&body);
    }
}
