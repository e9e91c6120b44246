//! Cases that planted faults once got past (`cargo xtask algebra-mutants`).

use epicenter_update::{Collect, compact};

use crate::model::{
    Body, Content, Item, Model, Parent, after, block, decode, root_item, text, update,
};
use crate::support::parse;

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

/// What lives begins with the second half of one character and ends with the first half of another.
#[test]
fn halves_of_two_characters_never_become_one() {
    let smile: Vec<u16> = "😀".encode_utf16().collect();
    let bytes = update(
        vec![block(
            7,
            0,
            vec![
                item(Content::Text(smile.clone())),
                next((7, 1), Content::Text(smile)),
            ],
        )],
        &[(7, &[(1, 3)])],
    );
    let model = compacted(&bytes);
    assert_eq!(
        model.blocks,
        vec![block(
            7,
            0,
            vec![
                item(text("\u{fffd}")),
                next((7, 0), Content::Deleted(2)),
                next((7, 2), text("\u{fffd}")),
            ]
        )]
    );
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
