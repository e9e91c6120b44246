//! The limits of the wire, each with its source. Where a limit is configuration, this is its default.

/// A whole WebSocket message or HTTP body, text too: what the clients of today meet.
pub const MAX_FRAME_BYTES: usize = 5 * 1024 * 1024;

/// The `actions` that one device publishes (sync.md 6).
pub const MAX_ACTIONS_BYTES: usize = 64 * 1024;

/// The `actions` of all devices of a room: every presence list repeats them (sync.md 6).
pub const MAX_ROOM_ACTIONS_BYTES: usize = 1024 * 1024;

/// The `id` and the `action` of a dispatch, each (sync.md 6).
pub const MAX_DISPATCH_ID_BYTES: usize = 128;

/// Calls of one connection that are not answered yet (sync.md 6).
pub const MAX_CALLS_IN_FLIGHT: usize = 256;
