//! The data directory: private, served by one process, and never without the secrets its data hangs on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::data_dir::{DataDir, DataDirError, GivenSecrets, SecretsSource};
use epicenter_native::log::{AppendDone, AppendRequest, Generation, Log, LogConfig, SqliteLog};
use epicenter_native::store::{ensure_signing_key, open_sqlite};
use epicenter_room::{Append, Entry, Seq};
use epicenter_server::ports::Clock;

use crate::wait;

struct Midnight;

impl Clock for Midnight {
    fn now_ms(&self) -> u64 {
        0
    }
}

struct Place {
    directory: tempfile::TempDir,
}

const NOTHING: GivenSecrets<'static> = GivenSecrets {
    encryption: None,
    auth: None,
};

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn lock(&self) -> DataDir {
        DataDir::lock(&self.path()).unwrap()
    }

    /// The secrets of one start, as something to compare.
    fn start(&self, given: GivenSecrets<'_>) -> Result<Start, DataDirError> {
        let data_dir = self.lock();
        let store = open_sqlite(&data_dir.identity_database()).unwrap().store;
        let secrets = wait(data_dir.load_secrets(given, &store))?;
        let key = wait(ensure_signing_key(&store, &secrets.auth, 0)).unwrap();
        let owner = OwnerId::parse("ada").unwrap();
        Ok(Start {
            keys: secrets
                .encryption
                .owner_keyring(&owner)
                .to_wire()
                .into_iter()
                .map(|(version, key)| (version, key.to_string()))
                .collect(),
            kid: key.public().kid.clone(),
            sources: (secrets.encryption_source, secrets.auth_source),
        })
    }

    fn secret_file(&self, name: &str) -> PathBuf {
        self.path().join("secrets").join(name)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Start {
    keys: BTreeMap<u8, String>,
    kid: String,
    sources: (SecretsSource, SecretsSource),
}

/// Every file and folder with its mode.
fn modes(root: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let metadata = fs::metadata(&path).unwrap();
            found.insert(name, metadata.permissions().mode() & 0o777);
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn given<'a>(encryption: Option<&'a str>, auth: Option<&'a str>) -> GivenSecrets<'a> {
    GivenSecrets { encryption, auth }
}

#[test]
fn everything_in_it_is_private() {
    let place = Place::new();
    let data_dir = place.lock();
    let store = open_sqlite(&data_dir.identity_database()).unwrap().store;
    let secrets = wait(data_dir.load_secrets(NOTHING, &store)).unwrap();
    wait(ensure_signing_key(&store, &secrets.auth, 0)).unwrap();
    let log = SqliteLog::open(
        &data_dir.rooms_database(),
        LogConfig::default(),
        Arc::new(Midnight),
    )
    .unwrap();
    let (sender, results) = channel();
    log.append(AppendRequest {
        room: RoomName::stored(
            OwnerId::parse("ada").unwrap(),
            RoomId::parse("notes").unwrap(),
        ),
        generation: Generation(1),
        append: Append {
            first: Seq(1),
            entries: vec![Entry::Created],
        },
        done: AppendDone(Box::new(move |result| sender.send(result).unwrap())),
    });
    results.recv().unwrap().unwrap();
    assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o777, 0o700);
    let expect = [
        ("identity.db", 0o600),
        ("identity.db-shm", 0o600),
        ("identity.db-wal", 0o600),
        ("lock", 0o600),
        ("rooms.db", 0o600),
        ("rooms.db-shm", 0o600),
        ("rooms.db-wal", 0o600),
        ("secrets", 0o700),
        ("secrets/auth-secret", 0o600),
        ("secrets/encryption-secrets", 0o600),
    ];
    assert_eq!(
        modes(&place.path()),
        expect.map(|(name, mode)| (name.to_owned(), mode)).into()
    );
}

#[test]
fn a_careless_copy_is_made_private_again() {
    let place = Place::new();
    place.start(NOTHING).unwrap();
    let widen =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    widen(&place.path(), 0o755);
    widen(&place.path().join("identity.db"), 0o644);
    widen(&place.path().join("secrets"), 0o750);
    widen(&place.secret_file("encryption-secrets"), 0o640);
    drop(place.lock());
    assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o777, 0o700);
    for (name, mode) in modes(&place.path()) {
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn a_second_server_is_refused_and_changes_nothing() {
    let place = Place::new();
    let first = place.lock();
    open_sqlite(&first.identity_database()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let before = snapshot(&place.path());
    let error = DataDir::lock(&place.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the data directory {} is in use by another hub (process {})",
            place.path().display(),
            std::process::id()
        )
    );
    assert_eq!(snapshot(&place.path()), before);
    // Commands work beside it.
    DataDir::open(&place.path()).unwrap();
    drop(first);
    DataDir::lock(&place.path()).unwrap();
}

/// Names, modes, times and bytes.
fn snapshot(path: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut paths: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.push(path.to_owned());
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let metadata = fs::metadata(&path).unwrap();
            let bytes = fs::read(&path).unwrap_or_default();
            (
                path,
                metadata.mode(),
                metadata.mtime_nsec(),
                metadata.ctime_nsec(),
                bytes,
            )
        })
        .collect()
}

