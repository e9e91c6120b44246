//! Delete sets: sorted, coalesced, never empty ranges.

use epicenter_update::DeleteSet;

use crate::support::set;

fn check_inserted(ranges: &[(u32, u32)], expect: &[(u32, u32)]) {
    let mut set = DeleteSet::default();
    for (start, end) in ranges {
        set.insert(7, *start..*end);
    }
    let found: Vec<(u64, u32, u32)> = set
        .iter()
        .flat_map(|(client, ranges)| {
            ranges
                .iter()
                .map(move |range| (client, range.start, range.end))
        })
        .collect();
    let expect: Vec<_> = expect
        .iter()
        .map(|(start, end)| (7, *start, *end))
        .collect();
    assert_eq!(found, expect);
    assert_eq!(set.is_empty(), expect.is_empty());
}

#[test]
fn ranges_that_touch_are_joined() {
    check_inserted(&[(1, 3), (3, 5)], &[(1, 5)]);
    check_inserted(&[(3, 5), (1, 3)], &[(1, 5)]);
    check_inserted(&[(1, 3), (4, 5)], &[(1, 3), (4, 5)]);
    check_inserted(&[(1, 2), (8, 9), (4, 5), (2, 8)], &[(1, 9)]);
    check_inserted(&[(1, 9), (3, 4)], &[(1, 9)]);
    check_inserted(&[(3, 4), (1, 9)], &[(1, 9)]);
    check_inserted(&[(5, 5), (6, 2)], &[]);
}

#[test]
fn extending_unites() {
    let mut all = set(&[(1, 0, 2), (1, 6, 8), (2, 0, 1)]);
    all.extend(&set(&[(1, 2, 3), (1, 7, 9), (3, 4, 5)]));
    assert_eq!(all, set(&[(1, 0, 3), (1, 6, 9), (2, 0, 1), (3, 4, 5)]));
}

#[test]
fn a_set_contains_another_when_it_has_every_clock() {
    let all = set(&[(1, 0, 3), (1, 6, 9)]);
    for contained in [
        set(&[]),
        set(&[(1, 0, 3)]),
        set(&[(1, 0, 1), (1, 2, 3), (1, 7, 9)]),
    ] {
        assert!(all.contains_all(&contained), "{contained:?}");
    }
    for other in [
        set(&[(2, 0, 1)]),
        set(&[(1, 2, 4)]),
        set(&[(1, 2, 7)]),
        set(&[(1, 9, 10)]),
    ] {
        assert!(!all.contains_all(&other), "{other:?}");
    }
}
