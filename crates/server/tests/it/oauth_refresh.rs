//! Refreshing: rotation that loses no honest app and that no thief survives.

use serde_json::Value;

use crate::hub::{NOW, ORIGIN};
use crate::oauth_hub::{APP, APP_URI, DAY, MINUTE, OAuthHub, OPENID, assert_failure, read_token};

async fn start() -> (OAuthHub, String) {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let token = answer["refresh_token"].as_str().unwrap().to_owned();
    (hub, token)
}

#[track_caller]
fn access_token(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap()
}

#[tokio::test]
async fn every_use_rotates_within_the_grant() {
    let (hub, first) = start().await;
    hub.hub.clock.advance(10 * MINUTE);
    let reply = hub.refresh(&first, &[("resource", Some(ORIGIN))]).await;
    let second = OAuthHub::next(&reply);
    assert_ne!(first, second);
    let answer = reply.json();
    assert_eq!(answer["scope"], OPENID);
    assert_eq!(answer["expires_at"], NOW + 1_200);
    let (_, claims) = read_token(access_token(&answer));
    assert_eq!(claims["gid"], hub.grants().await[0].id.as_str());
    assert_eq!(claims["sid"], "session-1");
    assert!(claims["scope"].as_str().unwrap().contains("keyring"));
    let (_, claims) = read_token(answer["id_token"].as_str().unwrap());
    assert_eq!(claims["nonce"], Value::Null);
    assert_eq!(claims["auth_time"], NOW);
    assert_eq!(hub.api(access_token(&answer)).await, 200);
    OAuthHub::next(&hub.refresh(&second, &[]).await);
    assert_eq!(hub.grants().await.len(), 1);
}

#[tokio::test]
async fn two_tabs_get_the_same_answer() {
    let (hub, token) = start().await;
    let (a, b, c, d) = tokio::join!(
        hub.refresh(&token, &[]),
        hub.refresh(&token, &[]),
        hub.refresh(&token, &[]),
        hub.refresh(&token, &[])
    );
    OAuthHub::next(&a);
    assert_eq!(a.body, b.body);
    assert_eq!(a.body, c.body);
    assert_eq!(a.body, d.body);
    hub.hub.clock.advance(MINUTE - 1);
    assert_eq!(hub.refresh(&token, &[]).await.body, a.body);
}

#[tokio::test]
async fn a_late_tab_gets_the_newest_answer_of_the_chain() {
    let (hub, first) = start().await;
    let second = OAuthHub::next(&hub.refresh(&first, &[]).await);
    hub.hub.clock.advance(20_000);
    let third = OAuthHub::next(&hub.refresh(&second, &[]).await);
    hub.hub.clock.advance(20_000);
    let newest = hub.refresh(&third, &[]).await;
    for token in [&first, &second, &third] {
        assert_eq!(hub.refresh(token, &[]).await.body, newest.body);
    }
    OAuthHub::next(&hub.refresh(&OAuthHub::next(&newest), &[]).await);
}

#[tokio::test]
async fn a_lost_answer_is_replaced_once() {
    let (hub, first) = start().await;
    let unseen = OAuthHub::next(&hub.refresh(&first, &[]).await);
    hub.hub.clock.advance(MINUTE);
    let replaced = hub.refresh(&first, &[]).await;
    let second = OAuthHub::next(&replaced);
    assert_ne!(second, unseen);
    // For a minute the new answer is the answer.
    hub.hub.clock.advance(MINUTE - 1);
    assert_eq!(hub.refresh(&first, &[]).await.body, replaced.body);
    hub.hub.clock.advance(1);
    assert_failure(&hub.refresh(&first, &[]).await, 400, "invalid_grant");
    assert_failure(&hub.refresh(&second, &[]).await, 400, "invalid_grant");
    assert_eq!(hub.grants().await.len(), 0);
}

#[tokio::test]
async fn an_app_whose_answer_was_replaced_goes_on() {
    let (hub, first) = start().await;
    OAuthHub::next(&hub.refresh(&first, &[]).await);
    hub.hub.clock.advance(7 * DAY - 1);
    let mut token = OAuthHub::next(&hub.refresh(&first, &[]).await);
    for _ in 0..10 {
        hub.hub.clock.advance(20 * DAY);
        token = OAuthHub::next(&hub.refresh(&token, &[]).await);
    }
}

#[tokio::test]
async fn a_lost_answer_is_not_replaced_after_a_week() {
    let (hub, first) = start().await;
    OAuthHub::next(&hub.refresh(&first, &[]).await);
    hub.hub.clock.advance(7 * DAY);
    assert_failure(&hub.refresh(&first, &[]).await, 400, "invalid_grant");
    assert_eq!(hub.grants().await.len(), 0);
}

