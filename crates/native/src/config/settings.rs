//! The one list of settings: key, variables, flag, meaning and the place each one fills.
//!
//! A slot gives both ways through one borrow: the loader writes through it, the printed configuration and the
//! reference page read through it. Adding a setting is adding an entry here and a field in `config.rs`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use epicenter_identity::Admit;
use epicenter_server::config::{PublicOrigin, SignUpPolicy};
use epicenter_update::Collect;

use super::ai::{self, Endpoint};
use super::{HostConfig, LogFormat, Mode};
use crate::peer::{Network, ProxyHeader};

/// A configuration while it is being put together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) host: HostConfig,
    /// None until named: the default depends on the environment.
    pub(super) data_dir: Option<PathBuf>,
    pub(super) mode: &'static str,
    pub(super) admit: Admit,
    pub(super) cross_user_dispatch: bool,
    pub(super) log_format: &'static str,
    pub(super) encryption_secrets_file: Option<PathBuf>,
    pub(super) auth_secret_file: Option<PathBuf>,
    pub(super) database_url_file: Option<PathBuf>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) proxy_header: &'static str,
    pub(super) sign_up: &'static str,
    pub(super) compaction: &'static str,
    /// None: off.
    pub(super) admin_listen: Option<SocketAddr>,
    /// Of the built-in providers, in the order of [`ai::BUILT_IN_NAMES`].
    pub(super) ai_key_files: [Option<PathBuf>; 3],
    pub(super) ai_base_urls: [String; 3],
    pub(super) ai_endpoints: Vec<Endpoint>,
}

impl Draft {
    /// Nothing but defaults.
    pub(super) fn new() -> Self {
        Self::of(HostConfig::with_defaults(PathBuf::new()), None)
    }

    /// A finished configuration taken apart again, to be printed.
    pub(super) fn of(host: HostConfig, data_dir: Option<PathBuf>) -> Self {
        let (mode, admit, cross_user_dispatch) = match host.mode.clone() {
            Mode::Personal => (PERSONAL, Admit::default(), false),
            Mode::Shared {
                admit,
                cross_user_dispatch,
            } => (SHARED, admit, cross_user_dispatch),
        };
        let log_format = match host.log.format {
            LogFormat::Auto => LOG_FORMATS[0],
            LogFormat::Human => LOG_FORMATS[1],
            LogFormat::Json => LOG_FORMATS[2],
        };
        let proxies = &host.trusted_proxies;
        let proxy_header = match proxies.header {
            ProxyHeader::XForwardedFor => PROXY_HEADERS[0],
            ProxyHeader::Forwarded => PROXY_HEADERS[1],
        };
        let sign_up = match host.accounts.sign_up {
            SignUpPolicy::Open => SIGN_UP_POLICIES[0],
            SignUpPolicy::Invite => SIGN_UP_POLICIES[1],
            SignUpPolicy::Closed => SIGN_UP_POLICIES[2],
        };
        let compaction = match host.engine.compaction.collect {
            Collect::Deleted => COMPACTIONS[0],
            Collect::Nothing => COMPACTIONS[1],
        };
        let public = ai::public_urls();
        let ai_base_urls = [0, 1, 2].map(|place: usize| {
            let given = host.ai.providers.get(place);
            given.map_or_else(
                || public[place].clone(),
                |provider| provider.base_url.clone(),
            )
        });
        Self {
            ai_key_files: [None, None, None],
            ai_base_urls,
            ai_endpoints: Vec::new(),
            trusted_proxies: proxies.networks.iter().map(Network::to_string).collect(),
            proxy_header,
            sign_up,
            compaction,
            admin_listen: host.admin.listen.address(),
            database_url_file: None,
            host,
            data_dir,
            mode,
            admit,
            cross_user_dispatch,
            log_format,
            encryption_secrets_file: None,
            auth_secret_file: None,
        }
    }

    /// The header of the trusted proxies.
    pub(super) fn proxy_header(&self) -> ProxyHeader {
        match self.proxy_header {
            "forwarded" => ProxyHeader::Forwarded,
            _ => ProxyHeader::XForwardedFor,
        }
    }

