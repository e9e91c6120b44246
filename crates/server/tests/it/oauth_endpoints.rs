//! Revocation, introspection, userinfo, logout and metadata.

use serde_json::{Value, json};

use crate::hub::{NOW, ORIGIN, Reply};
use crate::oauth_hub::{
    APP, APP_URI, MINUTE, OAuthHub, SERVER, SERVER_SECRET, STRANGER, assert_failure,
};

const FUJI: &str = "epicenter-fuji";

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

async fn revoke(hub: &OAuthHub, client: &str, token: &str) -> Reply {
    let form = [("client_id", client), ("token", token)];
    hub.post("/auth/oauth2/revoke", &[], &form).await
}

#[tokio::test]
async fn any_token_of_a_grant_ends_it() {
    let hub = OAuthHub::new().await;
    for name in ["refresh_token", "access_token"] {
        let answer = hub.signed_in().await;
        let other = hub.signed_in().await;
        let reply = revoke(&hub, APP, text(&answer, name)).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.is_empty());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(hub.api(text(&answer, "access_token")).await, 401);
        let refreshed = hub.refresh(text(&answer, "refresh_token"), &[]).await;
        assert_failure(&refreshed, 400, "invalid_grant");
        assert_eq!(hub.api(text(&other, "access_token")).await, 200);
        // Again is no error.
        let again = revoke(&hub, APP, text(&answer, name)).await;
        assert_eq!(again.status, 200);
    }
}

#[tokio::test]
async fn an_expired_access_token_still_names_its_grant() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    hub.hub.clock.advance(11 * MINUTE);
    assert_eq!(
        revoke(&hub, APP, text(&answer, "access_token"))
            .await
            .status,
        200
    );
    assert_eq!(hub.grants().await.len(), 0);
}

#[tokio::test]
async fn a_client_ends_only_its_own_grants() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let forged = hub.hub.signer.token_with("ada", |header, claims| {
        header["kid"] = json!("key-2");
        claims["client_id"] = json!(APP);
        claims["gid"] = json!(answer["refresh_token"]);
    });
    let (signed, _) = text(&answer, "access_token").rsplit_once('.').unwrap();
    let unsigned = format!("{signed}.{}", "A".repeat(86));
    for (client, token) in [
        (FUJI, text(&answer, "refresh_token")),
        (FUJI, text(&answer, "access_token")),
        (APP, text(&answer, "id_token")),
        (APP, &forged),
        (APP, &unsigned),
        (APP, "bogus"),
        (APP, "a.b.c"),
    ] {
        let reply = revoke(&hub, client, token).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
    }
    assert_eq!(hub.grants().await.len(), 1);
    assert_eq!(hub.api(text(&answer, "access_token")).await, 200);
}

#[tokio::test]
async fn revocation_needs_a_client_a_token_and_a_store() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let token = text(&answer, "refresh_token");
    assert_failure(&revoke(&hub, "nobody", token).await, 401, "invalid_client");
    assert_failure(&revoke(&hub, SERVER, token).await, 401, "invalid_client");
    let reply = hub
        .post("/auth/oauth2/revoke", &[], &[("client_id", APP)])
        .await;
    assert_failure(&reply, 400, "invalid_request");
    hub.hub.store.fail(true);
    // "200" would be a lie.
    assert_failure(
        &revoke(&hub, APP, token).await,
        503,
        "temporarily_unavailable",
    );
    hub.hub.store.fail(false);
    assert_eq!(hub.grants().await.len(), 1);
}

async fn introspect(hub: &OAuthHub, token: &str) -> Value {
    let form = [
        ("client_id", SERVER),
        ("client_secret", SERVER_SECRET),
        ("token", token),
    ];
    let reply = hub.post("/auth/oauth2/introspect", &[], &form).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    reply.json()
}

#[tokio::test]
async fn a_confidential_client_learns_what_a_token_is_worth() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let token = text(&answer, "access_token");
    let found = introspect(&hub, token).await;
    assert_eq!(found["active"], true);
    assert_eq!(found["sub"], "ada");
    assert_eq!(found["client_id"], APP);
    assert_eq!(found["exp"], NOW + 600);
    assert_eq!(found["aud"], json!([ORIGIN]));
    let inactive = json!({ "active": false });
    for other in [
        "bogus",
        "a.b.c",
        text(&answer, "id_token"),
        // Another client's.
        text(&answer, "refresh_token"),
    ] {
        assert_eq!(introspect(&hub, other).await, inactive);
    }
    hub.hub.clock.advance(10 * MINUTE);
    assert_eq!(introspect(&hub, token).await, inactive);

    let answer = hub.signed_in().await;
    let token = text(&answer, "access_token");
    assert_eq!(introspect(&hub, token).await["active"], true);
    revoke(&hub, APP, token).await;
    assert_eq!(introspect(&hub, token).await, inactive);
}

#[tokio::test]
async fn public_clients_learn_nothing_by_introspection() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    for client in [APP, STRANGER] {
        let form = [
            ("client_id", client),
            ("token", text(&answer, "access_token")),
        ];
        let reply = hub.post("/auth/oauth2/introspect", &[], &form).await;
        assert_failure(&reply, 401, "invalid_client");
    }
}

