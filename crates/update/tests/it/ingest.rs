//! Splitting updates into what is known, ready and pending.

use epicenter_update::{EMPTY_UPDATE, Ingest, Ready, StateVector, ingest};

use crate::model::{Body, Content, Parent, after, block, decode, root_item, text, update};
use crate::support::{Room, clocks, hex, parse, set};

fn run(bytes: &[u8], known: &[(u64, u32)]) -> Ingest {
    ingest(&parse(bytes), &clocks(known))
}

fn part(ingest: &Ingest) -> &[u8] {
    match &ingest.ready {
        Ready::Part(bytes) => bytes,
        other => panic!("not a part: {other:?}"),
    }
}

#[test]
fn a_complete_update_is_ready_as_the_senders_own_bytes() {
    let bytes = update(
        vec![block(3, 2, vec![Body::Item(after((9, 4), text("abc")))])],
        &[(9, &[(1, 2)]), (3, &[(2, 3)])],
    );
    let result = run(&bytes, &[(3, 2), (9, 5)]);
    let expect = Ingest {
        advanced: clocks(&[(3, 5)]),
        ready: Ready::Whole,
        deletes: set(&[(9, 1, 2), (3, 2, 3)]),
        pending: None,
        missing: StateVector::default(),
    };
    assert_eq!(result, expect);
}

#[test]
fn an_empty_update_brings_nothing() {
    assert_eq!(run(&EMPTY_UPDATE, &[(1, 1)]).ready, Ready::Nothing);
}

#[test]
fn known_structs_are_dropped_whatever_they_contain_but_deletes_count() {
    let collected = update(vec![block(3, 0, vec![Body::Gc(4)])], &[(3, &[(1, 2)])]);
    let result = run(&collected, &[(3, 4)]);
    assert_eq!(hex(part(&result)), hex(&update(vec![], &[(3, &[(1, 2)])])));
    assert_eq!(result.deletes, set(&[(3, 1, 2)]));
    assert!(result.advanced.is_empty() && result.pending.is_none());

    let again = update(vec![block(3, 0, vec![Body::Gc(4)])], &[]);
    assert_eq!(run(&again, &[(3, 4)]).ready, Ready::Nothing);
}

#[test]
fn a_partly_known_struct_is_cut() {
    let bytes = update(
        vec![block(3, 0, vec![Body::Item(root_item(text("abcd")))])],
        &[],
    );
    let result = run(&bytes, &[(3, 3)]);
    let expect = update(
        vec![block(3, 3, vec![Body::Item(after((3, 2), text("d")))])],
        &[],
    );
    assert_eq!(hex(part(&result)), hex(&expect));
    assert_eq!(result.advanced, clocks(&[(3, 4)]));
}

#[test]
fn a_gap_in_front_or_inside_holds_back_what_is_behind_it() {
    let late = update(
        vec![block(3, 5, vec![Body::Item(after((3, 4), text("x")))])],
        &[],
    );
    let result = run(&late, &[(3, 2)]);
    assert_eq!(result.ready, Ready::Nothing);
    assert_eq!(result.pending.as_deref(), Some(late.as_slice()));
    assert_eq!(result.missing, clocks(&[(3, 5)]));

    let inside = update(
        vec![block(
            3,
            0,
            vec![
                Body::Gc(2),
                Body::Skip(3),
                Body::Item(after((3, 4), text("x"))),
            ],
        )],
        &[],
    );
    let result = run(&inside, &[]);
    assert_eq!(
        hex(part(&result)),
        hex(&update(vec![block(3, 0, vec![Body::Gc(2)])], &[]))
    );
    assert_eq!(result.deletes, set(&[(3, 0, 2)]));
    assert_eq!(result.pending.as_deref(), Some(late.as_slice()));
    assert_eq!(result.missing, clocks(&[(3, 5)]));
}

