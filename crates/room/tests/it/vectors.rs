//! The vectors that the JavaScript library wrote (`sync-frames.json`), run through a room.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use epicenter_room::{Answer, Entry};
use epicenter_sync::{Frame, SyncBody};
use epicenter_update::{EMPTY_UPDATE, Limits, StateVector, Update};
use serde_json::Value;

use crate::host::{ADA, Host, LIMITLESS, Listener, merge_all};

fn cases(kind: &str) -> Vec<Value> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let shared = root.join("../shared/vectors/sync-frames.json");
    let own = root.join("vectors/sync-frames.json");
    let text = fs::read_to_string(if shared.exists() { shared } else { own }).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Value> = file["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["kind"] == kind)
        .cloned()
        .collect();
    assert!(!cases.is_empty());
    cases
}

fn bytes(hex: &Value) -> Bytes {
    let hex = hex.as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn clocks(clocks: &Value) -> Vec<(u64, u32)> {
    let mut clocks: Vec<(u64, u32)> = clocks
        .as_object()
        .unwrap()
        .iter()
        .map(|(client, clock)| (client.parse().unwrap(), clock.as_u64().unwrap() as u32))
        .filter(|(_, clock)| *clock > 0)
        .collect();
    clocks.sort_unstable();
    clocks
}

/// All orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
            })
            .collect();
    }
    orders
}

/// Compares what two updates hold: Yjs writes the same document in different bytes.
fn assert_same(found: &Bytes, expected: &Bytes, what: &str) {
    let found = Update::parse(found, &LIMITLESS).unwrap();
    let expected = Update::parse(expected, &LIMITLESS).unwrap();
    assert_eq!(found.state_vector(), expected.state_vector(), "{what}");
    assert_eq!(found.deletes(), expected.deletes(), "{what}");
}

