//! Backup and restore (`backup.md`): everything comes back, and nobody who was signed out is signed in again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use epicenter_native::backup::{
    self, BackupError, IdentityOutcome, Made, Passphrase, RestoreError, RestoreOptions, Restored,
    SecretsOutcome,
};
use epicenter_native::config::{HostConfig, Loaded, PublicOrigin, Sources};
use epicenter_testkit::{HttpRequest, PASSWORD, TestHub, TestUser, Typist};
use tempfile::TempDir;

/// The same for every hub here, so that a token of one would be good at the other.
const ORIGIN: &str = "http://hub.example.test";
const HOST: &str = "hub.example.test";
pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

pub(crate) fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

/// What `epicenter backup` does; on a thread of its own, because it brings a runtime.
pub(crate) fn back_up(
    config: HostConfig,
    target: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Made, BackupError> {
    let loaded = Loaded {
        config,
        sources: Sources::new(),
    };
    std::thread::scope(|scope| {
        let backup = || backup::create(&loaded, target, passphrase);
        scope.spawn(backup).join().unwrap()
    })
}

pub(crate) fn restore(
    source: &Path,
    target: &Path,
    options: RestoreOptions<'_>,
) -> Result<Restored, RestoreError> {
    std::thread::scope(|scope| {
        let restore = || backup::restore(source, target, options);
        scope.spawn(restore).join().unwrap()
    })
}

pub(crate) fn empty_place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn set_origin(config: &mut HostConfig) {
    config.public_origin = Some(PublicOrigin::parse(ORIGIN).unwrap());
}

pub(crate) async fn send(hub: &TestHub, request: HttpRequest) -> epicenter_testkit::HttpAnswer {
    request.header("Host", HOST).send(hub.address()).await
}

/// An account and a token, at a hub whose origin is not its address.
pub(crate) async fn user(hub: &TestHub) -> TestUser {
    let email = "ada@example.test";
    let token = hub.token(email, 600);
    let request = HttpRequest::new("GET", "/api/session").bearer(&token);
    let owner = send(hub, request).await.json()["ownerId"].clone();
    TestUser {
        email: email.to_owned(),
        owner: owner.as_str().unwrap().to_owned(),
        token,
    }
}

/// Pushes one update and waits until it is durable.
pub(crate) async fn push(hub: &TestHub, user: &TestUser, room: &str, update: &[u8]) -> u16 {
    let mut body = vec![1, 0];
    epicenter_update::lib0::write_var_bytes(&mut body, update);
    let request = HttpRequest::new("POST", user.room_path(room))
        .bearer(&user.token)
        .body(body);
    send(hub, request).await.status
}

async fn call(hub: &TestHub, user: &TestUser, method: &str, room: &str) -> u16 {
    let request = HttpRequest::new(method, user.room_path(room)).bearer(&user.token);
    send(hub, request).await.status
}

pub(crate) async fn snapshot(hub: &TestHub, user: &TestUser, room: &str) -> Vec<u8> {
    let request = HttpRequest::new("GET", user.room_path(room)).bearer(&user.token);
    let answer = send(hub, request).await;
    assert_eq!(answer.status, 200, "{room}");
    answer.body
}

pub(crate) async fn start() -> TestHub {
    TestHub::start_with(set_origin).await
}

pub(crate) async fn start_restored(place: TempDir) -> TestHub {
    TestHub::start_over(place, set_origin).await
}

pub(crate) fn config_of(hub: &TestHub) -> HostConfig {
    HostConfig::for_tests(hub.data_dir())
}

pub(crate) fn with_passphrase(passphrase: &Passphrase) -> RestoreOptions<'_> {
    RestoreOptions {
        passphrase: Some(passphrase),
        ..RestoreOptions::default()
    }
}

