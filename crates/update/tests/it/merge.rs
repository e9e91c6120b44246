//! Merging: gaps, overlaps and versions of the same clock.

use epicenter_update::{EMPTY_UPDATE, Limits, Update, merge_bytes};

use crate::model::{Body, Content, Model, after, block, decode, elements, root_item, text, update};
use crate::support::{hex, merged, parse};

fn item(content: Content) -> Body {
    Body::Item(root_item(content))
}

/// Merges in every order of two or three inputs, which must not matter, and decodes the result.
fn merge_all(inputs: &[Vec<u8>]) -> Model {
    let output = merged(inputs);
    let mut turned = inputs.to_vec();
    for _ in 0..inputs.len() {
        turned.rotate_left(1);
        assert_eq!(hex(&merged(&turned)), hex(&output), "rotated");
        turned.reverse();
        assert_eq!(hex(&merged(&turned)), hex(&output), "reversed");
        turned.reverse();
    }
    assert_eq!(hex(&merged(&[&output])), hex(&output), "merged again");
    decode(&output)
}

#[test]
fn nothing_and_empty_updates_merge_to_the_empty_update() {
    assert_eq!(merged::<Vec<u8>>(&[]), EMPTY_UPDATE);
    assert_eq!(merged(&[EMPTY_UPDATE, EMPTY_UPDATE]), EMPTY_UPDATE);
    assert!(parse(&EMPTY_UPDATE).is_empty());
}

#[test]
fn clients_come_highest_first_and_gaps_are_named() {
    let first = update(vec![block(3, 0, vec![item(text("ab"))])], &[]);
    let second = update(
        vec![block(3, 5, vec![Body::Item(after((3, 4), text("f")))])],
        &[],
    );
    let other = update(vec![block(8, 2, vec![Body::Gc(1)])], &[]);
    let model = merge_all(&[first, second, other]);
    assert_eq!(
        model.blocks,
        vec![
            block(8, 2, vec![Body::Gc(1)]),
            block(
                3,
                0,
                vec![
                    item(text("ab")),
                    Body::Skip(3),
                    Body::Item(after((3, 4), text("f"))),
                ]
            ),
        ]
    );
}

#[test]
fn a_gap_in_one_update_is_filled_by_another() {
    let gapped = update(
        vec![block(
            3,
            0,
            vec![
                item(text("a")),
                Body::Skip(1),
                Body::Item(after((3, 1), text("c"))),
            ],
        )],
        &[],
    );
    let filling = update(
        vec![block(3, 1, vec![Body::Item(after((3, 0), text("b")))])],
        &[],
    );
    let model = merge_all(&[gapped, filling]);
    let all = vec![
        item(text("a")),
        Body::Item(after((3, 0), text("b"))),
        Body::Item(after((3, 1), text("c"))),
    ];
    assert_eq!(model.blocks, vec![block(3, 0, all)]);
}

#[test]
fn gaps_at_the_ends_and_flags_without_meaning_are_not_written_again() {
    let padded = update(
        vec![
            block(3, 0, vec![Body::Skip(2), Body::Gc(1), Body::Skip(4)]),
            block(2, 0, vec![Body::Skip(1)]),
        ],
        &[],
    );
    assert_eq!(
        merge_all(&[padded]).blocks,
        vec![block(3, 2, vec![Body::Gc(1)])]
    );
    let mut flagged = after((9, 1), text("x"));
    let plain = update(vec![block(3, 0, vec![Body::Item(flagged.clone())])], &[]);
    flagged.sub = Some(String::new());
    let marked = update(vec![block(3, 0, vec![Body::Item(flagged)])], &[]);
    assert_ne!(plain, marked);
    assert_eq!(merged(&[&marked]), plain);
}

#[test]
fn an_overlap_is_cut_where_the_longer_struct_ends() {
    let early = update(vec![block(3, 0, vec![item(text("abc"))])], &[]);
    let late = update(
        vec![block(3, 1, vec![Body::Item(after((3, 0), text("bcde")))])],
        &[],
    );
    let model = merge_all(&[early, late]);
    let expect = vec![item(text("abc")), Body::Item(after((3, 2), text("de")))];
    assert_eq!(model.blocks, vec![block(3, 0, expect)]);
}

#[test]
fn content_stays_over_deleted_content_and_that_over_collected() {
    let content = update(
        vec![block(3, 1, vec![Body::Item(after((3, 0), text("xy")))])],
        &[],
    );
    let deleted = update(vec![block(3, 0, vec![item(Content::Deleted(4))])], &[]);
    let collected = update(vec![block(3, 0, vec![Body::Gc(6)])], &[]);
    let model = merge_all(&[content, deleted, collected]);
    let expect = vec![
        item(Content::Deleted(1)),
        Body::Item(after((3, 0), text("xy"))),
        Body::Item(after((3, 2), Content::Deleted(1))),
        Body::Gc(2),
    ];
    assert_eq!(model.blocks, vec![block(3, 0, expect)]);
}

