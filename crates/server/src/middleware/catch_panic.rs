//! A panic costs one request: it is caught, reported and answered as 500 (a refused upgrade for sockets).

use std::panic::AssertUnwindSafe;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::ErrorName;
use futures_util::FutureExt as _;

use crate::error::Refusal;
use crate::upgrade::RefusalForm;

pub(crate) async fn catch(request: Request, next: Next) -> Response {
    let form = RefusalForm::of(&request);
    // What the request touched is shared only through caches whose state is whole between statements.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_panic) => {
            // The payload may hold anything; the host's panic hook has the place.
            tracing::error!("a request panicked");
            form.refuse(Refusal::from(ErrorName::InternalError))
        }
    }
}
