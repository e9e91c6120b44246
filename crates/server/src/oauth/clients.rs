//! The apps that may ask for tokens. They come from configuration; none registers itself.

use std::fmt;
use std::sync::Arc;

use epicenter_identity::{ClientId, Scope, Scopes};
use subtle::ConstantTimeEq as _;

use super::scopes;
use crate::config::PublicOrigin;
use crate::secret::{Secret, SecretHash};

/// What kind of program a client is (OpenID Connect Dynamic Client Registration 2, OAuth 2.1 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// On a person's machine; public.
    Native,
    /// In a browser page or extension; public.
    UserAgentBased,
    /// On a server; confidential when it has a secret.
    Web,
}

/// An app.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// Its id.
    pub id: ClientId,
    /// What people read.
    pub name: String,
    /// What kind of program.
    pub kind: ClientKind,
    /// Where answers may go: matched exactly, but for the port of a loopback address (RFC 8252 section 7.3).
    pub redirect_uris: Vec<String>,
    /// The operator's own: not asked for consent, holds every API scope but `account`.
    pub trusted: bool,
    /// Scopes when a request names none.
    pub default_scopes: Scopes,
    /// SHA-256 of the secret of a confidential client; the secret must be random, at least 32 characters.
    pub secret: Option<SecretHash>,
}

impl fmt::Debug for OAuthClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OAuthClient")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

impl OAuthClient {
    /// Whether answers may go there.
    pub fn allows_redirect(&self, uri: &str) -> bool {
        self.redirect_uris
            .iter()
            .any(|registered| is_same_redirect(registered, uri))
    }

    /// Whether a person may be sent there after signing out: a redirect URI, or the start page beside one.
    pub fn allows_post_logout(&self, uri: &str) -> bool {
        let start = uri.strip_suffix('/').unwrap_or(uri);
        let is_origin =
            |registered: &String| web_origin(registered).is_some_and(|own| own == start);
        self.allows_redirect(uri) || self.redirect_uris.iter().any(is_origin)
    }

    /// Whether this is the client's secret; compared in constant time. A public client has none.
    pub fn is_secret(&self, presented: &Secret) -> bool {
        self.secret
            .is_some_and(|stored| stored.as_bytes().ct_eq(presented.hash().as_bytes()).into())
    }

    /// Everything the client will hold when it asks for these scopes.
    pub(super) fn held_scopes(&self, asked: Scopes) -> Scopes {
        if self.trusted {
            scopes::union(asked, scopes::unasked())
        } else {
            asked
        }
    }

    /// The part of what it will hold that a person is asked about.
    pub(super) fn scopes_to_ask(&self, held: Scopes) -> Scopes {
        if self.trusted {
            // The operator speaks for everything but a person's own account.
            held.iter()
                .filter(|scope| *scope == Scope::Account)
                .collect()
        } else {
            held
        }
    }
}

/// The client of this id.
pub(super) fn find(clients: &[OAuthClient], id: &str) -> Option<Arc<OAuthClient>> {
    let client = clients.iter().find(|client| client.id.as_str() == id)?;
    Some(Arc::new(client.clone()))
}

/// The clients that every hub has.
pub fn built_in(origin: &PublicOrigin) -> Vec<OAuthClient> {
    let redirect_uris = vec![
        cli_callback(origin),
        "http://127.0.0.1/callback".to_owned(),
        "http://[::1]/callback".to_owned(),
    ];
    vec![first_party(
        "epicenter-cli",
        "Epicenter CLI",
        ClientKind::Native,
        redirect_uris,
    )]
}

/// The page of the hub from which a person carries a code to a terminal.
pub(super) fn cli_callback(origin: &PublicOrigin) -> String {
    format!("{}/auth/cli-callback", origin.as_str())
}

