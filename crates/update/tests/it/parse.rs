//! What is taken, what is malformed and what is refused, each with its reason.

use epicenter_update::{EMPTY_UPDATE, Limits, StateVector, Update, UpdateError, validate};

use crate::model::{
    Body, Content, Parent, after, block, decode, root_item, text, update, var_uint,
};
use crate::support::{clocks, exercise, merged, parse, set, unhex};

fn one(body: Body) -> Vec<u8> {
    update(vec![block(3, 4, vec![body])], &[])
}

fn item(content: Content) -> Vec<u8> {
    one(Body::Item(root_item(content)))
}

fn check_refused(bytes: &[u8], expect: &str) {
    match exercise(bytes, None) {
        Err(UpdateError::Refused { limit, .. }) => assert_eq!(limit, expect),
        other => panic!("{expect}: {other:?}"),
    }
}

fn check_malformed(bytes: &[u8], expect: &str) {
    match exercise(bytes, None) {
        Err(UpdateError::Malformed { what, .. }) => assert_eq!(what, expect),
        other => panic!("{expect}: {other:?}"),
    }
}

#[test]
fn every_kind_of_content_is_taken() {
    let object = unhex("76020161770178016275027d017a0000000000000007");
    for content in [
        Content::Deleted(3),
        Content::Json(vec![
            "{\"a\":[1]}".into(),
            "undefined".into(),
            "\"😀\"".into(),
        ]),
        Content::Binary(vec![1, 2, 3]),
        text("aé😀"),
        Content::Embed(object.clone()),
        Content::Format("bold".into(), vec![120]),
        Content::Type(3, Some("p".into())),
        Content::Type(1, None),
        Content::Any(vec![
            vec![127],
            vec![126],
            unhex("7c3f000000"),
            unhex("7bfff0000000000000"),
            object,
        ]),
        Content::Document("guid".into(), unhex("7600")),
    ] {
        let bytes = item(content);
        exercise(&bytes, None).unwrap();
        assert_eq!(decode(&merged(&[&bytes])), decode(&bytes));
    }
}

#[test]
fn what_yjs_cannot_read_is_malformed_even_behind_something_refused() {
    let refused = [
        update(
            vec![block(
                3,
                0,
                vec![
                    Body::Gc(0),
                    Body::Item(root_item(Content::Embed(vec![126]))),
                ],
            )],
            &[],
        ),
        update(
            vec![block(
                0,
                0,
                vec![Body::Item(root_item(Content::Embed(vec![126])))],
            )],
            &[],
        ),
        one(Body::Item(after((3, 9), Content::Embed(vec![126])))),
        one(Body::Item(after((3, u32::MAX), Content::Embed(vec![126])))),
    ];
    for mut bytes in refused {
        assert!(matches!(
            exercise(&bytes, None),
            Err(UpdateError::Refused { .. })
        ));
        let value_at = bytes.len() - 2;
        assert_eq!(bytes[value_at], 126);
        bytes[value_at] = 1;
        check_malformed(&bytes, "unknown kind of value");
    }
}

#[test]
fn every_cut_of_an_update_is_malformed() {
    let bytes = update(
        vec![block(
            3,
            4,
            vec![
                Body::Item(root_item(text("aé😀"))),
                Body::Item(after(
                    (2, 1),
                    Content::Any(vec![unhex("7700"), vec![125, 5]]),
                )),
            ],
        )],
        &[(3, &[(4, 5)])],
    );
    exercise(&bytes, None).unwrap();
    for end in 0..bytes.len() {
        let error = exercise(&bytes[..end], None).unwrap_err();
        assert!(
            matches!(error, UpdateError::Malformed { .. }),
            "{end}: {error}"
        );
    }
}

#[test]
fn bytes_that_nobody_reads_are_refused() {
    let mut bytes = EMPTY_UPDATE.to_vec();
    bytes.push(0);
    check_refused(&bytes, "bytes after the update");
    // A client id that no struct uses, and one more letter in the string column.
    check_refused(
        &unhex("0000010500000001000000000000"),
        "a column with more values than the structs need",
    );
    check_refused(
        &unhex("0000000000000201610000000000"),
        "a string column longer than its strings",
    );
    let mut flagged = EMPTY_UPDATE.to_vec();
    flagged[0] = 1;
    check_refused(&flagged, "unknown feature flags");
}

#[test]
fn columns_that_end_early_are_refused_where_lib0_reads_zeros() {
    // A collected struct without a length, as lib0 reads it: length zero.
    check_refused(
        &unhex("0000010300000100010000000001010000"),
        "a column with fewer values than the structs need",
    );
    // The info column has no zeros to give.
    check_malformed(
        &unhex("00000103000000010000000001010000"),
        "unexpected end of input",
    );
}

