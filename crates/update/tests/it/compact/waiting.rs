//! What waits for something, and rooms with gaps.

use epicenter_update::content_digest;

use super::{check, compacted, item, next};
use crate::model::{Body, Content, Struct, block, text, update};
use crate::support::{Room, merged, parse};

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
