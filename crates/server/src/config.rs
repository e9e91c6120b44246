//! What a deployment tells the router; hosts fill it in, nothing here reads an environment.
//!
//! The public origin is configuration and nothing else: issuer, audience and the accepted `Host` hang on it, so that no
//! request can talk the hub into another identity.

use std::net::Ipv6Addr;

use epicenter_encryption::{AuthSecret, RootKeyring};
use epicenter_identity::OwnershipRule;
use epicenter_update::Limits;

use crate::ai::settings::AiConfig;
use crate::oauth::clients::OAuthClient;

/// The canonical public origin: scheme, host and optional port, as RFC 6454 section 6.2 writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicOrigin {
    text: String,
    scheme: Scheme,
    authority: Authority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Why a text is not a public origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// Neither `http://` nor `https://`.
    #[error("`{0}` does not begin with http:// or https://; write it like https://hub.example")]
    Scheme(String),
    /// A path, query, fragment or credentials.
    #[error("`{0}` holds more than scheme, host and port; write it like https://hub.example")]
    Excess(String),
    /// The host or port is missing or malformed.
    #[error("`{0}` has no valid host or port; write it like https://hub.example:8443")]
    Authority(String),
}

impl PublicOrigin {
    /// Parses `https://hub.example` or `http://127.0.0.1:8787`; one trailing slash is forgiven, the host becomes lower
    /// case and the scheme's own port is dropped.
    ///
    /// # Errors
    /// What is wrong with the text, with an example.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let lower = text.trim().to_ascii_lowercase();
        let (scheme, name, rest) = if let Some(rest) = lower.strip_prefix("https://") {
            (Scheme::Https, "https", rest)
        } else if let Some(rest) = lower.strip_prefix("http://") {
            (Scheme::Http, "http", rest)
        } else {
            return Err(OriginError::Scheme(text.to_owned()));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(OriginError::Excess(text.to_owned()));
        }
        let mut authority =
            Authority::parse(rest).ok_or_else(|| OriginError::Authority(text.to_owned()))?;
        if authority.port == Some(scheme.default_port()) {
            authority.port = None;
        }
        let text = match authority.port {
            Some(port) => format!("{name}://{}:{port}", authority.host),
            None => format!("{name}://{}", authority.host),
        };
        Ok(Self {
            text,
            scheme,
            authority,
        })
    }

    /// Whether browsers reach it by https: cookies are `Secure` then.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether it names this machine itself: a hub for development.
    pub fn is_loopback(&self) -> bool {
        self.authority.is_loopback()
    }

    /// The origin as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a request's authority (`Host`) names this origin; the scheme's own port may be written or left out.
    pub fn is_named_by(&self, authority: &Authority) -> bool {
        let default = self.scheme.default_port();
        authority.host == self.authority.host
            && authority.port.unwrap_or(default) == self.authority.port.unwrap_or(default)
    }
}

/// Host and optional port, the host in lower case (an IPv6 address keeps its brackets).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// Parses `hub.example`, `127.0.0.1:8787` or `[::1]:8787`; `None` when it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let end_of_host = match text.find(']') {
            Some(end_of_address) => end_of_address + 1,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at_checked(end_of_host)?;
        let port = match port.strip_prefix(':') {
            // The parser of numbers would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0)?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self {
            host: parse_host(host)?,
            port,
        })
    }

    /// The name or address, without a port; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "127.0.0.1" | "localhost" | "[::1]")
    }

    /// Whether it names this machine itself at the given port (plain HTTP: without a port it is 80).
    pub fn is_loopback_at(&self, port: u16) -> bool {
        self.is_loopback() && self.port.unwrap_or(Scheme::Http.default_port()) == port
    }
}

/// An IPv6 address in brackets and in its shortest form, or a name in lower case.
fn parse_host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_valid = !text.is_empty() && text.bytes().all(is_name);
    is_valid.then(|| text.to_ascii_lowercase())
}

