//! Compaction: what is collected, what is only emptied, and what is left alone.

use epicenter_update::{
    Collect, DeleteSet, EMPTY_UPDATE, Limits, StateVector, Update, compact, content_digest, merge,
};

use crate::model::{
    Body, Content, Item, Model, Parent, Struct, after, block, decode, root_item, text, update,
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

#[test]
fn what_waits_is_carried_over_as_it_is() {
    let pending = vec![
        next((8, 50), text("ab")),
        next((7, 6), text("cd")),
        Body::Gc(1),
        Body::Gc(1),
    ];
    let bytes = update(
        vec![
            block(9, 3, vec![item(text("far"))]),
            block(
                7,
                0,
                [vec![item(text("abc")), Body::Skip(2)], pending.clone()].concat(),
            ),
        ],
        // Over known clocks, over a gap, over what waits, and of somebody unknown.
        &[(9, &[(0, 4)]), (7, &[(1, 2), (3, 7)]), (2, &[(5, 9)])],
    );
    let model = check(&bytes);
    assert_eq!(
        model.blocks,
        vec![
            block(9, 3, vec![item(text("far"))]),
            block(
                7,
                0,
                [
                    vec![
                        item(text("a")),
                        next((7, 0), Content::Deleted(1)),
                        next((7, 1), text("c")),
                        Body::Skip(2),
                    ],
                    pending,
                ]
                .concat()
            ),
        ]
    );
    assert_eq!(parse(&compacted(&bytes)).deletes(), parse(&bytes).deletes());
}

#[test]
fn a_gapped_room_compacts_and_still_gets_everything() {
    let whole = update(
        vec![
            block(9, 0, vec![item(text("nine")), next((7, 5), text("more"))]),
            block(7, 0, vec![item(text("seven!"))]),
        ],
        &[(7, &[(1, 3)])],
    );
    let parts: Vec<Vec<u8>> = [(0, 2), (2, 4), (4, 6)]
        .iter()
        .map(|(from, to)| {
            let mut structs = Vec::new();
            if let Body::Item(first) = item(text("seven!")) {
                structs.push(
                    Struct {
                        clock: 0,
                        body: Body::Item(first),
                    }
                    .part(7, *from, *to),
                );
            }
            update(vec![(7, structs)], &[])
        })
        .chain([update(
            vec![block(
                9,
                0,
                vec![item(text("nine")), next((7, 5), text("more"))],
            )],
            &[(7, &[(1, 3)])],
        )])
        .collect();
    // Every order, every part twice, and what the room keeps compacted at every point.
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 3, 2, 0]] {
        let mut room = Room::default();
        for index in order.into_iter().chain(order) {
            room.receive(&parts[index]);
            let rows: Vec<&Vec<u8>> = room.ready.iter().collect();
            let ready = compacted(&merged(&rows));
            assert!(parse(&ready).deletes().contains_all(&room.deletes));
            room.deletes = parse(&ready).deletes();
            room.ready = vec![ready];
            room = room.reloaded();
        }
        assert!(room.pending.is_empty());
        assert_eq!(
            content_digest(&parse(&room.everything())),
            content_digest(&parse(&whole))
        );
    }
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
