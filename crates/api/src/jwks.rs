//! The public signing keys at `GET /auth/jwks` (RFC 7517, ES256 only).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A key set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// Every key that may still have living tokens.
    pub keys: Vec<Jwk>,
}

/// A public P-256 key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `ES256`.
    pub alg: String,
    /// `P-256`.
    pub crv: String,
    /// `EC`.
    pub kty: String,
    /// `sig`.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// The x coordinate, 32 bytes as base64url.
    pub x: String,
    /// The y coordinate, 32 bytes as base64url.
    pub y: String,
    /// The key's id.
    pub kid: String,
}

impl Jwk {
    /// The key with these coordinates, big-endian.
    pub fn es256(kid: &str, x: &[u8; 32], y: &[u8; 32]) -> Self {
        Self {
            alg: "ES256".to_owned(),
            crv: "P-256".to_owned(),
            kty: "EC".to_owned(),
            key_use: Some("sig".to_owned()),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            kid: kid.to_owned(),
        }
    }

    /// The canonical JSON whose SHA-256 is the key's thumbprint (RFC 7638, section 3).
    pub fn thumbprint_input(&self) -> String {
        // Every value is base64url or a registered name, so none needs escaping; the order is the RFC's.
        let Self { crv, kty, x, y, .. } = self;
        format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}"#)
    }
}
