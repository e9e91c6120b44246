//! A hub in this process, on a free loopback port and a data directory of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use epicenter_native::Hub;
use epicenter_native::admin::{Administrator, NewUser};
use epicenter_native::config::{HostConfig, SecretText};
use epicenter_native::log::Log;
use tempfile::TempDir;

use crate::{DelayingLog, HttpRequest, TestSocket};

/// The password of every account that a [`TestHub`] makes.
pub const PASSWORD: &str = "correct horse battery";

/// A running hub; [`TestHub::stop`] ends it gracefully.
pub struct TestHub {
    hub: Hub,
    directory: TempDir,
    secrets: Secrets,
}

/// What the hub was given that is not in its data directory.
#[derive(Clone)]
struct Secrets {
    database_url: Option<SecretText>,
    auth: Option<SecretText>,
    encryption: Option<SecretText>,
}

impl std::fmt::Debug for TestHub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TestHub({})", self.address())
    }
}

/// An account with a token.
#[derive(Clone, Debug)]
pub struct TestUser {
    /// The address it was made with.
    pub email: String,
    /// Its rooms' owner.
    pub owner: String,
    /// An access token with every scope.
    pub token: String,
}

impl TestUser {
    /// Path of one of this user's rooms.
    pub fn room_path(&self, room: &str) -> String {
        format!("/api/owners/{}/rooms/{room}", self.owner)
    }
}

impl TestHub {
    /// Starts a hub with defaults.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a hub after `adjust` has seen its configuration.
    pub async fn start_with(adjust: impl FnOnce(&mut HostConfig)) -> Self {
        Self::start_in(temporary_directory(), adjust, |log| log).await
    }

    /// Starts a hub whose log stands behind a valve.
    pub async fn start_delayed() -> (Self, Arc<DelayingLog>) {
        let mut valve = None;
        let hub = Self::start_in(
            temporary_directory(),
            |_| {},
            |log| {
                let delaying = DelayingLog::around(log);
                valve = Some(Arc::clone(&delaying));
                delaying
            },
        )
        .await;
        (hub, valve.expect("the hub took its log"))
    }

    /// Starts a hub on the folder `data` of this directory, such as one that was restored there.
    pub async fn start_over(directory: TempDir, adjust: impl FnOnce(&mut HostConfig)) -> Self {
        Self::start_in(directory, adjust, |log| log).await
    }

    async fn start_in(
        directory: TempDir,
        adjust: impl FnOnce(&mut HostConfig),
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    ) -> Self {
        let mut config = HostConfig::for_tests(directory.path().join("data"));
        adjust(&mut config);
        let secrets = Secrets {
            database_url: config.database_url.clone(),
            auth: config.auth_secret.clone(),
            encryption: config.encryption_secrets.clone(),
        };
        let hub = Hub::start_with_log(config, wrap)
            .await
            .expect("the hub starts");
        Self {
            hub,
            directory,
            secrets,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.hub.address()
    }

    /// Where it serves metrics.
    ///
    /// # Panics
    /// When it does not.
    pub fn admin_address(&self) -> SocketAddr {
        self.hub.admin_address().expect("a listener for metrics")
    }

    /// The data directory.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// Makes an account, or finds it, and a token for it.
    ///
    /// # Panics
    /// When the hub refuses either.
    pub async fn user(&self, email: &str) -> TestUser {
        let token = self.token(email, 600);
        let session = HttpRequest::new("GET", "/api/session")
            .bearer(&token)
            .send(self.address())
            .await;
        assert_eq!(session.status, 200, "{session:?}");
        let owner = session.json()["ownerId"]
            .as_str()
            .expect("an owner")
            .to_owned();
        TestUser {
            email: email.to_owned(),
            owner,
            token,
        }
    }

    /// A token for an account, which is made when it does not exist.
    ///
    /// # Panics
    /// When the data directory does not take it.
    pub fn token(&self, email: &str, lifetime_s: u64) -> String {
        let origin = self.hub.origin();
        self.administer(|administrator| {
            if !administrator.has_user(email).expect("a readable store") {
                administrator
                    .add_user(NewUser {
                        email: email.to_owned(),
                        name: String::new(),
                        password: PASSWORD.to_owned().into(),
                        admin: true,
                    })
                    .expect("a new account");
            }
            administrator
                .mint_token(email, lifetime_s, origin)
                .expect("a token")
        })
    }

    /// Does an operator's work beside the hub.
    ///
    /// # Panics
    /// When its data cannot be opened, or the work panics.
    pub fn administer<T: Send>(&self, work: impl FnOnce(&Administrator) -> T + Send) -> T {
        let path = self.data_dir();
        // A thread of its own: an administrator brings a runtime, and tests have one already.
        let work = || work(&self.administrator(&path));
        std::thread::scope(|scope| scope.spawn(work).join().expect("the work"))
    }

    fn administrator(&self, path: &std::path::Path) -> Administrator {
        let Secrets {
            database_url, auth, ..
        } = &self.secrets;
        Administrator::open_with(path, auth.clone(), database_url.as_ref()).expect("the hub's data")
    }

    /// Opens a socket of a user and leaves it to the caller to read the greeting.
    pub async fn open(&self, user: &TestUser, room: &str, device: &str) -> TestSocket {
        let path = format!("{}?deviceId={device}", user.room_path(room));
        TestSocket::open(self.address(), &path, Some(&user.token)).await
    }

    /// Stops gracefully.
    pub async fn stop(self) {
        self.hub.shutdown().await;
    }

    /// Stops gracefully and starts again on the same data directory.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with another configuration.
    pub async fn restart_with(self, change: impl FnOnce(&mut HostConfig)) -> Self {
        let Self {
            hub,
            directory,
            secrets,
        } = self;
        hub.shutdown().await;
        let adjust = |config: &mut HostConfig| {
            config.database_url = secrets.database_url;
            config.auth_secret = secrets.auth;
            config.encryption_secrets = secrets.encryption;
            change(config);
        };
        Self::start_in(directory, adjust, |log| log).await
    }
}

fn temporary_directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
