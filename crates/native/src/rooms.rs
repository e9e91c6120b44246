//! The rooms of this process: one slot and at most one task per room, found by name.
//!
//! The registry's lock is held for a look-up only, never across an await. A task ends when its room is idle and nobody
//! else holds its mailbox; both are checked under that lock, so that nobody can be handed the mailbox of a task that
//! is about to end.

pub(crate) mod mailbox;
mod state;
mod task;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use epicenter_identity::{Access, OwnerId, RoomId, RoomName};
use epicenter_room::{Answer, CallId, ConnectionId, Request, RoomConfig};
use epicenter_server::ports::{RoomEntry, RoomPage, Rooms, StoreUnavailable};
use epicenter_server::refusals::Refusals;
use epicenter_server::revocations::Subject;
use tokio::sync::{Semaphore, oneshot};

use crate::clock::HostClock;
use crate::config::LimitsConfig;
use crate::log::{Generation, Log};
use mailbox::{Control, Input, Mailbox};
use task::RoomTask;

/// Revocations remembered for sockets on their way in: hours of them, while the way takes at most a minute.
const REVOCATIONS_KEPT: usize = 10_000;

/// All rooms of this process.
#[derive(Clone)]
pub(crate) struct RoomRegistry(Arc<Shared>);

pub(crate) struct Shared {
    log: Arc<dyn Log>,
    clock: HostClock,
    config: Arc<RoomConfig>,
    limits: LimitsConfig,
    slots: Mutex<Slots>,
    revoked: Mutex<Revoked>,
    refusals: Refusals,
    next_generation: AtomicU64,
    next_id: AtomicU64,
    /// Bounds the merges that run at once: each may take a core and several times its document's size.
    builders: Arc<Semaphore>,
}

struct Slots {
    closed: bool,
    rooms: HashMap<RoomName, Slot>,
    tasks: tokio::task::JoinSet<()>,
}

struct Slot {
    mailbox: Arc<Mailbox>,
    counters: Arc<RoomCounters>,
}

/// What a listing shows of a room in memory.
#[derive(Debug, Default)]
pub(crate) struct RoomCounters {
    connections: AtomicUsize,
}

/// The hub is shutting down and opens no more rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShuttingDown;

impl RoomRegistry {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        clock: HostClock,
        config: RoomConfig,
        limits: LimitsConfig,
    ) -> Self {
        let builders = std::thread::available_parallelism().map_or(2, usize::from);
        Self(Arc::new(Shared {
            log,
            clock,
            config: Arc::new(config),
            limits,
            slots: Mutex::new(Slots {
                closed: false,
                rooms: HashMap::new(),
                tasks: tokio::task::JoinSet::new(),
            }),
            revoked: Mutex::default(),
            refusals: Refusals::default(),
            next_generation: AtomicU64::new(1),
            next_id: AtomicU64::new(1),
            builders: Arc::new(Semaphore::new(builders)),
        }))
    }

    /// The room's mailbox; its task is started when there is none. The room lives at least as long as the mailbox is held.
    pub(crate) fn enter(&self, name: &RoomName) -> Result<Arc<Mailbox>, ShuttingDown> {
        let mut slots = lock(&self.0.slots);
        if slots.closed {
            return Err(ShuttingDown);
        }
        if let Some(slot) = slots.rooms.get(name) {
            return Ok(Arc::clone(&slot.mailbox));
        }
        let (mailbox, receiver) = Mailbox::new(
            self.0.limits.max_inbox_commands,
            self.0.limits.max_inbox_bytes,
        );
        let counters = Arc::new(RoomCounters::default());
        let task = RoomTask::new(
            Arc::clone(&self.0),
            name.clone(),
            Arc::clone(&counters),
            receiver,
            mailbox.control(),
        );
        let mailbox = Arc::new(mailbox);
        slots.rooms.insert(
            name.clone(),
            Slot {
                mailbox: Arc::clone(&mailbox),
                counters,
            },
        );
        while slots.tasks.try_join_next().is_some() {}
        slots.tasks.spawn(task.run());
        Ok(mailbox)
    }

    /// A fresh number for a socket.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.0.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Closes the sockets that these tokens opened, with 4401, and keeps out those that are about to join with one.
    pub(crate) fn revoke(&self, subject: &Subject) {
        // First remembered, then told: a socket that joins meanwhile meets the one or the other.
        lock(&self.0.revoked).push(subject.clone());
        for slot in lock(&self.0.slots).rooms.values() {
            slot.mailbox.tell(Control::Revoke(subject.clone()));
        }
    }

    /// How many revocations there have been.
    pub(crate) fn revocations_seen(&self) -> u64 {
        lock(&self.0.revoked).count
    }

    /// Closes every socket with 1013, answers every call and forgets what is in memory, because another process may serve
    /// rooms from now on. Rooms can be used again at once; what keeps callers out meanwhile is the lease.
    pub(crate) fn suspend(&self) {
        for slot in lock(&self.0.slots).rooms.values() {
            slot.mailbox.tell(Control::Suspend);
        }
    }

    /// Opens no more rooms, closes every socket with 1001 and answers every call; what was accepted still reaches the
    /// log, which the caller flushes afterwards.
    pub(crate) fn shut_down(&self) {
        let mut slots = lock(&self.0.slots);
        slots.closed = true;
        for slot in slots.rooms.values() {
            slot.mailbox.tell(Control::Shutdown);
        }
    }
}