#[test]
fn a_missing_directory_is_made_for_those_who_want_it() {
    let place = Place::new();
    let deep = place.path().join("a/b");
    assert!(matches!(
        DataDir::open(&deep),
        Err(DataDirError::Missing { .. })
    ));
    assert!(!place.path().exists());
    DataDir::open_or_create(&deep).unwrap();
    assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
    let file = place.directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(DataDir::lock(&file), Err(DataDirError::Io { .. })));
}

#[test]
fn secrets_are_made_once_and_found_again() {
    use SecretsSource::{Generated, Stored};
    let place = Place::new();
    let first = place.start(NOTHING).unwrap();
    assert_eq!(first.sources, (Generated, Generated));
    let second = place.start(NOTHING).unwrap();
    assert_eq!(second.sources, (Stored, Stored));
    assert_eq!((second.keys, second.kid), (first.keys, first.kid));
    assert_ne!(
        place.start(NOTHING).unwrap().keys,
        Place::new().start(NOTHING).unwrap().keys
    );
    let names: Vec<_> = modes(&place.path().join("secrets")).into_keys().collect();
    assert_eq!(
        names,
        ["auth-secret", "encryption-secrets"],
        "no draft is left behind"
    );
}

#[test]
fn processes_that_start_at_once_agree_on_the_secrets() {
    let place = Place::new();
    DataDir::open_or_create(&place.path()).unwrap();
    let barrier = Arc::new(Barrier::new(6));
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (path, barrier) = (place.path(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let data_dir = DataDir::open(&path).unwrap();
                let store = open_sqlite(&data_dir.identity_database()).unwrap().store;
                barrier.wait();
                let secrets = wait(data_dir.load_secrets(NOTHING, &store)).unwrap();
                let owner = OwnerId::parse("ada").unwrap();
                format!("{:?}", secrets.encryption.owner_keyring(&owner).to_wire())
            })
        })
        .collect();
    let mut found: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    found.dedup();
    assert_eq!(found.len(), 1);
}

const AUTH: &str = "an-auth-secret-of-more-than-32-bytes";

#[test]
fn given_secrets_are_used_and_never_copied() {
    use SecretsSource::{Generated, Given};
    let place = Place::new();
    let encryption = "1:a-secret-from-the-environment";
    let start = place.start(given(Some(encryption), Some(AUTH))).unwrap();
    assert_eq!(start.sources, (Given, Given));
    assert!(!place.path().join("secrets").exists());
    for entry in fs::read_dir(place.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for secret in [&encryption[2..], AUTH] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes())
            );
        }
    }
    let half = Place::new().start(given(None, Some(AUTH))).unwrap();
    assert_eq!(half.sources, (Generated, Given));
}

