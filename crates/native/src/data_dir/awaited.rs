//! Which secrets a restored data directory waits for: those that its backup was made with, told by fingerprints.
//!
//! The file is there from a restore to the first start with the right secrets. Neither fingerprint is a hash of a secret:
//! that of `ENCRYPTION_SECRETS` is taken of keys that HKDF derives for nobody, that of `AUTH_SECRET` is a code under a key
//! that HKDF derives for nothing else.

use std::fs;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_encryption::{AuthSecret, RootKeyring};
use serde::{Deserialize, Serialize};

use super::secrets::Fingerprints;
use super::{DataDir, DataDirError, failed};
use crate::sqlite::sync_directory_of;

/// The file in the data directory.
pub(crate) const FILE: &str = "secrets-awaited";

/// The HKDF label and the message of the fingerprint of `AUTH_SECRET`. Part of the stored form.
const AUTH_LABEL: &str = "backup-fingerprint";
const AUTH_MESSAGE: &[u8] = b"epicenter-backup";

/// Fingerprints of the secrets of a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretFingerprints {
    /// `version:fingerprint` of each of `ENCRYPTION_SECRETS`, separated by spaces.
    encryption: String,
    /// Of `AUTH_SECRET`; none when any will do.
    auth: Option<String>,
}

impl SecretFingerprints {
    pub(crate) fn of(encryption: &RootKeyring, auth: &AuthSecret) -> Self {
        let code = auth.mac(AUTH_LABEL, AUTH_MESSAGE);
        Self {
            encryption: Fingerprints::of(encryption).encode(),
            auth: Some(URL_SAFE_NO_PAD.encode(code)),
        }
    }

    /// The same, but any `AUTH_SECRET` will do.
    #[must_use]
    pub(crate) fn with_any_auth(self) -> Self {
        Self { auth: None, ..self }
    }

    /// Every version that the backup was made with must be there, and be the same secret.
    pub(crate) fn check_encryption(&self, found: &RootKeyring) -> Result<(), DataDirError> {
        let found = Fingerprints::of(found);
        for (version, print) in Fingerprints::parse(&self.encryption).iter() {
            if found.find(version) != Some(print) {
                return Err(DataDirError::SecretUnexpected {
                    variable: "ENCRYPTION_SECRETS",
                    version: Some(version),
                });
            }
        }
        Ok(())
    }

    /// One of its versions must be the one that the backup was made with.
    pub(crate) fn check_auth(&self, found: &AuthSecret) -> Result<(), DataDirError> {
        let Some(expected) = &self.auth else {
            return Ok(());
        };
        // What cannot be decoded is the fingerprint of no secret.
        let code = URL_SAFE_NO_PAD.decode(expected).unwrap_or_default();
        if found.is_mac(AUTH_LABEL, AUTH_MESSAGE, &code) {
            return Ok(());
        }
        Err(DataDirError::SecretUnexpected {
            variable: "AUTH_SECRET",
            version: None,
        })
    }

    /// Whether a certain `AUTH_SECRET` is waited for.
    pub(crate) fn awaits_auth(&self) -> bool {
        self.auth.is_some()
    }
}

impl DataDir {
    /// What a restore has left to wait for; none after the first start.
    pub(crate) fn awaited_secrets(&self) -> Result<Option<SecretFingerprints>, DataDirError> {
        let path = self.awaited_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        match serde_json::from_slice(&text) {
            Ok(awaited) => Ok(Some(awaited)),
            Err(error) => Err(failed("understand", &path)(error.into())),
        }
    }

    /// The right secrets are there: from now on the identity store remembers them.
    pub(super) fn forget_awaited_secrets(&self) -> Result<(), DataDirError> {
        let path = self.awaited_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| sync_directory_of(&path))
                .map_err(failed("remove", &path)),
        }
    }

    fn awaited_path(&self) -> PathBuf {
        self.path.join(FILE)
    }
}