/// Backs a hub up with its secrets and restores it elsewhere.
fn move_hub(hub: &TestHub, options: RestoreOptions<'_>) -> TempDir {
    let place = empty_place();
    let file = place.path().join("backup");
    let secret = passphrase(PASSPHRASE);
    back_up(config_of(hub), &file, Some(&secret)).unwrap();
    let options = RestoreOptions {
        passphrase: Some(&secret),
        ..options
    };
    restore(&file, &place.path().join("data"), options).unwrap();
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back() {
    let hub = start().await;
    let ada = user(&hub).await;
    let mut typist = Typist::new(7);
    for word in ["one", "two", "three"] {
        assert_eq!(push(&hub, &ada, "notes", &typist.types(word)).await, 200);
    }
    // Several parts, and several frames of a backup.
    let large = Typist::new(8).types(&"x".repeat(2_500_000));
    assert_eq!(push(&hub, &ada, "large", &large).await, 200);
    // A gap: the second insertion waits for the first.
    let mut gap = Typist::new(9);
    let first = gap.types("first");
    assert_eq!(push(&hub, &ada, "gap", &gap.types("second")).await, 200);
    for room in ["gone", "again"] {
        assert_eq!(
            push(&hub, &ada, room, &Typist::new(3).types("old")).await,
            200
        );
        assert_eq!(call(&hub, &ada, "DELETE", room).await, 204);
    }
    assert_eq!(call(&hub, &ada, "PUT", "again").await, 201);
    let renewed = Typist::new(4).types("new");
    assert_eq!(push(&hub, &ada, "again", &renewed).await, 200);

    let mut before = Vec::new();
    for room in ["notes", "large", "gap", "again"] {
        before.push((room, snapshot(&hub, &ada, room).await));
    }
    let restored = start_restored(move_hub(&hub, RestoreOptions::default())).await;
    let again = user(&restored).await;
    assert_eq!(again.owner, ada.owner, "the same account");
    for (room, state) in &before {
        assert_eq!(snapshot(&restored, &again, room).await, *state, "{room}");
    }
    assert_eq!(call(&restored, &again, "GET", "gone").await, 410);
    // The log goes on where it was, what waited included.
    assert_eq!(push(&restored, &again, "gap", &first).await, 200);
    let whole = snapshot(&restored, &again, "gap").await;
    assert!(String::from_utf8_lossy(&whole).contains("firstsecond"));
    restored.stop().await;
    hub.stop().await;
}

async fn sign_in(hub: &TestHub) -> String {
    let body = format!(r#"{{"email":"ada@example.test","password":"{PASSWORD}"}}"#);
    let request = HttpRequest::new("POST", "/auth/sign-in/email")
        .header("Origin", ORIGIN)
        .header("Content-Type", "application/json")
        .body(body);
    let answer = send(hub, request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn is_signed_in(hub: &TestHub, cookie: &str) -> bool {
    let request = HttpRequest::new("GET", "/auth/get-session").header("Cookie", cookie);
    let answer = send(hub, request).await;
    assert_eq!(answer.status, 200);
    !answer.json().is_null()
}

async fn session_status(hub: &TestHub, token: &str) -> u16 {
    let request = HttpRequest::new("GET", "/api/session").bearer(token);
    send(hub, request).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_revoked_after_the_backup_stays_dead() {
    let hub = start().await;
    let ada = user(&hub).await;
    let cookie = sign_in(&hub).await;
    let untouched = hub.token(&ada.email, 600);
    assert_eq!(session_status(&hub, &ada.token).await, 200);
    assert!(is_signed_in(&hub, &cookie).await);
    let place = move_hub(&hub, RestoreOptions::default());
    let kept = move_hub(
        &hub,
        RestoreOptions {
            keep_sessions: true,
            ..RestoreOptions::default()
        },
    );
    hub.administer(|administrator| administrator.sign_everybody_out().unwrap());
    // The running hub hears of it within half a second.
    let begin = std::time::Instant::now();
    while session_status(&hub, &ada.token).await != 401 {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20));
    }
    hub.stop().await;

    let restored = start_restored(place).await;
    for token in [&ada.token, &untouched] {
        assert_eq!(session_status(&restored, token).await, 401);
    }
    assert!(!is_signed_in(&restored, &cookie).await);
    let fresh = restored.token(&ada.email, 600);
    assert_eq!(session_status(&restored, &fresh).await, 200);
    assert!(is_signed_in(&restored, &sign_in(&restored).await).await);
    restored.stop().await;

    // Whoever keeps sessions keeps those of browsers; access tokens are dead all the same.
    let kept = start_restored(kept).await;
    assert!(is_signed_in(&kept, &cookie).await);
    assert_eq!(session_status(&kept, &ada.token).await, 401);
    kept.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_waited_end_and_decisions_stay() {
    let hub = start().await;
    user(&hub).await;
    hub.administer(|administrator| drop(administrator.invite(None, 600).unwrap()));
    let place = move_hub(&hub, RestoreOptions::default());
    hub.stop().await;
    let path = place.path().join("data/identity.db");
    let database = rusqlite::Connection::open(path).unwrap();
    let count = |sql: &str| -> i64 { database.query_row(sql, [], |row| row.get(0)).unwrap() };
    for table in [
        "sessions",
        "grants",
        "codes",
        "refresh_tokens",
        "invitations",
        "setup_link",
        "signing_keys",
    ] {
        assert_eq!(
            count(&format!("SELECT count(*) FROM {table}")),
            0,
            "{table}"
        );
    }
    assert_eq!(count("SELECT count(*) FROM users"), 1);
    for kind in ["account.created", "backup.restored"] {
        let lines = format!("SELECT count(*) FROM audit WHERE kind = '{kind}'");
        assert_eq!(count(&lines), 1, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_hub_has_a_line_about_its_backup_and_nothing_else_of_it() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let made = back_up(config_of(&hub), &place.path().join("backup"), None).unwrap();
    assert!(made.is_audited);
    let files = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        files(&hub.data_dir()),
        [
            "identity.db",
            "identity.db-shm",
            "identity.db-wal",
            "lock",
            "rooms.db",
            "rooms.db-shm",
            "rooms.db-wal",
            "secrets"
        ]
    );
    assert_eq!(files(place.path()), ["backup"]);
    let database = rusqlite::Connection::open(hub.data_dir().join("identity.db")).unwrap();
    let sql = "SELECT actor FROM audit WHERE kind = 'backup.made'";
    let actor: String = database.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(actor, "operator");
    hub.stop().await;
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        }
        found.push(path);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_directory_is_private() {
    let hub = start().await;
    user(&hub).await;
    let place = move_hub(&hub, RestoreOptions::default());
    hub.stop().await;
    let data = place.path().join("data");
    for path in files_below(&data).into_iter().chain([data]) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_there_is_replaced() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let (file, data) = (place.path().join("backup"), place.path().join("data"));
    fs::write(&file, "mine").unwrap();
    let error = back_up(config_of(&hub), &file, None).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    fs::remove_file(&file).unwrap();
    let right = passphrase(PASSPHRASE);
    back_up(config_of(&hub), &file, Some(&right)).unwrap();

    fs::create_dir(&data).unwrap();
    fs::write(data.join("mine"), "mine").unwrap();
    let error = restore(&file, &data, RestoreOptions::default()).unwrap_err();
    assert!(
        matches!(error, RestoreError::TargetNotEmpty { .. }),
        "{error}"
    );
    fs::remove_file(data.join("mine")).unwrap();
    let wrong = passphrase("wrong horse battery staple");
    let error = restore(&file, &data, with_passphrase(&wrong)).unwrap_err();
    assert!(matches!(error, RestoreError::WrongPassphrase), "{error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "no draft");
    // An empty folder may be there.
    let restored = restore(&file, &data, with_passphrase(&right)).unwrap();
    assert_eq!(restored.secrets, SecretsOutcome::Restored);
    let plain = place.path().join("plain");
    back_up(config_of(&hub), &plain, None).unwrap();
    let error = restore(&plain, &place.path().join("x"), with_passphrase(&right)).unwrap_err();
    assert!(matches!(error, RestoreError::NoSecrets), "{error}");
    let error = restore(
        &data.join("rooms.db"),
        &place.path().join("x"),
        RestoreOptions::default(),
    );
    assert!(matches!(error, Err(RestoreError::NoBackup { .. })));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_on_no_data_has_no_backup() {
    let place = empty_place();
    let target = place.path().join("backup");
    let missing = HostConfig::for_tests(place.path().join("data"));
    let error = back_up(missing.clone(), &target, None).unwrap_err();
    assert!(matches!(error, BackupError::DataDir(_)), "{error}");
    fs::create_dir(place.path().join("data")).unwrap();
    let error = back_up(missing, &target, None).unwrap_err();
    assert!(matches!(error, BackupError::NeverServed { .. }), "{error}");
    assert!(!target.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_restored_is_told() {
    let hub = start().await;
    let ada = user(&hub).await;
    push(&hub, &ada, "notes", &Typist::new(1).types("x")).await;
    let place = empty_place();
    let file = place.path().join("backup");
    let made = back_up(config_of(&hub), &file, None).unwrap();
    assert_eq!((made.totals.rooms, made.totals.entries), (1, 2));
    assert_eq!(made.bytes, fs::metadata(&file).unwrap().len());
    let restored = restore(&file, &place.path().join("data"), RestoreOptions::default()).unwrap();
    assert_eq!((restored.rooms, restored.deleted_rooms), (1, 0));
    let expect = IdentityOutcome::Restored {
        keeps_sessions: false,
    };
    assert_eq!(restored.identity, expect);
    let text = fs::read_to_string(restored.configuration.unwrap()).unwrap();
    assert!(text.contains("mode = \"personal\""), "{text}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_a_backup() {
    let hub = start().await;
    let ada = user(&hub).await;
    push(&hub, &ada, "notes", &Typist::new(1).types("x")).await;
    // What a backup holds open for as long as it reads.
    let reader = rusqlite::Connection::open(hub.data_dir().join("rooms.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let rooms = "SELECT count(*) FROM rooms";
    let count = reader.query_row(rooms, [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 1);
    push(&hub, &ada, "notes", &Typist::new(2).types("y")).await;
    let begun = std::time::Instant::now();
    hub.stop().await;
    // SQLite would wait ten seconds for a reader, and the hub as long for SQLite.
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}
