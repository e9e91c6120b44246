//! The rooms' host in a running hub: tokio's threads and timer.

use std::sync::{Arc, Weak};

use epicenter_room::Millis;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::ports::{Job, JobKind, RoomHost};
use super::slot::Slot;
use super::{RoomRegistry, Shared};
use crate::clock::HostClock;

/// Runs turns on the runtime's threads and jobs on its blocking ones.
pub struct NativeHost {
    runtime: Handle,
    clock: HostClock,
    /// Bounds the merges that run at once: each may take a core and several times its document's size.
    states: Arc<Semaphore>,
    /// One compaction at a time: nobody waits for it.
    compactions: Arc<Semaphore>,
    alarm: watch::Sender<Option<Millis>>,
}

impl std::fmt::Debug for NativeHost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NativeHost")
    }
}

/// The task that rings for the rooms; ends when dropped.
#[derive(Debug)]
pub struct Alarm(JoinHandle<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NativeHost {
    /// On the runtime that calls this.
    pub(crate) fn new(clock: HostClock) -> Arc<Self> {
        let states = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Self {
            runtime: Handle::current(),
            clock,
            states: Arc::new(Semaphore::new(states)),
            compactions: Arc::new(Semaphore::new(1)),
            alarm: watch::Sender::new(None),
        })
    }

    /// Rings for these rooms from now on.
    pub(crate) fn ring_for(&self, rooms: &RoomRegistry) -> Alarm {
        let rooms = Arc::downgrade(&rooms.0);
        let alarm = self.alarm.subscribe();
        Alarm(self.runtime.spawn(ring(rooms, self.clock.clone(), alarm)))
    }
}

async fn ring(rooms: Weak<Shared>, clock: HostClock, mut alarm: watch::Receiver<Option<Millis>>) {
    loop {
        let at = *alarm.borrow_and_update();
        let due = async {
            match at {
                Some(at) => tokio::time::sleep_until(clock.instant_of(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = alarm.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = due => {
                let Some(rooms) = rooms.upgrade() else { return };
                RoomRegistry(rooms).ring();
            }
        }
    }
}

impl RoomHost for NativeHost {
    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn schedule(&self, slot: Arc<Slot>) {
        // A turn waits for nothing, so nobody needs to be able to stop it.
        self.runtime.spawn(async move { slot.turn() });
    }

    fn run(&self, kind: JobKind, job: Job) {
        let permits = match kind {
            JobKind::State => &self.states,
            JobKind::Compaction => &self.compactions,
        };
        let permits = Arc::clone(permits);
        let runtime = self.runtime.clone();
        self.runtime.spawn(async move {
            // The semaphores are never closed.
            let Ok(permit) = permits.acquire_owned().await else {
                return;
            };
            runtime.spawn_blocking(move || {
                job();
                drop(permit);
            });
        });
    }

    fn set_alarm(&self, at: Option<Millis>) {
        self.alarm.send_replace(at);
    }
}
