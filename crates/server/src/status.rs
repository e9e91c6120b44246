//! What a hub says about itself: `GET /`, `/healthz`, `/readyz`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_api::{HubInfo, HubMode};
use http::header::{ACCEPT, CACHE_CONTROL, HeaderName, LOCATION, VARY};
use http::{HeaderMap, StatusCode};

use crate::error::Refusal;
use crate::state::SharedHub;

/// `GET /`: which mode, version and source; people with a browser are led to the sign-in page.
pub(crate) async fn info(State(hub): State<SharedHub>, headers: HeaderMap) -> Response {
    const BY_ACCEPT: (HeaderName, &str) = (VARY, "Accept");
    if accepts_html(&headers) {
        return (StatusCode::SEE_OTHER, [BY_ACCEPT, (LOCATION, "/sign-in")]).into_response();
    }
    let config = &hub.config;
    let mode = if config.ownership.is_shared() {
        HubMode::Shared
    } else {
        HubMode::Hub
    };
    let info = HubInfo {
        mode,
        version: config.version.to_owned(),
        runtime: config.runtime.to_owned(),
        source_url: config.source_url.clone(),
    };
    ([BY_ACCEPT], Json(info)).into_response()
}

/// Browsers name the type when they navigate; programs do not.
fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/html"))
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
