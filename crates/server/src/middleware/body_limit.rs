//! No request body may be larger than the configured limit.
//!
//! One that says so itself is refused before it is read; one that does not is cut off where the limit is passed, so that
//! no more than the limit is ever kept.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epicenter_api::ErrorName;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::Limited;

use crate::error::Refusal;
use crate::state::SharedHub;

pub(crate) async fn limit(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    let max_bytes = hub.config.max_body_bytes;
    if announced_bytes(request.headers()).is_some_and(|bytes| bytes > max_bytes as u64) {
        // Never a socket: a handshake has no body.
        return Refusal::from(ErrorName::PayloadTooLarge).into_response();
    }
    next.run(request.map(|body| Body::new(Limited::new(body, max_bytes))))
        .await
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
