//! The rooms of this process: one slot per room, found by name.
//!
//! The engine is synchronous and owns no thread: what it needs from outside is in [`ports`] and in the
//! [`Log`](crate::log::Log) port. A slot handles its mail in *turns* (`slot`), its state between turns is a `life`,
//! merged documents live in one `cache` for all rooms, and `timers` keeps the one time at which each room wants its next
//! turn. The registry's lock is held for a look-up only. A slot leaves the registry when its room is idle and nobody
//! holds it; both are checked under that lock, so that nobody can be handed a slot that has left.

mod cache;
pub mod compaction;
mod counters;
mod inbox;
mod jobs;
mod life;
pub mod native;
mod notes;
pub mod outbox;
pub mod ports;
mod slot;
mod state;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use epicenter_identity::{Access, OwnerId, RoomId, RoomName};
use epicenter_room::{Answer, CallId, ConnectionId, Millis, Request, RoomConfig, StorageQuota};
use epicenter_server::ports::{RoomEntry, RoomPage, Rooms, StoreUnavailable};
use epicenter_server::refusals::Refusals;
use epicenter_server::revocations::Subject;
use tokio::sync::oneshot;

use crate::config::LimitsConfig;
use crate::log::{Generation, Log};
use cache::StateCache;
use compaction::CompactionConfig;
use inbox::Control;
use ports::RoomHost;
use timers::Timers;

pub(crate) use counters::{Census, EngineStats};
pub use inbox::{Call, Input, Opening};
pub use slot::{RoomHandle, Slot};
pub(crate) use state::STORED;

/// Revocations remembered for sockets on their way in: hours of them, while the way takes at most a minute.
const REVOCATIONS_KEPT: usize = 10_000;

/// What the engine lives by, beside the rules of a room and the limits of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// When logs are compacted.
    pub compaction: CompactionConfig,
    /// Bytes of merged states kept in memory for all rooms together. 256 MiB.
    pub max_cache_bytes: usize,
    /// How long a room in which nothing happens keeps its document in memory, in milliseconds; an empty one leaves memory
    /// altogether. 10,000: long enough for a reload of a page, short enough to free what a crowd left.
    pub idle_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            compaction: CompactionConfig::default(),
            max_cache_bytes: 256 << 20,
            idle_ms: 10_000,
        }
    }
}

/// All rooms of this process.
#[derive(Clone)]
pub struct RoomRegistry(Arc<Shared>);

pub(super) struct Shared {
    log: Arc<dyn Log>,
    host: Arc<dyn RoomHost>,
    room: Arc<RoomConfig>,
    engine: EngineConfig,
    limits: LimitsConfig,
    quota: StorageQuota,
    slots: Mutex<Slots>,
    revoked: Mutex<Revoked>,
    cache: StateCache,
    timers: Timers,
    refusals: Refusals,
    stats: EngineStats,
    next_generation: AtomicU64,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Slots {
    closed: bool,
    rooms: HashMap<RoomName, Arc<Slot>>,
}

/// The hub is shutting down and opens no more rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuttingDown;

impl std::fmt::Debug for RoomRegistry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RoomRegistry")
            .field("rooms", &lock(&self.0.slots).rooms.len())
            .finish_non_exhaustive()
    }
}

impl RoomRegistry {
    /// No room is in memory yet.
    pub fn new(
        log: Arc<dyn Log>,
        host: Arc<dyn RoomHost>,
        room: RoomConfig,
        engine: EngineConfig,
        limits: LimitsConfig,
    ) -> Self {
        Self(Arc::new(Shared {
            log,
            host,
            cache: StateCache::new(engine.max_cache_bytes),
            room: Arc::new(room),
            engine,
            quota: limits.storage_quota(),
            limits,
            slots: Mutex::default(),
            revoked: Mutex::default(),
            timers: Timers::default(),
            refusals: Refusals::default(),
            stats: EngineStats::default(),
            next_generation: AtomicU64::new(1),
            next_id: AtomicU64::new(1),
        }))
    }

    /// A share in the room, which comes into memory if it is not.
    ///
    /// # Errors
    /// When the hub is shutting down.
    pub fn enter(&self, name: &RoomName) -> Result<RoomHandle, ShuttingDown> {
        let mut slots = lock(&self.0.slots);
        if slots.closed {
            return Err(ShuttingDown);
        }
        if let Some(slot) = slots.rooms.get(name) {
            return Ok(RoomHandle::new(slot));
        }
        let id = self.0.next_id();
        let slot = Arc::new(Slot::new(Arc::clone(&self.0), id, name.clone()));
        let handle = RoomHandle::new(&slot);
        slots.rooms.insert(name.clone(), slot);
        Ok(handle)
    }

