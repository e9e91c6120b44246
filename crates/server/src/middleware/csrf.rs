//! No foreign page changes anything here, and none signs anybody in (`http.md` 10).
//!
//! What a request may do with a cookie does not matter: one that would sign a person in to somebody else's account brings
//! none. Requests with a bearer are out of a foreign page's reach, since no page can attach one without our consent; the
//! endpoints that are listed here take neither cookies nor anything else that a browser adds by itself.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epicenter_api::ErrorName;
use http::header::{COOKIE, HeaderName, ORIGIN};
use http::{HeaderMap, Method};

use super::cors::only_origin;
use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::origins::TrustedOrigins;
use crate::state::SharedHub;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Endpoints of programs: credentials are in the body or in `Authorization`.
const WITHOUT_COOKIES: [&str; 3] = [
    "/auth/oauth2/token",
    "/auth/oauth2/revoke",
    "/auth/oauth2/introspect",
];

pub(crate) async fn check(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    let changes_nothing = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if changes_nothing
        || WITHOUT_COOKIES.contains(&request.uri().path())
        || PresentedBearer::of_request(request.headers()) != PresentedBearer::None
        || is_ours(request.headers(), &hub.trusted_origins)
    {
        return next.run(request).await;
    }
    Refusal::from(ErrorName::ForbiddenOrigin).into_response()
}

/// Whether a page of ours sent it, or something that is no browser.
fn is_ours(headers: &HeaderMap, trusted: &TrustedOrigins) -> bool {
    if headers.contains_key(ORIGIN) {
        return only_origin(headers).is_some_and(|origin| trusted.contains(origin.as_bytes()));
    }
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    match (sites.next(), sites.next()) {
        // `none` is the person: an address that was typed, a form that was sent again.
        (Some(site), None) => site == "same-origin" || site == "none",
        (None, _) => !headers.contains_key(COOKIE),
        _ => false,
    }
}