#[test]
fn a_lost_encryption_secret_stops_the_start() {
    let check = |place: &Place| {
        let error = place.start(given(None, Some(AUTH))).unwrap_err();
        assert!(
            matches!(
                error,
                DataDirError::SecretLost {
                    variable: "ENCRYPTION_SECRETS",
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("secrets/encryption-secrets is missing"),
            "{error}"
        );
        assert!(!place.secret_file("encryption-secrets").exists());
    };
    let generated = Place::new();
    let keys = generated.start(given(None, Some(AUTH))).unwrap().keys;
    let file = generated.secret_file("encryption-secrets");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    check(&generated);
    // Bringing it back, or giving it, helps.
    assert_eq!(
        generated
            .start(given(Some(text.trim()), Some(AUTH)))
            .unwrap()
            .keys,
        keys
    );
    check(&generated);
    fs::write(&file, text).unwrap();
    assert_eq!(generated.start(given(None, Some(AUTH))).unwrap().keys, keys);

    let was_given = Place::new();
    was_given
        .start(given(Some("1:a-secret-from-the-environment"), Some(AUTH)))
        .unwrap();
    check(&was_given);

    let without_memory = Place::new();
    fs::create_dir(without_memory.path()).unwrap();
    fs::write(without_memory.path().join("rooms.db"), "").unwrap();
    check(&without_memory);
}

#[test]
fn a_lost_auth_secret_stops_the_start_until_one_is_given() {
    let place = Place::new();
    let old = place.start(NOTHING).unwrap();
    fs::remove_file(place.secret_file("auth-secret")).unwrap();
    let error = place.start(NOTHING).unwrap_err();
    assert!(
        matches!(
            error,
            DataDirError::SecretLost {
                variable: "AUTH_SECRET",
                ..
            }
        ),
        "{error}"
    );
    assert!(!place.secret_file("auth-secret").exists());
    let new = place.start(given(None, Some(AUTH))).unwrap();
    assert_ne!(new.kid, old.kid);
    assert_eq!(
        new.keys, old.keys,
        "an auth secret has nothing to do with data"
    );
}

#[test]
fn one_version_is_one_secret_for_ever() {
    let place = Place::new();
    let start = |secrets: &str| place.start(given(Some(secrets), Some(AUTH)));
    let old = start("1:first").unwrap();
    let error = start("1:another").unwrap_err();
    assert!(
        matches!(
            error,
            DataDirError::SecretChanged {
                version: 1,
                next: 2
            }
        ),
        "{error}"
    );
    assert!(
        !error.to_string().contains("another") && error.to_string().contains("\"2:new,1:old\""),
        "{error}"
    );
    assert!(matches!(
        start("2:second,1:another").unwrap_err(),
        DataDirError::SecretChanged { version: 1, .. }
    ));
    // Rotation: a new version beside the old one, which may go later and come back as itself only.
    assert_eq!(start("2:second,1:first").unwrap().keys[&1], old.keys[&1]);
    start("2:second").unwrap();
    assert!(matches!(
        start("2:other").unwrap_err(),
        DataDirError::SecretChanged {
            version: 2,
            next: 3
        }
    ));
    assert!(matches!(
        start("2:second,1:other").unwrap_err(),
        DataDirError::SecretChanged { version: 1, .. }
    ));
    assert_eq!(start("2:second,1:first").unwrap().keys[&1], old.keys[&1]);
}

#[test]
fn malformed_secrets_are_refused_by_name_and_never_shown() {
    let place = Place::new();
    let error = place
        .start(given(Some("no-version-here"), None))
        .unwrap_err();
    assert_eq!(error.to_string(), "ENCRYPTION_SECRETS cannot be used");
    assert!(!format!("{error:?}").contains("no-version-here"));
    let error = place.start(given(None, Some("short"))).unwrap_err();
    assert_eq!(error.to_string(), "AUTH_SECRET cannot be used");
    fs::write(place.secret_file("encryption-secrets"), "broken file").unwrap();
    let error = place.start(NOTHING).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("secrets/encryption-secrets cannot be used"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("broken file"));
}

#[test]
fn a_directory_whose_restore_was_interrupted_is_not_served() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    fs::write(place.path().join("restore-unfinished"), "").unwrap();
    let before = snapshot(&place.path());
    let error = DataDir::lock(&place.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Unfinished { .. }), "{error}");
    assert_eq!(snapshot(&place.path()), before);
}
