//! The rules of scopes (`identity.md` 2).

use epicenter_identity::{Scope, Scopes};

/// What a request for scopes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedScopes {
    pub(super) scopes: Scopes,
    /// The client's own words, each once.
    pub(super) words: String,
}

/// Reads a `scope` parameter; `None` when it names one that this hub does not have.
pub(super) fn parse(text: &str) -> Option<AskedScopes> {
    let mut scopes = Scopes::NONE;
    let mut words = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let scope = Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == word)?;
        if !scopes.contains(scope) {
            scopes = scopes.with(scope);
            words.push(word);
        }
    }
    Some(AskedScopes {
        scopes,
        words: words.join(" "),
    })
}

/// What a grant holds after a refresh that names these scopes; `None` when they are wider than it.
///
/// Who names scopes of OpenID only keeps the API: trusted apps never name those and may repeat their words at a refresh.
/// The refresh token itself says that `offline_access` goes on.
pub(super) fn narrow(held: Scopes, asked: Scopes) -> Option<Scopes> {
    if !is_subset(asked, held) {
        return None;
    }
    let mut left = asked;
    if !asked.iter().any(is_of_api) {
        left = union(
            left,
            held.iter().filter(|scope| is_of_api(*scope)).collect(),
        );
    }
    if held.contains(Scope::OfflineAccess) {
        left = left.with(Scope::OfflineAccess);
    }
    Some(left)
}

/// The four that apps of today ask for.
pub(super) fn openid() -> Scopes {
    Scopes::all()
        .iter()
        .filter(|scope| !is_of_api(*scope))
        .collect()
}

/// What trusted clients hold without asking.
pub(super) fn unasked() -> Scopes {
    let all = Scopes::all().iter().filter(|scope| is_of_api(*scope));
    all.collect::<Scopes>().without(Scope::Account)
}

pub(super) fn union(left: Scopes, right: Scopes) -> Scopes {
    left.iter().chain(right.iter()).collect()
}

pub(super) fn is_subset(inner: Scopes, outer: Scopes) -> bool {
    inner.iter().all(|scope| outer.contains(scope))
}

fn is_of_api(scope: Scope) -> bool {
    !matches!(
        scope,
        Scope::OpenId | Scope::Profile | Scope::Email | Scope::OfflineAccess
    )
}

#[cfg(test)]
mod tests {
    use epicenter_identity::Scopes;

    use super::{narrow, parse};

    fn scopes(text: &str) -> Scopes {
        Scopes::parse_lenient(text)
    }

    #[test]
    fn words_are_kept_in_the_order_asked_and_once() {
        let asked = parse("email  openid email").unwrap();
        assert_eq!(asked.words, "email openid");
        assert_eq!(asked.scopes, scopes("openid email"));
        assert_eq!(parse("openid bogus"), None);
        assert_eq!(parse("OpenID"), None);
    }

    #[test]
    fn a_refresh_may_narrow_and_never_widen() {
        #[track_caller]
        fn check(held: &str, asked: &str, expect: Option<&str>) {
            assert_eq!(narrow(scopes(held), scopes(asked)), expect.map(scopes));
        }
        let held = "openid email offline_access rooms.read keyring";
        check(
            held,
            "openid",
            Some("openid offline_access rooms.read keyring"),
        );
        check(held, "rooms.read", Some("offline_access rooms.read"));
        check(held, "rooms.write", None);
        check(held, "openid profile", None);
        check("openid", "offline_access", None);
        check("openid rooms.read", "openid", Some("openid rooms.read"));
    }
}
