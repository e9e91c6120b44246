//! The one durable record of a sign-in, and its only codec.
//!
//! It holds no profile: names and addresses are asked for when they are shown. Without the grant it still selects and
//! decrypts local data.

use epicenter_api::{KeyText, SessionKey};
use epicenter_encryption::{KeyringError, OwnerKeyring};
use epicenter_identity::{OwnerId, UserId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secret_text::{AccessToken, RefreshToken};
use crate::session::SessionAnswer;

/// How long before its end an access token counts as stale: clocks differ and requests take time.
pub const STALE_BEFORE_MS: u64 = 60_000;

/// The tokens of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// For requests.
    pub access_token: AccessToken,
    /// For the next access token.
    pub refresh_token: RefreshToken,
    /// Milliseconds since the Unix epoch. Says when to refresh and nothing else.
    pub access_token_expires_at_ms: u64,
}

impl Grant {
    /// Whether the access token ends within a minute, or has ended.
    pub fn is_stale(&self, now_ms: u64) -> bool {
        now_ms.saturating_add(STALE_BEFORE_MS) >= self.access_token_expires_at_ms
    }
}

/// Who is signed in to a hub, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedAuth {
    /// The tokens.
    pub grant: Grant,
    /// The person.
    pub user_id: UserId,
    /// Whose rooms and keys these are.
    pub owner_id: OwnerId,
    /// The owner's keys; `None` when the client may not have them, which is written as an empty list.
    pub keyring: Option<OwnerKeyring>,
}

/// The record is corrupt, which callers read as signed out. It says where and never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PersistedAuthError {
    /// Not JSON, or a field is missing or of the wrong kind.
    #[error("the record of a sign-in is malformed in line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 0.
        column: usize,
    },
    /// `userId` is none.
    #[error("the record of a sign-in names no valid user")]
    UserId,
    /// `ownerId` is none.
    #[error("the record of a sign-in names no valid owner")]
    OwnerId,
    /// `keyring` is none.
    #[error("the record of a sign-in holds no valid keyring")]
    Keyring(#[source] KeyringError),
}

impl PersistedAuth {
    /// The record of a grant that the hub has just confirmed.
    pub fn new(grant: Grant, session: &SessionAnswer) -> Self {
        Self {
            grant,
            user_id: session.user_id.clone(),
            owner_id: session.owner_id.clone(),
            keyring: session.keyring.clone(),
        }
    }

    /// Reads a record. Fields that it does not know are dropped.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub fn parse(text: &str) -> Result<Self, PersistedAuthError> {
        let record: RecordRead =
            serde_json::from_str(text).map_err(|error| PersistedAuthError::Malformed {
                line: error.line(),
                column: error.column(),
            })?;
        Ok(Self {
            grant: Grant {
                access_token: record.grant.access_token,
                refresh_token: record.grant.refresh_token,
                access_token_expires_at_ms: record.grant.access_token_expires_at,
            },
            // The rule of an id is known; which text broke it would be profile data.
            user_id: UserId::parse(&record.user_id).map_err(|_| PersistedAuthError::UserId)?,
            owner_id: OwnerId::parse(&record.owner_id).map_err(|_| PersistedAuthError::OwnerId)?,
            keyring: read_keyring(&record.keyring).map_err(PersistedAuthError::Keyring)?,
        })
    }

    /// Writes the record. Every part was checked when it was made, so that this cannot produce what
    /// [`parse`](Self::parse) refuses.
    pub fn serialize(&self) -> Zeroizing<String> {
        let record = RecordWritten {
            grant: GrantWritten {
                access_token: self.grant.access_token.expose(),
                refresh_token: self.grant.refresh_token.expose(),
                access_token_expires_at: self.grant.access_token_expires_at_ms,
            },
            user_id: self.user_id.as_str(),
            owner_id: self.owner_id.as_str(),
            keyring: write_keyring(self.keyring.as_ref()),
        };
        Zeroizing::new(
            serde_json::to_string(&record).expect("a record of texts and numbers is always JSON"),
        )
    }
}

/// The keyring as it stands in JSON; an empty list is none.
pub(crate) fn read_keyring(keys: &[SessionKey]) -> Result<Option<OwnerKeyring>, KeyringError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let keys = keys
        .iter()
        .map(|key| (key.version, key.key_bytes_base64.expose()));
    OwnerKeyring::from_wire(keys).map(Some)
}

