//! What waits to be written to one socket: bounded in bytes, never waited for by the room.
//!
//! A room pushes while it works and flushes once at the end of its turn: whatever one commit has for a receiver leaves
//! in one system call, made there and then, without waking the socket's task. Only what the kernel does not take at once
//! is left to that task. A push that would pass the bound closes the connection with 1013 `slow-consumer` and frees what
//! was queued: the client resyncs when it reconnects.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use epicenter_sync::CloseCode;

use super::lock;
use crate::websocket::Frame;

/// Why a socket is closed whose peer does not read.
pub(super) const SLOW_CONSUMER: &str = "slow-consumer";

/// Frames that one system call takes.
const FRAMES_PER_WRITE: usize = 64;

/// Where frames go.
pub trait Sink: Send + Sync {
    /// Writes as much as goes without waiting, from the first of these on.
    ///
    /// # Errors
    /// `WouldBlock` when nothing goes; anything else when the peer is gone.
    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// How a connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseOrder {
    /// The code of the close frame.
    pub code: CloseCode,
    /// Its reason, at most 123 bytes.
    pub reason: String,
}

/// How far a flush came.
#[derive(Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing is queued.
    All,
    /// The peer does not read at the moment.
    Blocked,
    /// Nothing is queued before this close, or it must not wait for what is.
    Close(CloseOrder),
    /// The peer is gone.
    Gone,
}

/// The bounded queue between a room and a socket.
pub struct Outbox {
    max_bytes: usize,
    sink: Arc<dyn Sink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Frame>,
    bytes: usize,
    /// Bytes of the first frame that are written.
    written: usize,
    close: Option<CloseOrder>,
    /// Whether what is queued is sent before the close, as far as the peer reads.
    drains: bool,
    /// Something was queued since the last flush.
    is_dirty: bool,
    /// A close was ordered or the socket is gone: nothing more is taken in.
    sealed: bool,
    /// Of the socket's task.
    waker: Option<Waker>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Outbox")
            .field("bytes", &self.lock().bytes)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty queue of at most so many bytes.
    pub fn new(max_bytes: usize, sink: Arc<dyn Sink>) -> Self {
        Self {
            max_bytes,
            sink,
            state: Mutex::default(),
        }
    }

    /// Queues a frame; true when that is the first since the last flush, so that one is due. One frame larger than the
    /// bound passes when the queue is empty.
    pub fn push(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        if state.sealed {
            return false;
        }
        let bytes = state.bytes.saturating_add(frame.len());
        if !state.queue.is_empty() && bytes > self.max_bytes {
            let order = CloseOrder {
                code: CloseCode::TryAgainLater,
                reason: SLOW_CONSUMER.to_owned(),
            };
            state.order_close(order, false);
            return false;
        }
        state.bytes = bytes;
        state.queue.push_back(frame);
        !std::mem::replace(&mut state.is_dirty, true)
    }

    /// Orders a close; the first order counts, unless it waits for a peer that does not read and this one must not. True
    /// when this one waits for what is queued.
    pub fn close(&self, order: CloseOrder) -> bool {
        // These must not wait behind a peer that does not read.
        let is_urgent = matches!(
            order.code,
            CloseCode::Unauthorized | CloseCode::Forbidden | CloseCode::TryAgainLater
        );
        let mut state = self.lock();
        state.order_close(order, !is_urgent);
        state.is_draining()
    }

    /// Writes what goes without waiting; what is left is the business of the socket's task.
    pub fn flush(&self) {
        let mut state = self.lock();
        if state.write(self.sink.as_ref()) != Flushed::All {
            state.wake();
        }
    }

    /// Leaves all of it to the socket's task.
    pub fn flush_later(&self) {
        self.lock().wake();
    }

    /// For the socket's task: writes what goes without waiting, and remembers whom to wake when there is more to do.
    pub fn poll_flush(&self, waker: &Waker) -> Flushed {
        let mut state = self.lock();
        state.remember(waker);
        match state.write(self.sink.as_ref()) {
            Flushed::All => state.close.take().map_or(Flushed::All, Flushed::Close),
            Flushed::Blocked if state.close.is_some() && !state.drains => {
                state.close.take().map_or(Flushed::Blocked, Flushed::Close)
            }
            flushed => flushed,
        }
    }

    /// Frames that are queued, and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        let state = self.lock();
        (state.queue.len(), state.bytes)
    }

    /// Whether a close waits for what is queued before it.
    pub fn is_draining(&self) -> bool {
        self.lock().is_draining()
    }

    /// Takes the close order; what is queued before it is given up.
    pub fn take_close(&self) -> Option<CloseOrder> {
        let mut state = self.lock();
        state.give_up();
        state.close.take()
    }

    /// Queues the very last frame, behind what is left of the one that is being written.
    pub(crate) fn push_last(&self, frame: Frame) {
        let mut state = self.lock();
        state.sealed = true;
        state.give_up();
        state.queue.push_back(frame);
    }

    /// The socket is gone: frees what is queued and takes nothing more in.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.sealed = true;
        state.queue = VecDeque::new();
        state.bytes = 0;
        state.waker = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn write(&mut self, sink: &dyn Sink) -> Flushed {
        self.is_dirty = false;
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * FRAMES_PER_WRITE];
            let mut used = 0;
            for (index, frame) in self.queue.iter().take(FRAMES_PER_WRITE).enumerate() {
                let written = if index == 0 { self.written } else { 0 };
                for slice in frame.rest(written) {
                    if !slice.is_empty() {
                        slices[used] = slice;
                        used += 1;
                    }
                }
            }
            match sink.try_write(&slices[..used]) {
                Ok(0) => return Flushed::Gone,
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flushed::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_gone) => return Flushed::Gone,
            }
        }
        Flushed::All
    }

    fn advance(&mut self, written: usize) {
        self.written += written;
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.queue.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn is_draining(&self) -> bool {
        self.close.is_some() && self.drains
    }

    fn order_close(&mut self, order: CloseOrder, drains: bool) {
        let overtakes = self.is_draining() && !drains;
        if self.sealed && !overtakes {
            return;
        }
        self.sealed = true;
        self.drains = drains;
        if !drains {
            self.give_up();
        }
        self.close = Some(order);
        self.wake();
    }

    /// Drops what is queued, but for the frame of which a part has been written.
    fn give_up(&mut self) {
        self.queue.truncate(usize::from(self.written > 0));
        self.bytes = self.queue.front().map_or(0, Frame::len) - self.written;
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
mod tests;
