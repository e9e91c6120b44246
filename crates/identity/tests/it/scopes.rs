//! The set of scopes and its wire form.

use epicenter_identity::{Scope, Scopes};

#[test]
fn scopes_are_written_in_one_order() {
    assert_eq!(
        Scopes::all().to_string(),
        "openid profile email offline_access rooms.read rooms.write keyring ai account"
    );
    let scopes = Scopes::NONE
        .with(Scope::Account)
        .with(Scope::OpenId)
        .with(Scope::Account);
    assert_eq!(scopes.to_string(), "openid account");
    assert_eq!(Scopes::NONE.to_string(), "");
    assert_eq!(format!("{scopes:?}"), "Scopes(openid account)");
}

#[test]
fn reading_leaves_unknown_names_out() {
    let check = |text: &str, expect: &str| {
        assert_eq!(Scopes::parse_lenient(text).to_string(), expect, "{text:?}");
    };
    check("rooms.write rooms.read", "rooms.read rooms.write");
    check("openid  bogus ROOMS.READ rooms", "openid");
    check("", "");
    check("ai\tkeyring", "");
    check(&Scopes::all().to_string(), &Scopes::all().to_string());
}

#[test]
fn a_scope_can_be_taken_away() {
    let scopes = Scopes::all().without(Scope::Keyring);
    assert!(!scopes.contains(Scope::Keyring));
    for scope in Scope::ALL
        .into_iter()
        .filter(|scope| *scope != Scope::Keyring)
    {
        assert!(scopes.contains(scope), "{scope}");
    }
    assert_eq!(scopes.with(Scope::Keyring), Scopes::all());
}
