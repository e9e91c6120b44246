//! `GET /auth/jwks`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_api::{ErrorName, Jwk, Jwks};
use http::header::CACHE_CONTROL;

use crate::error::{Refusal, not_found};
use crate::ports::PublicKey;
use crate::state::SharedHub;

/// As the metadata documents say it; the key cache is as fresh as this.
const PUBLIC_FOR_15_SECONDS: &str =
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

pub(crate) async fn authorize() -> Refusal {
    not_found().await
}

pub(crate) async fn token() -> Refusal {
    not_found().await
}

pub(crate) async fn revoke() -> Refusal {
    not_found().await
}

pub(crate) async fn introspect() -> Refusal {
    not_found().await
}

pub(crate) async fn userinfo() -> Refusal {
    not_found().await
}

pub(crate) async fn end_session() -> Refusal {
    not_found().await
}

pub(crate) async fn server_metadata() -> Refusal {
    not_found().await
}

pub(crate) async fn resource_metadata() -> Refusal {
    not_found().await
}
