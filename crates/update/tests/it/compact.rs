//! Compaction: what is collected, what is only emptied, and what is left alone.

mod keys;
mod neighbours;
mod waiting;

use epicenter_update::{
    Collect, DeleteSet, EMPTY_UPDATE, Limits, StateVector, Update, compact, content_digest, merge,
};

use crate::model::{
    Body, Content, Item, Model, Parent, after, block, decode, root_item, text, update,
};
use crate::support::{Room, clocks, hex, merged, parse, set};

fn compacted(bytes: &[u8]) -> Vec<u8> {
    compact(&parse(bytes), Collect::Deleted)
}

/// Compacts and checks what must hold for every update.
fn check(bytes: &[u8]) -> Model {
    let before = parse(bytes);
    let output = compacted(bytes);
    let after = parse(&output);
    assert_eq!(hex(&compacted(&output)), hex(&output), "compacted again");
    assert_eq!(
        hex(&compacted(&merged(&[bytes]))),
        hex(&output),
        "rewritten first"
    );
    assert_eq!(after.state_vector(), before.state_vector());
    assert_eq!(after.summary().structs, before.summary().structs);
    assert!(after.deletes().contains_all(&before.deletes()));
    assert_eq!(content_digest(&after), content_digest(&before));
    decode(&output)
}

fn item(content: Content) -> Body {
    Body::Item(root_item(content))
}

fn next(origin: (u64, u32), content: Content) -> Body {
    Body::Item(after(origin, content))
}

fn below(parent: (u64, u32), key: Option<&str>, content: Content) -> Body {
    Body::Item(Item {
        origin: None,
        right: None,
        parent: Some(Parent::Item(parent)),
        sub: key.map(str::to_owned),
        content,
    })
}

/// An entry of the key `k` of a root that nobody else had set.
fn entry(value: u8) -> Body {
    Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(value_of(value))
    })
}

fn value_of(value: u8) -> Content {
    Content::Any(vec![vec![125, value]])
}

fn map() -> Content {
    Content::Type(1, None)
}

fn deletes(entries: &[(u64, u32, u32)]) -> Vec<(u64, Vec<(u32, u32)>)> {
    entries
        .iter()
        .map(|(client, start, end)| (*client, vec![(*start, *end)]))
        .collect()
}

#[test]
fn nothing_compacts_to_nothing() {
    assert_eq!(compacted(&EMPTY_UPDATE), EMPTY_UPDATE);
}

#[test]
fn deleted_text_keeps_its_place_and_loses_its_letters() {
    let bytes = update(
        vec![block(7, 0, vec![item(text("abc"))])],
        &[(7, &[(1, 2)])],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks,
        vec![block(
            7,
            0,
            vec![
                item(text("a")),
                next((7, 0), Content::Deleted(1)),
                next((7, 1), text("c")),
            ]
        )]
    );
    assert_eq!(model.deletes, deletes(&[(7, 1, 2)]));
}

/// A collected struct in place of the deleted one would lose this edit: it refers to both sides.
#[test]
fn an_edit_made_offline_inside_what_was_deleted_still_finds_its_place() {
    let base = update(
        vec![block(7, 0, vec![item(text("abc"))])],
        &[(7, &[(0, 3)])],
    );
    let offline = update(
        vec![block(
            9,
            0,
            vec![Body::Item(Item {
                right: Some((7, 1)),
                ..after((7, 0), text("B"))
            })],
        )],
        &[],
    );
    let model = check(&merged(&[&compacted(&base), &offline]));
    assert_eq!(
        model.blocks,
        vec![
            block(
                9,
                0,
                vec![Body::Item(Item {
                    right: Some((7, 1)),
                    ..after((7, 0), text("B"))
                })]
            ),
            block(7, 0, vec![item(Content::Deleted(3))]),
        ]
    );
}

#[test]
fn what_is_below_something_deleted_is_collected_at_every_depth() {
    // A map in a root list, a map in it, a text in that, and its letters; the outermost is deleted.
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                item(map()),
                below((7, 0), Some("inner"), map()),
                below((7, 1), Some("text"), Content::Type(2, None)),
                below((7, 2), None, text("deep")),
                next((7, 0), text("beside")),
            ],
        )],
        &[(7, &[(0, 1)])],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks,
        vec![block(
            7,
            0,
            vec![
                item(Content::Deleted(1)),
                Body::Gc(6),
                next((7, 0), text("beside")),
            ]
        )]
    );
    assert_eq!(model.deletes, deletes(&[(7, 0, 7)]));
}

#[test]
fn what_is_set_below_something_collected_is_collected_too() {
    let base = update(
        vec![block(
            7,
            0,
            vec![item(map()), below((7, 0), Some("a"), map())],
        )],
        &[(7, &[(0, 1)])],
    );
    // Somebody was offline and wrote into the inner map.
    let offline = update(
        vec![block(
            9,
            0,
            vec![
                below((7, 1), Some("b"), value_of(1)),
                next((9, 0), value_of(2)),
            ],
        )],
        &[],
    );
    let model = check(&merged(&[&compacted(&base), &offline]));
    assert_eq!(model.blocks[0], block(9, 0, vec![Body::Gc(2)]));
}

