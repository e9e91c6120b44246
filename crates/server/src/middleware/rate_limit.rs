//! How much one address may ask of `/auth` and of the pages, and how often the API may refuse it (`http.md` 7).
//!
//! The API is limited by account, after a token was checked; attempts to sign in where they are made. Until a token was
//! checked there is only the address, behind which a whole company may sit: there it costs to be refused, and nothing
//! else (decision 28). What is served to everybody from memory (keys, metadata) is not limited: that company fetches it
//! for each of its apps.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epicenter_api::ErrorName;
use http::Method;

use crate::ai::routes::CHAT_PATHS;
use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::limits::Kind;
use crate::peer::PeerAddress;
use crate::state::{HubState, SharedHub};

pub(crate) async fn check(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    let ip = PeerAddress::of(request.extensions());
    let path = request.uri().path();
    if is_api(path) && PresentedBearer::of(&request) != PresentedBearer::None {
        return serve_bearer(&hub, ip, request, next).await;
    }
    if let Some(kind) = kind_of(request.method(), path)
        && let Err(retry_after) = hub.limits.check(kind, ip, None, hub.now_ms())
    {
        return Refusal::from(retry_after).into_response();
    }
    next.run(request).await
}

/// Serves a call with a token, unless the address was refused too many of them: then this one is not looked at, good or
/// bad. That is said in HTTP to a socket as well, since completing a handshake is more than a flood should get.
async fn serve_bearer(
    hub: &HubState,
    ip: Option<IpAddr>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(retry_after) = hub.limits.peek(Kind::Refused, ip, hub.now_ms()) {
        return Refusal::from(retry_after).into_response();
    }
    let response = next.run(request).await;
    // Answers and refused sockets both carry the name.
    if response.extensions().get::<ErrorName>() == Some(&ErrorName::InvalidToken) {
        // Others of the address may have emptied the bucket meanwhile; then the next one hears of it.
        let _ = hub.limits.check(Kind::Refused, ip, None, hub.now_ms());
    }
    response
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || CHAT_PATHS.contains(&path)
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
