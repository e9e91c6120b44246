//! What was revoked lately, held in memory and asked at every verification (`identity.md` 3).
//!
//! The store writes a row for each revocation; a host reads new rows and brings them here. Nothing here asks a store: a
//! feed that has failed for [`FEED_SILENCE_MS`] makes every check answer "cannot tell".

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use epicenter_identity::{GrantId, UserId};

/// The longest life of any access token: those that an operator mints (`epicenter admin token`). Older revocations speak
/// of tokens that have expired.
pub const LONGEST_TOKEN_LIFE_MS: u64 = 86_400_000 + 60_000;

/// A feed that has brought nothing, not even the news that there is none, for so long is not trusted any more.
pub const FEED_SILENCE_MS: u64 = 5_000;

/// Whose tokens a revocation ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All tokens of a grant.
    Grant(GrantId),
    /// All tokens of a person that were issued up to then.
    User(UserId),
}

/// One row of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Position in the feed; rows appear in this order.
    pub seq: u64,
    /// What ended.
    pub subject: Subject,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Whether a token's grant and person still stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    Revoked,
    /// The feed is silent by failure.
    Unknown,
}

/// The revocations of the last day; clones share them.
#[derive(Clone)]
pub struct Revocations(Arc<Mutex<State>>);

struct State {
    heard_at_ms: u64,
    grants: HashMap<GrantId, u64>,
    users: HashMap<UserId, u64>,
}

impl fmt::Debug for Revocations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Revocations")
    }
}

impl Revocations {
    /// Nothing revoked; the feed counts as heard now.
    pub fn new(now_ms: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            heard_at_ms: now_ms,
            grants: HashMap::new(),
            users: HashMap::new(),
        })))
    }

    /// The feed was read up to its end at this time.
    pub fn heard(&self, now_ms: u64) {
        let mut state = self.lock();
        state.heard_at_ms = state.heard_at_ms.max(now_ms);
        let oldest = now_ms.saturating_sub(LONGEST_TOKEN_LIFE_MS);
        state.grants.retain(|_, at_ms| *at_ms >= oldest);
        state.users.retain(|_, at_ms| *at_ms >= oldest);
    }

    /// Takes note of a revocation; the same one may be noted again.
    pub fn note(&self, subject: &Subject, at_ms: u64) {
        let mut state = self.lock();
        let known = match subject {
            Subject::Grant(grant) => state.grants.entry(grant.clone()).or_default(),
            Subject::User(user) => state.users.entry(user.clone()).or_default(),
        };
        *known = (*known).max(at_ms);
    }

    /// Whether a token of this grant and person, issued then, still stands.
    pub(crate) fn check(
        &self,
        grant: &GrantId,
        user: &UserId,
        issued_at_ms: u64,
        now_ms: u64,
    ) -> Standing {
        let state = self.lock();
        let user_ended = state
            .users
            .get(user)
            .is_some_and(|at_ms| issued_at_ms <= *at_ms);
        if user_ended || state.grants.contains_key(grant) {
            Standing::Revoked
        } else if now_ms.saturating_sub(state.heard_at_ms) >= FEED_SILENCE_MS {
            Standing::Unknown
        } else {
            Standing::Good
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Maps are changed in steps that cannot panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
