//! A hub with a real store of accounts in memory, and browsers that keep their cookie.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use epicenter_encryption::{AuthSecret, RootKeyring};
use epicenter_identity::{UserId, personal};
use epicenter_server::Hub;
use epicenter_server::accounts::store::{
    Accounts as _, Act, Actor, Created, Door, Invitation, NewAccount,
};
use epicenter_server::ai::settings::AiConfig;
use epicenter_server::config::{
    AccountsConfig, HubConfig, OAuthConfig, PublicOrigin, RateLimitsConfig, SignUpPolicy,
};
use epicenter_server::peer::PeerAddress;
use epicenter_server::ports::{
    HashingError, PasswordCheck, PasswordHasher, PasswordProblem, Ports,
};
use epicenter_server::secret::Secret;
use epicenter_store::memory::MemoryStore;
use epicenter_update::Limits;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::hub::{NOW, Reply, Signer};
use crate::logs;
use crate::ports::{Counter, FakeHealth, FakeKeys, FakeRooms, FakeSigner, RingVerify, TestClock};

pub(crate) const ADA: &str = "ada@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const SIGN_IN: &str = "/auth/sign-in/email";
pub(crate) const SIGN_UP: &str = "/auth/sign-up/email";
pub(crate) const NOW_MS: u64 = NOW * 1_000;

type Hook = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A hasher whose every call is counted: what takes time in the real one.
#[derive(Default)]
pub(crate) struct CountingHasher {
    pub(crate) hashed: AtomicUsize,
    /// Checks of all kinds, those without a hash included.
    pub(crate) checked: AtomicUsize,
    /// Those of them without a hash.
    pub(crate) checked_nothing: AtomicUsize,
    pub(crate) busy: AtomicBool,
    pub(crate) broken: AtomicBool,
    /// Hashing waits until this is taken away.
    pub(crate) held: AtomicBool,
    pub(crate) waiting: AtomicUsize,
    /// Happens while the next password is checked.
    pub(crate) meanwhile: Mutex<Option<Hook>>,
}

/// What becomes of a password now, and what became of it before the parameters were raised.
pub(crate) fn hashed(password: &str) -> String {
    format!("new:{password}")
}

pub(crate) fn hashed_long_ago(password: &str) -> String {
    format!("old:{password}")
}

impl CountingHasher {
    async fn begin(&self) -> Result<(), HashingError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        if self.busy.load(Ordering::SeqCst) {
            return Err(HashingError::Busy);
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(HashingError::Failed);
        }
        Ok(())
    }
}

#[async_trait]
impl PasswordHasher for CountingHasher {
    fn check_new(&self, password: &str, email: &str) -> Result<(), PasswordProblem> {
        match password {
            "password" => Err(PasswordProblem::Trivial),
            password if password == email => Err(PasswordProblem::Trivial),
            password if password.len() < 8 => Err(PasswordProblem::TooShort),
            password if password.len() > 1_024 => Err(PasswordProblem::TooLong),
            _ => Ok(()),
        }
    }

    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashingError> {
        self.begin().await?;
        self.hashed.fetch_add(1, Ordering::SeqCst);
        Ok(hashed(&password))
    }

    async fn check(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<PasswordCheck, HashingError> {
        self.begin().await?;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        self.checked.fetch_add(1, Ordering::SeqCst);
        let Some(hash) = hash else {
            self.checked_nothing.fetch_add(1, Ordering::SeqCst);
            return Ok(PasswordCheck::Wrong);
        };
        Ok(if hash == hashed(&password) {
            PasswordCheck::Right { rehashed: None }
        } else if hash == hashed_long_ago(&password) {
            PasswordCheck::Right {
                rehashed: Some(hashed(&password)),
            }
        } else {
            PasswordCheck::Wrong
        })
    }
}

pub(crate) struct AccountsHub {
    router: Router,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) store: MemoryStore,
    pub(crate) passwords: Arc<CountingHasher>,
    pub(crate) signer: Arc<Signer>,
}

impl AccountsHub {
    /// Nobody has an account yet.
    pub(crate) fn empty(change: impl FnOnce(&mut HubConfig)) -> Self {
        logs::collect();
        let clock = Arc::new(TestClock::at(NOW_MS));
        let store = MemoryStore::new();
        let passwords = Arc::new(CountingHasher::default());
        let signer = Arc::new(Signer::new("key-1"));
        let keys = Arc::new(FakeKeys::default());
        keys.keys.lock().unwrap().push(signer.public());
        let mut config = config();
        change(&mut config);
        let ports = Ports {
            clock: clock.clone(),
            random: Arc::new(Counter::default()),
            verify: Arc::new(RingVerify::default()),
            signing_keys: keys,
            signer: Arc::new(FakeSigner::of(signer.clone())),
            passwords: passwords.clone(),
            accounts: Arc::new(store.clone()),
            sessions: Arc::new(store.clone()),
            grants: Arc::new(store.clone()),
            users: Arc::new(store.clone()),
            devices: Arc::new(store.clone()),
            rooms: Arc::new(FakeRooms::default()),
            health: Arc::new(FakeHealth::default()),
            ai: None,
            observer: Arc::new(epicenter_server::ports::Unobserved),
        };
        let (router, _) = Hub::router(config, ports);
        Self {
            router,
            clock,
            store,
            passwords,
            signer,
        }
    }

    /// Ada and bob have accounts.
    pub(crate) async fn with(change: impl FnOnce(&mut HubConfig)) -> Self {
        let hub = Self::empty(change);
        hub.add("ada", ADA, Some(hashed(PASSWORD)), true).await;
        let bob = Some(hashed("the password of bob"));
        hub.add("bob", "bob@example.com", bob, false).await;
        hub
    }

    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with_policy(policy: SignUpPolicy) -> Self {
        Self::with(|config| config.accounts.sign_up = policy).await
    }

