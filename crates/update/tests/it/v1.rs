//! Encoding V1: what Yjs writes, there and back, and what is refused at which byte.

use epicenter_update::{
    Collect, EMPTY_UPDATE, Limits, UpdateError, compact, content_digest, to_v1, to_v2,
};

use crate::model::{Body, Content, after, block, root_item, text, update};
use crate::support::{bytes_of, exercise, hex, merged, own_vectors, parse, unhex, vectors};

fn v2_of(bytes: &[u8]) -> Vec<u8> {
    to_v2(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{error}: {}", hex(bytes)))
}

#[test]
fn both_encodings_of_yjs_are_written_byte_for_byte() {
    let file = own_vectors("update-forms.json");
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let (v1, v2) = (bytes_of(&case["v1"]), bytes_of(&case["v2"]));
        assert_eq!(hex(&v2_of(&v1)), hex(&v2), "{id} to V2");
        match to_v1(&parse(&v2)) {
            Ok(bytes) => assert_eq!(hex(&bytes), hex(&v1), "{id} to V1"),
            Err(error) => panic!("{id}: {error}"),
        }
        exercise(&v2, None).unwrap();
    }
}

#[test]
fn what_a_collecting_document_holds_is_what_compaction_gives() {
    let file = own_vectors("update-forms.json");
    for case in file["histories"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let updates: Vec<Vec<u8>> = case["updates"]
            .as_array()
            .unwrap()
            .iter()
            .map(bytes_of)
            .collect();
        let state = bytes_of(&case["state"]);
        let whole = merged(&updates);
        let small = compact(&parse(&whole), Collect::Deleted);
        assert_eq!(
            content_digest(&parse(&small)),
            content_digest(&parse(&state)),
            "{id}"
        );
        assert_eq!(parse(&small).deletes(), parse(&state).deletes(), "{id}");
        assert!(
            small.len() * 10 <= state.len() * 11,
            "{id}: {} bytes, {} in Yjs",
            small.len(),
            state.len()
        );
        for update in &updates {
            exercise(update, Some(&state)).unwrap();
        }
    }
}

#[test]
fn every_update_of_the_vectors_comes_back() {
    for case in vectors("sync-frames.json") {
        if case["kind"] != "doc" {
            continue;
        }
        for update in case["updates"].as_array().unwrap() {
            let v2 = bytes_of(&update["updateV2"]);
            if let Ok(v1) = to_v1(&parse(&v2)) {
                assert_eq!(hex(&v2_of(&v1)), hex(&merged(&[v2])));
            }
        }
    }
}

#[test]
fn the_empty_update_has_two_bytes() {
    assert_eq!(to_v1(&parse(&EMPTY_UPDATE)).unwrap(), [0, 0]);
    assert_eq!(v2_of(&[0, 0]), EMPTY_UPDATE);
}

