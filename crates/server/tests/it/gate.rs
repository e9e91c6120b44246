//! What stands before every route: origins, foreign pages, single credentials, limits, headers, and what was revoked.

use axum::body::Body;
use epicenter_identity::{ClientId, Scopes};
use epicenter_identity::{GrantId, UserId, personal};
use epicenter_server::accounts::store::{
    Accounts as _, Act, Actor, Door, NewAccount, Session, SessionId, Sessions as _,
};
use epicenter_server::config::PublicOrigin;
use epicenter_server::oauth::clients::{ClientKind, OAuthClient};
use epicenter_server::oauth::store::{Grant, Grants as _, RevocationReason};
use epicenter_server::secret::Secret;
use serde_json::json;

use crate::hub::{HOST, NOW, ORIGIN, Reply, TestHub, request, upgrade};

const ROOM: &str = "/api/owners/ada/rooms/notes";
const COOKIE: &str = "__Host-epicenter_session";
const FOREIGN: &str = "https://evil.example";

fn act() -> Act {
    Act {
        at_ms: NOW * 1_000,
        actor: Actor::Operator,
        ip: None,
    }
}

/// A person in the store with a living session; the cookie that names it.
async fn sign_in(hub: &TestHub, id: &str) -> String {
    let user = UserId::parse(id).unwrap();
    let account = NewAccount {
        id: user.clone(),
        email: format!("{id}@example.com"),
        email_verified: true,
        name: id.to_owned(),
        password_hash: None,
        admin: true,
    };
    hub.store
        .create_account(&account, &Door::Operator, &act())
        .await
        .unwrap();
    let token = Secret::presented(&format!("session-secret-of-{id}"));
    let session = Session {
        id: SessionId::new(format!("session{id}")),
        user,
        created_at_ms: NOW * 1_000,
        updated_at_ms: NOW * 1_000,
        expires_at_ms: NOW * 1_000 + 3_600_000,
        authenticated_at_ms: NOW * 1_000,
        ip: None,
        user_agent: None,
        ends_with_browser: false,
    };
    let begun = hub
        .store
        .insert_session(&token.hash(), &session, None, &act())
        .await;
    assert!(begun.unwrap());
    format!("{COOKIE}={}", token.expose())
}

