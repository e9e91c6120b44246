//! Gemini's signatures of calls, kept for the time until the client comes back with the results.
//!
//! A client cannot carry them. They are kept by person and call, so that nobody meets another's, and forgotten soon: then
//! the model is told to do without.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use epicenter_identity::UserId;
use sha2::{Digest as _, Sha256};

use crate::auth::cache::BoundedCache;

/// Signatures that are kept; a few kilobytes each.
const MAX_KEPT: usize = 4_096;

/// Longer ones are not kept: all of them together must fit in memory.
const MAX_BYTES: usize = 16 * 1024;

/// People answer within this time, or lose nothing but a hint.
const LIFE_MS: u64 = 30 * 60_000;

type CallDigest = [u8; 32];

pub(super) struct Signatures {
    kept: Mutex<BoundedCache<CallDigest, (u64, String)>>,
}

impl fmt::Debug for Signatures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signatures")
    }
}

impl Default for Signatures {
    fn default() -> Self {
        Self {
            kept: Mutex::new(BoundedCache::new(MAX_KEPT)),
        }
    }
}

impl Signatures {
    pub(super) fn keep(&self, user: &UserId, call: &str, signature: &str, now_ms: u64) {
        if signature.len() <= MAX_BYTES {
            let entry = (now_ms, signature.to_owned());
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(digest(user, call), entry);
        }
    }

    pub(super) fn find(&self, user: &UserId, call: &str, now_ms: u64) -> Option<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept_at_ms, signature) = kept.find(&digest(user, call))?;
        (now_ms.saturating_sub(kept_at_ms) < LIFE_MS).then_some(signature)
    }
}

fn digest(user: &UserId, call: &str) -> CallDigest {
    let mut hash = Sha256::new();
    hash.update((user.as_str().len() as u64).to_be_bytes());
    hash.update(user.as_str());
    hash.update(call);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use epicenter_identity::UserId;

    use super::{LIFE_MS, MAX_BYTES, Signatures};

    #[test]
    fn a_signature_is_its_persons_and_short_lived() {
        let (ada, bob) = (UserId::parse("ada").unwrap(), UserId::parse("bob").unwrap());
        let signatures = Signatures::default();
        signatures.keep(&ada, "call", "sig", 1_000);
        assert_eq!(signatures.find(&ada, "call", 1_000).as_deref(), Some("sig"));
        assert_eq!(signatures.find(&bob, "call", 1_000), None);
        assert_eq!(signatures.find(&ada, "other", 1_000), None);
        assert!(signatures.find(&ada, "call", 1_000 + LIFE_MS - 1).is_some());
        assert_eq!(signatures.find(&ada, "call", 1_000 + LIFE_MS), None);
        signatures.keep(&ada, "long", &"x".repeat(MAX_BYTES + 1), 1_000);
        assert_eq!(signatures.find(&ada, "long", 1_000), None);
    }
}
