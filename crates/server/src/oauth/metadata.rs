//! What clients discover (RFC 8414, RFC 9728, OpenID Connect Discovery 1.0).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use epicenter_identity::{Scope, Scopes};
use http::header::CACHE_CONTROL;
use serde_json::{Value, json};

use super::routes::PUBLIC_FOR_15_SECONDS;
use crate::config::HubConfig;
use crate::state::SharedHub;

/// The authorization server, for OAuth and for OpenID Connect.
pub(crate) async fn server_metadata(State(hub): State<SharedHub>) -> Response {
    published(describe_server(&hub.config))
}

/// The API.
pub(crate) async fn resource_metadata(State(hub): State<SharedHub>) -> Response {
    let origin = hub.config.origin.as_str();
    published(json!({
        "resource": origin,
        "authorization_servers": [hub.config.issuer()],
        "scopes_supported": names_of_all(),
        "bearer_methods_supported": ["header"],
    }))
}

fn published(document: Value) -> Response {
    ([(CACHE_CONTROL, PUBLIC_FOR_15_SECONDS)], Json(document)).into_response()
}

fn describe_server(config: &HubConfig) -> Value {
    let issuer = config.issuer();
    let endpoint = |path: &str| format!("{issuer}{path}");
    json!({
        "issuer": issuer,
        "authorization_endpoint": endpoint("/oauth2/authorize"),
        "token_endpoint": endpoint("/oauth2/token"),
        "revocation_endpoint": endpoint("/oauth2/revoke"),
        "introspection_endpoint": endpoint("/oauth2/introspect"),
        "userinfo_endpoint": endpoint("/oauth2/userinfo"),
        "end_session_endpoint": endpoint("/oauth2/end-session"),
        "jwks_uri": endpoint("/jwks"),
        "scopes_supported": names_of_all(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "at_hash", "sid",
            "email", "email_verified", "name",
        ],
    })
}

fn names_of_all() -> Vec<&'static str> {
    Scopes::all().iter().map(Scope::as_str).collect()
}
