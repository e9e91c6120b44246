//! Making accounts: by policy and by invitation.

use std::sync::atomic::Ordering;

use epicenter_server::accounts::store::Accounts as _;
use epicenter_server::config::SignUpPolicy;
use serde_json::{Value, json};

use crate::accounts_hub::{
    ADA, AccountsHub, Browser, PASSWORD, SIGN_UP, assert_problem, hashed, problem,
};
use crate::hub::Reply;

const KIM: &str = "kim@example.com";

fn form(email: &str) -> Value {
    json!({ "email": email, "name": "Kim", "password": "a password of kim" })
}

fn invited(email: &str, token: &str) -> Value {
    let mut form = form(email);
    form["invitation"] = json!(token);
    form
}

async fn sign_up(hub: &AccountsHub, form: &Value) -> Reply {
    Browser::default().post(hub, SIGN_UP, form).await
}

async fn has_account(hub: &AccountsHub, email: &str) -> bool {
    let found = hub.store.find_account_by_email(email).await.unwrap();
    found.is_some()
}

#[tokio::test]
async fn an_open_hub_takes_anybody() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    let mut browser = Browser::default();
    let reply = browser.post(&hub, SIGN_UP, &form(" Kim@Example.com")).await;
    assert_eq!(reply.status, 200);
    let json = reply.json();
    assert_eq!(json["user"]["email"], json!(KIM));
    assert_eq!(json["user"]["name"], json!("Kim"));
    assert_eq!(json["user"]["emailVerified"], json!(false));
    assert!(
        json["token"]
            .as_str()
            .is_some_and(|token| token.len() == 32)
    );
    assert_eq!(browser.who(&hub).await.as_deref(), Some(KIM));
    let account = hub.store.find_account_by_email(KIM).await.unwrap().unwrap();
    assert!(!account.user.admin);
    assert_eq!(account.password_hash, Some(hashed("a password of kim")));
    assert_eq!(account.user.id.as_str().len(), 32);
}

#[tokio::test]
async fn a_closed_hub_takes_nobody_and_one_by_invitation_only_the_invited() {
    for policy in [SignUpPolicy::Closed, SignUpPolicy::Invite] {
        let hub = AccountsHub::with_policy(policy).await;
        let refusal = sign_up(&hub, &form(KIM)).await;
        assert_problem(&refusal, 403, "EMAIL_PASSWORD_SIGN_UP_DISABLED");
        let taken = sign_up(&hub, &form(ADA)).await;
        assert_eq!(taken.body, refusal.body, "an address that has an account");
        assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
        assert!(!has_account(&hub, KIM).await);
    }
    let hub = AccountsHub::with_policy(SignUpPolicy::Closed).await;
    hub.invite("token", Some(KIM)).await;
    let reply = sign_up(&hub, &invited(KIM, "token")).await;
    assert_problem(&reply, 403, "EMAIL_PASSWORD_SIGN_UP_DISABLED");
}

#[tokio::test]
async fn an_invitation_is_good_once_and_proves_its_address() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Invite).await;
    hub.invite("token", Some(KIM)).await;
    let reply = sign_up(&hub, &invited("KIM@example.com ", "token")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["user"]["emailVerified"], json!(true));
    let again = sign_up(&hub, &invited("kim2@example.com", "token")).await;
    assert_problem(&again, 400, "INVALID_TOKEN");
    let again = sign_up(&hub, &invited(KIM, "token")).await;
    assert_problem(&again, 400, "INVALID_TOKEN");
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_invitation_for_another_address_or_a_late_or_invented_one_is_none() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    hub.invite("token", Some(KIM)).await;
    for form in [
        invited("eve@example.com", "token"),
        invited(ADA, "token"),
        invited(KIM, "Token"),
        invited(KIM, ""),
    ] {
        assert_problem(&sign_up(&hub, &form).await, 400, "INVALID_TOKEN");
    }
    hub.clock.advance(3_600_000);
    let late = sign_up(&hub, &invited(KIM, "token")).await;
    assert_problem(&late, 400, "INVALID_TOKEN");
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
}

/// Otherwise who holds one could claim an address of the domain that a shared hub admits.
#[tokio::test]
async fn an_invitation_without_an_address_proves_none() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Invite).await;
    hub.invite("token", None).await;
    let reply = sign_up(&hub, &invited(KIM, "token")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["user"]["emailVerified"], json!(false));
}

