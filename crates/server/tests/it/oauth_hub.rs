//! A hub with clients and a signed-in person, and the requests that clients and browsers make to it.

use std::collections::BTreeMap;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_identity::{ClientId, Scopes, UserId, personal};
use epicenter_server::accounts::store::{
    Accounts as _, Act, Actor, Created, Door, NewAccount, Session, SessionId, Sessions as _,
};
use epicenter_server::config::HubConfig;
use epicenter_server::oauth::clients::{ClientKind, OAuthClient, built_in, first_party_apps};
use epicenter_server::oauth::store::{Grant, Grants as _};
use epicenter_server::secret::Secret;
use form_urlencoded::Serializer;
use serde_json::Value;

use crate::hub::{NOW, Reply, TestHub, request};

pub(crate) const APP: &str = "epicenter-opensidian";
pub(crate) const APP_URI: &str = "https://opensidian.com/auth/callback";
pub(crate) const CLI: &str = "epicenter-cli";
pub(crate) const PASTED: &str = "https://hub.example/auth/cli-callback";
pub(crate) const LOOPBACK: &str = "http://127.0.0.1:49152/callback";
/// Neither trusted nor native.
pub(crate) const STRANGER: &str = "stranger";
pub(crate) const STRANGER_URI: &str = "https://stranger.example/cb";
/// Confidential.
pub(crate) const SERVER: &str = "server";
pub(crate) const SERVER_URI: &str = "https://server.example/cb?keep=1";
pub(crate) const SERVER_SECRET: &str = "a secret/with: odd+characters %20 in it";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const OPENID: &str = "openid profile email offline_access";
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const DAY: u64 = 86_400_000;

/// Changes of a request: a value to set, or `None` to leave the parameter out.
pub(crate) type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

pub(crate) struct OAuthHub {
    pub(crate) hub: TestHub,
    /// Ada's session.
    pub(crate) cookie: String,
}

impl OAuthHub {
    pub(crate) async fn new() -> Self {
        let hub = TestHub::build(personal(), configure);
        let created = hub
            .store
            .create_account(&account("ada"), &Door::Operator, &act())
            .await;
        assert_eq!(created, Ok(Created::Done));
        let party = Self {
            hub,
            cookie: String::new(),
        };
        let cookie = party.sign_in("session-1", NOW * 1_000).await;
        Self { cookie, ..party }
    }

    /// A session of ada's with this id; the cookie.
    pub(crate) async fn sign_in(&self, id: &str, authenticated_at_ms: u64) -> String {
        let secret = Secret::presented(&format!("secret of {id}").replace(' ', "-"));
        let session = Session {
            id: SessionId::new(id),
            user: ada(),
            created_at_ms: NOW * 1_000,
            updated_at_ms: NOW * 1_000,
            expires_at_ms: NOW * 1_000 + 60 * DAY,
            authenticated_at_ms,
            ip: None,
            user_agent: None,
            ends_with_browser: false,
        };
        let begun = self
            .hub
            .store
            .insert_session(&secret.hash(), &session, None, &act())
            .await;
        assert_eq!(begun, Ok(true));
        format!("__Host-epicenter_session={}", secret.expose())
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = request("GET", path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.hub.send(request.body(Body::empty()).unwrap()).await
    }

    /// A request for a code from ada's browser, changed.
    pub(crate) async fn authorize(&self, client: &str, uri: &str, changes: Changes<'_>) -> Reply {
        let path = authorize_path(client, uri, changes);
        self.get(&path, &[("cookie", &self.cookie)]).await
    }

    /// Where such a request leads.
    pub(crate) async fn step(&self, client: &str, uri: &str, changes: Changes<'_>) -> Location {
        let reply = self.authorize(client, uri, changes).await;
        assert_eq!(reply.status, 302, "{:?}", reply.body);
        Location::of(reply.header("location").unwrap())
    }

    pub(crate) async fn code(&self, client: &str, uri: &str, changes: Changes<'_>) -> String {
        let location = self.step(client, uri, changes).await;
        location.parameters["code"].clone()
    }

    /// A form to an endpoint for programs.
    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Reply {
        let mut request =
            request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        self.hub.send(request.body(Body::from(body)).unwrap()).await
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Reply {
        let reply = self.post("/auth/oauth2/token", &[], form).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("pragma"), Some("no-cache"));
        reply
    }

    /// Redeems a code of the app, changed.
    pub(crate) async fn redeem(&self, code: &str, changes: Changes<'_>) -> Reply {
        let mut form = BTreeMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", APP),
            ("code", code),
            ("redirect_uri", APP_URI),
            ("code_verifier", VERIFIER),
        ]);
        change(&mut form, changes);
        self.token(&form.into_iter().collect::<Vec<_>>()).await
    }

    /// Refreshes, as the app, changed.
    pub(crate) async fn refresh(&self, token: &str, changes: Changes<'_>) -> Reply {
        let mut form = BTreeMap::from([
            ("grant_type", "refresh_token"),
            ("client_id", APP),
            ("refresh_token", token),
        ]);
        change(&mut form, changes);
        self.token(&form.into_iter().collect::<Vec<_>>()).await
    }

    /// The app signs ada in; the answer.
    pub(crate) async fn signed_in(&self) -> Value {
        let code = self.code(APP, APP_URI, &[]).await;
        let reply = self.redeem(&code, &[]).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()
    }

    /// A refresh that must work: its refresh token.
    #[track_caller]
    pub(crate) fn next(reply: &Reply) -> String {
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()["refresh_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn grants(&self) -> Vec<Grant> {
        let now_ms = self.now_ms();
        self.hub.store.list_grants(&ada(), now_ms).await.unwrap()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        use epicenter_server::ports::Clock as _;
        self.hub.clock.now_ms()
    }

    /// The status of `/api/session` for a bearer.
    pub(crate) async fn api(&self, token: &str) -> u16 {
        let reply = self.hub.call("GET", "/api/session", token, b"").await;
        reply.status.as_u16()
    }
}

