//! The hub's configuration, typed and parsed once.
//!
//! Every setting is one entry of [`settings::SETTINGS`]: the loader, the printed effective configuration and the
//! reference page `docs/configuration.md` are made from that list, so they cannot disagree. Later sources win:
//! defaults, then the TOML file, then the environment, then flags. Libraries below this crate get values and never
//! read a file or the environment themselves.
//!
//! Invariants: an unknown key, a malformed value or a weak secret stops the start; an error names the setting and what
//! to write instead, and never the value of a secret.

mod ai;
mod clients;
mod error;
mod file;
mod load;
mod reference;
mod render;
mod secrets;
mod settings;
mod tables;
mod units;
mod value;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use epicenter_identity::Admit;
use epicenter_room::{RoomConfig, StorageQuota};
use epicenter_server::ai::settings::AiConfig;
pub use epicenter_server::config::PublicOrigin;
use epicenter_server::config::{AccountsConfig, OAuthConfig, RateLimitsConfig};
use zeroize::Zeroizing;

use crate::lease::LeaseTimes;
use crate::peer::TrustedProxies;
use crate::rooms::EngineConfig;

pub use error::ConfigError;
pub use load::{Flags, Loaded, Source, Sources, load};
pub use reference::reference_page;
pub use render::render;

/// The configuration file read from the working directory when no other is named.
pub const DEFAULT_FILE: &str = "epicenter-hub.toml";

/// A secret as text; never printed, zeroised on drop.
#[derive(Clone)]
pub struct SecretText(pub Zeroizing<String>);

impl SecretText {
    /// The secret itself, for the parser that turns it into keys.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

/// Who owns the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everybody owns their own rooms: the owner is the user's id.
    #[default]
    Personal,
    /// One owner, `shared`, for all who are admitted.
    Shared {
        /// Who is admitted.
        admit: Admit,
        /// Whether one user may call actions on another user's devices.
        cross_user_dispatch: bool,
    },
}

/// Sizes and counts of sockets, queues and the log; the rules inside one room are in [`RoomConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Largest WebSocket message, and largest HTTP body that is sent to a room.
    pub max_frame_bytes: usize,
    /// Bytes queued for one connection before it counts as a slow consumer.
    pub max_outbound_bytes: usize,
    /// Commands waiting for one room.
    pub max_inbox_commands: usize,
    /// Bytes of commands waiting for one room.
    pub max_inbox_bytes: usize,
    /// Open sockets of one user.
    pub max_user_connections: usize,
    /// Open sockets of the whole hub.
    pub max_connections: usize,
    /// Frames of one socket in a second, over which it is read more slowly; 0: no limit.
    pub max_frames_per_second: u32,
    /// Bytes that the log of one room may hold; 0: no limit.
    pub max_room_bytes: usize,
    /// Bytes that the logs of all rooms of an owner may hold; 0: no limit.
    pub max_owner_bytes: usize,
    /// Rooms that an owner may have; 0: no limit.
    pub max_owner_rooms: usize,
    /// Bytes waiting for the log writer.
    pub max_log_queue_bytes: usize,
    /// Rows in one commit.
    pub max_commit_rows: usize,
    /// Bytes in one commit.
    pub max_commit_bytes: usize,
}

impl LimitsConfig {
    /// How much rooms may store.
    pub fn storage_quota(&self) -> StorageQuota {
        StorageQuota {
            room_bytes: self.max_room_bytes as u64,
            owner_bytes: self.max_owner_bytes as u64,
            owner_rooms: self.max_owner_rooms as u64,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        // The numbers are those of `operations.md`; the frame limit is what existing clients meet today.
        Self {
            max_frame_bytes: 5 * MIB,
            max_outbound_bytes: 8 * MIB,
            max_inbox_commands: 256,
            max_inbox_bytes: 8 * MIB,
            max_user_connections: 256,
            max_connections: 50_000,
            max_frames_per_second: 0,
            max_room_bytes: 0,
            max_owner_bytes: 0,
            max_owner_rooms: 10_000,
            max_log_queue_bytes: 64 * MIB,
            max_commit_rows: 4_096,
            max_commit_bytes: 16 * MIB,
        }
    }
}

/// How long the room log keeps what no longer counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// A log that was replaced by a state; 0 for not at all.
    pub keep_generations_ms: u64,
    /// Bytes of all logs that are kept so; 0 for none.
    pub max_generation_bytes: usize,
    /// The content of a deleted room.
    pub keep_deleted_ms: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        const DAY_MS: u64 = 86_400_000;
        // The times are those of `sync.md`.
        Self {
            keep_generations_ms: 7 * DAY_MS,
            max_generation_bytes: 1 << 30,
            keep_deleted_ms: 30 * DAY_MS,
        }
    }
}

/// What AI calls cost on this hub, in whole credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AiCredits {
    /// What everybody begins with; none: calls cost nothing.
    pub opening: Option<u32>,
    /// What one call may cost for who was given none by an operator; none: no limit.
    pub unpaid_call: Option<u32>,
}

