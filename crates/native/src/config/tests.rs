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

#[test]
fn sign_in_and_the_authorization_server_are_configured() {
    let config = Place::new(
        r#"
        trusted_origins = ["https://app.example", "chrome-extension://abc"]
        trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
        proxy_header = "forwarded"
        [sign_in]
        password = false
        session_lifetime = "1d"
        recent = "5m"
        [sign_up]
        policy = "invite"
        [oauth]
        first_party_apps = true
        access_token_lifetime = "1m"
        grant_lifetime = "40d"
        [rate_limits]
        enabled = false
        token = 7
        [[oauth.clients]]
        id = "notes"
        type = "web"
        redirect_uris = ["https://notes.example/callback", "http://127.0.0.1/callback", "com.example:/callback"]
        secret_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
        default_scopes = ["openid", "email"]
        "#,
    )
    .config();
    assert_eq!(
        config.trusted_origins,
        ["https://app.example", "chrome-extension://abc"]
    );
    let networks = &config.trusted_proxies.networks;
    let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8"]);
    assert_eq!(config.trusted_proxies.header, ProxyHeader::Forwarded);
    assert_eq!(config.accounts.sign_up, SignUpPolicy::Invite);
    assert!(!config.accounts.password && config.first_party_apps);
    assert_eq!(config.accounts.session_ms, 86_400_000);
    assert_eq!(config.accounts.recent_sign_in_ms, 300_000);
    assert_eq!(config.oauth.access_token_ms, 60_000);
    assert_eq!(config.oauth.grant_ms, 40 * 86_400_000);
    assert!(!config.rate_limits.enabled);
    assert_eq!(config.rate_limits.token.count, 7);
    let [client] = &config.oauth.clients[..] else {
        panic!("{:?}", config.oauth.clients);
    };
    assert_eq!(
        (client.id.as_str(), client.name.as_str()),
        ("notes", "notes")
    );
    assert_eq!(client.redirect_uris.len(), 3);
    assert!(!client.trusted);
    let secret = client.secret.expect("a secret");
    assert_eq!((secret.as_bytes()[1], secret.as_bytes()[31]), (1, 0xff));
    let scopes: Vec<_> = client.default_scopes.iter().collect();
    assert_eq!(scopes, [Scope::OpenId, Scope::Email]);
}

#[test]
fn a_wrong_client_is_named_with_its_field() {
    #[track_caller]
    fn check(lines: &str, expect: &str) {
        let file = format!("[[oauth.clients]]\nid = \"notes\"\n{lines}\n");
        let complaint = Place::new(&file).complaint();
        assert!(complaint.contains(expect), "{complaint}");
        assert!(!complaint.contains(WEAK), "{complaint}");
    }
    const GOOD: &str = "type = \"web\"\nredirect_uris = [\"https://a.example/cb\"]";
    check("redirect_uris = []", "client \"notes\": `type` is missing");
    check(
        "type = \"web\"",
        "client \"notes\": `redirect_uris` is missing",
    );
    check(
        &format!("{GOOD}\nredirect_url = \"x\""),
        "unknown key `oauth.clients.redirect_url`",
    );
    check(
        &format!("{GOOD}\ntrusted = \"yes\""),
        "`trusted` is neither",
    );
    check(
        &format!("{GOOD}\nsecret_sha256 = \"{WEAK}\""),
        "`secret_sha256` is no SHA-256",
    );
    check(
        &format!("{GOOD}\ndefault_scopes = [\"all\"]"),
        "`default_scopes` holds \"all\"",
    );
    for uri in [
        "http://a.example/cb",
        "https://a.example/cb#x",
        "https://*.example/cb",
        "https://u@a.example/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "https:///cb",
        "/cb",
        "http://localhost.evil.example/cb",
    ] {
        let lines = format!("type = \"web\"\nredirect_uris = [\"{uri}\"]");
        check(&lines, "`redirect_uris` holds");
    }
    let native = GOOD.replace("web", "native");
    let secret = "0".repeat(64);
    check(
        &format!("{native}\nsecret_sha256 = \"{secret}\""),
        "`secret_sha256` is for web clients",
    );
    check(
        &format!("{GOOD}\n[[oauth.clients]]\nid = \"notes\"\n{GOOD}"),
        "`id` is taken",
    );
    check(
        &format!("{GOOD}\n[[oauth.clients]]\nid = \"epicenter-cli\"\n{GOOD}"),
        "`id` is taken",
    );
}

#[test]
fn origins_and_proxies_are_checked() {
    for origin in [
        "null",
        "*",
        "https://*.example",
        "https://a.example/",
        "https://A.example",
        "a.example",
        "",
    ] {
        let complaint = Place::new(&format!("trusted_origins = [\"{origin}\"]")).complaint();
        assert!(complaint.contains("`trusted_origins`"), "{complaint}");
    }
    for proxy in ["10.0.0.0/33", "proxy.example"] {
        let complaint = Place::new(&format!("trusted_proxies = [\"{proxy}\"]")).complaint();
        assert!(complaint.contains("`trusted_proxies`"), "{complaint}");
    }
    let complaint = Place::new("[oauth]\ngrant_lifetime = \"1d\"").complaint();
    assert!(complaint.contains("`oauth.grant_lifetime`"), "{complaint}");
}

