//! The key hierarchy: root keys from `ENCRYPTION_SECRETS`, an owner's keys from those, a workspace's keys
//! from the owner's. The labels are part of stored data and never change.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epicenter_identity::OwnerId;
use zeroize::Zeroizing;

use crate::blob::{self, NONCE_BYTES, SealError};
use crate::key_ring::{KEY_BYTES, KeyRing, SecretKey};
use crate::secrets::{SecretsError, Variable, parse_versioned};

const ENCRYPTION_SECRETS: Variable = Variable {
    name: "ENCRYPTION_SECRETS",
    form: "write version:secret entries separated by ',', with versions from 1 to 255, \
           for example \"2:newSecret,1:oldSecret\"",
};

/// The hub's root keys.
#[derive(Clone, PartialEq, Eq)]
pub struct RootKeyring(KeyRing);

/// The keys of one owner, as `/api/session` hands them out.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnerKeyring(KeyRing);

/// The keys of one workspace, which seal values.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkspaceKeyring(KeyRing);

/// Why keys are no keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is no key.
    #[error("the keyring is empty")]
    Empty,
    /// A version is not 1 to 255.
    #[error("a key version is not a number from 1 to 255")]
    BadVersion,
    /// A version stands twice.
    #[error("key version {version} stands in the keyring twice")]
    DuplicateVersion {
        /// Which one.
        version: u8,
    },
    /// A key is not 32 bytes.
    #[error("the key of version {version} is not 32 bytes")]
    BadKeyLength {
        /// Which one.
        version: u8,
    },
    /// A key is not base64.
    #[error("the key of version {version} is not base64")]
    BadKeyEncoding {
        /// Which one.
        version: u8,
    },
}

impl RootKeyring {
    /// Reads the value of `ENCRYPTION_SECRETS`, such as `2:newSecret,1:oldSecret`.
    ///
    /// # Errors
    /// [`SecretsError`], which names the variable and the expected form and never a secret.
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let secrets = parse_versioned(text).map_err(|problem| ENCRYPTION_SECRETS.error(problem))?;
        Ok(Self(KeyRing::of_secrets(&secrets)))
    }

    /// The keys of an owner.
    pub fn owner_keyring(&self, owner: &OwnerId) -> OwnerKeyring {
        OwnerKeyring(self.0.derive(&format!("owner:{owner}")))
    }
}

impl OwnerKeyring {
    /// Highest version first: the version and base64 of the 32 key bytes, as `/api/session` sends them.
    pub fn to_wire(&self) -> Vec<(u8, Zeroizing<String>)> {
        let encode = |key: &SecretKey| Zeroizing::new(STANDARD.encode(key.expose()));
        self.0
            .iter()
            .map(|(version, key)| (version, encode(key)))
            .collect()
    }

    /// Reads what `/api/session` sent, in any order.
    ///
    /// # Errors
    /// [`KeyringError`], which names the version that is wrong.
    pub fn from_wire<'a>(
        keys: impl IntoIterator<Item = (u8, &'a str)>,
    ) -> Result<Self, KeyringError> {
        let decode = |(version, text)| {
            let bytes = STANDARD.decode(text).map(Zeroizing::new);
            // Where the text stops being base64 would say something about the key.
            let bytes = bytes.map_err(|_| KeyringError::BadKeyEncoding { version })?;
            parse_key(u32::from(version), &bytes)
        };
        ring_of(keys.into_iter().map(decode)).map(Self)
    }

    /// The keys of one of the owner's workspaces.
    pub fn workspace_keyring(&self, workspace: &str) -> WorkspaceKeyring {
        WorkspaceKeyring(self.0.derive(&format!("workspace:{workspace}")))
    }
}

impl WorkspaceKeyring {
    /// Takes over keys that were derived elsewhere, in any order.
    ///
    /// # Errors
    /// [`KeyringError`], which names the version that is wrong.
    pub fn from_keys<'a>(
        keys: impl IntoIterator<Item = (u32, &'a [u8])>,
    ) -> Result<Self, KeyringError> {
        ring_of(
            keys.into_iter()
                .map(|(version, bytes)| parse_key(version, bytes)),
        )
        .map(Self)
    }

    /// The highest version: the one that seals.
    pub fn current_version(&self) -> u8 {
        self.0.current().0
    }

    /// Seals a value under the current key. `aad` is the entry's key in UTF-8; none and empty are the same.
    ///
    /// The nonce must come from the operating system's random source and be used once.
    pub fn seal(&self, aad: &[u8], nonce: [u8; NONCE_BYTES], plaintext: &[u8]) -> Vec<u8> {
        blob::seal(&self.0, aad, nonce, plaintext)
    }

    /// Opens a blob with the key whose version it names.
    ///
    /// # Errors
    /// [`SealError`], checked in the order of its variants.
    pub fn open(&self, aad: &[u8], blob: &[u8]) -> Result<Vec<u8>, SealError> {
        blob::open(&self.0, aad, blob)
    }
}

fn parse_key(version: u32, bytes: &[u8]) -> Result<(u8, SecretKey), KeyringError> {
    let number = u8::try_from(version).ok().filter(|number| *number > 0);
    let version = number.ok_or(KeyringError::BadVersion)?;
    let bytes: &[u8; KEY_BYTES] = bytes
        .first_chunk()
        .filter(|_| bytes.len() == KEY_BYTES)
        .ok_or(KeyringError::BadKeyLength { version })?;
    Ok((version, SecretKey::new(*bytes)))
}

fn ring_of(
    keys: impl Iterator<Item = Result<(u8, SecretKey), KeyringError>>,
) -> Result<KeyRing, KeyringError> {
    let mut ring: Vec<(u8, SecretKey)> = Vec::new();
    for key in keys {
        let (version, key) = key?;
        if ring.iter().any(|(existing, _)| *existing == version) {
            return Err(KeyringError::DuplicateVersion { version });
        }
        ring.push((version, key));
    }
    KeyRing::new(ring).ok_or(KeyringError::Empty)
}

/// Shows the versions of a ring and nothing else.
macro_rules! redacted_debug {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({:?}, keys redacted)"), self.0)
            }
        }
    )+};
}

redacted_debug!(RootKeyring, OwnerKeyring, WorkspaceKeyring);
