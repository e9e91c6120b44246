//! The list of an owner's rooms (sync.md 1).

use serde::{Deserialize, Serialize};

/// The answer of `GET /api/owners/:ownerId/rooms`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomsPage {
    /// Sorted by id, at most 500.
    pub rooms: Vec<RoomSummary>,
    /// What to pass as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One room of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomSummary {
    /// The room id.
    pub id: String,
    /// Bytes that its log occupies.
    pub storage_bytes: u64,
    /// Milliseconds since the epoch.
    pub last_accessed_at: u64,
    /// Sockets that are open now.
    pub connections: u64,
    /// Updates that were refused and have not been accepted since.
    pub refusals: Vec<RefusalSummary>,
}

/// One refused update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalSummary {
    /// Milliseconds since the epoch.
    pub at: u64,
    /// The stable reason.
    pub reason: String,
    /// The update's size.
    pub bytes: u64,
}
