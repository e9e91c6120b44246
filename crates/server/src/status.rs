//! What a hub says about itself: `GET /`, `/healthz`, `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_api::{HubInfo, HubMode};
use http::header::CACHE_CONTROL;

use crate::error::Refusal;
use crate::state::SharedHub;

/// `GET /`: which mode, version and source.
pub(crate) async fn info(State(hub): State<SharedHub>) -> Json<HubInfo> {
    let config = &hub.config;
    let mode = if config.ownership.is_shared() {
        HubMode::Shared
    } else {
        HubMode::Hub
    };
    Json(HubInfo {
        mode,
        version: config.version.to_owned(),
        runtime: config.runtime.to_owned(),
        source_url: config.source_url.clone(),
    })
}

/// `GET /healthz`: the process answers.
pub(crate) async fn live() -> Response {
    ok()
}

/// `GET /readyz`: stores answer and keys are loaded.
pub(crate) async fn ready(State(hub): State<SharedHub>) -> Result<Response, Refusal> {
    hub.ports.health.check().await?;
    hub.authenticator.keys().check_loaded(hub.now_ms()).await?;
    Ok(ok())
}

fn ok() -> Response {
    (
        [(CACHE_CONTROL, "no-store")],
        Json(serde_json::json!({ "status": "ok" })),
    )
        .into_response()
}