    pub(crate) async fn add(&self, id: &str, email: &str, hash: Option<String>, admin: bool) {
        let account = NewAccount {
            id: user(id),
            email: email.to_owned(),
            email_verified: true,
            name: id.to_owned(),
            password_hash: hash,
            admin,
        };
        let created = self
            .store
            .create_account(&account, &Door::Operator, &operator())
            .await;
        assert_eq!(created, Ok(Created::Done));
    }

    /// A setup link that lives for half an hour.
    pub(crate) async fn setup_link(&self, token: &str) {
        let link = Secret::presented(token).hash();
        let put = self
            .store
            .put_setup_link(&link, NOW_MS + 1_800_000, &operator())
            .await;
        assert_eq!(put, Ok(true));
    }

    /// An invitation that lives for an hour.
    pub(crate) async fn invite(&self, token: &str, email: Option<&str>) {
        let invitation = Invitation {
            link: Secret::presented(token).hash(),
            email: email.map(str::to_owned),
            expires_at_ms: NOW_MS + 3_600_000,
        };
        let put = self.store.put_invitation(&invitation, &operator()).await;
        assert_eq!(put, Ok(()));
    }

    pub(crate) fn send(&self, request: Request<Body>) -> impl Future<Output = Reply> + use<> {
        let router = self.router.clone();
        async move {
            let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
                decision: None,
            }
        }
    }

    /// What the audit log says was done, in order, operators left out.
    pub(crate) fn audit(&self) -> Vec<(&'static str, Option<String>)> {
        self.store
            .audit()
            .into_iter()
            .filter(|line| line.act.actor != Actor::Operator)
            .map(|line| (line.what, line.about))
            .collect()
    }
}

fn config() -> HubConfig {
    HubConfig {
        origin: PublicOrigin::parse("https://hub.example").unwrap(),
        ownership: personal(),
        root_keyring: RootKeyring::parse("1:dGVzdGtleXRlc3RrZXl0ZXN0a2V5dGVzdGtleXk=").unwrap(),
        auth_secret: AuthSecret::parse("1:a secret of the tests, of 32 bytes or more").unwrap(),
        accounts: AccountsConfig::default(),
        oauth: OAuthConfig::default(),
        ai: AiConfig::default(),
        trusted_origins: vec!["https://app.example".to_owned()],
        rate_limits: RateLimitsConfig::default(),
        loopback_port: None,
        max_body_bytes: 5 << 20,
        update_limits: Limits::default(),
        runtime: "native",
        version: "0.1.0",
        source_url: "https://source.example".to_owned(),
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn operator() -> Act {
    Act {
        at_ms: NOW_MS,
        actor: Actor::Operator,
        ip: None,
    }
}

/// A browser: sends the cookie that it was given, and where its pages come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    /// `name=value`.
    pub(crate) cookie: Option<String>,
    pub(crate) ip: Option<IpAddr>,
}

impl Browser {
    pub(crate) fn at(ip: &str) -> Self {
        Self {
            cookie: None,
            ip: Some(ip.parse().unwrap()),
        }
    }

    /// A browser in which this person has signed in.
    pub(crate) async fn signed_in(hub: &AccountsHub, email: &str, password: &str) -> Self {
        let mut browser = Self::default();
        let body = serde_json::json!({ "email": email, "password": password });
        let reply = browser.post(hub, SIGN_IN, &body).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        browser
    }

    pub(crate) async fn ada(hub: &AccountsHub) -> Self {
        Self::signed_in(hub, ADA, PASSWORD).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "hub.example")
            .header("origin", "https://hub.example")
            .header("user-agent", "Test/1.0");
        if let Some(cookie) = &self.cookie {
            builder = builder.header("cookie", cookie);
        }
        if let Some(ip) = self.ip {
            builder = builder.extension(PeerAddress(ip));
        }
        builder
    }

    pub(crate) async fn post(&mut self, hub: &AccountsHub, path: &str, body: &Value) -> Reply {
        let request = self.json(path, body);
        let reply = hub.send(request).await;
        self.keep_cookie(&reply);
        reply
    }

    pub(crate) fn json(&self, path: &str, body: &Value) -> Request<Body> {
        self.request("POST", path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    }

    pub(crate) async fn get(&mut self, hub: &AccountsHub, path: &str) -> Reply {
        let request = self.request("GET", path).body(Body::empty()).unwrap();
        let reply = hub.send(request).await;
        self.keep_cookie(&reply);
        reply
    }

    /// Whom the hub takes this browser for.
    pub(crate) async fn who(&mut self, hub: &AccountsHub) -> Option<String> {
        let reply = self.get(hub, "/auth/get-session").await;
        assert_eq!(reply.status, 200);
        let json = reply.json();
        json["user"]["email"].as_str().map(str::to_owned)
    }

    fn keep_cookie(&mut self, reply: &Reply) {
        if let Some(line) = reply.header("set-cookie") {
            let pair = line.split(';').next().unwrap();
            let is_cleared = pair.ends_with('=');
            self.cookie = (!is_cleared).then(|| pair.to_owned());
        }
    }
}

/// Status and code of an error, which must be in the shape of these endpoints.
#[track_caller]
pub(crate) fn problem(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let json = reply.json();
    assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
    assert!(!json["message"].as_str().unwrap().is_empty());
    (
        reply.status.as_u16(),
        json["code"].as_str().unwrap().to_owned(),
    )
}

#[track_caller]
pub(crate) fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!(problem(reply), (status, code.to_owned()));
    assert_eq!(reply.header("set-cookie"), None);
}