#[test]
fn origin_right_origin_and_parent_hold_a_struct_back() {
    let mut by_right = after((8, 0), text("x"));
    by_right.right = Some((9, 4));
    let mut by_parent = root_item(text("x"));
    by_parent.parent = Some(Parent::Item((9, 4)));
    for item in [after((9, 4), text("x")), by_right, by_parent] {
        let bytes = update(vec![block(3, 0, vec![Body::Item(item)])], &[]);
        let result = run(&bytes, &[(8, 1), (9, 4)]);
        assert_eq!(result.ready, Ready::Nothing);
        assert_eq!(result.pending.as_deref(), Some(bytes.as_slice()));
        assert_eq!(result.missing, clocks(&[(9, 5)]));
        assert_eq!(run(&bytes, &[(8, 1), (9, 5)]).ready, Ready::Whole);
    }
}

#[test]
fn clients_of_one_update_wait_for_each_other_in_any_direction() {
    // 2 and 5 take turns: each struct stands on the other one's last.
    let turns = |own: u64, other: u64, offset: u32| -> Vec<Body> {
        (0..200)
            .map(|n| match (own, n) {
                (2, 0) => Body::Item(root_item(text("a"))),
                _ => Body::Item(after((other, n - offset), text("a"))),
            })
            .collect()
    };
    let bytes = update(
        vec![block(5, 0, turns(5, 2, 0)), block(2, 0, turns(2, 5, 1))],
        &[],
    );
    assert_eq!(run(&bytes, &[]).ready, Ready::Whole);
    assert_eq!(run(&bytes, &[]).advanced, clocks(&[(2, 200), (5, 200)]));

    // Without the first struct of 2 nothing can start.
    let result = run(&bytes, &[(7, 1)]);
    assert_eq!(result.ready, Ready::Whole);
    let cut = epicenter_update::diff(&parse(&bytes), &clocks(&[(2, 1)]));
    let result = run(&cut, &[]);
    assert_eq!(result.ready, Ready::Nothing);
    assert_eq!(result.missing, clocks(&[(2, 1)]));
}

#[test]
fn a_circle_waits_for_ever_and_ends() {
    let bytes = update(
        vec![
            block(5, 0, vec![Body::Item(after((2, 0), text("a")))]),
            block(2, 0, vec![Body::Item(after((5, 0), text("a")))]),
        ],
        &[],
    );
    let result = run(&bytes, &[]);
    assert_eq!(result.ready, Ready::Nothing);
    assert_eq!(result.missing, clocks(&[(2, 1), (5, 1)]));
    assert_eq!(result.pending.as_deref(), Some(bytes.as_slice()));
}

#[test]
fn deletes_are_split_where_the_known_clocks_end() {
    let bytes = update(
        vec![block(3, 0, vec![Body::Item(root_item(text("ab")))])],
        &[(7, &[(0, 1), (2, 9)]), (4, &[(5, 6)]), (3, &[(1, 4)])],
    );
    let result = run(&bytes, &[(7, 4)]);
    let ready = update(
        vec![block(3, 0, vec![Body::Item(root_item(text("ab")))])],
        &[(7, &[(0, 1), (2, 4)]), (3, &[(1, 2)])],
    );
    assert_eq!(hex(part(&result)), hex(&ready));
    let pending = update(vec![], &[(7, &[(4, 9)]), (4, &[(5, 6)]), (3, &[(2, 4)])]);
    assert_eq!(result.pending.as_deref().map(hex), Some(hex(&pending)));
    assert_eq!(result.missing, clocks(&[(3, 4), (4, 6), (7, 9)]));
    assert_eq!(result.deletes, set(&[(7, 0, 1), (7, 2, 4), (3, 1, 2)]));
}

#[test]
fn deleted_content_counts_as_deleted_without_a_delete_set() {
    let bytes = update(
        vec![block(
            3,
            0,
            vec![
                Body::Item(root_item(Content::Deleted(2))),
                Body::Gc(1),
                Body::Item(after((3, 2), text("x"))),
                Body::Gc(3),
            ],
        )],
        &[],
    );
    assert_eq!(run(&bytes, &[]).deletes, set(&[(3, 0, 3), (3, 4, 7)]));
    assert_eq!(run(&bytes, &[(3, 1)]).deletes, set(&[(3, 1, 3), (3, 4, 7)]));
    assert_eq!(parse(&bytes).deletes(), set(&[(3, 0, 3), (3, 4, 7)]));
}

