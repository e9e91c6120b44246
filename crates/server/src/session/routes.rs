//! The route of the session.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::CACHE_CONTROL;

use super::service;
use crate::error::Refusal;
use crate::state::SharedHub;

/// Who the caller is, for whom they act, and the owner's keys.
pub(crate) async fn session(
    State(hub): State<SharedHub>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let caller = hub.authenticator.authenticate_person(&headers).await?;
    hub.check_api_rate(&caller.access)?;
    let session = service::describe(&caller, &hub.config.root_keyring);
    Ok(([(CACHE_CONTROL, "no-store")], Json(session)).into_response())
}
