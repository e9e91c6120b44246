//! A request body that is read to its end, within bounds, also when nobody wants it.
//!
//! A refusal is often decided before the body has been read: too large, no token. Closing the connection then makes TCP
//! reset it, and the reset can eat the answer before the client has read it. So what is left of a body is read and
//! thrown away for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// As for a closing socket (`sync.md` 2).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// Wraps the body of a request on its way to the router.
#[derive(Debug)]
pub(crate) struct LingeringBody {
    body: Option<Incoming>,
    is_taken: Arc<AtomicBool>,
}

/// Tells whether the router still waits for something from the client.
#[derive(Debug)]
pub(crate) struct BodyTaken(Arc<AtomicBool>);

impl LingeringBody {
    pub(crate) fn new(body: Incoming) -> (Self, BodyTaken) {
        let is_taken = Arc::default();
        let taken = BodyTaken(Arc::clone(&is_taken));
        let body = Some(body);
        (Self { body, is_taken }, taken)
    }
}

impl BodyTaken {
    /// The router has read the body, or wants no more of it.
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        self.is_taken.store(true, Ordering::Relaxed);
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        // Outside a runtime the connection is gone already.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(timeout(LINGER, async move {
            let mut discarded = 0_usize;
            while let Some(Ok(frame)) = body.frame().await {
                discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if discarded > LINGER_BYTES {
                    return;
                }
            }
        }));
    }
}