#[tokio::test]
async fn a_killed_token_ends_the_grant() {
    let (hub, first) = start().await;
    let unseen = OAuthHub::next(&hub.refresh(&first, &[]).await);
    hub.hub.clock.advance(MINUTE);
    let second = OAuthHub::next(&hub.refresh(&first, &[]).await);
    // Somebody had seen the answer after all: one of the two is a thief.
    assert_failure(&hub.refresh(&unseen, &[]).await, 400, "invalid_grant");
    assert_failure(&hub.refresh(&second, &[]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_stolen_tokens_replay_ends_that_grant_and_no_other() {
    let (hub, stolen) = start().await;
    let elsewhere = hub.signed_in().await;
    let second = OAuthHub::next(&hub.refresh(&stolen, &[]).await);
    let third = hub.refresh(&second, &[]).await.json();
    hub.hub.clock.advance(MINUTE);
    assert_eq!(hub.api(access_token(&third)).await, 200);

    assert_failure(&hub.refresh(&stolen, &[]).await, 400, "invalid_grant");
    let newest = third["refresh_token"].as_str().unwrap();
    assert_failure(&hub.refresh(newest, &[]).await, 400, "invalid_grant");
    assert_eq!(hub.api(access_token(&third)).await, 401);
    // The person's other device.
    assert_eq!(hub.api(access_token(&elsewhere)).await, 200);
    let token = elsewhere["refresh_token"].as_str().unwrap();
    OAuthHub::next(&hub.refresh(token, &[]).await);
    let audit = hub.hub.store.audit();
    let reused = audit
        .iter()
        .filter(|line| line.what == "grant.refresh_token_reused");
    assert_eq!(reused.count(), 1);
}

#[tokio::test]
async fn another_client_can_do_nothing_with_a_token() {
    let (hub, token) = start().await;
    let fuji = &[("client_id", Some("epicenter-fuji"))];
    assert_failure(&hub.refresh(&token, fuji).await, 400, "invalid_grant");
    let next = OAuthHub::next(&hub.refresh(&token, &[]).await);
    hub.hub.clock.advance(MINUTE);
    OAuthHub::next(&hub.refresh(&next, &[]).await);
    hub.hub.clock.advance(MINUTE);
    // Not even end the grant by a replay.
    assert_failure(&hub.refresh(&token, fuji).await, 400, "invalid_grant");
    assert_eq!(hub.grants().await.len(), 1);
}

#[tokio::test]
async fn tokens_and_grants_end_when_unused_or_old() {
    let (hub, token) = start().await;
    hub.hub.clock.advance(30 * DAY - 1);
    let token = OAuthHub::next(&hub.refresh(&token, &[]).await);
    hub.hub.clock.advance(30 * DAY);
    assert_failure(&hub.refresh(&token, &[]).await, 400, "invalid_grant");

    let (hub, mut token) = start().await;
    for _ in 0..18 {
        hub.hub.clock.advance(20 * DAY);
        token = OAuthHub::next(&hub.refresh(&token, &[]).await);
    }
    hub.hub.clock.advance(5 * DAY - 1);
    let token = OAuthHub::next(&hub.refresh(&token, &[]).await);
    hub.hub.clock.advance(1);
    assert_failure(&hub.refresh(&token, &[]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn scopes_narrow_for_good_and_never_widen() {
    let (hub, token) = start().await;
    let scope = |text| [("scope", Some(text))];
    let reply = hub.refresh(&token, &scope("openid account")).await;
    assert_failure(&reply, 400, "invalid_scope");
    let reply = hub.refresh(&token, &scope("bogus")).await;
    assert_failure(&reply, 400, "invalid_scope");
    let reply = hub.refresh(&token, &scope("rooms.read")).await;
    assert_eq!(reply.json()["scope"], "rooms.read");
    assert_eq!(reply.json()["id_token"], Value::Null);
    let (_, claims) = read_token(access_token(&reply.json()));
    assert_eq!(claims["scope"], "offline_access rooms.read");
    let token = OAuthHub::next(&reply);
    let reply = hub.refresh(&token, &scope("rooms.read keyring")).await;
    assert_failure(&reply, 400, "invalid_scope");
    let reply = hub.refresh(&token, &[]).await;
    let (_, claims) = read_token(access_token(&reply.json()));
    assert_eq!(claims["scope"], "offline_access rooms.read");
}

#[tokio::test]
async fn a_foreign_resource_is_refused_and_nothing_is_used_up() {
    let (hub, token) = start().await;
    let foreign = &[("resource", Some("https://other.example"))];
    assert_failure(&hub.refresh(&token, foreign).await, 400, "invalid_target");
    assert_failure(&hub.refresh("bogus", &[]).await, 400, "invalid_grant");
    let reply = hub.refresh(&token, &[("refresh_token", None)]).await;
    assert_failure(&reply, 400, "invalid_request");
    OAuthHub::next(&hub.refresh(&token, &[]).await);
}

#[tokio::test]
async fn a_store_that_fails_logs_nobody_out() {
    let (hub, token) = start().await;
    hub.hub.store.fail(true);
    let reply = hub.refresh(&token, &[]).await;
    assert_failure(&reply, 503, "temporarily_unavailable");
    assert!(reply.header("retry-after").is_some());
    hub.hub.store.fail(false);
    OAuthHub::next(&hub.refresh(&token, &[]).await);
    // A code, too, goes on as if nothing had been.
    let code = hub.code(APP, APP_URI, &[]).await;
    assert_eq!(hub.redeem(&code, &[]).await.status, 200);
}
