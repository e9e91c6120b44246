//! Signing keys at rest: public points in clear, private parts sealed under `AUTH_SECRET`.

use epicenter_encryption::AuthSecret;
use epicenter_server::ports::PublicKey;
use rusqlite::{Connection, params};

use super::{IdentityStore, StoreError};
use crate::keys::SigningKey;
use crate::random;

/// The HKDF label under which private keys are sealed. Part of the stored form.
const SEAL_LABEL: &str = "signing-key";

impl IdentityStore {
    /// The newest key that `AUTH_SECRET` opens; made when there is none.
    ///
    /// After `AUTH_SECRET` was replaced the older keys cannot be opened. They are kept: their public halves verify the
    /// tokens that are still alive, and who brings the old secret back gets them back.
    ///
    /// # Errors
    /// When the store fails or no key can be made.
    pub fn ensure_signing_key(
        &self,
        secret: &AuthSecret,
        now_ms: u64,
    ) -> Result<SigningKey, StoreError> {
        self.transact(|connection| {
            let stored = load_sealed(connection)?;
            if let Some(key) = stored.iter().find_map(|(kid, sealed)| open(secret, kid, sealed)) {
                return Ok(key);
            }
            if !stored.is_empty() {
                tracing::warn!(
                    keys = stored.len(),
                    "AUTH_SECRET opens none of the stored signing keys: making a new one, the old public keys stay"
                );
            }
            let (key, pkcs8) = SigningKey::generate()?;
            let public = key.public();
            let sealed = secret.seal(SEAL_LABEL, public.kid.as_bytes(), random::bytes()?, &pkcs8);
            connection
                .execute(
                    "INSERT INTO signing_keys (kid, point, sealed_private, created_at) VALUES (?1, ?2, ?3, ?4)",
                    params![public.kid, public.point, sealed, i64::try_from(now_ms).map_err(StoreError::from)?],
                )
                .map_err(StoreError::from)?;
            Ok(key)
        })
    }

    /// Whether any signing key was ever made.
    pub(crate) fn has_signing_keys(&self) -> Result<bool, StoreError> {
        Ok(self
            .lock()
            .query_row("SELECT EXISTS (SELECT 1 FROM signing_keys)", [], |row| {
                row.get(0)
            })?)
    }

    pub(super) fn load_public_keys(&self) -> Result<Vec<PublicKey>, StoreError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare("SELECT kid, point FROM signing_keys ORDER BY created_at DESC, kid")?;
        let keys = statement.query_map([], |row| {
            Ok(PublicKey {
                kid: row.get(0)?,
                point: row.get(1)?,
            })
        })?;
        Ok(keys.collect::<Result<_, _>>()?)
    }
}

/// Keys that may sign, the newest first.
fn load_sealed(connection: &Connection) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT kid, sealed_private FROM signing_keys WHERE retired_at IS NULL ORDER BY created_at DESC, kid",
    )?;
    let keys = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn open(secret: &AuthSecret, kid: &str, sealed: &[u8]) -> Option<SigningKey> {
    // Another secret, or damage: the key is of no use either way.
    let pkcs8 = secret.open(SEAL_LABEL, kid.as_bytes(), sealed).ok()?;
    let key = SigningKey::from_pkcs8(&pkcs8).ok()?;
    (key.public().kid == kid).then_some(key)
}
