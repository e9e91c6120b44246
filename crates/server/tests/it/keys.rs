//! The key cache: 401 and 503 are never confused, and the store is asked once.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::hub::{Reply, Signer, TestHub};

const SESSION: &str = "/api/session";

async fn session(hub: &TestHub, signer: &Signer) -> Reply {
    hub.call("GET", SESSION, &signer.token("ada"), b"").await
}

fn reads(hub: &TestHub) -> usize {
    hub.keys.reads.load(Ordering::SeqCst)
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    reply.assert_error(503, "ServerError");
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert_eq!(reply.header("www-authenticate"), None);
    let json = reply.json();
    assert_eq!(
        (&json["name"], &json["status"]),
        (&json!("ServerError"), &json!(503))
    );
}

#[tokio::test]
async fn a_known_key_is_used_from_memory_whatever_the_store_does() {
    let hub = TestHub::personal();
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
    hub.keys.down.store(true, Ordering::SeqCst);
    hub.clock.advance(10_000);
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
    assert_eq!(reads(&hub), 1);
}

#[tokio::test]
async fn an_unknown_key_is_401_when_the_store_answers_and_503_when_not() {
    let hub = TestHub::personal();
    let stranger = Signer::new("key-2");
    session(&hub, &stranger)
        .await
        .assert_error(401, "InvalidToken");
    hub.keys.down.store(true, Ordering::SeqCst);
    hub.clock.advance(5_000);
    assert_unavailable(&session(&hub, &stranger).await);
}

#[tokio::test]
async fn with_the_store_down_from_the_start_nobody_is_told_that_a_token_is_bad() {
    let hub = TestHub::personal();
    hub.keys.down.store(true, Ordering::SeqCst);
    assert_unavailable(&session(&hub, &hub.signer).await);
    // The failure is remembered for the interval, then the store is asked again.
    hub.keys.down.store(false, Ordering::SeqCst);
    hub.clock.advance(4_999);
    assert_unavailable(&session(&hub, &hub.signer).await);
    assert_eq!(reads(&hub), 1);
    hub.clock.advance(1);
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
    assert_eq!(reads(&hub), 2);
}

#[tokio::test]
async fn the_store_is_asked_once_per_interval_for_all_unknown_keys() {
    let hub = TestHub::personal();
    for number in 0..50 {
        let stranger = Signer::new(&format!("stranger-{number}"));
        session(&hub, &stranger)
            .await
            .assert_error(401, "InvalidToken");
    }
    assert_eq!(reads(&hub), 1);
    hub.clock.advance(4_999);
    session(&hub, &Signer::new("late"))
        .await
        .assert_error(401, "InvalidToken");
    assert_eq!(reads(&hub), 1);
    hub.clock.advance(1);
    session(&hub, &Signer::new("late"))
        .await
        .assert_error(401, "InvalidToken");
    assert_eq!(reads(&hub), 2);
}

#[tokio::test]
async fn a_new_key_is_found_after_the_interval_and_a_withdrawn_one_is_gone() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    assert_eq!(hub.call("GET", SESSION, &token, b"").await.status, 200);
    let next = Signer::new("key-2");
    *hub.keys.keys.lock().unwrap() = vec![next.public()];
    hub.clock.advance(5_000);
    assert_eq!(session(&hub, &next).await.status, 200);
    // This very token was checked before and is remembered; still the key decides.
    let reply = hub.call("GET", SESSION, &token, b"").await;
    reply.assert_error(401, "InvalidToken");
}

#[tokio::test]
async fn a_token_that_no_key_could_make_good_does_not_reach_the_store() {
    let hub = TestHub::personal();
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
    hub.clock.advance(60_000);
    let no_key = hub.signer.token_with("ada", |header, _| {
        header.as_object_mut().unwrap().remove("kid");
    });
    let hs256 = hub
        .signer
        .token_with("ada", |header, _| header["alg"] = json!("HS256"));
    let forged = Signer::new("key-1").token("ada");
    let other_type =
        Signer::new("key-2").token_with("ada", |header, _| header["typ"] = json!("JWT"));
    for token in [no_key, hs256, forged, other_type] {
        let reply = hub.call("GET", SESSION, &token, b"").await;
        reply.assert_error(401, "InvalidToken");
    }
    assert_eq!(reads(&hub), 1);
}

