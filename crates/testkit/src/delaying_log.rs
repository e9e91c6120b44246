//! The shipped log behind a valve: appends reach it only when a test lets them, or fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::log::{
    AppendError, AppendRequest, DirectoryEntry, Extent, Log, ReadError, Rejected, Replacement,
    StoredRoom, Usage,
};
use epicenter_room::Seq;
use tokio::sync::watch;

use crate::soon;

/// Wraps a log; open at first.
pub struct DelayingLog {
    inner: Arc<dyn Log>,
    valve: Mutex<Valve>,
    /// Appends that have arrived since the beginning.
    arrived: watch::Sender<usize>,
    reads_panic: AtomicBool,
}

impl std::fmt::Debug for DelayingLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DelayingLog")
    }
}

#[derive(Default)]
struct Valve {
    closed: bool,
    held: VecDeque<AppendRequest>,
}

impl DelayingLog {
    /// Wraps the log that ships.
    pub fn around(inner: Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            valve: Mutex::default(),
            arrived: watch::Sender::new(0),
            reads_panic: AtomicBool::new(false),
        })
    }

    /// From now on appends are held back.
    pub fn hold(&self) {
        self.valve.lock().expect("no test panicked here").closed = true;
    }

    /// Lets everything held, and everything to come, through, in the order in which it came.
    pub fn release(&self) {
        while let Some(request) = self.take_held() {
            self.inner.append(request);
        }
    }

    /// The oldest append that is held. The valve opens when there is none, not before: what comes meanwhile must not
    /// overtake.
    fn take_held(&self) -> Option<AppendRequest> {
        let mut valve = self.valve.lock().expect("no test panicked here");
        let oldest = valve.held.pop_front();
        valve.closed = oldest.is_some();
        oldest
    }

    /// Fails the oldest held append; those behind it stay held.
    ///
    /// # Panics
    /// When none is held.
    pub fn fail_oldest(&self) {
        let request = self
            .valve
            .lock()
            .expect("no test panicked here")
            .held
            .pop_front();
        let request = request.expect("an append is held");
        (request.done.0)(Err(AppendError("the test says so".into())));
    }

    /// Whether reads panic from now on.
    pub fn set_reads_panic(&self, panic: bool) {
        self.reads_panic.store(panic, Ordering::Relaxed);
    }

    /// How many appends have arrived so far.
    pub fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Waits until so many appends have arrived in all.
    pub async fn wait_for_arrivals(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let reached = arrived.wait_for(|arrived| *arrived >= count);
        soon("an append", reached).await.expect("the log is alive");
    }
}

impl Log for DelayingLog {
    fn append(&self, request: AppendRequest) {
        {
            let mut valve = self.valve.lock().expect("no test panicked here");
            if valve.closed {
                valve.held.push_back(request);
            } else {
                drop(valve);
                self.inner.append(request);
            }
        }
        self.arrived.send_modify(|arrived| *arrived += 1);
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<StoredRoom, ReadError> {
        assert!(
            !self.reads_panic.load(Ordering::Relaxed),
            "the test says so"
        );
        self.inner.read(room, after, upto)
    }

    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry> {
        self.inner.list(owner, after, limit)
    }

    fn touch(&self, room: &RoomName, now_ms: u64) {
        self.inner.touch(room, now_ms);
    }

    fn extent(&self, room: &RoomName) -> Option<Extent> {
        self.inner.extent(room)
    }

    fn replace(&self, replacement: Replacement) {
        self.inner.replace(replacement);
    }

    fn quarantine(&self, rejected: Rejected) {
        self.inner.quarantine(rejected);
    }

    fn usage(&self, owner: &OwnerId) -> Usage {
        self.inner.usage(owner)
    }

    fn is_busy(&self) -> bool {
        self.inner.is_busy()
    }

    fn is_full(&self) -> bool {
        self.inner.is_full()
    }

    fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        self.inner.when_not_full(wake);
    }
}
