//! What AI needs from a host: an HTTP client that streams, a timer, and a place for work that outlives a response.
//!
//! Dropping what a port returned cancels it: that is how a client that goes away stops a provider.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue};

use crate::secret::Secret;

/// An HTTP client for requests to providers.
///
/// It follows no redirects (a key must not travel on), keeps no cookies, and does not decompress without a bound.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// Sends a `POST` and waits for the head of the answer. The future and the body may be dropped at any time; the
    /// connection is then closed, or reset where it is shared, within a second.
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamResponse, UpstreamError>;
}

/// A timer.
pub trait Timer: Send + Sync {
    /// Completes after this time.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;

    /// Rings after this time, whether or not anybody polls anything, unless the alarm is dropped before.
    fn alarm(&self, time: Duration, ring: Box<dyn FnOnce() + Send>) -> Alarm;
}

/// An alarm that is set. Dropping it stops it; one that has rung is not touched by that.
pub struct Alarm(Option<Box<dyn FnOnce() + Send>>);

impl Alarm {
    /// `stop` is called once, when the alarm is dropped; it must not block.
    pub fn new(stop: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Alarm")
    }
}

/// Work that is done whether or not anybody waits for it, and before the host stops: settling what a call cost.
pub trait AfterResponse: Send + Sync {
    /// Runs the future to its end.
    fn run(&self, work: BoxFuture<'static, ()>);
}

/// A `POST` to a provider.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// Where to.
    pub url: String,
    /// Its headers, in lower case.
    pub headers: Vec<(&'static str, HeaderText)>,
    /// JSON. It is a person's conversation: never log it.
    pub body: Body,
}

/// A body that prints as its size.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Body({} bytes)", self.0.len())
    }
}

/// The value of a header, which may be a key.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// Nothing secret.
    Plain(&'static str),
    /// A key; send it marked as sensitive.
    Key {
        /// What stands before the key: `Bearer `, or nothing.
        scheme: &'static str,
        /// The key.
        key: Secret,
    },
}

impl HeaderText {
    pub(super) fn bearer(key: &Secret) -> Self {
        Self::Key {
            scheme: "Bearer ",
            key: key.clone(),
        }
    }

    pub(super) fn secret(key: &Secret) -> Self {
        Self::Key {
            scheme: "",
            key: key.clone(),
        }
    }

    /// The value to send; `None` when the key cannot stand in a header.
    pub fn to_value(&self) -> Option<HeaderValue> {
        match self {
            Self::Plain(text) => Some(HeaderValue::from_static(text)),
            Self::Key { scheme, key } => {
                let text = zeroize::Zeroizing::new(format!("{scheme}{}", key.expose()));
                let mut value = HeaderValue::from_str(&text).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        }
    }
}

/// The answer of a provider, as far as it has come.
pub struct UpstreamResponse {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it comes. Nothing is read ahead of who polls it.
    pub body: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl fmt::Debug for UpstreamResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UpstreamResponse")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why a provider was not heard. The host logs the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// The connection broke.
    #[error("the connection to the provider was lost")]
    Lost,
}
