//! The accounts behind tokens, remembered for a while (`identity.md` 3).
//!
//! Only accounts that exist and are enabled are remembered: a new or re-enabled account works at once. A disabled one stops
//! as soon as its revocation is heard of, because what was read before that is read again, and within [`FRESH_MS`] whatever
//! happens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use epicenter_identity::UserId;

use super::cache::BoundedCache;
use crate::ports::{StoreUnavailable, User, Users};

/// How long a user check holds.
const FRESH_MS: u64 = 30_000;
/// Some hundred bytes each: a few MiB.
const CAPACITY: usize = 10_000;

#[derive(Clone)]
struct Remembered {
    user: Arc<User>,
    asked_at_ms: u64,
    /// How many changes to this person were known when the store was asked.
    changes: u64,
}

pub(crate) struct UserCache {
    store: Arc<dyn Users>,
    known: Mutex<BoundedCache<UserId, Remembered>>,
}

impl fmt::Debug for UserCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("UserCache")
    }
}

impl UserCache {
    pub(crate) fn new(store: Arc<dyn Users>) -> Self {
        Self {
            store,
            known: Mutex::new(BoundedCache::new(CAPACITY)),
        }
    }

    /// The account when it exists and is enabled.
    pub(crate) async fn find_enabled(
        &self,
        id: &UserId,
        changes: u64,
        now_ms: u64,
    ) -> Result<Option<Arc<User>>, StoreUnavailable> {
        let remembered = self.with(|known| known.find(id));
        if let Some(remembered) = remembered
            && remembered.changes == changes
            && now_ms.saturating_sub(remembered.asked_at_ms) < FRESH_MS
        {
            return Ok(Some(remembered.user));
        }
        match self.store.find_user(id).await? {
            Some(user) if user.enabled => {
                let user = Arc::new(user);
                let remembered = Remembered {
                    user: Arc::clone(&user),
                    asked_at_ms: now_ms,
                    changes,
                };
                self.with(|known| known.insert(id.clone(), remembered));
                Ok(Some(user))
            }
            _ => {
                self.with(|known| known.remove(id));
                Ok(None)
            }
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut BoundedCache<UserId, Remembered>) -> R) -> R {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
