//! Versioned keys, and the derivation that leads from one level of keys to the next.

use std::cmp::Reverse;
use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of every key.
pub(crate) const KEY_BYTES: usize = 32;

/// One key. It is wiped when dropped, compared in constant time and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    pub(crate) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The root key of a secret: SHA-256 of its UTF-8 bytes.
    pub(crate) fn of_secret(secret: &str) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        Sha256::new_with_prefix(secret).finalize_into((&mut key.0).into());
        key
    }

    /// HKDF-SHA256 with an empty salt and the label as info.
    pub(crate) fn derive(&self, label: &str) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand(label.as_bytes(), &mut key.0)
            .expect("32 bytes are within the 8160 that HKDF-SHA256 can give");
        key
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// Keys by version, highest first, never empty, each version once.
#[derive(Clone)]
pub(crate) struct KeyRing(Vec<(u8, SecretKey)>);

impl KeyRing {
    /// `None` without any key, with version 0, or when a version stands twice.
    pub(crate) fn new(mut keys: Vec<(u8, SecretKey)>) -> Option<Self> {
        keys.sort_by_key(|(version, _)| Reverse(*version));
        let is_ordered = keys.windows(2).all(|pair| pair[0].0 > pair[1].0);
        let is_numbered = keys.last().is_some_and(|(lowest, _)| *lowest > 0);
        (is_ordered && is_numbered).then_some(Self(keys))
    }

    /// The ring of root keys of secrets, as the grammar gives them: highest version first, each once.
    pub(crate) fn of_secrets(secrets: &[(u8, &str)]) -> Self {
        let root = |&(version, secret): &(u8, &str)| (version, SecretKey::of_secret(secret));
        Self(secrets.iter().map(root).collect())
    }

    /// The same versions, every key one level down.
    pub(crate) fn derive(&self, label: &str) -> Self {
        Self(
            self.0
                .iter()
                .map(|(version, key)| (*version, key.derive(label)))
                .collect(),
        )
    }

    /// The highest version, which seals.
    pub(crate) fn current(&self) -> &(u8, SecretKey) {
        self.0
            .first()
            .expect("a ring holds at least one key from its construction on")
    }

    pub(crate) fn find(&self, version: u8) -> Option<&SecretKey> {
        self.0
            .iter()
            .find(|(existing, _)| *existing == version)
            .map(|(_, key)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &SecretKey)> {
        self.0.iter().map(|(version, key)| (*version, key))
    }
}

/// Versions are public; all keys are compared whatever the first ones say.
impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        let versions = |ring: &Self| ring.iter().map(|(version, _)| version).collect::<Vec<_>>();
        let pairs = self.iter().zip(other.iter());
        let keys = pairs.fold(Choice::from(1), |equal, ((_, ours), (_, theirs))| {
            equal & ours.0.ct_eq(&theirs.0)
        });
        versions(self) == versions(other) && bool::from(keys)
    }
}

impl Eq for KeyRing {}

/// The versions and nothing else.
impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("versions ")?;
        formatter
            .debug_list()
            .entries(self.iter().map(|(version, _)| version))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::XChaCha20Poly1305;

    use super::*;

    /// Holds at compile time: the second line needs the cipher's feature `zeroize`.
    #[test]
    fn keys_are_wiped_when_dropped() {
        fn is_wiped<T: ZeroizeOnDrop>() {}
        is_wiped::<SecretKey>();
        is_wiped::<XChaCha20Poly1305>();
    }

    #[test]
    fn a_ring_has_keys_and_each_version_once() {
        let ring = |versions: &[u8]| {
            let key = |version: &u8| (*version, SecretKey::new([*version; KEY_BYTES]));
            KeyRing::new(versions.iter().map(key).collect())
        };
        assert!(ring(&[]).is_none());
        assert!(ring(&[0]).is_none());
        assert!(ring(&[1, 2, 1]).is_none());
        assert_eq!(ring(&[1, 255, 7]).map(|ring| ring.current().0), Some(255));
    }
}
