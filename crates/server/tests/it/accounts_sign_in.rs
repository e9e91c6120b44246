//! Signing in with a password: what it answers, and what cannot be learned or stolen by trying.

use std::sync::atomic::Ordering;

use epicenter_server::accounts::store::{Accounts as _, AlsoEnd, PasswordChange, Sessions as _};
use epicenter_server::config::{PublicOrigin, Rate};
use epicenter_server::secret::Secret;
use serde_json::{Value, json};

use crate::accounts_hub::{
    ADA, AccountsHub, Browser, NOW_MS, PASSWORD, SIGN_IN, assert_problem, hashed, hashed_long_ago,
    operator, problem, user,
};
use crate::hub::Reply;

fn form(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

async fn attempt(hub: &AccountsHub, email: &str, password: &str) -> Reply {
    Browser::default()
        .post(hub, SIGN_IN, &form(email, password))
        .await
}

#[tokio::test]
async fn the_right_password_begins_a_session() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::at("192.0.2.1");
    let reply = browser
        .post(&hub, SIGN_IN, &form(" Ada@Example.com ", PASSWORD))
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let json = reply.json();
    assert_eq!(json["redirect"], json!(false));
    assert_eq!(
        json["user"],
        json!({
            "id": "ada", "name": "ada", "email": ADA, "emailVerified": true, "image": null,
            "createdAt": "2027-01-15T08:00:00.000Z", "updatedAt": "2027-01-15T08:00:00.000Z",
        })
    );
    let line = reply.header("set-cookie").unwrap();
    assert!(line.starts_with("__Host-epicenter_session="), "{line}");
    assert!(
        line.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=604800"),
        "{line}"
    );
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
    let sessions = hub.store.list_sessions(&user("ada"), NOW_MS).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].ip, browser.ip);
    assert_eq!(sessions[0].user_agent.as_deref(), Some("Test/1.0"));
    assert_eq!(sessions[0].id.as_str().len(), 32);
}

