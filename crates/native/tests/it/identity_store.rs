//! The identity store: accounts, keys and devices, also with several processes at once.

use std::path::PathBuf;

use epicenter_encryption::AuthSecret;
use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use epicenter_native::identity_store::{
    AddUserError, IdentityStore, ModeError, NewUser, OwnershipMode,
};
use epicenter_native::keys::RingVerify;
use epicenter_native::password::{WeakPassword, verify_password};
use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::{Devices, Health, SigningKeys, StoreUnavailable, Users, Verify};
use rusqlite::Connection;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("identity.db")
    }

    fn open(&self) -> IdentityStore {
        IdentityStore::open(&self.path()).unwrap()
    }

    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn new_user(email: &str, admin: bool) -> NewUser<'_> {
    NewUser {
        email,
        password: "correct horse",
        name: None,
        admin,
    }
}

fn secret(seed: char) -> AuthSecret {
    AuthSecret::parse(&format!(
        "{}-and-then-enough-bytes",
        seed.to_string().repeat(16)
    ))
    .unwrap()
}

/// Runs a port call to its end.
fn wait<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(call)
}

#[test]
fn an_account_is_stored_verified_and_with_its_password_hashed() {
    let place = Place::new();
    let store = place.open();
    assert!(!store.has_users().unwrap());
    let ada = store
        .add_user(&new_user(" Ada@Example.TEST ", true), 5)
        .unwrap();
    assert_eq!(
        (ada.email.as_str(), ada.name.as_str()),
        ("ada@example.test", "ada")
    );
    assert!(ada.email_verified && ada.enabled && ada.admin);
    assert_eq!(ada.id.as_str().len(), 32);
    assert!(
        ada.id
            .as_str()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric())
    );
    assert!(store.has_users().unwrap());
    drop(store);

    let store = place.open();
    assert_eq!(
        store.find_user_by_email("ADA@example.test").unwrap(),
        Some(ada.clone())
    );
    assert_eq!(wait(store.find_user(&ada.id)), Ok(Some(ada.clone())));
    assert_eq!(store.find_user_by_email("bob@example.test").unwrap(), None);
    assert_eq!(
        wait(store.find_user(&UserId::parse("nobody").unwrap())),
        Ok(None)
    );
    let hash: String = place
        .sql()
        .query_row("SELECT password_hash FROM users", [], |row| row.get(0))
        .unwrap();
    assert!(verify_password("correct horse", &hash));

    place
        .sql()
        .execute("UPDATE users SET disabled_at = 9", [])
        .unwrap();
    assert!(!wait(store.find_user(&ada.id)).unwrap().unwrap().enabled);
}

#[test]
fn accounts_that_cannot_be_are_refused_and_leave_nothing() {
    let place = Place::new();
    let store = place.open();
    let error = store
        .add_user(&new_user("bob@example.test", false), 0)
        .unwrap_err();
    assert!(matches!(error, AddUserError::FirstMustBeAdmin));
    assert!(error.hint().unwrap().contains("--admin"));
    assert!(!store.has_users().unwrap());

    store
        .add_user(&new_user("ada@example.test", true), 0)
        .unwrap();
    let bob = NewUser {
        name: Some("Bob"),
        ..new_user("bob@example.test", false)
    };
    assert_eq!(store.add_user(&bob, 0).unwrap().name, "Bob");
    let error = store
        .add_user(&new_user("BOB@example.test", false), 0)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "an account with the address bob@example.test exists already"
    );
    for email in [
        "",
        "bob",
        "@example.test",
        "bob@",
        "a@b@c",
        "a b@c",
        "a\u{7}b@c",
        &format!("{}@x", "a".repeat(254)),
    ] {
        let error = store.add_user(&new_user(email, false), 0).unwrap_err();
        assert!(matches!(error, AddUserError::InvalidEmail(_)), "{email}");
    }
    for (password, expect) in [
        ("short", WeakPassword::TooShort),
        ("password1", WeakPassword::Trivial),
        ("carol@example.test", WeakPassword::IsAddress),
    ] {
        let carol = NewUser {
            password,
            ..new_user("carol@example.test", false)
        };
        let error = store.add_user(&carol, 0).unwrap_err();
        assert!(
            matches!(error, AddUserError::WeakPassword(found) if found == expect),
            "{error}"
        );
        assert!(
            !format!("{error:?} {error} {carol:?}").contains(password),
            "a password is never shown"
        );
    }
    let count: i64 = place
        .sql()
        .query_row("SELECT count(*) FROM users", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}

