//! The snapshot tag: equal for equal meaning, different for everything that a snapshot shows.

use epicenter_update::snapshot_tag;

use crate::model::{Body, after, block, text, update};
use crate::support::{clocks, parse, set};

#[test]
fn every_part_counts_and_the_form_does_not() {
    let known = clocks(&[(1, 5), (9, 2)]);
    let deletes = set(&[(1, 2, 3)]);
    let later = |first: u32| vec![Body::Item(after((4, first - 1), text("ab")))];
    let waiting = update(
        vec![block(4, 7, later(7)), block(3, 7, vec![Body::Gc(1)])],
        &[],
    );
    let turned = update(
        vec![block(3, 7, vec![Body::Gc(1)]), block(4, 7, later(7))],
        &[],
    );
    let moved = update(
        vec![block(4, 8, later(8)), block(3, 7, vec![Body::Gc(1)])],
        &[],
    );
    let marked = update(
        vec![block(4, 7, later(7)), block(3, 7, vec![Body::Gc(1)])],
        &[(1, &[(9, 10)])],
    );
    let tag = |bytes: &[u8]| snapshot_tag(&known, &deletes, Some(&parse(bytes)));
    assert_eq!(tag(&waiting), tag(&turned));

    let mut tags = vec![
        tag(&waiting),
        tag(&moved),
        tag(&marked),
        snapshot_tag(&known, &deletes, None),
        snapshot_tag(&clocks(&[(1, 5)]), &deletes, None),
        snapshot_tag(&known, &set(&[]), None),
        snapshot_tag(&known, &set(&[(1, 2, 4)]), None),
    ];
    tags.sort_unstable();
    let count = tags.len();
    tags.dedup();
    assert_eq!(tags.len(), count);
}

#[test]
fn the_tag_is_pinned() {
    let tag = snapshot_tag(&clocks(&[(1, 5), (9, 2)]), &set(&[(1, 2, 3)]), None);
    assert_eq!(
        crate::support::hex(&tag),
        "f64fe78bc9e294c74f849f1ab4d211c8"
    );
}
