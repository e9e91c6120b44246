//! One room's place in the registry: its inbox, and its state between turns.
//!
//! A *turn* handles what is in the inbox and ends. At most one turn of a room is scheduled or running at a time, so the
//! room's state needs no lock but the one that proves it. A room in which nothing happens has no task, no timer of its
//! own and, after a while, no document in memory: what is left is this struct, its sockets' records and their outboxes.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use epicenter_identity::RoomName;

use super::inbox::{Control, Inbox, Input, Next, Opening, Turn};
use super::life::{Core, revoked};
use super::{Shared, lock};

/// Inputs that one turn handles before it lets others run.
const INPUTS_PER_TURN: usize = 64;
/// Sockets that one turn writes to itself; more are written to by their own tasks, on all threads.
const RECEIVERS_PER_TURN: usize = 64;

/// One room.
pub struct Slot {
    id: u64,
    name: RoomName,
    shared: Arc<Shared>,
    inbox: Inbox,
    core: Mutex<Core>,
    /// Open sockets, as the last turn left them.
    connections: AtomicUsize,
    is_awake: AtomicBool,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("room", &self.name)
            .finish_non_exhaustive()
    }
}

impl Slot {
    pub(super) fn new(shared: Arc<Shared>, id: u64, name: RoomName) -> Self {
        Self {
            id,
            inbox: Inbox::new(
                shared.limits.max_inbox_commands,
                shared.limits.max_inbox_bytes,
            ),
            core: Mutex::new(Core::new(&shared, &name)),
            connections: AtomicUsize::new(0),
            is_awake: AtomicBool::new(false),
            name,
            shared,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Which room it is.
    pub fn name(&self) -> &RoomName {
        &self.name
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Open sockets.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Whether the document is in memory, as the last turn left it.
    pub(super) fn is_awake(&self) -> bool {
        self.is_awake.load(Ordering::Relaxed)
    }

    pub(super) fn set_awake(&self, is_awake: bool) {
        self.is_awake.store(is_awake, Ordering::Relaxed);
    }

    pub(super) fn set_connections(&self, connections: usize) {
        self.connections.store(connections, Ordering::Relaxed);
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Handles what waits, up to a number of inputs. For the host to call, once for each time it is asked to.
    pub fn turn(self: &Arc<Self>) {
        self.handle(INPUTS_PER_TURN);
    }

    /// Handles news, and up to so many inputs.
    fn handle(self: &Arc<Self>, max_inputs: usize) {
        let accepts_input = catch_unwind(AssertUnwindSafe(|| self.handle_inbox(max_inputs)));
        let accepts_input = accepts_input.unwrap_or_else(|_panic| {
            // Panics of the machine are caught where it is fed; this one is the host's own.
            tracing::error!(room.name = %self.name, "a turn of a room panicked; the room is closed and read again from its log");
            self.shared.stats.panics.add(1);
            lock(&self.core).begin_new_life(self);
            true
        });
        self.schedule(self.inbox.finish(accepts_input));
    }

    fn handle_inbox(self: &Arc<Self>, max_inputs: usize) -> bool {
        let mut core = lock(&self.core);
        let mut inputs = 0;
        loop {
            let reads_input = inputs < max_inputs && core.reads_input(self);
            match self.inbox.next(reads_input) {
                Next::Control(control) => core.on_control(self, control),
                Next::Input(input, weight) => {
                    inputs += 1;
                    core.on_input(self, input);
                    self.inbox.release(weight);
                }
                Next::Nothing => break,
            }
        }
        core.rest(self);
        let accepts_input = core.reads_input(self);
        let receivers = core.take_receivers();
        drop(core);
        if receivers.len() <= RECEIVERS_PER_TURN {
            receivers.iter().for_each(|outbox| outbox.flush());
        } else {
            receivers.iter().for_each(|outbox| outbox.flush_later());
        }
        accepts_input
    }

    pub(super) fn tell(self: &Arc<Self>, control: Control) {
        self.schedule(self.inbox.tell(control));
    }

    /// Tells what the log has answered, from its own thread, which carries on by itself what follows unless it has better
    /// things to do. Input waits for a turn: it may be costly.
    pub(super) fn answer(self: &Arc<Self>, control: Control) {
        let turn = self.inbox.tell(control);
        if turn == Turn::Needed && !self.shared.log.is_busy() {
            self.handle(0);
        } else {
            self.schedule(turn);
        }
    }

    fn schedule(self: &Arc<Self>, turn: Turn) {
        if turn == Turn::Needed {
            self.shared.host.schedule(Arc::clone(self));
        }
    }
}

/// A share in a room: the room stays in the registry at least as long as somebody holds one.
#[derive(Debug)]
pub struct RoomHandle(Arc<Slot>);

impl RoomHandle {
    /// With the registry's lock held, so that the room cannot leave meanwhile.
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        slot.inbox.enter();
        Self(Arc::clone(slot))
    }

    /// Lets a socket in, without waiting; the room handles it on this thread if it has nothing else to do.
    pub fn join(&self, opening: Opening) {
        let slot = &self.0;
        let (connection, seen) = (opening.connection, opening.revocations_seen);
        let access = opening.access.clone();
        let turn = slot.inbox.join(opening);
        // What ended before it was in the inbox has passed it by, and a stalled disk may hold up the room.
        if slot.shared.was_revoked_since(seen, &access) {
            for outbox in slot.inbox.withdraw(|waits| waits.connection == connection) {
                outbox.close(revoked());
            }
        }
        if turn == Turn::Needed {
            slot.turn();
        }
    }

    /// Waits for room in the inbox, then hands the input over; the room handles it on this thread if it has nothing else
    /// to do.
    pub async fn deliver(&self, input: Input) {
        if self.0.inbox.put(input).await == Turn::Needed {
            self.0.turn();
        }
    }

    /// Commands and bytes that wait for the room.
    pub fn waiting(&self) -> (usize, usize) {
        self.0.inbox.waiting()
    }

    /// Hands the input over like [`RoomHandle::deliver`], or gives it back when there is no room.
    ///
    /// # Errors
    /// The input.
    pub(crate) fn try_deliver_here(&self, input: Input) -> Result<(), Input> {
        if self.0.inbox.try_put(input)? == Turn::Needed {
            self.0.turn();
        }
        Ok(())
    }

    /// Hands the input over and has a turn scheduled, or gives the input back when there is no room.
    ///
    /// # Errors
    /// The input.
    pub fn try_deliver(&self, input: Input) -> Result<(), Input> {
        let turn = self.0.inbox.try_put(input)?;
        self.0.schedule(turn);
        Ok(())
    }

    pub(super) fn tell(&self, control: Control) {
        self.0.tell(control);
    }
}

impl Deref for RoomHandle {
    type Target = Arc<Slot>;

    fn deref(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.0.schedule(self.0.inbox.leave());
    }
}