#[tokio::test]
async fn concurrent_requests_share_one_read() {
    let hub = TestHub::personal();
    hub.keys.held.store(true, Ordering::SeqCst);
    let token = hub.signer.token("ada");
    let request = || {
        let request = crate::hub::request("GET", SESSION)
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty());
        tokio::spawn(hub.send(request.unwrap()))
    };
    let tasks: Vec<_> = (0..20).map(|_| request()).collect();
    while reads(&hub) == 0 {
        tokio::task::yield_now().await;
    }
    hub.keys.held.store(false, Ordering::SeqCst);
    for task in tasks {
        assert_eq!(task.await.unwrap().status, 200);
    }
    assert_eq!(reads(&hub), 1);
}

#[tokio::test]
async fn a_read_whose_caller_went_away_is_finished_by_the_next() {
    let hub = TestHub::personal();
    hub.keys.held.store(true, Ordering::SeqCst);
    let token = hub.signer.token("ada");
    let request = crate::hub::request("GET", SESSION)
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::empty());
    let task = tokio::spawn(hub.send(request.unwrap()));
    while reads(&hub) == 0 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    hub.keys.held.store(false, Ordering::SeqCst);
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
    assert_eq!(reads(&hub), 1);
}

#[tokio::test]
async fn a_store_that_panics_is_a_store_that_is_down() {
    let hub = TestHub::personal();
    hub.keys.panics.store(true, Ordering::SeqCst);
    assert_unavailable(&session(&hub, &hub.signer).await);
    hub.keys.panics.store(false, Ordering::SeqCst);
    hub.clock.advance(5_000);
    assert_eq!(session(&hub, &hub.signer).await.status, 200);
}

#[tokio::test]
async fn a_token_seen_before_is_not_verified_again_but_still_expires() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    for _ in 0..3 {
        assert_eq!(hub.call("GET", SESSION, &token, b"").await.status, 200);
    }
    assert_eq!(hub.verify.calls.load(Ordering::SeqCst), 1);
    hub.clock.advance(600_000 - 1);
    assert_eq!(hub.call("GET", SESSION, &token, b"").await.status, 200);
    hub.clock.advance(1);
    hub.call("GET", SESSION, &token, b"")
        .await
        .assert_error(401, "InvalidToken");
}

#[tokio::test]
async fn the_key_set_is_published_fresh_and_kept_through_a_failure() {
    let hub = TestHub::personal();
    let published = async |hub: &TestHub| {
        let request = crate::hub::request("GET", "/auth/jwks").body(axum::body::Body::empty());
        hub.send(request.unwrap()).await
    };
    let kids = |reply: &Reply| -> Vec<String> {
        let json = reply.json();
        let keys = json["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = published(&hub).await;
    assert_eq!(kids(&first), ["key-1"]);
    assert_eq!(
        first.header("cache-control"),
        Some("public, max-age=15, stale-while-revalidate=15, stale-if-error=86400")
    );
    let key = &first.json()["keys"][0];
    for (name, value) in [
        ("kty", "EC"),
        ("crv", "P-256"),
        ("alg", "ES256"),
        ("use", "sig"),
    ] {
        assert_eq!(key[name], json!(value));
    }
    assert_eq!(key.as_object().unwrap().len(), 7, "nothing private: {key}");

    hub.keys
        .keys
        .lock()
        .unwrap()
        .push(Signer::new("key-2").public());
    hub.clock.advance(14_999);
    assert_eq!(kids(&published(&hub).await), ["key-1"]);
    hub.clock.advance(1);
    assert_eq!(kids(&published(&hub).await), ["key-1", "key-2"]);
    hub.keys.down.store(true, Ordering::SeqCst);
    hub.clock.advance(15_000);
    assert_eq!(kids(&published(&hub).await), ["key-1", "key-2"]);

    let empty = TestHub::personal();
    empty.keys.down.store(true, Ordering::SeqCst);
    assert_unavailable(&published(&empty).await);
}
