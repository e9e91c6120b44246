//! A browser without JavaScript: one cookie, links, forms.

use axum::body::Body;
use epicenter_identity::{ClientId, Scopes, UserId, personal};
use epicenter_server::accounts::store::{Accounts as _, Act, Actor, Door, Invitation, NewAccount};
use epicenter_server::config::HubConfig;
use epicenter_server::oauth::clients::{ClientKind, OAuthClient, built_in};
use epicenter_server::secret::Secret;
use http::{HeaderMap, StatusCode};

use crate::hub::{NOW, ORIGIN, Reply, TestHub, request};
use crate::ports::hashed;

pub(crate) const PASSWORD: &str = "a long and winding phrase";
/// S256 of some verifier: 43 characters.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A hub with nobody in it, and apps of all kinds.
pub(crate) fn empty_hub(change: impl FnOnce(&mut HubConfig)) -> TestHub {
    TestHub::build(personal(), |config| {
        config.max_body_bytes = 65_536;
        let mut clients = built_in(&config.origin);
        clients.push(app("fuji", "Fuji", "https://fuji.example/cb", true));
        clients.push(app(
            "notes",
            "Notes",
            "https://notes.example:8443/cb",
            false,
        ));
        let mut bare = app("bare", "Bare", "https://bare.example/cb", false);
        bare.default_scopes = Scopes::NONE;
        clients.push(bare);
        clients.push(app("desk", "Desk", "desk-app://auth/callback", true));
        clients.push(app(
            "evil",
            "<script>alert(1)</script>&\"'",
            "https://evil.example/cb",
            false,
        ));
        config.oauth.clients = clients;
        change(config);
    })
}

fn app(id: &str, name: &str, redirect_uri: &str, trusted: bool) -> OAuthClient {
    OAuthClient {
        id: ClientId::parse(id).unwrap(),
        name: name.to_owned(),
        kind: ClientKind::UserAgentBased,
        redirect_uris: vec![redirect_uri.to_owned()],
        trusted,
        default_scopes: Scopes::parse_lenient("openid"),
        secret: None,
    }
}

/// A hub with ada's account.
pub(crate) async fn hub_of_ada() -> TestHub {
    let hub = empty_hub(|_| {});
    add_account(&hub, "Ada Lovelace").await;
    hub
}

/// The first account: ada@example.com under this name.
pub(crate) async fn add_account(hub: &TestHub, name: &str) {
    let account = NewAccount {
        id: UserId::parse("ada-of-the-store").unwrap(),
        email: "ada@example.com".to_owned(),
        email_verified: true,
        name: name.to_owned(),
        password_hash: Some(hashed(PASSWORD)),
        admin: true,
    };
    hub.store
        .create_account(&account, &Door::Operator, &operator())
        .await
        .unwrap();
}

pub(crate) async fn put_setup_link(hub: &TestHub, token: &str) {
    let link = Secret::presented(token).hash();
    let expires_at_ms = (NOW + 1_800) * 1_000;
    let act = operator();
    let is_put = hub.store.put_setup_link(&link, expires_at_ms, &act);
    assert!(is_put.await.unwrap());
}

pub(crate) async fn invite(hub: &TestHub, token: &str) {
    let invitation = Invitation {
        link: Secret::presented(token).hash(),
        email: None,
        expires_at_ms: (NOW + 3_600) * 1_000,
    };
    hub.store
        .put_invitation(&invitation, &operator())
        .await
        .unwrap();
}

fn operator() -> Act {
    Act {
        at_ms: NOW * 1_000,
        actor: Actor::Operator,
        ip: None,
    }
}

/// The path of an authorization request of this client.
pub(crate) fn authorize(client: &str, redirect_uri: &str, more: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", client)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_challenge", CHALLENGE)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", "st-1")
        .finish();
    format!("/auth/oauth2/authorize?{query}{more}")
}

pub(crate) struct Browser<'a> {
    hub: &'a TestHub,
    pub(crate) cookie: Option<String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(hub: &'a TestHub) -> Self {
        Self { hub, cookie: None }
    }

    /// A browser in which ada is signed in.
    pub(crate) async fn of_ada(hub: &'a TestHub) -> Self {
        let mut browser = Self::new(hub);
        let reply = browser.sign_in(PASSWORD, &[]).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        assert!(browser.cookie.is_some());
        browser
    }

    pub(crate) async fn sign_in(&mut self, password: &str, more: &[(&str, &str)]) -> Reply {
        let mut fields = vec![
            ("email", "ada@example.com"),
            ("password", password),
            ("remember", "true"),
        ];
        fields.extend(more);
        self.post("/sign-in", &fields).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, String::new(), ORIGIN).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_from(ORIGIN, path, fields).await
    }

    pub(crate) async fn post_from(
        &mut self,
        origin: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send("POST", path, body, origin).await
    }

    async fn send(&mut self, method: &str, path: &str, body: String, origin: &str) -> Reply {
        let mut builder = request(method, path).header("accept", "text/html,*/*;q=0.8");
        if method == "POST" {
            builder = builder
                .header("origin", origin)
                .header("content-type", "application/x-www-form-urlencoded");
        }
        if let Some(cookie) = &self.cookie {
            builder = builder.header("cookie", cookie);
        }
        let reply = self.hub.send(builder.body(Body::from(body)).unwrap()).await;
        self.keep_cookie(&reply.headers);
        reply
    }

    fn keep_cookie(&mut self, headers: &HeaderMap) {
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let pair = line.split(';').next().unwrap();
            let is_gone = line.contains("Max-Age=0");
            self.cookie = (!is_gone).then(|| pair.to_owned());
        }
    }
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn location(&self) -> &str {
        assert!(
            self.status.is_redirection(),
            "{}: {}",
            self.status,
            self.text()
        );
        self.header("location").unwrap()
    }

    /// The value of a hidden field.
    #[track_caller]
    pub(crate) fn hidden(&self, name: &str) -> String {
        let begin = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
        let (_, rest) = self.text().split_once(&begin).expect("the field is there");
        let (value, _) = rest.split_once('"').unwrap();
        value
            .replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&amp;", "&")
    }

    #[track_caller]
    pub(crate) fn assert_page(&self, status: u16, says: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(
            self.text().contains(says),
            "{says:?} is not in {}",
            self.text()
        );
    }
}
