//! Every route of the hub on one screen.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::config::HubConfig;
use crate::ports::Ports;
use crate::revocations::Revocations;
use crate::state::HubState;
use crate::{accounts, ai, error, middleware, oauth, pages, rooms, session, status};

/// The hub as one HTTP service.
#[derive(Debug)]
pub struct Hub;

impl Hub {
    /// Builds the whole service; a host serves it at the root of its origin.
    ///
    /// An answer of 101 carries an [`UpgradeDecision`](crate::upgrade::UpgradeDecision) in its extensions.
    /// The second value is where the host brings what was revoked.
    pub fn router(config: HubConfig, ports: Ports) -> (Router, Revocations) {
        let state = Arc::new(HubState::new(config, ports));
        let revocations = state.authenticator.revocations().clone();
        let routes = Router::new()
            .route("/", get(status::info))
            .route("/healthz", get(status::live))
            .route("/readyz", get(status::ready))
            // People.
            .route(
                "/sign-in",
                get(pages::routes::sign_in).post(pages::routes::submit_sign_in),
            )
            .route(
                "/sign-up",
                get(pages::routes::sign_up).post(pages::routes::submit_sign_up),
            )
            .route(
                "/setup",
                get(pages::routes::setup).post(pages::routes::submit_setup),
            )
            .route(
                "/continue",
                get(pages::routes::continue_as).post(pages::routes::submit_continue_as),
            )
            .route(
                "/consent",
                get(pages::routes::consent).post(pages::routes::submit_consent),
            )
            .route("/auth/oauth2/consent", post(pages::routes::submit_consent))
            .route(
                "/sign-out",
                get(pages::routes::sign_out).post(pages::routes::submit_sign_out),
            )
            .route("/auth/cli-callback", get(pages::routes::cli_callback))
            .route("/auth/error", get(pages::routes::error))
            // Accounts and browser sessions.
            .route("/auth/ok", get(accounts::routes::ok))
            .route("/auth/sign-up/email", post(accounts::routes::sign_up_email))
            .route("/auth/sign-in/email", post(accounts::routes::sign_in_email))
            .route("/auth/sign-out", post(accounts::routes::sign_out))
            .route("/auth/get-session", get(accounts::routes::find_session))
            .route("/auth/list-sessions", get(accounts::routes::list_sessions))
            .route(
                "/auth/revoke-session",
                post(accounts::routes::revoke_session),
            )
            .route(
                "/auth/revoke-other-sessions",
                post(accounts::routes::revoke_other_sessions),
            )
            .route(
                "/auth/change-password",
                post(accounts::routes::change_password),
            )
            // The authorization server.
            .route("/auth/oauth2/authorize", get(oauth::routes::authorize))
            .route("/auth/oauth2/token", post(oauth::routes::token))
            .route("/auth/oauth2/revoke", post(oauth::routes::revoke))
            .route("/auth/oauth2/introspect", post(oauth::routes::introspect))
            .route(
                "/auth/oauth2/userinfo",
                get(oauth::routes::userinfo).post(oauth::routes::userinfo),
            )
            .route(
                "/auth/oauth2/end-session",
                get(oauth::routes::end_session).post(oauth::routes::end_session),
            )
            .route("/auth/jwks", get(oauth::routes::jwks))
            .route(
                "/auth/.well-known/openid-configuration",
                get(oauth::routes::server_metadata),
            )
            .route(
                "/.well-known/oauth-authorization-server/auth",
                get(oauth::routes::server_metadata),
            )
            .route(
                "/.well-known/oauth-protected-resource",
                get(oauth::routes::resource_metadata),
            )
            // The API.
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
            .route(
                "/api/owners/{owner}/rooms/{room}/restore",
                post(rooms::routes::restore),
            )
            .route("/api/ai/chat", post(ai::routes::chat))
            .route("/ai/chat", post(ai::routes::chat))
            .route("/api/ai/models", get(ai::routes::models))
            .fallback(error::not_found)
            .method_not_allowed_fallback(error::method_not_allowed);
        (
            middleware::around(routes, &state).with_state(state),
            revocations,
        )
    }
}
