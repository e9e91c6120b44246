//! The two secrets of a hub: given by the operator, or made on first start and kept here.
//!
//! What the data was encrypted under is remembered by fingerprints in the identity store, so that a lost or exchanged
//! secret stops the start instead of quietly making every value unreadable.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_encryption::{AuthSecret, RootKeyring};
use epicenter_identity::OwnerId;
use epicenter_store::SqlStore;
use ring::digest;
use zeroize::Zeroizing;

use super::awaited::SecretFingerprints;
use super::{DataDir, DataDirError, failed};
use crate::identity_store::StoreError;
use crate::random;
use crate::sqlite::sync_directory_of;

/// The folder of the generated secrets.
pub(crate) const FOLDER: &str = "secrets";
pub(crate) const ENCRYPTION_FILE: &str = "encryption-secrets";
pub(crate) const AUTH_FILE: &str = "auth-secret";

/// Where fingerprints are remembered: `version:fingerprint` separated by spaces.
pub(crate) const FINGERPRINTS: &str = "encryption_secrets";
/// Fingerprints are taken of the keys of an owner who cannot exist, so that they say nothing about a key in use.
const FINGERPRINT_OWNER: &str = "fingerprint-of-the-secrets";
/// Enough to tell secrets apart.
const FINGERPRINT_BYTES: usize = 8;

/// Secrets from the configuration, if there are any.
#[derive(Clone, Copy, Default)]
pub struct GivenSecrets<'a> {
    /// `ENCRYPTION_SECRETS`.
    pub encryption: Option<&'a str>,
    /// `AUTH_SECRET`.
    pub auth: Option<&'a str>,
}

impl std::fmt::Debug for GivenSecrets<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("GivenSecrets(redacted)")
    }
}

/// Where a secret came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsSource {
    /// Configuration; it is nowhere in the data directory.
    Given,
    /// A file of the data directory.
    Stored,
    /// Made just now, and stored.
    Generated,
}

/// The secrets a hub runs with.
#[derive(Debug)]
pub struct Secrets {
    /// Keys of the owners hang on it.
    pub encryption: RootKeyring,
    /// Seals what the hub keeps for itself.
    pub auth: AuthSecret,
    /// Where the first came from.
    pub encryption_source: SecretsSource,
    /// Where the second came from.
    pub auth_source: SecretsSource,
}

impl DataDir {
    /// Both secrets, checked against what this directory was used with before, and made where there never were any.
    ///
    /// # Errors
    /// When a secret is malformed, lost or exchanged.
    pub async fn load_secrets(
        &self,
        given: GivenSecrets<'_>,
        store: &SqlStore,
    ) -> Result<Secrets, DataDirError> {
        let awaited = self.awaited_secrets()?;
        let (encryption, encryption_source) = self
            .load_encryption_secrets(given.encryption, store, awaited.as_ref())
            .await?;
        let (auth, auth_source) = self.load_auth_secret(given.auth, store).await?;
        if awaited.is_some() {
            self.forget_awaited_secrets()?;
        }
        Ok(Secrets {
            encryption,
            auth,
            encryption_source,
            auth_source,
        })
    }

    /// `AUTH_SECRET` alone, for commands that sign or unseal and need no workspace keys.
    ///
    /// # Errors
    /// When it is malformed or lost.
    pub async fn load_auth_secret(
        &self,
        given: Option<&str>,
        store: &SqlStore,
    ) -> Result<(AuthSecret, SecretsSource), DataDirError> {
        let awaited = self.awaited_secrets()?;
        let stored = store.list_signing_keys().await;
        let was_used = !stored.map_err(StoreError::from)?.is_empty();
        let generate = || {
            check_not_awaited("AUTH_SECRET", awaits_auth(awaited.as_ref()))?;
            if was_used {
                return Err(DataDirError::SecretLost {
                    variable: "AUTH_SECRET",
                    path: self.secret_path(AUTH_FILE),
                    needs: "set AUTH_SECRET as it was, or bring the file back; any new AUTH_SECRET of at least 32 bytes \
                            works too: a new key signs from then on, and tokens of the old one stay good until they expire",
                });
            }
            Ok(Zeroizing::new(
                URL_SAFE_NO_PAD.encode(random::bytes::<32>()?),
            ))
        };
        let found = self.find_or_make("AUTH_SECRET", AUTH_FILE, given, generate)?;
        let secret = found.parse_auth()?;
        if let Some(awaited) = &awaited {
            awaited.check_auth(&secret)?;
        }
        Ok((secret, found.source))
    }

