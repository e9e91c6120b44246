//! Private signing keys: sealed in the store under `AUTH_SECRET`, opened here, one of them signing.
//!
//! A new key is published a minute before it signs, so that every process and every verifier that keeps keys for a while
//! knows it by then; the key before it is retired in the same moment and stays published for as long as its tokens live.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use epicenter_encryption::AuthSecret;
use epicenter_server::accounts::store::{Act, Actor};
use epicenter_server::ports::{self, Signer, StoreUnavailable};
use epicenter_store::{NewSigningKey, SqlStore, StoredSigningKey};

use crate::identity_store::StoreError;
use crate::keys::SigningKey;
use crate::random;

/// The HKDF label under which private keys are sealed. Part of the stored form.
const SEAL_LABEL: &str = "signing-key";

/// How long a key is published before it signs: more than verifiers and processes keep what they have read.
const PUBLISHED_BEFORE_MS: u64 = 60_000;

/// Keys are read again this often, which finds what another process has rotated long before it signs.
const RELOAD_MS: u64 = 10_000;

/// Concurrent processes find each other's keys at the second attempt; each further one needs another rotation meanwhile.
const ATTEMPTS: usize = 8;

/// A stored key that `AUTH_SECRET` opens.
struct OpenKey {
    key: Arc<SigningKey>,
    active_from_ms: u64,
    created_at_ms: u64,
    retired_at_ms: Option<u64>,
}

/// The key that signs at this time: of those that are not retired the newest that is active, or, when none is active yet,
/// the one that will be first.
fn choose(keys: &[OpenKey], now_ms: u64) -> Option<&OpenKey> {
    let signs = |key: &&OpenKey| key.retired_at_ms.is_none_or(|at_ms| now_ms < at_ms);
    keys.iter()
        .filter(signs)
        .filter(|key| key.active_from_ms <= now_ms)
        .max_by_key(|key| (key.active_from_ms, key.created_at_ms))
        .or_else(|| {
            keys.iter()
                .filter(signs)
                .min_by_key(|key| key.active_from_ms)
        })
}

fn open_all(secret: &AuthSecret, stored: &[StoredSigningKey]) -> Vec<OpenKey> {
    let open = |stored: &StoredSigningKey| {
        Some(OpenKey {
            key: Arc::new(open(secret, stored)?),
            active_from_ms: stored.active_from_ms,
            created_at_ms: stored.created_at_ms,
            retired_at_ms: stored.retired_at_ms,
        })
    };
    stored.iter().filter_map(open).collect()
}

fn open(secret: &AuthSecret, stored: &StoredSigningKey) -> Option<SigningKey> {
    open_sealed(secret, &stored.public.kid, &stored.sealed_private)
}

fn open_sealed(secret: &AuthSecret, kid: &str, sealed_private: &[u8]) -> Option<SigningKey> {
    // Another secret, or damage: the key is of no use either way.
    let pkcs8 = secret
        .open(SEAL_LABEL, kid.as_bytes(), sealed_private)
        .ok()?;
    let key = SigningKey::from_pkcs8(&pkcs8).ok()?;
    (key.public().kid == kid).then_some(key)
}

/// Whether the secret opens this key, and it is the one of that id.
pub(crate) fn opens_signing_key(secret: &AuthSecret, kid: &str, sealed_private: &[u8]) -> bool {
    open_sealed(secret, kid, sealed_private).is_some()
}

fn seal_new(
    secret: &AuthSecret,
    active_from_ms: u64,
) -> Result<(SigningKey, NewSigningKey), StoreError> {
    let (key, pkcs8) = SigningKey::generate()?;
    let public = key.public().clone();
    let sealed_private = secret.seal(SEAL_LABEL, public.kid.as_bytes(), random::bytes()?, &pkcs8);
    let new = NewSigningKey {
        public,
        sealed_private,
        active_from_ms,
    };
    Ok((key, new))
}

fn kids(stored: &[StoredSigningKey]) -> Vec<String> {
    stored.iter().map(|key| key.public.kid.clone()).collect()
}

fn act(actor: Actor, at_ms: u64) -> Act {
    Act {
        at_ms,
        actor,
        ip: None,
    }
}

/// The key that signs now; made when `AUTH_SECRET` opens none.
///
/// After `AUTH_SECRET` was replaced the older keys cannot be opened. They are kept: their public halves verify the tokens
/// that are still alive, and who brings the old secret back gets them back.
///
/// # Errors
/// When the store fails or no key can be made.
pub async fn ensure_signing_key(
    store: &SqlStore,
    secret: &AuthSecret,
    now_ms: u64,
) -> Result<Arc<SigningKey>, StoreError> {
    find_or_make(store, secret, KeysOfOthers::Replace, now_ms).await
}

/// The key that signs now in a store that several processes share; made when there is none at all.
///
/// Keys that `AUTH_SECRET` does not open belong to processes with another one: what one of the two seals the other could
/// not open, so the odd one out is told instead of being let in.
///
/// # Errors
/// When `AUTH_SECRET` opens none of the keys, the store fails or no key can be made.
pub async fn share_signing_key(
    store: &SqlStore,
    secret: &AuthSecret,
    now_ms: u64,
) -> Result<Arc<SigningKey>, StoreError> {
    find_or_make(store, secret, KeysOfOthers::Refuse, now_ms).await
}

