//! Access tokens: JSON Web Tokens signed with ES256 (RFC 7515, 7519, 9068; `identity.md` 3).
//!
//! [`CompactToken::parse`] reads the form, [`TokenVerifier::verify`] decides. The algorithm is the key set's and never
//! the token's: whatever a header says besides `ES256` is refused, and a key inside a header is never looked at. Claims
//! are read only after the signature held. No clock, no key store and no account is known here.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::ports::{PublicKey, Verify};

/// A hub's own tokens are below 1 KiB; servers commonly take 8 KiB of header line, which bounds what reaches here.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token is not taken. For logs and tests: callers are told only that the token is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not a compact JWS of this hub's form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// The header names another algorithm than ES256.
    #[error("the token's algorithm is not ES256")]
    Algorithm,
    /// The header's `typ` is not accepted.
    #[error("the token is of another type")]
    Type,
    /// The header names no key.
    #[error("the token names no key")]
    NoKeyId,
    /// No key of this id exists.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// The signature is not the key's.
    #[error("the signature does not hold")]
    Signature,
    /// A claim is missing, malformed or somebody else's.
    #[error("the claim `{0}` is missing or does not hold")]
    Claim(&'static str),
    /// `exp` has come.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// Which `typ` headers a verifier takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedTypes {
    /// `at+jwt`, with or without `application/` (RFC 9068 section 2.1): what the hub takes, so that an `id_token` of the
    /// same keys is never an access token.
    AccessToken,
    /// Any or none.
    Any,
}

/// What tokens must say.
#[derive(Clone, Debug)]
pub struct VerifierOptions {
    /// `iss`, compared whole.
    pub issuer: String,
    /// Must be `aud` or one of it, compared whole.
    pub audience: String,
    /// `typ`.
    pub types: AcceptedTypes,
}

/// A token taken apart; nothing about it has been verified but its form.
#[derive(Debug)]
pub struct CompactToken<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: [u8; 64],
    kid: String,
    typ: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// A member that is there must be of its type; `null` is not a way to leave it out.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl<'a> CompactToken<'a> {
    /// Reads the three parts and the header.
    ///
    /// # Errors
    /// Anything but strict base64url without padding, a JSON object as header with no member twice, `alg` ES256, no
    /// `crit`, a `kid`, and 64 bytes of signature.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed("too long"));
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(TokenError::Malformed("not three parts"))?;
        let (header, payload) = signed
            .split_once('.')
            .ok_or(TokenError::Malformed("not three parts"))?;
        // A fourth part would leave a full stop in one of these, which is no base64url.
        let header: Header = parse_object(&decode(header)?).ok_or(TokenError::Malformed(
            "the header is not the object it should be",
        ))?;
        if header.alg != "ES256" {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::Malformed("crit is not understood"));
        }
        let kid = header.kid.ok_or(TokenError::NoKeyId)?;
        let signature: [u8; 64] = decode(signature)?
            .try_into()
            .map_err(|_: Vec<u8>| TokenError::Malformed("the signature is not 64 bytes"))?;
        Ok(Self {
            signed,
            payload: decode(payload)?,
            signature,
            kid,
            typ: header.typ,
        })
    }

    /// The id of the key that is said to have signed.
    pub fn key_id(&self) -> &str {
        &self.kid
    }
}

/// The claims of a verified token that the hub uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`, not empty.
    pub subject: String,
    /// `client_id` or `azp`.
    pub client: Option<String>,
    /// `gid`, the grant.
    pub grant: Option<String>,
    /// `scope`; empty when absent.
    pub scope: String,
    /// `exp` in milliseconds since the epoch: from then on the token is expired.
    pub expires_at_ms: u64,
    /// `nbf` likewise: from then on it is valid.
    pub not_before_ms: u64,
    /// `iat` likewise: what was revoked then or later does not hold any more.
    pub issued_at_ms: u64,
}

