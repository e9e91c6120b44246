//! What a person does with their sessions: list, extend, end, and change the password behind them.

use std::sync::atomic::Ordering;

use epicenter_identity::{ClientId, GrantId, Scopes};
use epicenter_server::accounts::store::{Accounts as _, Sessions as _};
use epicenter_server::oauth::store::{Grant, Grants as _};
use epicenter_server::revocations::Subject;
use serde_json::{Value, json};

use crate::accounts_hub::{
    ADA, AccountsHub, Browser, NOW_MS, PASSWORD, assert_problem, hashed, operator, user,
};

const DAY_MS: u64 = 86_400_000;
const CHANGE: &str = "/auth/change-password";
const NEW: &str = "another long password";

fn change(current: &str, new: &str) -> Value {
    json!({ "currentPassword": current, "newPassword": new })
}

/// Stores a grant that an app of this person holds.
async fn grant(hub: &AccountsHub, id: &str, of: &str) {
    let grant = Grant {
        id: GrantId::parse(id).unwrap(),
        user: user(of),
        client: ClientId::parse("epicenter-cli").unwrap(),
        scopes: Scopes::all(),
        requested_scope: String::new(),
        resource: "https://hub.example".to_owned(),
        session: None,
        authenticated_at_ms: NOW_MS,
        created_at_ms: NOW_MS,
        expires_at_ms: NOW_MS + 365 * DAY_MS,
        revoked: false,
        version: 0,
    };
    hub.store.insert_grant(&grant, &operator()).await.unwrap();
}

async fn grants(hub: &AccountsHub, of: &str) -> usize {
    let grants = hub.store.list_grants(&user(of), NOW_MS).await.unwrap();
    grants.len()
}

#[tokio::test]
async fn a_session_is_extended_once_a_day_and_ends_a_week_after_its_last_use() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    hub.clock.advance(DAY_MS - 1);
    let reply = browser.get(&hub, "/auth/get-session").await;
    assert_eq!(reply.header("set-cookie"), None);
    hub.clock.advance(1);
    let cookie = browser.cookie.clone();
    let reply = browser.get(&hub, "/auth/get-session").await;
    let line = reply.header("set-cookie").unwrap();
    assert!(line.ends_with("; Max-Age=604800"), "{line}");
    assert_eq!(browser.cookie, cookie, "the same secret");
    assert_eq!(
        reply.json()["session"]["expiresAt"],
        json!("2027-01-23T08:00:00.000Z")
    );
    assert_eq!(
        browser
            .get(&hub, "/auth/get-session")
            .await
            .header("set-cookie"),
        None
    );
    hub.clock.advance(7 * DAY_MS - 1);
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
    hub.clock.advance(7 * DAY_MS);
    assert_eq!(browser.who(&hub).await, None);
}

#[tokio::test]
async fn get_session_tells_session_and_account_or_null() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::at("192.0.2.1");
    let nobody = browser.get(&hub, "/auth/get-session").await;
    assert_eq!((nobody.status.as_u16(), nobody.json()), (200, Value::Null));
    assert_eq!(nobody.header("cache-control"), Some("no-store"));
    let form = json!({ "email": ADA, "password": PASSWORD });
    let token = browser
        .post(&hub, "/auth/sign-in/email", &form)
        .await
        .json()["token"]
        .clone();
    let reply = browser.get(&hub, "/auth/get-session").await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        reply.json()["session"],
        json!({
            "id": token, "token": token, "userId": "ada",
            "createdAt": "2027-01-15T08:00:00.000Z", "updatedAt": "2027-01-15T08:00:00.000Z",
            "expiresAt": "2027-01-22T08:00:00.000Z",
            "ipAddress": "192.0.2.1", "userAgent": "Test/1.0",
        })
    );
    assert_eq!(reply.json()["user"]["id"], json!("ada"));
    let secret = browser.cookie.unwrap();
    let secret = secret.split_once('=').unwrap().1;
    assert!(!String::from_utf8_lossy(&reply.body).contains(secret));
}

#[tokio::test]
async fn what_a_browser_says_of_itself_is_cut() {
    let hub = AccountsHub::new().await;
    let browser = Browser::default();
    let mut request = browser.json(
        "/auth/sign-in/email",
        &json!({ "email": ADA, "password": PASSWORD }),
    );
    let long = "x".repeat(5_000);
    request
        .headers_mut()
        .insert("user-agent", long.parse().unwrap());
    assert_eq!(hub.send(request).await.status, 200);
    let sessions = hub.store.list_sessions(&user("ada"), NOW_MS).await.unwrap();
    assert_eq!(sessions[0].user_agent.as_ref().map(String::len), Some(512));
}