#[test]
fn a_value_that_json_does_not_have_is_refused_where_it_stands() {
    let check = |content: Content| {
        let bytes = update(vec![block(7, 0, vec![Body::Item(root_item(content))])], &[]);
        match to_v1(&parse(&bytes)) {
            Err(UpdateError::Refused { offset, limit }) => {
                assert_eq!(limit, "a value that JSON does not have");
                offset
            }
            other => panic!("{other:?}"),
        }
    };
    let big = vec![122, 0, 0, 0, 0, 0, 0, 0, 1];
    let bytes = update(
        vec![block(
            7,
            0,
            vec![Body::Item(root_item(Content::Embed(big.clone())))],
        )],
        &[],
    );
    let at = bytes
        .windows(big.len())
        .position(|window| window == big)
        .unwrap();
    assert_eq!(check(Content::Embed(big.clone())), at);
    check(Content::Embed(vec![127]));
    check(Content::Format("f".into(), big.clone()));
    // Also inside another value; `undefined` there is left out, as by JavaScript.
    check(Content::Embed([vec![117, 1], big].concat()));
    let hole = update(
        vec![block(
            7,
            0,
            vec![Body::Item(root_item(Content::Embed(vec![
                118, 2, 1, b'a', 127, 1, b'b', 117, 1, 127,
            ])))],
        )],
        &[],
    );
    let v1 = to_v1(&parse(&hole)).unwrap();
    assert!(hex(&v1).contains(&hex(br#"{"b":[null]}"#)));
}

/// Client 7, clock 0, one struct in the root `r`; `content` begins with its info byte's low bits.
fn struct_of(info: u8, rest: &[u8]) -> Vec<u8> {
    [&[1, 1, 7, 0, info][..], rest, &[0]].concat()
}

#[test]
fn what_v2_refuses_is_refused_in_v1() {
    #[track_caller]
    fn check(bytes: &[u8], expect: &str) {
        let error = to_v2(bytes, &Limits::default()).expect_err("it is taken");
        assert_eq!(error.to_string(), expect);
    }
    check(&[], "malformed at byte 0: unexpected end of input");
    check(&[0], "malformed at byte 1: unexpected end of input");
    check(&[0, 0, 0], "refused at byte 2: bytes after the update");
    check(
        &[1, 0, 7, 0, 0],
        "refused at byte 1: a client without structs",
    );
    check(
        &[1, 1, 0, 0, 0, 1, 0],
        "refused at byte 2: a client id outside 1 to 2^53-1",
    );
    check(&struct_of(0, &[0]), "refused at byte 5: a length of zero");
    check(
        &struct_of(11, &[]),
        "refused at byte 4: unknown kind of content",
    );
    check(
        &struct_of(0x8a, &[1]),
        "refused at byte 4: a gap with item flags",
    );
    check(
        &struct_of(4, &[1, 1, b'r', 0]),
        "refused at byte 8: a length of zero",
    );
    check(
        &struct_of(4, &[1, 1, b'r', 1, 0xff]),
        "malformed at byte 8: a string that is not UTF-8",
    );
    check(
        &struct_of(5, &[1, 1, b'r', 1, b'{']),
        "malformed at byte 8: a text that is not JSON",
    );
    check(
        &struct_of(5, &[&[1, 1, b'r', 9][..], b"undefined"].concat()),
        "malformed at byte 8: a text that is not JSON",
    );
    check(
        &struct_of(7, &[1, 1, b'r', 7]),
        "refused at byte 8: unknown kind of type",
    );
    check(
        &struct_of(9, &[1, 1, b'r', 0, 126]),
        "malformed at byte 9: a document without options",
    );
    check(
        &struct_of(8, &[1, 1, b'r', 1, 0]),
        "malformed at byte 9: unknown kind of value",
    );
    check(
        &struct_of(0x84, &[7, 0, 1, b'x']),
        "refused at byte 6: a struct that refers to itself or its successors",
    );
    check(
        &struct_of(0, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        "refused at byte 5: a clock or length outside 31 bits",
    );
    check(
        &[2, 1, 7, 0, 0, 1, 1, 7, 1, 0, 1, 0],
        "refused at byte 9: a client that comes twice",
    );
    check(
        &[0, 2, 7, 0, 7, 0],
        "refused at byte 6: a client that comes twice",
    );
    check(
        &[0, 1, 7, 1, 0xff, 0xff, 0xff, 0xff, 0x07, 1],
        "refused at byte 4: a clock or length outside 31 bits",
    );
    let deep = [&b"["[..]; 65].concat();
    let deep = [&[1, 1, b'r', 65][..], &deep].concat();
    check(
        &struct_of(5, &deep),
        "refused at byte 8: JSON nested too deeply",
    );
    let limits = Limits {
        max_structs: 1,
        ..Limits::default()
    };
    assert_eq!(
        to_v2(&[1, 2, 7, 0, 0, 1, 0, 1, 0], &limits)
            .expect_err("it is taken")
            .to_string(),
        "refused at byte 1: max_structs"
    );
}

#[test]
fn every_beginning_of_an_update_is_malformed() {
    let file = own_vectors("update-forms.json");
    for case in file["cases"].as_array().unwrap() {
        let v1 = bytes_of(&case["v1"]);
        for end in 0..v1.len() {
            assert!(
                matches!(to_v2(&v1[..end], &Limits::default()), Err(UpdateError::Malformed { offset, .. }) if offset <= end),
                "{} bytes of {}",
                end,
                case["id"]
            );
        }
    }
}

#[test]
fn clients_in_another_order_and_ranges_that_touch_are_put_right() {
    // Client 3 before client 9, and 9's deletions backwards.
    let v1 = unhex(
        "02 01 03 00 04 01 01 72 01 61 01 09 00 04 01 01 72 01 62 01 09 02 01 01 00 01"
            .replace(' ', "")
            .as_str(),
    );
    let v2 = v2_of(&v1);
    let expect = update(
        vec![
            block(9, 0, vec![Body::Item(root_item(text("b")))]),
            block(3, 0, vec![Body::Item(root_item(text("a")))]),
        ],
        &[(9, &[(0, 2)])],
    );
    assert_eq!(hex(&v2), hex(&expect));
}

#[test]
fn gaps_come_back_as_gaps() {
    let v2 = update(
        vec![block(
            7,
            2,
            vec![
                Body::Item(after((7, 1), text("a"))),
                Body::Skip(3),
                Body::Gc(2),
                Body::Item(after((7, 7), Content::Deleted(2))),
            ],
        )],
        &[(7, &[(5, 10)])],
    );
    let v1 = to_v1(&parse(&v2)).unwrap();
    assert_eq!(hex(&v2_of(&v1)), hex(&v2));
}

/// V1 has a string for each struct, so halves of one character cannot be kept there.
#[test]
fn half_a_character_becomes_the_sign_for_it() {
    let smile: Vec<u16> = "😀".encode_utf16().collect();
    let v2 = update(
        vec![block(
            7,
            0,
            vec![
                Body::Item(root_item(Content::Text(vec![97, smile[0]]))),
                Body::Item(after((7, 1), Content::Text(vec![smile[1]]))),
            ],
        )],
        &[],
    );
    let back = v2_of(&to_v1(&parse(&v2)).unwrap());
    let expect = update(
        vec![block(
            7,
            0,
            vec![
                Body::Item(root_item(text("a\u{fffd}"))),
                Body::Item(after((7, 1), text("\u{fffd}"))),
            ],
        )],
        &[],
    );
    assert_eq!(hex(&back), hex(&expect));
}

#[test]
fn hostile_bytes_do_no_harm_as_v1() {
    for case in vectors("hostile-updates.json") {
        for field in ["hex", "base_hex", "yjs_hex"] {
            if case[field].is_string() {
                let bytes = bytes_of(&case[field]);
                if let Ok(v2) = to_v2(&bytes, &Limits::default()) {
                    exercise(&v2, None).unwrap();
                }
            }
        }
    }
}
