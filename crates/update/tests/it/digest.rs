//! The content digest: the same for the same document in other forms, another one for another document.

use std::collections::HashSet;

use epicenter_update::{EMPTY_UPDATE, content_digest, diff};

use crate::model::{Body, Content, Item, Parent, after, block, root_item, text, update};
use crate::support::{clocks, hex, merged, parse};

fn digest(bytes: &[u8]) -> String {
    hex(&content_digest(&parse(bytes)))
}

fn item(content: Content) -> Body {
    Body::Item(root_item(content))
}

fn next(origin: (u64, u32), content: Content) -> Body {
    Body::Item(after(origin, content))
}

fn one(bodies: Vec<Body>) -> Vec<u8> {
    update(vec![block(7, 0, bodies)], &[])
}

/// The hashed form is part of what is stored: a change of it needs another name in its first bytes.
#[test]
fn the_form_does_not_change() {
    assert_eq!(
        digest(&EMPTY_UPDATE),
        "15b02b374f846db176c936bada479ab77ed0dba300723a606624fc99fc46f9e7"
    );
    assert_eq!(
        digest(&one(vec![item(text("a😀"))])),
        "c6ce099c964b9c451bff9b40c1b21793b523f8714065573ad6ab513a0efe2411"
    );
}

#[test]
fn how_elements_are_cut_makes_no_difference() {
    let smile: Vec<u16> = "😀".encode_utf16().collect();
    let whole = one(vec![item(text("a😀b"))]);
    let cut = one(vec![
        item(Content::Text(vec![97, smile[0]])),
        next((7, 1), Content::Text(vec![smile[1]])),
        next((7, 2), text("b")),
    ]);
    assert_eq!(digest(&whole), digest(&cut));
    let values = |list: &[u8]| Content::Any(list.iter().map(|n| vec![125, *n]).collect());
    assert_eq!(
        digest(&one(vec![item(values(&[1, 2, 3]))])),
        digest(&one(vec![
            item(values(&[1])),
            next((7, 0), values(&[2, 3]))
        ]))
    );
    let json = |list: &[&str]| Content::Json(list.iter().map(|text| (*text).into()).collect());
    assert_eq!(
        digest(&one(vec![item(json(&["1", "2"]))])),
        digest(&one(vec![item(json(&["1"])), next((7, 0), json(&["2"]))]))
    );
    // Collected clocks that wait.
    let waits = |bodies: Vec<Body>| update(vec![block(7, 3, bodies)], &[]);
    assert_eq!(
        digest(&waits(vec![Body::Gc(3)])),
        digest(&waits(vec![Body::Gc(1), Body::Gc(2)]))
    );
    // A text longer than a chunk, in one piece and in many.
    let long = "0123456789".repeat(50);
    let pieces: Vec<Body> = (0..500_u32)
        .map(|clock| {
            let letter = text(&long[clock as usize..=clock as usize]);
            match clock.checked_sub(1) {
                None => item(letter),
                Some(before) => next((7, before), letter),
            }
        })
        .collect();
    assert_eq!(digest(&one(vec![item(text(&long))])), digest(&one(pieces)));
}

#[test]
fn deleted_content_makes_no_difference_and_its_clocks_do() {
    let with = |word: &str| update(vec![block(7, 0, vec![item(text(word))])], &[(7, &[(0, 2)])]);
    assert_eq!(digest(&with("ab")), digest(&with("xy")));
    assert_eq!(
        digest(&with("ab")),
        digest(&one(vec![item(Content::Deleted(2))]))
    );
    assert_eq!(digest(&with("ab")), digest(&one(vec![Body::Gc(2)])));
    assert_ne!(digest(&with("ab")), digest(&with("abc")));
    assert_ne!(digest(&with("ab")), digest(&EMPTY_UPDATE));
}

#[test]
fn everything_that_shows_or_waits_makes_a_difference() {
    let sub = |key: &str| {
        Body::Item(Item {
            sub: Some(key.to_owned()),
            ..root_item(text("v"))
        })
    };
    let root = |name: &str| {
        Body::Item(Item {
            parent: Some(Parent::Root(name.to_owned())),
            ..root_item(text("v"))
        })
    };
    let many = [
        EMPTY_UPDATE.to_vec(),
        one(vec![item(text("ab"))]),
        one(vec![item(text("ba"))]),
        one(vec![item(text("a")), item(text("b"))]),
        one(vec![sub("k")]),
        one(vec![sub("l")]),
        one(vec![sub("")]),
        one(vec![root("v")]),
        one(vec![root("")]),
        one(vec![item(Content::Binary(vec![1, 2]))]),
        one(vec![item(Content::Embed(vec![119, 1, b'a']))]),
        one(vec![item(Content::Any(vec![vec![119, 1, b'a']]))]),
        one(vec![item(Content::Json(vec!["\"a\"".into()]))]),
        one(vec![item(Content::Format("a".into(), vec![120]))]),
        one(vec![item(Content::Format("a".into(), vec![121]))]),
        one(vec![item(Content::Type(3, Some("p".into())))]),
        one(vec![item(Content::Type(3, Some("q".into())))]),
        one(vec![item(Content::Type(1, None))]),
        one(vec![item(Content::Document("a".into(), vec![118, 0]))]),
        one(vec![item(Content::Document("b".into(), vec![118, 0]))]),
        update(vec![block(8, 0, vec![item(text("ab"))])], &[]),
        update(vec![block(7, 1, vec![item(text("ab"))])], &[]),
        update(vec![], &[(7, &[(0, 2)])]),
        one(vec![item(text("ab")), next((7, 0), text("c"))]),
        one(vec![item(text("ab")), next((7, 1), text("c"))]),
        one(vec![
            item(text("ab")),
            Body::Item(Item {
                right: Some((7, 0)),
                ..after((7, 1), text("c"))
            }),
        ]),
    ];
    let digests: HashSet<String> = many.iter().map(|bytes| digest(bytes)).collect();
    assert_eq!(digests.len(), many.len());
}

/// Text is the writer's to choose: it must not look like the end of a struct and another one.
#[test]
fn text_cannot_imitate_structure() {
    let marks = "\u{0}\u{1}\u{100}\u{0}\u{0}\u{0}\u{0}\u{2}";
    let mut digests = HashSet::new();
    for split in 0..=marks.len() {
        let (left, right) = marks.split_at_checked(split).unwrap_or((marks, ""));
        for bodies in [
            vec![item(text(left)), item(text(right))],
            vec![item(text(right)), item(text(left))],
        ] {
            let bodies = bodies.into_iter().filter(|body| !matches!(body, Body::Item(Item { content: Content::Text(units), .. }) if units.is_empty()));
            digests.insert(digest(&one(bodies.collect())));
        }
    }
    digests.insert(digest(&one(vec![item(text(marks))])));
    // Nine places to cut, the ends are the whole: eight cuts in two orders, less those that are the same.
    assert!(digests.len() > 8, "{}", digests.len());
}

#[test]
fn a_diff_and_what_was_there_have_the_digest_of_the_whole() {
    let whole = update(
        vec![
            block(9, 0, vec![item(text("nine")), next((7, 2), text("x"))]),
            block(7, 0, vec![item(text("seven"))]),
        ],
        &[(7, &[(1, 2)])],
    );
    let lacks = diff(&parse(&whole), &clocks(&[(7, 3)]));
    let had = update(vec![block(7, 0, vec![item(text("sev"))])], &[]);
    assert_eq!(digest(&merged(&[&had, &lacks])), digest(&whole));
    assert_ne!(digest(&lacks), digest(&whole));
}