#[test]
fn halves_that_are_split_apart_keep_their_lengths() {
    // Each client's character is cut between two structs, and only the first of them is ready. The
    // ready halves follow each other in the string column.
    let halves = |client: u64| {
        let mut low = after((client, 0), Content::Text(vec![0xde00]));
        low.right = Some((9, 0));
        let high = after((8, 0), Content::Text(vec![0xd83d]));
        block(client, 0, vec![Body::Item(high), Body::Item(low)])
    };
    let bytes = update(vec![halves(5), halves(4)], &[]);
    let result = run(&bytes, &[(8, 1)]);
    let high = Body::Item(after((8, 0), text("\u{fffd}")));
    assert_eq!(
        decode(part(&result)).blocks,
        vec![block(5, 0, vec![high.clone()]), block(4, 0, vec![high])]
    );
    let pending = decode(result.pending.as_deref().unwrap());
    let mut low = after((5, 0), text("\u{fffd}"));
    low.right = Some((9, 0));
    assert_eq!(pending.blocks[0], block(5, 1, vec![Body::Item(low)]));
}

#[test]
fn two_pending_versions_come_out_the_same_in_either_order() {
    let content = update(
        vec![block(3, 1, vec![Body::Item(after((3, 0), text("x")))])],
        &[],
    );
    let collected = update(vec![block(3, 1, vec![Body::Gc(1)])], &[]);
    let first = update(
        vec![block(3, 0, vec![Body::Item(root_item(text("a")))])],
        &[],
    );
    let mut known_late = Vec::new();
    for order in [[&content, &collected], [&collected, &content]] {
        let mut room = Room::default();
        for bytes in order {
            room.receive(bytes);
        }
        known_late.push(decode(&room.everything()));
        let mut started = Room::default();
        started.receive(&first);
        started.receive(order[0]);
        started.receive(order[1]);
        assert!(started.pending.is_empty());
    }
    assert_eq!(known_late[0], known_late[1]);
}

#[test]
fn many_stuck_clients_do_not_take_quadratic_time() {
    // Each of 20,000 clients waits for the one above it, the worst order for a walk from either end.
    let chain = |first: u64, step: i64| -> Vec<u8> {
        let blocks = (0..20_000_u64)
            .rev()
            .map(|n| {
                let client = n + 1;
                let needs = client.wrapping_add_signed(step);
                let item = if client == first {
                    root_item(text("a"))
                } else {
                    after((needs, 0), text("a"))
                };
                block(client, 0, vec![Body::Item(item)])
            })
            .collect();
        update(blocks, &[])
    };
    for bytes in [chain(1, -1), chain(20_000, 1)] {
        assert_eq!(run(&bytes, &[]).advanced.len(), 20_000);
    }
}

#[test]
fn clients_that_take_turns_do_not_take_quadratic_time() {
    // Every single struct waits for the other client's last one. A walk from the start for each of
    // them would take minutes.
    let turns = |free: u32, other: u64, offset: u32, count: u32| -> Vec<Body> {
        let free = (0..free).map(|_| Body::Gc(1));
        let begin = free.len() as u32;
        let waiting = (0..count).map(|n| match n {
            0 if offset == 1 => Body::Gc(1),
            _ => Body::Item(after((other, begin + n - offset), Content::Deleted(1))),
        });
        free.chain(waiting).collect()
    };
    let two = |free: u32| {
        vec![
            block(5, 0, turns(free, 2, 0, 100_000)),
            block(2, 0, turns(free, 5, 1, 100_000)),
        ]
    };
    let pairs = (1..5_000_u64).rev().flat_map(|pair| {
        let (high, low) = (pair * 2 + 1, pair * 2);
        [
            block(high, 0, turns(0, low, 0, 16)),
            block(low, 0, turns(0, high, 1, 16)),
        ]
    });
    // Also where a client passes many structs before it waits for the first time.
    for blocks in [two(0), two(30), pairs.collect()] {
        assert_eq!(run(&update(blocks, &[]), &[]).ready, Ready::Whole);
    }
}