#[tokio::test]
async fn signing_out_ends_this_browser_and_no_app() {
    let hub = AccountsHub::new().await;
    grant(&hub, "app", "ada").await;
    let mut here = Browser::ada(&hub).await;
    let mut stolen = here.clone();
    let mut elsewhere = Browser::ada(&hub).await;
    let request = here
        .request("POST", "/auth/sign-out")
        .body(axum::body::Body::empty());
    let reply = hub.send(request.unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "success": true }))
    );
    assert_eq!(
        reply.header("set-cookie"),
        Some("__Host-epicenter_session=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0")
    );
    assert_eq!(
        stolen.who(&hub).await,
        None,
        "at once, wherever the cookie is kept"
    );
    assert_eq!(elsewhere.who(&hub).await.as_deref(), Some(ADA));
    assert_eq!(grants(&hub, "ada").await, 1);
    let again = here.post(&hub, "/auth/sign-out", &json!({})).await;
    assert_eq!(again.status, 200, "nothing left to end is no error");
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let hub = AccountsHub::new().await;
    let mut first = Browser::ada(&hub).await;
    hub.clock.advance(1_000);
    let mut second = Browser::ada(&hub).await;
    let list = first.get(&hub, "/auth/list-sessions").await.json();
    let ids: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["token"].clone())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(list[0]["createdAt"], json!("2027-01-15T08:00:01.000Z"));
    let end = json!({ "token": ids[0] });
    let reply = first.post(&hub, "/auth/revoke-session", &end).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "status": true }))
    );
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(second.who(&hub).await, None);
    assert_eq!(first.who(&hub).await.as_deref(), Some(ADA));
    let own = json!({ "token": ids[1] });
    let reply = first.post(&hub, "/auth/revoke-session", &own).await;
    assert!(reply.header("set-cookie").unwrap().ends_with("Max-Age=0"));
    assert_eq!(first.who(&hub).await, None);
}

#[tokio::test]
async fn nobody_ends_or_sees_the_sessions_of_another() {
    let hub = AccountsHub::new().await;
    let mut ada = Browser::ada(&hub).await;
    let list = ada.get(&hub, "/auth/list-sessions").await.json();
    let mut bob = Browser::signed_in(&hub, "bob@example.com", "the password of bob").await;
    let end = json!({ "token": list[0]["token"] });
    let reply = bob.post(&hub, "/auth/revoke-session", &end).await;
    let unknown = bob
        .post(&hub, "/auth/revoke-session", &json!({ "token": "unknown" }))
        .await;
    assert_eq!(reply.body, unknown.body, "whether there is one is not told");
    let own = bob.get(&hub, "/auth/list-sessions").await.json();
    assert_eq!(own.as_array().unwrap().len(), 1);
    grant(&hub, "app", "ada").await;
    bob.post(&hub, "/auth/revoke-other-sessions", &json!({}))
        .await;
    assert_eq!(ada.who(&hub).await.as_deref(), Some(ADA));
    assert_eq!(grants(&hub, "ada").await, 1);
}

#[tokio::test]
async fn signing_out_elsewhere_ends_other_browsers_and_every_app() {
    let hub = AccountsHub::new().await;
    for app in ["app-1", "app-2"] {
        grant(&hub, app, "ada").await;
    }
    grant(&hub, "app-3", "bob").await;
    let mut here = Browser::ada(&hub).await;
    let mut elsewhere = Browser::ada(&hub).await;
    let reply = here
        .post(&hub, "/auth/revoke-other-sessions", &json!({}))
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "status": true }))
    );
    assert_eq!(here.who(&hub).await.as_deref(), Some(ADA));
    assert_eq!(elsewhere.who(&hub).await, None);
    assert_eq!(
        (grants(&hub, "ada").await, grants(&hub, "bob").await),
        (0, 1)
    );
    let revoked = hub.store.revocations_since(0).unwrap();
    let revoked: Vec<_> = revoked.into_iter().map(|row| row.subject).collect();
    for app in ["app-1", "app-2"] {
        assert!(
            revoked.contains(&Subject::Grant(GrantId::parse(app).unwrap())),
            "{revoked:?}"
        );
    }
}

/// Before the feed of revocations has brought anything.
#[tokio::test]
async fn signing_out_elsewhere_is_known_here_at_once() {
    let hub = AccountsHub::new().await;
    for app in ["app-1", "app-2"] {
        grant(&hub, app, "ada").await;
    }
    let mut here = Browser::ada(&hub).await;
    let call = async |app: &str| {
        let token = hub
            .signer
            .token_with("ada", |_, claims| claims["gid"] = json!(app));
        let request = Browser::default()
            .request("GET", "/api/session")
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty());
        hub.send(request.unwrap()).await.status.as_u16()
    };
    assert_eq!(call("app-1").await, 200);
    here.post(&hub, "/auth/revoke-other-sessions", &json!({}))
        .await;
    assert_eq!((call("app-1").await, call("app-2").await), (401, 401));
    assert_eq!(call("app-3").await, 200, "an app that signs in afterwards");
}