#[test]
fn the_database_is_a_secret() {
    const URL: &str = "postgres://hub:hunter2@db.example/hub";
    let place = Place::new("").with("DATABASE_URL", URL);
    let loaded = place.load().expect("a configuration");
    let database = loaded.config.database_url.as_ref().expect("a database");
    assert_eq!(database.expose(), URL);
    let shown = format!("{}{:?}", render(&loaded), loaded);
    assert!(
        shown.contains("DATABASE_URL: ********") && !shown.contains("hunter2"),
        "{shown}"
    );
    let complaint = Place::new("")
        .with("DATABASE_URL", "mysql://hunter2")
        .complaint();
    assert!(
        complaint.contains("DATABASE_URL") && !complaint.contains("hunter2"),
        "{complaint}"
    );
    let complaint = Place::new("database_url = \"x\"").complaint();
    assert!(
        complaint.contains("secrets are not read from this file"),
        "{complaint}"
    );
}

#[test]
fn an_address_for_metrics_that_is_set_must_be_had() {
    let default = "127.0.0.1:8788".parse().expect("an address");
    let place = Place::new("");
    assert_eq!(place.config().admin.listen, AdminListen::IfFree(default));
    let set = Place::new("[admin]\nlisten = \"127.0.0.1:8788\"");
    assert_eq!(set.config().admin.listen, AdminListen::At(default));
    let off = Place::new("[admin]\nlisten = \"off\"");
    assert_eq!(off.config().admin.listen, AdminListen::Off);
    let off = Place::new("").with("EPICENTER_ADMIN_LISTEN", "off");
    assert_eq!(off.config().admin.listen, AdminListen::Off);
    let wrong = Place::new("[admin]\nlisten = \"no\"").load();
    assert!(wrong.is_err_and(|error| error.hint().contains("or off")));
}

#[test]
fn names_for_metrics_have_no_port_and_no_scheme() {
    let place = Place::new("[admin]\nhosts = [\"hub\", \"Hub.internal\"]");
    assert_eq!(place.config().admin.hosts, ["hub", "Hub.internal"]);
    for host in ["hub:8788", "http://hub", "hub/metrics", "*"] {
        let place = Place::new(&format!("[admin]\nhosts = [\"{host}\"]"));
        assert!(place.load().is_err(), "{host}");
    }
}

const AI_FILE: &str = r#"
    [ai]
    credits = 100
    max_unpaid_call = "off"
    max_streams = 3
    max_body_bytes = "1MiB"
    max_answer_bytes = "2MiB"
    first_byte_timeout = "2s"
    silence_timeout = "3s"
    answer_timeout = "4s"
    keep_alive = "5s"
    [rate_limits]
    ai = 7
    [[ai.providers]]
    name = "ollama"
    base_url = "http://127.0.0.1:11434/v1/"
    [[ai.providers]]
    name = "router"
    base_url = "https://router.example/v1"
    key_env = "ROUTER_KEY"
    own_key = true
    [[ai.models]]
    provider = "ollama"
    model = "llama3.2"
    context = 131072
    credits = 0.5
    capabilities = ["images"]
    fallback = "openai/gpt-4o"
    [[ai.models]]
    provider = "router"
    model = "some/model"
    input_credits = 12.5
    output_credits = 50
"#;

