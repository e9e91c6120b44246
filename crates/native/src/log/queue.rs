//! The queue between rooms and the writer thread.
//!
//! Putting something in never waits. Its bytes count until it has been answered, so `is_full` covers what is being
//! written as well; rooms look at it before they read more. Appends and replacements are two lines: a replacement names
//! the entry up to which it counts, so it does not matter how many appends pass it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use epicenter_identity::RoomName;

use super::{AppendRequest, LogId, Rejected, ReplaceError, Replacement, row};

/// Memory that an entry takes beside its bytes, roughly.
const ENTRY_OVERHEAD: usize = 128;

/// Appends, or bytes, that are worth a commit of their own at any time.
const ENOUGH: (usize, usize) = (16, 1 << 20);

/// What the writer does beside appends.
#[derive(Debug)]
pub(super) enum Job {
    Replace(Replacement),
    Reject(Rejected),
    /// Ends the quarantine of a log.
    Lift(Lift),
}

/// See [`Job::Lift`].
pub(super) struct Lift {
    pub(super) room: RoomName,
    pub(super) log: LogId,
    pub(super) done: Box<dyn FnOnce(Result<(), ReplaceError>) + Send>,
}

impl fmt::Debug for Lift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Lift({} {})", self.room, self.log)
    }
}

impl Job {
    pub(super) fn room(&self) -> &RoomName {
        match self {
            Self::Replace(replacement) => &replacement.room,
            Self::Reject(rejected) => &rejected.room,
            Self::Lift(lift) => &lift.room,
        }
    }

    pub(super) fn answer(self, result: Result<(), ReplaceError>) {
        match self {
            Self::Replace(replacement) => replacement.done.0(result),
            Self::Lift(lift) => (lift.done)(result),
            Self::Reject(rejected) => {
                if let Err(error) = result {
                    tracing::error!(
                        room.name = %rejected.room,
                        error = %error,
                        reason = rejected.reason,
                        "a rejected state could not be kept"
                    );
                }
            }
        }
    }

    /// What it counts for in the queue.
    fn weight(&self) -> usize {
        let bytes = match self {
            Self::Replace(Replacement { ready, pending, .. }) => {
                ready.len() + pending.as_ref().map_or(0, bytes::Bytes::len)
            }
            Self::Reject(rejected) => rejected.ready.len() + rejected.reason.len(),
            Self::Lift(_) => 0,
        };
        bytes + ENTRY_OVERHEAD
    }
}

/// Work on its way to the writer.
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
    jobs: VecDeque<Job>,
    wakers: Vec<Box<dyn FnOnce() + Send>>,
    ending: Ending,
    /// The writer waits, so that it has to be woken; one that works takes everything when it comes back.
    is_awaited: bool,
    /// The writer lets appends gather, so that it has to be woken when they are [`ENOUGH`].
    is_held: bool,
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
    /// Both are empty when the wait was over.
    Work {
        appends: Vec<AppendRequest>,
        jobs: Vec<Job>,
    },
    /// Nothing, and nothing will come.
    Ended,
}