impl Claims {
    /// Whether the token may be used now; no tolerance on either side.
    ///
    /// # Errors
    /// `exp` equal to now is expired, `nbf` equal to now is valid.
    pub fn check_time(&self, now_ms: u64) -> Result<(), TokenError> {
        if now_ms >= self.expires_at_ms {
            return Err(TokenError::Expired);
        }
        if now_ms < self.not_before_ms {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct RawClaims {
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<String>,
    #[serde(default, deserialize_with = "present")]
    gid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    azp: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, name: &str) -> bool {
        match self {
            Audience::One(one) => one == name,
            Audience::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

/// Decides whether tokens hold.
#[derive(Clone)]
pub struct TokenVerifier {
    verify: Arc<dyn Verify>,
    options: VerifierOptions,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TokenVerifier")
            .field("options", &self.options)
            .finish()
    }
}

impl TokenVerifier {
    /// A verifier with these options.
    pub fn new(verify: Arc<dyn Verify>, options: VerifierOptions) -> Self {
        Self { verify, options }
    }

    /// Refuses the types that are not accepted, before any key is looked for.
    ///
    /// # Errors
    /// [`TokenError::Type`].
    pub fn check_type(&self, token: &CompactToken<'_>) -> Result<(), TokenError> {
        let accepted = match self.options.types {
            AcceptedTypes::Any => true,
            // Media types compare without case (RFC 7515 section 4.1.9).
            AcceptedTypes::AccessToken => token.typ.as_deref().is_some_and(|typ| {
                typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
            }),
        };
        if accepted {
            Ok(())
        } else {
            Err(TokenError::Type)
        }
    }

    /// Checks type, signature and claims with the key that the token named.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify(
        &self,
        token: &CompactToken<'_>,
        key: &PublicKey,
        now_ms: u64,
    ) -> Result<Claims, TokenError> {
        self.check_type(token)?;
        if key.kid != token.kid {
            return Err(TokenError::UnknownKey);
        }
        if !self
            .verify
            .verify_es256(key, token.signed.as_bytes(), &token.signature)
        {
            return Err(TokenError::Signature);
        }
        let claims = self.read_claims(&token.payload)?;
        claims.check_time(now_ms)?;
        Ok(claims)
    }

    fn read_claims(&self, payload: &[u8]) -> Result<Claims, TokenError> {
        let raw: RawClaims = parse_object(payload).ok_or(TokenError::Malformed(
            "the claims are not the object they should be",
        ))?;
        if raw.iss.as_deref() != Some(self.options.issuer.as_str()) {
            return Err(TokenError::Claim("iss"));
        }
        if !raw
            .aud
            .is_some_and(|audience| audience.contains(&self.options.audience))
        {
            return Err(TokenError::Claim("aud"));
        }
        let subject = raw
            .sub
            .filter(|sub| !sub.is_empty())
            .ok_or(TokenError::Claim("sub"))?;
        // An `iat` in the future is taken: clocks of processes that share a key store differ, and `nbf` is the claim
        // that keeps a token back.
        let issued_at_ms = milliseconds(raw.iat.ok_or(TokenError::Claim("iat"))?);
        let expires_at_ms = milliseconds(raw.exp.ok_or(TokenError::Claim("exp"))?);
        let client = match (raw.client_id, raw.azp) {
            (Some(client), Some(azp)) if client != azp => return Err(TokenError::Claim("azp")),
            (Some(client), _) | (None, Some(client)) => Some(client),
            (None, None) => None,
        };
        Ok(Claims {
            subject,
            client,
            grant: raw.gid,
            scope: raw.scope.unwrap_or_default(),
            expires_at_ms,
            not_before_ms: raw.nbf.map_or(0, milliseconds),
            issued_at_ms,
        })
    }
}

/// A NumericDate (RFC 7519 section 2), fractions allowed, rounded up to the millisecond. The cast saturates: a time
/// before the epoch is 0, one beyond all clocks the last millisecond.
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1_000.0).ceil() as u64
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    // The engine refuses padding, other alphabets and bits that do not count; where it failed does not matter.
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed("not base64url"))
}

/// Reads a JSON object; a known member twice is an error. Serde would fill a struct from an array as well.
fn parse_object<T: for<'de> Deserialize<'de>>(json: &[u8]) -> Option<T> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(json).ok()
}