#[test]
fn of_two_contents_the_smaller_stays_in_whatever_order() {
    let contents =
        ["zz", "ab", "ac"].map(|content| update(vec![block(3, 0, vec![item(text(content))])], &[]));
    let model = merge_all(&contents);
    assert_eq!(model.blocks, vec![block(3, 0, vec![item(text("ab"))])]);
}

#[test]
fn a_half_that_was_cut_off_does_not_join_a_stranger() {
    // Client 5 ends with the first half of a character that client 4 begins with; what is sent of
    // client 4 begins inside its next one.
    let high = after((9, 0), Content::Text(vec![0xd83d]));
    let low = after((9, 0), Content::Text(vec![0xde00, 0xd83d, 0xde00, 0x62]));
    let both = update(
        vec![
            block(5, 0, vec![Body::Item(high)]),
            block(4, 0, vec![Body::Item(low)]),
        ],
        &[],
    );
    let rest = epicenter_update::diff(&parse(&both), &crate::support::clocks(&[(4, 2)]));
    let high = after((9, 0), text("\u{fffd}"));
    let low = after((4, 1), text("\u{fffd}b"));
    assert_eq!(
        decode(&rest).blocks,
        vec![
            block(5, 0, vec![Body::Item(high)]),
            block(4, 2, vec![Body::Item(low)]),
        ]
    );
}

#[test]
fn three_versions_come_out_the_same_in_every_order() {
    // Which one stays depends on which two meet first: of "az" and "ba" the first stays as a whole,
    // but not where "c", "y" has been cut into it before.
    let whole = |content: &str| update(vec![block(3, 0, vec![item(text(content))])], &[]);
    let cut = update(
        vec![block(
            3,
            0,
            vec![item(text("c")), Body::Item(after((3, 0), text("y")))],
        )],
        &[],
    );
    merge_all(&[whole("az"), whole("ba"), cut]);
}

#[test]
fn of_two_structs_from_the_same_clock_the_longer_stays_whole() {
    let short = vec![item(text("ab")), Body::Item(after((3, 1), text("cd")))];
    let short = update(vec![block(3, 0, short)], &[]);
    let long = update(vec![block(3, 0, vec![item(text("abcde"))])], &[]);
    let model = merge_all(&[short, long]);
    assert_eq!(model.blocks, vec![block(3, 0, vec![item(text("abcde"))])]);
}

#[test]
fn what_loses_at_the_same_clock_goes_on_behind_the_winner() {
    let collected = update(vec![block(3, 0, vec![Body::Gc(4)])], &[]);
    let content = update(
        vec![block(
            3,
            0,
            vec![
                item(text("ab")),
                Body::Skip(2),
                Body::Item(after((3, 3), text("ef"))),
            ],
        )],
        &[],
    );
    let expect = vec![
        item(text("ab")),
        Body::Gc(2),
        Body::Item(after((3, 3), text("ef"))),
    ];
    assert_eq!(
        merge_all(&[collected, content]).blocks,
        vec![block(3, 0, expect)]
    );
}

#[test]
fn delete_sets_are_united_and_coalesced() {
    let first = update(vec![], &[(5, &[(0, 2), (8, 9)]), (4, &[(1, 2)])]);
    let second = update(vec![], &[(5, &[(2, 4), (20, 21)]), (6, &[(0, 1)])]);
    let third = update(vec![], &[(5, &[(3, 8)])]);
    let model = merge_all(&[first, second, third]);
    let expect = vec![
        (6, vec![(0, 1)]),
        (5, vec![(0, 9), (20, 21)]),
        (4, vec![(1, 2)]),
    ];
    assert_eq!(model.deletes, expect);
}

#[test]
fn halves_of_a_character_join_again_and_a_lone_one_becomes_the_replacement() {
    // Two structs share the pair of U+1F600, as Yjs writes a text that was cut by UTF-16 units.
    let halves = Content::Text(vec![0xd83d]);
    let low = Content::Text(vec![0xde00]);
    let both = update(
        vec![block(
            3,
            0,
            vec![item(halves), Body::Item(after((3, 0), low))],
        )],
        &[],
    );
    assert_eq!(hex(&merged(&[&both])), hex(&both));
    let between = update(vec![block(4, 0, vec![item(text("-"))])], &[]);
    assert_eq!(elements(&merged(&[&both, &between])).len(), 3);

    // The same halves with something else written between them.
    let high_first = update(
        vec![block(
            5,
            0,
            vec![
                item(Content::Text(vec![0xd83d])),
                Body::Item(after((5, 0), Content::Text(vec![0xde00]))),
            ],
        )],
        &[],
    );
    let other_half =
        epicenter_update::diff(&parse(&high_first), &crate::support::clocks(&[(5, 1)]));
    let (_, structs) = decode(&other_half).blocks.remove(0);
    assert_eq!(structs[0].body, Body::Item(after((5, 0), text("\u{fffd}"))));
}

