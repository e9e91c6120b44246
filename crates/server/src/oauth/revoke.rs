//! `POST /auth/oauth2/revoke` (RFC 7009): any token of a grant ends the grant.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::client_auth::ClientRequest;
use super::failure::{Failure, never_stored};
use super::presented::PresentedToken;
use super::store::RevocationReason;
use crate::auth::Expiry;
use crate::state::{HubState, SharedHub};

/// Ends the grant of a client's own token. Any other text is as revoked as it can be.
pub(crate) async fn revoke(State(hub): State<SharedHub>, request: Request) -> Response {
    match end_grant(&hub, request).await {
        Ok(()) => (never_stored(), "").into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn end_grant(hub: &HubState, request: Request) -> Result<(), Failure> {
    let request = ClientRequest::read(hub, request).await?;
    let token = request.require("token", "token is missing")?;
    let at_ms = request.asked.at_ms;
    let found = PresentedToken::find(hub, token, Expiry::Ignored, at_ms).await?;
    let grant = match found {
        Some(PresentedToken::Access(grant)) => hub.ports.grants.find_grant(&grant).await?,
        Some(PresentedToken::Refresh(token)) => Some(token.grant),
        None => None,
    };
    if let Some(grant) = grant.filter(|grant| grant.client == request.client.id) {
        let act = request.asked.act_of(&grant.user);
        hub.tokens
            .revoke(&grant.id, RevocationReason::SignedOut, &act)
            .await?;
    }
    Ok(())
}
