//! What happens to every request: steps 1 to 10 of `http.md`.
//!
//! From the outside in:
//! 1. `request_id`: names the request, so that everything further in can be found again;
//! 2. `access_log`: one line for each, the answers of everything below included;
//! 3. `cors::decorate` and `page_headers`: on every answer, refusals and the 500 of a panic included;
//! 4. `oauth_errors` and `pages::refusals`: the refusals of everything below in the form that OAuth libraries read, and
//!    as pages for people;
//! 5. `catch_panic`: below the log, so that the line shows the 500;
//! 6. `host`: nothing else looks at a request that is meant for another origin;
//! 7. `cors::preflight`: answered here, since it carries no credential;
//! 8. `rate_limit`: by address, before a store or a body is touched for it; on the way back it counts refused tokens;
//! 9. `body_limit`: refuses by `Content-Length` before any credential is looked at, and limits what is read later;
//! 10. `single_credential`: before any authentication code runs;
//! 11. `csrf`: what a foreign page sent goes no further.
//!
//! Limits by account and admission come after authentication, where routes do it.

mod access_log;
mod body_limit;
mod catch_panic;
mod cors;
mod csrf;
mod host;
mod oauth_errors;
mod page_headers;
mod rate_limit;
mod request_id;
mod single_credential;

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

pub(crate) use self::page_headers::{CspNonce, FormTargets};
use crate::pages::refusals;
use crate::state::SharedHub;

/// Lays the stack around the routes, the fallbacks included.
pub(crate) fn around(routes: Router<SharedHub>, hub: &SharedHub) -> Router<SharedHub> {
    // Each layer wraps those before it: the list reads from the inside out.
    routes
        .layer(from_fn_with_state(Arc::clone(hub), csrf::check))
        .layer(from_fn_with_state(
            Arc::clone(hub),
            single_credential::check,
        ))
        .layer(from_fn_with_state(Arc::clone(hub), body_limit::limit))
        .layer(from_fn_with_state(Arc::clone(hub), rate_limit::check))
        .layer(from_fn(cors::preflight))
        .layer(from_fn_with_state(Arc::clone(hub), host::check))
        .layer(from_fn(catch_panic::catch))
        .layer(from_fn(oauth_errors::rewrite))
        .layer(from_fn_with_state(Arc::clone(hub), refusals::rewrite))
        .layer(from_fn_with_state(Arc::clone(hub), page_headers::set))
        .layer(from_fn_with_state(Arc::clone(hub), cors::decorate))
        .layer(from_fn_with_state(Arc::clone(hub), access_log::log))
        .layer(from_fn_with_state(Arc::clone(hub), request_id::assign))
}