    /// `AUTH_SECRET` for a command on a database that others may share: it is never made here.
    ///
    /// # Errors
    /// When it is malformed or not there.
    pub fn find_shared_auth_secret(&self, given: Option<&str>) -> Result<AuthSecret, DataDirError> {
        let awaited = self.awaited_secrets()?;
        let missing = || {
            check_not_awaited("AUTH_SECRET", awaits_auth(awaited.as_ref()))?;
            Err(DataDirError::SecretNotShared {
                variable: "AUTH_SECRET",
                path: self.secret_path(AUTH_FILE),
            })
        };
        let secret = self
            .find_or_make("AUTH_SECRET", AUTH_FILE, given, missing)?
            .parse_auth()?;
        if let Some(awaited) = &awaited {
            awaited.check_auth(&secret)?;
        }
        Ok(secret)
    }

    /// Both secrets as they are, for a backup: none is made, and a restored directory must have had its first start.
    pub(crate) fn find_secrets(
        &self,
        given: GivenSecrets<'_>,
    ) -> Result<FoundSecrets, DataDirError> {
        let is_restored = self.awaited_secrets()?.is_some();
        let find = |variable, file, given| {
            let missing = || {
                check_not_awaited(variable, is_restored)?;
                Err(DataDirError::SecretLost {
                    variable,
                    path: self.secret_path(file),
                    needs: "give this command the configuration and the environment that the hub has",
                })
            };
            self.find_or_make(variable, file, given, missing)
        };
        let encryption = find("ENCRYPTION_SECRETS", ENCRYPTION_FILE, given.encryption)?;
        let auth = find("AUTH_SECRET", AUTH_FILE, given.auth)?;
        Ok(FoundSecrets {
            keyring: encryption.parse_encryption()?,
            auth_secret: auth.parse_auth()?,
            encryption: encryption.text,
            encryption_source: encryption.source,
            auth: auth.text,
            auth_source: auth.source,
        })
    }

    async fn load_encryption_secrets(
        &self,
        given: Option<&str>,
        store: &SqlStore,
        awaited: Option<&SecretFingerprints>,
    ) -> Result<(RootKeyring, SecretsSource), DataDirError> {
        let recorded = store
            .find_meta(FINGERPRINTS)
            .await
            .map_err(StoreError::from)?;
        let mut recorded = Fingerprints::parse(&recorded.unwrap_or_default());
        let generate = || {
            check_not_awaited("ENCRYPTION_SECRETS", awaited.is_some())?;
            // Without the identity store's memory, rooms still tell that a secret was in use.
            if !recorded.0.is_empty() || self.rooms_database().exists() {
                return Err(DataDirError::SecretLost {
                    variable: "ENCRYPTION_SECRETS",
                    path: self.secret_path(ENCRYPTION_FILE),
                    needs: "set ENCRYPTION_SECRETS as it was, or bring the file back; without it nobody can read what is \
                            encrypted here, so no new one is made",
                });
            }
            let secret = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
            Ok(Zeroizing::new(format!("1:{secret}")))
        };
        let found = self.find_or_make("ENCRYPTION_SECRETS", ENCRYPTION_FILE, given, generate)?;
        let keyring = found.parse_encryption()?;
        if let Some(awaited) = awaited {
            awaited.check_encryption(&keyring)?;
        }
        let current = Fingerprints::of(&keyring);
        if recorded.0.is_empty() {
            // Another process may start at the same time with other secrets: the first one's count.
            let first = store.claim_meta(FINGERPRINTS, &current.encode()).await;
            recorded = Fingerprints::parse(&first.map_err(StoreError::from)?);
        }
        let merged = recorded.check_and_merge(current)?;
        if merged != recorded {
            store
                .set_meta(FINGERPRINTS, &merged.encode())
                .await
                .map_err(StoreError::from)?;
        }
        Ok((keyring, found.source))
    }

    fn find_or_make(
        &self,
        variable: &'static str,
        file: &'static str,
        given: Option<&str>,
        generate: impl FnOnce() -> Result<Zeroizing<String>, DataDirError>,
    ) -> Result<Found, DataDirError> {
        let path = self.secret_path(file);
        if let Some(text) = given {
            return Ok(Found {
                text: Zeroizing::new(text.to_owned()),
                source: SecretsSource::Given,
                origin: variable.to_owned(),
            });
        }
        let origin = path.display().to_string();
        if let Some(text) = read_secret(&path)? {
            return Ok(Found {
                text,
                source: SecretsSource::Stored,
                origin,
            });
        }
        let text = generate()?;
        let source = if store_secret(&path, &text)? {
            SecretsSource::Generated
        } else {
            SecretsSource::Stored
        };
        // Another process may have made one at the same time: what is stored counts.
        let text = read_secret(&path)?
            .ok_or_else(|| failed("read back", &path)(io::Error::from(io::ErrorKind::NotFound)))?;
        Ok(Found {
            text,
            source,
            origin,
        })
    }

