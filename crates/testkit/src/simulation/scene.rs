//! What all parts of a play share: the clock, the record of what happened, and the first thing that went wrong.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use crate::dice::{Dice, mix};

/// When every play begins.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// Something that is polled: a socket of the hub or an HTTP call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(pub(super) u64);

/// The stage.
pub(super) struct Scene {
    seed: u64,
    clock: AtomicU64,
    trace: Mutex<Trace>,
    violation: Mutex<Option<String>>,
    woken: Mutex<BTreeSet<TaskId>>,
    /// Links with frames on their way to the client, and when the next one arrives.
    arrivals: Mutex<Vec<(u64, u64)>>,
}

struct Trace {
    hash: Fnv,
    count: u64,
    lines: Option<Vec<String>>,
}

/// FNV-1a: the hash only has to tell plays apart.
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Ok(())
    }
}

impl Scene {
    pub(super) fn new(seed: u64, keeps_lines: bool) -> Arc<Self> {
        Arc::new(Self {
            seed,
            clock: AtomicU64::new(START_MS),
            trace: Mutex::new(Trace {
                hash: Fnv(0xCBF2_9CE4_8422_2325),
                count: 0,
                lines: keeps_lines.then(Vec::new),
            }),
            violation: Mutex::default(),
            woken: Mutex::default(),
            arrivals: Mutex::default(),
        })
    }

    /// Chance for one purpose.
    pub(super) fn dice(&self, purpose: &str, number: u64) -> Dice {
        Dice::named(self.seed, purpose, number)
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(super) fn advance_to(&self, at: u64) {
        self.clock.fetch_max(at, Ordering::Relaxed);
    }

    /// Another process begins with the time that the machine has, which may have been set back.
    pub(super) fn set_back(&self, milliseconds: u64) {
        self.clock.fetch_sub(milliseconds, Ordering::Relaxed);
    }

    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        let now = self.now() - START_MS.min(self.now());
        let mut trace = lock(&self.trace);
        trace.count += 1;
        let _infallible = writeln!(trace.hash, "{now} {what}");
        if let Some(lines) = &mut trace.lines {
            lines.push(format!("{:>9}.{:03} {what}", now / 1_000, now % 1_000));
        }
    }

    /// Something that must never be. Only the first counts.
    pub(super) fn violate(&self, what: impl FnOnce() -> String) {
        let mut violation = lock(&self.violation);
        if violation.is_none() {
            let what = what();
            self.note(format_args!("VIOLATION {what}"));
            *violation = Some(what);
        }
    }

    pub(super) fn violation(&self) -> Option<String> {
        lock(&self.violation).clone()
    }

    pub(super) fn hash(&self) -> u64 {
        let trace = lock(&self.trace);
        mix(trace.hash.0 ^ trace.count)
    }

    pub(super) fn take_lines(&self) -> Vec<String> {
        lock(&self.trace).lines.take().unwrap_or_default()
    }

    pub(super) fn waker(self: &Arc<Self>, task: TaskId) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            scene: Arc::clone(self),
            task,
        }))
    }

    pub(super) fn wake(&self, task: TaskId) {
        lock(&self.woken).insert(task);
    }

    pub(super) fn take_woken(&self) -> BTreeSet<TaskId> {
        std::mem::take(&mut lock(&self.woken))
    }

    /// Something arrives at the client of a link.
    pub(super) fn arrives(&self, link: u64, at: u64) {
        lock(&self.arrivals).push((link, at));
    }

    pub(super) fn take_arrivals(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut lock(&self.arrivals))
    }
}

struct TaskWaker {
    scene: Arc<Scene>,
    task: TaskId,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.scene.wake(self.task);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of the code under test is a violation of its own.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
