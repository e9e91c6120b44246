//! The identity store over SQLite: keys, devices and what the hub remembers about itself, also with several processes at
//! once. What every store must do is in the conformance suite.

use std::path::PathBuf;
use std::time::Duration;

use epicenter_encryption::AuthSecret;
use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use epicenter_native::identity_store::{
    ModeError, OwnershipMode, StoreError, claim_mode, find_origin, record_origin,
};
use epicenter_native::keys::RingVerify;
use epicenter_native::store::{
    OpenStore, StoreSigner, ensure_signing_key, open_sqlite, rotate_signing_key,
};
use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::{Devices, Health, Signer, SigningKeys, StoreUnavailable, Verify};
use epicenter_server::revocations::LONGEST_TOKEN_LIFE_MS;
use epicenter_store::{Lease, SqlStore};
use rusqlite::Connection;

use crate::wait;

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

    fn open(&self) -> SqlStore {
        open_sqlite(&self.path()).unwrap().store
    }

    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

fn secret(seed: char) -> AuthSecret {
    AuthSecret::parse(&format!(
        "{}-and-then-enough-bytes",
        seed.to_string().repeat(16)
    ))
    .unwrap()
}

fn ensure_kid(store: &SqlStore, secret: &AuthSecret, now_ms: u64) -> String {
    let key = wait(ensure_signing_key(store, secret, now_ms)).unwrap();
    key.public().kid.clone()
}

fn kids(store: &SqlStore) -> Vec<String> {
    let keys = wait(store.load()).unwrap();
    keys.into_iter().map(|key| key.kid).collect()
}

#[test]
fn the_signing_key_stays_the_same_and_is_sealed() {
    let place = Place::new();
    let store = place.open();
    let key = wait(ensure_signing_key(&store, &secret('a'), 1)).unwrap();
    let again = wait(ensure_signing_key(&place.open(), &secret('a'), 2)).unwrap();
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
    let old = ensure_kid(&store, &secret('a'), 1);
    let new = ensure_kid(&store, &secret('b'), 2);
    assert_ne!(old, new);
    assert_eq!(kids(&store), [new.clone(), old.clone()]);
    // Each secret finds its own key again, and nothing piles up.
    assert_eq!(ensure_kid(&store, &secret('b'), 3), new);
    assert_eq!(ensure_kid(&store, &secret('a'), 3), old);
    let both = format!(
        "2:{0}{0},1:{1}",
        "c".repeat(16),
        "aaaaaaaaaaaaaaaa-and-then-enough-bytes"
    );
    let both = AuthSecret::parse(&both).unwrap();
    assert_eq!(ensure_kid(&store, &both, 4), old);
    assert_eq!(kids(&store).len(), 2);
}

#[test]
fn a_sealed_key_moved_to_another_id_is_not_used() {
    let place = Place::new();
    let store = place.open();
    let kid = ensure_kid(&store, &secret('a'), 1);
    place
        .sql()
        .execute("UPDATE signing_keys SET kid = 'x' || kid", [])
        .unwrap();
    assert_ne!(ensure_kid(&store, &secret('a'), 2), kid);
}

#[test]
fn a_rotated_key_is_published_before_it_signs_and_the_old_one_outlives_its_tokens() {
    const START: u64 = 1_000 * DAY_MS;
    let place = Place::new();
    let store = place.open();
    let old = ensure_kid(&store, &secret('a'), START);
    let signer = StoreSigner::new(place.open(), secret('a'));
    let signs = |now_ms| wait(signer.signing_key(now_ms)).unwrap().kid().to_owned();
    assert_eq!(signs(START), old);
    let rotated_at = START + 1_000;
    let new = wait(rotate_signing_key(&store, &secret('a'), rotated_at)).unwrap();
    assert_ne!(new, old);
    assert_eq!(kids(&store), [new.clone(), old.clone()]);
    // Whoever has read the keys before learns of the new one in time.
    assert_eq!(signs(rotated_at), old);
    assert_eq!(signs(rotated_at + 59_999), old);
    assert_eq!(signs(rotated_at + 60_000), new);
    let retired_at = rotated_at + 60_000;
    wait(store.sweep(retired_at + LONGEST_TOKEN_LIFE_MS - 1)).unwrap();
    assert_eq!(kids(&store).len(), 2);
    wait(store.sweep(retired_at + LONGEST_TOKEN_LIFE_MS)).unwrap();
    assert_eq!(kids(&store), [new]);
}

#[test]
fn a_signer_goes_on_with_the_keys_it_knows_and_says_when_it_has_none() {
    let place = Place::new();
    let kid = ensure_kid(&place.open(), &secret('a'), 0);
    let signer = StoreSigner::new(place.open(), secret('a'));
    let stranger = StoreSigner::new(place.open(), secret('b'));
    assert_eq!(wait(stranger.signing_key(0)).err(), Some(StoreUnavailable));
    let signing_kid = |now_ms| wait(signer.signing_key(now_ms)).map(|key| key.kid().to_owned());
    assert_eq!(signing_kid(0), Ok(kid.clone()));
    place
        .sql()
        .execute_batch("ALTER TABLE signing_keys RENAME TO gone")
        .unwrap();
    assert_eq!(signing_kid(DAY_MS), Ok(kid.clone()));
    signer.reload();
    assert_eq!(signing_kid(DAY_MS), Ok(kid));
    let late = StoreSigner::new(place.open(), secret('a'));
    assert_eq!(wait(late.signing_key(0)).err(), Some(StoreUnavailable));
}

