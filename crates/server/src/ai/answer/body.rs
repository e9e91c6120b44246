//! An answer in the hands of the host, and the alarm that ends it in time though nobody takes it out of them.
//!
//! A body is polled only while its client reads. An answer whose client stays connected and reads nothing would look at no
//! clock and keep its place, its credits and the provider for as long as the client likes; so the end of its time comes
//! from outside.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::Stream;

use super::Answer;

/// The answer, shared with its alarm.
struct Shared {
    answer: Answer,
    /// Whoever reads and waits.
    reader: Option<Waker>,
}

struct AnswerBody(Arc<Mutex<Shared>>);

/// Hands the answer over and sets its alarm.
pub(super) fn serve(answer: Answer) -> Body {
    let timer = Arc::clone(&answer.plan.ports.timer);
    let time = Duration::from_millis(answer.times.answer_ms);
    let is_open = answer.open.is_some();
    let shared = Arc::new(Mutex::new(Shared {
        answer,
        reader: None,
    }));
    if is_open {
        let late = Arc::downgrade(&shared);
        let alarm = timer.alarm(
            time,
            Box::new(move || {
                if let Some(shared) = late.upgrade() {
                    end(&shared);
                }
            }),
        );
        lock(&shared).answer.hold(alarm);
    }
    Body::from_stream(AnswerBody(shared))
}

/// The provider is left, the call settled, the place free; the client finds the reason if it reads on.
fn end(shared: &Mutex<Shared>) {
    let reader = {
        let mut shared = lock(shared);
        shared.answer.end_late();
        shared.reader.take()
    };
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// Held within one poll only, never while something waits.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic has ended the connection, and what the answer holds is freed with it.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = lock(&self.0);
        let piece = shared.answer.poll_piece(context);
        shared.reader = piece.is_pending().then(|| context.waker().clone());
        piece.map(|piece| piece.map(Ok))
    }
}
