//! Who is let in: tokens, accounts, owners, scopes, and the shared hub.

use std::sync::atomic::Ordering;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_api::ErrorName;
use epicenter_room::{Answer, Tag};
use ring::hmac;
use serde_json::json;

use crate::hub::{NOW, ORIGIN, Reply, Signer, TestHub, encode, request};

const ROOM: &str = "/api/owners/ada/rooms/notes";

/// The whole of a 401, byte for byte.
#[track_caller]
fn assert_invalid_token(reply: &Reply) {
    reply.assert_error(401, "InvalidToken");
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    assert_eq!(reply.header("retry-after"), None);
    let message = ErrorName::InvalidToken.message();
    let expect = format!(
        concat!(
            r#"{{"data":null,"error":{{"name":"InvalidToken","message":"{0}","status":401}},"#,
            r#""name":"InvalidToken","message":"{0}","status":401}}"#
        ),
        message
    );
    assert_eq!(reply.body, expect);
}

async fn with_authorization(hub: &TestHub, lines: &[&str]) -> Reply {
    let mut builder = request("GET", ROOM);
    for line in lines {
        builder = builder.header("authorization", *line);
    }
    hub.send(builder.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn without_a_bearer_nobody_is_let_in() {
    let hub = TestHub::personal();
    for lines in [
        &[][..],
        &["Basic YWRhOnB3"],
        &["Bearer"],
        &["Bearer "],
        &["token"],
    ] {
        assert_invalid_token(&with_authorization(&hub, lines).await);
    }
    let cookie = request("GET", ROOM).header("cookie", "__Host-epicenter_session=abc");
    assert_invalid_token(&hub.send(cookie.body(Body::empty()).unwrap()).await);
    assert!(hub.rooms.asked().is_empty());
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let line = format!("{scheme} {token}");
        assert_eq!(
            with_authorization(&hub, &[&line]).await.status,
            204,
            "{scheme}"
        );
    }
}

#[tokio::test]
async fn two_authorization_headers_are_too_many_even_when_equal() {
    let hub = TestHub::personal();
    let ada = format!("Bearer {}", hub.signer.token("ada"));
    let bob = format!("Bearer {}", hub.signer.token("bob"));
    for lines in [[&ada, &bob], [&ada, &ada]] {
        let reply = with_authorization(&hub, &[lines[0], lines[1]]).await;
        reply.assert_error(400, "MultipleCredentials");
    }
    // Before routing, and also where no credential is needed.
    for path in ["/", "/nowhere"] {
        let request = request("GET", path)
            .header("authorization", &ada)
            .header("authorization", &bob)
            .body(Body::empty());
        hub.send(request.unwrap())
            .await
            .assert_error(400, "MultipleCredentials");
    }
}

#[tokio::test]
async fn a_bad_token_is_401_and_says_nothing_about_why() {
    let hub = TestHub::personal();
    let signer = &hub.signer;
    let good = signer.token("ada");
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let header_of = |alg: &str| {
        encode(&format!(
            r#"{{"alg":"{alg}","typ":"at+jwt","kid":"key-1"}}"#
        ))
    };

    let tampered = {
        let bytes = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let text = String::from_utf8(bytes)
            .unwrap()
            .replace("\"ada\"", "\"bob\"");
        format!("{header}.{}.{signature}", encode(&text))
    };
    let none = format!("{}.{claims}.", header_of("none"));
    let hs256 = {
        let signed = format!("{}.{claims}", header_of("HS256"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &signer.public().point);
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()))
        )
    };
    let changed = |name: &str, value: serde_json::Value| {
        signer.token_with("ada", |_, claims| claims[name] = value)
    };
    let without = |name: &str| {
        signer.token_with("ada", |_, claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
    };
    let cases = [
        ("garbage", "abc".to_owned()),
        ("tampered", tampered),
        ("none", none),
        ("hs256", hs256),
        ("stranger", Signer::new("key-1").token("ada")),
        ("expired", changed("exp", json!(NOW))),
        ("not yet", changed("nbf", json!(NOW + 1))),
        ("issuer", changed("iss", json!(ORIGIN))),
        ("audience", changed("aud", json!(format!("{ORIGIN}/")))),
        (
            "id_token",
            signer.token_with("ada", |header, _| header["typ"] = json!("JWT")),
        ),
        ("unknown user", signer.token("nobody")),
        ("shared is no user", signer.token("shared")),
        ("no grant", without("gid")),
        ("no client", without("client_id")),
        ("no subject", without("sub")),
        ("no expiry", without("exp")),
    ];
    for (name, token) in cases {
        let reply = hub.call("GET", ROOM, &token, b"").await;
        assert_eq!(reply.status, 401, "{name}");
        assert_invalid_token(&reply);
    }
    assert!(hub.rooms.asked().is_empty());
    let list = changed(
        "aud",
        json!([format!("{ORIGIN}/auth/oauth2/userinfo"), ORIGIN]),
    );
    assert_eq!(hub.call("GET", ROOM, &list, b"").await.status, 204);
    let azp = signer.token_with("ada", |_, claims| {
        claims["azp"] = claims["client_id"].take();
        claims.as_object_mut().unwrap().remove("client_id");
    });
    assert_eq!(hub.call("GET", ROOM, &azp, b"").await.status, 204);
}