async fn send(hub: &TestHub, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut builder = request(method, path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    hub.send(builder.body(Body::empty()).unwrap()).await
}

fn app(kind: ClientKind, trusted: bool, redirect_uris: &[&str]) -> OAuthClient {
    OAuthClient {
        id: ClientId::parse("app").unwrap(),
        name: "App".to_owned(),
        kind,
        redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
        trusted,
        default_scopes: Scopes::NONE,
        secret: None,
    }
}

#[track_caller]
fn assert_readable(reply: &Reply, origin: Option<&str>) {
    assert_eq!(reply.header("access-control-allow-origin"), origin);
    assert_eq!(
        reply.header("access-control-allow-credentials"),
        Some("true")
    );
    let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
    assert!(vary.iter().any(|line| *line == "Origin"), "{vary:?}");
    let exposed = "ETag,X-Request-Id,Retry-After,WWW-Authenticate";
    assert_eq!(
        reply.header("access-control-expose-headers"),
        origin.map(|_| exposed)
    );
}

#[tokio::test]
async fn listed_origins_may_read_answers_and_others_may_not() {
    let hub = TestHub::build(personal(), |config| {
        config.trusted_origins = vec![
            "https://app.example".to_owned(),
            "chrome-extension://abc".to_owned(),
            "null".to_owned(),
        ];
        config.oauth.clients = vec![
            app(
                ClientKind::UserAgentBased,
                true,
                &[
                    "https://first.example/auth/callback",
                    "http://localhost:5174/auth/callback",
                    "http://plain.example/callback",
                    "app-name://auth/callback",
                    "chrome-extension://ext/",
                ],
            ),
            app(
                ClientKind::UserAgentBased,
                false,
                &["https://third.example/cb"],
            ),
            app(ClientKind::Web, true, &["https://server.example/cb"]),
        ];
    });
    for origin in [
        ORIGIN,
        "https://app.example",
        "chrome-extension://abc",
        "https://first.example",
        "chrome-extension://ext",
    ] {
        assert_readable(
            &send(&hub, "GET", "/", &[("origin", origin)]).await,
            Some(origin),
        );
    }
    for origin in [
        FOREIGN,
        "null",
        "https://hub.example.evil.example",
        "https://hub.example:8443",
        "http://hub.example",
        "HTTPS://hub.example",
        "https://app.example/",
        "http://localhost:5174",
        "http://plain.example",
        "app-name://auth",
        "https://third.example",
        "https://server.example",
        "",
    ] {
        assert_readable(&send(&hub, "GET", "/", &[("origin", origin)]).await, None);
    }
    let two = [("origin", ORIGIN), ("origin", "https://app.example")];
    assert_readable(&send(&hub, "GET", "/", &two).await, None);
    // Also on refusals of every layer, and without an Origin.
    assert_readable(&send(&hub, "GET", "/nowhere", &[]).await, None);
    let refused = send(&hub, "GET", ROOM, &[("origin", ORIGIN)]).await;
    refused.assert_error(401, "InvalidToken");
    assert_readable(&refused, Some(ORIGIN));
    hub.rooms.respond(|_| panic!("a room"));
    let failed = request("GET", ROOM).header("origin", ORIGIN).header(
        "authorization",
        format!("Bearer {}", hub.signer.token("ada")),
    );
    let failed = hub.send(failed.body(Body::empty()).unwrap()).await;
    failed.assert_error(500, "InternalError");
    assert_readable(&failed, Some(ORIGIN));
}

#[tokio::test]
async fn pages_on_localhost_are_trusted_by_a_hub_on_localhost_only() {
    let clients = vec![app(
        ClientKind::UserAgentBased,
        true,
        &["http://localhost:5174/auth/callback"],
    )];
    let hub = TestHub::build(personal(), |config| {
        config.origin = PublicOrigin::parse("http://localhost:8787").unwrap();
        config.loopback_port = Some(8787);
        config.oauth.clients = clients;
    });
    let reply = http::Request::builder()
        .uri("/")
        .header("host", "localhost:8787")
        .header("origin", "http://localhost:5174");
    let reply = hub.send(reply.body(Body::empty()).unwrap()).await;
    assert_readable(&reply, Some("http://localhost:5174"));
    assert_eq!(reply.header("strict-transport-security"), None);
}

#[tokio::test]
async fn preflights_are_answered_for_any_path_before_any_credential_is_looked_at() {
    let hub = TestHub::personal();
    hub.store.fail(true);
    for path in ["/", ROOM, "/auth/oauth2/token", "/nowhere"] {
        for origin in [ORIGIN, FOREIGN, "null"] {
            let reply = send(
                &hub,
                "OPTIONS",
                path,
                &[
                    ("origin", origin),
                    ("access-control-request-method", "POST"),
                    ("access-control-request-headers", "authorization"),
                ],
            )
            .await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
            assert_readable(&reply, (origin == ORIGIN).then_some(ORIGIN));
            assert_eq!(
                reply.header("access-control-allow-methods"),
                Some("GET,POST,PUT,DELETE,OPTIONS")
            );
            assert_eq!(
                reply.header("access-control-allow-headers"),
                Some("Content-Type,Authorization,Upgrade,If-None-Match,X-Run-Id")
            );
        }
    }
    // For another host there is not even that.
    let evil = http::Request::builder()
        .method("OPTIONS")
        .uri("/")
        .header("host", "evil.example")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST");
    let evil = hub.send(evil.body(Body::empty()).unwrap()).await;
    evil.assert_error(421, "MisdirectedRequest");
}

#[tokio::test]
async fn upgrades_know_no_cors() {
    let hub = TestHub::personal();
    for path in ["/api/owners/ada/rooms/notes?deviceId=d", "/api/session"] {
        let reply = upgrade(path).header("origin", ORIGIN).body(Body::empty());
        let reply = hub.send(reply.unwrap()).await;
        for name in [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "vary",
        ] {
            assert_eq!(reply.header(name), None, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_with_or_without_a_cookie() {
    let hub = TestHub::personal();
    let cookie = sign_in(&hub, "dora").await;
    let refused: [&[(&str, &str)]; 10] = [
        // Signing somebody in to the attacker's account takes no cookie.
        &[("origin", FOREIGN)],
        &[("origin", "null")],
        &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        &[("origin", "")],
        &[("origin", ORIGIN), ("origin", FOREIGN)],
        &[("origin", FOREIGN), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[("origin", "http://hub.example")],
    ];
    for path in [
        "/sign-in",
        "/auth/sign-in/email",
        "/auth/sign-out",
        "/nowhere",
        ROOM,
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            for headers in refused {
                let reply = send(&hub, method, path, headers).await;
                reply.assert_error(403, "ForbiddenOrigin");
                let mut with_cookie = headers.to_vec();
                with_cookie.push(("cookie", &cookie));
                let reply = send(&hub, method, path, &with_cookie).await;
                reply.assert_error(403, "ForbiddenOrigin");
            }
            // With neither header: no browser of today, but an old one would bring its cookie, whatever its name.
            for cookie in [cookie.as_str(), "other=1"] {
                let reply = send(&hub, method, path, &[("cookie", cookie)]).await;
                reply.assert_error(403, "ForbiddenOrigin");
            }
        }
    }
}

#[tokio::test]
async fn pages_of_ours_people_and_programs_pass() {
    let hub = TestHub::personal();
    let cookie = sign_in(&hub, "dora").await;
    let passing: [&[(&str, &str)]; 6] = [
        &[],
        &[("origin", ORIGIN), ("cookie", &cookie)],
        &[("origin", ORIGIN), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("cookie", &cookie)],
        &[("sec-fetch-site", "none"), ("cookie", &cookie)],
        // No page can attach a bearer that it was not given.
        &[("origin", FOREIGN), ("authorization", "Bearer x")],
    ];
    for headers in passing {
        let reply = send(&hub, "POST", "/nowhere", headers).await;
        reply.assert_error(404, "NotFound");
    }
    for path in [
        "/auth/oauth2/token",
        "/auth/oauth2/revoke",
        "/auth/oauth2/introspect",
    ] {
        let headers = [("origin", FOREIGN), ("sec-fetch-site", "cross-site")];
        let reply = send(&hub, "POST", path, &headers).await;
        assert_ne!(reply.status, 403, "{path}");
    }
    // Another scheme is no bearer.
    let basic = [("origin", FOREIGN), ("authorization", "Basic YTpi")];
    let reply = send(&hub, "POST", "/nowhere", &basic).await;
    reply.assert_error(403, "ForbiddenOrigin");
    // Reading is the browser's to guard.
    for method in ["GET", "HEAD", "OPTIONS"] {
        let reply = send(&hub, method, "/nowhere", &[("origin", FOREIGN)]).await;
        assert_eq!(reply.status, 404);
    }
}

#[tokio::test]
async fn a_living_session_beside_a_bearer_is_one_credential_too_many() {
    let hub = TestHub::personal();
    let cookie = sign_in(&hub, "dora").await;
    let bearer = format!("Bearer {}", hub.signer.token("ada"));
    for bearer in [bearer.as_str(), "Bearer bad"] {
        for path in ["/api/session", ROOM, "/", "/nowhere"] {
            let both = [("cookie", cookie.as_str()), ("authorization", bearer)];
            let reply = send(&hub, "GET", path, &both).await;
            reply.assert_error(400, "MultipleCredentials");
        }
    }
    // Other cookies, one that names no session, two that differ, and the name that plain http has are no credentials.
    let twice = format!("{cookie}; {COOKIE}=other");
    let plain = cookie.replace("__Host-", "");
    for cookie in [
        "theme=dark",
        "__Host-epicenter_session=forged",
        &twice,
        &plain,
    ] {
        let both = [("cookie", cookie), ("authorization", bearer.as_str())];
        let reply = send(&hub, "GET", "/api/session", &both).await;
        assert_eq!(reply.status, 200, "{cookie}");
        assert_eq!(reply.json()["user"]["id"], "ada");
    }
    // Without a session cookie nobody asks the store; with one that cannot be judged nothing goes on.
    hub.store.fail(true);
    let alone = [("authorization", bearer.as_str())];
    assert_eq!(send(&hub, "GET", "/api/session", &alone).await.status, 200);
    let both = [
        ("cookie", cookie.as_str()),
        ("authorization", bearer.as_str()),
    ];
    let reply = send(&hub, "GET", "/api/session", &both).await;
    reply.assert_error(503, "StorageUnavailable");
    hub.store.fail(false);
    // A session that is over is none.
    hub.clock.advance(3_600_000);
    let bearer = hub
        .signer
        .token_with("ada", |_, claims| claims["exp"] = json!(NOW + 9_000));
    let bearer = format!("Bearer {bearer}");
    let both = [
        ("cookie", cookie.as_str()),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(send(&hub, "GET", "/api/session", &both).await.status, 200);
}

#[tokio::test]
async fn the_session_bridge_takes_a_cookie_and_rooms_do_not() {
    let hub = TestHub::personal();
    let cookie = sign_in(&hub, "dora").await;
    let with = [("cookie", cookie.as_str())];
    let reply = send(&hub, "GET", "/api/session", &with).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let session = reply.json();
    assert_eq!(
        session["user"],
        json!({ "id": "dora", "email": "dora@example.com" })
    );
    assert_eq!(session["ownerId"], "dora");
    assert_eq!(session["keyring"].as_array().unwrap().len(), 1);
    let room = send(&hub, "GET", "/api/owners/dora/rooms/notes", &with).await;
    room.assert_error(401, "InvalidToken");

    for cookie in [
        "__Host-epicenter_session=forged",
        "epicenter_session=x",
        "a=b",
    ] {
        let reply = send(&hub, "GET", "/api/session", &[("cookie", cookie)]).await;
        reply.assert_error(401, "InvalidToken");
    }
    hub.store.fail(true);
    let reply = send(&hub, "GET", "/api/session", &with).await;
    reply.assert_error(503, "ServerError");
    hub.store.fail(false);
    let dora = UserId::parse("dora").unwrap();
    assert!(hub.store.set_enabled(&dora, false, &act()).await.unwrap());
    let reply = send(&hub, "GET", "/api/session", &with).await;
    reply.assert_error(401, "InvalidToken");

    let shared = TestHub::shared();
    let cookie = sign_in(&shared, "dora").await;
    let reply = send(&shared, "GET", "/api/session", &[("cookie", &cookie)]).await;
    assert_eq!(reply.json()["ownerId"], "shared");
}

#[tokio::test]
async fn forms_are_small_and_documents_may_be_large() {
    let hub = TestHub::build(personal(), |config| config.max_body_bytes = 1_000_000);
    let post = async |path: &str, bytes: usize| {
        let request = request("POST", path)
            .header("content-length", bytes)
            .header(
                "authorization",
                format!("Bearer {}", hub.signer.token("ada")),
            )
            .body(Body::from(vec![0; bytes]));
        hub.send(request.unwrap()).await
    };
    let reply = post("/nowhere", 64 * 1024 + 1).await;
    reply.assert_error(413, "PayloadTooLarge");
    post("/nowhere", 64 * 1024)
        .await
        .assert_error(404, "NotFound");
    post(ROOM, 64 * 1024 + 1)
        .await
        .assert_error(400, "MalformedSyncBody");
}

#[tokio::test]
async fn oauth_endpoints_hear_refusals_in_their_own_form() {
    let hub = TestHub::personal();
    let announced = [("content-length", "65537")];
    let reply = send(&hub, "POST", "/auth/oauth2/token", &announced).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.json()["error"], "invalid_request");
    assert!(reply.json().get("data").is_none());
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    let reply = send(&hub, "GET", "/auth/oauth2/userinfo", &two).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["error"]),
        (400, &json!("invalid_request"))
    );
}

#[tokio::test]
async fn every_answer_forbids_guessing_types_and_asks_for_https() {
    let hub = TestHub::personal();
    for path in ["/", "/nowhere", ROOM, "/auth/jwks"] {
        let reply = send(&hub, "GET", path, &[]).await;
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            reply.header("strict-transport-security"),
            Some("max-age=63072000")
        );
        assert_eq!(
            reply.header("content-security-policy"),
            None,
            "{path} is no page"
        );
    }
}

#[tokio::test]
async fn people_are_led_to_the_sign_in_page() {
    let hub = TestHub::personal();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for accept in [browser, "application/xml, TEXT/HTML;q=0.9"] {
        let reply = send(&hub, "GET", "/", &[("accept", accept)]).await;
        assert_eq!(reply.status, 303);
        assert_eq!(reply.header("location"), Some("/sign-in"));
    }
    for accept in ["*/*", "application/json", "text/htmlx"] {
        let reply = send(&hub, "GET", "/", &[("accept", accept)]).await;
        assert_eq!(reply.status, 200, "{accept}");
    }
}

async fn grant(hub: &TestHub, id: &str, user: &str) -> GrantId {
    let id = GrantId::parse(id).unwrap();
    let grant = Grant {
        id: id.clone(),
        user: UserId::parse(user).unwrap(),
        client: ClientId::parse("epicenter-cli").unwrap(),
        scopes: Scopes::all(),
        requested_scope: String::new(),
        resource: ORIGIN.to_owned(),
        session: None,
        authenticated_at_ms: NOW * 1_000,
        created_at_ms: NOW * 1_000,
        expires_at_ms: NOW * 1_000 + 3_600_000,
        revoked: false,
        version: 0,
    };
    hub.store.insert_grant(&grant, &act()).await.unwrap();
    id
}

#[tokio::test]
async fn a_revoked_grant_ends_its_tokens_and_no_other() {
    let hub = TestHub::personal();
    sign_in(&hub, "dora").await;
    let first = grant(&hub, "grant-1", "dora").await;
    grant(&hub, "grant-2", "dora").await;
    let token_of = |grant: &str| {
        hub.signer
            .token_with("dora", |_, claims| claims["gid"] = json!(grant))
    };
    let (one, two) = (token_of("grant-1"), token_of("grant-2"));
    for token in [&one, &two] {
        assert_eq!(
            hub.call("GET", "/api/session", token, b"").await.status,
            200
        );
    }
    let revoked = hub
        .store
        .revoke_grant(&first, RevocationReason::SignedOut, &act())
        .await;
    assert!(revoked.unwrap());
    hub.hear();
    let reply = hub.call("GET", "/api/session", &one, b"").await;
    reply.assert_error(401, "InvalidToken");
    // One that was never seen before, and one issued later: a grant does not come back.
    let later = hub.signer.token_with("dora", |_, claims| {
        claims["gid"] = json!("grant-1");
        claims["iat"] = json!(NOW + 60);
    });
    let reply = hub.call("GET", "/api/session", &later, b"").await;
    reply.assert_error(401, "InvalidToken");
    let socket = upgrade("/api/owners/dora/rooms/notes?deviceId=d")
        .header("authorization", format!("Bearer {one}"))
        .body(Body::empty());
    assert_eq!(hub.send(socket.unwrap()).await.closed().0, 4401);
    assert_eq!(hub.call("GET", "/api/session", &two, b"").await.status, 200);
}

#[tokio::test]
async fn a_disabled_person_is_out_at_once_and_back_with_new_tokens() {
    let hub = TestHub::personal();
    sign_in(&hub, "dora").await;
    let dora = UserId::parse("dora").unwrap();
    let old = hub.signer.token("dora");
    assert_eq!(hub.call("GET", "/api/session", &old, b"").await.status, 200);
    hub.store.set_enabled(&dora, false, &act()).await.unwrap();
    hub.hear();
    // Whatever was remembered about the person, also for a token that the revocation does not reach.
    let newer = hub.signer.token_with("dora", |_, claims| {
        claims["iat"] = json!(NOW + 1);
        claims["gid"] = json!("grant-9");
    });
    for token in [&old, &newer] {
        let reply = hub.call("GET", "/api/session", token, b"").await;
        reply.assert_error(401, "InvalidToken");
    }
    hub.store.set_enabled(&dora, true, &act()).await.unwrap();
    hub.hear();
    let reply = hub.call("GET", "/api/session", &old, b"").await;
    reply.assert_error(401, "InvalidToken");
    assert_eq!(
        hub.call("GET", "/api/session", &newer, b"").await.status,
        200
    );
}

#[tokio::test]
async fn a_silent_feed_makes_tokens_unverifiable_and_never_invalid() {
    let hub = TestHub::personal();
    hub.silence_feed();
    hub.clock.advance(4_999);
    assert_eq!(hub.get("/api/session").await.status, 200);
    hub.clock.advance(1);
    let reply = hub.get("/api/session").await;
    reply.assert_error(503, "ServerError");
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert_eq!(reply.header("www-authenticate"), None);
    let socket = upgrade(&format!("{ROOM}?deviceId=d"))
        .header(
            "authorization",
            format!("Bearer {}", hub.signer.token("ada")),
        )
        .body(Body::empty());
    assert_eq!(hub.send(socket.unwrap()).await.closed().0, 4503);
    // What no feed could make good stays bad.
    let reply = hub.call("GET", "/api/session", "bad", b"").await;
    reply.assert_error(401, "InvalidToken");
    hub.hear();
    assert_eq!(hub.get("/api/session").await.status, 200);
}

#[tokio::test]
async fn a_request_for_another_host_touches_no_store() {
    let hub = TestHub::personal();
    hub.store.fail(true);
    let request = http::Request::builder()
        .uri("/api/session")
        .header("host", "evil.example")
        .header("cookie", format!("{COOKIE}=x"))
        .header("authorization", "Bearer x");
    let reply = hub.send(request.body(Body::empty()).unwrap()).await;
    reply.assert_error(421, "MisdirectedRequest");
    assert_ne!(HOST, "evil.example");
}
