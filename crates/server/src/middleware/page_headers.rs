//! What browsers are told about pages (`http.md` 3).
//!
//! A page gets a nonce before it is rendered and may name where its forms end up; everything else is the same for all of
//! them. Nothing is loaded from elsewhere, nothing runs or styles without the nonce, nobody frames us.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;

use crate::ports::Random;
use crate::state::SharedHub;

/// Two years, as preload lists ask for; subdomains are not ours to speak for.
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// The nonce of this answer, for `nonce="…"` on the page's own `style` and `script`.
#[derive(Clone, Debug)]
pub(crate) struct CspNonce(String);

impl CspNonce {
    fn draw(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CspNonce {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Without one nothing of the page's own runs, which is the safe way to be wrong.
        Ok(parts
            .extensions
            .get()
            .cloned()
            .unwrap_or(Self(String::new())))
    }
}

/// Put into the extensions of a page's answer: where the answer to its forms may lead besides this hub, as origins
/// (`https://app.example`) or schemes (`app-name:`). Browsers hold redirects after a form against `form-action` too.
#[derive(Clone, Debug)]
pub(crate) struct FormTargets(pub(crate) Vec<String>);

pub(crate) async fn set(
    State(hub): State<SharedHub>,
    mut request: Request,
    next: Next,
) -> Response {
    // The API renders nothing; it is spared the draw.
    let nonce = if request.uri().path().starts_with("/api/") {
        None
    } else {
        let nonce = CspNonce::draw(&*hub.ports.random);
        request.extensions_mut().insert(nonce.clone());
        Some(nonce)
    };
    let mut response = next.run(request).await;
    let targets = response.extensions_mut().remove::<FormTargets>();
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if hub.config.origin.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    if is_html(headers) {
        let nonce = nonce.as_ref().map_or("", CspNonce::as_str);
        let targets = targets.map_or_else(Vec::new, |targets| targets.0);
        protect(headers, policy(nonce, &targets));
    }
    response
}

fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

fn protect(headers: &mut HeaderMap, policy: HeaderValue) {
    const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(COOP, HeaderValue::from_static("same-origin"));
    headers.insert(CORP, HeaderValue::from_static("same-origin"));
    // A page may forbid more than that, never less.
    if !headers
        .get(CACHE_CONTROL)
        .is_some_and(|told| told.as_bytes().starts_with(b"no-store"))
    {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    // Under `no-referrer` browsers send `Origin: null` with a page's own forms, which could not be told from a foreign
    // sandbox; `same-origin` tells other sites as little. A page without forms may set the stricter one.
    if !headers.contains_key(REFERRER_POLICY) {
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
}

fn policy(nonce: &str, targets: &[String]) -> HeaderValue {
    let mut form_action = "'self'".to_owned();
    for target in targets.iter().filter(|target| is_source(target)) {
        form_action.push(' ');
        form_action.push_str(target);
    }
    let text = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self' data:; \
         form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(text).expect("the parts are visible ASCII")
}

/// A scheme or an origin, and nothing that could end the directive or widen it: no wildcard, no keyword, no space.
fn is_source(target: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b':' | b'/' | b'.' | b'-' | b'+' | b'[' | b']')
    };
    target.contains(':') && target.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::{is_source, policy};

    #[test]
    fn a_policy_allows_what_the_page_brings_and_nothing_else() {
        let targets = [
            "https://app.example".to_owned(),
            "x; script-src *:".to_owned(),
        ];
        let expect = "default-src 'none'; style-src 'nonce-abc'; script-src 'nonce-abc'; img-src 'self' data:; \
                      form-action 'self' https://app.example; base-uri 'none'; frame-ancestors 'none'";
        assert_eq!(policy("abc", &targets), expect);
    }

    #[test]
    fn targets_are_schemes_and_origins() {
        for target in [
            "https://app.example",
            "http://[::1]:4000",
            "com.example.app:",
        ] {
            assert!(is_source(target), "{target}");
        }
        for target in [
            "*",
            "'self'",
            "app",
            "",
            "https://a b",
            "https://a;x",
            "https://*.example",
            "https://a,b",
        ] {
            assert!(!is_source(target), "{target}");
        }
    }
}
