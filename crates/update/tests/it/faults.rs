//! Cases that planted faults once got past (`cargo xtask algebra-mutants`).

use epicenter_update::{Collect, Ready, compact, diff, ingest};

use crate::model::{
    Body, Content, Item, Model, Parent, after, block, decode, root_item, text, update,
};
use crate::support::{clocks, merged, parse};

/// More structs than lists of compaction take entries for an update of so few bytes.
const MANY: u32 = 100_000;

fn item(content: Content) -> Body {
    Body::Item(root_item(content))
}

fn next(origin: (u64, u32), content: Content) -> Body {
    Body::Item(after(origin, content))
}

fn entry(content: Content) -> Body {
    Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(content)
    })
}

fn value(value: u8) -> Content {
    Content::Any(vec![vec![125, value]])
}

fn compacted(bytes: &[u8]) -> Model {
    decode(&compact(&parse(bytes), Collect::Deleted))
}

fn halves() -> [u16; 2] {
    let smile: Vec<u16> = "😀".encode_utf16().collect();
    [smile[0], smile[1]]
}

/// A text that ends in a half whose other half is the next text of the update, and a whole character
/// that loses its first half: what is left between the two goes, and they do not become a character.
#[test]
fn a_half_before_a_cut_character_does_not_join_it() {
    let [high, low] = halves();
    let first = || item(Content::Text(vec![97, high]));
    let mended = "\u{fffd}b";
    // Compacted.
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                first(),
                next((7, 1), Content::Text(vec![low, 98])),
                next((7, 3), text("😀b")),
            ],
        )],
        &[(7, &[(2, 5)])],
    );
    let expect = vec![
        item(text("a\u{fffd}")),
        next((7, 1), Content::Deleted(3)),
        next((7, 4), text(mended)),
    ];
    assert_eq!(compacted(&bytes).blocks, vec![block(7, 0, expect)]);
    // Cut where a peer's or a room's clock is.
    let bytes = update(
        vec![
            block(9, 0, vec![first()]),
            block(
                7,
                0,
                vec![
                    // Without a name between the two halves, so that they are one character.
                    next((9, 1), Content::Text(vec![low, 98])),
                    next((7, 1), text("😀b")),
                ],
            ),
        ],
        &[],
    );
    assert_eq!(
        decode(&bytes).blocks[0],
        block(9, 0, vec![first()]),
        "not cut yet"
    );
    let expect = vec![
        block(9, 0, vec![item(text("a\u{fffd}"))]),
        block(7, 3, vec![next((7, 2), text(mended))]),
    ];
    let known = clocks(&[(7, 3)]);
    assert_eq!(decode(&diff(&parse(&bytes), &known)).blocks, expect);
    match ingest(&parse(&bytes), &known).ready {
        Ready::Part(part) => assert_eq!(decode(&part).blocks, expect),
        other => panic!("{other:?}"),
    }
    // Cut where another version of its clocks ends.
    let one = update(
        vec![block(
            7,
            0,
            vec![
                first(),
                next((7, 1), Content::Deleted(2)),
                next((7, 3), Content::Text(vec![low, 98])),
            ],
        )],
        &[],
    );
    let other = update(vec![block(7, 1, vec![next((7, 0), text("😀b"))])], &[]);
    let expect = vec![block(
        7,
        0,
        vec![
            item(text("a\u{fffd}")),
            next((7, 1), text(mended)),
            next((7, 3), text("\u{fffd}b")),
        ],
    )];
    assert_eq!(decode(&merged(&[&one, &other])).blocks, expect);
    assert_eq!(decode(&merged(&[&other, &one])).blocks, expect);
}

/// A character of which two clients have one half each, and nothing is cut: both halves stay.
#[test]
fn halves_that_begin_at_the_known_clock_are_not_cut() {
    let [high, low] = halves();
    let shared = vec![
        block(9, 0, vec![item(Content::Text(vec![97, high]))]),
        block(7, 0, vec![next((9, 1), Content::Text(vec![low, 98]))]),
    ];
    let bytes = update(shared.clone(), &[]);
    assert_eq!(decode(&bytes).blocks, shared);
    assert_eq!(decode(&diff(&parse(&bytes), &clocks(&[]))).blocks, shared);
    let mut blocks = shared.clone();
    blocks.push(block(5, 0, vec![next((99, 0), text("waits"))]));
    match ingest(&parse(&update(blocks, &[])), &clocks(&[])).ready {
        Ready::Part(part) => assert_eq!(decode(&part).blocks, shared),
        other => panic!("{other:?}"),
    }
}

