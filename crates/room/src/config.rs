//! The numbers a room lives by. Every one is configuration of the host; the defaults are those of `sync.md` and
//! `operations.md`.

use epicenter_sync::limits;
use epicenter_update::Limits;

/// Limits and times of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomConfig {
    /// Bounds of what one update may hold (`update.md`, Limits).
    pub limits: Limits,
    /// Bytes of pending structs a room keeps (`update.md`, Gaps). 8 MiB.
    pub max_pending_bytes: usize,
    /// A device's `actions` (`sync.md` 6). 64 KiB.
    pub max_actions_bytes: usize,
    /// The `actions` of all connections of a room together (`sync.md` 6). 1 MiB.
    pub max_room_actions_bytes: usize,
    /// Dispatch calls in flight per connection (`sync.md` 6). 256.
    pub max_calls: usize,
    /// Connections per device in this room, over which an open is refused with 1008. 64.
    pub max_device_connections: usize,
    /// Connections in this room, over which an open is refused with 1008. 2,000.
    pub max_connections: usize,
    /// Bytes that wait for the disk, over which `Room::accepts_input` is false. 16 MiB.
    pub max_in_flight_bytes: usize,
    /// How long a connection lives (`sync.md` 5, Bounded lifetime). 30 min.
    pub lifetime_ms: u64,
    /// How much later a silent connection is closed at most. 5 min.
    pub silent_grace_ms: u64,
    /// How late the departure of a device is announced, so that a tab hand-over is not seen. 300 ms.
    pub departure_delay_ms: u64,
    /// Presence changes this close to the last list of a receiver are joined into one. 100 ms.
    pub presence_join_ms: u64,
    /// After this time a dispatch call is answered `RecipientOffline`. 60 s.
    pub dispatch_timeout_ms: u64,
    /// A connection is asked for missing structs at most once in this time (`update.md`, Gaps). 30 s.
    pub gap_request_ms: u64,
    /// The owner is `shared`: presence and dispatch name users.
    pub shared: bool,
    /// In a shared owner: a user may call the devices of another.
    pub cross_user_dispatch: bool,
}

impl Default for RoomConfig {
    fn default() -> Self {
        RoomConfig {
            limits: Limits::default(),
            max_pending_bytes: 8 * 1024 * 1024,
            max_actions_bytes: limits::MAX_ACTIONS_BYTES,
            max_room_actions_bytes: limits::MAX_ROOM_ACTIONS_BYTES,
            max_calls: limits::MAX_CALLS_IN_FLIGHT,
            max_device_connections: 64,
            max_connections: 2_000,
            max_in_flight_bytes: 16 * 1024 * 1024,
            lifetime_ms: 30 * 60 * 1_000,
            silent_grace_ms: 5 * 60 * 1_000,
            departure_delay_ms: 300,
            presence_join_ms: 100,
            dispatch_timeout_ms: 60_000,
            gap_request_ms: 30_000,
            shared: false,
            cross_user_dispatch: false,
        }
    }
}
