//! Refusals as pages, for people.
//!
//! What the layers around the pages refuse is an envelope of JSON; a browser that shows a page gets a page.

use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use http::HeaderMap;
use http::header::{ACCEPT, RETRY_AFTER};

use super::notices;
use super::page::Frame;
use crate::state::SharedHub;

const PAGES: [&str; 9] = [
    "/sign-in",
    "/sign-up",
    "/setup",
    "/continue",
    "/consent",
    "/sign-out",
    "/auth/oauth2/consent",
    "/auth/cli-callback",
    "/auth/error",
];

pub(crate) async fn rewrite(
    State(hub): State<SharedHub>,
    request: Request,
    next: Next,
) -> Response {
    let is_page = PAGES.contains(&request.uri().path()) && wants_html(request.headers());
    if !is_page {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(frame) = Frame::from_request_parts(&mut parts, &hub).await;
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Some(name) = response.extensions().get::<ErrorName>().copied() else {
        return response;
    };
    let retry_after = response.headers_mut().remove(RETRY_AFTER);
    let mut page = notices::of_name(name).into_response(&frame);
    if let Some(retry_after) = retry_after {
        page.headers_mut().insert(RETRY_AFTER, retry_after);
    }
    // For the access log.
    page.extensions_mut().insert(name);
    page
}

fn wants_html(headers: &HeaderMap) -> bool {
    let kinds = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    kinds.is_some_and(|kinds| kinds.contains("text/html"))
}
