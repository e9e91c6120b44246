//! What a person's click does: it counts once, in the session that was asked, for what was asked.

use crate::hub::{NOW, Reply};
use crate::oauth_hub::{
    APP, APP_URI, CLI, LOOPBACK, Location, OAuthHub, STRANGER, STRANGER_URI, VERIFIER, read_token,
};

const ISSUER: &str = "https://hub.example/auth";

/// Presses a button on a page of the hub.
async fn press(hub: &OAuthHub, cookie: &str, page: &str, query: &str, accept: &str) -> Reply {
    let headers = [("cookie", cookie), ("origin", "https://hub.example")];
    let form = [("oauth_query", query), ("accept", accept)];
    hub.post(page, &headers, &form).await
}

#[track_caller]
fn location(reply: &Reply) -> Location {
    assert!(reply.status.is_redirection(), "{:?}", reply.body);
    Location::of(reply.header("location").unwrap())
}

#[tokio::test]
async fn a_click_lets_a_native_app_in() {
    let hub = OAuthHub::new().await;
    let asked = hub.step(CLI, LOOPBACK, &[]).await;
    assert_eq!(asked.base, "/continue");
    let reply = press(&hub, &hub.cookie, "/continue", &asked.query, "true").await;
    let answer = location(&reply);
    assert_eq!(answer.base, LOOPBACK);
    assert_eq!(answer.parameters["iss"], ISSUER);
    let changes = [
        ("client_id", Some(CLI)),
        ("redirect_uri", Some(LOOPBACK)),
        ("code_verifier", Some(VERIFIER)),
    ];
    let reply = hub.redeem(&answer.parameters["code"], &changes).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    // The next request asks again.
    assert_eq!(hub.step(CLI, LOOPBACK, &[]).await.base, "/continue");
}

#[tokio::test]
async fn declining_is_told_to_the_app() {
    let hub = OAuthHub::new().await;
    for (client, uri, page) in [
        (CLI, LOOPBACK, "/continue"),
        (STRANGER, STRANGER_URI, "/consent"),
    ] {
        let asked = hub.step(client, uri, &[]).await;
        let reply = press(&hub, &hub.cookie, page, &asked.query, "false").await;
        let answer = location(&reply);
        answer.assert_error(uri, "access_denied");
        assert_eq!(answer.parameters["iss"], ISSUER);
        assert_eq!(answer.parameters["state"], "st1");
    }
}

#[tokio::test]
async fn consent_is_remembered_for_its_client_and_scopes() {
    let hub = OAuthHub::new().await;
    let narrow = &[("scope", Some("openid rooms.read"))];
    let asked = hub.step(STRANGER, STRANGER_URI, narrow).await;
    assert_eq!(asked.base, "/consent");
    let reply = press(&hub, &hub.cookie, "/consent", &asked.query, "true").await;
    assert!(location(&reply).parameters.contains_key("code"));

    let location = hub.step(STRANGER, STRANGER_URI, narrow).await;
    assert_eq!(location.base, STRANGER_URI);
    let less = &[("scope", Some("rooms.read"))];
    assert_eq!(
        hub.step(STRANGER, STRANGER_URI, less).await.base,
        STRANGER_URI
    );
    let more = &[("scope", Some("openid rooms.read keyring"))];
    assert_eq!(
        hub.step(STRANGER, STRANGER_URI, more).await.base,
        "/consent"
    );
    let again = &[("scope", Some("openid")), ("prompt", Some("consent"))];
    assert_eq!(
        hub.step(STRANGER, STRANGER_URI, again).await.base,
        "/consent"
    );
}

/// A third-party client cannot have the keyring without asking for it, nor by asking silently.
#[tokio::test]
async fn a_stranger_holds_exactly_what_was_granted() {
    let hub = OAuthHub::new().await;
    let narrow = &[("scope", Some("openid rooms.read"))];
    let asked = hub.step(STRANGER, STRANGER_URI, narrow).await;
    let reply = press(&hub, &hub.cookie, "/consent", &asked.query, "true").await;
    let code = location(&reply).parameters["code"].clone();
    let changes = [
        ("client_id", Some(STRANGER)),
        ("redirect_uri", Some(STRANGER_URI)),
    ];
    let answer = hub.redeem(&code, &changes).await.json();
    let token = answer["access_token"].as_str().unwrap();
    let (_, claims) = read_token(token);
    assert_eq!(claims["scope"], "openid rooms.read");
    let session = hub.hub.call("GET", "/api/session", token, b"").await;
    assert_eq!(session.json()["keyring"], serde_json::json!([]));

    let silent = &[("scope", Some("keyring")), ("prompt", Some("none"))];
    let location = hub.step(STRANGER, STRANGER_URI, silent).await;
    location.assert_error(STRANGER_URI, "consent_required");
}

#[tokio::test]
async fn a_click_counts_only_where_it_was_asked_for() {
    let hub = OAuthHub::new().await;
    let other = hub.sign_in("session-2", NOW * 1_000).await;
    let asked = hub.step(CLI, LOOPBACK, &[]).await.query;
    // In another session the question is put again.
    let reply = press(&hub, &other, "/continue", &asked, "true").await;
    assert_eq!(location(&reply).base, "/continue");
    // A request that only waited for a sign-in has asked nobody yet.
    let path = crate::oauth_hub::authorize_path(CLI, LOOPBACK, &[]);
    let waiting = location(&hub.get(&path, &[]).await);
    assert_eq!(waiting.base, "/sign-in");
    let reply = press(&hub, &hub.cookie, "/continue", &waiting.query, "true").await;
    assert_eq!(location(&reply).base, "/continue");
    // "Continue" is no consent.
    let asked = hub.step(STRANGER, STRANGER_URI, &[]).await.query;
    let reply = press(&hub, &hub.cookie, "/continue", &asked, "true").await;
    assert_eq!(location(&reply).base, "/consent");
    // Nobody is signed in.
    let reply = press(&hub, "x=y", "/consent", &asked, "true").await;
    assert_eq!(location(&reply).base, "/sign-in");
}

#[tokio::test]
async fn an_unsigned_request_is_no_question() {
    let hub = OAuthHub::new().await;
    let path = crate::oauth_hub::authorize_path(CLI, LOOPBACK, &[]);
    let (_, query) = path.split_once('?').unwrap();
    let reply = press(&hub, &hub.cookie, "/continue", query, "true").await;
    assert!(!reply.status.is_redirection());
    assert_eq!(hub.step(APP, APP_URI, &[]).await.base, APP_URI);
}
