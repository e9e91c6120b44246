//! Reading tokens that are not presented as a credential: to be revoked, introspected, or as a hint of who signs out.

use super::token::{Claims, CompactToken, TokenVerifier};
use super::{AuthError, Authenticator, refused};
use crate::auth::keys::FoundKey;

/// Whether a token that has expired is still of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Counts,
    /// It names a grant or session all the same.
    Ignored,
}

impl Authenticator {
    /// The claims of a token that one of our keys signed and that the verifier takes. Nothing is said about its account
    /// and grant.
    pub(crate) async fn read_signed(
        &self,
        token: &str,
        verifier: &TokenVerifier,
        expiry: Expiry,
        now_ms: u64,
    ) -> Result<Claims, AuthError> {
        let parsed = CompactToken::parse(token).map_err(refused)?;
        verifier.check_type(&parsed).map_err(refused)?;
        let key = match self.keys.find(parsed.key_id(), now_ms).await {
            FoundKey::Known(key) => key,
            FoundKey::Unknown => return Err(AuthError::InvalidToken),
            FoundKey::Unreachable => return Err(AuthError::Unavailable),
        };
        let checked_at_ms = match expiry {
            Expiry::Counts => now_ms,
            // No token of this hub has a beginning (`nbf`), so that each of them was valid at the epoch.
            Expiry::Ignored => 0,
        };
        verifier
            .verify(&parsed, &key, checked_at_ms)
            .map_err(refused)
    }
}
