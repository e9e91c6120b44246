//! The bodies of the account endpoints, and where they may send a browser.

use std::sync::atomic::Ordering;

use axum::body::Body;
use epicenter_server::config::SignUpPolicy;
use epicenter_server::oauth::clients::built_in;
use serde_json::{Value, json};

use crate::accounts_hub::{
    ADA, AccountsHub, Browser, PASSWORD, SIGN_IN, SIGN_UP, assert_problem, problem,
};
use crate::hub::Reply;

async fn send(hub: &AccountsHub, path: &str, media_type: Option<&str>, body: &[u8]) -> Reply {
    let mut builder = Browser::default().request("POST", path);
    if let Some(media_type) = media_type {
        builder = builder.header("content-type", media_type);
    }
    hub.send(builder.body(Body::from(body.to_vec())).unwrap())
        .await
}

async fn sign_in(hub: &AccountsHub, field: &str, value: Value) -> Reply {
    let mut body = json!({ "email": ADA, "password": PASSWORD });
    body[field] = value;
    Browser::default().post(hub, SIGN_IN, &body).await
}

#[tokio::test]
async fn the_probe_answers() {
    let hub = AccountsHub::empty(|_| {});
    let reply = Browser::default().get(&hub, "/auth/ok").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "ok": true }))
    );
}

#[tokio::test]
async fn bodies_are_json_or_forms() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    let json = json!({ "email": ADA, "password": PASSWORD }).to_string();
    let form = "email=Ada%40example.com&password=correct+horse%20battery&rememberMe=false";
    for (media_type, body) in [
        ("application/json", json.as_str()),
        ("Application/JSON; charset=utf-8", json.as_str()),
        ("application/x-www-form-urlencoded", form),
        ("application/x-www-form-urlencoded;charset=UTF-8", form),
    ] {
        let reply = send(&hub, SIGN_IN, Some(media_type), body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{media_type}");
        let line = reply.header("set-cookie").unwrap();
        assert_eq!(line.contains("Max-Age"), body == json, "{media_type}");
    }
    let form = b"email=kim%40example.com&name=K%C3%AFm&password=a+password+of+kim";
    let reply = send(
        &hub,
        SIGN_UP,
        Some("application/x-www-form-urlencoded"),
        form,
    )
    .await;
    assert_eq!(reply.json()["user"]["name"], json!("Kïm"));
}

