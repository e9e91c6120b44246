//! Asking for a code: what is answered where, and what never reaches a client.

use crate::hub::{NOW, ORIGIN};
use crate::oauth_hub::{
    APP, APP_URI, CHALLENGE, CLI, Changes, LOOPBACK, Location, MINUTE, OAuthHub, PASTED, SERVER,
    SERVER_URI, STRANGER, STRANGER_URI, authorize_path,
};

const ISSUER: &str = "https://hub.example/auth";
const FUJI: &str = "epicenter-fuji";
const FUJI_SCHEME: &str = "epicenter-fuji://auth/callback";

#[tokio::test]
async fn a_trusted_app_gets_a_code_with_state_and_issuer() {
    let hub = OAuthHub::new().await;
    let reply = hub.authorize(APP, APP_URI, &[]).await;
    assert_eq!(reply.status, 302);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    let location = Location::of(reply.header("location").unwrap());
    assert_eq!(location.base, APP_URI);
    assert_eq!(location.parameters["code"].len(), 43);
    assert_eq!(location.parameters["state"], "st1");
    assert_eq!(location.parameters["iss"], ISSUER);

    let location = hub.step(APP, APP_URI, &[("state", None)]).await;
    assert!(!location.parameters.contains_key("state"));
    // A redirect URI's own query stays.
    let location = hub.step(SERVER, SERVER_URI, &[]).await;
    assert_eq!(location.parameters["keep"], "1");
    assert!(location.parameters.contains_key("code"));
}

#[tokio::test]
async fn scripts_are_told_where_to_go_in_json() {
    let hub = OAuthHub::new().await;
    for header in [("accept", "application/json"), ("sec-fetch-mode", "cors")] {
        let path = authorize_path(APP, APP_URI, &[]);
        let reply = hub.get(&path, &[("cookie", &hub.cookie), header]).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["redirect"], true);
        let url = reply.json()["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with("https://opensidian.com/auth/callback?code="));
    }
}

#[tokio::test]
async fn without_a_proven_recipient_nothing_leaves_the_hub() {
    let hub = OAuthHub::new().await;
    let evil = Some("https://evil.example/cb");
    let check = async |client: &str, changes: Changes<'_>, error: &str| {
        let location = hub.step(client, APP_URI, changes).await;
        location.assert_error("/auth/error", error);
        assert_eq!(location.parameters.len(), 1);
    };
    check("nobody", &[], "invalid_client").await;
    check(APP, &[("client_id", None)], "invalid_request").await;
    check(APP, &[("redirect_uri", None)], "invalid_redirect").await;
    check(APP, &[("redirect_uri", evil)], "invalid_redirect").await;
    // Also when something else is wrong, and for the address of another client.
    let changes = &[("redirect_uri", evil), ("response_type", None)];
    check(APP, changes, "invalid_redirect").await;
    check(STRANGER, &[], "invalid_redirect").await;
    // `localhost` is nobody's own while the hub is elsewhere.
    let local = Some("http://localhost:5176/auth/callback");
    check(APP, &[("redirect_uri", local)], "invalid_redirect").await;
    let near = Some("https://opensidian.com/auth/callback/../evil");
    check(APP, &[("redirect_uri", near)], "invalid_redirect").await;
}

#[tokio::test]
async fn a_parameter_that_stands_twice_is_refused() {
    let hub = OAuthHub::new().await;
    for twice in [
        "client_id=x",
        "redirect_uri=x",
        "scope=openid",
        "state=st1",
        "x=1&x=2",
    ] {
        let path = format!("{}&{twice}", authorize_path(APP, APP_URI, &[]));
        let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
        let location = Location::of(reply.header("location").unwrap());
        location.assert_error("/auth/error", "invalid_request");
    }
}

#[tokio::test]
async fn errors_reach_the_app_with_state_and_issuer() {
    let hub = OAuthHub::new().await;
    let check = async |changes: Changes<'_>, error: &str| {
        let location = hub.step(APP, APP_URI, changes).await;
        location.assert_error(APP_URI, error);
        assert_eq!(location.parameters["state"], "st1");
        assert_eq!(location.parameters["iss"], ISSUER);
        assert!(!location.parameters.contains_key("code"));
    };
    check(&[("response_type", None)], "invalid_request").await;
    check(
        &[("response_type", Some("token"))],
        "unsupported_response_type",
    )
    .await;
    check(&[("response_mode", Some("fragment"))], "invalid_request").await;
    check(&[("request", Some("e30.e30."))], "request_not_supported").await;
    let uri = Some("https://evil.example/request");
    check(&[("request_uri", uri)], "request_uri_not_supported").await;
    check(&[("scope", Some("openid bogus"))], "invalid_scope").await;
    check(
        &[("resource", Some("https://other.example"))],
        "invalid_target",
    )
    .await;
    check(
        &[("resource", Some("https://hub.example.evil"))],
        "invalid_target",
    )
    .await;
    check(&[("prompt", Some("none login"))], "invalid_request").await;
    check(&[("prompt", Some("create"))], "invalid_request").await;
    check(&[("max_age", Some("-1"))], "invalid_request").await;
    check(&[("max_age", Some("soon"))], "invalid_request").await;
}

