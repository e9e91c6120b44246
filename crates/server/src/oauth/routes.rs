//! The endpoints of the authorization server; those with more to them have a module of their own.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_api::{ErrorName, Jwk, Jwks};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::json;

use super::authorize::{Answer, Step};
pub(crate) use super::end_session::end_session;
pub(crate) use super::introspect::introspect;
pub(crate) use super::metadata::{resource_metadata, server_metadata};
pub(crate) use super::revoke::revoke;
pub(crate) use super::token::token;
pub(crate) use super::userinfo::userinfo;
use crate::error::Refusal;
use crate::ports::{PublicKey, StoreUnavailable};
use crate::state::{HubState, SharedHub};

/// As the metadata documents say it; the key cache is as fresh as this.
pub(super) const PUBLIC_FOR_15_SECONDS: &str =
    "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400";

/// The public signing keys.
pub(crate) async fn jwks(State(hub): State<SharedHub>) -> Result<Response, Refusal> {
    let keys = hub.authenticator.keys().published(hub.now_ms()).await;
    // A client that fetches the key set is about to verify a token: the same error as for a token, not the store's.
    let keys = keys.map_err(|_| Refusal::from(ErrorName::ServerError))?;
    let jwks = Jwks {
        keys: keys.values().map(|key| to_jwk(key)).collect(),
    };
    Ok(([(CACHE_CONTROL, PUBLIC_FOR_15_SECONDS)], Json(jwks)).into_response())
}

fn to_jwk(key: &PublicKey) -> Jwk {
    let mut x = [0; 32];
    let mut y = [0; 32];
    x.copy_from_slice(&key.point[1..33]);
    y.copy_from_slice(&key.point[33..65]);
    Jwk::es256(&key.kid, &x, &y)
}

/// A request of a client for a code; the person's answer is that of the pages.
pub(crate) async fn authorize(
    State(hub): State<SharedHub>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let step = decide(&hub, uri.query().unwrap_or_default(), &headers).await;
    // Who asks to be let in is told of a failure like who is in: the store's own name would be ours alone.
    let step = step.map_err(|_| Refusal::from(ErrorName::ServerError))?;
    let location = step.location();
    let mut response = if wants_json(&headers) {
        Json(json!({ "redirect": true, "url": location })).into_response()
    } else {
        let location = HeaderValue::try_from(location)
            .map_err(|_| Refusal::from(ErrorName::InvalidRequest))?;
        (StatusCode::FOUND, [(LOCATION, location)]).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

async fn decide(
    hub: &HubState,
    query: &str,
    headers: &HeaderMap,
) -> Result<Step, StoreUnavailable> {
    let session = hub.authenticator.browser_session(headers).await?;
    hub.authorize(query, session.as_ref(), Answer::Asked).await
}

/// A script cannot follow a redirect to another origin and read where it went.
fn wants_json(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| {
        let found = headers.get(name).and_then(|found| found.to_str().ok());
        found.is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    says("accept", "application/json") || says("sec-fetch-mode", "cors")
}
