//! Which bearer a request presents: at most one, from the `Authorization` header or, on an upgrade, from the `bearer.`
//! subprotocol (`sync.md` 5).
//!
//! Nothing is verified here. A token leaves this module in a value that prints as redacted.

use std::fmt;

use epicenter_sync::{BearerOffer, Offer};
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};
use zeroize::Zeroizing;

use crate::handshake::Handshake;

/// An access token as it was presented; nothing about it is known to be true.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BearerToken(Zeroizing<String>);

impl BearerToken {
    fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BearerToken(redacted)")
    }
}

/// What a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PresentedBearer {
    /// No bearer; another scheme counts as none.
    None,
    /// Exactly one.
    One(BearerToken),
    /// Two that differ, two `bearer.` entries, or two `Authorization` headers.
    Several,
}

impl PresentedBearer {
    /// Of a request of any kind.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        match Handshake::of(request) {
            Handshake::NotAsked => Self::of_request(request.headers()),
            Handshake::WellFormed | Handshake::Malformed(_) => Self::of_upgrade(request.headers()),
        }
    }

    /// Of a request that opens no socket: a subprotocol says nothing there.
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        of_authorization(headers)
    }

    /// Of an upgrade: header and subprotocol may both carry the token, when it is the same one.
    pub(crate) fn of_upgrade(headers: &HeaderMap) -> Self {
        let offered = offered_protocols(headers);
        let from_offer = match Offer::parse(offered.as_deref().map(String::as_str)).bearer {
            BearerOffer::None => Self::None,
            BearerOffer::One(token) => Self::One(BearerToken::new(token)),
            BearerOffer::Several => Self::Several,
        };
        match (of_authorization(headers), from_offer) {
            (Self::None, other) | (other, Self::None) => other,
            (Self::One(header), Self::One(offer)) if header == offer => Self::One(header),
            _ => Self::Several,
        }
    }
}

/// The `Sec-WebSocket-Protocol` lines as one list; it may hold a token, so it is wiped after use.
pub(crate) fn offered_protocols(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let mut lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().peekable();
    lines.peek()?;
    let mut joined = Zeroizing::new(String::new());
    // A line that is not visible ASCII cannot hold a protocol name (RFC 6455 section 4.1) and is passed over.
    for line in lines.filter_map(|line| line.to_str().ok()) {
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(line);
    }
    Some(joined)
}

fn of_authorization(headers: &HeaderMap) -> PresentedBearer {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else {
        return PresentedBearer::None;
    };
    if lines.next().is_some() {
        return PresentedBearer::Several;
    }
    let token = line.to_str().ok().and_then(|line| {
        let (scheme, token) = line.trim().split_once([' ', '\t'])?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() => PresentedBearer::One(BearerToken::new(token)),
        _ => PresentedBearer::None,
    }
}

#[cfg(test)]
mod tests {
    use super::{BearerToken, PresentedBearer};
    use http::header::{AUTHORIZATION, HeaderMap, SEC_WEBSOCKET_PROTOCOL};

    fn headers(authorization: &[&str], protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in authorization {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        for line in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, line.parse().unwrap());
        }
        headers
    }

    fn one(token: &str) -> PresentedBearer {
        PresentedBearer::One(BearerToken::new(token))
    }

    #[track_caller]
    fn check(authorization: &[&str], protocols: &[&str], expect: PresentedBearer) {
        assert_eq!(
            PresentedBearer::of_upgrade(&headers(authorization, protocols)),
            expect
        );
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_others_are_no_bearer() {
        check(&["Bearer abc"], &[], one("abc"));
        check(&["bearer abc"], &[], one("abc"));
        check(&["BEARER  abc "], &[], one("abc"));
        check(&["Basic abc"], &[], PresentedBearer::None);
        check(&["Bearer"], &[], PresentedBearer::None);
        check(&["Bearer "], &[], PresentedBearer::None);
        check(&["abc"], &[], PresentedBearer::None);
        check(&[], &[], PresentedBearer::None);
    }

    #[test]
    fn header_and_subprotocol_together_must_be_equal() {
        check(&[], &["epicenter, bearer.abc"], one("abc"));
        check(&["Bearer abc"], &["epicenter, bearer.abc"], one("abc"));
        check(
            &["Bearer abc"],
            &["epicenter, bearer.other"],
            PresentedBearer::Several,
        );
        check(&["Basic abc"], &["epicenter, bearer.abc"], one("abc"));
    }

    #[test]
    fn two_entries_or_two_headers_are_several_even_when_equal() {
        check(&[], &["bearer.abc, bearer.abc"], PresentedBearer::Several);
        check(&[], &["bearer.abc", "bearer.abc"], PresentedBearer::Several);
        check(&["Bearer abc", "Bearer abc"], &[], PresentedBearer::Several);
        check(&["Bearer abc", "Basic abc"], &[], PresentedBearer::Several);
        check(
            &["Bearer abc"],
            &["bearer.abc, bearer.abc"],
            PresentedBearer::Several,
        );
    }

    #[test]
    fn a_subprotocol_is_no_credential_outside_an_upgrade() {
        let headers = headers(&[], &["epicenter, bearer.abc"]);
        assert_eq!(PresentedBearer::of_request(&headers), PresentedBearer::None);
    }

    #[test]
    fn a_token_never_prints() {
        assert_eq!(format!("{:?}", one("secret")), "One(BearerToken(redacted))");
    }
}
