//! Opening an answer: sending the request, and again where that is allowed, until the provider's first byte.
//!
//! OpenAI, Anthropic and what is compatible are asked up to three times when they are busy or fail, as their own libraries
//! do; Gemini's HTTP errors are final. A provider that says when to come back is obeyed, or, when that is too long to
//! wait, the caller is told. Once a byte came, nothing is repeated.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::BoxStream;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::protocols::{ModelFailure, failure_of};
use super::redact::redact;
use super::settings::{AiTimes, Protocol};
use super::upstream::{Timer, UpstreamError, UpstreamRequest, UpstreamResponse};
use crate::ports::{AiPorts, Random};
use crate::secret::Secret;

/// Requests in all, as the vendors' libraries make.
pub(super) const MAX_ATTEMPTS: u32 = 3;

/// The first pause, doubled each time.
const PAUSE_MS: u64 = 500;

/// Longer pauses are left to the caller.
pub(super) const MAX_PAUSE_MS: u64 = 10_000;

/// More than a day is no time to come back, but a mistake.
const MAX_RETRY_AFTER_MS: u64 = 86_400_000;

/// An error's text is short; what is longer is not read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// For the text of an error, whose status is known already.
const ERROR_BODY_TIME: Duration = Duration::from_secs(5);

/// An answer that has begun.
pub(super) struct Opened {
    /// `None`: it was empty.
    pub(super) first: Option<Bytes>,
    pub(super) rest: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Why an answer did not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// The provider said no.
    Refused {
        status: u16,
        /// Without keys.
        failure: ModelFailure,
        retry_after_ms: Option<u64>,
    },
    /// It was not heard.
    Unheard(UpstreamError),
    /// It took too long.
    Timeout,
}

impl OpenError {
    /// Whether another model may do better.
    pub(super) fn is_providers_fault(&self) -> bool {
        match self {
            Self::Refused { status, .. } => is_transient(*status),
            Self::Unheard(_) | Self::Timeout => true,
        }
    }

    /// What is logged of it: never the provider's words, which may repeat the question.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Refused { status, .. } => format!("status {status}"),
            Self::Unheard(error) => error.to_string(),
            Self::Timeout => "no first byte in time".to_owned(),
        }
    }

    /// As an error within a stream.
    pub(super) fn to_failure(&self) -> ModelFailure {
        match self {
            Self::Refused {
                status, failure, ..
            } => ModelFailure {
                message: format!("{status} {}", failure.message),
                code: failure.code.clone(),
            },
            Self::Unheard(_) => ModelFailure::disconnected(),
            Self::Timeout => ModelFailure::new(
                "The provider did not answer in time. Ask again.",
                "upstream_timeout",
            ),
        }
    }
}

/// Everything that is needed to ask, and to ask again.
pub(super) struct Attempts {
    pub(super) ports: AiPorts,
    pub(super) random: Arc<dyn Random>,
    pub(super) times: AiTimes,
    pub(super) protocol: Protocol,
    pub(super) key: Option<Secret>,
    pub(super) max_attempts: u32,
}

impl Attempts {
    pub(super) async fn open(self, request: UpstreamRequest) -> Result<Opened, OpenError> {
        let mut attempt = 1;
        loop {
            let error = match self.try_once(request.clone()).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            if attempt >= self.max_attempts || !self.is_retried(&error) {
                return Err(error);
            }
            let Some(pause_ms) = self.pause_ms(&error, attempt) else {
                return Err(error);
            };
            tracing::debug!(attempt, pause_ms, "asking the provider again");
            self.ports
                .timer
                .sleep(Duration::from_millis(pause_ms))
                .await;
            attempt += 1;
        }
    }

    async fn try_once(&self, request: UpstreamRequest) -> Result<Opened, OpenError> {
        let limit = self
            .ports
            .timer
            .sleep(Duration::from_millis(self.times.first_byte_ms));
        let first_byte = Box::pin(async {
            let sent = self.ports.upstream.send(request).await;
            let mut response = sent.map_err(OpenError::Unheard)?;
            if !(200..300).contains(&response.status) {
                return Err(self.read_refusal(response).await);
            }
            // Pieces without a byte say nothing yet.
            loop {
                match response.body.next().await {
                    Some(Ok(piece)) if piece.is_empty() => {}
                    Some(Ok(piece)) => return Ok((Some(piece), response.body)),
                    Some(Err(error)) => return Err(OpenError::Unheard(error)),
                    None => return Ok((None, response.body)),
                }
            }
        });
        match select(first_byte, limit).await {
            Either::Left((opened, _)) => opened.map(|(first, rest)| Opened { first, rest }),
            Either::Right(((), _)) => Err(OpenError::Timeout),
        }
    }

    async fn read_refusal(&self, response: UpstreamResponse) -> OpenError {
        let UpstreamResponse {
            status,
            headers,
            body,
        } = response;
        let text = read_text(body, self.ports.timer.as_ref()).await;
        let mut failure = describe(status, &text);
        let key = self.key.as_ref();
        failure.message = redact(&failure.message, key);
        failure.code = failure.code.map(|code| redact(&code, key));
        OpenError::Refused {
            status,
            failure,
            retry_after_ms: retry_after_ms(&headers),
        }
    }

    fn is_retried(&self, error: &OpenError) -> bool {
        match error {
            OpenError::Refused { status, .. } => {
                self.protocol != Protocol::Gemini && is_transient(*status)
            }
            OpenError::Unheard(_) => true,
            // Twice the time is more than anybody waits.
            OpenError::Timeout => false,
        }
    }

    /// `None`: longer than is waited here.
    fn pause_ms(&self, error: &OpenError, attempt: u32) -> Option<u64> {
        if let OpenError::Refused {
            retry_after_ms: Some(pause_ms),
            ..
        } = error
        {
            return (*pause_ms <= MAX_PAUSE_MS).then_some(*pause_ms);
        }
        let full = PAUSE_MS << (attempt - 1).min(8);
        // Up to a quarter less, so that all who failed together do not come back together.
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        Some(full - u64::from_be_bytes(bytes) % (full / 4 + 1))
    }
}

fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 429) || status >= 500
}

/// The pause that the provider asks for. A date is passed over: no provider sends one.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| -> Option<f64> {
        let text = headers.get(name)?.to_str().ok()?;
        let number = text.trim().parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let milliseconds =
        number("retry-after-ms").or_else(|| Some(number("retry-after")? * 1_000.0))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast of floats saturates"
    )]
    Some((milliseconds.ceil() as u64).min(MAX_RETRY_AFTER_MS))
}

async fn read_text(
    mut body: BoxStream<'static, Result<Bytes, UpstreamError>>,
    timer: &dyn Timer,
) -> Vec<u8> {
    let mut text = Vec::new();
    let mut limit = timer.sleep(ERROR_BODY_TIME);
    while text.len() < MAX_ERROR_BYTES {
        match select(body.next(), &mut limit).await {
            Either::Left((Some(Ok(piece)), _)) => {
                let room = MAX_ERROR_BYTES - text.len();
                text.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            }
            _ => break,
        }
    }
    text
}

/// The provider's words, or what its status means.
fn describe(status: u16, text: &[u8]) -> ModelFailure {
    let body: Value = serde_json::from_slice(text).unwrap_or(Value::Null);
    // Gemini's list form holds the object in a list.
    let body = body.get(0).unwrap_or(&body);
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return failure_of(error);
    }
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let message = body.get("message").or_else(|| body.get("detail"));
    let message = message.and_then(Value::as_str);
    ModelFailure {
        message: message.or(reason).unwrap_or("An error").to_owned(),
        code: None,
    }
}