#[tokio::test]
async fn a_disabled_user_is_out_within_thirty_seconds_and_a_new_one_in_at_once() {
    let hub = TestHub::personal();
    assert_eq!(hub.get(ROOM).await.status, 204);
    hub.users.change("ada", |ada| ada.enabled = false);
    hub.clock.advance(29_999);
    assert_eq!(hub.get(ROOM).await.status, 204);
    hub.clock.advance(1);
    assert_invalid_token(&hub.get(ROOM).await);
    hub.users.change("ada", |ada| ada.enabled = true);
    assert_eq!(hub.get(ROOM).await.status, 204);

    let zoe = hub.signer.token("zoe");
    let room = "/api/owners/zoe/rooms/notes";
    assert_invalid_token(&hub.call("GET", room, &zoe, b"").await);
    hub.users.add("zoe");
    assert_eq!(hub.call("GET", room, &zoe, b"").await.status, 204);
}

#[tokio::test]
async fn the_user_check_is_remembered_and_its_store_may_fail_meanwhile() {
    let hub = TestHub::personal();
    for _ in 0..5 {
        assert_eq!(hub.get(ROOM).await.status, 204);
    }
    assert_eq!(hub.users.reads.load(Ordering::SeqCst), 1);
    hub.users.down.store(true, Ordering::SeqCst);
    hub.clock.advance(29_999);
    assert_eq!(hub.get(ROOM).await.status, 204);
    hub.clock.advance(1);
    let reply = hub.get(ROOM).await;
    reply.assert_error(503, "ServerError");
    assert_eq!(reply.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn the_owner_in_the_path_must_be_the_callers_as_text() {
    let hub = TestHub::personal();
    for owner in ["bob", "Ada", "ada%20", "%FF", "%zz", "shared", "ad%2561"] {
        let reply = hub.get(&format!("/api/owners/{owner}/rooms/notes")).await;
        assert_eq!(reply.error(), (403, "OwnerMismatch".to_owned()), "{owner}");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    assert_eq!(hub.get("/api/owners/%61da/rooms/notes").await.status, 204);
    let (room, access, _) = hub.rooms.calls.lock().unwrap().remove(0);
    assert_eq!(room.to_string(), "owners/ada/rooms/notes");
    assert_eq!(access.user().as_str(), "ada");
    assert_eq!(access.client().as_str(), "epicenter-cli");
    assert_eq!(access.grant().as_str(), "grant-1");
}

#[tokio::test]
async fn each_route_needs_its_scope() {
    let hub = TestHub::personal();
    let push: &[u8] = &[1, 0, 1, 0];
    let pull: &[u8] = &[1, 0, 0];
    let dispatch: &[u8] = br#"{"to":"d","action":"a"}"#;
    let dispatch_path = &format!("{ROOM}/dispatch");
    let list = "/api/owners/ada/rooms";
    let restore_path = &format!("{ROOM}/restore");
    let cases: [(&str, &str, &[u8], &str); 8] = [
        ("GET", ROOM, b"", "rooms.read"),
        ("GET", list, b"", "rooms.read"),
        ("POST", ROOM, pull, "rooms.read"),
        ("POST", ROOM, push, "rooms.write"),
        ("PUT", ROOM, b"", "rooms.write"),
        ("DELETE", ROOM, b"", "rooms.write"),
        ("POST", dispatch_path, dispatch, "rooms.write"),
        ("POST", restore_path, b"", "rooms.write"),
    ];
    hub.rooms.answer(Answer::UpToDate { tag: Tag([0; 16]) });
    for (method, path, body, scope) in cases {
        let other = if scope == "rooms.read" {
            "rooms.write"
        } else {
            "rooms.read"
        };
        let good = hub.signer.token_with_scope("ada", scope);
        let reply = hub.call(method, path, &good, body).await;
        assert!(
            reply.status.is_success(),
            "{method} {path}: {}",
            reply.status
        );
        for lacking in [other, "keyring ai openid", ""] {
            let token = hub.signer.token_with_scope("ada", lacking);
            let reply = hub.call(method, path, &token, body).await;
            reply.assert_error(403, "insufficient_scope");
            // Which scope a POST needs is known once its body is read.
            if (method, path, lacking) != ("POST", ROOM, "") && lacking == other {
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
                assert_eq!(reply.header("www-authenticate"), Some(challenge.as_str()));
                assert_eq!(reply.json()["error"]["scope"], json!(scope));
            }
        }
    }
    let without = hub.signer.token_with("ada", |_, claims| {
        claims.as_object_mut().unwrap().remove("scope");
    });
    hub.call("GET", ROOM, &without, b"")
        .await
        .assert_error(403, "insufficient_scope");
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_specification() {
    let hub = TestHub::personal();
    let bad_room = "/api/owners/bob/rooms/%00";
    let no_scope = hub.signer.token_with_scope("ada", "");
    let big = vec![0; crate::hub::MAX_BODY + 1];
    // Body limit, then credentials, then token, owner, scope, ids.
    let two = request("POST", bad_room)
        .header("content-length", big.len())
        .header("authorization", "Bearer a")
        .header("authorization", "Bearer b");
    hub.send(two.body(Body::from(big)).unwrap())
        .await
        .assert_error(413, "PayloadTooLarge");
    let two = request("POST", bad_room)
        .header("authorization", "Bearer a")
        .header("authorization", "Bearer b");
    hub.send(two.body(Body::empty()).unwrap())
        .await
        .assert_error(400, "MultipleCredentials");
    hub.call("POST", bad_room, "bad", b"")
        .await
        .assert_error(401, "InvalidToken");
    hub.call("POST", bad_room, &no_scope, b"")
        .await
        .assert_error(403, "OwnerMismatch");
    let bad_room = "/api/owners/ada/rooms/%00";
    hub.call("POST", bad_room, &no_scope, b"")
        .await
        .assert_error(403, "insufficient_scope");
    let token = hub.signer.token("ada");
    hub.call("POST", bad_room, &token, b"")
        .await
        .assert_error(400, "InvalidRoomId");
    hub.call("POST", ROOM, &token, b"")
        .await
        .assert_error(400, "MalformedSyncBody");
}

#[tokio::test]
async fn a_shared_hub_lets_in_whom_it_admits() {
    let hub = TestHub::shared();
    let room = "/api/owners/shared/rooms/notes";
    for user in ["ada", "bob"] {
        assert_eq!(
            hub.call("GET", room, &hub.signer.token(user), b"")
                .await
                .status,
            204
        );
    }
    for (room, access, _) in hub.rooms.calls.lock().unwrap().iter() {
        assert_eq!(room.to_string(), "owners/shared/rooms/notes");
        assert_eq!(access.owner().as_str(), "shared");
    }
    hub.get("/api/owners/ada/rooms/notes")
        .await
        .assert_error(403, "OwnerMismatch");

    let eve = hub.signer.token("eve");
    for path in [room, "/api/owners/eve/rooms/notes", "/api/session"] {
        let reply = hub.call("GET", path, &eve, b"").await;
        reply.assert_error(403, "NotAdmitted");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    // Only a proven address admits; the account is read again after its time.
    hub.users.change("bob", |bob| bob.email_verified = false);
    hub.clock.advance(30_000);
    let reply = hub.call("GET", room, &hub.signer.token("bob"), b"").await;
    reply.assert_error(403, "NotAdmitted");
}
