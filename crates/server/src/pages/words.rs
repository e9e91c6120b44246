//! What scopes and redirect URIs mean to a person.

use epicenter_identity::Scope;

/// What an app will be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScopeWords {
    pub(super) text: &'static str,
    pub(super) detail: Option<&'static str>,
    /// Worth a second look.
    pub(super) is_heavy: bool,
}

/// A scope in plain words.
pub(super) fn scope(scope: Scope) -> ScopeWords {
    let plain = |text| ScopeWords {
        text,
        detail: None,
        is_heavy: false,
    };
    let heavy = |text, detail| ScopeWords {
        text,
        detail: Some(detail),
        is_heavy: true,
    };
    match scope {
        Scope::OpenId => plain("Know that you have an account here"),
        Scope::Profile => plain("See your name"),
        Scope::Email => plain("See your email address"),
        Scope::OfflineAccess => ScopeWords {
            detail: Some("It stays connected until you remove it."),
            ..plain("Keep this access while you are away")
        },
        Scope::RoomsRead => plain("Read your documents"),
        Scope::RoomsWrite => plain("Change, create and delete your documents"),
        Scope::Keyring => heavy(
            "Read your encrypted data",
            "It receives the keys to everything you encrypt on this hub.",
        ),
        Scope::Ai => plain("Use the AI services of this hub in your name"),
        Scope::Account => heavy(
            "See and change your account",
            "Give this only to an app that you trust like this page.",
        ),
    }
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnswerGoesTo {
    /// A site.
    Site { host: String },
    /// A program that listens on the person's own machine.
    ThisDevice,
    /// Whatever program the person's machine opens for this scheme.
    App { scheme: String },
}

/// Reads a redirect URI that was found to be the client's.
pub(super) fn answer_goes_to(redirect_uri: &str) -> AnswerGoesTo {
    let (scheme, rest) = redirect_uri.split_once(':').unwrap_or((redirect_uri, ""));
    if !matches!(scheme, "http" | "https") {
        return AnswerGoesTo::App {
            scheme: scheme.to_owned(),
        };
    }
    let authority = authority(rest);
    if is_loopback(authority) {
        return AnswerGoesTo::ThisDevice;
    }
    AnswerGoesTo::Site {
        host: authority.to_owned(),
    }
}

/// A redirect URI as a source of `form-action`: its origin, or its scheme where there is none.
pub(super) fn form_target(redirect_uri: &str) -> String {
    let (scheme, rest) = redirect_uri.split_once(':').unwrap_or((redirect_uri, ""));
    let authority = authority(rest);
    // The grammar of sources knows no brackets; browsers drop such a source and would stop the form.
    let has_origin = matches!(scheme, "http" | "https") && !authority.contains('[');
    if has_origin {
        format!("{scheme}://{authority}")
    } else {
        format!("{scheme}:")
    }
}

fn authority(rest: &str) -> &str {
    let rest = rest.trim_start_matches('/');
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    };
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::{AnswerGoesTo, answer_goes_to, form_target};

    #[track_caller]
    fn check(uri: &str, goes_to: AnswerGoesTo, target: &str) {
        assert_eq!(answer_goes_to(uri), goes_to);
        assert_eq!(form_target(uri), target);
    }

    #[test]
    fn redirect_uris_have_an_origin_or_a_scheme() {
        let site = |host: &str| AnswerGoesTo::Site {
            host: host.to_owned(),
        };
        let app = |scheme: &str| AnswerGoesTo::App {
            scheme: scheme.to_owned(),
        };
        check(
            "https://fuji.example/auth/callback?x=1",
            site("fuji.example"),
            "https://fuji.example",
        );
        check(
            "https://fuji.example:8443",
            site("fuji.example:8443"),
            "https://fuji.example:8443",
        );
        check(
            "http://127.0.0.1:49152/callback",
            AnswerGoesTo::ThisDevice,
            "http://127.0.0.1:49152",
        );
        check(
            "http://localhost/callback",
            AnswerGoesTo::ThisDevice,
            "http://localhost",
        );
        check(
            "http://[::1]:8080/callback",
            AnswerGoesTo::ThisDevice,
            "http:",
        );
        check(
            "epicenter-fuji://auth/callback",
            app("epicenter-fuji"),
            "epicenter-fuji:",
        );
        check(
            "com.example.app:/callback",
            app("com.example.app"),
            "com.example.app:",
        );
        check(
            "chrome-extension://abc/",
            app("chrome-extension"),
            "chrome-extension:",
        );
        check(
            "https://127.0.0.1.evil.example/",
            site("127.0.0.1.evil.example"),
            "https://127.0.0.1.evil.example",
        );
    }
}