/// Today's five apps, for `[oauth] first_party_apps`. Their addresses on localhost count only while the hub itself runs
/// there: elsewhere any program of the person's machine could listen on them.
pub fn first_party_apps(origin: &PublicOrigin) -> Vec<OAuthClient> {
    const APPS: [(&str, &str, &[&str]); 5] = [
        (
            "epicenter-fuji",
            "Fuji",
            &[
                "http://localhost:5174/auth/callback",
                "https://fuji.epicenter.so/auth/callback",
                "epicenter-fuji://auth/callback",
            ],
        ),
        (
            "epicenter-honeycrisp",
            "Honeycrisp",
            &[
                "http://localhost:5175/auth/callback",
                "https://honeycrisp.epicenter.so/auth/callback",
            ],
        ),
        (
            "epicenter-opensidian",
            "Opensidian",
            &[
                "http://localhost:5176/auth/callback",
                "https://opensidian.com/auth/callback",
                "https://opensidian.epicenter.so/auth/callback",
            ],
        ),
        (
            "epicenter-zhongwen",
            "Zhongwen",
            &[
                "http://localhost:8888/auth/callback",
                "https://zhongwen.epicenter.so/auth/callback",
            ],
        ),
        (
            "epicenter-tab-manager",
            "Tab Manager",
            &["chrome-extension://mkbnicfhpacdofmoocppnjjmdfmkkgda/"],
        ),
    ];
    let is_here = |uri: &&&str| origin.is_loopback() || !uri.starts_with("http://localhost");
    let app = |(id, name, uris): (&str, &str, &[&str])| {
        let uris = uris.iter().filter(is_here).map(|uri| (*uri).to_owned());
        first_party(id, name, ClientKind::UserAgentBased, uris.collect())
    };
    APPS.into_iter().map(app).collect()
}

fn first_party(id: &str, name: &str, kind: ClientKind, redirect_uris: Vec<String>) -> OAuthClient {
    OAuthClient {
        id: ClientId::parse(id).expect("the built-in ids follow the rule, a test builds them"),
        name: name.to_owned(),
        kind,
        redirect_uris,
        trusted: true,
        default_scopes: scopes::openid(),
        secret: None,
    }
}

/// Exact, but for the port of a loopback address: an app gets that from its system when it starts to listen.
fn is_same_redirect(registered: &str, presented: &str) -> bool {
    if registered == presented {
        return true;
    }
    match (loopback(registered), loopback(presented)) {
        (Some(registered), Some(presented)) => registered == presented,
        _ => false,
    }
}

/// Whether a public client's answers there may be picked up by another program of the machine: a loopback address, or a
/// scheme that any program can register (RFC 8252 section 8.6).
pub(super) fn can_be_imitated(redirect_uri: &str) -> bool {
    let is_web = redirect_uri.starts_with("https://") || redirect_uri.starts_with("http://");
    !is_web || loopback(redirect_uri).is_some() || is_https_loopback(redirect_uri)
}

fn is_https_loopback(uri: &str) -> bool {
    uri.strip_prefix("https://")
        .is_some_and(|rest| loopback(&format!("http://{rest}")).is_some())
}

/// Host and what follows the port of a plain URL of this machine; `None` for any other text.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]", "localhost"]
        .into_iter()
        .find(|host| rest.starts_with(host))?;
    let (_, rest) = rest.split_at(host.len());
    let path = match rest.strip_prefix(':') {
        None => rest,
        Some(port) => {
            let end = port
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(port.len());
            let (port, path) = port.split_at(end);
            port.parse::<u16>().ok().filter(|port| *port != 0)?;
            path
        }
    };
    (path.is_empty() || path.starts_with(['/', '?'])).then_some((host, path))
}

/// Scheme, host and port of an http or https URL.
fn web_origin(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    uri.get(..scheme.len() + "://".len() + end)
}

#[cfg(test)]
mod tests {
    use super::{OAuthClient, built_in, can_be_imitated, first_party_apps, is_same_redirect};
    use crate::config::PublicOrigin;

    fn origin(text: &str) -> PublicOrigin {
        PublicOrigin::parse(text).unwrap()
    }