/// How long the writer may wait for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Not,
    AtMost(Duration),
    Forever,
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
                self.wake(state);
                return Ok(());
            }
            Ending::Stopping => Arc::from("the log is shutting down"),
            Ending::Stopped(reason) => Arc::clone(reason),
        };
        Err(Box::new((request, reason)))
    }

    /// Nothing waits to be taken.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }

    /// Gives the job back, with the reason, when nothing is taken any more.
    pub(super) fn push_job(&self, job: Job) -> Result<(), Box<(Job, Arc<str>)>> {
        let mut state = self.lock();
        let reason = match &state.ending {
            Ending::Open => {
                self.bytes.fetch_add(job.weight(), Ordering::Relaxed);
                state.jobs.push_back(job);
                self.wake(state);
                return Ok(());
            }
            Ending::Stopping => Arc::from("the log is shutting down"),
            Ending::Stopped(reason) => Arc::clone(reason),
        };
        Err(Box::new((job, reason)))
    }

    /// Takes what has arrived, in order: of appends and of jobs up to a commit's worth each, and at least one if there
    /// is any. Nothing is taken until `not_before`, unless there is enough for a commit.
    pub(super) fn take(
        &self,
        (max_rows, max_bytes): (usize, usize),
        wait: Wait,
        not_before: Option<Instant>,
    ) -> Taken {
        let mut state = self.lock();
        if let Some(until) = not_before {
            state = self.hold(state, until);
        }
        if state.is_idle() {
            if !matches!(state.ending, Ending::Open) {
                return Taken::Ended;
            }
            state = self.wait(state, wait);
            if state.is_idle() && !matches!(state.ending, Ending::Open) {
                return Taken::Ended;
            }
        }
        Taken::Work {
            appends: take_up_to(&mut state.waiting, max_rows, max_bytes, row_count, weight),
            jobs: take_up_to(&mut state.jobs, max_rows, max_bytes, |_| 1, Job::weight),
        }
    }

    /// A wake-up is a system call, so one is made only for a writer that waits, and without the lock, which is the first
    /// thing that it asks for.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let is_awaited = std::mem::take(&mut state.is_awaited);
        let is_enough = state.is_held && self.is_enough(&state);
        state.is_held &= !is_enough;
        drop(state);
        if is_awaited || is_enough {
            self.arrived.notify_one();
        }
    }

    fn is_enough(&self, state: &State) -> bool {
        state.waiting.len() >= ENOUGH.0 || self.bytes() >= ENOUGH.1.min(self.max_bytes)
    }

    /// Lets appends gather. Whoever brings one has nobody to wake.
    fn hold<'a>(&'a self, state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        let is_held = |state: &mut State| {
            state.is_held = matches!(state.ending, Ending::Open) && !self.is_enough(state);
            state.is_held
        };
        let time = until.saturating_duration_since(Instant::now());
        let mut state = if time.is_zero() {
            state
        } else {
            self.arrived
                .wait_timeout_while(state, time, is_held)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        };
        state.is_held = false;
        state
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, wait: Wait) -> MutexGuard<'a, State> {
        // Noted before each wait, and taken back below.
        let is_idle = |state: &mut State| {
            state.is_awaited = state.is_idle() && matches!(state.ending, Ending::Open);
            state.is_awaited
        };
        let mut state = match wait {
            Wait::Not => state,
            Wait::Forever => self
                .arrived
                .wait_while(state, is_idle)
                .unwrap_or_else(PoisonError::into_inner),
            Wait::AtMost(time) => {
                self.arrived
                    .wait_timeout_while(state, time, is_idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        state.is_awaited = false;
        state
    }

    /// Work of this weight has been answered.
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
    pub(super) fn abandon(&self, reason: &Arc<str>) -> (Vec<AppendRequest>, Vec<Job>) {
        let mut state = self.lock();
        state.ending = Ending::Stopped(Arc::clone(reason));
        let state = &mut *state;
        (
            state.waiting.drain(..).collect(),
            state.jobs.drain(..).collect(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section here leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.jobs.is_empty()
    }
}

fn take_up_to<T>(
    line: &mut VecDeque<T>,
    max_rows: usize,
    max_bytes: usize,
    row_count: impl Fn(&T) -> usize,
    weight: impl Fn(&T) -> usize,
) -> Vec<T> {
    let mut taken = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(next) = line.front() {
        rows += row_count(next);
        bytes += weight(next);
        if !taken.is_empty() && (rows > max_rows || bytes > max_bytes) {
            break;
        }
        taken.extend(line.pop_front());
    }
    taken
}

/// What all of them count for.
pub(super) fn job_weight(jobs: &[Job]) -> usize {
    jobs.iter().map(Job::weight).sum()
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

#[cfg(test)]
mod tests;
