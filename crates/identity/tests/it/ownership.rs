//! Who owns what, and who is admitted to a shared hub.

use epicenter_identity::{Admit, NotAdmitted, Person, UserId, personal, shared};

fn person(email: &str, email_verified: bool) -> Person {
    Person {
        id: UserId::parse("ada").unwrap(),
        email: email.to_owned(),
        email_verified,
    }
}

#[test]
fn on_a_personal_hub_everybody_owns_their_own() {
    let owner = personal()
        .resolve(&person("ada@example.com", false))
        .unwrap();
    assert_eq!(owner.as_str(), "ada");
    assert!(!personal().is_shared());
}

#[test]
fn a_shared_hub_admits_listed_addresses_and_whole_domains() {
    let rule = shared(Admit {
        emails: vec!["Ada@Example.com".to_owned(), " eve@mail.test ".to_owned()],
        domains: vec!["wiki.example".to_owned()],
    });
    assert!(rule.is_shared());
    for email in [
        "ada@example.COM",
        "eve@mail.test",
        "bob@WIKI.example",
        "\"a@b\"@wiki.example",
    ] {
        let owner = rule
            .resolve(&person(email, true))
            .unwrap_or_else(|_| panic!("{email}"));
        assert_eq!(owner.as_str(), "shared");
    }
    for email in [
        "bob@example.com",
        "bob@sub.wiki.example",
        "bob@notwiki.example",
        "bob@wiki.example@evil.test",
        "bob@wiki.example.evil.test",
        "wiki.example",
        "@wiki.example",
        "bob@",
        "",
        // Only ASCII letters are folded: the Kelvin sign is no 'k'.
        "bob@wi\u{212a}i.example",
    ] {
        assert_eq!(
            rule.resolve(&person(email, true)),
            Err(NotAdmitted),
            "{email}"
        );
    }
}

#[test]
fn an_address_that_is_not_verified_admits_nobody() {
    let rule = shared(Admit {
        emails: vec!["ada@example.com".to_owned()],
        domains: vec!["example.com".to_owned()],
    });
    assert_eq!(
        rule.resolve(&person("ada@example.com", false)),
        Err(NotAdmitted)
    );
}

#[test]
fn empty_entries_admit_nobody() {
    let rule = shared(Admit {
        emails: vec![String::new()],
        domains: vec![" ".to_owned()],
    });
    for email in ["", "@", "bob@", "bob"] {
        assert_eq!(
            rule.resolve(&person(email, true)),
            Err(NotAdmitted),
            "{email:?}"
        );
    }
    assert_eq!(
        shared(Admit::default()).resolve(&person("a@b.test", true)),
        Err(NotAdmitted)
    );
}

#[test]
fn a_person_is_debugged_without_the_address() {
    let shown = format!("{:?}", person("ada@example.com", true));
    assert!(!shown.contains("example"), "{shown}");
}