#[test]
fn lengths_clocks_and_clients_have_ranges() {
    check_refused(&one(Body::Gc(0)), "a length of zero");
    check_refused(&one(Body::Skip(0)), "a length of zero");
    check_refused(&item(text("")), "a length of zero");
    check_refused(&item(Content::Any(vec![])), "a length of zero");
    check_refused(
        &one(Body::Gc(0x7fff_fffc)),
        "a clock or length outside 31 bits",
    );
    exercise(&one(Body::Gc(0x7fff_fffb)), None).unwrap();
    check_refused(
        &update(vec![block(0, 0, vec![Body::Gc(1)])], &[]),
        "a client id outside 1 to 2^53-1",
    );
    check_refused(
        &update(vec![], &[(0, &[(0, 1)])]),
        "a client id outside 1 to 2^53-1",
    );
    let largest = (1 << 53) - 1;
    exercise(
        &update(
            vec![block(largest, 0, vec![Body::Gc(1)])],
            &[(largest, &[(0, 1)])],
        ),
        None,
    )
    .unwrap();
    check_refused(
        &one(Body::Item(after((largest + 1, 0), text("a")))),
        "an integer that JavaScript cannot hold exactly",
    );
    check_refused(
        &update(vec![], &[(3, &[(0, 0x8000_0000)])]),
        "a clock or length outside 31 bits",
    );
    exercise(&update(vec![], &[(3, &[(0, 0x7fff_ffff)])]), None).unwrap();
}

#[test]
fn a_client_comes_once() {
    let twice = update(
        vec![
            block(3, 0, vec![Body::Gc(1)]),
            block(3, 1, vec![Body::Gc(1)]),
        ],
        &[],
    );
    check_refused(&twice, "a client that comes twice");
    let apart = update(
        vec![
            block(3, 0, vec![Body::Gc(1)]),
            block(4, 0, vec![Body::Gc(1)]),
            block(3, 1, vec![Body::Gc(1)]),
        ],
        &[],
    );
    check_refused(&apart, "a client that comes twice");
    check_refused(
        &update(vec![], &[(3, &[(0, 1)]), (4, &[(0, 1)]), (3, &[(4, 5)])]),
        "a client that comes twice",
    );
    // Another order alone is fine and is put right.
    let ascending = update(
        vec![
            block(3, 0, vec![Body::Gc(1)]),
            block(4, 0, vec![Body::Gc(1)]),
        ],
        &[(3, &[(0, 1)]), (4, &[(0, 1)])],
    );
    exercise(&ascending, None).unwrap();
    assert_eq!(parse(&ascending).deletes(), set(&[(3, 0, 1), (4, 0, 1)]));
}

#[test]
fn a_struct_that_refers_to_itself_or_behind_is_refused() {
    let mut by_right = after((2, 0), text("a"));
    by_right.right = Some((3, 5));
    let mut by_parent = root_item(text("a"));
    by_parent.parent = Some(Parent::Item((3, 4)));
    for refers in [
        after((3, 4), text("a")),
        after((3, 9), text("a")),
        by_right,
        by_parent,
    ] {
        check_refused(
            &one(Body::Item(refers)),
            "a struct that refers to itself or its successors",
        );
    }
    exercise(&one(Body::Item(after((3, 3), text("a")))), None).unwrap();
}

#[test]
fn unknown_kinds_are_refused_with_their_place() {
    let mut bytes = item(text("a"));
    let info_at = 7;
    assert_eq!(bytes[info_at], 4);
    for kind in 11..32 {
        bytes[info_at] = kind;
        let error = validate(&bytes, &Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "refused at byte 7: unknown kind of content"
        );
    }
    check_refused(&item(Content::Type(7, None)), "unknown kind of type");
    let mut gap = one(Body::Skip(2));
    gap[info_at] |= 128;
    check_refused(&gap, "a gap with item flags");
}

#[test]
fn values_are_checked_to_the_last_byte() {
    for (value, what) in [
        ("73", "unknown kind of value"),
        ("80", "unknown kind of value"),
        ("7701ff", "a string that is not UTF-8"),
        ("760101ff7e", "a string that is not UTF-8"),
    ] {
        check_malformed(&item(Content::Embed(unhex(value))), what);
    }
    for options in [vec![126], vec![127]] {
        check_malformed(
            &item(Content::Document("g".into(), options)),
            "a document without options",
        );
    }
    let nested = |depth: usize| {
        let mut value = unhex("7501").repeat(depth - 1);
        value.extend(unhex("7500"));
        item(Content::Embed(value))
    };
    exercise(&nested(64), None).unwrap();
    check_refused(&nested(65), "values nested too deeply");
    check_refused(&nested(1_000_000), "values nested too deeply");
}

#[test]
fn json_texts_must_be_json() {
    for json in ["", "nope", "{\"a\":}", "[1", "1 2"] {
        check_malformed(
            &item(Content::Json(vec![json.into()])),
            "a text that is not JSON",
        );
    }
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    check_refused(&item(Content::Json(vec![deep])), "JSON nested too deeply");
}

