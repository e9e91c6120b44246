//! The first account: made with the setup link, once, whoever else tries at the same time.

use std::sync::atomic::Ordering;

use axum::body::Body;
use epicenter_server::accounts::store::{Account, Accounts as _};
use http::Request;

use crate::accounts_hub::{ADA, AccountsHub, Browser, PASSWORD, hashed};
use crate::hub::Reply;

fn request(browser: &Browser, token: &str, email: &str, password: &str) -> Request<Body> {
    let form = format!("token={token}&email={email}&name=&password={password}");
    browser
        .request("POST", "/setup")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap()
}

async fn set_up(hub: &AccountsHub, token: &str, email: &str) -> Reply {
    let request = request(&Browser::default(), token, email, PASSWORD);
    hub.send(request).await
}

async fn accounts(hub: &AccountsHub) -> Vec<Account> {
    hub.store.list_accounts(None, 10).await.unwrap()
}

#[tokio::test]
async fn the_setup_link_makes_a_verified_administrator_and_is_spent() {
    let hub = AccountsHub::empty(|_| {});
    hub.setup_link("link").await;
    let reply = set_up(&hub, "link", " Ada@Example.com").await;
    assert_eq!(reply.status, 303, "{:?}", reply.body);
    let mut browser = Browser {
        cookie: reply
            .header("set-cookie")
            .and_then(|line| line.split(';').next())
            .map(str::to_owned),
        ip: None,
    };
    assert_eq!(browser.who(&hub).await.as_deref(), Some(ADA));
    let made = accounts(&hub).await;
    assert_eq!(made.len(), 1);
    let ada = &made[0];
    assert!(ada.user.admin && ada.user.email_verified && ada.user.enabled);
    assert_eq!(ada.user.name, "ada");
    assert_eq!(ada.password_hash, Some(hashed(PASSWORD)));

    let reply = set_up(&hub, "link", "eve@example.com").await;
    assert!(reply.status.is_client_error());
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(accounts(&hub).await.len(), 1);
    assert_eq!(
        hub.passwords.hashed.load(Ordering::SeqCst),
        1,
        "nothing is hashed for a link that is over"
    );
}

#[tokio::test]
async fn a_wrong_replaced_or_late_link_makes_nothing() {
    let hub = AccountsHub::empty(|_| {});
    let refused = async |token: &str| {
        let reply = set_up(&hub, token, ADA).await;
        assert!(reply.status.is_client_error(), "{token}: {}", reply.status);
        assert_eq!(reply.header("set-cookie"), None);
        assert!(accounts(&hub).await.is_empty());
    };
    refused("link").await;
    hub.setup_link("link").await;
    for token in ["", "Link", "link2", "lin"] {
        refused(token).await;
    }
    hub.setup_link("newer").await;
    refused("link").await;
    hub.clock.advance(1_800_000);
    refused("newer").await;
}

#[tokio::test]
async fn a_mistake_in_the_form_does_not_spend_the_link() {
    let hub = AccountsHub::empty(|_| {});
    hub.setup_link("link").await;
    for (email, password) in [("ada", PASSWORD), (ADA, "short"), (ADA, "password")] {
        let reply = hub
            .send(request(&Browser::default(), "link", email, password))
            .await;
        assert!(reply.status.is_client_error());
    }
    assert_eq!(set_up(&hub, "link", ADA).await.status, 303);
}

#[tokio::test]
async fn the_link_used_twice_at_once_makes_one_administrator() {
    let hub = AccountsHub::empty(|_| {});
    hub.setup_link("link").await;
    hub.passwords.held.store(true, Ordering::SeqCst);
    let tasks = ["ada@example.com", "eve@example.com"].map(|email| {
        let request = request(&Browser::default(), "link", email, PASSWORD);
        tokio::spawn(hub.send(request))
    });
    while hub.passwords.waiting.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    hub.passwords.held.store(false, Ordering::SeqCst);
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap().status == 303);
    }
    assert_eq!((made, accounts(&hub).await.len()), (1, 1));
}

#[tokio::test]
async fn links_cannot_be_tried_without_end() {
    let hub = AccountsHub::empty(|_| {});
    hub.setup_link("link").await;
    let from = Browser::at("192.0.2.1");
    for guess in 0..20 {
        let reply = hub
            .send(request(&from, &format!("guess{guess}"), ADA, PASSWORD))
            .await;
        assert!(reply.status.is_client_error());
        assert_ne!(reply.status, 429);
    }
    let reply = hub.send(request(&from, "link", ADA, PASSWORD)).await;
    assert_eq!(reply.status, 429);
    assert!(accounts(&hub).await.is_empty());
}
