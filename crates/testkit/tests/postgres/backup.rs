//! Backup, restore and doctor of a hub whose accounts are in PostgreSQL: rooms first, and the rest is `pg_dump`'s.

use std::path::Path;

use epicenter_native::backup::{
    self, BackupError, IdentityOutcome, IdentityPart, Made, RestoreOptions,
};
use epicenter_native::config::{HostConfig, Loaded, Sources};
use epicenter_native::doctor;
use epicenter_store::schema::MIGRATIONS;
use epicenter_testkit::{HttpRequest, PostgresCluster, TestHub, Typist};
use epicenter_update::lib0::write_var_bytes;

use crate::processes::{configure, secret_text, start, until_it_serves};

/// A thread of its own: commands bring a runtime, and the test has one already.
fn beside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().expect("the work"))
}

fn back_up(config: HostConfig, target: &Path) -> Result<Made, BackupError> {
    let sources = Sources::new();
    beside(|| backup::create(&Loaded { config, sources }, target, None))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rooms_are_backed_up_and_accounts_are_left_to_pg_dump() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let hub = start(&url).await;
    let ada = hub.user("ada@example.test").await;
    until_it_serves(&hub, &ada).await;
    let mut body = vec![1, 0];
    write_var_bytes(&mut body, &Typist::new(1).types("hello"));
    let push = HttpRequest::new("POST", ada.room_path("notes")).bearer(&ada.token);
    assert_eq!(push.body(body).send(hub.address()).await.status, 200);

    let mut config = HostConfig::for_tests(hub.data_dir());
    configure(&mut config, &url);
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("backup");
    let mut other = config.clone();
    other.auth_secret = Some(secret_text(
        "an auth secret that no process has, of 32 bytes",
    ));
    let refused = back_up(other, &file).expect_err("another secret");
    assert!(matches!(refused, BackupError::OtherAuthSecret), "{refused}");
    let made = back_up(config.clone(), &file).expect("a backup");
    let schema = MIGRATIONS.len() as u64;
    assert_eq!(made.identity, IdentityPart::Postgres { schema });
    assert_eq!((made.totals.rooms, made.totals.identity_rows), (1, 0));
    assert!(made.is_audited, "in the database");
    let report = beside(|| doctor::examine(&config)).expect("a report");
    assert!(report.findings.is_empty(), "{report:?}");
    assert_eq!(report.examined.signing_keys, 1);

    let data = place.path().join("data");
    let restored = beside(|| backup::restore(&file, &data, RestoreOptions::default()));
    let restored = restored.expect("a data directory");
    assert_eq!(restored.identity, IdentityOutcome::Postgres { schema });
    assert!(!data.join("identity.db").exists());
    hub.stop().await;
    // What an operator does after `pg_restore`: nobody who was signed in still is.
    let again = TestHub::start_over(place, |config| configure(config, &url)).await;
    until_it_serves(&again, &ada).await;
    again.administer(|administrator| administrator.sign_everybody_out().map(drop).expect("ended"));
    let begun = std::time::Instant::now();
    let session = HttpRequest::new("GET", "/api/session").bearer(&ada.token);
    while session.clone().send(again.address()).await.status != 401 {
        assert!(begun.elapsed() < epicenter_testkit::DEADLINE);
    }
    let ada = again.user("ada@example.test").await;
    let snapshot = HttpRequest::new("GET", ada.room_path("notes")).bearer(&ada.token);
    let state = snapshot.send(again.address()).await;
    assert!(String::from_utf8_lossy(&state.body).contains("hello"));
    again.stop().await;
}
