//! The one place that turns errors into answers: HTTP for requests, a close for sockets that are refused.
//!
//! Everything else in this crate returns a [`Refusal`]; its status, headers, envelope and close code are decided here
//! (`http.md`, `sync.md` 5). Only what an [`ApiError`] holds leaves the process, so a cause can never leak.

use axum::response::{IntoResponse, Response};
use epicenter_api::{ApiError, ErrorName};
use epicenter_sync::CloseCode;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{StatusCode, header};

use crate::auth::AuthError;
use crate::handshake::HandshakeError;
use crate::limits::RetryAfter;
use crate::ports::StoreUnavailable;
use crate::upgrade::UpgradeDecision;

/// As long as a failed read of the key set is remembered; stores that restart are mostly back by then.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A request that is not served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    error: ApiError,
    /// Seconds, where more is known than that it will take a while.
    retry_after: Option<u64>,
}

impl Refusal {
    /// How the upgrade of a socket is refused.
    pub(crate) fn into_decision(self) -> UpgradeDecision {
        UpgradeDecision::Refuse {
            code: close_code(self.error.name),
            reason: self.error.close_reason(),
        }
    }

    pub(crate) fn name(&self) -> ErrorName {
        self.error.name
    }

    /// With the seconds after which it is worth another try.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

impl From<ErrorName> for Refusal {
    fn from(name: ErrorName) -> Self {
        Self::from(ApiError::new(name))
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self::from(match error {
            AuthError::MultipleCredentials => ErrorName::MultipleCredentials,
            AuthError::InvalidToken => ErrorName::InvalidToken,
            AuthError::Unavailable => ErrorName::ServerError,
            AuthError::NotAdmitted => ErrorName::NotAdmitted,
        })
    }
}

impl From<StoreUnavailable> for Refusal {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::from(ErrorName::StorageUnavailable)
    }
}

impl From<RetryAfter> for Refusal {
    fn from(retry_after: RetryAfter) -> Self {
        Self {
            error: ApiError::new(ErrorName::RateLimited),
            retry_after: Some(retry_after.seconds),
        }
    }
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        let name = match error {
            HandshakeError::WebSocketVersion => ErrorName::UpgradeRequired,
            _ => ErrorName::MalformedUpgrade,
        };
        Self::from(
            ApiError::new(name)
                .with_message(format!("The WebSocket handshake is malformed: {error}.")),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { error, retry_after } = self;
        let status = StatusCode::from_u16(error.status())
            .expect("statuses of the error table are valid, a test goes through it");
        let mut response = (status, error.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // 404 and 410 could be kept by caches for as long as they like otherwise.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let challenge = error
            .www_authenticate()
            .and_then(|value| HeaderValue::from_str(&value).ok());
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        // For the access log.
        response.extensions_mut().insert(error.name);
        response
    }
}

/// Answers paths that are no route.
pub(crate) async fn not_found() -> Refusal {
    Refusal::from(ErrorName::NotFound)
}

/// Answers routes that do not have the method; the router adds `Allow`.
pub(crate) async fn method_not_allowed() -> Refusal {
    Refusal::from(ErrorName::MethodNotAllowed)
}

/// The close code of `sync.md` 5 that the error table names.
fn close_code(name: ErrorName) -> CloseCode {
    const CODES: [CloseCode; 11] = [
        CloseCode::GoingAway,
        CloseCode::UpdateRefused,
        CloseCode::Policy,
        CloseCode::TooLarge,
        CloseCode::TryAgainLater,
        CloseCode::Protocol,
        CloseCode::Unauthorized,
        CloseCode::Forbidden,
        CloseCode::LifetimeOver,
        CloseCode::RoomDeleted,
        CloseCode::KeysUnreachable,
    ];
    let code = CODES
        .into_iter()
        .find(|code| code.as_u16() == name.close_code());
    code.expect("close codes of the error table are those of the protocol, a test goes through it")
}

#[cfg(test)]
mod tests {
    use super::{Refusal, close_code};
    use axum::response::IntoResponse as _;
    use epicenter_api::ErrorName;

    #[test]
    fn every_name_has_a_status_and_a_close_code() {
        for name in ErrorName::ALL {
            assert_eq!(close_code(*name).as_u16(), name.close_code());
            assert_eq!(Refusal::from(*name).into_response().status(), name.status());
        }
    }
}
