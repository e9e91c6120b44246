//! A hub for tests: the real router over ports in memory, and a signer of real ES256 tokens.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use epicenter_encryption::{AuthSecret, RootKeyring};
use epicenter_identity::{Admit, OwnershipRule, personal, shared};
use epicenter_server::Hub;
use epicenter_server::ai::settings::AiConfig;
use epicenter_server::config::{
    AccountsConfig, HubConfig, OAuthConfig, PublicOrigin, RateLimitsConfig,
};
use epicenter_server::ports::{
    AiPorts, Clock as _, Ports, PublicKey, SigningKey, StoreUnavailable,
};
use epicenter_server::upgrade::UpgradeDecision;
use epicenter_store::memory::MemoryStore;
use epicenter_update::Limits;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::logs;
use crate::ports::{
    Counter, FakeDevices, FakeHealth, FakeKeys, FakePasswords, FakeRooms, FakeSigner, FakeUsers,
    RingVerify, TestClock, TestFeed,
};

pub(crate) const ORIGIN: &str = "https://hub.example";
pub(crate) const HOST: &str = "hub.example";
/// 2027-01-15T08:00:00Z, in seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const MAX_BODY: usize = 1_000;

/// A pair that signs tokens.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let document = document.unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self {
            kid: kid.to_owned(),
            pair: pair.unwrap(),
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        let point = self.pair.public_key().as_ref().try_into().unwrap();
        PublicKey {
            kid: self.kid.clone(),
            point,
        }
    }

    /// A token of exactly these parts.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A good token of this person, changed by the function.
    pub(crate) fn token_with(
        &self,
        user: &str,
        change: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.kid });
        let mut claims = json!({
            "iss": format!("{ORIGIN}/auth"),
            "aud": ORIGIN,
            "sub": user,
            "client_id": "epicenter-cli",
            "scope": "rooms.read rooms.write keyring ai account",
            "iat": NOW,
            "exp": NOW + 600,
            "gid": "grant-1",
        });
        change(&mut header, &mut claims);
        self.sign(&header.to_string(), &claims.to_string())
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.token_with(user, |_, _| {})
    }

    pub(crate) fn token_with_scope(&self, user: &str, scope: &str) -> String {
        self.token_with(user, |_, claims| claims["scope"] = json!(scope))
    }
}

impl SigningKey for Signer {
    fn kid(&self) -> &str {
        &self.kid
    }

    fn sign_es256(&self, message: &[u8]) -> Result<[u8; 64], StoreUnavailable> {
        let signature = self.pair.sign(&SystemRandom::new(), message).unwrap();
        Ok(signature.as_ref().try_into().unwrap())
    }
}

pub(crate) fn encode(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// The router and everything behind it.
pub(crate) struct TestHub {
    router: Router,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) verify: Arc<RingVerify>,
    pub(crate) keys: Arc<FakeKeys>,
    pub(crate) users: Arc<FakeUsers>,
    pub(crate) devices: Arc<FakeDevices>,
    pub(crate) rooms: Arc<FakeRooms>,
    pub(crate) health: Arc<FakeHealth>,
    /// Accounts, sessions and grants.
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) passwords: Arc<FakePasswords>,
    pub(crate) signer: Arc<Signer>,
    feed: TestFeed,
}

impl TestHub {
    /// Two users, ada and bob, each with rooms of their own.
    pub(crate) fn personal() -> Self {
        Self::build(personal(), |_| {})
    }

    /// Ada and bob are admitted by their domain, eve is not.
    pub(crate) fn shared() -> Self {
        let admit = Admit {
            emails: Vec::new(),
            domains: vec!["example.com".to_owned()],
        };
        let hub = Self::build(shared(admit), |_| {});
        hub.users.add("eve");
        hub.users
            .change("eve", |eve| eve.email = "eve@elsewhere.example".to_owned());
        hub
    }

    pub(crate) fn build(ownership: OwnershipRule, change: impl FnOnce(&mut HubConfig)) -> Self {
        Self::build_with_ai(ownership, change, |_| None)
    }

