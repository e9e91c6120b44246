//! A request carries one credential (`http.md` 9; `sync.md` 5).
//!
//! A cookie that names a living session is one, any other is none: only when a bearer stands beside a session cookie is
//! the store asked which it is. On an upgrade a browser attaches its cookie whether it wants to or not: it is dropped
//! here, so that nothing further in could take it for a credential.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use http::HeaderMap;
use http::header::COOKIE;

use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::handshake::Handshake;
use crate::state::{HubState, SharedHub};
use crate::upgrade::RefusalForm;

pub(crate) async fn check(
    State(hub): State<SharedHub>,
    mut request: Request,
    next: Next,
) -> Response {
    if Handshake::of(&request) != Handshake::NotAsked {
        request.headers_mut().remove(COOKIE);
    }
    let presented = PresentedBearer::of(&request);
    match check_beside_cookie(&hub, &presented, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => RefusalForm::of(&request).refuse(refusal),
    }
}

async fn check_beside_cookie(
    hub: &HubState,
    presented: &PresentedBearer,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let is_second = match presented {
        PresentedBearer::None => false,
        PresentedBearer::Several => true,
        PresentedBearer::One(_) => hub.authenticator.browser_session(headers).await?.is_some(),
    };
    if is_second {
        Err(Refusal::from(ErrorName::MultipleCredentials))
    } else {
        Ok(())
    }
}
