//! The `rooms` lease (`identity.md` 4): of all processes that share a PostgreSQL database, one serves rooms.
//!
//! The lease is a row with an end, by the database's clock. Its holder moves the end ahead of time; a process that cannot
//! counts itself out by its own clock some time before the end, so that the next holder begins when nobody serves any more.
//! Taking it raises the epoch, by which a holder that slept through its end finds that it is not the holder.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use epicenter_identity::{Access, OwnerId, RoomId, RoomName};
use epicenter_room::{Answer, Request, Seq};
use epicenter_server::ports::{RoomPage, Rooms, RoomsDuty, StoreUnavailable};
use epicenter_store::{Lease, SqlStore};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::log::{
    AppendError, AppendRequest, DirectoryEntry, Extent, Log, ReadError, Rejected, ReplaceError,
    Replacement, StoredRoom, Usage,
};
use crate::store::postgres::PostgresEngine;

const NAME: &str = "rooms";
const NOT_HERE: &str = "this process does not hold the lease on rooms";

/// How long the lease lives and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// From one renewal to the end.
    pub life: Duration,
    /// From one renewal to the next.
    pub renew_every: Duration,
    /// Who has not renewed stops so long before the end.
    pub margin: Duration,
    /// How often who does not hold it looks.
    pub look_every: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
            margin: Duration::from_secs(3),
            look_every: Duration::from_secs(1),
        }
    }
}

/// The holder of the lease at this time, by the database's clock.
///
/// # Errors
/// When the database fails.
pub(crate) async fn find_holder(
    engine: &PostgresEngine,
    store: &SqlStore,
) -> Result<Option<Lease>, StoreUnavailable> {
    // The engine has logged the cause.
    let now_ms = engine.now_ms().await.map_err(|_| StoreUnavailable)?;
    let lease = store.find_lease(NAME).await?;
    Ok(lease.filter(|lease| now_ms < lease.expires_at_ms))
}

/// This process's part in who serves rooms. Dropping it ends the renewals; the lease then runs out.
pub struct RoomsLease {
    duty: watch::Receiver<RoomsDuty>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl fmt::Debug for RoomsLease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RoomsLease")
            .field("duty", &*self.duty.borrow())
            .finish_non_exhaustive()
    }
}

impl RoomsLease {
    /// Takes the lease when it is free, and keeps trying otherwise. `holder` is an id that no other run of the program
    /// has; `url` is where others send those who want rooms.
    pub async fn start(
        engine: PostgresEngine,
        holder: String,
        url: String,
        times: LeaseTimes,
    ) -> Self {
        let (tell, mut duty) = watch::channel(RoomsDuty::Nobody);
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper {
            store: SqlStore::new(Arc::new(engine.clone())),
            engine,
            holder,
            url,
            times,
            duty: tell,
        };
        duty.mark_unchanged();
        let task = tokio::spawn(keeper.run(stopped));
        // The first look decides how the process begins; a database that hangs does not keep it from starting.
        let _ = timeout(times.renew_every, duty.changed()).await;
        Self { duty, stop, task }
    }

    /// Who serves rooms now and from now on. A holder that loses the lease must close its sockets at once.
    pub fn duty(&self) -> watch::Receiver<RoomsDuty> {
        self.duty.clone()
    }

    /// Gives the lease up, so that another process need not wait for its end. Rooms must be closed by then.
    pub async fn release(mut self) {
        // The task may have ended with a panic; there is nothing to give up then.
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for RoomsLease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    store: SqlStore,
    engine: PostgresEngine,
    holder: String,
    url: String,
    times: LeaseTimes,
    duty: watch::Sender<RoomsDuty>,
}

/// A lease in hand: its epoch, when it was last renewed, and until when it may be acted on.
struct Held {
    epoch: u64,
    renewed: Instant,
    good_until: Instant,
}

impl Keeper {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut held = None;
        tokio::select! {
            () = self.keep(&mut held) => {}
            // An error means that the lease itself was dropped.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        if let Some(held) = held {
            self.tell(RoomsDuty::Nobody);
            // It runs out by itself when this fails.
            let _ = self.store.renew_lease(&self.lease(held.epoch, 0)).await;
        }
    }

    async fn keep(&self, held: &mut Option<Held>) {
        loop {
            match held.take() {
                None => {
                    *held = self.look().await;
                    if held.is_none() {
                        sleep(self.times.look_every).await;
                    }
                }
                Some(now) => {
                    let due = (now.renewed + self.times.renew_every).min(now.good_until);
                    let good_until = now.good_until;
                    *held = Some(now);
                    sleep_until(due).await;
                    self.renew(held, good_until).await;
                }
            }
        }
    }

    /// Takes the lease, or learns who has it.
    async fn look(&self) -> Option<Held> {
        let asked = Instant::now();
        match timeout(self.times.life, self.take()).await {
            Ok(Ok(Taken::Mine(epoch))) => {
                tracing::info!(epoch, "this process serves rooms");
                self.tell(RoomsDuty::Here);
                Some(self.held(epoch, asked))
            }
            Ok(Ok(Taken::Elsewhere(url))) => {
                self.tell(RoomsDuty::Elsewhere { url });
                None
            }
            Ok(Ok(Taken::Nobody) | Err(StoreUnavailable)) | Err(_) => {
                self.tell(RoomsDuty::Nobody);
                None
            }
        }
    }