#[tokio::test]
async fn every_client_needs_pkce_with_s256() {
    let hub = OAuthHub::new().await;
    for (client, uri) in [(APP, APP_URI), (SERVER, SERVER_URI), (CLI, PASTED)] {
        let base = uri.split('?').next().unwrap();
        let check = async |changes: Changes<'_>| {
            let location = hub.step(client, uri, changes).await;
            location.assert_error(base, "invalid_request");
        };
        check(&[("code_challenge", None)]).await;
        check(&[("code_challenge_method", None)]).await;
        check(&[("code_challenge_method", Some("plain"))]).await;
        check(&[("code_challenge_method", Some("s256"))]).await;
        let padded = format!("{CHALLENGE}=");
        check(&[("code_challenge", Some(&padded))]).await;
        check(&[("code_challenge", Some(&CHALLENGE[1..]))]).await;
        let standard = CHALLENGE.replace('-', "+");
        check(&[("code_challenge", Some(&standard))]).await;
    }
}

#[tokio::test]
async fn who_is_not_signed_in_signs_in_and_comes_back() {
    let hub = OAuthHub::new().await;
    let path = authorize_path(APP, APP_URI, &[("nonce", Some("n 1&2"))]);
    let reply = hub.get(&path, &[]).await;
    let location = Location::of(reply.header("location").unwrap());
    assert_eq!(location.base, "/sign-in");
    assert_eq!(location.parameters["state"], "st1");
    assert_eq!(location.parameters["nonce"], "n 1&2");

    let path = format!("/auth/oauth2/authorize?{}", location.query);
    let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
    let location = Location::of(reply.header("location").unwrap());
    assert_eq!(location.base, APP_URI);
    assert!(location.parameters.contains_key("code"));
}

#[tokio::test]
async fn a_pending_request_cannot_be_changed_or_kept() {
    let hub = OAuthHub::new().await;
    let reply = hub.get(&authorize_path(APP, APP_URI, &[]), &[]).await;
    let pending = Location::of(reply.header("location").unwrap()).query;
    let check = async |query: &str, expect: &str| {
        let path = format!("/auth/oauth2/authorize?{query}");
        let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
        let location = Location::of(reply.header("location").unwrap());
        match expect {
            "code" => assert!(location.parameters.contains_key("code")),
            error => location.assert_error("/auth/error", error),
        }
    };
    let spoil = |from: &str, to: &str| {
        let spoilt = pending.replace(from, to);
        assert_ne!(spoilt, pending);
        spoilt
    };
    check(&pending, "code").await;
    check(&spoil("state=st1", "state=st2"), "expired_request").await;
    check(
        &spoil("requested_at=18", "requested_at=17"),
        "expired_request",
    )
    .await;
    check(&spoil("exp=18", "exp=19"), "expired_request").await;
    check(&spoil("sig=", "sig=A"), "expired_request").await;
    check(
        &spoil("scope=openid", "scope=account+openid"),
        "expired_request",
    )
    .await;
    check(&format!("{pending}&prompt=none"), "expired_request").await;
    // The order is not part of it.
    let mut pairs: Vec<_> = pending.split('&').collect();
    pairs.reverse();
    check(&pairs.join("&"), "code").await;

    hub.hub.clock.advance(10 * MINUTE - 1);
    check(&pending, "code").await;
    hub.hub.clock.advance(1);
    check(&pending, "expired_request").await;
}

