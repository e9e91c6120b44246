//! `POST /auth/oauth2/introspect` (RFC 7662), for confidential clients.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::client_auth::ClientRequest;
use super::failure::{Failure, never_stored};
use super::presented::{PresentedToken, payload};
use super::store::{Grant, RefreshToken};
use crate::auth::Expiry;
use crate::ports::StoreUnavailable;
use crate::state::{HubState, SharedHub};

/// What stands behind a token, if it is worth anything now.
pub(crate) async fn introspect(State(hub): State<SharedHub>, request: Request) -> Response {
    match describe(&hub, request).await {
        Ok(answer) => {
            let answer = answer.unwrap_or_else(|| json!({ "active": false }));
            (never_stored(), answer.to_string()).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

async fn describe(hub: &HubState, request: Request) -> Result<Option<Value>, Failure> {
    let request = ClientRequest::read(hub, request).await?;
    if request.client.secret.is_none() {
        // Anybody can say that they are a public client.
        return Err(Failure::CLIENT);
    }
    let text = request.require("token", "token is missing")?;
    let now_ms = request.asked.at_ms;
    let found = PresentedToken::find(hub, text, Expiry::Counts, now_ms).await?;
    Ok(match found {
        Some(PresentedToken::Access(grant)) => {
            let grant = hub.ports.grants.find_grant(&grant).await?;
            match grant {
                Some(grant) if stands(hub, &grant).await? => describe_access(text),
                _ => None,
            }
        }
        // Whoever is not its client has no business with a refresh token.
        Some(PresentedToken::Refresh(token)) if token.grant.client == request.client.id => {
            let is_active = is_newest(&token, now_ms) && stands(hub, &token.grant).await?;
            is_active.then(|| describe_refresh(hub, &token))
        }
        Some(PresentedToken::Refresh(_)) | None => None,
    })
}

async fn stands(hub: &HubState, grant: &Grant) -> Result<bool, StoreUnavailable> {
    if grant.revoked {
        return Ok(false);
    }
    let user = hub.ports.users.find_user(&grant.user).await?;
    Ok(user.is_some_and(|user| user.enabled))
}

fn is_newest(token: &RefreshToken, now_ms: u64) -> bool {
    let is_over = now_ms >= token.expires_at_ms || now_ms >= token.grant.expires_at_ms;
    !is_over && !token.killed && token.rotation.is_none()
}

fn describe_access(token: &str) -> Option<Value> {
    let claims = payload(token)?;
    let mut answer = json!({ "active": true, "token_type": "Bearer" });
    const TOLD: [&str; 9] = [
        "scope",
        "client_id",
        "sub",
        "aud",
        "iss",
        "iat",
        "exp",
        "jti",
        "sid",
    ];
    for name in TOLD {
        if let Some(value) = claims.get(name) {
            answer[name] = value.clone();
        }
    }
    Some(answer)
}

fn describe_refresh(hub: &HubState, token: &RefreshToken) -> Value {
    json!({
        "active": true,
        "scope": token.grant.scopes.to_string(),
        "client_id": token.grant.client.as_str(),
        "sub": token.grant.user.as_str(),
        "aud": token.grant.resource,
        "iss": hub.config.issuer(),
        "iat": token.created_at_ms / 1_000,
        "exp": token.expires_at_ms.min(token.grant.expires_at_ms) / 1_000,
    })
}
