//! The answer of the token endpoint, and the seal under which it waits for who asks again.
//!
//! The key is derived from the token that was presented, of which the store holds only the hash: nobody opens a stored
//! answer who could not have asked for it.

use std::fmt;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::ports::Random;
use crate::secret::{Secret, SecretHash};

const INFO: &[u8] = b"epicenter refresh answer v1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// A token answer as it goes out. Never shown, wiped when dropped.
#[derive(Clone)]
pub struct TokenAnswer {
    json: Zeroizing<String>,
    refresh_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Members {
    refresh_token: Option<String>,
}

impl TokenAnswer {
    pub(super) fn new(json: String, refresh_token: Option<Secret>) -> Self {
        Self {
            json: Zeroizing::new(json),
            refresh_token,
        }
    }

    /// The JSON object of RFC 6749 section 5.1.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The token in it that asks for the next answer.
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// Seals it for who holds the presented token; bound to the successor that is in it.
    pub(super) fn seal(
        &self,
        presented: &Secret,
        successor: &SecretHash,
        random: &dyn Random,
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let mut sealed = nonce.to_vec();
        sealed.extend_from_slice(self.json.as_bytes());
        let (_, message) = sealed.split_at_mut(NONCE_BYTES);
        let tag = cipher(presented)
            .encrypt_inout_detached(&XNonce::from(nonce), successor.as_bytes(), message.into())
            .expect("an answer is far below the 256 GiB that one nonce is good for");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`TokenAnswer::seal`] gave; `None` when it is damaged or somebody else's.
    pub(super) fn open(presented: &Secret, successor: &SecretHash, sealed: &[u8]) -> Option<Self> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut json = Zeroizing::new(sealed.to_vec());
        cipher(presented)
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                successor.as_bytes(),
                json.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .ok()?;
        let json = Zeroizing::new(String::from_utf8(json.to_vec()).ok()?);
        let members: Members = serde_json::from_str(&json).ok()?;
        let refresh_token = members.refresh_token.map(Zeroizing::new);
        let refresh_token = refresh_token.map(|text| Secret::presented(&text));
        Some(Self {
            json,
            refresh_token,
        })
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenAnswer(redacted)")
    }
}

fn cipher(presented: &Secret) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, presented.expose().as_bytes())
        .expand(INFO, &mut *key)
        .expect("32 bytes are within the 8160 that HKDF-SHA256 can give");
    XChaCha20Poly1305::new((&*key).into())
}

#[cfg(test)]
mod tests {
    use super::TokenAnswer;
    use crate::ports::Random;
    use crate::secret::Secret;

    struct Sevens;

    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn only_the_presented_token_opens_the_answer() {
        let presented = Secret::presented("old");
        let next = Secret::presented("new");
        let answer = TokenAnswer::new(r#"{"refresh_token":"new"}"#.to_owned(), Some(next.clone()));
        let sealed = answer.seal(&presented, &next.hash(), &Sevens);
        assert_eq!(&sealed[..24], [7; 24]);

        let opened = TokenAnswer::open(&presented, &next.hash(), &sealed).unwrap();
        assert_eq!(opened.as_json(), answer.as_json());
        assert_eq!(opened.refresh_token().unwrap().expose(), "new");

        let other = Secret::presented("other");
        assert!(TokenAnswer::open(&other, &next.hash(), &sealed).is_none());
        assert!(TokenAnswer::open(&presented, &other.hash(), &sealed).is_none());
        assert!(TokenAnswer::open(&presented, &next.hash(), &sealed[..23]).is_none());
        for position in 0..sealed.len() {
            let mut sealed = sealed.clone();
            sealed[position] ^= 1;
            assert!(TokenAnswer::open(&presented, &next.hash(), &sealed).is_none());
        }
    }
}
