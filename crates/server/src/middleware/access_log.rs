//! One line for every answered request, and the span that the lines in between belong to.
//!
//! The route's template stands for the path: no query, no header, no address, no body, no id of a person is written.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use tracing::Instrument as _;

use super::request_id::RequestId;
use crate::state::SharedHub;
use crate::upgrade::UpgradeDecision;

pub(crate) async fn log(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    let began_ms = hub.now_ms();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!(
        "request",
        request.id = request
            .extensions()
            .get::<RequestId>()
            .map(RequestId::as_str),
        http.method = request.method().as_str(),
        http.route = route.as_ref().map_or("none", MatchedPath::as_str),
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    let close_code = match response.extensions().get::<UpgradeDecision>() {
        Some(UpgradeDecision::Refuse { code, .. }) => Some(code.as_u16()),
        _ => None,
    };
    tracing::info!(
        parent: &span,
        http.status = response.status().as_u16(),
        error.name = response.extensions().get::<ErrorName>().map(|name| name.as_str()),
        socket.close_code = close_code,
        duration_ms = hub.now_ms().saturating_sub(began_ms),
        "request answered"
    );
    if let Some(route) = route {
        // For the host, which counts answers by route.
        response.extensions_mut().insert(route);
    }
    response
}
