//! Errors of the endpoints that programs call, in the shape of RFC 6749 section 5.2.

use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::tokens::GrantError;
use crate::auth::AuthError;
use crate::ports::StoreUnavailable;

/// A request of a client that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    description: &'static str,
    challenge: Option<&'static str>,
}

impl Failure {
    /// What is asked cannot be understood.
    pub(super) const fn request(description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// The body is no form.
    pub(super) const NOT_A_FORM: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "invalid_request",
        "send the parameters as application/x-www-form-urlencoded",
    );

    /// The body is larger than any request of this kind.
    pub(super) const TOO_LARGE: Self = Self::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "invalid_request",
        "the request is too large",
    );

    /// A grant type that this server does not have.
    pub(super) const GRANT_TYPE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "unsupported_grant_type",
        "grant_type must be authorization_code or refresh_token",
    );

    /// The client is unknown or did not prove who it is.
    pub(super) const CLIENT: Self = Self::new(
        StatusCode::UNAUTHORIZED,
        "invalid_client",
        "the client is unknown, or its authentication is missing, wrong or not expected",
    );

    /// Nothing could be decided.
    pub(super) const UNAVAILABLE: Self = Self::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "the hub cannot decide this at the moment; try again, nothing was used up",
    );

    const fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self {
            status,
            code,
            description,
            challenge: None,
        }
    }

    /// The registered code.
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    /// With the challenge that an answer to HTTP authentication must have.
    pub(super) const fn with_basic_challenge(mut self) -> Self {
        self.challenge = Some("Basic realm=\"Epicenter hub\", charset=\"UTF-8\"");
        self
    }
}

impl From<GrantError> for Failure {
    fn from(error: GrantError) -> Self {
        let new = |code, description| Self::new(StatusCode::BAD_REQUEST, code, description);
        match error {
            GrantError::Invalid => new(
                "invalid_grant",
                "the code or refresh token is not valid any more, or is another client's; sign in again",
            ),
            GrantError::Scope => new("invalid_scope", "a scope is unknown or was not granted"),
            GrantError::Target => new(
                "invalid_target",
                "resource must be the one that the person granted",
            ),
            GrantError::Unavailable => Self::UNAVAILABLE,
        }
    }
}

impl From<StoreUnavailable> for Failure {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::UNAVAILABLE
    }
}

/// Errors of a bearer (RFC 6750 section 3.1).
impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::InvalidToken => Self {
                challenge: Some("Bearer error=\"invalid_token\""),
                ..Self::new(
                    StatusCode::UNAUTHORIZED,
                    "invalid_token",
                    "the access token is malformed, expired or revoked",
                )
            },
            AuthError::MultipleCredentials => {
                Self::request("the request carries more than one credential")
            }
            AuthError::NotAdmitted => Self::new(
                StatusCode::FORBIDDEN,
                "access_denied",
                "the person is not admitted to this hub",
            ),
            AuthError::Unavailable => Self::UNAVAILABLE,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.code, "error_description": self.description });
        let mut response = (self.status, never_stored(), body.to_string()).into_response();
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// JSON that no cache keeps (RFC 6749 section 5.1).
pub(super) fn never_stored() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers
}
