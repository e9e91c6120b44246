//! Opening: who is refused, what is migrated, what messages must not hold.

use std::error::Error;

use epicenter_native::store::postgres::{OpenError, PostgresEngine, Upgrade};
use epicenter_server::accounts::store::Accounts as _;
use epicenter_store::SqlStore;
use epicenter_testkit::PostgresCluster;

/// The part of a URL behind the last slash.
fn name(url: &str) -> &str {
    url.rsplit('/').next().expect("a database")
}

/// An error in every form in which it may be logged.
fn everything_said(error: &OpenError) -> String {
    let mut said = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        said.push_str(&format!(" {inner} {inner:?}"));
        cause = inner.source();
    }
    said
}

#[tokio::test]
async fn a_new_database_is_migrated_and_opened_again_as_it_is() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let behind = PostgresEngine::open(&url, Upgrade::CheckOnly).await;
    assert!(matches!(behind, Err(OpenError::Behind { found: 0, .. })));
    assert_eq!(
        cluster.sql(name(&url), "SELECT to_regclass('meta')"),
        "",
        "a check changes nothing"
    );
    // Several processes start at once; one of them migrates.
    let (one, two) = tokio::join!(
        PostgresEngine::open(&url, Upgrade::Run),
        PostgresEngine::open(&url, Upgrade::Run)
    );
    one.and(two).expect("both open");
    PostgresEngine::open(&url, Upgrade::CheckOnly)
        .await
        .expect("it is up to date");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_left_alone() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    PostgresEngine::open(&url, Upgrade::Run)
        .await
        .expect("it opens");
    cluster.sql(
        name(&url),
        "UPDATE meta SET value = '99' WHERE key = 'schema_version'",
    );
    let newer = PostgresEngine::open(&url, Upgrade::Run).await;
    assert!(matches!(newer, Err(OpenError::Newer { found: 99, .. })));
    let version = "SELECT value FROM meta WHERE key = 'schema_version'";
    assert_eq!(cluster.sql(name(&url), version), "99");
}

#[tokio::test]
async fn a_server_that_forgets_is_refused() {
    let cluster = PostgresCluster::start();
    let url = cluster.database();
    cluster.sql(name(&url), "ALTER SYSTEM SET full_page_writes = off");
    cluster.sql(name(&url), "SELECT pg_reload_conf()");
    let database = name(&url).to_owned();
    let off = "SELECT current_setting('full_page_writes')";
    epicenter_testkit::soon("the setting", async {
        while cluster.sql(&database, off) != "off" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let opened = PostgresEngine::open(&url, Upgrade::Run).await;
    assert!(matches!(
        opened,
        Err(OpenError::NotDurable {
            setting: "full_page_writes",
            ..
        })
    ));
}

#[tokio::test]
async fn a_weak_default_of_the_database_is_overruled() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let weak = format!("ALTER DATABASE {} SET synchronous_commit = off", name(&url));
    cluster.sql("postgres", &weak);
    PostgresEngine::open(&url, Upgrade::Run)
        .await
        .expect("each connection says on");
}

#[tokio::test]
async fn the_unix_socket_is_a_way_in() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let url = cluster.socket_url(name(&url));
    let engine = PostgresEngine::open(&url, Upgrade::Run)
        .await
        .expect("it opens");
    let store = SqlStore::new(std::sync::Arc::new(engine));
    assert_eq!(store.has_accounts().await, Ok(false));
}

#[tokio::test]
async fn no_error_holds_the_password() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let wrong_user = url.replace("epicenter:", "nobody:");
    let unknown_database = format!("{url}_unknown");
    let needs_tls = format!("{url}?sslmode=require");
    let nobody_there = "postgres://epicenter:quite%2Fsecret%3F@127.0.0.1:1/hub".to_owned();
    for url in [wrong_user, unknown_database, needs_tls, nobody_there] {
        let error = PostgresEngine::open(&url, Upgrade::Run)
            .await
            .expect_err("refused");
        let said = everything_said(&error);
        assert!(said.contains("127.0.0.1"), "{said}");
        for secret in [cluster.password(), "quite", "secret%3F"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}