/// A `Location`, taken apart.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) base: String,
    pub(crate) query: String,
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Location {
    pub(crate) fn of(text: &str) -> Self {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        Self {
            base: base.to_owned(),
            query: query.to_owned(),
            parameters: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        }
    }

    #[track_caller]
    pub(crate) fn assert_error(&self, base: &str, error: &str) {
        assert_eq!(self.base, base, "{self:?}");
        assert_eq!(self.parameters["error"], error, "{self:?}");
    }
}

#[track_caller]
pub(crate) fn assert_failure(reply: &Reply, status: u16, error: &str) {
    assert_eq!(reply.status, status, "{:?}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json = reply.json();
    assert_eq!(json["error"], error);
    assert!(json["error_description"].is_string());
}

pub(crate) fn authorize_path(client: &str, uri: &str, changes: Changes<'_>) -> String {
    let mut query = BTreeMap::from([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", uri),
        ("scope", OPENID),
        ("state", "st1"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    change(&mut query, changes);
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    format!("/auth/oauth2/authorize?{query}")
}

fn change<'a>(parameters: &mut BTreeMap<&'a str, &'a str>, changes: Changes<'a>) {
    for (name, value) in changes {
        match value {
            Some(value) => parameters.insert(name, value),
            None => parameters.remove(name),
        };
    }
}

/// Header and claims of a token, which is not verified.
pub(crate) fn read_token(token: &str) -> (Value, Value) {
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let mut parts = token.split('.');
    (read(parts.next().unwrap()), read(parts.next().unwrap()))
}

fn configure(config: &mut HubConfig) {
    config.max_body_bytes = 100_000;
    config.rate_limits.enabled = false;
    let mut clients = built_in(&config.origin);
    clients.extend(first_party_apps(&config.origin));
    clients.push(client(STRANGER, STRANGER_URI, ClientKind::UserAgentBased));
    clients.push(OAuthClient {
        trusted: true,
        secret: Some(Secret::presented(SERVER_SECRET).hash()),
        ..client(SERVER, SERVER_URI, ClientKind::Web)
    });
    config.oauth.clients = clients;
}

fn client(id: &str, uri: &str, kind: ClientKind) -> OAuthClient {
    OAuthClient {
        id: ClientId::parse(id).unwrap(),
        name: id.to_owned(),
        kind,
        redirect_uris: vec![uri.to_owned()],
        trusted: false,
        default_scopes: Scopes::NONE,
        secret: None,
    }
}

pub(crate) fn ada() -> UserId {
    UserId::parse("ada").unwrap()
}

fn account(id: &str) -> NewAccount {
    NewAccount {
        id: UserId::parse(id).unwrap(),
        email: format!("{id}@example.com"),
        email_verified: true,
        name: id.to_owned(),
        password_hash: None,
        admin: true,
    }
}

pub(crate) fn act() -> Act {
    Act {
        at_ms: NOW * 1_000,
        actor: Actor::Operator,
        ip: None,
    }
}