/// How log lines are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One readable line an event.
    Human,
    /// One JSON object an event.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A `tracing` filter such as `info` or `info,epicenter_native=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::default(),
        }
    }
}

/// Where metrics are served, to this machine unless somebody decides otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// Here, unless the address is taken: nobody asked for it, so the hub starts all the same.
    IfFree(SocketAddr),
    /// Here, or the hub does not start.
    At(SocketAddr),
}

impl AdminListen {
    /// The address, taken or not.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::IfFree(address) | Self::At(address) => Some(address),
        }
    }
}

/// The listener for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it is.
    pub listen: AdminListen,
    /// Names in `Host` that it answers to, beside addresses of its own.
    pub hosts: Vec<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: AdminListen::IfFree(SocketAddr::from((Ipv4Addr::LOCALHOST, 8788))),
            hosts: Vec::new(),
        }
    }
}

/// Everything that `serve` needs.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// Where metrics are served.
    pub admin: AdminConfig,
    /// The folder that holds everything the hub keeps.
    pub data_dir: PathBuf,
    /// The canonical origin; none means `http://` and the bound address.
    pub public_origin: Option<PublicOrigin>,
    /// Where the process that serves rooms is reached, when several share a database; none means where it listens.
    pub rooms_url: Option<PublicOrigin>,
    /// How the lease on rooms is kept; not a setting.
    pub lease: LeaseTimes,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// Origins of pages that may call the hub, besides its own and those of first-party apps.
    pub trusted_origins: Vec<String>,
    /// Where the identity store is; none means a file in the data directory.
    pub database_url: Option<SecretText>,
    /// Who may have an account, and how people sign in.
    pub accounts: AccountsConfig,
    /// Lifetimes and clients, those of the configuration only.
    pub oauth: OAuthConfig,
    /// Whether today's apps are clients.
    pub first_party_apps: bool,
    /// How much anybody may ask for.
    pub rate_limits: RateLimitsConfig,
    /// AI: providers with their keys, further models, limits.
    pub ai: AiConfig,
    /// What AI calls cost.
    pub ai_credits: AiCredits,
    /// Personal or shared.
    pub mode: Mode,
    /// `ENCRYPTION_SECRETS`; none means the data directory's own.
    pub encryption_secrets: Option<SecretText>,
    /// `AUTH_SECRET`; none means the data directory's own.
    pub auth_secret: Option<SecretText>,
    /// Sizes and counts.
    pub limits: LimitsConfig,
    /// The rules of a room; its `shared` and `cross_user_dispatch` follow from `mode`.
    pub rooms: RoomConfig,
    /// How rooms use memory, and when their logs are compacted.
    pub engine: EngineConfig,
    /// How long the past of rooms is kept.
    pub retention: RetentionConfig,
    /// How long a graceful shutdown may take.
    pub shutdown_deadline_ms: u64,
    /// How long a request may take in all, in milliseconds; no setting, since clients count on it.
    pub request_time_ms: u64,
    /// Where the exact source of this program is (AGPL section 13).
    pub source_url: String,
    /// What is logged.
    pub log: LogConfig,
}

impl HostConfig {
    /// The defaults of every setting over a data directory.
    pub fn with_defaults(data_dir: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8787)),
            admin: AdminConfig::default(),
            data_dir,
            public_origin: None,
            rooms_url: None,
            lease: LeaseTimes::default(),
            trusted_proxies: TrustedProxies::default(),
            trusted_origins: Vec::new(),
            database_url: None,
            accounts: AccountsConfig::default(),
            oauth: OAuthConfig::default(),
            first_party_apps: false,
            rate_limits: RateLimitsConfig::default(),
            ai: AiConfig::default(),
            ai_credits: AiCredits::default(),
            mode: Mode::default(),
            encryption_secrets: None,
            auth_secret: None,
            limits: LimitsConfig::default(),
            rooms: RoomConfig::default(),
            engine: EngineConfig::default(),
            retention: RetentionConfig::default(),
            shutdown_deadline_ms: 10_000,
            // A dispatch may wait 60 s for its answer (sync.md 6).
            request_time_ms: 75_000,
            source_url: env!("CARGO_PKG_REPOSITORY").to_owned(),
            log: LogConfig::default(),
        }
    }

    /// The defaults on a free port of the loopback interface, without metrics.
    pub fn for_tests(data_dir: PathBuf) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin: AdminConfig {
                listen: AdminListen::Off,
                hosts: Vec::new(),
            },
            ..Self::with_defaults(data_dir)
        }
    }

    /// Sets who owns the rooms, together with the room rules that follow from it.
    pub fn set_mode(&mut self, mode: Mode) {
        (self.rooms.shared, self.rooms.cross_user_dispatch) = match &mode {
            Mode::Personal => (false, false),
            Mode::Shared {
                cross_user_dispatch,
                ..
            } => (true, *cross_user_dispatch),
        };
        self.mode = mode;
    }
}

#[cfg(test)]
mod tests;