/// A page elsewhere can make a browser send these without asking the hub first.
#[tokio::test]
async fn json_under_another_name_is_refused() {
    let hub = AccountsHub::new().await;
    let body = json!({ "email": ADA, "password": PASSWORD }).to_string();
    for media_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("text/plain; application/json"),
        Some("multipart/form-data"),
        Some("application/jsonx"),
    ] {
        let reply = send(&hub, SIGN_IN, media_type, body.as_bytes()).await;
        assert_problem(&reply, 415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn malformed_bodies_are_the_clients_fault_and_are_not_quoted() {
    let hub = AccountsHub::new().await;
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"text\"",
        r#"{"email":"ada@example.com","password":"hunter2!""#,
        r#"{"email":"ada@example.com","password":"hunter2!"}}"#,
        "{\"email\":\"ada@example.com\",\"password\":\"hunter2!\u{0}\"}",
    ] {
        let reply = send(&hub, SIGN_IN, Some("application/json"), body.as_bytes()).await;
        assert_problem(&reply, 400, "VALIDATION_ERROR");
        assert!(!String::from_utf8_lossy(&reply.body).contains("hunter2"));
    }
    for body in [
        &b"\xff"[..],
        b"email=%FF&password=x",
        b"email=%zz&password=x",
        b"email=ada%40example.com&email=bob%40example.com&password=x",
        b"password=x",
        b"email=x",
        b"email=x&password=x&rememberMe=maybe",
    ] {
        let media_type = Some("application/x-www-form-urlencoded");
        let reply = send(&hub, SIGN_IN, media_type, body).await;
        assert_problem(&reply, 400, "VALIDATION_ERROR");
    }
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_missing_or_wrong_field_is_named() {
    let hub = AccountsHub::new().await;
    let message = |reply: &Reply| reply.json()["message"].as_str().unwrap().to_owned();
    let reply = send(
        &hub,
        SIGN_UP,
        Some("application/json"),
        br#"{"email":"a@b","password":"x"}"#,
    )
    .await;
    assert_problem(&reply, 400, "VALIDATION_ERROR");
    assert_eq!(
        message(&reply),
        "[body.name] Invalid input: expected string, received undefined"
    );
    for (field, value, expect) in [
        ("email", json!(null), "expected string, received undefined"),
        ("email", json!(1), "expected string, received number"),
        (
            "password",
            json!({ "$ne": "" }),
            "expected string, received object",
        ),
        ("password", json!(["x"]), "expected string, received array"),
        (
            "rememberMe",
            json!("true"),
            "expected boolean, received string",
        ),
        (
            "callbackURL",
            json!(true),
            "expected string, received boolean",
        ),
        ("oauth_query", json!({}), "expected string, received object"),
    ] {
        let reply = sign_in(&hub, field, value).await;
        assert_problem(&reply, 400, "VALIDATION_ERROR");
        assert_eq!(
            message(&reply),
            format!("[body.{field}] Invalid input: {expect}")
        );
    }
}

#[tokio::test]
async fn a_large_body_is_not_read() {
    let hub = AccountsHub::new().await;
    let body = |bytes: usize| {
        let frame = json!({ "email": "", "password": "" }).to_string().len();
        json!({ "email": "", "password": "x".repeat(bytes - frame) }).to_string()
    };
    let media_type = Some("application/json");
    let fits = send(&hub, SIGN_IN, media_type, body(65_536).as_bytes()).await;
    assert_eq!(fits.status, 401);
    let over = send(&hub, SIGN_IN, media_type, body(65_537).as_bytes()).await;
    assert_eq!(over.status, 413);
}

#[tokio::test]
async fn a_sign_in_goes_on_where_the_client_wants() {
    let hub = AccountsHub::new().await;
    for callback in [
        "/x",
        "/x?next=%2F%2Fa#b",
        "https://hub.example/x",
        "https://app.example/done",
    ] {
        let reply = sign_in(&hub, "callbackURL", json!(callback)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("location"), Some(callback));
        assert_eq!(reply.json()["redirect"], json!(true));
        assert_eq!(reply.json()["url"], json!(callback));
    }
    let reply = sign_in(&hub, "callbackURL", json!(null)).await;
    assert_eq!(reply.header("location"), None);
    assert!(reply.json().get("url").is_none());
}

/// The whole list of tricks is in `accounts/rules.rs`; here it is that they are asked about, and before the password.
#[tokio::test]
async fn a_sign_in_never_leads_to_a_foreign_page() {
    let hub = AccountsHub::new().await;
    for callback in [
        "",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/%2fevil.example",
        "/x\r\nSet-Cookie: a=b",
        "https://evil.example",
        "https://hub.example.evil.example",
        "https://hub.example@evil.example",
        "javascript:alert(1)",
    ] {
        let reply = sign_in(&hub, "callbackURL", json!(callback)).await;
        assert_problem(&reply, 403, "INVALID_CALLBACK_URL");
    }
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn other_methods_and_paths_are_none() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::default();
    assert_eq!(browser.get(&hub, SIGN_IN).await.status, 405);
    assert_eq!(
        browser
            .get(&hub, "/auth/revoke-other-sessions")
            .await
            .status,
        405
    );
    assert_eq!(browser.get(&hub, "/auth/sign-out").await.status, 405);
    let reply = browser.post(&hub, SIGN_IN, &json!({})).await;
    assert_eq!(problem(&reply).0, 400);
}

async fn hub_with_clients() -> AccountsHub {
    AccountsHub::with(|config| {
        config.oauth.clients = built_in(&config.origin);
        config.rate_limits.enabled = false;
    })
    .await
}

/// The signed query that an app's request becomes for a browser without a session.
async fn pending_query(hub: &AccountsHub) -> String {
    let authorize = concat!(
        "/auth/oauth2/authorize?response_type=code&client_id=epicenter-cli&state=st1",
        "&redirect_uri=https%3A%2F%2Fhub.example%2Fauth%2Fcli-callback",
        "&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
    );
    let reply = Browser::default().get(hub, authorize).await;
    let location = reply.header("location").unwrap();
    location.strip_prefix("/sign-in?").unwrap().to_owned()
}

#[tokio::test]
async fn a_sign_in_answers_the_request_of_an_app_that_waits() {
    let hub = hub_with_clients().await;
    let query = pending_query(&hub).await;
    let reply = sign_in(&hub, "oauth_query", json!(query)).await;
    assert_eq!(reply.status, 302);
    let location = reply.header("location").unwrap();
    let callback = "https://hub.example/auth/cli-callback?";
    assert!(location.starts_with(callback), "{location}");
    assert!(
        location.contains("code=") && location.contains("state=st1"),
        "{location}"
    );
    assert!(reply.header("set-cookie").is_some());
}

#[tokio::test]
async fn a_request_that_was_changed_or_is_too_old_costs_no_attempt() {
    let hub = hub_with_clients().await;
    let query = pending_query(&hub).await;
    for changed in [
        String::new(),
        query.replace("st1", "st2"),
        query.replace("hub.example", "evil.example"),
        query.split("&sig=").next().unwrap().to_owned(),
    ] {
        let reply = sign_in(&hub, "oauth_query", json!(changed)).await;
        assert_problem(&reply, 400, "INVALID_OAUTH_QUERY");
    }
    hub.clock.advance(600_001);
    let reply = sign_in(&hub, "oauth_query", json!(query)).await;
    assert_problem(&reply, 400, "INVALID_OAUTH_QUERY");
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}
