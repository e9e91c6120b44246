//! Errors of the account endpoints: `{"message","code"}`, the shape that their clients know, with a status.
//!
//! Codes are those of Better Auth where it has one. A message is for the person and says what to do next.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::service::AccountError;
use crate::ports::{PasswordProblem, StoreUnavailable};

/// What clients of today look at.
const X_RETRY_AFTER: HeaderName = HeaderName::from_static("x-retry-after");
/// A queue of passwords is worked off in about a second, a store mostly restarts in a few.
const BUSY_SECONDS: u64 = 1;
const STORE_SECONDS: u64 = 5;

/// A request to an account endpoint that is not served.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(super) fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
    }

    pub(super) fn field(name: &str, expected: &str, received: &str) -> Self {
        Self::validation(format!(
            "[body.{name}] Invalid input: expected {expected}, received {received}"
        ))
    }

    pub(super) fn media_type() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "Send the body as application/json or application/x-www-form-urlencoded.",
        )
    }

    pub(super) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PAYLOAD_TOO_LARGE",
            "The body is too large. Send at most 64 KiB.",
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "This needs a browser session. Sign in first.",
        )
    }

    pub(super) fn callback() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "INVALID_CALLBACK_URL",
            "Invalid callbackURL: use a path of this hub, or ask the operator to list the origin under trusted_origins.",
        )
    }

    pub(super) fn oauth_query() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "INVALID_OAUTH_QUERY",
            "The request of the app was changed or is too old. Begin again in the app.",
        )
    }

    /// The current password, at a change, was another.
    pub(super) fn current_password() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "INVALID_PASSWORD",
            "The current password is wrong. Try again.",
        )
    }

    /// What a sign-up with a taken address gets. Who holds an invitation is somebody the operator trusts, and is told; to
    /// others the answer does not speak of accounts.
    pub(super) fn taken(is_invited: bool) -> Self {
        let (code, message) = if is_invited {
            (
                "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL",
                "User already exists. Use another email.",
            )
        } else {
            (
                "FAILED_TO_CREATE_USER",
                "No account could be created with this address. Sign in instead, or use another address.",
            )
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl From<StoreUnavailable> for Problem {
    fn from(_: StoreUnavailable) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVICE_UNAVAILABLE",
            "The hub cannot reach its storage at the moment. Try again shortly.",
        )
        .retry_after(STORE_SECONDS)
    }
}

impl From<PasswordProblem> for Problem {
    fn from(problem: PasswordProblem) -> Self {
        let code = match problem {
            PasswordProblem::TooShort => "PASSWORD_TOO_SHORT",
            PasswordProblem::TooLong => "PASSWORD_TOO_LONG",
            PasswordProblem::Trivial => "PASSWORD_COMPROMISED",
        };
        Self::new(StatusCode::BAD_REQUEST, code, problem.to_string())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::InvalidCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "INVALID_EMAIL_OR_PASSWORD",
                "Invalid email or password",
            ),
            AccountError::SetupRequired => Self::new(
                StatusCode::FORBIDDEN,
                "SETUP_REQUIRED",
                "This hub is not set up yet. Open its setup link; the operator makes a new one with `epicenter admin setup-link`.",
            ),
            AccountError::PasswordsOff => Self::new(
                StatusCode::BAD_REQUEST,
                "EMAIL_PASSWORD_DISABLED",
                "Passwords are switched off on this hub. Sign in another way.",
            ),
            AccountError::SignUpClosed => Self::new(
                StatusCode::FORBIDDEN,
                "EMAIL_PASSWORD_SIGN_UP_DISABLED",
                "This hub does not take new accounts by itself. Ask its operator for an invitation or an account.",
            ),
            AccountError::LinkSpent => Self::new(
                StatusCode::BAD_REQUEST,
                "INVALID_TOKEN",
                "The link was used already, is too old, or is for another address. Ask the operator for a new one.",
            ),
            AccountError::EmailTaken => Self::taken(false),
            AccountError::InvalidEmail => Self::new(
                StatusCode::BAD_REQUEST,
                "INVALID_EMAIL",
                "Invalid email: write it like ada@example.com.",
            ),
            AccountError::InvalidName => Self::validation(
                "[body.name] Invalid input: use at most 200 characters and no control characters",
            ),
            AccountError::Password(problem) => problem.into(),
            AccountError::TooMany { retry_after_s } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOO_MANY_REQUESTS",
                "Too many attempts. Wait for the time that Retry-After names.",
            )
            .retry_after(retry_after_s),
            AccountError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "SERVICE_UNAVAILABLE",
                "Too many people sign in at the moment. Try again shortly.",
            )
            .retry_after(BUSY_SECONDS),
            AccountError::Store => StoreUnavailable.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(json!({ "message": self.message, "code": self.code }));
        let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        let mut response = (self.status, no_store, body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response.headers_mut().insert(X_RETRY_AFTER, seconds.into());
        }
        response
    }
}
