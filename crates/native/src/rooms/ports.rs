//! What the rooms ask of the program around them.
//!
//! The engine in this folder is synchronous: it never waits, spawns or reads a clock. A running hub gives it tokio
//! ([`NativeHost`](super::native::NativeHost)); the simulator gives it one seed.

use std::sync::Arc;

use epicenter_room::Millis;

use super::slot::Slot;

/// Work that may block and use a core for a while.
pub type Job = Box<dyn FnOnce() + Send>;

/// What a job is for; each kind has a bound of its own on how many run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Somebody waits for a room's state.
    State,
    /// Nobody waits for it.
    Compaction,
}

/// The program around the rooms.
pub trait RoomHost: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch; never decreases.
    fn now(&self) -> Millis;
    /// Calls [`Slot::turn`] once, soon, on no particular thread, and never from within this call.
    fn schedule(&self, slot: Arc<Slot>);
    /// Runs a job, never from within this call.
    fn run(&self, kind: JobKind, job: Job);
    /// Replaces the one alarm of all rooms: [`RoomRegistry::ring`](super::RoomRegistry::ring) is to be called when this
    /// time has come; `None` stops it.
    fn set_alarm(&self, at: Option<Millis>);
}
