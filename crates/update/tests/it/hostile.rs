//! Every case of `hostile-updates.json`: the hostile ones are refused or kept without harm, the valid
//! ones survive.

use epicenter_update::{Limits, StateVector, UpdateError, validate};
use serde_json::Value;

use crate::model::elements;
use crate::support::{Room, bytes_of, exercise, merged, parse, vectors};

#[test]
fn every_case() {
    for case in vectors("hostile-updates.json") {
        let id = case["id"].as_str().unwrap();
        println!("{id}");
        match case["kind"].as_str().unwrap() {
            "hostile" => hostile(&case),
            "preserve" => preserve(&case),
            other => panic!("{id}: unknown kind {other}"),
        }
    }
}

fn hostile(case: &Value) {
    let base = case["base_hex"]
        .as_str()
        .map(|_| bytes_of(&case["base_hex"]));
    let bytes = bytes_of(&case["hex"]);
    // Some bases are hostile themselves.
    let base = base.filter(|base| exercise(base, None).is_ok());
    // Refused or kept; what matters is that this returns.
    let _: Result<(), UpdateError> = exercise(&bytes, base.as_deref());
}

/// What Yjs wrote is taken, written again and merged without losing an element.
fn preserve(case: &Value) {
    for field in ["yjs_hex", "base_hex", "hex"] {
        if case[field].is_string() {
            keep(&bytes_of(&case[field]));
        }
    }
    if case["yjs_sv"].is_string() {
        let bytes = bytes_of(&case["yjs_sv"]);
        let vector = StateVector::decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(vector.encode(), bytes);
    }
    let list = |field: &str| -> Vec<Vec<u8>> {
        let values = case[field].as_array();
        values
            .map(|list| list.iter().map(bytes_of).collect())
            .unwrap_or_default()
    };
    let mut room = Room::default();
    for update in list("before_restart") {
        keep(&update);
        room.receive(&update);
    }
    room = room.reloaded();
    for update in list("after").into_iter().chain(list("deliver")) {
        keep(&update);
        room.receive(&update);
    }
    if let Some(text) = case["state_vectors"]["yjs"].as_str() {
        let clocks: Value = serde_json::from_str(text).unwrap();
        assert_eq!(room.known, crate::support::clocks_of(&clocks));
    }
    if case["hex"].is_string() && case["base_hex"].is_string() {
        room.receive(&bytes_of(&case["base_hex"]));
        room.receive(&bytes_of(&case["hex"]));
        assert!(room.pending.is_empty());
        assert!(
            room.deletes
                .contains_all(&parse(&bytes_of(&case["hex"])).deletes())
        );
    }
}

fn keep(bytes: &[u8]) {
    validate(bytes, &Limits::default()).unwrap();
    exercise(bytes, None).unwrap();
    assert_eq!(elements(&merged(&[bytes])), elements(bytes));
    assert_eq!(parse(&merged(&[bytes])).summary(), parse(bytes).summary());
}
