//! Entity tags.

use epicenter_api::{IfNoneMatch, format_etag};
use proptest::prelude::*;

const TAG: [u8; 16] = [0xab, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xef];
const HEX: &str = "ab000102030405060708090a0b0c0def";

#[test]
fn tags_are_weak_and_lower_case_hex() {
    assert_eq!(format_etag(&TAG), format!("W/\"{HEX}\""));
}

#[test]
fn if_none_match_is_a_list_compared_weakly() {
    let other = [0x11; 16];
    let check = |header: String, expect: &[[u8; 16]]| {
        assert_eq!(
            IfNoneMatch::parse(&header),
            IfNoneMatch::Tags(expect.to_vec()),
            "{header}"
        );
    };
    check(format_etag(&TAG), &[TAG]);
    check(format!("\"{HEX}\""), &[TAG]);
    check(
        format!(
            "W/\"v1,2\" ,, {},\t{}",
            format_etag(&TAG),
            format_etag(&other)
        ),
        &[TAG, other],
    );
    check(format!("W/\"{}\"", HEX.to_uppercase()), &[]);
    check(format!("W/\"{HEX}00\", W/\"{}\"", &HEX[..30]), &[]);
    check(format!("W/\"{}é\"", &HEX[..30]), &[]);
    check(format!("{HEX}, {}", format_etag(&TAG)), &[]);
    check(format!("{}, \"open", format_etag(&TAG)), &[TAG]);
    check(String::new(), &[]);
    check("\"*\"".to_owned(), &[]);
}

#[test]
fn a_star_matches_whatever_there_is() {
    assert_eq!(IfNoneMatch::parse(" * "), IfNoneMatch::Any);
    assert!(IfNoneMatch::Any.matches(&TAG));
    assert!(IfNoneMatch::Tags(vec![TAG]).matches(&TAG));
    assert!(!IfNoneMatch::Tags(vec![TAG]).matches(&[0; 16]));
}

proptest! {
    #[test]
    fn what_is_written_is_read(tags in prop::collection::vec(any::<[u8; 16]>(), 0..5)) {
        let header = tags.iter().map(format_etag).collect::<Vec<_>>().join(", ");
        prop_assert_eq!(IfNoneMatch::parse(&header), IfNoneMatch::Tags(tags));
    }

    #[test]
    fn no_header_breaks_the_parser(header in "[W/\", 0-9a-f*é]{0,80}") {
        let _ = IfNoneMatch::parse(&header);
    }
}