    /// A hub whose AI lives by its clock.
    pub(crate) fn build_with_ai(
        ownership: OwnershipRule,
        change: impl FnOnce(&mut HubConfig),
        ai: impl FnOnce(&Arc<TestClock>) -> Option<AiPorts>,
    ) -> Self {
        logs::collect();
        let clock = Arc::new(TestClock::at(NOW * 1_000));
        let verify = Arc::new(RingVerify::default());
        let keys = Arc::new(FakeKeys::default());
        let store = Arc::new(MemoryStore::new());
        let users = Arc::new(FakeUsers::of(store.clone()));
        let devices = Arc::new(FakeDevices::default());
        let rooms = Arc::new(FakeRooms::default());
        let health = Arc::new(FakeHealth::default());
        let passwords = Arc::new(FakePasswords::default());
        let signer = Arc::new(Signer::new("key-1"));
        let signing = Arc::new(FakeSigner::of(signer.clone()));
        keys.keys.lock().unwrap().push(signer.public());
        users.add("ada");
        users.add("bob");
        let mut config = HubConfig {
            origin: PublicOrigin::parse(ORIGIN).unwrap(),
            ownership,
            root_keyring: RootKeyring::parse("1:dGVzdGtleXRlc3RrZXl0ZXN0a2V5dGVzdGtleXk=").unwrap(),
            auth_secret: AuthSecret::parse("1:a secret of the tests, of 32 bytes or more").unwrap(),
            accounts: AccountsConfig::default(),
            oauth: OAuthConfig::default(),
            ai: AiConfig::default(),
            trusted_origins: Vec::new(),
            rate_limits: RateLimitsConfig::default(),
            loopback_port: None,
            max_body_bytes: MAX_BODY,
            update_limits: Limits::default(),
            runtime: "native",
            version: "0.1.0",
            source_url: "https://source.example".to_owned(),
        };
        change(&mut config);
        let ports = Ports {
            clock: clock.clone(),
            random: Arc::new(Counter::default()),
            verify: verify.clone(),
            signing_keys: keys.clone(),
            signer: signing,
            passwords: passwords.clone(),
            accounts: store.clone(),
            sessions: store.clone(),
            grants: store.clone(),
            users: users.clone(),
            devices: devices.clone(),
            rooms: rooms.clone(),
            health: health.clone(),
            ai: ai(&clock),
            observer: Arc::new(epicenter_server::ports::Unobserved),
        };
        let (router, revocations) = Hub::router(config, ports);
        let feed = TestFeed {
            store: store.clone(),
            revocations: revocations.clone(),
        };
        clock.drive(Some(feed.clone()));
        Self {
            router,
            clock,
            verify,
            keys,
            users,
            devices,
            rooms,
            health,
            store,
            passwords,
            signer,
            feed,
        }
    }

    /// Brings what the store has revoked; time that moves does it too.
    pub(crate) fn hear(&self) {
        self.feed.hear(self.clock.now_ms());
    }

    /// From now on the feed brings nothing, not even that there is nothing.
    pub(crate) fn silence_feed(&self) {
        self.clock.drive(None);
    }

    /// Answers without reading the body.
    pub(crate) async fn respond(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) fn send(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Reply> + Send + 'static {
        let router = self.router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap();
            let (mut parts, body) = response.into_parts();
            let decision = parts.extensions.remove::<UpgradeDecision>();
            let body = body.collect().await.unwrap().to_bytes();
            Reply {
                status: parts.status,
                headers: parts.headers,
                body,
                decision,
            }
        }
    }

    /// A request with a bearer of this token.
    pub(crate) async fn call(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Reply {
        let request = request(method, path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.to_vec()));
        self.send(request.unwrap()).await
    }

    /// `GET` with ada's good token.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &self.signer.token("ada"), b"").await
    }
}

/// A request for the hub's origin.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", HOST)
}

/// A browser's upgrade request.
pub(crate) fn upgrade(path: &str) -> http::request::Builder {
    request("GET", path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) decision: Option<UpgradeDecision>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error of the envelope, which must be there.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let json = self.json();
        assert!(json["data"].is_null());
        assert_eq!(json["error"]["status"], json!(self.status.as_u16()));
        assert!(
            json["error"]["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
        (
            self.status.as_u16(),
            json["error"]["name"].as_str().unwrap().to_owned(),
        )
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, name: &str) {
        assert_eq!(self.error(), (status, name.to_owned()));
    }

    /// Close code and reason of a refused upgrade.
    #[track_caller]
    pub(crate) fn closed(&self) -> (u16, String) {
        assert_eq!(self.status, StatusCode::SWITCHING_PROTOCOLS);
        assert!(self.body.is_empty());
        match &self.decision {
            Some(UpgradeDecision::Refuse { code, reason }) => {
                assert!(reason.len() <= 123, "{reason}");
                (code.as_u16(), reason.clone())
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_closed(&self, code: u16, reason: &str) {
        assert_eq!(self.closed(), (code, reason.to_owned()));
    }
}
