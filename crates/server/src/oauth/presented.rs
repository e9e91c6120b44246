//! Finding out what a token is that a client names: an access token or a refresh token, whatever it says it is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_identity::GrantId;
use serde_json::Value;

use super::store::RefreshToken;
use crate::auth::token::{AcceptedTypes, TokenVerifier, VerifierOptions};
use crate::auth::{AuthError, Expiry};
use crate::ports::StoreUnavailable;
use crate::secret::Secret;
use crate::state::HubState;

/// A token of this hub.
#[derive(Debug)]
pub(super) enum PresentedToken {
    /// An access token of this grant.
    Access(GrantId),
    Refresh(Box<RefreshToken>),
}

impl PresentedToken {
    /// `None` when it is no token of ours.
    pub(super) async fn find(
        hub: &HubState,
        text: &str,
        expiry: Expiry,
        now_ms: u64,
    ) -> Result<Option<Self>, StoreUnavailable> {
        // Refresh tokens are base64url and have no full stop, JSON Web Tokens have two.
        if !text.contains('.') {
            let hash = Secret::presented(text).hash();
            let found = hub.ports.grants.find_refresh_token(&hash).await?;
            return Ok(found.map(|token| Self::Refresh(Box::new(token))));
        }
        let verifier = verifier(hub, hub.config.origin.as_str(), AcceptedTypes::AccessToken);
        let read = hub
            .authenticator
            .read_signed(text, &verifier, expiry, now_ms)
            .await;
        let claims = match read {
            Ok(claims) => claims,
            Err(AuthError::Unavailable) => return Err(StoreUnavailable),
            Err(_) => return Ok(None),
        };
        let grant = claims.grant.as_deref().map(GrantId::parse);
        Ok(grant.and_then(Result::ok).map(Self::Access))
    }
}

/// A verifier of our tokens for this audience.
pub(super) fn verifier(hub: &HubState, audience: &str, types: AcceptedTypes) -> TokenVerifier {
    let options = VerifierOptions {
        issuer: hub.config.issuer(),
        audience: audience.to_owned(),
        types,
    };
    TokenVerifier::new(Arc::clone(&hub.ports.verify), options)
}

/// All claims of a token, verified or not.
pub(super) fn payload(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