#[test]
fn any_number_of_structs_in_one_place_takes_one_entry() {
    let bytes = update(vec![block(7, 0, vec![Body::Gc(1); MANY as usize])], &[]);
    assert!(bytes.len() < 50);
    assert_eq!(
        compacted(&bytes).blocks,
        vec![block(7, 0, vec![Body::Gc(MANY)])]
    );
}

#[test]
fn a_key_that_one_client_sets_over_and_over_takes_one_entry() {
    let over = (1..MANY).map(|clock| next((7, clock - 1), Content::Deleted(1)));
    let bodies = [entry(value(1))].into_iter().chain(over).collect();
    let bytes = update(vec![block(7, 0, bodies)], &[]);
    assert!(bytes.len() < 70);
    assert_eq!(
        compacted(&bytes).blocks,
        vec![block(7, 0, vec![entry(Content::Deleted(MANY))])]
    );
}

/// Two neighbours in two places: however many items stand between the two, they stand in one place,
/// and with either of the two it is collected.
#[test]
fn any_number_of_items_between_two_places_takes_one_place() {
    let inside = Body::Item(Item {
        parent: Some(Parent::Item((7, 0))),
        ..root_item(text("i"))
    });
    let between = Body::Item(Item {
        right: Some((7, 2)),
        ..after((7, 1), Content::Deleted(1))
    });
    let mut bodies = vec![item(Content::Type(1, None)), inside, item(text("o"))];
    bodies.extend(vec![between; MANY as usize]);
    let bytes = update(vec![block(7, 0, bodies)], &[(7, &[(0, 1)])]);
    assert!(bytes.len() < 100);
    let model = compacted(&bytes);
    assert_eq!(model.blocks[0].1.len(), 4);
    assert_eq!(model.blocks[0].1[3].body, Body::Gc(MANY));
}

/// What is ready does not become uncertain because something behind it waits, for whatever place.
#[test]
fn what_waits_behind_a_key_in_another_place_leaves_the_key_alone() {
    let waits = Body::Item(Item {
        right: Some((99, 5)),
        ..after((99, 4), text("w"))
    });
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                entry(value(1)),
                next((7, 0), value(2)),
                waits.clone(),
                next((7, 2), text("x")),
            ],
        )],
        &[],
    );
    assert_eq!(
        compacted(&bytes).blocks,
        vec![block(
            7,
            0,
            vec![
                entry(Content::Deleted(1)),
                next((7, 0), value(2)),
                waits,
                next((7, 2), text("x")),
            ]
        )]
    );
}

/// A client that waits is walked again from its start; what was visited before is not visited again,
/// with nothing left of it. Here that would make a type of the letter behind it.
#[test]
fn what_was_passed_is_not_passed_again() {
    let below_letter = Body::Item(Item {
        parent: Some(Parent::Item((7, 1))),
        ..root_item(text("b"))
    });
    let bytes = update(
        vec![
            block(9, 0, vec![item(text("x")), below_letter]),
            block(
                7,
                0,
                vec![item(Content::Type(1, None)), next((9, 0), text("y"))],
            ),
        ],
        &[],
    );
    let model = compacted(&bytes);
    // A letter has nothing below it.
    assert_eq!(model.blocks[0].1[1].body, Body::Gc(1));
}

#[test]
fn the_rest_of_a_struct_that_is_partly_known_stands_behind_its_own_beginning() {
    let bytes = update(vec![block(7, 0, vec![next((9, 5), text("abc"))])], &[]);
    let split = ingest(&parse(&bytes), &clocks(&[(7, 1)]));
    assert_eq!(split.pending, None);
    match split.ready {
        Ready::Part(part) => assert_eq!(
            decode(&part).blocks,
            vec![block(7, 1, vec![next((7, 0), text("bc"))])]
        ),
        other => panic!("{other:?}"),
    }
}
