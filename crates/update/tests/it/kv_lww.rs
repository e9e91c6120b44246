//! `kv-lww.json` as far as documents go: the updates of a key-value store on an array, in every form.

use epicenter_update::{Limits, compact, content_digest, to_v1, to_v2};
use serde_json::Value;

use crate::model::{Body, Content, elements};
use crate::support::{Room, bytes_of, clocks_of, exercise, merged, parse, vectors};

#[test]
fn every_case() {
    let mut seen = 0;
    for case in vectors("kv-lww.json") {
        let id = case["id"].as_str().unwrap();
        println!("{id}");
        if case["docBefore"].is_string() {
            exercise(&bytes_of(&case["docBefore"]), None).unwrap();
        }
        if case["docV2"].is_string() {
            resolve(&case);
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} cases with documents");
}

fn resolve(case: &Value) {
    let updates: Vec<Vec<u8>> = case["updates"]
        .as_array()
        .unwrap()
        .iter()
        .map(bytes_of)
        .collect();
    let expect = bytes_of(&case["docV2"]);
    let state = parse(&expect);
    let digest = content_digest(&state);
    for update in updates.iter().chain([&expect]) {
        exercise(update, Some(&expect)).unwrap();
    }
    let mut reversed = updates.clone();
    reversed.reverse();
    for order in [&updates, &reversed] {
        let whole = merged(order);
        assert_eq!(content_digest(&parse(&whole)), digest);
        let small = compact(&parse(&whole), Default::default());
        assert_eq!(content_digest(&parse(&small)), digest);
        let v1 = to_v1(&parse(&small)).unwrap();
        assert_eq!(to_v2(&v1, &Limits::default()).unwrap(), small);
        // Two of the cases keep another array beside the one that they are about.
        if !case["id"].as_str().unwrap().starts_with("kv-two-arrays") {
            assert_eq!(living(&small), entries(case));
        }
        let mut room = Room::default();
        order.iter().for_each(|update| room.receive(update));
        assert!(room.pending.is_empty());
        assert_eq!(room.known, state.state_vector());
        if case["clocks"].is_object() {
            assert_eq!(room.known, clocks_of(&case["clocks"]));
        }
    }
}

/// How many values of the array show. Their order is a document's to tell: `interop/update` looks at it.
fn living(bytes: &[u8]) -> usize {
    elements(bytes)
        .values()
        .filter(|body| matches!(body, Body::Item(item) if matches!(item.content, Content::Any(_))))
        .count()
}

fn entries(case: &Value) -> usize {
    case["entries"].as_array().unwrap().len()
}
