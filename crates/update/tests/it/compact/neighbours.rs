//! Neighbours that become one struct, and those that stay apart.

use epicenter_update::{Collect, compact, content_digest};

use super::{below, check, compacted, item, map, next};
use crate::model::{Body, Content, Item, after, block, decode, text, update};
use crate::support::parse;

#[test]
fn collected_neighbours_become_one() {
    let bytes = update(
        vec![block(
            7,
            0,
            vec![Body::Gc(2), Body::Gc(3), item(text("x")), Body::Gc(1)],
        )],
        &[],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks,
        vec![block(7, 0, vec![Body::Gc(5), item(text("x")), Body::Gc(1)])]
    );
    assert_eq!(model.deletes, vec![(7, vec![(0, 5), (6, 7)])]);
}

#[test]
fn neighbours_in_a_row_become_one_struct() {
    let list = |values: &[u8]| Content::Any(values.iter().map(|n| vec![125, *n]).collect());
    let json = |texts: &[&str]| Content::Json(texts.iter().map(|text| (*text).into()).collect());
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                item(text("ab")),
                next((7, 1), text("cd")),
                next((7, 3), list(&[1])),
                next((7, 4), list(&[2, 3])),
                next((7, 6), json(&["1"])),
                next((7, 7), json(&["2"])),
                next((7, 8), Content::Deleted(1)),
                next((7, 9), Content::Deleted(2)),
                next((7, 11), Content::Binary(vec![1])),
                next((7, 12), Content::Binary(vec![2])),
                // Behind something else than the one before it.
                next((7, 0), text("x")),
            ],
        )],
        &[],
    );
    assert_eq!(
        check(&bytes).blocks,
        vec![block(
            7,
            0,
            vec![
                item(text("abcd")),
                next((7, 3), list(&[1, 2, 3])),
                next((7, 6), json(&["1", "2"])),
                next((7, 8), Content::Deleted(3)),
                next((7, 11), Content::Binary(vec![1])),
                next((7, 12), Content::Binary(vec![2])),
                next((7, 0), text("x")),
            ]
        )]
    );
}

#[test]
fn neighbours_with_other_right_origins_stay_apart() {
    let with_right = |origin: u32, right: u32, word: &str| {
        Body::Item(Item {
            right: Some((5, right)),
            ..after((7, origin), text(word))
        })
    };
    let bytes = update(
        vec![
            block(
                7,
                0,
                vec![
                    item(text("a")),
                    with_right(0, 0, "b"),
                    with_right(1, 1, "c"),
                    with_right(2, 1, "d"),
                ],
            ),
            block(5, 0, vec![item(text("xy"))]),
        ],
        &[],
    );
    assert_eq!(
        check(&bytes).blocks[0],
        block(
            7,
            0,
            vec![
                item(text("a")),
                with_right(0, 0, "b"),
                with_right(1, 1, "cd")
            ]
        )
    );
}

#[test]
fn half_a_character_stays_half_and_is_never_joined() {
    // The second half of the smile is deleted: what is left of it is written as Yjs writes it.
    let bytes = update(
        vec![block(7, 0, vec![item(text("a😀b"))])],
        &[(7, &[(2, 3)])],
    );
    assert_eq!(
        check(&bytes).blocks,
        vec![block(
            7,
            0,
            vec![
                item(text("a\u{fffd}")),
                next((7, 1), Content::Deleted(1)),
                next((7, 2), text("b")),
            ]
        )]
    );
    // Two structs that share a character keep sharing it.
    let smile: Vec<u16> = "😀".encode_utf16().collect();
    let shared = update(
        vec![block(
            7,
            0,
            vec![
                item(Content::Text(vec![97, smile[0]])),
                next((7, 1), Content::Text(vec![smile[1], 98])),
            ],
        )],
        &[],
    );
    assert_eq!(check(&shared), decode(&shared));
}

#[test]
fn without_collecting_only_neighbours_are_joined() {
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                item(text("ab")),
                next((7, 1), text("cd")),
                item(map()),
                below((7, 4), None, text("deep")),
            ],
        )],
        &[(7, &[(0, 2), (4, 5)])],
    );
    let output = compact(&parse(&bytes), Collect::Nothing);
    let model = decode(&output);
    assert_eq!(
        model.blocks,
        vec![block(
            7,
            0,
            vec![
                item(text("ab")),
                next((7, 1), text("cd")),
                item(map()),
                below((7, 4), None, text("deep")),
            ]
        )]
    );
    // What follows from the structure is named all the same.
    assert_eq!(model.deletes, vec![(7, vec![(0, 2), (4, 9)])]);
    assert_eq!(
        content_digest(&parse(&output)),
        content_digest(&parse(&bytes))
    );
    assert_eq!(compact(&parse(&output), Collect::Nothing), output);
    assert_eq!(compacted(&output), compacted(&bytes));
}
