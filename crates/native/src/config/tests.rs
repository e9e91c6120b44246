use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use epicenter_identity::Scope;
use epicenter_server::config::SignUpPolicy;
use epicenter_update::Limits;
use tempfile::TempDir;

use super::*;
use crate::peer::ProxyHeader;

mod ai;
mod sections;

/// Two strong secrets that must never appear in any output.
const STRONG: &str = "kX9#mQ2$vL7@nR4!pT8%wY1&zB5*cD3^";
const WEAK: &str = "hunter2hunter2";

/// A working directory with a configuration file and an environment.
struct Place {
    folder: TempDir,
    variables: HashMap<String, OsString>,
    flags: Flags,
}

impl Place {
    fn new(file: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        if !file.is_empty() {
            fs::write(folder.path().join(DEFAULT_FILE), file).expect("the file is written");
        }
        let variables = HashMap::from([("HOME".to_owned(), OsString::from("/home/ada"))]);
        Self {
            folder,
            variables,
            flags: Flags::default(),
        }
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.into());
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        load(
            &self.flags,
            &|name| self.variables.get(name).cloned(),
            self.path(),
        )
    }

    fn config(&self) -> HostConfig {
        match self.load() {
            Ok(loaded) => loaded.config,
            Err(error) => panic!("{error}\nhint: {}", error.hint()),
        }
    }

    /// What a person reads, the folder's name cut out.
    fn complaint(&self) -> String {
        let error = self.load().expect_err("the configuration is wrong");
        format!("{error}\nhint: {}", error.hint())
            .replace(&format!("{}/", self.path().display()), "")
    }
}

fn check_complaint(place: Place, expected: &str) {
    assert_eq!(place.complaint(), expected);
}

#[test]
fn nothing_is_needed() {
    let config = Place::new("").config();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8787");
    assert_eq!(config.mode, Mode::Personal);
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.shutdown_deadline_ms, 10_000);
    assert!(config.public_origin.is_none());
    assert!(config.encryption_secrets.is_none() && config.auth_secret.is_none());
}

#[test]
fn later_sources_win() {
    let mut place =
        Place::new("listen = \"127.0.0.1:1\"\ndata_dir = \"from-file\"\n[log]\nlevel = \"warn\"\n");
    assert_eq!(place.config().listen.port(), 1);
    assert_eq!(place.config().data_dir, place.path().join("from-file"));
    assert_eq!(place.config().log.level, "warn");

    place = place
        .with("EPICENTER_LISTEN", "127.0.0.1:2")
        .with("EPICENTER_DATA_DIR", "/from/environment")
        .with("RUST_LOG", "debug")
        .with("API_PUBLIC_ORIGIN", "https://hub.example");
    assert_eq!(place.config().listen.port(), 2);
    assert_eq!(place.config().data_dir, Path::new("/from/environment"));
    assert_eq!(place.config().log.level, "debug");
    assert_eq!(
        place.config().public_origin.expect("an origin").as_str(),
        "https://hub.example"
    );

    place.flags = Flags {
        listen: Some("127.0.0.1:3".to_owned()),
        data_dir: Some("from-flag".into()),
        public_origin: Some("https://flag.example".to_owned()),
        config: None,
        admin_listen: Some("off".to_owned()),
        log: Some("trace".to_owned()),
    };
    assert_eq!(place.config().listen.port(), 3);
    assert_eq!(place.config().admin.listen, AdminListen::Off);
    assert_eq!(place.config().data_dir, place.path().join("from-flag"));
    assert_eq!(place.config().log.level, "trace");
    assert_eq!(
        place.config().public_origin.expect("an origin").as_str(),
        "https://flag.example"
    );
}

#[test]
fn another_file_can_be_named() {
    let mut place = Place::new("listen = \"127.0.0.1:1\"\n");
    fs::create_dir(place.path().join("etc")).expect("a folder");
    fs::write(
        place.path().join("etc/hub.toml"),
        "listen = \"127.0.0.1:9\"\ndata_dir = \"data\"\n",
    )
    .expect("a file");
    place = place.with("EPICENTER_CONFIG", "etc/hub.toml");
    assert_eq!(place.config().listen.port(), 9);
    assert_eq!(
        place.config().data_dir,
        place.path().join("etc/data"),
        "relative to the file"
    );

    place.flags.config = Some("missing.toml".into());
    check_complaint(
        place,
        "configuration file missing.toml cannot be read\nhint: check the name and the permissions of the file, or leave out --config and EPICENTER_CONFIG",
    );
}