#[test]
fn the_signing_key_stays_the_same_and_is_sealed() {
    let place = Place::new();
    let store = place.open();
    let key = store.ensure_signing_key(&secret('a'), 1).unwrap();
    let again = place.open().ensure_signing_key(&secret('a'), 2).unwrap();
    assert_eq!(again.public(), key.public());
    assert_eq!(wait(store.load()), Ok(vec![key.public().clone()]));
    let signature = again.sign(b"message").unwrap();
    assert!(RingVerify.verify_es256(key.public(), b"message", &signature));
    let sealed: Vec<u8> = place
        .sql()
        .query_row("SELECT sealed_private FROM signing_keys", [], |row| {
            row.get(0)
        })
        .unwrap();
    let pkcs8 = secret('a')
        .open("signing-key", key.public().kid.as_bytes(), &sealed)
        .unwrap();
    assert!(
        !sealed
            .windows(16)
            .any(|window| pkcs8.windows(16).any(|other| other == window))
    );
}

#[test]
fn another_auth_secret_makes_a_new_key_and_keeps_the_old_public_one() {
    let place = Place::new();
    let store = place.open();
    let old = store.ensure_signing_key(&secret('a'), 1).unwrap();
    let new = store.ensure_signing_key(&secret('b'), 2).unwrap();
    assert_ne!(old.public(), new.public());
    assert_eq!(
        wait(store.load()).unwrap(),
        [new.public().clone(), old.public().clone()]
    );
    // Each secret finds its own key again, and nothing piles up.
    assert_eq!(
        store.ensure_signing_key(&secret('b'), 3).unwrap().public(),
        new.public()
    );
    assert_eq!(
        store.ensure_signing_key(&secret('a'), 3).unwrap().public(),
        old.public()
    );
    let both = format!(
        "2:{0}{0},1:{1}",
        "c".repeat(16),
        "aaaaaaaaaaaaaaaa-and-then-enough-bytes"
    );
    let both = AuthSecret::parse(&both).unwrap();
    assert_eq!(
        store.ensure_signing_key(&both, 4).unwrap().public(),
        old.public()
    );
    assert_eq!(wait(store.load()).unwrap().len(), 2);
}

#[test]
fn a_sealed_key_moved_to_another_id_is_not_used() {
    let place = Place::new();
    let store = place.open();
    let key = store.ensure_signing_key(&secret('a'), 1).unwrap();
    place
        .sql()
        .execute("UPDATE signing_keys SET kid = 'x' || kid", [])
        .unwrap();
    assert_ne!(
        store.ensure_signing_key(&secret('a'), 2).unwrap().public(),
        key.public()
    );
}

/// What each process of the next test does; nothing on its own.
#[test]
fn one_of_many_processes() {
    let Ok(path) = std::env::var(STORE_OF_CHILD) else {
        return;
    };
    let number = std::env::var(NUMBER_OF_CHILD).unwrap();
    let store = IdentityStore::open(path.as_ref()).unwrap();
    store.ensure_signing_key(&secret('a'), 1).unwrap();
    let email = format!("user{number}@example.test");
    store.add_user(&new_user(&email, true), 1).unwrap();
    store.claim_mode(OwnershipMode::Personal).unwrap();
}

const STORE_OF_CHILD: &str = "EPICENTER_TEST_IDENTITY_STORE";
const NUMBER_OF_CHILD: &str = "EPICENTER_TEST_NUMBER";