fn write_keyring(keyring: Option<&OwnerKeyring>) -> Vec<SessionKey> {
    let keys = keyring.map(OwnerKeyring::to_wire).unwrap_or_default();
    keys.into_iter()
        .map(|(version, text)| SessionKey {
            version,
            key_bytes_base64: KeyText::new(text),
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordRead {
    grant: GrantRead,
    user_id: String,
    owner_id: String,
    keyring: Vec<SessionKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GrantRead {
    access_token: AccessToken,
    refresh_token: RefreshToken,
    access_token_expires_at: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordWritten<'a> {
    grant: GrantWritten<'a>,
    user_id: &'a str,
    owner_id: &'a str,
    keyring: Vec<SessionKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantWritten<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    access_token_expires_at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"grant":{"accessToken":"a.b.c","refreshToken":"r1","accessTokenExpiresAt":1700000000000},"userId":"u1","ownerId":"shared","keyring":[{"version":1,"keyBytesBase64":"lHkET8K1oKr9farZPC5yfazSIjrK/WP8/XmhKo3iMgk="}]}"#;

    #[test]
    fn the_record_has_exactly_these_names() {
        let auth = PersistedAuth::parse(RECORD).expect("a record");
        assert_eq!(*auth.serialize(), RECORD);
    }

    #[test]
    fn a_record_without_keys_stays_one() {
        let text = RECORD.split(r#","keyring""#).next().expect("a beginning");
        let text = format!("{text},\"keyring\":[]}}");
        let auth = PersistedAuth::parse(&text).expect("a record");
        assert_eq!(auth.keyring, None);
        assert_eq!(*auth.serialize(), text);
    }

    #[test]
    fn unknown_fields_are_dropped() {
        let text = RECORD
            .replacen('{', r#"{"email":"ada@example.org","#, 1)
            .replace(r#""grant":{"#, r#""grant":{"idToken":"x","#);
        assert_ne!(text, RECORD);
        let auth = PersistedAuth::parse(&text).expect("a record");
        assert_eq!(*auth.serialize(), RECORD);
    }

    #[test]
    fn whatever_is_corrupt_is_no_record() {
        assert_eq!(
            PersistedAuth::parse(&RECORD.replace("\"u1\"", "\"shared\"")),
            Err(PersistedAuthError::UserId)
        );
        assert_eq!(
            PersistedAuth::parse(&RECORD.replace(r#""ownerId":"shared""#, r#""ownerId":"a/b""#)),
            Err(PersistedAuthError::OwnerId)
        );
        assert!(matches!(
            PersistedAuth::parse(&RECORD.replace("Mgk=", "")),
            Err(PersistedAuthError::Keyring(_))
        ));
        for (from, to) in [
            ("\"r1\"", "\"\""),
            ("\"r1\"", "null"),
            ("\"a.b.c\"", "\"a b\""),
            ("1700000000000", "-1"),
            ("1700000000000", "\"1700000000000\""),
            ("\"version\":1", "\"version\":0"),
            ("\"version\":1", "\"version\":256"),
            ("userId", "user_id"),
        ] {
            let text = RECORD.replace(from, to);
            assert!(PersistedAuth::parse(&text).is_err(), "{text}");
        }
        for end in 0..RECORD.len() {
            assert!(
                PersistedAuth::parse(&RECORD[..end]).is_err(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn neither_errors_nor_debug_repeat_a_secret() {
        let auth = PersistedAuth::parse(RECORD).expect("a record");
        let mut printed = format!("{auth:?}");
        let broken = RECORD.replace("1700000000000", "\"s3cret\"");
        printed += &format!("{:?}", PersistedAuth::parse(&broken));
        printed += &PersistedAuth::parse(&broken)
            .expect_err("corrupt")
            .to_string();
        for secret in ["a.b.c", "r1", "lHkET8K1", "s3cret"] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
    }

    #[test]
    fn a_token_is_stale_a_minute_before_its_end() {
        let grant = PersistedAuth::parse(RECORD).expect("a record").grant;
        let end = grant.access_token_expires_at_ms;
        assert!(!grant.is_stale(end - 60_001));
        assert!(grant.is_stale(end - 60_000));
        assert!(grant.is_stale(u64::MAX));
    }
}
