//! No request body may be larger than the limit of its route: the configured ones for rooms and for AI, 64 KiB for everything else.
//!
//! One that says so itself is refused before it is read; one that does not is cut off where the limit is passed, so that
//! no more than the limit is ever kept.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epicenter_api::{ErrorName, OWNERS_PREFIX};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::Limited;

use crate::ai::routes::CHAT_PATHS;
use crate::error::Refusal;
use crate::state::SharedHub;

/// Whatever is no document: forms and small JSON, with room for the longest password and a signed query.
const MAX_FORM_BYTES: usize = 64 * 1024;

pub(crate) async fn limit(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let max_bytes = if path.starts_with(OWNERS_PREFIX) {
        hub.config.max_body_bytes
    } else if CHAT_PATHS.contains(&path) {
        hub.config.ai.max_body_bytes
    } else {
        hub.config.max_body_bytes.min(MAX_FORM_BYTES)
    };
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
