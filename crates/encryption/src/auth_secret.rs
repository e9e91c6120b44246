//! `AUTH_SECRET`: what the hub itself seals at rest, such as its private signing keys.
//!
//! It never touches an owner's keys. Every use has a label and so a key of its own:
//! HKDF-SHA256(SHA-256(secret), empty salt, info `auth:{label}`).

use std::fmt;

use hkdf::hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::blob::{self, NONCE_BYTES, SealError};
use crate::key_ring::{KeyRing, SecretKey};
use crate::secrets::{SecretsError, SecretsProblem, Variable, is_versioned, parse_versioned};

/// As many bytes as the keys that are derived from it.
const MIN_SECRET_BYTES: usize = 32;

/// Bytes of a message authentication code.
const MAC_BYTES: usize = 32;

/// The version of a secret that is written without one, so that `2:new,1:old` continues a plain `old`.
const PLAIN_VERSION: u8 = 1;

const AUTH_SECRET: Variable = Variable {
    name: "AUTH_SECRET",
    form: "write one secret of at least 32 bytes, or version:secret entries separated by ',' \
           with at least 32 bytes in each secret, for example \"2:newSecret,1:oldSecret\"",
};

/// The secret under which a hub seals what it keeps for itself.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthSecret(KeyRing);

impl AuthSecret {
    /// Reads the value of `AUTH_SECRET`: a plain secret, or the form `2:newSecret,1:oldSecret`.
    ///
    /// The second form is recognised only when every part between commas is `version:secret` with a version
    /// from 1 to 255. Any other text is one plain secret, whatever colons and commas it holds, and counts
    /// as version 1.
    ///
    /// # Errors
    /// [`SecretsError`], which names the variable and the expected form and never a secret.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        parse(text).map_err(|problem| AUTH_SECRET.error(problem))
    }

    /// Seals `plaintext` under the current version and the label, bound to `aad`.
    ///
    /// The result describes itself: format, version, nonce, ciphertext, tag. The nonce must come from the
    /// operating system's random source and be used once.
    pub fn seal(
        &self,
        label: &str,
        aad: &[u8],
        nonce: [u8; NONCE_BYTES],
        plaintext: &[u8],
    ) -> Vec<u8> {
        blob::seal(&self.labelled(label), aad, nonce, plaintext)
    }

    /// Opens what [`AuthSecret::seal`] gave, under any version that is still listed.
    ///
    /// # Errors
    /// [`SealError`], checked in the order of its variants.
    pub fn open(
        &self,
        label: &str,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        blob::open(&self.labelled(label), aad, sealed).map(Zeroizing::new)
    }

    /// HMAC-SHA256 of a message that leaves the hub and comes back, under the current version and the label.
    pub fn mac(&self, label: &str, message: &[u8]) -> [u8; MAC_BYTES] {
        let keys = self.labelled(label);
        let (_, key) = keys.current();
        keyed(key, message).finalize().into_bytes().into()
    }

    /// Whether [`AuthSecret::mac`] gave this code, under any version that is still listed. Compares in constant time.
    pub fn is_mac(&self, label: &str, message: &[u8], mac: &[u8]) -> bool {
        let keys = self.labelled(label);
        keys.iter()
            .any(|(_, key)| keyed(key, message).verify_slice(mac).is_ok())
    }

    fn labelled(&self, label: &str) -> KeyRing {
        self.0.derive(&format!("auth:{label}"))
    }
}

fn keyed(key: &SecretKey, message: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose());
    let mut mac = mac.expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

fn parse(text: &str) -> Result<AuthSecret, SecretsProblem> {
    if text.is_empty() {
        return Err(SecretsProblem::Empty);
    }
    let secrets = if is_versioned(text) {
        parse_versioned(text)?
    } else {
        vec![(PLAIN_VERSION, text)]
    };
    let is_short = |(_, secret): &(u8, &str)| secret.len() < MIN_SECRET_BYTES;
    if let Some(&(version, _)) = secrets.iter().find(|secret| is_short(secret)) {
        return Err(SecretsProblem::TooShort {
            version,
            minimum: MIN_SECRET_BYTES,
        });
    }
    Ok(AuthSecret(KeyRing::of_secrets(&secrets)))
}

impl fmt::Debug for AuthSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AuthSecret({:?}, keys redacted)", self.0)
    }
}
