//! The secrets of a hub and its backups: sealed or not in it, and asked for where it is restored.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use epicenter_native::Hub;
use epicenter_native::backup::{BackupError, RestoreOptions, SecretsOutcome};
use epicenter_native::config::{HostConfig, SecretText};
use epicenter_native::data_dir::DataDirError;
use epicenter_testkit::PASSWORD;

use crate::backup::{
    PASSPHRASE, back_up, config_of, empty_place, passphrase, restore, start, user,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_private_and_holds_no_secret() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let plain = place.path().join("plain");
    let sealed = place.path().join("sealed");
    let secret = passphrase(PASSPHRASE);
    let made = back_up(config_of(&hub), &plain, None).unwrap();
    let named: Vec<_> = made.secrets.iter().map(|kept| kept.variable).collect();
    assert_eq!(named, ["ENCRYPTION_SECRETS", "AUTH_SECRET"]);
    assert!(
        made.secrets
            .iter()
            .all(|kept| kept.file.as_ref().unwrap().is_file())
    );
    let made = back_up(config_of(&hub), &sealed, Some(&secret)).unwrap();
    assert!(made.secrets.is_empty() && made.has_secrets);
    let secrets = ["encryption-secrets", "auth-secret"].map(|name| {
        let text = fs::read_to_string(hub.data_dir().join("secrets").join(name)).unwrap();
        text.trim().trim_start_matches("1:").to_owned()
    });
    for file in [&plain, &sealed] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = fs::read(file).unwrap();
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain([PASSPHRASE, PASSWORD])
        {
            let mut windows = bytes.windows(secret.len());
            assert!(!windows.any(|window| window == secret.as_bytes()));
        }
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_hub_waits_for_the_secrets_of_its_backup() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let (file, data) = (place.path().join("backup"), place.path().join("data"));
    back_up(config_of(&hub), &file, None).unwrap();
    let read = |name: &str| fs::read_to_string(hub.data_dir().join("secrets").join(name)).unwrap();
    let (encryption, auth) = (read("encryption-secrets"), read("auth-secret"));
    let restored = restore(&file, &data, RestoreOptions::default()).unwrap();
    assert_eq!(
        restored.secrets,
        SecretsOutcome::Awaited { are_sealed: false }
    );

    let secret = |text: &str| Some(SecretText(text.trim().to_owned().into()));
    let start = async |encryption: Option<SecretText>, auth: Option<SecretText>| {
        let mut config = HostConfig::for_tests(data.clone());
        config.encryption_secrets = encryption;
        config.auth_secret = auth;
        Hub::start(config).await
    };
    let refused = async |encryption, auth| {
        let error = start(encryption, auth).await.unwrap_err();
        let error = error.downcast::<DataDirError>().unwrap();
        assert!(!data.join("secrets").exists(), "none is made");
        match error {
            DataDirError::SecretAwaited { variable } => (variable, "awaited"),
            DataDirError::SecretUnexpected { variable, .. } => (variable, "unexpected"),
            error => panic!("{error}"),
        }
    };
    const OTHER: &str = "1:another-secret-of-thirty-two-bytes-and-more";
    const OTHER_AUTH: &str = "another-auth-secret-of-more-than-32-bytes";
    let right = secret(&encryption);
    let check = [
        (None, None, ("ENCRYPTION_SECRETS", "awaited")),
        (
            secret(OTHER),
            secret(&auth),
            ("ENCRYPTION_SECRETS", "unexpected"),
        ),
        // A new version beside nothing: the old one is what the data is under.
        (
            secret(&OTHER.replace("1:", "2:")),
            secret(&auth),
            ("ENCRYPTION_SECRETS", "unexpected"),
        ),
        (right.clone(), None, ("AUTH_SECRET", "awaited")),
        (
            right.clone(),
            secret(OTHER_AUTH),
            ("AUTH_SECRET", "unexpected"),
        ),
    ];
    for (encryption, auth, expect) in check {
        assert_eq!(refused(encryption, auth).await, expect);
    }
    // A backup of it would lose what it waits for.
    let error = back_up(
        HostConfig::for_tests(data.clone()),
        &place.path().join("x"),
        None,
    );
    assert!(matches!(error, Err(BackupError::DataDir(_))));
    // New versions beside the old ones are right, and from the first start on the usual rules hold.
    let longer = format!("{},{}", OTHER.replace("1:", "2:"), encryption.trim());
    let longer_auth = format!("2:{OTHER_AUTH},1:{}", auth.trim());
    let first = start(secret(&longer), secret(&longer_auth)).await.unwrap();
    first.shutdown().await;
    let second = start(secret(&longer), secret(OTHER_AUTH)).await.unwrap();
    second.shutdown().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_auth_secret_can_be_done_without() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let (file, data) = (place.path().join("backup"), place.path().join("data"));
    back_up(config_of(&hub), &file, None).unwrap();
    let options = RestoreOptions {
        any_auth_secret: true,
        ..RestoreOptions::default()
    };
    restore(&file, &data, options).unwrap();
    let mut config = HostConfig::for_tests(data);
    let text = fs::read_to_string(hub.data_dir().join("secrets/encryption-secrets")).unwrap();
    config.encryption_secrets = Some(SecretText(text.trim().to_owned().into()));
    Hub::start(config).await.unwrap().shutdown().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_are_not_the_hubs_make_no_backup() {
    let hub = start().await;
    user(&hub).await;
    let place = empty_place();
    let target = place.path().join("backup");
    let secret = |text: &str| Some(SecretText(text.to_owned().into()));
    let mut config = config_of(&hub);
    config.encryption_secrets = secret("1:another-secret-of-thirty-two-bytes-and-more");
    let error = back_up(config, &target, None).unwrap_err();
    assert!(
        matches!(
            error,
            BackupError::DataDir(DataDirError::SecretChanged { .. })
        ),
        "{error}"
    );
    let mut config = config_of(&hub);
    config.auth_secret = secret("another-auth-secret-of-more-than-32-bytes");
    let error = back_up(config, &target, None).unwrap_err();
    assert!(matches!(error, BackupError::OtherAuthSecret), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    hub.stop().await;
}