/// The last revocations, for sockets that were let in just before one and join just after.
#[derive(Default)]
struct Revoked {
    count: u64,
    last: VecDeque<Subject>,
}

impl Revoked {
    fn push(&mut self, subject: Subject) {
        if self.last.len() == REVOCATIONS_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(subject);
        self.count = self.count.saturating_add(1);
    }

    /// Those after the first `seen`; as many as are left of them.
    fn since(&self, seen: u64) -> impl Iterator<Item = &Subject> {
        let missed = usize::try_from(self.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.last.iter().rev().take(missed)
    }
}

impl Shared {
    /// Whether this access has ended after so many revocations had been seen.
    fn was_revoked_since(&self, seen: u64, access: &Access) -> bool {
        lock(&self.revoked)
            .since(seen)
            .any(|subject| match subject {
                Subject::Grant(grant) => grant == access.grant(),
                Subject::User(user) => user == access.user(),
            })
    }

    fn next_generation(&self) -> Generation {
        Generation(self.next_generation.fetch_add(1, Ordering::Relaxed))
    }

    /// Removes the slot of a room whose task wants to end; false when somebody still needs it.
    fn retire(&self, name: &RoomName, has_no_mail: impl FnOnce() -> bool) -> bool {
        let mut slots = lock(&self.slots);
        let unused = slots
            .rooms
            .get(name)
            .is_none_or(|slot| Arc::strong_count(&slot.mailbox) == 1);
        if !unused || !has_no_mail() {
            return false;
        }
        slots.rooms.remove(name);
        true
    }

    /// Removes the slot that belongs to these counters, if it is still there.
    fn forget(&self, name: &RoomName, counters: &Arc<RoomCounters>) {
        let mut slots = lock(&self.slots);
        let is_own = |slot: &Slot| Arc::ptr_eq(&slot.counters, counters);
        if slots.rooms.get(name).is_some_and(is_own) {
            slots.rooms.remove(name);
        }
    }

    /// Runs a merge on a blocking thread, a few at a time. The job must tell its room how it ended.
    fn blocking(&self, job: impl FnOnce() + Send + 'static) {
        let builders = Arc::clone(&self.builders);
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(permit) = builders.acquire_owned().await else {
                return;
            };
            tokio::task::spawn_blocking(move || {
                job();
                drop(permit);
            });
        });
    }
}

/// Tells the room that a caller is gone when the answer is no longer awaited.
struct HangUpOnDrop<'a> {
    mailbox: &'a Mailbox,
    call: CallId,
    armed: bool,
}

impl Drop for HangUpOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.mailbox.tell(Control::HangUp(self.call));
        }
    }
}

#[async_trait]
impl Rooms for RoomRegistry {
    async fn call(&self, room: RoomName, access: Access, request: Request) -> Answer {
        let Ok(mailbox) = self.enter(&room) else {
            return Answer::GoingAway;
        };
        let call = CallId(self.0.next_id.fetch_add(1, Ordering::Relaxed));
        let (answer, received) = oneshot::channel();
        let mut hang_up = HangUpOnDrop {
            mailbox: &mailbox,
            call,
            armed: true,
        };
        let input = Input::Call {
            call,
            access,
            request,
            answer,
        };
        let answered = match mailbox.deliver(input).await {
            Ok(()) => received.await.unwrap_or(Answer::Unavailable),
            Err(_gone) => Answer::GoingAway,
        };
        hang_up.armed = false;
        answered
    }

    async fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Result<RoomPage, StoreUnavailable> {
        let mut entries = self.0.log.list(owner, after, limit.saturating_add(1));
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = if more {
            entries.last().map(|entry| entry.room.clone())
        } else {
            None
        };
        let slots = lock(&self.0.slots);
        let rooms = entries
            .into_iter()
            .map(|entry| {
                let name = RoomName::stored(owner.clone(), entry.room.clone());
                let slot = slots.rooms.get(&name);
                let connections =
                    slot.map(|slot| slot.counters.connections.load(Ordering::Relaxed));
                RoomEntry {
                    id: entry.room,
                    storage_bytes: entry.storage_bytes,
                    last_accessed_at: entry.last_accessed_at,
                    connections: connections.unwrap_or(0) as u64,
                    refusals: self.0.refusals.of(&name),
                }
            })
            .collect();
        Ok(RoomPage { rooms, next })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its data whole at each step, so a panic in one does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
