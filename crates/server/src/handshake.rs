//! Whether a request asks for a WebSocket, and whether it asks well (RFC 6455 section 4.2.1).
//!
//! A request that asks well gets 101 whatever is then decided, because a browser cannot read any other answer
//! (`sync.md` 5). One that does not ask well never came from a browser and is answered in HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Version};

/// What a request says about a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// Nothing.
    NotAsked,
    /// It wants one and the request is in order.
    WellFormed,
    /// It wants one and cannot have it.
    Malformed(HandshakeError),
}

/// What is wrong with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("a WebSocket needs HTTP/1.1")]
    HttpVersion,
    #[error("`Upgrade: websocket` came without `Connection: Upgrade`; a proxy may have dropped it")]
    Connection,
    #[error("`Sec-WebSocket-Version` must be 13")]
    WebSocketVersion,
    #[error("`Sec-WebSocket-Key` must be there once and hold 16 bytes in base64")]
    Key,
    #[error("a WebSocket handshake has no body")]
    Body,
}

impl Handshake {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        if request.method() != Method::GET || !lists(headers, &UPGRADE, "websocket") {
            return Self::NotAsked;
        }
        match check(request.version(), headers) {
            Ok(()) => Self::WellFormed,
            Err(error) => Self::Malformed(error),
        }
    }
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), HandshakeError> {
    if version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    if !lists(headers, &CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(HandshakeError::WebSocketVersion);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(HandshakeError::Key);
    }
    // What followed the head would be read as frames.
    let has_length = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .any(|length| length != "0");
    if has_length || headers.contains_key(TRANSFER_ENCODING) {
        return Err(HandshakeError::Body);
    }
    Ok(())
}

/// The value of a header that may be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(str::trim)
}

/// Whether a comma-separated header names the token, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|entry| entry.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::{Handshake, HandshakeError};
    use http::{Request, Version};

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn check_request(version: Version, method: &str, headers: &[(&str, &str)]) -> Handshake {
        let mut request = Request::builder().version(version).method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Handshake::of(&request.body(()).unwrap())
    }

    /// The good headers, one of them replaced or (empty) left out, one added.
    fn with(changed: &str, value: &str) -> Handshake {
        let mut headers: Vec<_> = GOOD
            .into_iter()
            .filter(|(name, _)| *name != changed)
            .collect();
        if !value.is_empty() {
            headers.push((changed, value));
        }
        check_request(Version::HTTP_11, "GET", &headers)
    }

    #[test]
    fn a_browsers_handshake_is_well_formed() {
        assert_eq!(
            check_request(Version::HTTP_11, "GET", &GOOD),
            Handshake::WellFormed
        );
        assert_eq!(with("upgrade", "WebSocket"), Handshake::WellFormed);
        assert_eq!(with("content-length", "0"), Handshake::WellFormed);
    }

    #[test]
    fn without_an_upgrade_nothing_is_asked() {
        assert_eq!(with("upgrade", ""), Handshake::NotAsked);
        assert_eq!(with("upgrade", "h2c"), Handshake::NotAsked);
        assert_eq!(
            check_request(Version::HTTP_11, "POST", &GOOD),
            Handshake::NotAsked
        );
    }

    #[test]
    fn each_fault_is_named() {
        let malformed = Handshake::Malformed;
        let http_10 = check_request(Version::HTTP_10, "GET", &GOOD);
        assert_eq!(http_10, malformed(HandshakeError::HttpVersion));
        assert_eq!(
            with("connection", ""),
            malformed(HandshakeError::Connection)
        );
        assert_eq!(
            with("connection", "keep-alive"),
            malformed(HandshakeError::Connection)
        );
        assert_eq!(
            with("sec-websocket-version", ""),
            malformed(HandshakeError::WebSocketVersion)
        );
        assert_eq!(
            with("sec-websocket-version", "8"),
            malformed(HandshakeError::WebSocketVersion)
        );
        assert_eq!(
            with("sec-websocket-key", ""),
            malformed(HandshakeError::Key)
        );
        assert_eq!(
            with("sec-websocket-key", "c2hvcnQ="),
            malformed(HandshakeError::Key)
        );
        assert_eq!(
            with("sec-websocket-key", "not base64"),
            malformed(HandshakeError::Key)
        );
        assert_eq!(with("content-length", "1"), malformed(HandshakeError::Body));
        assert_eq!(
            with("transfer-encoding", "chunked"),
            malformed(HandshakeError::Body)
        );
    }

    #[test]
    fn a_second_key_is_no_key() {
        let mut headers = GOOD.to_vec();
        headers.push(GOOD[3]);
        let twice = check_request(Version::HTTP_11, "GET", &headers);
        assert_eq!(twice, Handshake::Malformed(HandshakeError::Key));
    }
}
