//! The queue between room tasks and the writer thread.
//!
//! Putting an append in never waits. Its bytes count until the append has been answered, so `is_full` covers what is
//! being written as well; rooms look at it before they read more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{AppendRequest, row};

/// Memory that an entry takes beside its bytes, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// Appends on their way to the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    /// Changed with the lock held, read without it.
    bytes: AtomicUsize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<AppendRequest>,
    wakers: Vec<Box<dyn FnOnce() + Send>>,
    ending: Ending,
}

#[derive(Default)]
enum Ending {
    #[default]
    Open,
    /// What waits is still written; nothing more is taken.
    Stopping,
    /// The writer is gone.
    Stopped(Arc<str>),
}

/// What the writer finds.
#[derive(Debug)]
pub(super) enum Taken {
    Batch(Vec<AppendRequest>),
    /// Nothing now; only when the caller did not want to wait.
    Nothing,
    /// Nothing, and nothing will come.
    Ended,
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            bytes: AtomicUsize::new(0),
            max_bytes,
        }
    }

    /// Gives the request back, with the reason, when nothing is taken any more.
    pub(super) fn push(
        &self,
        request: AppendRequest,
    ) -> Result<(), Box<(AppendRequest, Arc<str>)>> {
        let mut state = self.lock();
        let reason = match &state.ending {
            Ending::Open => {
                self.bytes.fetch_add(weight(&request), Ordering::Relaxed);
                state.waiting.push_back(request);
                // A writer that is busy does not wait, and takes everything when it comes back.
                self.arrived.notify_one();
                return Ok(());
            }
            Ending::Stopping => Arc::from("the log is shutting down"),
            Ending::Stopped(reason) => Arc::clone(reason),
        };
        Err(Box::new((request, reason)))
    }

    /// Takes what has arrived, in order, up to a commit's worth and at least one append.
    pub(super) fn take(&self, max_rows: usize, max_bytes: usize, wait: bool) -> Taken {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if !matches!(state.ending, Ending::Open) {
                return Taken::Ended;
            }
            if !wait {
                return Taken::Nothing;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(request) = state.waiting.front() {
            rows += row_count(request);
            bytes += weight(request);
            if !batch.is_empty() && (rows > max_rows || bytes > max_bytes) {
                break;
            }
            batch.extend(state.waiting.pop_front());
        }
        Taken::Batch(batch)
    }

    /// Appends of this weight have been answered.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.is_full() || state.wakers.is_empty() {
            return;
        }
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        for wake in wakers {
            wake();
        }
    }

    pub(super) fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if self.is_full() {
            state.wakers.push(wake);
        } else {
            drop(state);
            wake();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes() >= self.max_bytes
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if matches!(state.ending, Ending::Open) {
            state.ending = Ending::Stopping;
        }
        self.arrived.notify_all();
    }

    /// The writer is gone: returns what it left behind.
    pub(super) fn abandon(&self, reason: &Arc<str>) -> Vec<AppendRequest> {
        let mut state = self.lock();
        state.ending = Ending::Stopped(Arc::clone(reason));
        state.waiting.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section here leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request counts for in the queue.
pub(super) fn weight(request: &AppendRequest) -> usize {
    let entries = &request.append.entries;
    entries
        .iter()
        .map(|entry| row::body(entry).len() + ENTRY_OVERHEAD)
        .sum()
}

fn row_count(request: &AppendRequest) -> usize {
    let entries = &request.append.entries;
    entries
        .iter()
        .map(|entry| row::part_count(row::body(entry)))
        .sum()
}
