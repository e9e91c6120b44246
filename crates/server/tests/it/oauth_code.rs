//! Redeeming codes: once, by whom they were given to, with the verifier.

use serde_json::Value;

use crate::hub::{NOW, ORIGIN};
use crate::oauth_hub::{
    APP, APP_URI, CLI, Changes, MINUTE, OAuthHub, OPENID, PASTED, SERVER, SERVER_SECRET,
    SERVER_URI, VERIFIER, assert_failure, read_token,
};

const ISSUER: &str = "https://hub.example/auth";

#[tokio::test]
async fn a_code_becomes_tokens() {
    let hub = OAuthHub::new().await;
    let code = hub.code(APP, APP_URI, &[("nonce", Some("n1"))]).await;
    hub.hub.clock.advance(5_000);
    let reply = hub.redeem(&code, &[("resource", Some(ORIGIN))]).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let answer = reply.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 600);
    assert_eq!(answer["expires_at"], NOW + 5 + 600);
    assert_eq!(answer["scope"], OPENID);
    assert_eq!(answer["refresh_token"].as_str().unwrap().len(), 43);

    let access_token = answer["access_token"].as_str().unwrap();
    let (header, claims) = read_token(access_token);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["kid"], "key-1");
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], serde_json::json!([ORIGIN]));
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["client_id"], APP);
    assert_eq!(claims["azp"], APP);
    let all = "openid profile email offline_access rooms.read rooms.write keyring ai";
    assert_eq!(claims["scope"], all);
    assert_eq!(claims["iat"], NOW + 5);
    assert_eq!(claims["exp"], NOW + 605);
    assert_eq!(claims["sid"], "session-1");
    assert_eq!(claims["gid"], hub.grants().await[0].id.as_str());
    assert!(!claims["jti"].as_str().unwrap().is_empty());

    let (header, claims) = read_token(answer["id_token"].as_str().unwrap());
    assert_eq!(header["typ"], "JWT");
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], APP);
    assert_eq!(claims["azp"], APP);
    assert_eq!(claims["sub"], "ada");
    assert_eq!(claims["nonce"], "n1");
    assert_eq!(claims["auth_time"], NOW);
    assert_eq!(claims["sid"], "session-1");
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["email_verified"], true);
    assert_eq!(claims["name"], "ada");
    assert_eq!(claims["at_hash"].as_str().unwrap().len(), 22);

    assert_eq!(hub.api(access_token).await, 200);
    // An id_token is signed with the same keys and is no access token.
    assert_eq!(hub.api(answer["id_token"].as_str().unwrap()).await, 401);
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_given() {
    let hub = OAuthHub::new().await;
    let code = hub.code(APP, APP_URI, &[("scope", Some("profile"))]).await;
    let answer = hub.redeem(&code, &[]).await.json();
    assert_eq!(answer["refresh_token"], Value::Null);
    assert_eq!(answer["id_token"], Value::Null);
    assert_eq!(answer["scope"], "profile");

    let code = hub.code(APP, APP_URI, &[("scope", Some("openid"))]).await;
    let answer = hub.redeem(&code, &[]).await.json();
    let (_, claims) = read_token(answer["id_token"].as_str().unwrap());
    assert_eq!(claims["email"], Value::Null);
    assert_eq!(claims["name"], Value::Null);

    // Without words the client's defaults.
    let code = hub.code(APP, APP_URI, &[("scope", None)]).await;
    assert_eq!(hub.redeem(&code, &[]).await.json()["scope"], OPENID);
}

#[tokio::test]
async fn a_second_use_is_refused_and_ends_what_the_first_gave() {
    let hub = OAuthHub::new().await;
    let other = hub.signed_in().await;
    let code = hub.code(APP, APP_URI, &[]).await;
    let first = hub.redeem(&code, &[]).await.json();
    let token = first["access_token"].as_str().unwrap();
    assert_eq!(hub.api(token).await, 200);

    assert_failure(&hub.redeem(&code, &[]).await, 400, "invalid_grant");
    assert_eq!(hub.api(token).await, 401);
    let refresh_token = first["refresh_token"].as_str().unwrap();
    let reply = hub.refresh(refresh_token, &[]).await;
    assert_failure(&reply, 400, "invalid_grant");
    // The person's other grants live.
    assert_eq!(hub.api(other["access_token"].as_str().unwrap()).await, 200);
    let audit = hub.hub.store.audit();
    assert!(audit.iter().any(|line| line.what == "grant.code_reused"));
}

#[tokio::test]
async fn a_second_use_is_seen_also_after_the_codes_own_end() {
    let hub = OAuthHub::new().await;
    let code = hub.code(APP, APP_URI, &[]).await;
    let first = hub.redeem(&code, &[]).await.json();
    hub.hub.clock.advance(5 * MINUTE);
    assert_failure(&hub.redeem(&code, &[]).await, 400, "invalid_grant");
    assert_eq!(hub.api(first["access_token"].as_str().unwrap()).await, 401);
}