#[test]
fn every_setting_of_the_file_reaches_the_configuration() {
    let config = Place::new(
        r#"
        mode = "shared"
        source_url = "https://code.example/hub"
        shutdown_deadline = "3s"
        [shared]
        admit = { emails = ["ada@example.org"], domains = ["example.com"] }
        cross_user_dispatch = true
        [limits]
        max_frame_bytes = 1_048_576
        max_outbound_bytes = "2 MiB"
        max_inbox_commands = 9
        max_inbox_bytes = "3MiB"
        max_user_connections = 8
        max_connections = 7
        max_frames_per_second = 10
        max_room_bytes = "11MiB"
        max_owner_bytes = "12MiB"
        max_owner_rooms = 13
        max_log_queue_bytes = "16MiB"
        max_commit_rows = 5
        max_commit_bytes = "4MiB"
        [rooms]
        lifetime = "1h"
        silent_grace = "1m"
        departure_delay = "1ms"
        presence_join = "2ms"
        dispatch_timeout = "3s"
        gap_request = "4s"
        max_pending_bytes = "1MiB"
        max_in_flight_bytes = "2MiB"
        max_actions_bytes = "3KiB"
        max_room_actions_bytes = "4KiB"
        max_calls = 5
        max_device_connections = 6
        max_connections = 7
        max_structs = 8
        max_state_vector_entries = 9
        max_nesting = 10
        [log]
        level = "debug"
        format = "json"
        "#,
    )
    .config();
    let admit = Admit {
        emails: vec!["ada@example.org".to_owned()],
        domains: vec!["example.com".to_owned()],
    };
    assert_eq!(
        config.mode,
        Mode::Shared {
            admit,
            cross_user_dispatch: true
        }
    );
    assert_eq!(config.source_url, "https://code.example/hub");
    assert_eq!(config.shutdown_deadline_ms, 3_000);
    assert_eq!(
        config.limits,
        LimitsConfig {
            max_frame_bytes: 1 << 20,
            max_outbound_bytes: 2 << 20,
            max_inbox_commands: 9,
            max_inbox_bytes: 3 << 20,
            max_user_connections: 8,
            max_connections: 7,
            max_frames_per_second: 10,
            max_room_bytes: 11 << 20,
            max_owner_bytes: 12 << 20,
            max_owner_rooms: 13,
            max_log_queue_bytes: 16 << 20,
            max_commit_rows: 5,
            max_commit_bytes: 4 << 20,
        }
    );
    let rooms = RoomConfig {
        limits: Limits {
            max_structs: 8,
            max_state_vector_entries: 9,
            max_nesting: 10,
        },
        max_pending_bytes: 1 << 20,
        max_actions_bytes: 3 << 10,
        max_room_actions_bytes: 4 << 10,
        max_calls: 5,
        max_device_connections: 6,
        max_connections: 7,
        max_in_flight_bytes: 2 << 20,
        lifetime_ms: 3_600_000,
        silent_grace_ms: 60_000,
        departure_delay_ms: 1,
        presence_join_ms: 2,
        dispatch_timeout_ms: 3_000,
        gap_request_ms: 4_000,
        shared: true,
        cross_user_dispatch: true,
    };
    assert_eq!(config.rooms, rooms);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let unknown = |file: &str, expected: &str| check_complaint(Place::new(file), expected);
    unknown(
        "\nlisten = \"127.0.0.1:1\"\nlissten = \"x\"\n",
        "epicenter-hub.toml:3: unknown key `lissten`\nhint: did you mean `listen`?",
    );
    unknown(
        "[limits]\nmax_frame_byte = 1\n",
        "epicenter-hub.toml:2: unknown key `limits.max_frame_byte`\nhint: did you mean `limits.max_frame_bytes`?",
    );
    unknown(
        "max_frame_bytes = 1\n",
        "epicenter-hub.toml:1: unknown key `max_frame_bytes`\nhint: did you mean `limits.max_frame_bytes`?",
    );
    unknown(
        "[limit]\nmax_frame_bytes = 1\n",
        "epicenter-hub.toml:1: unknown key `limit`\nhint: did you mean `limits`?",
    );
    unknown(
        "[shared]\nadmit = { mails = [] }\n",
        "epicenter-hub.toml:2: unknown key `shared.admit.mails`\nhint: did you mean `shared.admit.emails`?",
    );
    unknown(
        "completely_different = 1\n",
        "epicenter-hub.toml:1: unknown key `completely_different`\nhint: remove the line, or see docs/configuration.md for every key",
    );
    unknown(
        "limits = 3\n",
        "epicenter-hub.toml:1: unknown key `limits`\nhint: `limits` is a section: write [limits] on a line of its own",
    );
}

