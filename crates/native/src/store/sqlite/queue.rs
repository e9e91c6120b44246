//! Work on its way to a thread: bounded, in order, each with a place for its answer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use epicenter_store::sql::{Job, SqlError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A job and who waits for it.
pub(super) struct Work {
    pub(super) job: Box<dyn Job>,
    answer: oneshot::Sender<Result<(), SqlError>>,
    /// Held until the job is done, also when nobody waits for it any more.
    _place: OwnedSemaphorePermit,
}

impl Work {
    pub(super) fn answer(self, result: Result<(), SqlError>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(result);
    }
}

/// Works that wait for a thread.
pub(super) struct Queue {
    places: Arc<Semaphore>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    works: VecDeque<Work>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            state: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Waits for a place, for a thread, and for the answer. A caller that goes away takes nothing back once its job has a
    /// place.
    pub(super) async fn perform(&self, job: Box<dyn Job>) -> Result<(), SqlError> {
        // The semaphore is closed with the engine, and so is the answer dropped; both mean the same.
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| SqlError::Unavailable)?;
        let (answer, answered) = oneshot::channel();
        self.push(Work {
            job,
            answer,
            _place: place,
        });
        answered.await.unwrap_or(Err(SqlError::Unavailable))
    }

    fn push(&self, work: Work) {
        let mut state = self.lock();
        if !state.closed {
            state.works.push_back(work);
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits for work and takes as much as there is, up to `limit`; nothing once the queue is closed and empty.
    pub(super) fn take(&self, limit: usize) -> Option<Vec<Work>> {
        let mut state = self.lock();
        loop {
            if !state.works.is_empty() {
                let count = state.works.len().min(limit);
                return Some(state.works.drain(..count).collect());
            }
            if state.closed {
                return None;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more work is taken; what waits is still done.
    pub(super) fn close(&self) {
        self.places.close();
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