    async fn take(&self) -> Result<Taken, StoreUnavailable> {
        let now_ms = self.now_ms().await?;
        let lease = self.lease(0, now_ms + self.life_ms());
        if let Some(epoch) = self.store.take_lease(&lease, now_ms).await? {
            return Ok(Taken::Mine(epoch));
        }
        let other = self.store.find_lease(NAME).await?;
        let other = other.filter(|other| now_ms < other.expires_at_ms);
        Ok(other.map_or(Taken::Nobody, |other| Taken::Elsewhere(other.url)))
    }

    /// Renews, or lets go of a lease that was lost or may be by now.
    async fn renew(&self, held: &mut Option<Held>, good_until: Instant) {
        let Some(epoch) = held.as_ref().map(|held| held.epoch) else {
            return;
        };
        let asked = Instant::now();
        let renewal = async {
            let end = self.now_ms().await? + self.life_ms();
            self.store.renew_lease(&self.lease(epoch, end)).await
        };
        match timeout_at(good_until, renewal).await {
            Ok(Ok(true)) => {
                *held = Some(self.held(epoch, asked));
                return;
            }
            Ok(Err(StoreUnavailable)) if asked < good_until => {
                let again = Instant::now() + self.times.look_every;
                sleep_until(again.min(good_until)).await;
                if Instant::now() < good_until {
                    return;
                }
            }
            Ok(_) | Err(_) => {}
        }
        *held = None;
        tracing::error!(
            epoch,
            "the lease on rooms is lost; this process stops serving them"
        );
        self.tell(RoomsDuty::Nobody);
    }

    fn held(&self, epoch: u64, asked: Instant) -> Held {
        Held {
            epoch,
            renewed: asked,
            good_until: asked + self.times.life.saturating_sub(self.times.margin),
        }
    }

    fn lease(&self, epoch: u64, expires_at_ms: u64) -> Lease {
        Lease {
            name: NAME.to_owned(),
            holder: self.holder.clone(),
            url: self.url.clone(),
            epoch,
            expires_at_ms,
        }
    }

    async fn now_ms(&self) -> Result<u64, StoreUnavailable> {
        // The engine has logged the cause.
        self.engine.now_ms().await.map_err(|_| StoreUnavailable)
    }

    fn life_ms(&self) -> u64 {
        u64::try_from(self.times.life.as_millis()).unwrap_or(u64::MAX)
    }

    fn tell(&self, duty: RoomsDuty) {
        self.duty.send_replace(duty);
    }
}

enum Taken {
    Mine(u64),
    Elsewhere(String),
    Nobody,
}

/// Rooms that answer only while this process holds the lease.
pub struct LeasedRooms {
    rooms: Arc<dyn Rooms>,
    duty: watch::Receiver<RoomsDuty>,
}

impl fmt::Debug for LeasedRooms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LeasedRooms")
    }
}

impl LeasedRooms {
    /// Puts the lease before these rooms.
    pub fn new(rooms: Arc<dyn Rooms>, lease: &RoomsLease) -> Self {
        Self {
            rooms,
            duty: lease.duty(),
        }
    }

    fn is_here(&self) -> bool {
        *self.duty.borrow() == RoomsDuty::Here
    }
}

#[async_trait]
impl Rooms for LeasedRooms {
    fn duty(&self) -> RoomsDuty {
        self.duty.borrow().clone()
    }

    async fn call(&self, room: RoomName, access: Access, request: Request) -> Answer {
        // The lease may have been lost since the route asked.
        if self.is_here() {
            self.rooms.call(room, access, request).await
        } else {
            Answer::Unavailable
        }
    }

    async fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Result<RoomPage, StoreUnavailable> {
        if self.is_here() {
            self.rooms.list(owner, after, limit).await
        } else {
            Err(StoreUnavailable)
        }
    }
}

/// A log that takes appends and reads rooms only while this process holds the lease. What it refuses fails the life of its
/// room, which closes its sockets and forgets what it held in memory.
pub struct LeasedLog {
    log: Arc<dyn Log>,
    duty: watch::Receiver<RoomsDuty>,
}

impl fmt::Debug for LeasedLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LeasedLog")
    }
}

impl LeasedLog {
    /// Puts the lease before this log.
    pub fn new(log: Arc<dyn Log>, lease: &RoomsLease) -> Self {
        Self {
            log,
            duty: lease.duty(),
        }
    }

    fn is_here(&self) -> bool {
        *self.duty.borrow() == RoomsDuty::Here
    }
}

impl Log for LeasedLog {
    fn append(&self, request: AppendRequest) {
        if self.is_here() {
            self.log.append(request);
        } else {
            (request.done.0)(Err(AppendError(NOT_HERE.into())));
        }
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<StoredRoom, ReadError> {
        if self.is_here() {
            self.log.read(room, after, upto)
        } else {
            Err(ReadError(format!("{room}: {NOT_HERE}")))
        }
    }

    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry> {
        self.log.list(owner, after, limit)
    }

    fn touch(&self, room: &RoomName, now_ms: u64) {
        self.log.touch(room, now_ms);
    }

    fn extent(&self, room: &RoomName) -> Option<Extent> {
        self.log.extent(room).filter(|_| self.is_here())
    }

    fn replace(&self, replacement: Replacement) {
        if self.is_here() {
            self.log.replace(replacement);
        } else {
            (replacement.done.0)(Err(ReplaceError::Failed(NOT_HERE.into())));
        }
    }

    fn quarantine(&self, rejected: Rejected) {
        if self.is_here() {
            self.log.quarantine(rejected);
        }
    }

    fn usage(&self, owner: &OwnerId) -> Usage {
        self.log.usage(owner)
    }

    fn is_busy(&self) -> bool {
        self.log.is_busy()
    }

    fn is_full(&self) -> bool {
        self.log.is_full()
    }

    fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        self.log.when_not_full(wake);
    }
}
