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
    /// They do. What was read about the person holds for as long as this number stays the same.
    Good {
        person_changes: u64,
    },
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
    users: HashMap<UserId, UserNote>,
    /// Counts what was noted about people: times are those of several clocks and would not do.
    changes: u64,
}

struct UserNote {
    at_ms: u64,
    change: u64,
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
            changes: 0,
        })))
    }

    /// The feed was read up to its end at this time.
    pub fn heard(&self, now_ms: u64) {
        let mut state = self.lock();
        state.heard_at_ms = state.heard_at_ms.max(now_ms);
        let oldest = now_ms.saturating_sub(LONGEST_TOKEN_LIFE_MS);
        state.grants.retain(|_, at_ms| *at_ms >= oldest);
        state.users.retain(|_, note| note.at_ms >= oldest);
    }

    /// Takes note of a revocation; the same one may be noted again.
    pub fn note(&self, subject: &Subject, at_ms: u64) {
        let mut state = self.lock();
        match subject {
            Subject::Grant(grant) => {
                let known = state.grants.entry(grant.clone()).or_default();
                *known = (*known).max(at_ms);
            }
            Subject::User(user) => {
                let known = state.users.get(user).map_or(0, |note| note.at_ms);
                state.changes += 1;
                let note = UserNote {
                    at_ms: at_ms.max(known),
                    change: state.changes,
                };
                state.users.insert(user.clone(), note);
            }
        }
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
        let person = state.users.get(user);
        if person.is_some_and(|note| issued_at_ms <= note.at_ms) || state.grants.contains_key(grant)
        {
            Standing::Revoked
        } else if now_ms.saturating_sub(state.heard_at_ms) >= FEED_SILENCE_MS {
            Standing::Unknown
        } else {
            Standing::Good {
                person_changes: person.map_or(0, |note| note.change),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Maps are changed in steps that cannot panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