#[test]
fn a_secret_in_the_file_is_refused_without_being_shown() {
    let place = Place::new(&format!("auth_secret = \"{STRONG}\"\n"));
    check_complaint(
        place,
        "epicenter-hub.toml:1: unknown key `auth_secret`\nhint: secrets are not read from this file: set AUTH_SECRET in the environment, or name a file with auth_secret_file",
    );
}

#[test]
fn malformed_values_name_the_setting_its_place_and_the_fix() {
    let refused = |file: &str, expected: &str| check_complaint(Place::new(file), expected);
    refused(
        "listen = \"localhost\"\n",
        "`listen` (epicenter-hub.toml:1) is no address: invalid socket address syntax\nhint: write an IP address and a port, such as 127.0.0.1:8787 or [::]:8787",
    );
    refused(
        "\n[rooms]\nlifetime = 30\n",
        "`rooms.lifetime` (epicenter-hub.toml:3) is a number, not text\nhint: write a whole number and a unit (ms, s, m, h, d) as text, such as \"30m\"",
    );
    refused(
        "[rooms]\nlifetime = \"30 minutes\"\n",
        "`rooms.lifetime` (epicenter-hub.toml:2) is no duration\nhint: write a whole number and a unit (ms, s, m, h, d) as text, such as \"30m\"",
    );
    refused(
        "[limits]\nmax_frame_bytes = \"5MB\"\n",
        "`limits.max_frame_bytes` (epicenter-hub.toml:2) is no size\nhint: write bytes, or a whole number and a unit (KiB, MiB, GiB) as text, such as \"5MiB\"",
    );
    refused(
        "[limits]\nmax_frame_bytes = 0\n",
        "`limits.max_frame_bytes` (epicenter-hub.toml:2) cannot be 0B\nhint: write a value from 1KiB to 1GiB",
    );
    refused(
        "[limits]\nmax_connections = -1\n",
        "`limits.max_connections` (epicenter-hub.toml:2) is no whole number of this size\nhint: write a whole number, such as 256",
    );
    refused(
        "mode = \"team\"\n",
        "`mode` (epicenter-hub.toml:1) cannot be \"team\"\nhint: write one of: personal, shared",
    );
    refused(
        "source_url = \"ftp://x\"\n",
        "`source_url` (epicenter-hub.toml:1) is no http or https address\nhint: write a whole address, such as https://code.example/hub",
    );
    let origin = Place::new("")
        .with("API_PUBLIC_ORIGIN", "hub.example/path")
        .complaint();
    assert!(
        origin.starts_with("`public_origin` (from API_PUBLIC_ORIGIN) is no origin: "),
        "{origin}"
    );
    assert!(origin.ends_with("such as https://hub.example"), "{origin}");
}

#[test]
fn broken_toml_names_the_line() {
    let complaint = Place::new("listen = \"127.0.0.1:1\"\nmode = personal\n").complaint();
    assert!(
        complaint.starts_with("epicenter-hub.toml:2: "),
        "{complaint}"
    );
}