#[tokio::test]
async fn userinfo_goes_by_scope() {
    let hub = OAuthHub::new().await;
    let userinfo = async |scope: &str| {
        let code = hub.code(APP, APP_URI, &[("scope", Some(scope))]).await;
        let answer = hub.redeem(&code, &[]).await.json();
        let bearer = format!("Bearer {}", text(&answer, "access_token"));
        hub.get("/auth/oauth2/userinfo", &[("authorization", &bearer)])
            .await
    };
    let all = json!({
        "sub": "ada", "name": "ada", "email": "ada@example.com", "email_verified": true,
    });
    assert_eq!(userinfo("openid profile email").await.json(), all);
    let reply = userinfo("openid").await;
    assert_eq!(reply.json(), json!({ "sub": "ada" }));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let reply = userinfo("profile email").await;
    assert_failure(&reply, 403, "insufficient_scope");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope"));
}

#[tokio::test]
async fn userinfo_takes_a_bearer_and_nothing_else() {
    let hub = OAuthHub::new().await;
    let path = "/auth/oauth2/userinfo";
    let reply = hub.get(path, &[]).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let reply = hub.get(path, &[("cookie", &hub.cookie)]).await;
    assert_eq!(reply.status, 401);
    let reply = hub.get(path, &[("authorization", "Bearer bad")]).await;
    assert_failure(&reply, 401, "invalid_token");
    let challenge = reply.header("www-authenticate").unwrap();
    assert!(challenge.contains("invalid_token"));
}

fn logout_path(parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.extend_pairs(parameters).finish();
    format!("/auth/oauth2/end-session?{query}")
}

#[tokio::test]
async fn an_app_signs_the_browser_out_and_keeps_its_grant() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let hint = text(&answer, "id_token");
    let path = logout_path(&[
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", "https://opensidian.com/"),
        ("state", "s 1"),
    ]);
    // An hour later the hint has expired and is a hint all the same.
    hub.hub.clock.advance(60 * MINUTE);
    let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
    assert_eq!(reply.status, 303);
    let location = reply.header("location").unwrap();
    assert_eq!(location, "https://opensidian.com/?state=s+1");
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-epicenter_session=;"), "{cookie}");
    let location = hub.step(APP, APP_URI, &[]).await;
    assert_eq!(location.base, "/sign-in");
    assert_eq!(hub.grants().await.len(), 1);
    OAuthHub::next(&hub.refresh(text(&answer, "refresh_token"), &[]).await);
}

#[tokio::test]
async fn without_the_sessions_own_hint_the_person_is_asked() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let hint = text(&answer, "id_token");
    let (signed, _) = hint.rsplit_once('.').unwrap();
    let unsigned = format!("{signed}.{}", "A".repeat(86));
    let other_session = hub.sign_in("session-2", NOW * 1_000).await;
    let back = ("post_logout_redirect_uri", "https://opensidian.com/");
    let mine = hub.cookie.as_str();
    for (cookie, parameters) in [
        (mine, &[back][..]),
        (mine, &[("id_token_hint", "bogus"), back]),
        (mine, &[("id_token_hint", &unsigned), back]),
        (
            mine,
            &[("id_token_hint", text(&answer, "access_token")), back],
        ),
        (mine, &[("id_token_hint", hint), ("client_id", FUJI), back]),
        (&other_session, &[("id_token_hint", hint), back]),
    ] {
        let reply = hub
            .get(&logout_path(parameters), &[("cookie", cookie)])
            .await;
        assert_eq!(reply.status, 303);
        assert_eq!(reply.header("location"), Some("/sign-out"));
        assert_eq!(reply.header("set-cookie"), None);
    }
    assert_eq!(hub.step(APP, APP_URI, &[]).await.base, APP_URI);
}

#[tokio::test]
async fn nobody_is_sent_to_a_foreign_page_after_signing_out() {
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let path = logout_path(&[
        ("id_token_hint", text(&answer, "id_token")),
        ("post_logout_redirect_uri", "https://evil.example/"),
    ]);
    let reply = hub.get(&path, &[("cookie", &hub.cookie)]).await;
    assert_eq!(reply.header("location"), Some("/sign-in"));
}

#[tokio::test]
async fn metadata_says_what_there_is() {
    let hub = OAuthHub::new().await;
    let cached = Some("public, max-age=15, stale-while-revalidate=15, stale-if-error=86400");
    let openid = hub.get("/auth/.well-known/openid-configuration", &[]).await;
    let oauth = hub
        .get("/.well-known/oauth-authorization-server/auth", &[])
        .await;
    assert_eq!(openid.body, oauth.body);
    assert_eq!(openid.header("cache-control"), cached);
    let document = openid.json();
    assert_eq!(document["issuer"], "https://hub.example/auth");
    assert_eq!(document["registration_endpoint"], Value::Null);
    assert_eq!(
        document["authorization_response_iss_parameter_supported"],
        true
    );
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    let methods = document["token_endpoint_auth_methods_supported"].as_array();
    assert!(methods.unwrap().contains(&json!("none")));
    let scopes = document["scopes_supported"].as_array().unwrap();
    assert_eq!(scopes.len(), 9);
    // What is named is there.
    for (name, value) in document.as_object().unwrap() {
        if let Some(url) = value.as_str().filter(|_| name.ends_with("_endpoint")) {
            let path = url.strip_prefix(ORIGIN).unwrap();
            assert_ne!(hub.get(path, &[]).await.status, 404, "{name}");
        }
    }
    let resource = hub.get("/.well-known/oauth-protected-resource", &[]).await;
    assert_eq!(resource.header("cache-control"), cached);
    assert_eq!(resource.json()["resource"], ORIGIN);
    let servers = json!(["https://hub.example/auth"]);
    assert_eq!(resource.json()["authorization_servers"], servers);
}
