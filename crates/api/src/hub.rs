//! What a hub says about itself at `GET /`.

use serde::{Deserialize, Serialize};

/// Whose data the hub keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HubMode {
    /// Everybody has rooms of their own.
    Hub,
    /// Everybody who is admitted shares all rooms.
    Shared,
}

/// The answer of `GET /`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubInfo {
    /// Whose data the hub keeps.
    pub mode: HubMode,
    /// The program's version.
    pub version: String,
    /// `native` or `cloudflare`.
    pub runtime: String,
    /// Where the exact source is, as AGPL section 13 asks.
    pub source_url: String,
}