fn whole(host: &mut Host, call: u64) -> Bytes {
    match host.snapshot(call) {
        Answer::Update { update, .. } => update,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pending_steps_give_the_clocks_that_yjs_gives() {
    for case in cases("pending") {
        let steps = case["steps"].as_array().unwrap();
        let mut host = Host::new();
        let writer = host.join(1, ADA, "writer");
        let mut listener = Listener::new(host.join(2, ADA, "listener"));
        for step in steps {
            host.push(writer, &bytes(&step["apply"]));
            assert_eq!(host.clocks(), clocks(&step["clocks"]), "{}", case["id"]);
            listener.listen(&mut host);
        }
        let expected = bytes(&case["expect"]["stateV2"]);
        assert_same(&whole(&mut host, 1), &expected, "snapshot");
        assert_same(&listener.document, &expected, "listener");
    }
}

#[test]
fn pending_updates_converge_in_every_order_and_twice_and_across_restarts() {
    for case in cases("pending") {
        let mut updates: Vec<Bytes> = case["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| bytes(&step["apply"]))
            .collect();
        updates.sort();
        updates.dedup();
        let expected = bytes(&case["expect"]["stateV2"]);
        for order in orders(updates.len()) {
            for repeats in [1, 2] {
                for restart_after in 0..=order.len() {
                    let what = format!(
                        "{} {order:?} x{repeats} restart {restart_after}",
                        case["id"]
                    );
                    let mut host = Host::new();
                    let mut writer = host.join(1, ADA, "writer");
                    let mut listener = Listener::new(host.join(2, ADA, "listener"));
                    for (step, update) in order.iter().map(|at| &updates[*at]).enumerate() {
                        if step == restart_after {
                            host.restart();
                            writer = host.join(11, ADA, "writer");
                            listener.connection = host.join(12, ADA, "listener");
                        }
                        for _ in 0..repeats {
                            host.push(writer, update);
                            listener.listen(&mut host);
                        }
                    }
                    assert_same(&whole(&mut host, 1), &expected, &what);
                    assert_same(&listener.document, &expected, &what);
                    // All of it once more changes nothing.
                    let stored = host.log.len();
                    for update in &updates {
                        host.push(writer, update);
                    }
                    assert_eq!(host.log.len(), stored, "{what}");
                    assert!(host.take_updates(listener.connection).is_empty(), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_repeated_pending_update_is_stored_once() {
    for case in cases("pending") {
        let mut host = Host::new();
        let writer = host.join(1, ADA, "writer");
        for step in case["steps"].as_array().unwrap() {
            host.push(writer, &bytes(&step["apply"]));
            let stored = host.log.len();
            host.push(writer, &bytes(&step["apply"]));
            assert_eq!(host.log.len(), stored, "{} {}", case["id"], step["apply"]);
        }
    }
}

#[test]
fn a_yjs_client_that_itself_waits_is_understood() {
    for case in cases("pending") {
        let steps = case["steps"].as_array().unwrap();
        for reload in case["reloads"].as_array().unwrap() {
            let mut host = Host::new();
            let writer = host.join(1, ADA, "writer");
            let mut listener = Listener::new(host.join(2, ADA, "listener"));
            host.push(writer, &bytes(&reload["stateV2"]));
            let done = reload["afterStep"].as_u64().unwrap() as usize;
            for step in &steps[done..] {
                listener.listen(&mut host);
                host.push(writer, &bytes(&step["apply"]));
            }
            listener.listen(&mut host);
            let expected = bytes(&case["expect"]["stateV2"]);
            assert_same(&whole(&mut host, 1), &expected, "snapshot");
            assert_same(&listener.document, &expected, "listener");
        }
    }
}

#[test]
fn concurrent_updates_converge() {
    for case in cases("concurrent") {
        // Not `expect.stateV2`: a document also deletes the losing entries of a map, which a relay leaves to it.
        let expected = bytes(&case["merged"]);
        for order in case["orders"].as_array().unwrap() {
            for base_first in [true, false] {
                let mut host = Host::new();
                let writer = host.join(1, ADA, "writer");
                let mut listener = Listener::new(host.join(2, ADA, "listener"));
                let named = order.as_array().unwrap().iter();
                let mut updates: Vec<Bytes> = named
                    .map(|name| bytes(&case["updates"][name.as_str().unwrap()]))
                    .collect();
                let at = if base_first { 0 } else { updates.len() };
                updates.insert(at, bytes(&case["base"]));
                for update in &updates {
                    host.push(writer, update);
                    listener.listen(&mut host);
                }
                assert_same(&whole(&mut host, 1), &expected, "snapshot");
                assert_same(&listener.document, &expected, "listener");
            }
        }
    }
}

#[test]
fn http_sync_cases() {
    for case in cases("http-sync") {
        let what = case["id"].as_str().unwrap();
        let mut host = Host::new();
        let before = bytes(&case["serverBefore"]);
        if before[..] != EMPTY_UPDATE {
            host.sync(1, &StateVector::default(), &before, &[]);
        }
        let body = SyncBody::parse(&bytes(&case["body"])).unwrap();
        let have = StateVector::decode(&body.state_vector, &Limits::default()).unwrap();
        let stored = host.log.len();
        let answer = host.sync(2, &have, &body.update, &[]);
        assert_eq!(
            host.log.len() > stored,
            case["expect"]["serverChanged"] == true,
            "{what}"
        );
        let client_before = bytes(&case["clientBefore"]);
        let client_after = match &answer {
            Answer::Update { update, .. } => merge_all([&client_before, update]),
            Answer::UpToDate { .. } => client_before,
            other => panic!("{other:?}"),
        };
        assert_same(
            &client_after,
            &bytes(&case["expect"]["clientAfter"]["stateV2"]),
            what,
        );
        let server = whole(&mut host, 3);
        assert_same(&server, &bytes(&case["expect"]["server"]["stateV2"]), what);
    }
}

#[test]
fn a_deletion_alone_reaches_everybody() {
    for case in cases("delete-only") {
        let mut host = Host::new();
        let writer = host.join(1, ADA, "writer");
        host.push(writer, &bytes(&case["before"]["stateV2"]));
        let reader = host.join(2, ADA, "reader");
        host.binary(writer, bytes(&case["frame"]));
        assert_eq!(host.take_updates(reader), [bytes(&case["updateV2"])]);
        host.binary(reader, bytes(&case["step1"]));
        let frames = host.take_frames(reader);
        let [Frame::Step2(update)] = &frames[..] else {
            panic!("{frames:?}")
        };
        let expected = bytes(&case["after"]["stateV2"]);
        let deletes = Update::parse(update, &LIMITLESS).unwrap().deletes();
        assert_eq!(
            deletes,
            Update::parse(&expected, &LIMITLESS).unwrap().deletes()
        );
    }
}

#[test]
fn faulty_frames_change_nothing() {
    for case in cases("frame-error") {
        let mut host = Host::new();
        let writer = host.join(1, ADA, "writer");
        let reader = host.join(2, ADA, "reader");
        let field = case.get("frame").or_else(|| case.get("bytes")).unwrap();
        host.binary(writer, bytes(field));
        assert_eq!(host.log, [Entry::Created], "{}", case["id"]);
        assert!(
            host.take(reader).is_empty() && host.take(writer).is_empty(),
            "{}",
            case["id"]
        );
    }
}
