//! What happens to every request: steps 1 to 6 of `http.md`.
//!
//! From the outside in:
//! 1. `request_id`: names the request, so that everything further in can be found again;
//! 2. `access_log`: one line for each, the answers of everything below included;
//! 3. `catch_panic`: below the log, so that the line shows the 500;
//! 4. `host`: nothing else looks at a request that is meant for another origin;
//! 5. `body_limit`: refuses by `Content-Length` before any credential is looked at, and limits what is read later;
//! 6. `single_credential`: before any authentication code runs.

mod access_log;
mod body_limit;
mod catch_panic;
mod host;
mod request_id;
mod single_credential;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::state::SharedHub;

/// Lays the stack around the routes, the fallbacks included.
pub(crate) fn around(routes: Router<SharedHub>, hub: &SharedHub) -> Router<SharedHub> {
    // Each layer wraps those before it: the list reads from the inside out.
    routes
        .layer(from_fn(single_credential::check))
        .layer(from_fn_with_state(Arc::clone(hub), body_limit::limit))
        .layer(from_fn_with_state(Arc::clone(hub), host::check))
        .layer(from_fn(catch_panic::catch))
        .layer(from_fn_with_state(Arc::clone(hub), access_log::log))
        .layer(from_fn_with_state(Arc::clone(hub), request_id::assign))
}