#[tokio::test]
async fn a_new_password_moves_this_session_and_ends_the_others() {
    let hub = AccountsHub::new().await;
    grant(&hub, "app", "ada").await;
    let mut here = Browser::ada(&hub).await;
    let mut before = here.clone();
    let mut elsewhere = Browser::ada(&hub).await;
    hub.clock.advance(3_600_000);
    let reply = here.post(&hub, CHANGE, &change(PASSWORD, NEW)).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["user"]["email"], json!(ADA));
    let line = reply.header("set-cookie").unwrap();
    assert!(
        line.ends_with("; Max-Age=601200"),
        "it ends when it did: {line}"
    );
    assert_ne!(here.cookie, before.cookie);
    assert_eq!(here.who(&hub).await.as_deref(), Some(ADA));
    assert_eq!(
        before.who(&hub).await,
        None,
        "a copy of the old cookie is worth nothing"
    );
    assert_eq!(elsewhere.who(&hub).await, None);
    assert_eq!(
        grants(&hub, "ada").await,
        1,
        "apps stay, unless that is asked for"
    );
    let account = hub.store.find_account(&user("ada")).await.unwrap().unwrap();
    assert_eq!(account.password_hash, Some(hashed(NEW)));
    let form = json!({ "email": ADA, "password": PASSWORD });
    let reply = Browser::default()
        .post(&hub, "/auth/sign-in/email", &form)
        .await;
    assert_problem(&reply, 401, "INVALID_EMAIL_OR_PASSWORD");
    Browser::signed_in(&hub, ADA, NEW).await;
}

#[tokio::test]
async fn a_new_password_signs_apps_out_when_asked_to() {
    let hub = AccountsHub::new().await;
    grant(&hub, "app", "ada").await;
    let mut browser = Browser::ada(&hub).await;
    let mut form = change(PASSWORD, NEW);
    form["revokeOtherSessions"] = json!(true);
    assert_eq!(browser.post(&hub, CHANGE, &form).await.status, 200);
    assert_eq!(grants(&hub, "ada").await, 0);
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn a_password_is_not_changed_without_the_old_one() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    let reply = browser.post(&hub, CHANGE, &change("guess", NEW)).await;
    assert_problem(&reply, 400, "INVALID_PASSWORD");
    assert_eq!(hub.audit().last().unwrap().0, "password.refused");
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
    for (new, code) in [
        ("short", "PASSWORD_TOO_SHORT"),
        ("password", "PASSWORD_COMPROMISED"),
        (ADA, "PASSWORD_COMPROMISED"),
    ] {
        let reply = browser.post(&hub, CHANGE, &change(PASSWORD, new)).await;
        assert_problem(&reply, 400, code);
    }
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
    // A stolen session is no way to guess without end, and shares its budget with signing in.
    for _ in 0..4 {
        let reply = browser.post(&hub, CHANGE, &change("guess", NEW)).await;
        assert_problem(&reply, 400, "INVALID_PASSWORD");
    }
    let reply = browser.post(&hub, CHANGE, &change(PASSWORD, NEW)).await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    let form = json!({ "email": ADA, "password": PASSWORD });
    let reply = Browser::default()
        .post(&hub, "/auth/sign-in/email", &form)
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    let account = hub.store.find_account(&user("ada")).await.unwrap().unwrap();
    assert_eq!(account.password_hash, Some(hashed(PASSWORD)));
}

#[tokio::test]
async fn a_reset_meanwhile_wins_over_a_change() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    let store = hub.store.clone();
    *hub.passwords.meanwhile.lock().unwrap() = Some(Box::pin(async move {
        let reset = epicenter_server::accounts::store::PasswordChange {
            user: user("ada"),
            password_hash: hashed("reset by the operator"),
            keep: None,
            also: epicenter_server::accounts::store::AlsoEnd::Grants,
        };
        assert_eq!(store.change_password(&reset, &operator()).await, Ok(true));
    }));
    let reply = browser.post(&hub, CHANGE, &change(PASSWORD, NEW)).await;
    assert_problem(&reply, 400, "INVALID_PASSWORD");
    let account = hub.store.find_account(&user("ada")).await.unwrap().unwrap();
    assert_eq!(account.password_hash, Some(hashed("reset by the operator")));
}

#[tokio::test]
async fn a_disabled_account_has_no_sessions() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    hub.store
        .set_enabled(&user("ada"), false, &operator())
        .await
        .unwrap();
    assert_eq!(browser.who(&hub).await, None);
    assert_problem(
        &browser.post(&hub, CHANGE, &change(PASSWORD, NEW)).await,
        401,
        "UNAUTHORIZED",
    );
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_manage() {
    let hub = AccountsHub::new().await;
    let mut nobody = Browser::default();
    for reply in [
        nobody.get(&hub, "/auth/list-sessions").await,
        nobody
            .post(&hub, "/auth/revoke-session", &json!({ "token": "x" }))
            .await,
        nobody
            .post(&hub, "/auth/revoke-other-sessions", &json!({}))
            .await,
        nobody.post(&hub, CHANGE, &change(PASSWORD, NEW)).await,
    ] {
        assert_problem(&reply, 401, "UNAUTHORIZED");
    }
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}
