//! Which pages may read answers (`http.md` 3): a fixed list, with credentials, and never `null`.
//!
//! Two layers. [`decorate`] is far outside, so that a page can read refusals too; [`preflight`] comes after the host was
//! checked and before anything looks at a credential, which a preflight never carries. Upgrades know no CORS.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};

use crate::handshake::Handshake;
use crate::state::SharedHub;

const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Content-Type,Authorization,Upgrade,If-None-Match,X-Run-Id");
const READABLE_HEADERS: HeaderValue =
    HeaderValue::from_static("ETag,X-Request-Id,Retry-After,WWW-Authenticate");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// Tells browsers who may read the answer.
pub(crate) async fn decorate(
    State(hub): State<SharedHub>,
    request: Request,
    next: Next,
) -> Response {
    if Handshake::of(&request) != Handshake::NotAsked {
        return next.run(request).await;
    }
    let origin = only_origin(request.headers())
        .filter(|origin| hub.trusted_origins.contains(origin.as_bytes()))
        .cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // The answers to two origins differ, so no cache may keep one for the other, whether or not this request had one.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READABLE_HEADERS);
    }
    response
}

/// Answers preflights, for any path: what a page may send does not tell it what exists.
pub(crate) async fn preflight(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return next.run(request).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(
        VARY,
        HeaderValue::from_static("Access-Control-Request-Headers"),
    );
    response
}

/// The `Origin` of a request that has exactly one.
pub(super) fn only_origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(ORIGIN).iter();
    let origin = lines.next()?;
    lines.next().is_none().then_some(origin)
}
