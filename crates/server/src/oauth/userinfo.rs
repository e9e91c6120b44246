//! `GET` and `POST /auth/oauth2/userinfo` (OpenID Connect Core 5.3).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_identity::Scope;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::failure::{Failure, never_stored};
use crate::auth::{Caller, PresentedBearer};
use crate::state::SharedHub;

/// Who the bearer's person is, as far as its scopes go.
pub(crate) async fn userinfo(State(hub): State<SharedHub>, headers: HeaderMap) -> Response {
    let presented = PresentedBearer::of_request(&headers);
    if presented == PresentedBearer::None {
        // Without any token no error is named (RFC 6750 section 3.1).
        return refuse(StatusCode::UNAUTHORIZED, "invalid_token", "Bearer");
    }
    match hub.authenticator.authenticate(&presented).await {
        Err(error) => Failure::from(error).into_response(),
        Ok(caller) if !caller.access.scopes().contains(Scope::OpenId) => refuse(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "Bearer error=\"insufficient_scope\", scope=\"openid\"",
        ),
        Ok(caller) => (never_stored(), describe(&caller).to_string()).into_response(),
    }
}

fn describe(caller: &Caller) -> Value {
    let scopes = caller.access.scopes();
    let mut claims = json!({ "sub": caller.access.user().as_str() });
    if scopes.contains(Scope::Email) {
        claims["email"] = caller.user.email.as_str().into();
        claims["email_verified"] = caller.user.email_verified.into();
    }
    if scopes.contains(Scope::Profile) {
        claims["name"] = caller.user.name.as_str().into();
    }
    claims
}

fn refuse(status: StatusCode, code: &str, challenge: &'static str) -> Response {
    let body = json!({
        "error": code,
        "error_description": "send an access token with the scope openid as a bearer",
    });
    let mut response = (status, never_stored(), body.to_string()).into_response();
    let challenge = HeaderValue::from_static(challenge);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}