#[test]
fn limits_that_exclude_each_other_are_refused() {
    check_complaint(
        Place::new("[limits]\nmax_frame_bytes = \"16MiB\"\n"),
        "`limits.max_inbox_bytes` (default) is smaller than `limits.max_frame_bytes`\nhint: raise limits.max_inbox_bytes or lower limits.max_frame_bytes",
    );
    check_complaint(
        Place::new("[rooms]\nmax_connections = 10\n"),
        "`rooms.max_connections` (epicenter-hub.toml:2) is smaller than `rooms.max_device_connections`\nhint: raise rooms.max_connections or lower rooms.max_device_connections",
    );
}

#[test]
fn shared_mode_admits_somebody_and_personal_mode_nobody() {
    check_complaint(
        Place::new("mode = \"shared\"\n"),
        "`mode` (epicenter-hub.toml:1) is \"shared\", but nobody is admitted\nhint: name who is: [shared] admit = { emails = [\"ada@example.org\"], domains = [\"example.org\"] }",
    );
    check_complaint(
        Place::new("[shared]\nadmit = { domains = [\"example.org\"] }\n"),
        "`shared.admit.domains` (epicenter-hub.toml:2) has no meaning in personal mode\nhint: write mode = \"shared\" above the first section, or remove the section [shared]",
    );
    check_complaint(
        Place::new("mode = \"shared\"\n[shared]\nadmit = { domains = [\"@example.org\"] }\n"),
        "`shared.admit.domains` (epicenter-hub.toml:3) cannot hold \"@example.org\"\nhint: emails look like \"ada@example.org\", domains like \"example.org\"",
    );
}

#[test]
fn secrets_come_from_the_environment_or_a_file() {
    let place = Place::new("")
        .with("ENCRYPTION_SECRETS", &format!("2:{STRONG},1:old"))
        .with("BETTER_AUTH_SECRET", STRONG);
    let config = place.config();
    assert_eq!(
        config.encryption_secrets.expect("given").expose(),
        format!("2:{STRONG},1:old")
    );
    assert_eq!(config.auth_secret.expect("given").expose(), STRONG);

    let place = Place::new("auth_secret_file = \"auth\"\n");
    fs::write(place.path().join("auth"), format!("{STRONG}\n")).expect("a file");
    assert_eq!(
        place.config().auth_secret.expect("given").expose(),
        STRONG,
        "the last line ends with a newline"
    );
    let place = place.with("AUTH_SECRET", &STRONG.to_lowercase());
    assert_eq!(
        place.config().auth_secret.expect("given").expose(),
        STRONG.to_lowercase(),
        "the environment wins"
    );
}

#[test]
fn weak_missing_and_contradicting_secrets_stop_the_start_without_being_shown() {
    let fix = "use at least 32 random bytes; `openssl rand -base64 32` makes them";
    let weak = Place::new("").with("AUTH_SECRET", WEAK).complaint();
    assert!(
        weak.starts_with("`AUTH_SECRET` (from AUTH_SECRET) has a secret of less than 32 bytes"),
        "{weak}"
    );
    assert!(weak.ends_with(fix), "{weak}");
    assert!(!weak.contains(WEAK));

    check_complaint(
        Place::new("").with("AUTH_SECRET", &"ab".repeat(20)),
        &format!(
            "`AUTH_SECRET` (from AUTH_SECRET) repeats a few characters and can be guessed\nhint: {fix}"
        ),
    );
    let short = Place::new("")
        .with("ENCRYPTION_SECRETS", &format!("2:{WEAK},1:{STRONG}"))
        .complaint();
    assert!(
        short.starts_with("`ENCRYPTION_SECRETS` (from ENCRYPTION_SECRETS) is too short: 14 bytes\nhint: put a new version"),
        "{short}"
    );
    let malformed = Place::new("")
        .with("ENCRYPTION_SECRETS", STRONG)
        .complaint();
    assert!(
        malformed.starts_with("`ENCRYPTION_SECRETS` (from ENCRYPTION_SECRETS) has no ':' in entry 1\nhint: put a new version"),
        "{malformed}"
    );

    check_complaint(
        Place::new("").with("AUTH_SECRET", " "),
        "`AUTH_SECRET` (from AUTH_SECRET) is set but empty\nhint: give it a value, or unset AUTH_SECRET",
    );
    check_complaint(
        Place::new("")
            .with("AUTH_SECRET", STRONG)
            .with("BETTER_AUTH_SECRET", &STRONG.to_lowercase()),
        "both AUTH_SECRET and BETTER_AUTH_SECRET are set\nhint: keep one of them, for example: unset BETTER_AUTH_SECRET",
    );
    check_complaint(
        Place::new("")
            .with("AUTH_SECRET", STRONG)
            .with("AUTH_SECRET_FILE", "x"),
        "both AUTH_SECRET and AUTH_SECRET_FILE are set\nhint: keep one of them, for example: unset AUTH_SECRET_FILE",
    );
    check_complaint(
        Place::new("").with("AUTH_SECRET_FILE", "absent"),
        "`auth_secret_file` (from AUTH_SECRET_FILE) names absent, which cannot be read\nhint: the file must exist and be readable by the user that runs the hub",
    );
}