    /// Who may make an account.
    pub(super) fn sign_up(&self) -> SignUpPolicy {
        match self.sign_up {
            "open" => SignUpPolicy::Open,
            "invite" => SignUpPolicy::Invite,
            _ => SignUpPolicy::Closed,
        }
    }

    /// How far a compaction goes.
    pub(super) fn compaction(&self) -> Collect {
        match self.compaction {
            "merge-only" => Collect::Nothing,
            _ => Collect::Deleted,
        }
    }

    /// The form of log lines that was chosen.
    pub(super) fn log_format(&self) -> LogFormat {
        match self.log_format {
            "human" => LogFormat::Human,
            "json" => LogFormat::Json,
            _ => LogFormat::Auto,
        }
    }
}

const PROXY_HEADERS: [&str; 2] = ["x-forwarded-for", "forwarded"];
const SIGN_UP_POLICIES: [&str; 3] = ["open", "invite", "closed"];
const COMPACTIONS: [&str; 2] = ["gc", "merge-only"];
pub(super) const PERSONAL: &str = "personal";
pub(super) const SHARED: &str = "shared";
const LOG_FORMATS: [&str; 3] = ["auto", "human", "json"];

/// Where a value goes, and with it what it may be.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    Address(&'a mut SocketAddr),
    AddressOrOff(&'a mut Option<SocketAddr>),
    Path(&'a mut Option<PathBuf>),
    Origin(&'a mut Option<PublicOrigin>),
    Url(&'a mut String),
    Text(&'a mut String),
    Choice(&'static [&'static str], &'a mut &'static str),
    Switch(&'a mut bool),
    TextList(&'a mut Vec<String>),
    Duration(&'a mut u64, RangeInclusive<u64>),
    Size(&'a mut usize, RangeInclusive<usize>),
    Count(&'a mut usize, RangeInclusive<usize>),
    SmallCount(&'a mut u32, RangeInclusive<u32>),
    OffOrCount(&'a mut Option<u32>, RangeInclusive<u32>),
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// The TOML key with its section.
    pub(super) key: &'static str,
    /// Environment variables, the preferred one first.
    pub(super) environment: &'static [&'static str],
    /// The flag of `epicenter serve`.
    pub(super) flag: Option<&'static str>,
    /// What it means, in sentences of one line each.
    pub(super) about: &'static str,
    /// Text for the default where the value itself does not tell.
    pub(super) default_text: Option<&'static str>,
    pub(super) slot: fn(&mut Draft) -> Slot<'_>,
}

const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 86_400 * SECOND;

/// A setting that only the file has.
const fn in_file(
    key: &'static str,
    about: &'static str,
    slot: fn(&mut Draft) -> Slot<'_>,
) -> Setting {
    Setting {
        key,
        environment: &[],
        flag: None,
        about,
        default_text: None,
        slot,
    }
}

/// Finds a setting by its key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting, those without a section first.
pub(super) static SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        environment: &["EPICENTER_LISTEN"],
        flag: Some("--listen"),
        about: "The address and port the hub listens on.\nPort 0 takes a free one; the line on stdout names it.",
        default_text: None,
        slot: |draft| Slot::Address(&mut draft.host.listen),
    },
    Setting {
        key: "data_dir",
        environment: &["EPICENTER_DATA_DIR"],
        flag: Some("--data-dir"),
        about: "The folder that holds everything the hub keeps: rooms, accounts, keys.\nIt is created with mode 0700.\nA relative path in the file is relative to the file's folder.",
        default_text: Some(
            "`$XDG_DATA_HOME/epicenter/hub`, or `~/.local/share/epicenter/hub` without that variable; `~/Library/Application Support/epicenter/hub` on macOS",
        ),
        slot: |draft| Slot::Path(&mut draft.data_dir),
    },
    Setting {
        key: "public_origin",
        environment: &["API_PUBLIC_ORIGIN"],
        flag: Some("--public-origin"),
        about: "The origin under which people reach the hub: scheme, host and optional port, without a path.\nIssuer, audience and every redirect follow from it; nothing is inferred from a request.",
        default_text: Some("`http://` and the address the hub listens on"),
        slot: |draft| Slot::Origin(&mut draft.host.public_origin),
    },
    Setting {
        key: "rooms_url",
        environment: &["EPICENTER_ROOMS_URL"],
        flag: None,
        about: "Where a proxy reaches this process for rooms: scheme, host and optional port.\nOnly with `DATABASE_URL`: hubs that share the database and do not serve rooms answer with the one of the hub that does.",
        default_text: Some(
            "`http://` and the address the hub listens on; the public origin when it listens on all addresses",
        ),
        slot: |draft| Slot::Origin(&mut draft.host.rooms_url),
    },
    in_file(
        "mode",
        "Who owns the rooms: `personal` gives everybody their own, `shared` has one owner for all who are admitted.\nKeys and room names hang on it, so a data directory keeps the mode of its first start.",
        |draft| Slot::Choice(&[PERSONAL, SHARED], &mut draft.mode),
    ),
    in_file(
        "source_url",
        "Where the exact source of the running program is, shown to its users as the licence asks.\nSet it when you run a modified hub.",
        |draft| Slot::Url(&mut draft.host.source_url),
    ),
    in_file(
        "shutdown_deadline",
        "How long a graceful shutdown may take before the process exits anyway.",
        |draft| Slot::Duration(&mut draft.host.shutdown_deadline_ms, SECOND..=600 * SECOND),
    ),
    Setting {
        key: "encryption_secrets_file",
        environment: &["ENCRYPTION_SECRETS_FILE"],
        flag: None,
        about: "A file that holds `ENCRYPTION_SECRETS`, from which the keys of every owner are derived.",
        default_text: Some("the hub's own, generated in the data directory on the first start"),
        slot: |draft| Slot::Path(&mut draft.encryption_secrets_file),
    },
    Setting {
        key: "auth_secret_file",
        environment: &["AUTH_SECRET_FILE", "BETTER_AUTH_SECRET_FILE"],
        flag: None,
        about: "A file that holds `AUTH_SECRET`, which seals the private signing keys.",
        default_text: Some("the hub's own, generated in the data directory on the first start"),
        slot: |draft| Slot::Path(&mut draft.auth_secret_file),
    },
    Setting {
        key: "database_url_file",
        environment: &["DATABASE_URL_FILE"],
        flag: None,
        about: "A file that holds `DATABASE_URL`, the PostgreSQL database of accounts, sessions, grants and signing keys.\nRooms stay in the data directory.",
        default_text: Some("an embedded database in the data directory"),
        slot: |draft| Slot::Path(&mut draft.database_url_file),
    },
    in_file(
        "trusted_origins",
        "Origins of pages that may call the hub with a person's session, as browsers write them: `https://app.example`, `chrome-extension://id`.\nThe hub's own origin and those of trusted apps in browsers need not be named.",
        |draft| Slot::TextList(&mut draft.host.trusted_origins),
    ),
    in_file(
        "trusted_proxies",
        "Addresses or networks (`10.0.0.0/8`) of reverse proxies.\nOnly what they say about a client's address is believed; limits by address count the proxy itself otherwise.",
        |draft| Slot::TextList(&mut draft.trusted_proxies),
    ),
    in_file(
        "proxy_header",
        "The header in which the trusted proxies name the client; the other one is never read.",
        |draft| Slot::Choice(&PROXY_HEADERS, &mut draft.proxy_header),
    ),
    in_file(
        "shared.admit.emails",
        "Verified addresses that are admitted to a shared hub.",
        |draft| Slot::TextList(&mut draft.admit.emails),
    ),
    in_file(
        "shared.admit.domains",
        "Domains whose verified addresses are admitted to a shared hub.",
        |draft| Slot::TextList(&mut draft.admit.domains),
    ),
    in_file(
        "shared.cross_user_dispatch",
        "Whether one user of a shared hub may call actions on another user's devices.",
        |draft| Slot::Switch(&mut draft.cross_user_dispatch),
    ),
    in_file(
        "sign_in.password",
        "Whether people sign in with address and password.",
        |draft| Slot::Switch(&mut draft.host.accounts.password),
    ),
    in_file(
        "sign_in.session_lifetime",
        "How long a browser stays signed in without being used.",
        |draft| Slot::Duration(&mut draft.host.accounts.session_ms, 5 * MINUTE..=366 * DAY),
    ),
    in_file(
        "sign_in.recent",
        "How recent a sign-in must be for what cannot be undone.",
        |draft| Slot::Duration(&mut draft.host.accounts.recent_sign_in_ms, MINUTE..=DAY),
    ),
    in_file(
        "sign_up.policy",
        "Who may make an account after the first one: anybody (`open`), who was invited (`invite`), or nobody but the operator (`closed`).",
        |draft| Slot::Choice(&SIGN_UP_POLICIES, &mut draft.sign_up),
    ),
    in_file(
        "oauth.first_party_apps",
        "Whether the apps of Epicenter may sign people in here; their pages are then trusted origins.\nTheir addresses on localhost count only while the hub itself runs there.",
        |draft| Slot::Switch(&mut draft.host.first_party_apps),
    ),
    in_file(
        "oauth.access_token_lifetime",
        "Life of an access token.",
        |draft| Slot::Duration(&mut draft.host.oauth.access_token_ms, 10 * SECOND..=DAY),
    ),
    in_file("oauth.id_token_lifetime", "Life of an id_token.", |draft| {
        Slot::Duration(&mut draft.host.oauth.id_token_ms, 10 * SECOND..=DAY)
    }),
    in_file(
        "oauth.code_lifetime",
        "Life of an authorization code.",
        |draft| Slot::Duration(&mut draft.host.oauth.code_ms, 5 * SECOND..=10 * MINUTE),
    ),
    in_file(
        "oauth.pasted_code_lifetime",
        "Life of a code that a person carries to a terminal by hand.",
        |draft| {
            Slot::Duration(
                &mut draft.host.oauth.pasted_code_ms,
                30 * SECOND..=60 * MINUTE,
            )
        },
    ),
    in_file(
        "oauth.refresh_idle_lifetime",
        "How long an app stays signed in without being used.",
        |draft| {
            Slot::Duration(
                &mut draft.host.oauth.refresh_idle_ms,
                60 * MINUTE..=366 * DAY,
            )
        },
    ),
    in_file(
        "oauth.grant_lifetime",
        "How long an app stays signed in at most; at least `oauth.refresh_idle_lifetime`.",
        |draft| Slot::Duration(&mut draft.host.oauth.grant_ms, 60 * MINUTE..=3_660 * DAY),
    ),
    in_file(
        "rate_limits.enabled",
        "Whether any of these limits holds.\nEach is a number of calls in a minute, which may come at once.",
        |draft| Slot::Switch(&mut draft.host.rate_limits.enabled),
    ),
    in_file(
        "rate_limits.sign_in",
        "Attempts to sign in or up, by address.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.sign_in.count, 1..=1_000_000),
    ),
    in_file(
        "rate_limits.sign_in_account",
        "Wrong passwords for one account from one address; after them the pause doubles each time.",
        |draft| {
            Slot::SmallCount(
                &mut draft.host.rate_limits.sign_in_account.count,
                1..=1_000_000,
            )
        },
    ),
    in_file(
        "rate_limits.token",
        "Calls of the token endpoint, by address.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.token.count, 1..=1_000_000),
    ),
    in_file(
        "rate_limits.auth",
        "Calls of pages and of anything else below `/auth`, by address.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.auth.count, 1..=1_000_000),
    ),
    in_file(
        "rate_limits.refused",
        "Tokens that the API refuses, by address; after them no token from there is looked at for a while.\nA good one costs nothing, so that many people can share an address.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.refused.count, 1..=1_000_000),
    ),
    in_file(
        "rate_limits.api",
        "Calls of the API, by account.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.api.count, 1..=1_000_000),
    ),
    in_file(
        "rate_limits.ai",
        "Calls of AI models, by account.",
        |draft| Slot::SmallCount(&mut draft.host.rate_limits.ai.count, 1..=1_000_000),
    ),
    Setting {
        key: "ai.openai_api_key_file",
        environment: &["OPENAI_API_KEY_FILE"],
        flag: None,
        about: "A file that holds `OPENAI_API_KEY`, with which the hub calls openai for everybody who may use it.",
        default_text: Some("none; callers may send a key of their own"),
        slot: |draft| Slot::Path(&mut draft.ai_key_files[0]),
    },
    Setting {
        key: "ai.openai_base_url",
        environment: &["OPENAI_BASE_URL"],
        flag: None,
        about: "Where openai is asked: its public address, or a proxy of yours.\nElsewhere than at the public address, callers cannot send a key of their own.",
        default_text: None,
        slot: |draft| Slot::Url(&mut draft.ai_base_urls[0]),
    },
    Setting {
        key: "ai.gemini_api_key_file",
        environment: &["GEMINI_API_KEY_FILE"],
        flag: None,
        about: "A file that holds `GEMINI_API_KEY`, with which the hub calls gemini for everybody who may use it.",
        default_text: Some("none; callers may send a key of their own"),
        slot: |draft| Slot::Path(&mut draft.ai_key_files[1]),
    },
    Setting {
        key: "ai.gemini_base_url",
        environment: &["GEMINI_BASE_URL"],
        flag: None,
        about: "Where gemini is asked: its public address, or a proxy of yours.\nElsewhere than at the public address, callers cannot send a key of their own.",
        default_text: None,
        slot: |draft| Slot::Url(&mut draft.ai_base_urls[1]),
    },
    Setting {
        key: "ai.anthropic_api_key_file",
        environment: &["ANTHROPIC_API_KEY_FILE"],
        flag: None,
        about: "A file that holds `ANTHROPIC_API_KEY`, with which the hub calls anthropic for everybody who may use it.",
        default_text: Some("none; callers may send a key of their own"),
        slot: |draft| Slot::Path(&mut draft.ai_key_files[2]),
    },
    Setting {
        key: "ai.anthropic_base_url",
        environment: &["ANTHROPIC_BASE_URL"],
        flag: None,
        about: "Where anthropic is asked: its public address, or a proxy of yours.\nElsewhere than at the public address, callers cannot send a key of their own.",
        default_text: None,
        slot: |draft| Slot::Url(&mut draft.ai_base_urls[2]),
    },
    in_file(
        "ai.credits",
        "How many credits everybody begins with: a number, or `off` for a hub on which calls cost nothing.\nA credit is a cent at list prices. Whoever has too few is refused with 402.",
        |draft| Slot::OffOrCount(&mut draft.host.ai_credits.opening, 0..=1_000_000_000),
    ),
    in_file(
        "ai.max_unpaid_call",
        "Credits that one call may cost for who has been given none by an operator; dearer calls are refused with 403.\n`off`: no limit.",
        |draft| Slot::OffOrCount(&mut draft.host.ai_credits.unpaid_call, 1..=1_000_000_000),
    ),
    in_file(
        "ai.max_streams",
        "Answers that one person may stream at once.",
        |draft| Slot::Count(&mut draft.host.ai.max_streams, 1..=1_000_000),
    ),
    in_file(
        "ai.max_body_bytes",
        "Largest request; pictures travel in it.",
        |draft| Slot::Size(&mut draft.host.ai.max_body_bytes, KIB..=GIB),
    ),
    in_file(
        "ai.max_answer_bytes",
        "Largest answer, as the provider sends it: some twenty times its text.",
        |draft| Slot::Size(&mut draft.host.ai.max_answer_bytes, KIB..=GIB),
    ),
    in_file(
        "ai.first_byte_timeout",
        "How long a provider may take to begin its answer; models that think need most of it.",
        |draft| Slot::Duration(&mut draft.host.ai.times.first_byte_ms, SECOND..=60 * MINUTE),
    ),
    in_file(
        "ai.silence_timeout",
        "How long a provider may be silent within an answer.",
        |draft| Slot::Duration(&mut draft.host.ai.times.silence_ms, SECOND..=60 * MINUTE),
    ),
    in_file(
        "ai.answer_timeout",
        "How long a whole answer may take.",
        |draft| Slot::Duration(&mut draft.host.ai.times.answer_ms, SECOND..=60 * MINUTE),
    ),
    in_file(
        "ai.keep_alive",
        "After how long without a byte to the client a comment keeps the connection alive.",
        |draft| Slot::Duration(&mut draft.host.ai.times.keep_alive_ms, SECOND..=10 * MINUTE),
    ),
    in_file(
        "limits.max_frame_bytes",
        "Largest WebSocket message, and largest HTTP body that is sent to a room.",
        |draft| Slot::Size(&mut draft.host.limits.max_frame_bytes, KIB..=GIB),
    ),
    in_file(
        "limits.max_outbound_bytes",
        "Bytes queued for one connection; a reader that falls further behind is closed and catches up when it reconnects.",
        |draft| Slot::Size(&mut draft.host.limits.max_outbound_bytes, KIB..=GIB),
    ),
    in_file(
        "limits.max_inbox_commands",
        "Commands waiting for one room; its sockets are not read while it is full.",
        |draft| Slot::Count(&mut draft.host.limits.max_inbox_commands, 1..=1_000_000),
    ),
    in_file(
        "limits.max_inbox_bytes",
        "Bytes of commands waiting for one room; at least `limits.max_frame_bytes`.",
        |draft| Slot::Size(&mut draft.host.limits.max_inbox_bytes, KIB..=GIB),
    ),
    in_file(
        "limits.max_user_connections",
        "Open sockets of one user.",
        |draft| Slot::Count(&mut draft.host.limits.max_user_connections, 1..=10_000_000),
    ),
    in_file(
        "limits.max_connections",
        "Open sockets of the whole hub.",
        |draft| Slot::Count(&mut draft.host.limits.max_connections, 1..=10_000_000),
    ),
    in_file(
        "limits.max_frames_per_second",
        "Messages of one socket in a second; over it the socket is read more slowly. 0: no limit.",
        |draft| Slot::SmallCount(&mut draft.host.limits.max_frames_per_second, 0..=1_000_000),
    ),
    in_file(
        "limits.max_room_bytes",
        "Bytes that one room may store; a full room can still be read, deleted, and rid of content. 0: no limit.",
        |draft| Slot::Size(&mut draft.host.limits.max_room_bytes, 0..=1024 * GIB),
    ),
    in_file(
        "limits.max_owner_bytes",
        "Bytes that all rooms of one owner may store together. 0: no limit.",
        |draft| Slot::Size(&mut draft.host.limits.max_owner_bytes, 0..=1024 * GIB),
    ),
    in_file(
        "limits.max_owner_rooms",
        "Rooms that one owner may have; those that were deleted do not count. 0: no limit.",
        |draft| Slot::Count(&mut draft.host.limits.max_owner_rooms, 0..=100_000_000),
    ),
    in_file(
        "limits.max_log_queue_bytes",
        "Bytes of updates waiting for the disk, over all rooms; at least `limits.max_commit_bytes`.",
        |draft| Slot::Size(&mut draft.host.limits.max_log_queue_bytes, KIB..=16 * GIB),
    ),
    in_file(
        "limits.max_cache_bytes",
        "Bytes of documents kept in memory, over all rooms; what does not fit is read from the log when it is needed.",
        |draft| Slot::Size(&mut draft.host.engine.max_cache_bytes, 0..=64 * GIB),
    ),
    in_file(
        "limits.max_commit_rows",
        "Updates in one commit of the log.",
        |draft| Slot::Count(&mut draft.host.limits.max_commit_rows, 1..=1_000_000),
    ),
    in_file(
        "limits.max_commit_bytes",
        "Bytes in one commit of the log.",
        |draft| Slot::Size(&mut draft.host.limits.max_commit_bytes, KIB..=GIB),
    ),
    in_file(
        "rooms.lifetime",
        "How long a socket may outlive its token check; the first frame after that closes it and the client opens a fresh one.",
        |draft| Slot::Duration(&mut draft.host.rooms.lifetime_ms, 1..=DAY),
    ),
    in_file(
        "rooms.silent_grace",
        "How much longer a socket that says nothing may stay.",
        |draft| Slot::Duration(&mut draft.host.rooms.silent_grace_ms, 1..=DAY),
    ),
    in_file(
        "rooms.departure_delay",
        "How late a departure is announced, so that a tab that hands over to another is not seen.",
        |draft| Slot::Duration(&mut draft.host.rooms.departure_delay_ms, 0..=60 * SECOND),
    ),
    in_file(
        "rooms.presence_join",
        "How long presence changes are gathered into one list.",
        |draft| Slot::Duration(&mut draft.host.rooms.presence_join_ms, 0..=60 * SECOND),
    ),
    in_file(
        "rooms.dispatch_timeout",
        "How long a called device may take to answer before the caller is told that it is offline.\nAt most a minute, because an HTTP call that waits for the answer is bounded as well.",
        |draft| {
            Slot::Duration(
                &mut draft.host.rooms.dispatch_timeout_ms,
                SECOND..=60 * SECOND,
            )
        },
    ),
    in_file(
        "rooms.gap_request",
        "How often one connection is asked for what its updates are missing.",
        |draft| {
            Slot::Duration(
                &mut draft.host.rooms.gap_request_ms,
                SECOND..=3_600 * SECOND,
            )
        },
    ),
    in_file(
        "rooms.keep_generations",
        "How long the log of a room is kept after a state has replaced it, as the room's undo; 0 keeps none.",
        |draft| Slot::Duration(&mut draft.host.retention.keep_generations_ms, 0..=366 * DAY),
    ),
    in_file(
        "rooms.max_generation_bytes",
        "Bytes of all logs that are kept so, over all rooms; the oldest go first, and 0 keeps none.",
        |draft| {
            Slot::Size(
                &mut draft.host.retention.max_generation_bytes,
                0..=1024 * GIB,
            )
        },
    ),
    in_file(
        "rooms.keep_deleted",
        "How long the content of a deleted room is kept, so that the room can be restored.",
        |draft| Slot::Duration(&mut draft.host.retention.keep_deleted_ms, 0..=3_660 * DAY),
    ),
    in_file(
        "rooms.max_pending_bytes",
        "Bytes of updates that wait for others, per room.",
        |draft| Slot::Size(&mut draft.host.rooms.max_pending_bytes, KIB..=GIB),
    ),
    in_file(
        "rooms.max_in_flight_bytes",
        "Bytes of one room that wait for the disk before its inbox is no longer read.",
        |draft| Slot::Size(&mut draft.host.rooms.max_in_flight_bytes, KIB..=GIB),
    ),
    in_file(
        "rooms.max_actions_bytes",
        "Bytes of the actions that one device publishes; at most `limits.max_frame_bytes`.",
        |draft| Slot::Size(&mut draft.host.rooms.max_actions_bytes, 2..=GIB),
    ),
    in_file(
        "rooms.max_room_actions_bytes",
        "Bytes of the actions of all devices in one room.",
        |draft| Slot::Size(&mut draft.host.rooms.max_room_actions_bytes, 2..=GIB),
    ),
    in_file(
        "rooms.max_calls",
        "Calls in flight of one connection.",
        |draft| Slot::Count(&mut draft.host.rooms.max_calls, 1..=1_000_000),
    ),
    in_file(
        "rooms.max_device_connections",
        "Open sockets of one device in one room.",
        |draft| Slot::Count(&mut draft.host.rooms.max_device_connections, 1..=10_000_000),
    ),
    in_file(
        "rooms.max_connections",
        "Open sockets of one room.",
        |draft| Slot::Count(&mut draft.host.rooms.max_connections, 1..=10_000_000),
    ),
    in_file(
        "rooms.idle",
        "How long a room in which nothing happens keeps its document in memory; its sockets stay open.",
        |draft| Slot::Duration(&mut draft.host.engine.idle_ms, SECOND..=DAY),
    ),
    in_file(
        "rooms.compaction",
        "What becomes of deleted content when a log is compacted: `gc` collects it as Yjs does, `merge-only` keeps it, which is for clients that work with `gc: false`.",
        |draft| Slot::Choice(&COMPACTIONS, &mut draft.compaction),
    ),
    in_file(
        "rooms.compaction_after_close",
        "How long after its last connection has closed the log of a room is compacted.",
        |draft| Slot::Duration(&mut draft.host.engine.compaction.after_close_ms, 0..=DAY),
    ),
    in_file(
        "rooms.compaction_close_entries",
        "Updates since the last compaction that are worth one after the last close.",
        |draft| {
            Slot::Count(
                &mut draft.host.engine.compaction.close_entries,
                2..=1_000_000,
            )
        },
    ),
    in_file(
        "rooms.compaction_load_entries",
        "Updates since the last compaction at which a room that is opened is compacted.",
        |draft| {
            Slot::Count(
                &mut draft.host.engine.compaction.load_entries,
                2..=100_000_000,
            )
        },
    ),
    in_file(
        "rooms.compaction_busy_entries",
        "Updates since the last compaction at which a busy room is compacted, once they outweigh its state.",
        |draft| {
            Slot::Count(
                &mut draft.host.engine.compaction.busy_entries,
                2..=100_000_000,
            )
        },
    ),
    in_file(
        "rooms.compaction_busy_bytes",
        "Bytes of updates since the last compaction at which a busy room is compacted, once they outweigh its state.",
        |draft| Slot::Size(&mut draft.host.engine.compaction.busy_bytes, 1..=16 * GIB),
    ),
    in_file(
        "rooms.max_structs",
        "Structs in one update; bounds the work that a small frame can cause.",
        |draft| {
            Slot::SmallCount(
                &mut draft.host.rooms.limits.max_structs,
                1..=i32::MAX as u32,
            )
        },
    ),
    in_file(
        "rooms.max_state_vector_entries",
        "Entries of one state vector.",
        |draft| {
            Slot::SmallCount(
                &mut draft.host.rooms.limits.max_state_vector_entries,
                1..=i32::MAX as u32,
            )
        },
    ),
    in_file(
        "rooms.max_nesting",
        "How deeply a value may nest.",
        |draft| Slot::SmallCount(&mut draft.host.rooms.limits.max_nesting, 1..=64),
    ),
    Setting {
        key: "admin.listen",
        environment: &["EPICENTER_ADMIN_LISTEN"],
        flag: Some("--admin-listen"),
        about: "The address and port on which `/metrics`, `/healthz` and `/readyz` are served to the operator, without any authentication.\nWhen the default is taken by another program, the hub warns and goes on without; an address that is set must be free.",
        default_text: Some("`\"127.0.0.1:8788\"`, if it is free"),
        slot: |draft| Slot::AddressOrOff(&mut draft.admin_listen),
    },
    in_file(
        "admin.hosts",
        "Names by which that listener is reached, without a port, beside its own addresses and `localhost`.\nOther names are refused, so that no web page can read it by having its name point there.",
        |draft| Slot::TextList(&mut draft.host.admin.hosts),
    ),
    Setting {
        key: "log.level",
        environment: &["RUST_LOG"],
        flag: Some("--log"),
        about: "What is logged: a level, or a filter such as `info,epicenter_native=debug`.",
        default_text: None,
        slot: |draft| Slot::Text(&mut draft.host.log.level),
    },
    in_file(
        "log.format",
        "`human` writes lines for people, `json` one object a line, `auto` the first on a terminal and the second otherwise.",
        |draft| Slot::Choice(&LOG_FORMATS, &mut draft.log_format),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_sections_are_contiguous() {
        let mut seen = Vec::new();
        for setting in SETTINGS {
            let section = setting
                .key
                .split_once('.')
                .map_or("", |(section, _)| section);
            if seen.last() != Some(&section) {
                assert!(!seen.contains(&section), "section {section} is split");
                seen.push(section);
            }
            assert_eq!(
                SETTINGS
                    .iter()
                    .filter(|other| other.key == setting.key)
                    .count(),
                1,
                "{}",
                setting.key
            );
        }
        assert_eq!(seen[0], "");
    }
}
