//! The cookie of a browser session (`identity.md` 1): reading it from requests, and the `Set-Cookie` lines.
//!
//! On https the name has the prefix `__Host-`, which browsers take from this host only, with `Secure` and `Path=/`; on
//! plain http, which is for development on loopback, they would refuse it.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

use crate::config::PublicOrigin;
use crate::secret::Secret;

const SECURE_NAME: &str = "__Host-epicenter_session";
const PLAIN_NAME: &str = "epicenter_session";

/// What a request says in its session cookies.
#[derive(Debug)]
pub(crate) enum PresentedCookie {
    None,
    One(Secret),
    /// Two that differ: nobody's.
    Several,
}

/// The name of the session cookie on this origin.
pub(crate) fn name(origin: &PublicOrigin) -> &'static str {
    if origin.is_https() {
        SECURE_NAME
    } else {
        PLAIN_NAME
    }
}

/// The session cookie among all cookies of a request.
pub(crate) fn presented(headers: &HeaderMap, origin: &PublicOrigin) -> PresentedCookie {
    let name = name(origin);
    let mut found: Option<&str> = None;
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    for pair in lines.flat_map(|line| line.split(';')) {
        let Some((key, value)) = pair.trim().split_once('=') else {
            continue;
        };
        if key != name || value.is_empty() {
            continue;
        }
        if found.is_some_and(|earlier| earlier != value) {
            return PresentedCookie::Several;
        }
        found = Some(value);
    }
    match found {
        Some(value) => PresentedCookie::One(Secret::presented(value)),
        None => PresentedCookie::None,
    }
}

/// Sets the cookie; without a life it ends with the browser.
pub(crate) fn set(origin: &PublicOrigin, token: &Secret, max_age_s: Option<u64>) -> HeaderValue {
    let life = max_age_s.map_or(String::new(), |seconds| format!("; Max-Age={seconds}"));
    line(origin, token.expose(), &life)
}

/// Takes the cookie away.
pub(crate) fn clear(origin: &PublicOrigin) -> HeaderValue {
    line(origin, "", "; Max-Age=0")
}

fn line(origin: &PublicOrigin, value: &str, life: &str) -> HeaderValue {
    let secure = if origin.is_https() { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{life}",
        name(origin)
    );
    let mut line =
        HeaderValue::try_from(text).expect("names, base64url and numbers are visible ASCII");
    line.set_sensitive(true);
    line
}