#[test]
fn the_data_directory_follows_the_platform() {
    let place = Place::new("").with("XDG_DATA_HOME", "/data");
    let expected = if cfg!(target_os = "macos") {
        "/home/ada/Library/Application Support/epicenter/hub"
    } else {
        "/data/epicenter/hub"
    };
    assert_eq!(place.config().data_dir, PathBuf::from(expected));
    if !cfg!(target_os = "macos") {
        let relative = Place::new("").with("XDG_DATA_HOME", "data");
        assert_eq!(
            relative.config().data_dir,
            PathBuf::from("/home/ada/.local/share/epicenter/hub")
        );
    }
    let mut homeless = Place::new("");
    homeless.variables.clear();
    check_complaint(
        homeless,
        "no data directory is named, and the environment does not say where the home directory is\nhint: name one with --data-dir or EPICENTER_DATA_DIR",
    );
}

#[test]
fn what_is_printed_loads_again_and_holds_no_secret() {
    let mut place = Place::new(
        "mode = \"shared\"\ndata_dir = \"da\\\"ta\"\n[shared]\nadmit = { emails = [\"ada@example.org\"] }\n[limits]\nmax_frame_bytes = 1_000_001\n[rooms]\nlifetime = \"90s\"\n",
    )
    .with("AUTH_SECRET", STRONG)
    .with("EPICENTER_LISTEN", "127.0.0.1:2");
    place.flags.public_origin = Some("https://hub.example".to_owned());
    let loaded = place.load().expect("a good configuration");
    let printed = render(&loaded);
    assert!(!printed.contains(STRONG), "{printed}");
    for line in [
        "listen = \"127.0.0.1:2\" # from EPICENTER_LISTEN",
        "public_origin = \"https://hub.example\" # from --public-origin",
        "# AUTH_SECRET: ******** (from AUTH_SECRET)",
        "# ENCRYPTION_SECRETS: the hub's own, kept in the data directory",
        "max_frame_bytes = \"1000001B\" # epicenter-hub.toml:6",
        "lifetime = \"90s\" # epicenter-hub.toml:8",
        "max_connections = 50000 # default",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in\n{printed}"
        );
    }

    let again = Place::new(&printed).config();
    let mut expected = loaded.config.clone();
    expected.auth_secret = None;
    assert_eq!(format!("{again:?}"), format!("{expected:?}"));
}

#[test]
fn a_personal_hub_prints_no_shared_section() {
    let printed = render(&Place::new("").load().expect("a good configuration"));
    assert!(!printed.contains("shared."), "{printed}");
    assert!(
        printed.contains("# public_origin: `http://` and the address the hub listens on"),
        "{printed}"
    );
    assert!(Place::new(&printed).load().is_ok());
}

#[test]
fn debug_output_hides_secrets() {
    let config = Place::new("").with("AUTH_SECRET", STRONG).config();
    assert!(!format!("{config:?}").contains(STRONG));
}

/// `cargo xtask docs` sets the variable and so writes the page.
#[test]
fn the_reference_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = reference_page();
    if std::env::var_os("EPICENTER_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("the page is written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/configuration.md is not current: run cargo xtask docs"
    );
}