    fn secret_path(&self, file: &str) -> std::path::PathBuf {
        self.path.join(FOLDER).join(file)
    }
}

/// Both secrets as text and parsed.
pub(crate) struct FoundSecrets {
    pub(crate) encryption: Zeroizing<String>,
    pub(crate) encryption_source: SecretsSource,
    pub(crate) keyring: RootKeyring,
    pub(crate) auth: Zeroizing<String>,
    pub(crate) auth_source: SecretsSource,
    pub(crate) auth_secret: AuthSecret,
}

fn awaits_auth(awaited: Option<&SecretFingerprints>) -> bool {
    awaited.is_some_and(SecretFingerprints::awaits_auth)
}

/// A secret that a restored directory waits for is never made anew.
fn check_not_awaited(variable: &'static str, is_awaited: bool) -> Result<(), DataDirError> {
    if is_awaited {
        return Err(DataDirError::SecretAwaited { variable });
    }
    Ok(())
}

struct Found {
    text: Zeroizing<String>,
    source: SecretsSource,
    origin: String,
}

impl Found {
    fn parse_encryption(&self) -> Result<RootKeyring, DataDirError> {
        RootKeyring::parse(&self.text).map_err(|source| self.malformed(source))
    }

    fn parse_auth(&self) -> Result<AuthSecret, DataDirError> {
        AuthSecret::parse(&self.text).map_err(|source| self.malformed(source))
    }

    fn malformed(&self, source: epicenter_encryption::SecretsError) -> DataDirError {
        DataDirError::MalformedSecret {
            origin: self.origin.clone(),
            source,
        }
    }
}

fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            Ok(Some(Zeroizing::new(text.trim().to_owned())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Puts a whole secret in place, durably, unless there is one: false then. A half-written one is never seen.
pub(crate) fn store_secret(path: &Path, text: &str) -> Result<bool, DataDirError> {
    let suffix = random::alphanumeric(8)?;
    let draft = path.with_extension(format!("{suffix}.new"));
    let write = || -> io::Result<bool> {
        if let Some(folder) = path.parent()
            && !folder.is_dir()
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            sync_directory_of(folder)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        // A link, unlike a rename, does not replace what is there.
        let is_first = match fs::hard_link(&draft, path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        fs::remove_file(&draft)?;
        sync_directory_of(path)?;
        Ok(is_first)
    };
    let written = write();
    if written.is_err() {
        // It may not exist; what matters is that no copy of a secret is left behind.
        let _ = fs::remove_file(&draft);
    }
    written.map_err(failed("store", path))
}

/// One fingerprint per version, in rising order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprints(std::collections::BTreeMap<u8, String>);

impl Fingerprints {
    pub(crate) fn of(keyring: &RootKeyring) -> Self {
        let owner = OwnerId::parse(FINGERPRINT_OWNER).expect("the literal is a valid owner id");
        let print = |key: &str| {
            let digest = digest::digest(&digest::SHA256, key.as_bytes());
            let start = digest.as_ref().iter().take(FINGERPRINT_BYTES);
            start.map(|byte| format!("{byte:02x}")).collect()
        };
        let keys = keyring.owner_keyring(&owner).to_wire();
        Self(
            keys.iter()
                .map(|(version, key)| (*version, print(key)))
                .collect(),
        )
    }

    pub(crate) fn parse(text: &str) -> Self {
        let entry = |entry: &str| {
            let (version, print) = entry.split_once(':')?;
            Some((version.parse().ok()?, print.to_owned()))
        };
        Self(text.split(' ').filter_map(entry).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0
            .iter()
            .map(|(version, print)| (*version, print.as_str()))
    }

    pub(super) fn find(&self, version: u8) -> Option<&str> {
        self.0.get(&version).map(String::as_str)
    }

    pub(super) fn encode(&self) -> String {
        let entries: Vec<_> = self
            .0
            .iter()
            .map(|(version, print)| format!("{version}:{print}"))
            .collect();
        entries.join(" ")
    }

    /// Versions may come and go, but one version is one secret for ever.
    pub(crate) fn check_and_merge(&self, current: Self) -> Result<Self, DataDirError> {
        let mut merged = self.clone();
        for (version, print) in current.0 {
            match self.0.get(&version) {
                Some(recorded) if *recorded != print => {
                    let newest = self.0.keys().next_back().copied().unwrap_or(version);
                    return Err(DataDirError::SecretChanged {
                        version,
                        next: newest.saturating_add(1),
                    });
                }
                _ => merged.0.insert(version, print),
            };
        }
        Ok(merged)
    }
}
