//! Errors of the OAuth endpoints in the form of RFC 6749 section 5.2, whoever refused the request.
//!
//! The endpoints answer their own errors in it themselves; what the layers around them refuse is rewritten here, so that
//! an OAuth library of any make can read it.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::json;

const ENDPOINTS: [&str; 4] = [
    "/auth/oauth2/token",
    "/auth/oauth2/revoke",
    "/auth/oauth2/introspect",
    "/auth/oauth2/userinfo",
];

pub(crate) async fn rewrite(request: Request, next: Next) -> Response {
    let is_endpoint = ENDPOINTS.contains(&request.uri().path());
    let response = next.run(request).await;
    let Some(name) = response.extensions().get::<ErrorName>().copied() else {
        return response;
    };
    if !is_endpoint {
        return response;
    }
    let (mut parts, _envelope) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = json!({ "error": code(name), "error_description": name.message() });
    Response::from_parts(parts, Body::from(body.to_string()))
}

/// The registered code that is nearest; the description has our own words.
fn code(name: ErrorName) -> &'static str {
    match (name, name.status()) {
        (ErrorName::InvalidToken, _) => "invalid_token",
        (ErrorName::InsufficientScope, _) => "insufficient_scope",
        (_, 429 | 503) => "temporarily_unavailable",
        (_, 403) => "access_denied",
        (_, 500..) => "server_error",
        _ => "invalid_request",
    }
}
