//! Every route of the hub on one screen.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::config::HubConfig;
use crate::ports::Ports;
use crate::state::HubState;
use crate::{error, middleware, oauth, rooms, session, status};

/// The hub as one HTTP service.
#[derive(Debug)]
pub struct Hub;

impl Hub {
    /// Builds the whole service; a host serves it at the root of its origin.
    ///
    /// An answer of 101 carries an [`UpgradeDecision`](crate::upgrade::UpgradeDecision) in its extensions.
    pub fn router(config: HubConfig, ports: Ports) -> Router {
        let state = Arc::new(HubState::new(config, ports));
        let routes = Router::new()
            .route("/", get(status::info))
            .route("/healthz", get(status::live))
            .route("/readyz", get(status::ready))
            .route("/auth/jwks", get(oauth::routes::jwks))
            .route("/api/session", get(session::routes::session))
            .route("/api/owners/{owner}/rooms", get(rooms::routes::list))
            .route(
                "/api/owners/{owner}/rooms/{room}",
                get(rooms::routes::open_or_snapshot)
                    .post(rooms::routes::sync)
                    .put(rooms::routes::create)
                    .delete(rooms::routes::delete),
            )
            .route(
                "/api/owners/{owner}/rooms/{room}/dispatch",
                post(rooms::routes::dispatch),
            )
            .fallback(error::not_found)
            .method_not_allowed_fallback(error::method_not_allowed);
        middleware::around(routes, &state).with_state(state)
    }
}
