//! Token and revocation requests, and what the hub answers to them (RFC 6749 sections 4.1.3, 5 and 6; RFC 7009).

use std::fmt;

use form_urlencoded::Serializer;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::persisted::Grant;
use crate::pkce::CodeVerifier;
use crate::secret_text::{AccessToken, AuthorizationCode, RefreshToken};

/// Redeems a code.
#[derive(Debug)]
pub struct CodeExchange<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// The code that the hub gave.
    pub code: &'a AuthorizationCode,
    /// That of the authorize request.
    pub redirect_uri: &'a str,
    /// Whose challenge the authorize request had.
    pub verifier: &'a CodeVerifier,
    /// The origin of the hub.
    pub resource: &'a str,
}

impl CodeExchange<'_> {
    /// The body of the request, `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Zeroizing<String> {
        form(&[
            ("grant_type", "authorization_code"),
            ("client_id", self.client_id),
            ("code", self.code.expose()),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", self.verifier.expose()),
            ("resource", self.resource),
        ])
    }
}

/// Turns a refresh token into the next answer.
#[derive(Debug)]
pub struct Refresh<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// The newest one that was stored.
    pub token: &'a RefreshToken,
    /// The origin of the hub.
    pub resource: &'a str,
}

impl Refresh<'_> {
    /// The body of the request, `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Zeroizing<String> {
        form(&[
            ("grant_type", "refresh_token"),
            ("client_id", self.client_id),
            ("refresh_token", self.token.expose()),
            ("resource", self.resource),
        ])
    }
}

/// Ends a grant.
#[derive(Debug)]
pub struct Revocation<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// Any refresh token of the grant.
    pub token: &'a RefreshToken,
}

impl Revocation<'_> {
    /// The body of the request, `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Zeroizing<String> {
        form(&[
            ("client_id", self.client_id),
            ("token", self.token.expose()),
            ("token_type_hint", "refresh_token"),
        ])
    }
}

fn form(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    // Room for everything escaped: a text that grows would leave copies of secrets behind.
    let bytes = pairs
        .iter()
        .map(|(name, value)| name.len() + 3 * value.len() + 2)
        .sum();
    let mut body = Serializer::new(String::with_capacity(bytes));
    body.extend_pairs(pairs);
    Zeroizing::new(body.finish())
}

/// An `error` of RFC 6749 section 5.2, as far as a client acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OAuthErrorCode {
    /// The code or token is unknown, used, expired, revoked or another client's.
    InvalidGrant,
    /// The hub does not know this client.
    InvalidClient,
    /// The tokens may not be for this resource (RFC 8707).
    InvalidTarget,
    /// The request was not understood.
    InvalidRequest,
    /// Any other code: visible ASCII, at most 64 characters.
    Other(String),
    /// None, or a text that is no code.
    Unnamed,
}

impl OAuthErrorCode {
    fn of(text: Option<String>) -> Self {
        match text.as_deref() {
            Some("invalid_grant") => Self::InvalidGrant,
            Some("invalid_client") => Self::InvalidClient,
            Some("invalid_target") => Self::InvalidTarget,
            Some("invalid_request") => Self::InvalidRequest,
            Some(other)
                if (1..=64).contains(&other.len())
                    && other.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Self::Other(other.to_owned())
            }
            _ => Self::Unnamed,
        }
    }
}

impl fmt::Display for OAuthErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidClient => "invalid_client",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidRequest => "invalid_request",
            Self::Other(code) => code,
            Self::Unnamed => "no reason given",
        })
    }
}

/// Why a token request brought nothing. Only `Refused` says something about the code or token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The hub judged the code or token and refused it (400 or 401).
    #[error("the hub refused the request: {code}")]
    Refused {
        /// Why.
        code: OAuthErrorCode,
    },
    /// The hub cannot answer now (429 or 5xx).
    #[error("the hub answered with status {status}")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// Nothing that a hub answers: another server, or something in between.
    #[error("the answer with status {status} is not one that a hub gives")]
    NoHub {
        /// The HTTP status.
        status: u16,
    },
}

/// A token answer that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// The new access token.
    pub access_token: AccessToken,
    /// Absent after a refresh that did not rotate, and when `offline_access` was not granted.
    pub refresh_token: Option<RefreshToken>,
    /// Milliseconds since the Unix epoch, by the clock of this machine.
    pub expires_at_ms: u64,
}