#[test]
fn ai_is_configured_and_its_keys_are_never_shown() {
    use epicenter_server::ai::catalog::{Credits, Price};
    use epicenter_server::ai::settings::ProviderKey;
    const ROUTER: &str = "sk-router-canary-93481";
    const GEMINI: &str = "gem-canary-58213";
    let place = Place::new(AI_FILE)
        .with("OPENAI_API_KEY", STRONG)
        .with("ROUTER_KEY", ROUTER)
        .with("GEMINI_API_KEY_FILE", "gemini.key")
        .with("GEMINI_BASE_URL", "http://127.0.0.1:9/")
        .with("ANTHROPIC_BASE_URL", "https://api.anthropic.com/");
    fs::write(place.path().join("gemini.key"), format!("{GEMINI}\n")).unwrap();
    let loaded = place.load().unwrap_or_else(|error| panic!("{error}"));
    let config = &loaded.config;
    assert_eq!(config.ai_credits.opening, Some(100));
    assert_eq!(config.ai_credits.unpaid_call, None);
    assert_eq!(config.rate_limits.ai.count, 7);
    let ai = &config.ai;
    assert_eq!(
        (ai.max_streams, ai.max_body_bytes, ai.max_answer_bytes),
        (3, 1 << 20, 2 << 20)
    );
    let times = ai.times;
    let times = [
        times.first_byte_ms,
        times.silence_ms,
        times.answer_ms,
        times.keep_alive_ms,
    ];
    assert_eq!(times, [2_000, 3_000, 4_000, 5_000]);
    let held = |key: &ProviderKey| match key {
        ProviderKey::Held(key) => key.expose().to_owned(),
        other => format!("{other:?}"),
    };
    let providers = ai.providers.iter().map(|provider| {
        let base_url = provider.base_url.as_str();
        (
            provider.name.as_str(),
            base_url,
            held(&provider.key),
            provider.own_key,
        )
    });
    assert_eq!(
        providers.collect::<Vec<_>>(),
        [
            (
                "openai",
                "https://api.openai.com/v1",
                STRONG.to_owned(),
                true
            ),
            // Not where a caller's key belongs.
            ("gemini", "http://127.0.0.1:9", GEMINI.to_owned(), false),
            (
                "anthropic",
                "https://api.anthropic.com",
                "Missing".to_owned(),
                true
            ),
            (
                "ollama",
                "http://127.0.0.1:11434/v1",
                "NotNeeded".to_owned(),
                false
            ),
            (
                "router",
                "https://router.example/v1",
                ROUTER.to_owned(),
                true
            ),
        ]
    );
    let [llama, routed] = ai.models.as_slice() else {
        panic!("{:?}", ai.models);
    };
    assert_eq!(llama.price, Price::PerCall(Credits::thousandths(500)));
    assert!(llama.capabilities.images && !llama.capabilities.tools);
    assert_eq!(
        llama.fallback,
        Some(("openai".to_owned(), "gpt-4o".to_owned()))
    );
    let price = Price::PerMillionTokens {
        input: Credits::thousandths(12_500),
        output: Credits::whole(50),
    };
    assert_eq!(routed.price, price);

    let printed = render(&loaded);
    let debugged = format!("{loaded:?}");
    for secret in [STRONG, ROUTER, GEMINI] {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!debugged.contains(secret), "{debugged}");
    }
    assert!(
        printed.contains("# OPENAI_API_KEY: ******** (from OPENAI_API_KEY)"),
        "{printed}"
    );
    let again = Place::new(&printed).config();
    assert_eq!(again.ai.models, ai.models);
    assert_eq!(again.ai.providers.len(), 5);
    assert_eq!(again.ai_credits, config.ai_credits);
}

#[test]
fn wrong_ai_settings_are_named_without_keys() {
    #[track_caller]
    fn check(file: &str, expect: &str) {
        let place = Place::new(file)
            .with("SPACED", "sk canary")
            .with("OPENAI_API_KEY", "sk-good");
        let complaint = place.complaint();
        assert!(complaint.contains(expect), "{complaint}");
        assert!(!complaint.contains("canary"), "{complaint}");
    }
    let provider = |lines: &str| {
        format!("[[ai.providers]]\nname = \"x\"\nbase_url = \"http://x/v1\"\n{lines}")
    };
    let model =
        |lines: &str| format!("[[ai.models]]\nprovider = \"openai\"\nmodel = \"m\"\n{lines}");
    check(
        "[ai]\nopenai_api_key = \"sk-canary\"",
        "set OPENAI_API_KEY in the environment",
    );
    check(&provider("key = \"sk-canary\""), "a provider has: name");
    check(
        &provider("key_env = \"SPACED\""),
        "holds a key that holds spaces",
    );
    check(
        &provider("key_env = \"ABSENT\""),
        "names ABSENT, which is not set",
    );
    check(&provider("key_file = \"absent\""), "cannot be read");
    check(
        &provider("key_env = \"A\"\nkey_file = \"b\""),
        "is beside `key_file`",
    );
    check(
        "[[ai.providers]]\nname = \"openai\"\nbase_url = \"http://x\"",
        "`name` is taken",
    );
    check(
        "[[ai.providers]]\nname = \"X Y\"\nbase_url = \"http://x\"",
        "`name` is malformed",
    );
    check(
        "[[ai.providers]]\nname = \"x\"\nbase_url = \"ftp://x\"",
        "`base_url` is no http",
    );
    check(
        "[[ai.providers]]\nname = \"x\"\nbase_url = \"http://a@x\"",
        "`base_url` is no http",
    );
    check(
        "[[ai.models]]\nprovider = \"x\"\nmodel = \"m\"",
        "`provider` is not configured",
    );
    check(&model("fallback = \"x/y\""), "`fallback` names a provider");
    check(&model("fallback = \"x\""), "`fallback` is no model");
    check(
        &model("credits = 1\ninput_credits = 1"),
        "does not go with the other prices",
    );
    check(&model("credits = -1"), "`credits` is no number of credits");
    check(&model("context = 0"), "`context` is no such number");
    check(
        &model("capabilities = [\"smell\"]"),
        "`capabilities` holds \"smell\"",
    );
    check(
        &format!("{}{}", model(""), model("")),
        "`model` is there twice",
    );
    check("[ai]\ncredits = \"many\"", "`ai.credits`");
    let empty = Place::new("")
        .with("GEMINI_API_KEY", "a key with canary")
        .complaint();
    assert!(
        empty.contains("GEMINI_API_KEY") && !empty.contains("canary"),
        "{empty}"
    );
}