#[test]
fn a_string_column_that_is_not_utf8_is_malformed() {
    let mut bytes = item(text("a"));
    let at = bytes.iter().position(|byte| *byte == b'a').unwrap();
    bytes[at] = 0xff;
    check_malformed(&bytes, "a string column that is not UTF-8");
}

#[test]
fn work_is_bounded_by_the_number_of_structs() {
    let limits = Limits {
        max_structs: 10,
        ..Limits::default()
    };
    let many = |count| update(vec![block(3, 0, vec![Body::Gc(1); count])], &[]);
    assert_eq!(validate(&many(10), &limits), Ok(()));
    let error = validate(&many(11), &limits).unwrap_err();
    assert!(matches!(
        error,
        UpdateError::Refused {
            limit: "max_structs",
            ..
        }
    ));
    let spread = update(
        vec![
            block(3, 0, vec![Body::Gc(1); 6]),
            block(2, 0, vec![Body::Gc(1); 5]),
        ],
        &[],
    );
    assert!(validate(&spread, &limits).is_err());
}

/// One XML element named in full and `count` more that name the key by number.
fn repeated_keys(name: &str, count: u64) -> Vec<u8> {
    let mut out = vec![0];
    let mut column = |bytes: &[u8]| {
        var_uint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    };
    // Key numbers: zeros throughout, as one run.
    let mut keys = vec![1];
    var_uint(&mut keys, count - 1);
    column(&keys);
    // The block's client, then each origin's.
    let mut clients = vec![0x43];
    var_uint(&mut clients, count - 1);
    column(&clients);
    // Origins 0, 1, 2, …: the first difference is zero.
    let mut lefts = vec![0, 3];
    var_uint(&mut lefts, count - 3);
    column(&lefts);
    column(&[]);
    column(&[7, 0, 0x87]);
    // The root's name and the key.
    let mut strings = Vec::new();
    var_uint(&mut strings, name.len() as u64 + 1);
    strings.push(b'r');
    strings.extend(name.bytes());
    strings.push(1);
    if name.len() < 64 {
        strings.push(name.len() as u8);
    } else {
        strings.push((name.len() & 63) as u8 | 128);
        var_uint(&mut strings, name.len() as u64 >> 6);
    }
    column(&strings);
    column(&[1]);
    // Type numbers: all XML elements.
    let mut types = vec![0x43];
    var_uint(&mut types, count - 1);
    column(&types);
    column(&[]);
    out.push(1);
    var_uint(&mut out, count + 1);
    out.push(0);
    out.push(0);
    out
}

#[test]
fn keys_named_by_number_are_read_and_written_in_full() {
    let bytes = repeated_keys("paragraph", 5);
    exercise(&bytes, None).unwrap();
    let again = merged(&[&bytes]);
    assert_eq!(decode(&again), decode(&bytes));
    assert!(String::from_utf8_lossy(&again).contains(&"paragraph".repeat(6)));
}

#[test]
fn keys_named_by_number_cannot_blow_up_an_update() {
    check_refused(
        &repeated_keys(&"x".repeat(1000), 1_000_000),
        "keys repeated by number too often",
    );
}

#[test]
fn state_vectors_are_read_strictly() {
    let limits = Limits {
        max_state_vector_entries: 2,
        ..Limits::default()
    };
    let decode = |hex: &str| StateVector::decode(&unhex(hex), &limits);
    assert_eq!(decode("00"), Ok(StateVector::default()));
    assert_eq!(decode("0209050103"), Ok(clocks(&[(9, 5), (1, 3)])));
    assert_eq!(decode("010900"), Ok(StateVector::default()));
    let is_malformed = |hex: &str| matches!(decode(hex), Err(UpdateError::Malformed { .. }));
    assert!(is_malformed("") && is_malformed("0109") && is_malformed("02090501"));
    for refused in [
        "03010102020303",
        "0000",
        "010001",
        "0201010102",
        "01018080808008",
    ] {
        assert!(
            matches!(decode(refused), Err(UpdateError::Refused { .. })),
            "{refused}"
        );
    }
}

#[test]
fn checked_updates_keep_the_bytes_and_know_their_meaning() {
    let bytes = update(
        vec![
            block(9, 0, vec![Body::Gc(2), Body::Skip(1), Body::Gc(1)]),
            block(5, 3, vec![Body::Item(after((4, 7), text("ab")))]),
        ],
        &[(2, &[(0, 4)])],
    );
    let update = Update::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(update.as_bytes(), bytes);
    assert!(!update.is_empty());
    assert_eq!(update.state_vector(), clocks(&[(9, 2)]));
    let summary = update.summary();
    assert_eq!(summary.structs[&9], vec![0..2, 3..4]);
    assert_eq!(summary.structs[&5], vec![3..5]);
    assert_eq!(summary.deletes, set(&[(2, 0, 4), (9, 0, 2), (9, 3, 4)]));
    assert_eq!(
        summary.dependencies,
        clocks(&[(2, 4), (4, 8), (5, 3), (9, 3)])
    );
}