impl TokenAnswer {
    /// The grant to be stored; `previous` is the refresh token that was presented, if any (RFC 6749 section 6).
    ///
    /// `None` when there is no refresh token at all.
    pub fn into_grant(self, previous: Option<&RefreshToken>) -> Option<Grant> {
        Some(Grant {
            access_token: self.access_token,
            refresh_token: self.refresh_token.or_else(|| previous.cloned())?,
            access_token_expires_at_ms: self.expires_at_ms,
        })
    }
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: AccessToken,
    token_type: String,
    expires_in: u64,
    refresh_token: Option<RefreshToken>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Option<String>,
}

/// Reads the answer of the token endpoint that arrived at `now_ms`.
///
/// # Errors
/// Whether the hub refused, cannot answer now, or is none.
pub fn read_token_answer(status: u16, body: &[u8], now_ms: u64) -> Result<TokenAnswer, TokenError> {
    match status {
        200 => read_tokens(body, now_ms).ok_or(TokenError::NoHub { status }),
        400 | 401 => {
            let body = serde_json::from_slice::<ErrorBody>(body).ok();
            Err(TokenError::Refused {
                code: OAuthErrorCode::of(body.and_then(|body| body.error)),
            })
        }
        429 | 500.. => Err(TokenError::Unavailable { status }),
        _ => Err(TokenError::NoHub { status }),
    }
}

fn read_tokens(body: &[u8], now_ms: u64) -> Option<TokenAnswer> {
    // The parser's error is not kept: it may quote the token that it stumbled over.
    let body: TokenBody = serde_json::from_slice(body).ok()?;
    body.token_type
        .eq_ignore_ascii_case("bearer")
        .then(|| TokenAnswer {
            access_token: body.access_token,
            refresh_token: body.refresh_token,
            expires_at_ms: now_ms.saturating_add(body.expires_in.saturating_mul(1_000)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: OAuthErrorCode) -> Result<TokenAnswer, TokenError> {
        Err(TokenError::Refused { code })
    }

    #[test]
    fn a_hubs_answer_is_read() {
        let body = br#"{"access_token":"a.b.c","expires_in":600,"expires_at":1,"token_type":"bearer","refresh_token":"r1","scope":"openid","id_token":"x"}"#;
        let answer = read_token_answer(200, body, 1_000).expect("an answer");
        assert_eq!(answer.expires_at_ms, 601_000);
        let grant = answer.into_grant(None).expect("a refresh token came");
        assert_eq!(grant.access_token.expose(), "a.b.c");
        assert_eq!(grant.refresh_token.expose(), "r1");
    }

    #[test]
    fn a_refresh_without_rotation_keeps_its_token() {
        let body = br#"{"access_token":"a","expires_in":600,"token_type":"Bearer"}"#;
        let answer = read_token_answer(200, body, 0).expect("an answer");
        assert_eq!(answer.clone().into_grant(None), None);
        let old = RefreshToken::parse("old").expect("a token");
        let grant = answer.into_grant(Some(&old)).expect("the old one stays");
        assert_eq!(grant.refresh_token, old);
    }

    #[test]
    fn only_a_judgement_is_a_refusal() {
        let check = |status, body: &str, expected| {
            assert_eq!(
                read_token_answer(status, body.as_bytes(), 0),
                expected,
                "{status} {body}"
            );
        };
        check(
            400,
            r#"{"error":"invalid_grant"}"#,
            refused(OAuthErrorCode::InvalidGrant),
        );
        check(
            401,
            r#"{"error":"invalid_client"}"#,
            refused(OAuthErrorCode::InvalidClient),
        );
        check(
            400,
            r#"{"error":"odd"}"#,
            refused(OAuthErrorCode::Other("odd".to_owned())),
        );
        check(
            400,
            r#"{"error":"\u001b[31m"}"#,
            refused(OAuthErrorCode::Unnamed),
        );
        check(400, "<html>", refused(OAuthErrorCode::Unnamed));
        for status in [429, 500, 502, 503] {
            check(
                status,
                r#"{"error":"invalid_grant"}"#,
                Err(TokenError::Unavailable { status }),
            );
        }
        for status in [204, 302, 403, 404] {
            check(status, "", Err(TokenError::NoHub { status }));
        }
        for body in [
            "<html>",
            "{}",
            r#"{"access_token":"a","expires_in":600,"token_type":"mac"}"#,
            r#"{"access_token":"a b","expires_in":600,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","expires_in":-1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"Bearer"}"#,
        ] {
            check(200, body, Err(TokenError::NoHub { status: 200 }));
        }
    }

    #[test]
    fn forms_are_escaped() {
        let token = RefreshToken::parse("a&b=c+d").expect("a token");
        let form = Revocation {
            client_id: "epicenter-cli",
            token: &token,
        }
        .form();
        assert_eq!(
            *form,
            "client_id=epicenter-cli&token=a%26b%3Dc%2Bd&token_type_hint=refresh_token"
        );
    }
}