#[tokio::test]
async fn four_at_once_make_one_grant() {
    let hub = OAuthHub::new().await;
    let code = hub.code(APP, APP_URI, &[]).await;
    let (a, b, c, d) = tokio::join!(
        hub.redeem(&code, &[]),
        hub.redeem(&code, &[]),
        hub.redeem(&code, &[]),
        hub.redeem(&code, &[])
    );
    let replies = [a, b, c, d];
    let won = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(won, 1);
    for lost in replies.iter().filter(|reply| reply.status != 200) {
        assert_failure(lost, 400, "invalid_grant");
    }
    // Which of them was the app cannot be told: the grant does not outlive it.
    assert_eq!(hub.grants().await.len(), 0);
    let audit = hub.hub.store.audit();
    let made = audit.iter().filter(|line| line.what == "grant.made");
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn attempts_that_are_not_the_apps_do_not_use_the_code_up() {
    let hub = OAuthHub::new().await;
    let code = hub.code(APP, APP_URI, &[]).await;
    let check = async |changes: Changes<'_>, error: &str| {
        assert_failure(&hub.redeem(&code, changes).await, 400, error);
    };
    check(&[("client_id", Some("epicenter-fuji"))], "invalid_grant").await;
    let wrong = VERIFIER.replace('d', "e");
    check(&[("code_verifier", Some(&wrong))], "invalid_grant").await;
    let other = Some("https://opensidian.epicenter.so/auth/callback");
    check(&[("redirect_uri", other)], "invalid_grant").await;
    let resource = Some("https://other.example");
    check(&[("resource", resource)], "invalid_target").await;
    check(&[("code_verifier", None)], "invalid_request").await;
    check(&[("redirect_uri", None)], "invalid_request").await;
    check(&[("code", None)], "invalid_request").await;
    check(&[("code", Some("another"))], "invalid_grant").await;
    hub.hub.store.fail(true);
    let reply = hub.redeem(&code, &[]).await;
    assert_failure(&reply, 503, "temporarily_unavailable");
    assert!(reply.header("retry-after").is_some());
    hub.hub.store.fail(false);
    assert_eq!(hub.redeem(&code, &[]).await.status, 200);
    // Nor do they end the grant afterwards.
    check(&[("client_id", Some("epicenter-fuji"))], "invalid_grant").await;
    check(&[("code_verifier", Some(&wrong))], "invalid_grant").await;
    assert_eq!(hub.grants().await.len(), 1);
}

#[tokio::test]
async fn codes_live_a_minute_and_pasted_ones_ten() {
    let hub = OAuthHub::new().await;
    let pasted = [("client_id", Some(CLI)), ("redirect_uri", Some(PASTED))];
    let (early, late) = (
        hub.code(APP, APP_URI, &[]).await,
        hub.code(APP, APP_URI, &[]).await,
    );
    let (early_pasted, late_pasted) = (
        hub.code(CLI, PASTED, &[]).await,
        hub.code(CLI, PASTED, &[]).await,
    );
    hub.hub.clock.advance(MINUTE - 1);
    assert_eq!(hub.redeem(&early, &[]).await.status, 200);
    hub.hub.clock.advance(1);
    assert_failure(&hub.redeem(&late, &[]).await, 400, "invalid_grant");
    hub.hub.clock.advance(9 * MINUTE - 1);
    assert_eq!(hub.redeem(&early_pasted, &pasted).await.status, 200);
    hub.hub.clock.advance(1);
    let reply = hub.redeem(&late_pasted, &pasted).await;
    assert_failure(&reply, 400, "invalid_grant");
}

#[tokio::test]
async fn a_disabled_person_gets_nothing() {
    use crate::oauth_hub::{act, ada};
    use epicenter_server::accounts::store::Accounts as _;
    let hub = OAuthHub::new().await;
    let answer = hub.signed_in().await;
    let code = hub.code(APP, APP_URI, &[]).await;
    hub.hub.users.change("ada", |user| user.enabled = false);
    let disabled = hub.hub.store.set_enabled(&ada(), false, &act()).await;
    assert_eq!(disabled, Ok(true));
    assert_failure(&hub.redeem(&code, &[]).await, 400, "invalid_grant");
    let token = answer["refresh_token"].as_str().unwrap();
    assert_failure(&hub.refresh(token, &[]).await, 400, "invalid_grant");
}