/// What the router needs to know about this deployment.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Issuer is this plus `/auth`; audience is this.
    pub origin: PublicOrigin,
    /// Who owns what.
    pub ownership: OwnershipRule,
    /// The root of every owner's keyring.
    pub root_keyring: RootKeyring,
    /// Signs what travels through browsers: pending requests, form state.
    pub auth_secret: AuthSecret,
    /// Who may make an account, and how long sessions last.
    pub accounts: AccountsConfig,
    /// Clients and lifetimes of the authorization server.
    pub oauth: OAuthConfig,
    /// Providers, models and limits of AI chat.
    pub ai: AiConfig,
    /// Origins of pages that may call this hub with credentials, besides its own. Texts as browsers send them; an
    /// extension's `chrome-extension://…` is one too.
    pub trusted_origins: Vec<String>,
    /// How much anybody may ask for.
    pub rate_limits: RateLimitsConfig,
    /// The port the hub listens on when that is on a loopback address: loopback names at it are then accepted as `Host` too.
    pub loopback_port: Option<u16>,
    /// Largest HTTP body in bytes; the frame limit too. 5 MiB is what today's clients meet.
    pub max_body_bytes: usize,
    /// Limits on state vectors that callers send; the rooms' own.
    pub update_limits: Limits,
    /// `native` or `cloudflare`.
    pub runtime: &'static str,
    /// Program version.
    pub version: &'static str,
    /// Where the exact source is (AGPL section 13).
    pub source_url: String,
}

impl HubConfig {
    /// `iss` of everything this hub signs.
    pub fn issuer(&self) -> String {
        format!("{}/auth", self.origin.as_str())
    }
}

/// Who may make an account after the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignUpPolicy {
    /// Anybody.
    Open,
    /// Who was invited.
    Invite,
    /// Nobody; operators add accounts.
    #[default]
    Closed,
}

/// Accounts and browser sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountsConfig {
    /// Who may make an account.
    pub sign_up: SignUpPolicy,
    /// Whether people sign in with passwords.
    pub password: bool,
    /// Life of a browser session without use, in milliseconds.
    pub session_ms: u64,
    /// A session is extended at most this often, in milliseconds.
    pub session_extend_ms: u64,
    /// How recent a sign-in must be for what cannot be undone, in milliseconds.
    pub recent_sign_in_ms: u64,
}

impl Default for AccountsConfig {
    /// The figures of `identity.md` 1.
    fn default() -> Self {
        const DAY_MS: u64 = 86_400_000;
        Self {
            sign_up: SignUpPolicy::default(),
            password: true,
            session_ms: 7 * DAY_MS,
            session_extend_ms: DAY_MS,
            recent_sign_in_ms: 600_000,
        }
    }
}

/// The authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthConfig {
    /// Every client, the built-in ones included.
    pub clients: Vec<OAuthClient>,
    /// Life of an access token, in milliseconds.
    pub access_token_ms: u64,
    /// Life of an id_token, in milliseconds.
    pub id_token_ms: u64,
    /// Life of a code, in milliseconds.
    pub code_ms: u64,
    /// Life of a code that a person carries over by hand, in milliseconds.
    pub pasted_code_ms: u64,
    /// Life of a refresh token that is not used, in milliseconds.
    pub refresh_idle_ms: u64,
    /// Life of a grant whatever is done with it, in milliseconds.
    pub grant_ms: u64,
    /// Life of a request that waits for a person to sign in or consent, in milliseconds.
    pub pending_request_ms: u64,
}

impl Default for OAuthConfig {
    /// The figures of `identity.md` 2; the idle life of a refresh token is what clients meet today.
    fn default() -> Self {
        const DAY_MS: u64 = 86_400_000;
        Self {
            clients: Vec::new(),
            access_token_ms: 600_000,
            id_token_ms: 600_000,
            code_ms: 60_000,
            pasted_code_ms: 600_000,
            refresh_idle_ms: 30 * DAY_MS,
            grant_ms: 365 * DAY_MS,
            pending_request_ms: 600_000,
        }
    }
}

/// A number of acts in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once, and in `per_ms`.
    pub count: u32,
    /// Milliseconds in which they come back.
    pub per_ms: u64,
}

