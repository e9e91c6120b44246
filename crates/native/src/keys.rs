//! ES256: the hub's signing keys, the access tokens they sign, and the check of a signature.
//!
//! A private key exists in memory inside [`SigningKey`] and in the store sealed under `AUTH_SECRET` (`store/signer.rs`),
//! nowhere else. The claims are those of `identity.md` 2; what a token must look like to be accepted is the server's
//! business.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::{self, PublicKey, StoreUnavailable, Verify};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::random::{self, RandomError};

/// A key cannot be made, read or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("no key or signature could be made: the system's random source failed")]
    Random,
    /// The stored bytes are no P-256 key in PKCS#8.
    #[error("the stored key is not a P-256 key")]
    Malformed,
}

/// A private signing key.
pub struct SigningKey {
    public: PublicKey,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "SigningKey({}, private part redacted)",
            self.public.kid
        )
    }
}

impl SigningKey {
    /// Makes a key; the bytes are its PKCS#8 form, to be sealed and stored.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let random = SystemRandom::new();
        // `ring` says no more than that it failed, and the random source is all that can fail here.
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| KeyError::Random)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        Ok((Self::from_pkcs8(&pkcs8)?, pkcs8))
    }

    /// Reads a stored key.
    ///
    /// # Errors
    /// When the bytes are no such key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random)
            // What exactly is wrong with a private key is nobody's business.
            .map_err(|_| KeyError::Malformed)?;
        let point = <[u8; 65]>::try_from(pair.public_key().as_ref())
            // Another length would be another curve.
            .map_err(|_| KeyError::Malformed)?;
        Ok(Self {
            public: PublicKey {
                kid: thumbprint(&point),
                point,
            },
            pair,
            random,
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message: r and s, 32 bytes each.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let signature = self.pair.sign(&self.random, message);
        signature
            .ok()
            .and_then(|signature| signature.as_ref().try_into().ok())
            .ok_or(KeyError::Random)
    }
}

impl ports::SigningKey for SigningKey {
    fn kid(&self) -> &str {
        &self.public.kid
    }

    fn sign_es256(&self, message: &[u8]) -> Result<[u8; 64], StoreUnavailable> {
        self.sign(message).map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a token cannot be signed"
            );
            StoreUnavailable
        })
    }
}

/// The key id of a point: base64url of the SHA-256 of its JWK's required members (RFC 7638).
pub fn thumbprint(point: &[u8; 65]) -> String {
    let (x, y) = (&point[1..33], &point[33..]);
    let jwk = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(x),
        URL_SAFE_NO_PAD.encode(y)
    );
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()))
}

/// Signature checks by `ring`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RingVerify;

impl Verify for RingVerify {
    fn verify_es256(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point)
            .verify(message, signature)
            .is_ok()
    }
}

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenClaims {
    /// `sub`.
    pub user: UserId,
    /// `client_id` and `azp`.
    pub client: ClientId,
    /// `scope`.
    pub scopes: Scopes,
    /// `gid`.
    pub grant: GrantId,
    /// `sid`, when the token hangs on a browser session.
    pub session: Option<String>,
    /// `iat`, in milliseconds since the Unix epoch; the token says seconds.
    pub issued_at_ms: u64,
    /// `exp` minus `iat`, in seconds.
    pub lifetime_s: u64,
}

/// Signs access tokens of one issuer.
#[derive(Debug)]
pub struct TokenSigner {
    key: Arc<SigningKey>,
    issuer: String,
    audience: String,
}

impl TokenSigner {
    /// Issuer is the origin plus `/auth`, audience the origin.
    pub fn new(key: impl Into<Arc<SigningKey>>, origin: &PublicOrigin) -> Self {
        Self {
            key: key.into(),
            issuer: format!("{}/auth", origin.as_str()),
            audience: origin.as_str().to_owned(),
        }
    }

    /// Signs a token with a fresh `jti`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn mint_access_token(&self, claims: &AccessTokenClaims) -> Result<String, KeyError> {
        let issued_at = claims.issued_at_ms / 1000;
        let scope = claims.scopes.to_string();
        let payload = Payload {
            iss: &self.issuer,
            aud: [&self.audience],
            sub: claims.user.as_str(),
            client_id: claims.client.as_str(),
            azp: claims.client.as_str(),
            scope: &scope,
            iat: issued_at,
            exp: issued_at.saturating_add(claims.lifetime_s),
            jti: &new_id()?,
            sid: claims.session.as_deref(),
            gid: claims.grant.as_str(),
        };
        let header = Header {
            alg: "ES256",
            typ: "at+jwt",
            kid: &self.key.public.kid,
        };
        let mut token = format!("{}.{}", encode(&header), encode(&payload));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// A grant of its own for a token that no sign-in stands behind.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_grant() -> Result<GrantId, KeyError> {
    // Letters and digits are a valid id, so this cannot fail for another reason.
    GrantId::parse(&new_id()?).map_err(|_| KeyError::Malformed)
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    aud: [&'a str; 1],
    sub: &'a str,
    client_id: &'a str,
    azp: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    gid: &'a str,
}

fn encode(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("structs of strings and numbers have a JSON form");
    URL_SAFE_NO_PAD.encode(json)
}

fn new_id() -> Result<String, KeyError> {
    random::alphanumeric(32).map_err(|RandomError(_)| KeyError::Random)
}
