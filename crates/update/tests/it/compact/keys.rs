//! Which entry of a map key counts, and where that cannot be told.

use super::{below, check, deletes, entry, item, map, next, value_of};
use crate::model::{Body, Content, Item, after, block, decode, root_item, text, update};

#[test]
fn of_the_entries_of_a_key_only_the_winner_keeps_its_value() {
    // Two clients who had not seen each other; the higher one counts.
    let bytes = update(
        vec![block(9, 0, vec![entry(9)]), block(7, 0, vec![entry(7)])],
        &[],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks,
        vec![
            block(9, 0, vec![entry(9)]),
            block(
                7,
                0,
                vec![Body::Item(Item {
                    sub: Some("k".into()),
                    ..root_item(Content::Deleted(1))
                })]
            ),
        ]
    );
    assert_eq!(model.deletes, deletes(&[(7, 0, 1)]));
}

#[test]
fn the_walk_to_the_winner_follows_the_highest_client_at_every_fork() {
    // 9 and 7 set the key; 7 sets it again over its own, 8 over that of 9: 8 counts.
    let bytes = update(
        vec![
            block(9, 0, vec![entry(9)]),
            block(8, 0, vec![next((9, 0), value_of(8))]),
            block(7, 0, vec![entry(7), next((7, 0), value_of(70))]),
        ],
        &[],
    );
    let model = check(&bytes);
    assert_eq!(model.deletes, deletes(&[(9, 0, 1), (7, 0, 2)]));
}

#[test]
fn a_fork_inside_a_struct_of_several_elements_is_found() {
    // One struct holds three values set one after the other; 9 set the key over the first of them.
    let three = Content::Any(vec![vec![125, 1], vec![125, 2], vec![125, 3]]);
    let first = Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(three)
    });
    let higher = update(
        vec![
            block(9, 0, vec![next((7, 0), value_of(9))]),
            block(7, 0, vec![first.clone()]),
        ],
        &[],
    );
    assert_eq!(check(&higher).deletes, deletes(&[(7, 0, 3)]));
    // A lower client there is passed by.
    let lower = update(
        vec![
            block(7, 0, vec![first]),
            block(5, 0, vec![next((7, 0), value_of(5))]),
        ],
        &[],
    );
    assert_eq!(
        check(&lower).deletes,
        vec![(7, vec![(0, 2)]), (5, vec![(0, 1)])]
    );
}

#[test]
fn what_a_hidden_entry_holds_is_collected() {
    let hidden = Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(map())
    });
    let bytes = update(
        vec![
            block(9, 0, vec![entry(9)]),
            block(7, 0, vec![hidden, below((7, 0), Some("x"), value_of(1))]),
        ],
        &[],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks[1],
        block(
            7,
            0,
            vec![
                Body::Item(Item {
                    sub: Some("k".into()),
                    ..root_item(Content::Deleted(1))
                }),
                Body::Gc(1)
            ]
        )
    );
}

#[test]
fn a_key_with_a_member_that_has_a_right_origin_is_left_alone() {
    let bytes = update(
        vec![
            block(9, 0, vec![entry(9)]),
            block(
                7,
                0,
                vec![
                    entry(7),
                    Body::Item(Item {
                        right: Some((9, 0)),
                        ..after((7, 0), value_of(70))
                    }),
                ],
            ),
        ],
        &[],
    );
    let model = check(&bytes);
    assert!(model.deletes.is_empty());
    assert_eq!(model, decode(&bytes));
}

#[test]
fn a_key_with_a_member_that_waits_is_left_alone() {
    let waits = |body: Body| {
        update(
            vec![
                block(9, 0, vec![entry(9)]),
                block(8, 4, vec![body]),
                block(7, 0, vec![entry(7)]),
            ],
            &[],
        )
    };
    // By its name, and by the entry it was set over.
    for body in [entry(8), next((7, 0), value_of(8))] {
        let bytes = waits(body);
        assert_eq!(check(&bytes), decode(&bytes));
    }
    // What waits for another place does not matter.
    let bytes = waits(item(text("x")));
    assert_eq!(check(&bytes).deletes, deletes(&[(7, 0, 1)]));
}

#[test]
fn two_entries_of_one_client_in_one_place_decide_nothing() {
    let bytes = update(
        vec![
            block(9, 0, vec![entry(1), entry(2)]),
            block(7, 0, vec![entry(7)]),
        ],
        &[],
    );
    assert_eq!(check(&bytes), decode(&bytes));
    // Also inside a struct: its own next element and another one of its client.
    let two = Content::Any(vec![vec![125, 1], vec![125, 2]]);
    let first = Body::Item(Item {
        sub: Some("k".into()),
        ..root_item(two)
    });
    let bytes = update(
        vec![block(9, 0, vec![first, next((9, 0), value_of(3))])],
        &[],
    );
    assert!(check(&bytes).deletes.is_empty());
}