#[tokio::test]
async fn prompt_login_asks_once_and_not_for_ever() {
    let hub = OAuthHub::new().await;
    hub.hub.clock.advance(1_000);
    let login = &[("prompt", Some("login"))];
    let location = hub.step(APP, APP_URI, login).await;
    assert_eq!(location.base, "/sign-in");
    let path = format!("/auth/oauth2/authorize?{}", location.query);

    // The old session does not do, however often it comes back; one begun since does.
    let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
    let again = Location::of(reply.header("location").unwrap());
    assert_eq!(again.base, "/sign-in");
    let path = format!("/auth/oauth2/authorize?{}", again.query);
    let fresh = hub.sign_in("session-2", NOW * 1_000 + 1_000).await;
    let reply = hub.get(&path, &[("cookie", &fresh)]).await;
    let location = Location::of(reply.header("location").unwrap());
    assert!(location.parameters.contains_key("code"), "{location:?}");
    // A new request asks anew.
    let reply = hub
        .get(&authorize_path(APP, APP_URI, login), &[("cookie", &fresh)])
        .await;
    assert!(reply.header("location").unwrap().starts_with("/sign-in?"));
}

#[tokio::test]
async fn max_age_counts_from_the_sign_in() {
    let hub = OAuthHub::new().await;
    let check = async |max_age: &str, expect: &str| {
        let location = hub.step(APP, APP_URI, &[("max_age", Some(max_age))]).await;
        assert_eq!(location.base, expect);
    };
    hub.hub.clock.advance(10_000);
    check("10", APP_URI).await;
    hub.hub.clock.advance(1);
    check("10", "/sign-in").await;
    check("11", APP_URI).await;
    check("0", "/sign-in").await;
    let silent = &[("max_age", Some("5")), ("prompt", Some("none"))];
    let location = hub.step(APP, APP_URI, silent).await;
    location.assert_error(APP_URI, "login_required");
}

#[tokio::test]
async fn prompt_none_never_shows_anything() {
    let hub = OAuthHub::new().await;
    let none = &[("prompt", Some("none"))];
    let location = hub.step(APP, APP_URI, none).await;
    assert!(location.parameters.contains_key("code"));

    let reply = hub.get(&authorize_path(APP, APP_URI, none), &[]).await;
    let location = Location::of(reply.header("location").unwrap());
    location.assert_error(APP_URI, "login_required");
    assert_eq!(location.parameters["iss"], ISSUER);

    let location = hub.step(STRANGER, STRANGER_URI, none).await;
    location.assert_error(STRANGER_URI, "consent_required");
    let location = hub.step(CLI, LOOPBACK, none).await;
    location.assert_error(LOOPBACK, "interaction_required");
    let location = hub.step(FUJI, FUJI_SCHEME, none).await;
    location.assert_error(FUJI_SCHEME, "interaction_required");
}

#[tokio::test]
async fn an_address_that_can_be_imitated_needs_a_click() {
    let hub = OAuthHub::new().await;
    assert_eq!(hub.step(CLI, LOOPBACK, &[]).await.base, "/continue");
    assert_eq!(hub.step(FUJI, FUJI_SCHEME, &[]).await.base, "/continue");
    // Pasting is the click.
    assert_eq!(hub.step(CLI, PASTED, &[]).await.base, PASTED);
    // That a click is needed again each time follows from there being nothing that remembers it.
    let location = hub.step(CLI, LOOPBACK, &[]).await;
    let path = format!("/auth/oauth2/authorize?{}", location.query);
    let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
    assert!(reply.header("location").unwrap().starts_with("/continue?"));
}

#[tokio::test]
async fn prompts_ask_trusted_apps_too() {
    let hub = OAuthHub::new().await;
    let ask = |prompt| [("prompt", Some(prompt))];
    let base = hub.step(APP, APP_URI, &ask("consent")).await.base;
    assert_eq!(base, "/consent");
    let base = hub.step(APP, APP_URI, &ask("select_account")).await.base;
    assert_eq!(base, "/continue");
    // The operator does not speak for a person's account.
    let account = &[("scope", Some("openid account"))];
    assert_eq!(hub.step(APP, APP_URI, account).await.base, "/consent");
}

#[tokio::test]
async fn a_stranger_asks_for_consent_even_for_nothing() {
    let hub = OAuthHub::new().await;
    for scope in [None, Some("openid"), Some("keyring")] {
        let location = hub.step(STRANGER, STRANGER_URI, &[("scope", scope)]).await;
        assert_eq!(location.base, "/consent");
    }
}

#[tokio::test]
async fn a_store_that_fails_is_no_answer() {
    let hub = OAuthHub::new().await;
    hub.hub.store.fail(true);
    let reply = hub.authorize(APP, APP_URI, &[]).await;
    assert_eq!(reply.status, 503);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("location"), None);
}

#[tokio::test]
async fn the_resource_may_be_named() {
    let hub = OAuthHub::new().await;
    let location = hub.step(APP, APP_URI, &[("resource", Some(ORIGIN))]).await;
    assert!(location.parameters.contains_key("code"));
}
