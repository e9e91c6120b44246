//! Subprotocols: the `ws-protocol` cases of `oauth.json`.

use epicenter_sync::{BearerOffer, Offer};
use proptest::prelude::*;
use serde_json::json;

use crate::vectors::{cases, load};

#[test]
fn every_ws_protocol_case_passes() {
    let file = load("oauth.json");
    let cases = cases(&file, &["ws-protocol"]);
    assert_eq!(cases.len(), 24);
    for case in cases {
        let offer = Offer::parse(case["header"].as_str());
        let bearer = match offer.bearer {
            BearerOffer::One(token) => Some(token),
            BearerOffer::None | BearerOffer::Several => None,
        };
        let found = json!({
            "main": offer.main,
            "bearer": bearer,
            "others": offer.others,
            "answer": offer.answer(),
        });
        assert_eq!(found, case["expect"], "{case}");
    }
}

#[test]
fn no_bearer_and_several_are_told_apart() {
    let check = |header: &str, expect| assert_eq!(Offer::parse(Some(header)).bearer, expect);
    check("epicenter", BearerOffer::None);
    check("epicenter, bearer.", BearerOffer::None);
    check("bearer.ONE, bearer.ONE", BearerOffer::Several);
    check("bearer., bearer.", BearerOffer::Several);
    check("bearer., bearer.ONE", BearerOffer::Several);
    check("bearer.ONE, bearer.TWO, bearer.THREE", BearerOffer::Several);
}

#[test]
fn an_offer_is_debugged_without_the_token() {
    let shown = format!("{:?}", Offer::parse(Some("epicenter, bearer.HIDDEN, chat")));
    assert!(
        !shown.contains("HIDDEN") && shown.contains("chat"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn a_bearer_is_never_among_the_rest(header in "(epicenter|bearer\\.|[a-zA-Z.]{0,4}|[, \t]|é){0,12}") {
        let offer = Offer::parse(Some(&header));
        prop_assert!(offer.others.iter().all(|entry| !entry.starts_with("bearer.")));
        prop_assert_eq!(offer.main, offer.others.contains(&"epicenter"));
        prop_assert!(offer.bearer != BearerOffer::One(""));
    }
}