    #[test]
    fn redirect_uris_match_exactly() {
        #[track_caller]
        fn check(registered: &str, presented: &str, expect: bool) {
            assert_eq!(is_same_redirect(registered, presented), expect);
        }
        check("https://app.example/cb", "https://app.example/cb", true);
        check("https://app.example/cb", "https://app.example/cb/", false);
        check(
            "https://app.example/cb",
            "https://app.example/cb?x=1",
            false,
        );
        check(
            "https://app.example/cb",
            "https://app.example:443/cb",
            false,
        );
        check("https://app.example/cb", "https://APP.example/cb", false);
        check("https://app.example/cb", "http://app.example/cb", false);
        check("app://cb", "app://cb2", false);
    }

    #[test]
    fn loopback_matches_at_any_port_and_nothing_else_differs() {
        #[track_caller]
        fn check(registered: &str, presented: &str, expect: bool) {
            assert_eq!(is_same_redirect(registered, presented), expect);
        }
        let registered = "http://127.0.0.1/callback";
        check(registered, "http://127.0.0.1:49152/callback", true);
        check(registered, "http://127.0.0.1:1/callback", true);
        check(registered, "http://127.0.0.1:0/callback", false);
        check(registered, "http://127.0.0.1:65536/callback", false);
        check(registered, "http://127.0.0.1:/callback", false);
        check(registered, "http://127.0.0.1:+1/callback", false);
        check(
            registered,
            "http://127.0.0.1:1@evil.example/callback",
            false,
        );
        check(registered, "http://127.0.0.1.evil.example/callback", false);
        check(registered, "http://127.0.0.1:1/callback/", false);
        check(registered, "http://127.0.0.1:1/callback?x", false);
        check(registered, "https://127.0.0.1:1/callback", false);
        check(registered, "http://localhost:1/callback", false);
        check(registered, "http://[::1]:1/callback", false);
        check("http://[::1]/callback", "http://[::1]:1/callback", true);
        check("http://localhost:5174/cb", "http://localhost:9/cb", true);
        check(
            "http://localhost:5174/cb",
            "http://localhost:9/other",
            false,
        );
        check(
            "http://localhost/cb",
            "http://localhost.evil.example/cb",
            false,
        );
    }

    #[test]
    fn loopback_and_custom_schemes_can_be_imitated() {
        assert!(can_be_imitated("http://127.0.0.1:9/cb"));
        assert!(can_be_imitated("http://localhost:5174/auth/callback"));
        assert!(can_be_imitated("https://localhost:5174/auth/callback"));
        assert!(can_be_imitated("epicenter-fuji://auth/callback"));
        assert!(!can_be_imitated("https://app.example/cb"));
        assert!(!can_be_imitated("https://localhost.example/cb"));
    }

    #[test]
    fn localhost_is_there_only_for_a_hub_on_loopback() {
        let uris = |text: &str| -> Vec<String> {
            let apps = first_party_apps(&origin(text));
            apps.into_iter().flat_map(|app| app.redirect_uris).collect()
        };
        let is_local = |uri: &String| uri.starts_with("http://");
        assert_eq!(uris("https://hub.example").len(), 7);
        assert!(!uris("https://hub.example").iter().any(is_local));
        assert_eq!(uris("http://localhost:8787").len(), 11);
    }

    #[test]
    fn a_person_is_sent_back_only_to_the_app() {
        let mut client: OAuthClient = built_in(&origin("https://hub.example")).remove(0);
        client.redirect_uris = vec!["https://app.example/cb".to_owned(), "app://cb".to_owned()];
        for uri in [
            "https://app.example",
            "https://app.example/",
            "https://app.example/cb",
            "app://cb",
        ] {
            assert!(client.allows_post_logout(uri), "{uri}");
        }
        for uri in [
            "https://app.example/other",
            "https://app.example//",
            "https://app.example.evil.example",
            "https://evil.example",
            "app:",
            "app://",
        ] {
            assert!(!client.allows_post_logout(uri), "{uri}");
        }
    }
}
