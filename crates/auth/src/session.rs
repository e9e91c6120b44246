//! The answer of `GET /api/session`: who the tokens are for (identity.md 3).

use std::fmt;

use epicenter_api::SessionResponse;
use epicenter_encryption::OwnerKeyring;
use epicenter_identity::{OwnerId, UserId};

use crate::persisted::read_keyring;

/// A session answer that was understood. Its `Debug` form leaves the address out.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionAnswer {
    /// The person.
    pub user_id: UserId,
    /// Their address, to be shown and never stored.
    pub email: String,
    /// Whose rooms and keys these are.
    pub owner_id: OwnerId,
    /// The owner's keys; `None` when the token may not have them.
    pub keyring: Option<OwnerKeyring>,
}

impl fmt::Debug for SessionAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionAnswer")
            .field("user_id", &self.user_id)
            .field("owner_id", &self.owner_id)
            .finish_non_exhaustive()
    }
}

/// Why there is no session answer. Only the first two say something about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The token is not accepted (401).
    #[error("the hub does not accept the token")]
    Unauthorized,
    /// The person is not admitted, or the token may not do this (403).
    #[error("the hub does not admit this account")]
    Forbidden,
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

/// Reads the answer of `GET /api/session`.
///
/// # Errors
/// Whether the hub refused, cannot answer now, or is none.
pub fn read_session_answer(status: u16, body: &[u8]) -> Result<SessionAnswer, SessionError> {
    match status {
        200 => read_session(body).ok_or(SessionError::NoHub { status }),
        401 => Err(SessionError::Unauthorized),
        403 => Err(SessionError::Forbidden),
        429 | 500.. => Err(SessionError::Unavailable { status }),
        _ => Err(SessionError::NoHub { status }),
    }
}

fn read_session(body: &[u8]) -> Option<SessionAnswer> {
    // Errors are not kept: the parser's may quote a key.
    let answer: SessionResponse = serde_json::from_slice(body).ok()?;
    Some(SessionAnswer {
        user_id: UserId::parse(&answer.user.id).ok()?,
        owner_id: OwnerId::parse(&answer.owner_id).ok()?,
        keyring: read_keyring(&answer.keyring).ok()?,
        // It is printed on a terminal, which control characters would steer.
        email: Some(answer.user.email).filter(|email| !email.contains(char::is_control))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "lHkET8K1oKr9farZPC5yfazSIjrK/WP8/XmhKo3iMgk=";

    #[test]
    fn a_hubs_answer_is_read() {
        let body = format!(
            r#"{{"user":{{"id":"u1","email":"ada@example.org"}},"ownerId":"shared","keyring":[{{"version":1,"keyBytesBase64":"{KEY}"}}]}}"#
        );
        let answer = read_session_answer(200, body.as_bytes()).expect("an answer");
        assert_eq!(
            (answer.user_id.as_str(), answer.owner_id.as_str()),
            ("u1", "shared")
        );
        let keys = answer.keyring.as_ref().expect("keys came").to_wire();
        assert_eq!((keys[0].0, keys[0].1.as_str()), (1, KEY));
        let printed = format!("{answer:?}");
        assert!(
            !printed.contains("ada") && !printed.contains(KEY),
            "{printed}"
        );
    }

    #[test]
    fn a_token_without_the_scope_has_no_keys() {
        let body = br#"{"user":{"id":"u1","email":"a@b"},"ownerId":"u1","keyring":[]}"#;
        let answer = read_session_answer(200, body).expect("an answer");
        assert_eq!(answer.keyring, None);
    }

    #[test]
    fn a_bad_token_and_a_bad_moment_are_told_apart() {
        let check = |status, body: &str, expected| {
            assert_eq!(
                read_session_answer(status, body.as_bytes()),
                Err(expected),
                "{status}"
            );
        };
        check(401, "", SessionError::Unauthorized);
        check(403, "", SessionError::Forbidden);
        for status in [429, 500, 503] {
            check(status, "", SessionError::Unavailable { status });
        }
        for status in [302, 404] {
            check(status, "", SessionError::NoHub { status });
        }
        for body in [
            "<html>",
            "null",
            r#"{"user":{"id":"shared","email":"a@b"},"ownerId":"u1","keyring":[]}"#,
            r#"{"user":{"id":"u1","email":"a\u001b[0m"},"ownerId":"u1","keyring":[]}"#,
            r#"{"user":{"id":"u1","email":"a@b"},"ownerId":"u1","keyring":[{"version":1,"keyBytesBase64":"x"}]}"#,
        ] {
            check(200, body, SessionError::NoHub { status: 200 });
        }
    }
}