#[tokio::test]
async fn one_invitation_used_twice_at_once_makes_one_account() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Invite).await;
    hub.invite("token", None).await;
    hub.passwords.held.store(true, Ordering::SeqCst);
    let tasks: Vec<_> = ["kim@example.com", "lea@example.com"]
        .map(|email| {
            let request = Browser::default().json(SIGN_UP, &invited(email, "token"));
            tokio::spawn(hub.send(request))
        })
        .into();
    while hub.passwords.waiting.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    hub.passwords.held.store(false, Ordering::SeqCst);
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.push(task.await.unwrap().status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

/// Without mail an open hub cannot hide it, but its answer does not speak of accounts; who was invited is told.
#[tokio::test]
async fn a_taken_address_is_refused_in_general_words() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    let reply = sign_up(&hub, &form(" ADA@example.com")).await;
    assert_problem(&reply, 422, "FAILED_TO_CREATE_USER");
    assert_eq!(
        hub.passwords.hashed.load(Ordering::SeqCst),
        1,
        "as long as any other"
    );
    hub.invite("token", None).await;
    let reply = sign_up(&hub, &invited(ADA, "token")).await;
    assert_problem(&reply, 422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL");
    let reply = sign_up(&hub, &invited(KIM, "token")).await;
    assert_eq!(reply.status, 200, "a mistake does not spend the invitation");
}

#[tokio::test]
async fn sign_ups_are_limited_like_sign_ins() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    for _ in 0..20 {
        let reply = Browser::at("192.0.2.1")
            .post(&hub, SIGN_UP, &form(ADA))
            .await;
        assert_eq!(reply.status, 422);
    }
    let reply = Browser::at("192.0.2.1")
        .post(&hub, SIGN_UP, &form(KIM))
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
    let reply = Browser::at("192.0.2.1")
        .post(
            &hub,
            "/auth/sign-in/email",
            &json!({ "email": ADA, "password": PASSWORD }),
        )
        .await;
    assert_problem(&reply, 429, "TOO_MANY_REQUESTS");
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_said_before_anything_is_hashed() {
    let hub = AccountsHub::with(|config| {
        config.accounts.sign_up = SignUpPolicy::Open;
        config.rate_limits.enabled = false;
    })
    .await;
    let check = async |field: &str, value: Value, code: &str| {
        let mut form = form(KIM);
        form[field] = value;
        let reply = sign_up(&hub, &form).await;
        assert_eq!(problem(&reply), (400, code.to_owned()), "{field}");
    };
    check("email", json!("kim"), "INVALID_EMAIL").await;
    check(
        "email",
        json!("kim@example.com\nBcc: eve@example.com"),
        "INVALID_EMAIL",
    )
    .await;
    check(
        "email",
        json!(format!("{}@example.com", "k".repeat(65))),
        "INVALID_EMAIL",
    )
    .await;
    check("name", json!("K\u{0}im"), "VALIDATION_ERROR").await;
    check("name", json!("K\u{202e}im"), "VALIDATION_ERROR").await;
    check("name", json!("k".repeat(201)), "VALIDATION_ERROR").await;
    check("password", json!("short"), "PASSWORD_TOO_SHORT").await;
    check("password", json!("x".repeat(1_025)), "PASSWORD_TOO_LONG").await;
    check("password", json!("password"), "PASSWORD_COMPROMISED").await;
    check("password", json!(KIM), "PASSWORD_COMPROMISED").await;
    let mut away = form(KIM);
    away["callbackURL"] = json!("https://evil.example");
    assert_problem(&sign_up(&hub, &away).await, 403, "INVALID_CALLBACK_URL");
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
    assert!(!has_account(&hub, KIM).await);
    let mut unnamed = form(KIM);
    unnamed["name"] = json!(" ");
    let reply = sign_up(&hub, &unnamed).await;
    assert_eq!(reply.json()["user"]["name"], json!("kim"));
}

#[tokio::test]
async fn a_session_from_before_never_survives_a_sign_up() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    let mut planted = Browser::ada(&hub).await;
    let mut victim = planted.clone();
    assert_eq!(victim.post(&hub, SIGN_UP, &form(KIM)).await.status, 200);
    assert_eq!(planted.who(&hub).await, None);
    assert_eq!(victim.who(&hub).await.as_deref(), Some(KIM));
}

#[tokio::test]
async fn before_the_first_account_nobody_signs_up_whatever_the_policy() {
    let hub = AccountsHub::empty(|config| config.accounts.sign_up = SignUpPolicy::Open);
    hub.invite("token", None).await;
    for form in [form(KIM), invited(KIM, "token")] {
        assert_problem(&sign_up(&hub, &form).await, 403, "SETUP_REQUIRED");
    }
    assert_eq!(hub.passwords.hashed.load(Ordering::SeqCst), 0);
    assert!(!has_account(&hub, KIM).await);
}

#[tokio::test]
async fn a_flood_is_turned_away() {
    let hub = AccountsHub::with_policy(SignUpPolicy::Open).await;
    hub.passwords.busy.store(true, Ordering::SeqCst);
    let reply = sign_up(&hub, &form(KIM)).await;
    assert_problem(&reply, 503, "SERVICE_UNAVAILABLE");
    assert!(!has_account(&hub, KIM).await);
}
