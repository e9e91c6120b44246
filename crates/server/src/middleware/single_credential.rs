//! A request carries one credential (`http.md` 6; `sync.md` 5).
//!
//! On an upgrade a browser attaches its cookie whether it wants to or not: it is dropped here, so that nothing further in
//! could take it for a credential.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use http::header::COOKIE;

use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::handshake::Handshake;
use crate::upgrade::RefusalForm;

pub(crate) async fn check(mut request: Request, next: Next) -> Response {
    let presented = match Handshake::of(&request) {
        Handshake::NotAsked => PresentedBearer::of_request(request.headers()),
        Handshake::WellFormed | Handshake::Malformed(_) => {
            request.headers_mut().remove(COOKIE);
            PresentedBearer::of_upgrade(request.headers())
        }
    };
    if presented == PresentedBearer::Several {
        let refusal = Refusal::from(ErrorName::MultipleCredentials);
        return RefusalForm::of(&request).refuse(refusal);
    }
    next.run(request).await
}
