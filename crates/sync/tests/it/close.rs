//! Close codes and reasons.

use epicenter_sync::{CloseCode, MAX_CLOSE_REASON_BYTES, truncate_close_reason};
use proptest::prelude::*;

#[test]
fn codes_are_the_numbers_of_the_protocol() {
    let numbers = [
        1001, 1007, 1008, 1009, 1013, 4400, 4401, 4403, 4408, 4410, 4503,
    ];
    for number in numbers {
        assert_eq!(
            CloseCode::from_u16(number).map(CloseCode::as_u16),
            Some(number)
        );
    }
    let known = (0..=u16::MAX)
        .filter(|number| CloseCode::from_u16(*number).is_some())
        .count();
    assert_eq!(known, numbers.len());
}

#[test]
fn reasons_are_cut_between_characters() {
    let check = |reason: String, expect: usize| {
        assert_eq!(truncate_close_reason(&reason).len(), expect);
    };
    check("protocol-error".to_owned(), 14);
    check("x".repeat(123), 123);
    check("x".repeat(124), 123);
    check("é".repeat(62), 122);
    check("🚀".repeat(31), 120);
}

proptest! {
    #[test]
    fn a_cut_reason_begins_as_the_whole(reason in ".{0,200}") {
        let cut = truncate_close_reason(&reason);
        prop_assert!(cut.len() <= MAX_CLOSE_REASON_BYTES && reason.starts_with(cut));
        prop_assert!(cut.len() == reason.len() || cut.len() > MAX_CLOSE_REASON_BYTES - 4);
    }
}