#[tokio::test]
async fn clients_prove_who_they_are() {
    let hub = OAuthHub::new().await;
    let code = hub.code(SERVER, SERVER_URI, &[]).await;
    let form = |more: &'static [(&str, &str)], code: &'static str| {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", SERVER_URI),
            ("code_verifier", VERIFIER),
        ];
        form.extend(more);
        form
    };
    let code: &'static str = code.leak();
    let basic = |id: &str, secret: &str| {
        use base64::Engine as _;
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let joined = format!("{}:{}", encode(id), encode(secret));
        let encoded = base64::engine::general_purpose::STANDARD.encode(joined);
        format!("Basic {encoded}")
    };
    let post = async |authorization: Option<&str>, form: &[(&str, &str)]| {
        let headers: Vec<_> = authorization
            .map(|line| ("authorization", line))
            .into_iter()
            .collect();
        hub.post("/auth/oauth2/token", &headers, form).await
    };
    // Nobody, an unknown one, no secret, a wrong one, one that was not asked for.
    let reply = post(None, &form(&[], code)).await;
    assert_failure(&reply, 400, "invalid_request");
    for more in [
        &[("client_id", "nobody")][..],
        &[("client_id", SERVER)],
        &[("client_id", SERVER), ("client_secret", "wrong")],
        &[("client_id", APP), ("client_secret", "any")],
    ] {
        let reply = post(None, &form(more, code)).await;
        assert_failure(&reply, 401, "invalid_client");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    for line in [
        basic(SERVER, "wrong"),
        basic(APP, SERVER_SECRET),
        basic("nobody", ""),
        "Basic !".to_owned(),
    ] {
        let reply = post(Some(&line), &form(&[], code)).await;
        assert_failure(&reply, 401, "invalid_client");
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic")
        );
    }
    // Two ways at once, two names at once.
    let right = basic(SERVER, SERVER_SECRET);
    for more in [
        &[("client_secret", SERVER_SECRET)][..],
        &[("client_id", APP)],
    ] {
        let reply = post(Some(&right), &form(more, code)).await;
        assert_failure(&reply, 400, "invalid_request");
    }
    assert_eq!(post(Some(&right), &form(&[], code)).await.status, 200);
    let code: &'static str = hub.code(SERVER, SERVER_URI, &[]).await.leak();
    let in_form = &[("client_id", SERVER), ("client_secret", SERVER_SECRET)];
    assert_eq!(post(None, &form(in_form, code)).await.status, 200);
}

#[tokio::test]
async fn only_forms_are_read_and_each_parameter_once() {
    use axum::body::Body;
    let hub = OAuthHub::new().await;
    let send = async |kind: Option<&str>, body: &str| {
        let mut request = crate::hub::request("POST", "/auth/oauth2/token");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = Body::from(body.to_owned());
        hub.hub.send(request.body(body).unwrap()).await
    };
    let form = Some("application/x-www-form-urlencoded; charset=UTF-8");
    let json = Some("application/json");
    assert_failure(&send(json, "{}").await, 415, "invalid_request");
    assert_failure(&send(None, "a=b").await, 415, "invalid_request");
    let app = format!("client_id={APP}");
    let check = async |body: &str, error: &str| {
        assert_failure(&send(form, body).await, 400, error);
    };
    check(&app, "invalid_request").await;
    check(&format!("{app}&{app}"), "invalid_request").await;
    check(
        &format!("{app}&grant_type=password"),
        "unsupported_grant_type",
    )
    .await;
    check(
        &format!("{app}&grant_type=client_credentials"),
        "unsupported_grant_type",
    )
    .await;
    check(
        &format!("{app}&grant_type=refresh_token&x=1&x=1"),
        "invalid_request",
    )
    .await;
    check("client_id=%FF", "invalid_request").await;
    // What stands in the query is not read.
    let reply = hub
        .post(&format!("/auth/oauth2/token?{app}"), &[], &[])
        .await;
    assert_failure(&reply, 400, "invalid_request");
}

/// Every case of `vectors/oauth.json` about PKCE, over authorize and token.
#[tokio::test]
async fn pkce_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/oauth.json");
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    let cases = cases.iter().filter(|case| case["kind"] == "pkce");
    let hub = OAuthHub::new().await;
    let mut count = 0;
    for case in cases {
        count += 1;
        let text = |name: &str| case[name].as_str().unwrap();
        let changes = [
            ("code_challenge", Some(text("challenge"))),
            ("code_challenge_method", Some(text("method"))),
        ];
        let location = hub.step(APP, APP_URI, &changes).await;
        let accepted = match location.parameters.get("code") {
            None => false,
            Some(code) => {
                let verifier = [("code_verifier", Some(text("verifier")))];
                hub.redeem(code, &verifier).await.status == 200
            }
        };
        assert_eq!(
            accepted,
            case["expect"].as_bool().unwrap(),
            "{}",
            case["id"]
        );
    }
    assert_eq!(count, 22);
}