/// How much anybody may ask for, by IP address unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitsConfig {
    /// False switches all of them off.
    pub enabled: bool,
    /// Attempts to sign in or up, by address.
    pub sign_in: Rate,
    /// Wrong passwords for one account from one address; then it doubles its pause.
    pub sign_in_account: Rate,
    /// Calls of the token endpoint, by address.
    pub token: Rate,
    /// Calls of any other endpoint below `/auth`, by address.
    pub auth: Rate,
    /// Tokens that the API refuses, by address.
    pub refused: Rate,
    /// Calls of the API, by account.
    pub api: Rate,
    /// Calls of AI models, by account.
    pub ai: Rate,
}

impl Default for RateLimitsConfig {
    fn default() -> Self {
        let per_minute = |count| Rate {
            count,
            per_ms: 60_000,
        };
        Self {
            enabled: true,
            sign_in: per_minute(20),
            sign_in_account: per_minute(5),
            token: per_minute(120),
            auth: per_minute(300),
            refused: per_minute(300),
            api: per_minute(6_000),
            ai: per_minute(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Authority, OriginError, PublicOrigin};

    #[test]
    fn origins_are_written_one_way() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(PublicOrigin::parse(text).unwrap().as_str(), expect);
        }
        check("https://hub.example", "https://hub.example");
        check("https://hub.example/", "https://hub.example");
        check(" HTTPS://Hub.Example:443 ", "https://hub.example");
        check("http://hub.example:443", "http://hub.example:443");
        check("http://127.0.0.1:8787", "http://127.0.0.1:8787");
        check("http://[0:0::1]:8787", "http://[::1]:8787");
    }

    #[test]
    fn what_is_no_origin_is_named() {
        let scheme = |text: &str| OriginError::Scheme(text.to_owned());
        let excess = |text: &str| OriginError::Excess(text.to_owned());
        let authority = |text: &str| OriginError::Authority(text.to_owned());
        #[track_caller]
        fn check(text: &str, expect: impl FnOnce(&str) -> OriginError) {
            assert_eq!(PublicOrigin::parse(text), Err(expect(text)));
        }
        check("hub.example", scheme);
        check("ftp://hub.example", scheme);
        check("https://hub.example/path", excess);
        check("https://hub.example//", excess);
        check("https://hub.example?x", excess);
        check("https://hub.example#x", excess);
        check("https://ada@hub.example", excess);
        check("https://", authority);
        check("https://hub example", authority);
        check("https://hub.example:", authority);
        check("https://hub.example:0", authority);
        check("https://hub.example:+1", authority);
        check("https://hub.example:65536", authority);
        check("https://[::1", authority);
        check("https://::1", authority);
        check("https://[hub]", authority);
    }

    #[test]
    fn an_origin_is_named_with_or_without_its_own_port() {
        let is_named = |origin: &str, host: &str| {
            let origin = PublicOrigin::parse(origin).unwrap();
            Authority::parse(host).is_some_and(|host| origin.is_named_by(&host))
        };
        assert!(is_named("https://hub.example", "hub.example"));
        assert!(is_named("https://hub.example", "HUB.example:443"));
        assert!(is_named("http://hub.example", "hub.example:80"));
        assert!(is_named("http://[::1]:8787", "[0:0:0:0:0:0:0:1]:8787"));
        assert!(!is_named("https://hub.example", "hub.example:80"));
        assert!(!is_named("https://hub.example:8443", "hub.example"));
        assert!(!is_named("https://hub.example", "hub.example."));
        assert!(!is_named("https://hub.example", "a.hub.example"));
    }

    #[test]
    fn loopback_names_count_with_their_port() {
        let is_loopback =
            |host: &str, port| Authority::parse(host).is_some_and(|host| host.is_loopback_at(port));
        for name in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
            assert!(is_loopback(&format!("{name}:8787"), 8787));
            assert!(!is_loopback(&format!("{name}:8788"), 8787));
            assert!(!is_loopback(name, 8787));
            assert!(is_loopback(name, 80));
        }
        assert!(!is_loopback("127.0.0.2:8787", 8787));
        assert!(!is_loopback("localhost.example:8787", 8787));
    }
}