#[test]
fn two_versions_of_a_clock_give_one_result_in_both_orders() {
    let whole = update(vec![block(7, 0, vec![item(text("abcd"))])], &[]);
    let collected = update(vec![block(7, 0, vec![Body::Gc(2)])], &[]);
    let deleted = update(
        vec![block(
            7,
            0,
            vec![item(text("a")), next((7, 0), Content::Deleted(3))],
        )],
        &[(7, &[(1, 4)])],
    );
    for (left, right) in [
        (&whole, &collected),
        (&whole, &deleted),
        (&deleted, &collected),
    ] {
        let output = compacted(&merged(&[left, right]));
        assert_eq!(output, compacted(&merged(&[right, left])));
        check(&merged(&[left, right]));
        // A room keeps what came first, and what it keeps compacts like what it shows.
        for (first, second) in [(left, right), (right, left)] {
            let mut room = Room::default();
            room.receive(first);
            room.receive(second);
            check(&room.everything());
        }
    }
    // Content wins over collected clocks, and a named deletion over content.
    assert_eq!(
        decode(&compacted(&merged(&[&whole, &collected]))),
        decode(&whole)
    );
    assert_eq!(
        decode(&compacted(&merged(&[&whole, &deleted]))).deletes,
        deletes(&[(7, 1, 4)])
    );
}

#[test]
fn what_stands_beside_something_collected_is_collected() {
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                Body::Gc(1),
                next((7, 0), text("ab")),
                item(text("c")),
                Body::Item(Item {
                    origin: None,
                    right: Some((7, 0)),
                    parent: None,
                    sub: None,
                    content: text("d"),
                }),
            ],
        )],
        &[],
    );
    assert_eq!(
        check(&bytes).blocks,
        vec![block(7, 0, vec![Body::Gc(3), item(text("c")), Body::Gc(1)])]
    );
}

#[test]
fn what_names_no_type_as_its_parent_is_collected() {
    let bytes = update(
        vec![block(
            7,
            0,
            vec![item(text("a")), below((7, 0), None, text("b"))],
        )],
        &[],
    );
    assert_eq!(
        check(&bytes).blocks,
        vec![block(7, 0, vec![item(text("a")), Body::Gc(1)])]
    );
}

/// No client writes this: an item between two places. Once one of them is collected, so is the item.
#[test]
fn an_item_between_two_places_is_collected_with_either() {
    let bytes = |deletes: &[(u64, &[(u32, u32)])]| {
        update(
            vec![block(
                7,
                0,
                vec![
                    item(map()),
                    below((7, 0), None, text("in")),
                    item(text("out")),
                    Body::Item(Item {
                        right: Some((7, 1)),
                        ..after((7, 5), text("between"))
                    }),
                    next((7, 6), text("behind")),
                ],
            )],
            deletes,
        )
    };
    assert_eq!(check(&bytes(&[])).blocks[0].1.len(), 5);
    let model = check(&bytes(&[(7, &[(0, 1)])]));
    assert_eq!(
        model.blocks,
        vec![block(
            7,
            0,
            vec![
                item(Content::Deleted(1)),
                Body::Gc(2),
                item(text("out")),
                Body::Gc(13),
            ]
        )]
    );
}

/// Two places in turns, without a byte for each struct: nothing is resolved, and nothing is lost.
#[test]
fn more_places_than_bytes_are_left_alone() {
    let turns = |count: u32| {
        let typed = || Content::Type(0, None);
        let mut bodies = vec![item(map()), below((7, 0), None, typed()), item(typed())];
        bodies.extend((3..count).map(|clock| next((7, clock - 2), typed())));
        update(vec![block(7, 0, bodies)], &[(7, &[(0, 1)])])
    };
    let few = turns(10_000);
    assert!(few.len() < 100);
    assert_eq!(check(&few).deletes[0].1.len(), 5_000);
    let many = turns(200_000);
    assert!(many.len() < 100);
    let model = check(&many);
    assert_eq!(model, decode(&many));
}

#[test]
fn a_merge_of_a_compacted_state_with_the_state_it_came_from_shows_the_same() {
    let bytes = update(
        vec![
            block(
                9,
                0,
                vec![entry(9), item(map()), below((9, 1), Some("a"), text("x"))],
            ),
            block(
                7,
                0,
                vec![entry(7), item(text("some text")), next((7, 9), text("!"))],
            ),
        ],
        &[(9, &[(1, 2)]), (7, &[(3, 6)])],
    );
    let output = compacted(&bytes);
    let joined = merge(&[parse(&output), parse(&bytes)]);
    assert_eq!(compacted(&joined), output);
    assert_eq!(
        content_digest(&parse(&joined)),
        content_digest(&parse(&bytes))
    );
}

/// The delete set of a compacted update names all that it holds deleted.
#[test]
fn the_delete_set_is_whole_and_normal() {
    let bytes = update(
        vec![block(
            7,
            0,
            vec![Body::Gc(2), item(Content::Deleted(2)), item(text("ab"))],
        )],
        &[(7, &[(5, 6)])],
    );
    let output = compacted(&bytes);
    let expect: DeleteSet = set(&[(7, 0, 4), (7, 5, 6)]);
    assert_eq!(parse(&output).deletes(), expect);
    let known: StateVector = clocks(&[(7, 6)]);
    let only_deletes = epicenter_update::diff(&parse(&output), &known);
    let only_deletes = Update::parse(&only_deletes, &Limits::default()).unwrap();
    assert_eq!(only_deletes.deletes(), expect);
}