#[test]
fn many_processes_make_one_store_and_one_key() {
    let place = Place::new();
    let program = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..6)
        .map(|number| {
            std::process::Command::new(&program)
                .args(["--exact", "identity_store::one_of_many_processes"])
                .env(STORE_OF_CHILD, place.path())
                .env(NUMBER_OF_CHILD, number.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = place.open();
    assert_eq!(wait(store.load()).unwrap().len(), 1);
    for number in 0..6 {
        let email = format!("user{number}@example.test");
        assert!(store.find_user_by_email(&email).unwrap().is_some());
    }
}

#[test]
fn a_change_made_by_another_process_is_seen_at_once() {
    let place = Place::new();
    let (hub, command) = (place.open(), place.open());
    assert_eq!(hub.find_user_by_email("ada@example.test").unwrap(), None);
    let ada = command
        .add_user(&new_user("ada@example.test", true), 0)
        .unwrap();
    assert_eq!(wait(hub.find_user(&ada.id)), Ok(Some(ada)));
}

#[test]
fn a_device_belongs_to_its_first_user_until_it_lapses() {
    let place = Place::new();
    let store = place.open();
    let claim = |device: &str, user: &str, client: &str, at: u64| {
        wait(store.claim_device(
            &OwnerId::parse("shared").unwrap(),
            &DeviceId::parse(device).unwrap(),
            &UserId::parse(user).unwrap(),
            &ClientId::parse(client).unwrap(),
            at,
        ))
        .unwrap()
    };
    let start = 1_000 * DAY_MS;
    assert!(claim("laptop", "ada", "app", start));
    assert!(claim("laptop", "ada", "other-app", start + 1));
    assert!(!claim("laptop", "bob", "app", start + 2));
    assert!(claim("phone", "bob", "app", start + 3));
    // Used again after 60 days: the 90 days count from there.
    assert!(claim("laptop", "ada", "app", start + 60 * DAY_MS));
    assert!(!claim("laptop", "bob", "app", start + 150 * DAY_MS - 1));
    assert!(claim("laptop", "bob", "app", start + 150 * DAY_MS));
    assert!(!claim("laptop", "ada", "app", start + 150 * DAY_MS));
    let devices: i64 = place
        .sql()
        .query_row("SELECT count(*) FROM devices", [], |row| row.get(0))
        .unwrap();
    assert_eq!(devices, 1, "the phone's claim has lapsed and is swept");
}

#[test]
fn using_a_device_is_not_a_write_each_time() {
    let place = Place::new();
    let store = place.open();
    let claim = |at| {
        let owner = OwnerId::parse("shared").unwrap();
        let (device, user) = (
            DeviceId::parse("laptop").unwrap(),
            UserId::parse("ada").unwrap(),
        );
        assert!(
            wait(store.claim_device(&owner, &device, &user, &ClientId::parse("app").unwrap(), at))
                .unwrap()
        );
        let last_used: i64 = place
            .sql()
            .query_row("SELECT last_used_at FROM devices", [], |row| row.get(0))
            .unwrap();
        u64::try_from(last_used).unwrap()
    };
    assert_eq!(claim(DAY_MS), DAY_MS);
    assert_eq!(claim(2 * DAY_MS - 1), DAY_MS);
    assert_eq!(claim(2 * DAY_MS), 2 * DAY_MS);
}

#[test]
fn the_first_mode_stays() {
    let place = Place::new();
    place.open().claim_mode(OwnershipMode::Shared).unwrap();
    place.open().claim_mode(OwnershipMode::Shared).unwrap();
    let error = place
        .open()
        .claim_mode(OwnershipMode::Personal)
        .unwrap_err();
    assert!(matches!(error, ModeError::Other { .. }));
    let text = error.to_string();
    assert!(
        text.contains("shared mode and cannot be served in personal mode"),
        "{text}"
    );
    assert!(
        text.contains("keys and room names hang on the mode"),
        "{text}"
    );
}

#[test]
fn the_origin_is_the_one_recorded_last() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.find_origin().unwrap(), None);
    for text in ["http://127.0.0.1:8787", "https://hub.example"] {
        let origin = PublicOrigin::parse(text).unwrap();
        store.record_origin(&origin).unwrap();
        assert_eq!(place.open().find_origin().unwrap(), Some(origin));
    }
}

#[test]
fn health_tells_whether_the_store_answers() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(wait(store.check()), Ok(()));
    place
        .sql()
        .execute_batch("DROP TABLE meta; DROP TABLE signing_keys")
        .unwrap();
    assert_eq!(wait(store.check()), Err(StoreUnavailable));
    assert_eq!(wait(store.load()), Err(StoreUnavailable));
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let place = Place::new();
    drop(place.open());
    place
        .sql()
        .execute(
            "UPDATE meta SET value = '7' WHERE key = 'schema_version'",
            [],
        )
        .unwrap();
    let error = IdentityStore::open(&place.path()).unwrap_err();
    assert_eq!(error.to_string(), "the identity store cannot be opened");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("has schema version 7 and this program knows versions up to 1"),
        "{cause}"
    );
}