/// What keys mean that `AUTH_SECRET` does not open.
#[derive(Clone, Copy)]
enum KeysOfOthers {
    /// The secret was replaced.
    Replace,
    /// The secret is wrong.
    Refuse,
}

async fn find_or_make(
    store: &SqlStore,
    secret: &AuthSecret,
    others: KeysOfOthers,
    now_ms: u64,
) -> Result<Arc<SigningKey>, StoreError> {
    for _ in 0..ATTEMPTS {
        let stored = store.list_signing_keys().await?;
        if let Some(found) = choose(&open_all(secret, &stored), now_ms) {
            return Ok(Arc::clone(&found.key));
        }
        if !stored.is_empty() {
            if matches!(others, KeysOfOthers::Refuse) {
                return Err(StoreError::OtherAuthSecret);
            }
            tracing::warn!(
                keys = stored.len(),
                "AUTH_SECRET opens none of the stored signing keys: making a new one, the old public keys stay"
            );
        }
        // The first key has nobody who could know it too late.
        let (key, new) = seal_new(secret, now_ms)?;
        let act = act(Actor::Hub, now_ms);
        if store
            .add_signing_key(&new, kids(&stored), Vec::new(), &act)
            .await?
        {
            return Ok(Arc::new(key));
        }
    }
    Err(StoreError::Contended)
}

/// Makes a key that will sign in a minute, and retires the others then; its key id.
///
/// # Errors
/// When the store fails or no key can be made.
pub async fn rotate_signing_key(
    store: &SqlStore,
    secret: &AuthSecret,
    now_ms: u64,
) -> Result<String, StoreError> {
    // Without a key that signs until then there would be a gap.
    ensure_signing_key(store, secret, now_ms).await?;
    for _ in 0..ATTEMPTS {
        let stored = store.list_signing_keys().await?;
        let (_, new) = seal_new(secret, now_ms.saturating_add(PUBLISHED_BEFORE_MS))?;
        let known = kids(&stored);
        let act = act(Actor::Operator, now_ms);
        if store
            .add_signing_key(&new, known.clone(), known, &act)
            .await?
        {
            return Ok(new.public.kid);
        }
    }
    Err(StoreError::Contended)
}

/// The port [`Signer`] over the store's keys, which it remembers for a while.
pub struct StoreSigner {
    store: SqlStore,
    secret: AuthSecret,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Arc<[OpenKey]>,
    /// None before the first time.
    read_at_ms: Option<u64>,
}

impl fmt::Debug for StoreSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreSigner")
    }
}

impl StoreSigner {
    /// Signs with the keys of this store that the secret opens.
    pub fn new(store: SqlStore, secret: AuthSecret) -> Self {
        Self {
            store,
            secret,
            known: Mutex::default(),
        }
    }

    /// Reads the keys again at the next use.
    pub fn reload(&self) {
        self.lock().read_at_ms = None;
    }

    /// The remembered keys, and whether this caller has to read them again. One caller at a time does; the others go on
    /// with what is known, which is good for much longer than a read takes.
    fn remembered(&self, now_ms: u64) -> (Arc<[OpenKey]>, bool) {
        let mut known = self.lock();
        let is_stale = known
            .read_at_ms
            .is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= RELOAD_MS);
        if is_stale && !known.keys.is_empty() {
            known.read_at_ms = Some(now_ms);
        }
        (Arc::clone(&known.keys), is_stale)
    }

    async fn read(&self, now_ms: u64) -> Result<Arc<[OpenKey]>, StoreUnavailable> {
        let stored = self.store.list_signing_keys().await?;
        let keys: Arc<[OpenKey]> = open_all(&self.secret, &stored).into();
        *self.lock() = Known {
            keys: Arc::clone(&keys),
            read_at_ms: Some(now_ms),
        };
        Ok(keys)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // It is replaced as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Signer for StoreSigner {
    async fn signing_key(
        &self,
        now_ms: u64,
    ) -> Result<Arc<dyn ports::SigningKey>, StoreUnavailable> {
        let (mut keys, is_stale) = self.remembered(now_ms);
        if is_stale {
            match self.read(now_ms).await {
                Ok(read) => keys = read,
                // Known keys stay good; the store's failure shows wherever it matters.
                Err(StoreUnavailable) if !keys.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        match choose(&keys, now_ms) {
            Some(chosen) => Ok(Arc::clone(&chosen.key) as Arc<dyn ports::SigningKey>),
            None => {
                tracing::error!("AUTH_SECRET opens no signing key that is in use");
                Err(StoreUnavailable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(active_from_ms: u64, retired_at_ms: Option<u64>) -> OpenKey {
        OpenKey {
            key: Arc::new(SigningKey::generate().unwrap().0),
            active_from_ms,
            created_at_ms: 0,
            retired_at_ms,
        }
    }

    #[test]
    fn the_newest_active_key_signs_and_there_is_never_none() {
        let keys = [key(100, Some(200)), key(200, None)];
        let check = |now_ms, expect: usize| {
            let chosen = choose(&keys, now_ms).unwrap();
            assert_eq!(
                chosen.active_from_ms, keys[expect].active_from_ms,
                "{now_ms}"
            );
        };
        check(0, 0);
        check(100, 0);
        check(199, 0);
        check(200, 1);
        check(1_000, 1);
        assert!(choose(&[key(0, Some(5))], 5).is_none());
    }
}
