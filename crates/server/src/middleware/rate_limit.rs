//! How much one address may ask of `/auth` and of the pages (`http.md`, middleware 6).
//!
//! The API is limited by account, after a token was checked; attempts to sign in where they are made. What is served to
//! everybody from memory (keys, metadata) is not limited: a company behind one address fetches it for each of its apps.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::Method;

use crate::error::Refusal;
use crate::limits::Kind;
use crate::peer::PeerAddress;
use crate::state::SharedHub;

pub(crate) async fn check(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    if let Some(kind) = kind_of(request.method(), request.uri().path()) {
        let ip = PeerAddress::of(request.extensions());
        if let Err(retry_after) = hub.limits.check(kind, ip, None, hub.now_ms()) {
            return Refusal::from(retry_after).into_response();
        }
    }
    next.run(request).await
}

fn kind_of(method: &Method, path: &str) -> Option<Kind> {
    const PAGES: [&str; 6] = [
        "/sign-in",
        "/sign-up",
        "/setup",
        "/continue",
        "/consent",
        "/sign-out",
    ];
    match path {
        "/auth/oauth2/token" if method == Method::POST => Some(Kind::Token),
        "/auth/jwks" | "/auth/ok" | "/auth/.well-known/openid-configuration" => None,
        path if path.starts_with("/auth/") || PAGES.contains(&path) => Some(Kind::Auth),
        _ => None,
    }
}
