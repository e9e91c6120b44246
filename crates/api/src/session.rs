//! The answer of `GET /api/session`: who the caller is, for whom they act, and the owner's keys.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// `{"user":{"id","email"},"ownerId","keyring":[{"version","keyBytesBase64"}]}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionResponse {
    /// The person.
    pub user: SessionUser,
    /// Whose rooms and keys these are.
    pub owner_id: String,
    /// Highest version first; empty for a token without the scope `keyring`.
    pub keyring: Vec<SessionKey>,
}

/// The person of a session. Its `Debug` form leaves the address out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionUser {
    /// The account.
    pub id: String,
    /// Its address.
    pub email: String,
}

impl fmt::Debug for SessionUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionUser")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// One version of the owner's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionKey {
    /// 1 to 255.
    pub version: u8,
    /// The 32 key bytes.
    pub key_bytes_base64: KeyText,
}

/// Key material as base64 text: zeroised on drop and redacted in `Debug`.
#[derive(Clone)]
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// Takes the text over.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The key material itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyText(redacted)")
    }
}

impl Serialize for KeyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}