#[test]
fn a_cut_inside_a_character_leaves_replacements_as_yjs_does() {
    let whole = update(vec![block(3, 0, vec![item(text("a😀b"))])], &[]);
    let rest = epicenter_update::diff(&parse(&whole), &crate::support::clocks(&[(3, 2)]));
    let expect = update(
        vec![block(
            3,
            2,
            vec![Body::Item(after((3, 1), text("\u{fffd}b")))],
        )],
        &[],
    );
    assert_eq!(hex(&rest), hex(&expect));

    // Another version wins from the middle of the character on.
    let wins = update(
        vec![block(3, 2, vec![Body::Item(after((2, 0), text("!")))])],
        &[],
    );
    let model = merge_all(&[whole, wins]);
    let expect = vec![
        item(text("a\u{fffd}")),
        Body::Item(after((2, 0), text("!"))),
        Body::Item(after((3, 2), text("b"))),
    ];
    assert_eq!(model.blocks, vec![block(3, 0, expect)]);
}

#[test]
fn an_update_that_comes_twice_changes_nothing_about_where_structs_are_cut() {
    let part = |from: u32, content: &str| {
        let body = match from {
            0 => item(text(content)),
            _ => Body::Item(after((3, from - 1), text(content))),
        };
        update(vec![block(3, from, vec![body])], &[])
    };
    let inputs = [part(0, "abc"), part(1, "bcd"), part(2, "cde")];
    let once = hex(&merged(&inputs));
    for twice in &inputs {
        let mut more = inputs.to_vec();
        more.push(twice.clone());
        assert_eq!(hex(&merged(&more)), once);
    }
}

#[test]
fn a_long_text_beside_its_letters_does_not_take_quadratic_time() {
    let count = 300_000;
    let long = update(vec![block(3, 0, vec![item(text(&"é".repeat(count)))])], &[]);
    let letters = (0..u32::try_from(count).unwrap())
        .map(|n| match n {
            0 => item(text("é")),
            _ => Body::Item(after((3, n - 1), text("é"))),
        })
        .collect();
    let letters = update(vec![block(3, 0, letters)], &[]);
    assert_eq!(hex(&merged(&[&letters, &long])), hex(&long));
}

#[test]
fn overlapping_runs_of_structs_without_bytes_do_not_take_quadratic_time() {
    // 200,000 one-element structs in a few bytes each, in 64 versions that all differ at the end.
    let inputs: Vec<Vec<u8>> = (0..64)
        .map(|n| {
            let mut bodies = vec![Body::Gc(1); 20_000];
            bodies.push(Body::Gc(n + 1));
            update(vec![block(3, 0, bodies)], &[])
        })
        .collect();
    let output = merged(&inputs);
    assert_eq!(parse(&output).state_vector().clock(3), 20_064);
}

/// What was compared of one struct says nothing about the next one.
#[test]
fn each_struct_is_compared_anew() {
    let long = update(
        vec![block(7, 0, vec![item(text("abcd")), Body::Gc(2)])],
        &[],
    );
    let short = update(
        vec![block(
            7,
            1,
            vec![
                Body::Item(after((7, 0), Content::Deleted(2))),
                Body::Skip(1),
                item(text("xy")),
            ],
        )],
        &[],
    );
    assert_eq!(
        merge_all(&[long, short]).blocks,
        vec![block(7, 0, vec![item(text("abcd")), item(text("xy"))])]
    );
}

#[test]
fn bytes_that_are_no_update_are_not_merged() {
    let whole = update(
        vec![block(7, 0, vec![Body::Item(root_item(text("ab")))])],
        &[],
    );
    let cut = &whole[..whole.len() - 1];
    let limits = Limits::default();
    let fault = Update::parse(cut, &limits).unwrap_err();
    assert_eq!(merge_bytes(&[&whole[..], cut, &[]], &limits), Err(fault));
    let none = Limits {
        max_structs: 0,
        ..limits
    };
    let fault = Update::parse(&whole, &none).unwrap_err();
    assert_eq!(merge_bytes(&[&whole], &none), Err(fault));
}
