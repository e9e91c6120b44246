//! Hubs and commands that do not belong to the others on their database: each is refused with what to do, and nothing of
//! the others changes.

use std::path::Path;

use epicenter_native::Hub;
use epicenter_native::admin::{AdminError, Administrator};
use epicenter_native::config::{HostConfig, Mode, PublicOrigin};
use epicenter_native::data_dir::DataDirError;
use epicenter_native::identity_store::{ModeError, OriginError, StoreError};
use epicenter_native::store::postgres::OpenError;
use epicenter_testkit::{HttpRequest, PostgresCluster, TestHub};

use crate::processes::{configure, secret_text, start};

/// Why a hub that is configured like the others but for `adjust` does not start.
async fn refusal(url: &str, adjust: impl FnOnce(&mut HostConfig)) -> anyhow::Error {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = HostConfig::for_tests(directory.path().join("data"));
    configure(&mut config, url);
    adjust(&mut config);
    Hub::start(config).await.expect_err("it does not belong")
}

fn keys(cluster: &PostgresCluster, url: &str) -> String {
    let database = url.rsplit('/').next().expect("a database");
    cluster.sql(database, "SELECT count(*) FROM signing_keys")
}

fn administrator(
    path: &Path,
    secret: Option<&str>,
    url: &str,
) -> Result<Administrator, AdminError> {
    Administrator::open_with(path, secret.map(secret_text), Some(&secret_text(url)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_with_other_secrets_mode_or_origin_does_not_start() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let hub = start(&url).await;

    let error = refusal(&url, |config| {
        config.auth_secret = Some(secret_text("an auth secret that no other process has"));
    })
    .await;
    let error = error.downcast_ref::<StoreError>();
    assert!(
        matches!(error, Some(StoreError::OtherAuthSecret)),
        "{error:?}"
    );

    let error = refusal(&url, |config| config.auth_secret = None).await;
    assert!(
        matches!(
            error.downcast_ref(),
            Some(DataDirError::SecretNotShared {
                variable: "AUTH_SECRET",
                ..
            })
        ),
        "{error:?}"
    );

    let error = refusal(&url, |config| config.encryption_secrets = None).await;
    assert!(
        matches!(
            error.downcast_ref(),
            Some(DataDirError::SecretNotShared {
                variable: "ENCRYPTION_SECRETS",
                ..
            })
        ),
        "{error:?}"
    );

    let error = refusal(&url, |config| {
        let other = "1:an encryption secret that no other process has";
        config.encryption_secrets = Some(secret_text(other));
    })
    .await;
    assert!(
        matches!(
            error.downcast_ref(),
            Some(DataDirError::SecretChanged { version: 1, .. })
        ),
        "{error:?}"
    );

    let error = refusal(&url, |config| {
        config.set_mode(Mode::Shared {
            admit: Default::default(),
            cross_user_dispatch: false,
        });
    })
    .await;
    assert!(
        matches!(error.downcast_ref(), Some(ModeError::Other { .. })),
        "{error:?}"
    );

    let elsewhere = |config: &mut HostConfig| {
        config.public_origin = PublicOrigin::parse("https://elsewhere.example").ok();
    };
    let error = refusal(&url, elsewhere).await;
    assert!(
        matches!(error.downcast_ref(), Some(OriginError::Other { .. })),
        "{error:?}"
    );

    assert_eq!(keys(&cluster, &url), "1");
    hub.stop().await;
    // Nobody serves any more, so the hub may move.
    let moved = TestHub::start_with(|config| {
        configure(config, &url);
        elsewhere(config);
    });
    moved.await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_used_stops_the_start_without_its_password() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let nobody_there = "postgres://epicenter:quite%2Fsecret%3F@127.0.0.1:1/hub".to_owned();
    let unknown = format!("{url}_unknown");
    let malformed = format!("{url}?sslmode=perhaps");
    for url in [nobody_there, unknown, malformed] {
        let error = refusal(&url, |_| {}).await;
        let said = format!("{error:#} {error:?}");
        for secret in [cluster.password(), "quite", "secret%3F"] {
            assert!(!said.contains(secret), "{said}");
        }
        let Some(StoreError::Postgres(cause)) = error.downcast_ref() else {
            panic!("{said}");
        };
        assert!(cause.hint().contains("DATABASE_URL"), "{}", cause.hint());
    }
    let database = url.rsplit('/').next().expect("a database");
    let newer = "UPDATE meta SET value = '99' WHERE key = 'schema_version'";
    cluster.sql(database, newer);
    let error = refusal(&url, |_| {}).await;
    assert!(
        matches!(
            error.downcast_ref(),
            Some(StoreError::Postgres(OpenError::Newer { found: 99, .. }))
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_the_database_and_the_secret_and_no_data_directory() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let hub = start(&url).await;
    let ada = hub.user("ada@example.org").await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("none");
    let mint = |secret: Option<&str>| {
        let open = || {
            let administrator = administrator(&path, secret, &url)?;
            let origin = administrator.recorded_origin()?;
            administrator.mint_token(&ada.email, 600, &origin)
        };
        // A thread of its own: an administrator brings a runtime.
        std::thread::scope(|scope| scope.spawn(open).join().expect("the command ends"))
    };
    let token = mint(Some("the auth secret that all the processes share"));
    let session = HttpRequest::new("GET", "/api/session").bearer(&token.expect("a token"));
    assert_eq!(session.send(hub.address()).await.status, 200);

    let error = mint(Some("an auth secret that no other process has"));
    let error = error.expect_err("a secret of nobody");
    assert!(
        matches!(error, AdminError::Store(StoreError::OtherAuthSecret)),
        "{error:?}"
    );
    let error = mint(None).expect_err("no secret");
    assert!(
        matches!(
            error,
            AdminError::DataDir(DataDirError::SecretNotShared { .. })
        ),
        "{error:?}"
    );
    assert_eq!(keys(&cluster, &url), "1");
    assert!(!path.exists(), "nothing was made");
    hub.stop().await;
}
