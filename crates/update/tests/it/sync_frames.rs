//! Every case of `sync-frames.json` that a crate without documents can judge: structure and clocks.

use epicenter_update::lib0::{Reader, write_var_bytes, write_var_uint};
use epicenter_update::{EMPTY_UPDATE, Limits, StateVector, UpdateError, diff, validate};
use serde_json::Value;

use crate::model::elements;
use crate::support::{Room, bytes_of, clocks_of, exercise, hex, merged, parse, vectors};

#[test]
fn every_case() {
    for case in vectors("sync-frames.json") {
        let id = case["id"].as_str().unwrap();
        println!("{id}");
        match case["kind"].as_str().unwrap() {
            "varuint" => varuint(&case),
            "varuint-error" => {
                let bytes = bytes_of(&case["bytes"]);
                assert!(Reader::new(&bytes).read_var_uint().is_err());
            }
            "doc" => doc(&case),
            "delete-only" => delete_only(&case),
            "concurrent" => concurrent(&case),
            "pending" => pending(&case),
            "frame" => frame(&case),
            "frame-error" => frame_error(&case),
            "http-sync" => http_sync(&case),
            "http-error" => http_error(&case),
            other => panic!("{id}: unknown kind {other}"),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn varuint(case: &Value) {
    let value = case["value"].as_u64().unwrap();
    let bytes = bytes_of(&case["bytes"]);
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.read_var_uint(), Ok(value));
    assert!(reader.remaining().is_empty());
    let mut written = Vec::new();
    write_var_uint(&mut written, value);
    assert_eq!(written, bytes);
}

fn state_vector(value: &Value) -> StateVector {
    let bytes = bytes_of(value);
    let vector = StateVector::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(vector.encode(), bytes);
    vector
}

fn doc(case: &Value) {
    let clocks = clocks_of(&case["clocks"]);
    assert_eq!(state_vector(&case["stateVector"]), clocks);
    let state = bytes_of(&case["stateV2"]);
    exercise(&state, None).unwrap();
    assert_eq!(parse(&state).state_vector(), clocks);
    let updates: Vec<Vec<u8>> = list(&case["updates"])
        .map(|update| bytes_of(&update["updateV2"]))
        .collect();
    let joined = merged(&updates);
    assert_eq!(parse(&joined).state_vector(), clocks);
    let mut room = Room::default();
    for update in &updates {
        room.receive(update);
        assert!(room.pending.is_empty());
    }
    assert_eq!(room.known, clocks);
    for wanted in list(&case["diffs"]) {
        let vector = state_vector(&wanted["stateVector"]);
        let expected = bytes_of(&wanted["updateV2"]);
        let missing = diff(&parse(&state), &vector);
        assert_eq!(elements(&missing), elements(&expected));
        let named = |bytes: &[u8]| parse(bytes).summary();
        assert_eq!(named(&missing), named(&expected));
    }
}

fn delete_only(case: &Value) {
    let before = bytes_of(&case["before"]["stateV2"]);
    let after = bytes_of(&case["after"]["stateV2"]);
    let update = bytes_of(&case["updateV2"]);
    assert_eq!(parse(&before).state_vector(), parse(&after).state_vector());
    assert!(!parse(&update).is_empty());

    let mut room = Room::default();
    room.receive(&before);
    let deleted_before = room.deletes.clone();
    room.receive(&update);
    assert!(!deleted_before.contains_all(&room.deletes));
    assert_eq!(room.deletes, parse(&after).deletes());

    let vector = state_vector(&case["before"]["stateVector"]);
    let answer = diff(&parse(&room.everything()), &vector);
    assert_eq!(hex(&answer), hex(&update));
}

fn concurrent(case: &Value) {
    let base = bytes_of(&case["base"]);
    let expect = &case["expect"];
    let clocks = clocks_of(&expect["clocks"]);
    let merged_by_yjs = bytes_of(&case["merged"]);
    let mut outputs = Vec::new();
    for order in list(&case["orders"]) {
        let update = |name: &Value| bytes_of(&case["updates"][name.as_str().unwrap()]);
        let updates: Vec<Vec<u8>> = list(order).map(update).collect();
        for base_at in [0, updates.len()] {
            let mut room = Room::default();
            let mut deliveries = updates.clone();
            deliveries.insert(base_at, base.clone());
            for delivery in &deliveries {
                room.receive(delivery);
            }
            assert!(room.pending.is_empty());
            assert_eq!(room.known, clocks);
            outputs.push(merged(&deliveries));
        }
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(parse(&outputs[0]).state_vector(), clocks);
    // Yjs's own merge of the same updates holds the same structs and deletes.
    let by_yjs = merged(&[merged_by_yjs]);
    assert_eq!(elements(&by_yjs), elements(&outputs[0]));
    assert_eq!(parse(&by_yjs).deletes(), parse(&outputs[0]).deletes());
}

fn pending(case: &Value) {
    let steps: Vec<&Value> = list(&case["steps"]).collect();
    let expect = clocks_of(&case["expect"]["clocks"]);
    let mut room = Room::default();
    for step in &steps {
        room.receive(&bytes_of(&step["apply"]));
        assert_eq!(room.known, clocks_of(&step["clocks"]));
        assert_eq!(!room.pending.is_empty(), step["waiting"].as_bool().unwrap());
        room = room.reloaded();
    }
    assert_eq!(room.known, expect);
    for reload in list(&case["reloads"]) {
        let done = usize::try_from(reload["afterStep"].as_u64().unwrap()).unwrap();
        let mut room = Room::default();
        room.receive(&bytes_of(&reload["stateV2"]));
        for step in &steps[done..] {
            room.receive(&bytes_of(&step["apply"]));
        }
        assert_eq!(room.known, expect);
        assert!(room.pending.is_empty());
        assert_eq!(
            elements(&room.everything()).len(),
            elements(&bytes_of(&case["expect"]["stateV2"])).len()
        );
    }
}

fn frame(case: &Value) {
    let payload = bytes_of(&case["expect"]["payload"]);
    match case["expect"]["subtype"].as_str().unwrap() {
        "step1" => drop(state_vector(&case["expect"]["payload"])),
        _ => exercise(&payload, None).unwrap(),
    }
    let bytes = bytes_of(&case["frame"]);
    let mut reader = Reader::new(&bytes);
    let subtype = reader.read_var_uint().unwrap();
    assert_eq!(reader.read_var_bytes(), Ok(payload.as_slice()));
    assert!(reader.remaining().is_empty());
    let mut written = Vec::new();
    write_var_uint(&mut written, subtype);
    write_var_bytes(&mut written, &payload);
    assert_eq!(written, bytes);
}

/// Frames are the wire crate's; where one is well formed, its payload is not.
fn frame_error(case: &Value) {
    if case["error"] == "unknown-subtype" {
        return;
    }
    let bytes = bytes_of(&case["frame"]);
    let mut reader = Reader::new(&bytes);
    let (Ok(subtype), Ok(payload)) = (reader.read_var_uint(), reader.read_var_bytes()) else {
        return;
    };
    let error = if subtype == 0 {
        StateVector::decode(payload, &Limits::default()).unwrap_err()
    } else {
        validate(payload, &Limits::default()).unwrap_err()
    };
    assert!(matches!(error, UpdateError::Malformed { .. }), "{error}");
}

fn http_sync(case: &Value) {
    let body = bytes_of(&case["body"]);
    let mut reader = Reader::new(&body);
    let vector = StateVector::decode(reader.read_var_bytes().unwrap(), &Limits::default()).unwrap();
    let update = reader.read_var_bytes().unwrap();
    let expect = &case["expect"];
    let mut server = Room::default();
    server.receive(&bytes_of(&case["serverBefore"]));
    if !update.is_empty() {
        server.receive(update);
    }
    assert_eq!(server.known, clocks_of(&expect["server"]["clocks"]));
    let answer = diff(&parse(&server.everything()), &vector);
    let mut client = Room::default();
    client.receive(&bytes_of(&case["clientBefore"]));
    client.receive(&answer);
    assert_eq!(client.known, clocks_of(&expect["clientAfter"]["clocks"]));
    match expect["response"].as_str() {
        Some(_) => {
            let response = bytes_of(&expect["response"]);
            assert_eq!(parse(&answer).summary(), parse(&response).summary());
        }
        None => assert!(server.known == vector || answer == EMPTY_UPDATE),
    }
}

fn http_error(case: &Value) {
    let body = bytes_of(&case["body"]);
    let mut reader = Reader::new(&body);
    let (Ok(vector), Ok(update)) = (reader.read_var_bytes(), reader.read_var_bytes()) else {
        return;
    };
    let limits = Limits::default();
    assert!(StateVector::decode(vector, &limits).is_err() || validate(update, &limits).is_err());
}