#[tokio::test]
async fn the_token_of_the_answer_is_no_credential() {
    let hub = AccountsHub::new().await;
    let reply = attempt(&hub, ADA, PASSWORD).await;
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    let cookie = reply.header("set-cookie").unwrap();
    assert!(!cookie.contains(&token));
    let mut thief = Browser {
        cookie: Some(format!("__Host-epicenter_session={token}")),
        ip: None,
    };
    assert_eq!(thief.who(&hub).await, None);
    let request = thief.request("GET", "/api/session");
    let request = request.header("authorization", format!("Bearer {token}"));
    let reply = hub
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn cookies_on_plain_http_have_no_prefix_and_are_not_secure() {
    let hub = AccountsHub::with(|config| {
        config.origin = PublicOrigin::parse("http://hub.example").unwrap();
    })
    .await;
    let mut browser = Browser::default();
    let request = browser.request("POST", SIGN_IN);
    let mut request = request
        .header("content-type", "application/json")
        .body(axum::body::Body::from(form(ADA, PASSWORD).to_string()))
        .unwrap();
    request
        .headers_mut()
        .insert("origin", "http://hub.example".parse().unwrap());
    let reply = hub.send(request).await;
    let line = reply.header("set-cookie").unwrap();
    assert!(line.starts_with("epicenter_session="), "{line}");
    assert!(
        line.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800"),
        "{line}"
    );
    browser.cookie = line.split(';').next().map(str::to_owned);
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn a_session_that_is_not_to_be_remembered_ends_with_the_browser() {
    let hub = AccountsHub::new().await;
    let mut body = form(ADA, PASSWORD);
    body["rememberMe"] = json!(false);
    let mut browser = Browser::default();
    let reply = browser.post(&hub, SIGN_IN, &body).await;
    let line = reply.header("set-cookie").unwrap();
    assert!(!line.contains("Max-Age"), "{line}");
    hub.clock.advance(86_400_000);
    let reply = browser.get(&hub, "/auth/get-session").await;
    let line = reply.header("set-cookie").unwrap();
    assert!(
        !line.contains("Max-Age"),
        "not when it is extended either: {line}"
    );
}

/// Unknown address, wrong password, disabled account, account without a password, an address that is none: one answer, one
/// check of a password, one line in the log, whatever is sent.
#[tokio::test]
async fn no_answer_tells_whether_somebody_has_an_account() {
    let hub = AccountsHub::with(|config| config.rate_limits.enabled = false).await;
    hub.add("eve", "eve@example.com", Some(hashed(PASSWORD)), false)
        .await;
    hub.store
        .set_enabled(&user("eve"), false, &operator())
        .await
        .unwrap();
    hub.add("kim", "kim@example.com", None, false).await;
    let expect = attempt(&hub, ADA, "wrong password").await;
    assert_problem(&expect, 401, "INVALID_EMAIL_OR_PASSWORD");
    for (email, password) in [
        ("nobody@example.com", PASSWORD),
        ("eve@example.com", PASSWORD),
        ("eve@example.com", "wrong password"),
        ("kim@example.com", PASSWORD),
        ("kim@example.com", ""),
        ("ada", PASSWORD),
        ("", ""),
        (ADA, ""),
        (ADA, "Correct horse battery"),
        (ADA, "correct horse battery "),
        (ADA, &"x".repeat(2_000)),
    ] {
        let checked = hub.passwords.checked.load(Ordering::SeqCst);
        let lines = hub.audit().len();
        let reply = attempt(&hub, email, password).await;
        assert_eq!(reply.status, expect.status, "{email}");
        assert_eq!(reply.body, expect.body, "{email}");
        assert_eq!(names(&reply), names(&expect), "{email}");
        assert_eq!(
            hub.passwords.checked.load(Ordering::SeqCst),
            checked + 1,
            "{email}"
        );
        assert_eq!(hub.audit().len(), lines + 1, "{email}");
    }
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
    assert_eq!(
        hub.passwords.checked_nothing.load(Ordering::SeqCst),
        7,
        "those without an enabled account with a password"
    );
    assert!(
        hub.audit()
            .iter()
            .all(|(what, _)| *what == "sign_in.failed")
    );
}

fn names(reply: &Reply) -> Vec<String> {
    reply.headers.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn guessing_slows_down_alike_with_and_without_an_account() {
    let hub = AccountsHub::with(|config| {
        config.rate_limits.sign_in = Rate {
            count: 1_000,
            per_ms: 60_000,
        };
    })
    .await;
    let mut course = Vec::new();
    for email in [ADA, "nobody@example.com", "no address at all"] {
        let mut answers = Vec::new();
        for _ in 0..8 {
            let reply = Browser::at("192.0.2.1")
                .post(&hub, SIGN_IN, &form(email, "guess"))
                .await;
            answers.push((
                problem(&reply),
                reply.header("retry-after").map(str::to_owned),
            ));
        }
        course.push(answers);
    }
    assert_eq!(course[0], course[1]);
    assert_eq!(course[0], course[2]);
    let statuses: Vec<_> = course[0].iter().map(|((status, _), _)| *status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    assert_eq!(course[0][7].1.as_deref(), Some("60"));
    let failed = hub.audit().len();
    assert_eq!(
        failed, 15,
        "what was only refused for its number is not in the log"
    );
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 15);
    // The right password from there waits too: otherwise guessing would go on, unanswered but for the right one.
    let reply = Browser::at("192.0.2.1")
        .post(&hub, SIGN_IN, &form(ADA, PASSWORD))
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    assert_eq!(reply.header("x-retry-after"), Some("60"));
    // Ada, elsewhere, is not kept out by it; other spellings of her address are no other account.
    let reply = Browser::at("192.0.2.1")
        .post(&hub, SIGN_IN, &form(" ADA@example.com", "guess"))
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    let reply = Browser::at("192.0.2.9")
        .post(&hub, SIGN_IN, &form(ADA, PASSWORD))
        .await;
    assert_eq!(reply.status, 200);
    hub.clock.advance(60_000);
    let reply = Browser::at("192.0.2.1")
        .post(&hub, SIGN_IN, &form(ADA, PASSWORD))
        .await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn many_guesses_at_once_are_not_one() {
    let hub = AccountsHub::new().await;
    hub.passwords.held.store(true, Ordering::SeqCst);
    let tasks: Vec<_> = (0..15)
        .map(|guess| {
            let request = Browser::default().json(SIGN_IN, &form(ADA, &format!("guess {guess}")));
            tokio::spawn(hub.send(request))
        })
        .collect();
    let mut refused = 0;
    while refused < 10 {
        tokio::task::yield_now().await;
        refused = tasks.iter().filter(|task| task.is_finished()).count();
    }
    hub.passwords.held.store(false, Ordering::SeqCst);
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap().status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 10);
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn one_address_cannot_try_many_accounts() {
    let hub = AccountsHub::new().await;
    for guess in 0..20 {
        let email = format!("person{guess}@example.com");
        let reply = Browser::at("2001:db8::1")
            .post(&hub, SIGN_IN, &form(&email, "guess"))
            .await;
        assert_eq!(reply.status, 401);
    }
    let reply = Browser::at("2001:db8::2")
        .post(&hub, SIGN_IN, &form(ADA, PASSWORD))
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    assert_eq!(reply.header("retry-after"), Some("3"));
    assert_eq!(
        Browser::at("2001:db8:1::1")
            .post(&hub, SIGN_IN, &form(ADA, PASSWORD))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_flood_of_passwords_is_turned_away_and_costs_nobody_an_attempt() {
    let hub = AccountsHub::new().await;
    hub.passwords.busy.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        let reply = attempt(&hub, ADA, PASSWORD).await;
        assert_problem(&reply, 503, "SERVICE_UNAVAILABLE");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    hub.passwords.busy.store(false, Ordering::SeqCst);
    hub.passwords.broken.store(true, Ordering::SeqCst);
    assert_problem(
        &attempt(&hub, ADA, PASSWORD).await,
        503,
        "SERVICE_UNAVAILABLE",
    );
    hub.passwords.broken.store(false, Ordering::SeqCst);
    assert_eq!(attempt(&hub, ADA, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn without_a_store_nothing_is_known_and_nobody_refused() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    hub.store.fail(true);
    for reply in [
        attempt(&hub, ADA, PASSWORD).await,
        browser.get(&hub, "/auth/get-session").await,
        browser.get(&hub, "/auth/list-sessions").await,
        browser.post(&hub, "/auth/sign-out", &json!({})).await,
    ] {
        assert_problem(&reply, 503, "SERVICE_UNAVAILABLE");
        assert_eq!(reply.header("retry-after"), Some("5"));
    }
    hub.store.fail(false);
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
}

/// Session fixation: what somebody planted in the browser beforehand is nothing afterwards.
#[tokio::test]
async fn a_session_from_before_never_survives_a_sign_in() {
    let hub = AccountsHub::new().await;
    let mut planted = Browser::signed_in(&hub, "bob@example.com", "the password of bob").await;
    let mut victim = planted.clone();
    let reply = victim.post(&hub, SIGN_IN, &form(ADA, PASSWORD)).await;
    assert_eq!(reply.status, 200);
    assert_ne!(victim.cookie, planted.cookie);
    assert_eq!(victim.who(&hub).await.as_deref(), Some(ADA));
    assert_eq!(planted.who(&hub).await, None);

    let invented = "__Host-epicenter_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut victim = Browser {
        cookie: Some(invented.to_owned()),
        ip: None,
    };
    victim.post(&hub, SIGN_IN, &form(ADA, PASSWORD)).await;
    assert_ne!(victim.cookie.as_deref(), Some(invented));
    let mut planter = Browser {
        cookie: Some(invented.to_owned()),
        ip: None,
    };
    assert_eq!(planter.who(&hub).await, None);
}

#[tokio::test]
async fn a_wrong_password_leaves_the_session_of_the_browser_alone() {
    let hub = AccountsHub::new().await;
    let mut browser = Browser::ada(&hub).await;
    let reply = browser
        .post(&hub, SIGN_IN, &form("bob@example.com", "guess"))
        .await;
    assert_problem(&reply, 401, "INVALID_EMAIL_OR_PASSWORD");
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
}

#[tokio::test]
async fn a_session_that_begins_with_a_password_just_replaced_ends_at_once() {
    let hub = AccountsHub::new().await;
    let store = hub.store.clone();
    *hub.passwords.meanwhile.lock().unwrap() = Some(Box::pin(async move {
        let change = PasswordChange {
            user: user("ada"),
            password_hash: hashed("another password"),
            keep: None,
            also: AlsoEnd::Nothing,
        };
        assert_eq!(store.change_password(&change, &operator()).await, Ok(true));
    }));
    let reply = attempt(&hub, ADA, PASSWORD).await;
    assert_problem(&reply, 401, "INVALID_EMAIL_OR_PASSWORD");
    let sessions = hub.store.list_sessions(&user("ada"), NOW_MS).await.unwrap();
    assert!(sessions.is_empty(), "{sessions:?}");
}

#[tokio::test]
async fn an_account_disabled_meanwhile_gets_no_session() {
    let hub = AccountsHub::new().await;
    let store = hub.store.clone();
    *hub.passwords.meanwhile.lock().unwrap() = Some(Box::pin(async move {
        store
            .set_enabled(&user("ada"), false, &operator())
            .await
            .unwrap();
    }));
    let reply = attempt(&hub, ADA, PASSWORD).await;
    assert_problem(&reply, 401, "INVALID_EMAIL_OR_PASSWORD");
}

#[tokio::test]
async fn a_hash_of_old_parameters_is_replaced() {
    let hub = AccountsHub::new().await;
    hub.add(
        "kim",
        "kim@example.com",
        Some(hashed_long_ago(PASSWORD)),
        false,
    )
    .await;
    assert_eq!(attempt(&hub, "kim@example.com", PASSWORD).await.status, 200);
    let account = hub.store.find_account(&user("kim")).await.unwrap().unwrap();
    assert_eq!(account.password_hash, Some(hashed(PASSWORD)));
    assert_eq!(attempt(&hub, "kim@example.com", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn what_happened_is_in_the_audit_log_without_addresses() {
    let hub = AccountsHub::new().await;
    attempt(&hub, ADA, "guess").await;
    attempt(&hub, "nobody@example.com", "guess").await;
    let mut browser = Browser::at("192.0.2.1");
    browser.post(&hub, SIGN_IN, &form(ADA, PASSWORD)).await;
    let audit = hub.audit();
    assert_eq!(audit[0], ("sign_in.failed", Some("ada".to_owned())));
    assert_eq!(audit[1], ("sign_in.failed", None));
    assert_eq!(audit[2].0, "session.began");
    assert_eq!(audit.len(), 3);
    let began = hub.store.audit().pop().unwrap();
    assert_eq!(began.act.ip, browser.ip);
    assert!(!format!("{:?}", hub.store.audit()).contains('@'));
    let logged = crate::logs::take();
    assert!(
        !logged.contains(PASSWORD) && !logged.contains("example.com"),
        "{logged}"
    );
}

#[tokio::test]
async fn before_the_first_account_only_setup_is_open() {
    let hub = AccountsHub::empty(|_| {});
    let reply = attempt(&hub, ADA, PASSWORD).await;
    assert_problem(&reply, 403, "SETUP_REQUIRED");
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
    assert_eq!(Browser::default().who(&hub).await, None);
}

#[tokio::test]
async fn passwords_can_be_switched_off() {
    let hub = AccountsHub::with(|config| config.accounts.password = false).await;
    let reply = attempt(&hub, ADA, PASSWORD).await;
    assert_problem(&reply, 400, "EMAIL_PASSWORD_DISABLED");
    assert_eq!(hub.passwords.checked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_forged_or_foreign_cookie_is_nobody() {
    let hub = AccountsHub::new().await;
    let good = Browser::ada(&hub).await.cookie.unwrap();
    let value = good.split_once('=').unwrap().1.to_owned();
    let stored = Secret::presented(&value).hash();
    let hex: String = stored
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for cookie in [
        format!("epicenter_session={value}"),
        format!("__Secure-epicenter_session={value}"),
        format!("__Host-epicenter_session={}", value.to_lowercase()),
        format!("__Host-epicenter_session={value}x"),
        format!("__Host-epicenter_session={hex}"),
        "__Host-epicenter_session=".to_owned(),
        format!("{good}; __Host-epicenter_session=another"),
    ] {
        let mut browser = Browser {
            cookie: Some(cookie.clone()),
            ip: None,
        };
        assert_eq!(browser.who(&hub).await, None, "{cookie}");
    }
    let mut browser = Browser {
        cookie: Some(format!("a=b; {good}; c=d")),
        ip: None,
    };
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
}