/// What each process of the next test does; nothing on its own.
#[test]
fn one_of_many_processes() {
    let Ok(path) = std::env::var(STORE_OF_CHILD) else {
        return;
    };
    let number = std::env::var(NUMBER_OF_CHILD).unwrap();
    let store = open_sqlite(path.as_ref()).unwrap().store;
    ensure_kid(&store, &secret('a'), 1);
    wait(claim_mode(&store, OwnershipMode::Personal)).unwrap();
    let device = format!("device-{number}");
    assert!(claim(&store, &device, "ada", "app", 1));
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
    assert_eq!(kids(&store).len(), 1);
    for number in 0..6 {
        let device = format!("device-{number}");
        assert!(!claim(&store, &device, "bob", "app", 1));
    }
}

/// Awaits with a bound: polling finds a change after a tenth of a second.
async fn soon(what: &str, change: impl Future<Output = ()>) {
    let bounded = tokio::time::timeout(Duration::from_secs(20), change);
    assert!(bounded.await.is_ok(), "{what}");
}

#[test]
fn a_change_by_this_process_or_another_is_noticed() {
    let place = Place::new();
    let (hub, other) = (
        open_sqlite(&place.path()).unwrap(),
        open_sqlite(&place.path()).unwrap(),
    );
    let OpenStore { store, changes, .. } = &hub;
    wait(async {
        store.set_meta("a", "1").await.unwrap();
        soon("an own change", changes.changed()).await;
    });
    // The file's count tells of an own change once more: only who has made none can tell that another one was noticed.
    let OpenStore { store, changes, .. } = &open_sqlite(&place.path()).unwrap();
    wait(async {
        other.store.set_meta("a", "2").await.unwrap();
        soon("a change elsewhere", changes.changed()).await;
        assert_eq!(store.find_meta("a").await, Ok(Some("2".to_owned())));
    });
}

fn claim(store: &SqlStore, device: &str, user: &str, client: &str, at: u64) -> bool {
    wait(store.claim_device(
        &OwnerId::parse("shared").unwrap(),
        &DeviceId::parse(device).unwrap(),
        &UserId::parse(user).unwrap(),
        &ClientId::parse(client).unwrap(),
        at,
    ))
    .unwrap()
}

#[test]
fn a_device_belongs_to_its_first_user_until_it_lapses() {
    let place = Place::new();
    let store = place.open();
    let claim = |device, user, client, at| claim(&store, device, user, client, at);
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
        assert!(claim(&store, "laptop", "ada", "app", at));
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
    let claim = |mode| wait(claim_mode(&place.open(), mode));
    claim(OwnershipMode::Shared).unwrap();
    claim(OwnershipMode::Shared).unwrap();
    let error = claim(OwnershipMode::Personal).unwrap_err();
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
    assert_eq!(wait(find_origin(&store)).unwrap(), None);
    for text in ["http://127.0.0.1:8787", "https://hub.example"] {
        let origin = PublicOrigin::parse(text).unwrap();
        wait(record_origin(&store, &origin)).unwrap();
        assert_eq!(wait(find_origin(&place.open())).unwrap(), Some(origin));
    }
}

#[test]
fn a_line_is_replaced_only_by_who_has_read_it() {
    let place = Place::new();
    let store = place.open();
    let replace = |expected, value| wait(store.replace_meta("a", expected, value)).unwrap();
    assert!(!replace(Some("1"), "2"));
    assert!(replace(None, "1"));
    assert!(!replace(None, "2"));
    assert!(replace(Some("1"), "2"));
    assert_eq!(wait(store.find_meta("a")), Ok(Some("2".to_owned())));
}

#[test]
fn a_lease_has_one_holder_and_a_new_epoch_each_time() {
    let place = Place::new();
    let store = place.open();
    let lease = |holder: &str, epoch, expires_at_ms| Lease {
        name: "rooms".to_owned(),
        holder: holder.to_owned(),
        url: format!("http://{holder}"),
        epoch,
        expires_at_ms,
    };
    let take = |holder, until, now| wait(store.take_lease(&lease(holder, 0, until), now)).unwrap();
    let renew =
        |holder, epoch, until| wait(store.renew_lease(&lease(holder, epoch, until))).unwrap();
    assert_eq!(wait(store.find_lease("rooms")), Ok(None));
    assert_eq!(take("a", 100, 0), Some(1));
    assert_eq!(take("b", 150, 99), None);
    assert!(renew("a", 1, 200));
    assert_eq!(take("b", 300, 199), None);
    assert_eq!(take("b", 300, 200), Some(2));
    assert!(!renew("a", 1, 400), "it was lost");
    assert_eq!(take("a", 400, 299), None);
    assert_eq!(take("b", 350, 299), Some(3), "the same holder, begun again");
    assert!(!renew("b", 2, 400));
    assert!(renew("b", 3, 0), "given up");
    assert_eq!(take("a", 400, 300), Some(4));
    assert_eq!(
        wait(store.find_lease("rooms")),
        Ok(Some(lease("a", 4, 400)))
    );
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
    let error = StoreError::from(open_sqlite(&place.path()).unwrap_err());
    assert_eq!(error.to_string(), "the identity store cannot be opened");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("has schema version 7 and this program knows versions up to 3"),
        "{cause}"
    );
}
