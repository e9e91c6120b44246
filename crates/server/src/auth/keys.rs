//! The public signing keys in memory (`identity.md` 3).
//!
//! A known key id is answered from memory, whatever the store's state. An unknown one asks the store, at most once per
//! [`REFRESH_INTERVAL_MS`] for all requests together: tokens with invented key ids must not become a load on the store,
//! and 401 must never be said while it is the store that is missing. Concurrent requests share one read; no lock is held
//! while it runs, and a read whose first caller went away is continued by the next.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::ports::{PublicKey, SigningKeys, StoreUnavailable};

/// One refresh per 5 s for all requests.
const REFRESH_INTERVAL_MS: u64 = 5_000;
/// How old the published set may be; its `max-age` says the same.
const PUBLISHED_AGE_MS: u64 = 15_000;

type Refresh = Shared<BoxFuture<'static, Result<(), StoreUnavailable>>>;

/// All keys that may still have living tokens, sorted by id.
type KeySet = Arc<BTreeMap<String, Arc<PublicKey>>>;

/// What became of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FoundKey {
    /// The key.
    Known(Arc<PublicKey>),
    /// The store answered and does not have it.
    Unknown,
    /// The store did not answer.
    Unreachable,
}

pub(crate) struct KeyCache {
    store: Arc<dyn SigningKeys>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: KeySet,
    last: Option<LastRead>,
    running: Option<Refresh>,
}

#[derive(Clone, Copy)]
struct LastRead {
    began_at_ms: u64,
    outcome: Result<(), StoreUnavailable>,
}

impl LastRead {
    /// Whether its outcome still stands. A failure may be tried again after the shortest interval.
    fn holds(&self, age_ms: u64, now_ms: u64) -> bool {
        let age_ms = match self.outcome {
            Ok(()) => age_ms,
            Err(StoreUnavailable) => REFRESH_INTERVAL_MS,
        };
        now_ms.saturating_sub(self.began_at_ms) < age_ms
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyCache")
            .field("keys", &self.lock().keys.len())
            .finish()
    }
}

impl KeyCache {
    pub(crate) fn new(store: Arc<dyn SigningKeys>) -> Self {
        Self {
            store,
            state: Arc::default(),
        }
    }

    /// The key of an id that a token names.
    pub(crate) async fn find(&self, kid: &str, now_ms: u64) -> FoundKey {
        if let Some(key) = self.find_in_memory(kid) {
            return FoundKey::Known(key);
        }
        match self.refresh(REFRESH_INTERVAL_MS, now_ms).await {
            Ok(()) => self
                .find_in_memory(kid)
                .map_or(FoundKey::Unknown, FoundKey::Known),
            Err(StoreUnavailable) => FoundKey::Unreachable,
        }
    }

    /// Whether the id is known now.
    pub(crate) fn is_known(&self, kid: &str) -> bool {
        self.find_in_memory(kid).is_some()
    }

    /// The set for `/auth/jwks`: fresh when the store answers, else what is known.
    pub(crate) async fn published(&self, now_ms: u64) -> Result<KeySet, StoreUnavailable> {
        let refreshed = self.refresh(PUBLISHED_AGE_MS, now_ms).await;
        let keys = Arc::clone(&self.lock().keys);
        match refreshed {
            Err(error) if keys.is_empty() => Err(error),
            _ => Ok(keys),
        }
    }

    /// Whether tokens can be verified: at least one key is in memory.
    pub(crate) async fn check_loaded(&self, now_ms: u64) -> Result<(), StoreUnavailable> {
        if self.lock().keys.is_empty() {
            self.refresh(REFRESH_INTERVAL_MS, now_ms).await?;
        }
        if self.lock().keys.is_empty() {
            Err(StoreUnavailable)
        } else {
            Ok(())
        }
    }

    /// Joins the read that runs, answers what came of the last one, or begins the next when that is too old.
    async fn refresh(&self, age_ms: u64, now_ms: u64) -> Result<(), StoreUnavailable> {
        let refresh = {
            let mut state = self.lock();
            match (&state.running, state.last) {
                (Some(running), _) => running.clone(),
                (None, Some(last)) if last.holds(age_ms, now_ms) => return last.outcome,
                (None, _) => {
                    let refresh = self.begin(now_ms);
                    state.running = Some(refresh.clone());
                    refresh
                }
            }
        };
        refresh.await
    }

    fn begin(&self, began_at_ms: u64) -> Refresh {
        let store = Arc::clone(&self.store);
        let state = Arc::clone(&self.state);
        let read = async move {
            // A panic must not leave a read behind that runs for ever.
            let loaded = AssertUnwindSafe(async { store.load().await })
                .catch_unwind()
                .await
                .unwrap_or(Err(StoreUnavailable));
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = loaded.map(|keys| state.keys = index(keys));
            state.last = Some(LastRead {
                began_at_ms,
                outcome,
            });
            state.running = None;
            outcome
        };
        read.boxed().shared()
    }

    fn find_in_memory(&self, kid: &str) -> Option<Arc<PublicKey>> {
        self.lock().keys.get(kid).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(keys: Vec<PublicKey>) -> KeySet {
    let keys = keys.into_iter();
    Arc::new(keys.map(|key| (key.kid.clone(), Arc::new(key))).collect())
}