    /// How many rooms are in memory.
    pub fn rooms(&self) -> usize {
        lock(&self.0.slots).rooms.len()
    }

    /// The time that was last given to [`RoomHost::set_alarm`] has come.
    pub fn ring(&self) {
        for slot in self.0.timers.take_due(self.0.host.as_ref()) {
            slot.tell(Control::Alarm);
        }
    }

    /// The time that rooms go by.
    pub(crate) fn now(&self) -> Millis {
        self.0.host.now()
    }

    /// A fresh number for a socket.
    pub fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.0.next_id())
    }

    /// Closes the sockets that these tokens opened, with 4401, and keeps out those that are about to join with one.
    pub fn revoke(&self, subject: &Subject) {
        // First remembered, then told: a socket that joins meanwhile meets the one or the other.
        lock(&self.0.revoked).push(subject.clone());
        for slot in lock(&self.0.slots).rooms.values() {
            slot.tell(Control::Revoke(subject.clone()));
        }
    }

    /// How many revocations there have been.
    pub fn revocations_seen(&self) -> u64 {
        lock(&self.0.revoked).count
    }

    /// What the rooms have done.
    pub(crate) fn stats(&self) -> &EngineStats {
        &self.0.stats
    }

    /// Counts what is in memory. Holds the registry while it looks at each room once and locks none of them.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census {
            timers: self.0.timers.len(),
            cache_bytes: self.0.cache.bytes(),
            ..Census::default()
        };
        for slot in lock(&self.0.slots).rooms.values() {
            let (commands, bytes) = slot.inbox().depth();
            census.rooms += 1;
            census.awake += usize::from(slot.is_awake());
            census.connections += slot.connections();
            census.inbox_commands += commands;
            census.inbox_bytes += bytes;
            census.deepest_inbox = census.deepest_inbox.max(commands);
        }
        census
    }

    /// Closes every socket with 1013, answers every call and forgets what is in memory, because another process may serve
    /// rooms from now on. Rooms can be used again at once; what keeps callers out meanwhile is the lease.
    pub fn suspend(&self) {
        self.0.cache.clear();
        for slot in lock(&self.0.slots).rooms.values() {
            slot.tell(Control::Suspend);
        }
    }

    /// Opens no more rooms, closes every socket with 1001 and answers every call; what was accepted still reaches the
    /// log, which the caller flushes afterwards.
    pub fn shut_down(&self) {
        let mut slots = lock(&self.0.slots);
        slots.closed = true;
        for slot in slots.rooms.values() {
            slot.tell(Control::Shutdown);
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

/// Whether this access is among those that ended.
fn is_of(ended: &Subject, access: &Access) -> bool {
    match ended {
        Subject::Grant(grant) => grant == access.grant(),
        Subject::User(user) => user == access.user(),
    }
}

impl Shared {
    /// Whether this access has ended after so many revocations had been seen.
    fn was_revoked_since(&self, seen: u64, access: &Access) -> bool {
        lock(&self.revoked)
            .since(seen)
            .any(|subject| is_of(subject, access))
    }

    fn next_generation(&self) -> Generation {
        Generation(self.next_generation.fetch_add(1, Ordering::Relaxed))
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes a slot that nobody holds and nothing waits for.
    fn retire(&self, slot: &Arc<Slot>) {
        let mut slots = lock(&self.slots);
        let is_own = slots
            .rooms
            .get(slot.name())
            .is_some_and(|found| Arc::ptr_eq(found, slot));
        if is_own && slot.inbox().is_deserted() {
            slots.rooms.remove(slot.name());
        }
    }
}

/// Tells the room that a caller is gone when the answer is no longer awaited.
struct HangUpOnDrop<'a> {
    room: &'a RoomHandle,
    call: CallId,
    armed: bool,
}

impl Drop for HangUpOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.room.tell(Control::HangUp(self.call));
        }
    }
}

#[async_trait]
impl Rooms for RoomRegistry {
    async fn call(&self, room: RoomName, access: Access, request: Request) -> Answer {
        let Ok(room) = self.enter(&room) else {
            return Answer::GoingAway;
        };
        let call = CallId(self.0.next_id());
        let (answer, received) = oneshot::channel();
        let mut hang_up = HangUpOnDrop {
            room: &room,
            call,
            armed: true,
        };
        room.deliver(Input::Call(Box::new(Call {
            call,
            access,
            request,
            answer,
        })))
        .await;
        let answered = received.await.unwrap_or(Answer::Unavailable);
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
                let connections = slots.rooms.get(&name).map(|slot| slot.connections());
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
