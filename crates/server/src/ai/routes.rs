//! HTTP in and out for AI: `POST /api/ai/chat`, `/ai/chat` and `GET /api/ai/models`, by bearer only.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_api::ApiError;
use epicenter_identity::{Access, Scope};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};

use super::service;
use crate::auth::PresentedBearer;
use crate::body;
use crate::error::Refusal;
use crate::state::{HubState, SharedHub};

/// Proxies that collect answers before they pass them on read this.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Paths of the chat: today's apps are built with the short one. A host gives an answer on them as long to begin as
/// `AiTimes` do, once it has the request.
pub const CHAT_PATHS: [&str; 2] = ["/api/ai/chat", "/ai/chat"];

/// A chat, as a stream of events.
pub(crate) async fn chat(
    State(hub): State<SharedHub>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let access = admit(&hub, &headers).await?;
    let body = body::read(body).await?;
    let stream = service::chat(&hub, &access, &body).await?;
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache"),
        (X_ACCEL_BUFFERING, "no"),
    ];
    Ok((headers, stream).into_response())
}

/// The models that this hub offers.
pub(crate) async fn models(
    State(hub): State<SharedHub>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    admit(&hub, &headers).await?;
    let models = hub.ai.catalog.to_json();
    Ok(([(CACHE_CONTROL, "no-store")], Json(models)).into_response())
}

/// A session's cookie is no credential here.
async fn admit(hub: &HubState, headers: &HeaderMap) -> Result<Access, Refusal> {
    let presented = PresentedBearer::of_request(headers);
    let caller = hub.authenticator.authenticate(&presented).await?;
    if !caller.access.scopes().contains(Scope::Ai) {
        return Err(Refusal::from(ApiError::insufficient_scope(Scope::Ai)));
    }
    hub.check_api_rate(&caller.access)?;
    Ok(caller.access)
}
