//! What waits to be written to one socket: bounded in bytes, never waited for by the room.
//!
//! The room's task pushes, the socket's task pops. A push that would pass the bound closes the connection with 1013
//! `slow-consumer` and frees what was queued: the client resyncs when it reconnects.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use epicenter_sync::CloseCode;
use tokio_tungstenite::tungstenite::Message;

/// How a connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseOrder {
    pub code: CloseCode,
    pub reason: String,
}

/// What the socket's task finds in its outbox.
#[derive(Debug)]
pub enum Next {
    Message(Message),
    /// Everything queued before it has been taken.
    Close(CloseOrder),
    Empty,
}

/// The bounded queue between a room and a socket.
#[derive(Debug)]
pub struct Outbox {
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Message>,
    bytes: usize,
    close: Option<CloseOrder>,
    /// A close was ordered or the socket is gone: nothing more is taken in.
    sealed: bool,
    waker: Option<Waker>,
}

impl Outbox {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
        }
    }

    /// Queues a message. One message larger than the bound passes when the queue is empty.
    pub fn push(&self, message: Message) {
        let mut state = self.lock();
        if state.sealed {
            return;
        }
        let size = message.len();
        if !state.queue.is_empty() && state.bytes.saturating_add(size) > self.max_bytes {
            state.order_close(
                CloseOrder {
                    code: CloseCode::TryAgainLater,
                    reason: "slow-consumer".to_owned(),
                },
                Queued::Drop,
            );
            return;
        }
        state.bytes = state.bytes.saturating_add(size);
        state.queue.push_back(message);
        state.wake();
    }

    /// Orders a close; only the first order counts.
    pub fn close(&self, order: CloseOrder) {
        let queued = match order.code {
            // These must not wait behind a peer that does not read.
            CloseCode::Unauthorized | CloseCode::Forbidden | CloseCode::TryAgainLater => {
                Queued::Drop
            }
            _ => Queued::Send,
        };
        self.lock().order_close(order, queued);
    }

    /// The next thing to write; remembers the waker when there is none.
    pub fn poll_next(&self, waker: &Waker) -> Next {
        let mut state = self.lock();
        if let Some(message) = state.queue.pop_front() {
            state.bytes = state.bytes.saturating_sub(message.len());
            return Next::Message(message);
        }
        if let Some(order) = state.close.take() {
            return Next::Close(order);
        }
        state.remember(waker);
        Next::Empty
    }

    /// Whether a close was ordered, and whether it must not wait for what is queued; remembers the waker when there is
    /// none. For a socket that cannot be written to at the moment.
    pub fn poll_ordered_close(&self, waker: &Waker) -> Option<Queued> {
        let mut state = self.lock();
        if state.close.is_some() {
            let is_empty = state.queue.is_empty();
            return Some(if is_empty { Queued::Drop } else { Queued::Send });
        }
        state.remember(waker);
        None
    }

    /// Takes the close order; what is queued before it is given up.
    pub fn take_close(&self) -> Option<CloseOrder> {
        let mut state = self.lock();
        state.queue = VecDeque::new();
        state.bytes = 0;
        state.close.take()
    }

    /// The socket is gone: frees what is queued and takes nothing more in.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.queue = VecDeque::new();
        state.bytes = 0;
        state.sealed = true;
        state.waker = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of messages that were queued before a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// They are sent first, as far as the peer reads.
    Send,
    Drop,
}

impl State {
    fn order_close(&mut self, order: CloseOrder, queued: Queued) {
        if self.sealed {
            return;
        }
        self.sealed = true;
        if queued == Queued::Drop {
            self.queue = VecDeque::new();
            self.bytes = 0;
        }
        self.close = Some(order);
        self.wake();
    }

    fn remember(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &Outbox) -> (usize, Option<CloseOrder>) {
        let mut messages = 0;
        loop {
            match outbox.poll_next(Waker::noop()) {
                Next::Message(_) => messages += 1,
                Next::Close(order) => return (messages, Some(order)),
                Next::Empty => return (messages, None),
            }
        }
    }

    fn message(size: usize) -> Message {
        Message::binary(vec![0; size])
    }

    #[test]
    fn a_queue_past_its_bound_is_dropped_and_closed_as_a_slow_consumer() {
        let outbox = Outbox::new(100);
        outbox.push(message(60));
        outbox.push(message(40));
        outbox.push(message(1));
        outbox.push(message(1));
        let (messages, close) = drain(&outbox);
        assert_eq!(messages, 0);
        assert_eq!(
            close.map(|order| order.reason),
            Some("slow-consumer".to_owned())
        );
    }

    #[test]
    fn one_larger_message_passes_when_the_queue_is_empty() {
        let outbox = Outbox::new(100);
        outbox.push(message(5_000));
        assert_eq!(drain(&outbox), (1, None));
        outbox.push(message(5_000));
        assert_eq!(drain(&outbox), (1, None));
    }

    #[test]
    fn an_ordinary_close_waits_for_the_queue_and_a_revocation_does_not() {
        for (code, sent) in [(CloseCode::GoingAway, 2), (CloseCode::Unauthorized, 0)] {
            let outbox = Outbox::new(100);
            outbox.push(message(1));
            outbox.push(message(1));
            let order = CloseOrder {
                code,
                reason: String::new(),
            };
            outbox.close(order.clone());
            outbox.push(message(1));
            assert_eq!(drain(&outbox), (sent, Some(order)));
            assert_eq!(drain(&outbox), (0, None), "a close is given once");
        }
    }

    #[test]
    fn an_abandoned_outbox_takes_nothing_in() {
        let outbox = Outbox::new(100);
        outbox.abandon();
        outbox.push(message(1));
        assert_eq!(drain(&outbox), (0, None));
    }
}
