//! Opening sockets: what joins, and how everything else is refused in a form that browsers see.

use std::sync::atomic::Ordering;

use axum::body::Body;
use epicenter_server::upgrade::UpgradeDecision;
use http::request::Builder;

use crate::hub::{Reply, Signer, TestHub, upgrade};

const ROOM: &str = "/api/owners/ada/rooms/notes?deviceId=laptop";

async fn send(hub: &TestHub, builder: Builder) -> Reply {
    hub.send(builder.body(Body::empty()).unwrap()).await
}

/// An upgrade as a browser sends it, the token among the subprotocols.
async fn open(hub: &TestHub, path: &str, token: &str) -> Reply {
    let offer = format!("epicenter, bearer.{token}");
    send(hub, upgrade(path).header("sec-websocket-protocol", offer)).await
}

#[track_caller]
fn assert_joined(reply: &Reply, room: &str, device: &str, user: &str) {
    assert_eq!(reply.status, 101);
    match &reply.decision {
        Some(UpgradeDecision::Join {
            access,
            room: joined,
            device: as_device,
            ..
        }) => {
            assert_eq!(joined.to_string(), room);
            assert_eq!(as_device.as_str(), device);
            assert_eq!(access.user().as_str(), user);
        }
        other => panic!("not joined: {other:?}"),
    }
}

/// A refusal that a browser sees: the main protocol is answered, nothing of the token.
#[track_caller]
fn assert_refused(reply: &Reply, code: u16, reason: &str) {
    reply.assert_closed(code, reason);
    assert_eq!(reply.header("sec-websocket-protocol"), Some("epicenter"));
}

const INVALID_TOKEN: &str = r#"{"name":"InvalidToken","code":"invalid_token","status":401}"#;

#[tokio::test]
async fn a_good_upgrade_joins_and_the_token_does_not_come_back() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    let reply = open(&hub, ROOM, &token).await;
    assert_joined(&reply, "owners/ada/rooms/notes", "laptop", "ada");
    assert_eq!(reply.header("sec-websocket-protocol"), Some("epicenter"));
    for (name, value) in &reply.headers {
        assert!(!value.to_str().unwrap().contains(&token), "{name}");
    }

    let bearer = format!("Bearer {token}");
    let reply = send(&hub, upgrade(ROOM).header("authorization", &bearer)).await;
    assert_joined(&reply, "owners/ada/rooms/notes", "laptop", "ada");
    assert_eq!(reply.header("sec-websocket-protocol"), None);

    let both = upgrade(ROOM).header("authorization", &bearer).header(
        "sec-websocket-protocol",
        format!("epicenter, bearer.{token}"),
    );
    assert_joined(
        &send(&hub, both).await,
        "owners/ada/rooms/notes",
        "laptop",
        "ada",
    );
    // The host opens the room; the router asks it nothing.
    assert!(hub.rooms.asked().is_empty());
}

#[tokio::test]
async fn ids_are_decoded_once() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    let reply = open(
        &hub,
        "/api/owners/ada/rooms/a%2Fb?deviceId=my%20phone",
        &token,
    )
    .await;
    assert_joined(&reply, "owners/ada/rooms/a/b", "my phone", "ada");
    let reply = open(
        &hub,
        "/api/owners/ada/rooms/a%252Fb?x=1&deviceId=my+phone",
        &token,
    )
    .await;
    assert_joined(&reply, "owners/ada/rooms/a%2Fb", "my phone", "ada");
}

#[tokio::test]
async fn a_bad_or_missing_token_closes_with_4401() {
    let hub = TestHub::personal();
    let offer = |offer: &str| upgrade(ROOM).header("sec-websocket-protocol", offer);
    assert_refused(&send(&hub, offer("epicenter")).await, 4401, INVALID_TOKEN);
    assert_refused(
        &send(&hub, offer("epicenter, bearer.")).await,
        4401,
        INVALID_TOKEN,
    );
    assert_refused(&open(&hub, ROOM, "bad").await, 4401, INVALID_TOKEN);
    assert_refused(
        &open(&hub, ROOM, &hub.signer.token("nobody")).await,
        4401,
        INVALID_TOKEN,
    );
    let basic = offer("epicenter").header("authorization", "Basic YWRhOnB3");
    assert_refused(&send(&hub, basic).await, 4401, INVALID_TOKEN);

    // Nothing was offered, so nothing may be answered.
    let reply = send(&hub, upgrade(ROOM)).await;
    reply.assert_closed(4401, INVALID_TOKEN);
    assert_eq!(reply.header("sec-websocket-protocol"), None);
    let reply = send(&hub, offer("bearer.bad")).await;
    reply.assert_closed(4401, INVALID_TOKEN);
    assert_eq!(reply.header("sec-websocket-protocol"), None);
}

#[tokio::test]
async fn a_cookie_never_opens_a_socket_and_never_disturbs_one() {
    let hub = TestHub::personal();
    let cookie = "__Host-epicenter_session=abc";
    let alone = upgrade(ROOM)
        .header("sec-websocket-protocol", "epicenter")
        .header("cookie", cookie);
    assert_refused(&send(&hub, alone).await, 4401, INVALID_TOKEN);
    let beside = upgrade(ROOM)
        .header(
            "sec-websocket-protocol",
            format!("epicenter, bearer.{}", hub.signer.token("ada")),
        )
        .header("cookie", cookie);
    assert_joined(
        &send(&hub, beside).await,
        "owners/ada/rooms/notes",
        "laptop",
        "ada",
    );
}

#[tokio::test]
async fn several_bearers_close_with_4400() {
    let hub = TestHub::personal();
    let ada = hub.signer.token("ada");
    let bob = hub.signer.token("bob");
    let reason = r#"{"name":"MultipleCredentials","code":"multiple_credentials","status":400}"#;
    let offer = |offer: String| upgrade(ROOM).header("sec-websocket-protocol", offer);
    let cases = [
        offer(format!("epicenter, bearer.{ada}, bearer.{bob}")),
        offer(format!("epicenter, bearer.{ada}, bearer.{ada}")),
        offer(format!("epicenter, bearer.{ada}"))
            .header("sec-websocket-protocol", format!("bearer.{ada}")),
        offer(format!("epicenter, bearer.{ada}")).header("authorization", format!("Bearer {bob}")),
        offer("epicenter".to_owned())
            .header("authorization", format!("Bearer {ada}"))
            .header("authorization", format!("Bearer {ada}")),
    ];
    for case in cases {
        assert_refused(&send(&hub, case).await, 4400, reason);
    }
    // On other paths an upgrade is not taken up, and the rule holds all the same.
    let elsewhere = upgrade("/api/session").header(
        "sec-websocket-protocol",
        format!("bearer.{ada}, bearer.{bob}"),
    );
    send(&hub, elsewhere)
        .await
        .assert_error(400, "MultipleCredentials");
}

#[tokio::test]
async fn keys_or_accounts_out_of_reach_close_with_4503() {
    let reason = r#"{"name":"ServerError","code":"server_error","status":503}"#;
    let hub = TestHub::personal();
    hub.keys.down.store(true, Ordering::SeqCst);
    assert_refused(
        &open(&hub, ROOM, &hub.signer.token("ada")).await,
        4503,
        reason,
    );
    let hub = TestHub::personal();
    hub.users.down.store(true, Ordering::SeqCst);
    assert_refused(
        &open(&hub, ROOM, &hub.signer.token("ada")).await,
        4503,
        reason,
    );
    let hub = TestHub::personal();
    assert_refused(
        &open(&hub, ROOM, &Signer::new("other").token("ada")).await,
        4401,
        INVALID_TOKEN,
    );
}

#[tokio::test]
async fn what_is_not_the_callers_closes_with_4403() {
    let hub = TestHub::personal();
    let elsewhere = "/api/owners/bob/rooms/notes?deviceId=laptop";
    let reason = r#"{"name":"OwnerMismatch","code":"owner_mismatch","status":403}"#;
    assert_refused(
        &open(&hub, elsewhere, &hub.signer.token("ada")).await,
        4403,
        reason,
    );
    let read_only = hub.signer.token_with_scope("ada", "rooms.read keyring");
    let (code, reason) = open(&hub, ROOM, &read_only).await.closed();
    assert_eq!(code, 4403);
    let reason: serde_json::Value = serde_json::from_str(&reason).unwrap();
    assert_eq!(reason["name"], "insufficient_scope");
    assert_eq!(reason["code"], "insufficient_scope");

    let hub = TestHub::shared();
    let room = "/api/owners/shared/rooms/notes?deviceId=laptop";
    let reason = r#"{"name":"NotAdmitted","code":"not_admitted","status":403}"#;
    assert_refused(
        &open(&hub, room, &hub.signer.token("eve")).await,
        4403,
        reason,
    );
}

#[tokio::test]
async fn bad_ids_close_with_4400_after_the_token_was_checked() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    let missing = r#"{"name":"MissingDeviceId","code":"missing_device_id","status":400}"#;
    let device = r#"{"name":"InvalidDeviceId","code":"invalid_device_id","status":400}"#;
    let room = r#"{"name":"InvalidRoomId","code":"invalid_room_id","status":400}"#;
    let long_device = format!("notes?deviceId={}", "d".repeat(129));
    let long_room = format!("{}?deviceId=d", "r".repeat(257));
    let cases = [
        ("notes", missing),
        ("notes?deviceId=", missing),
        ("notes?deviceid=laptop", missing),
        ("notes?deviceId=a%2Fb", device),
        ("notes?deviceId=a%0Ab", device),
        ("notes?deviceId=%FF", device),
        ("notes?deviceId=a&deviceId=b", device),
        (&long_device, device),
        ("%00?deviceId=d", room),
        ("%FF?deviceId=d", room),
        ("%zz?deviceId=d", room),
        (&long_room, room),
        ("%00", missing),
    ];
    for (rest, reason) in cases {
        let path = format!("/api/owners/ada/rooms/{rest}");
        assert_refused(&open(&hub, &path, &token).await, 4400, reason);
        assert_refused(&open(&hub, &path, "bad").await, 4401, INVALID_TOKEN);
    }
}

#[tokio::test]
async fn in_a_shared_owner_a_device_belongs_to_its_first_user() {
    let hub = TestHub::shared();
    let room = "/api/owners/shared/rooms/notes?deviceId=laptop";
    let taken = r#"{"name":"DeviceTaken","code":"device_taken","status":403}"#;
    let joined = "owners/shared/rooms/notes";
    assert_joined(
        &open(&hub, room, &hub.signer.token("ada")).await,
        joined,
        "laptop",
        "ada",
    );
    assert_refused(
        &open(&hub, room, &hub.signer.token("bob")).await,
        4400,
        taken,
    );
    assert_joined(
        &open(&hub, room, &hub.signer.token("ada")).await,
        joined,
        "laptop",
        "ada",
    );
    let other_client = hub.signer.token_with("ada", |_, claims| {
        claims["client_id"] = serde_json::json!("epicenter-fuji");
    });
    assert_joined(
        &open(&hub, room, &other_client).await,
        joined,
        "laptop",
        "ada",
    );

    hub.devices.down.store(true, Ordering::SeqCst);
    let storage = r#"{"name":"StorageUnavailable","code":"storage_unavailable","status":503}"#;
    assert_refused(
        &open(&hub, room, &hub.signer.token("ada")).await,
        1013,
        storage,
    );

    // Owners of their own have devices of their own: nothing is claimed.
    let hub = TestHub::personal();
    hub.devices.down.store(true, Ordering::SeqCst);
    let reply = open(&hub, ROOM, &hub.signer.token("ada")).await;
    assert_joined(&reply, "owners/ada/rooms/notes", "laptop", "ada");
}

#[tokio::test]
async fn another_host_closes_too() {
    let hub = TestHub::personal();
    let mut request = upgrade(ROOM)
        .header("sec-websocket-protocol", "epicenter, bearer.x")
        .body(Body::empty())
        .unwrap();
    request
        .headers_mut()
        .insert("host", "evil.example".parse().unwrap());
    let reason = r#"{"name":"MisdirectedRequest","code":"misdirected_request","status":421}"#;
    assert_refused(&hub.send(request).await, 4400, reason);
}

#[tokio::test]
async fn a_malformed_handshake_is_answered_in_http() {
    let hub = TestHub::personal();
    let bearer = format!("Bearer {}", hub.signer.token("ada"));
    let send_changed = async |name: &'static str, value: Option<&str>| {
        let mut request = upgrade(ROOM)
            .header("authorization", &bearer)
            .body(Body::empty())
            .unwrap();
        match value {
            Some(value) => request.headers_mut().insert(name, value.parse().unwrap()),
            None => request.headers_mut().remove(name),
        };
        let reply = hub.send(request).await;
        assert!(reply.decision.is_none());
        reply
    };
    for version in [None, Some("8"), Some("13, 8")] {
        let reply = send_changed("sec-websocket-version", version).await;
        reply.assert_error(426, "UpgradeRequired");
        assert_eq!(reply.header("sec-websocket-version"), Some("13"));
        assert_eq!(reply.header("upgrade"), Some("websocket"));
    }
    for key in [None, Some("c2hvcnQ="), Some("not base64"), Some("")] {
        let reply = send_changed("sec-websocket-key", key).await;
        reply.assert_error(400, "MalformedUpgrade");
    }
    send_changed("connection", None)
        .await
        .assert_error(400, "MalformedUpgrade");
    send_changed("content-length", Some("5"))
        .await
        .assert_error(400, "MalformedUpgrade");
    // Not a WebSocket at all: the snapshot.
    assert_eq!(send_changed("upgrade", Some("h2c")).await.status, 204);
}

#[tokio::test]
async fn a_panic_costs_one_upgrade() {
    let hub = TestHub::shared();
    let room = "/api/owners/shared/rooms/notes?deviceId=laptop";
    let token = hub.signer.token("ada");
    hub.devices.panics.store(true, Ordering::SeqCst);
    let reason = r#"{"name":"InternalError","code":"internal_error","status":500}"#;
    assert_refused(&open(&hub, room, &token).await, 1013, reason);
    hub.devices.panics.store(false, Ordering::SeqCst);
    assert_joined(
        &open(&hub, room, &token).await,
        "owners/shared/rooms/notes",
        "laptop",
        "ada",
    );
}

/// `?saved=1` and nothing else makes the hub send frames that the clients of today do not know.
#[tokio::test]
async fn reports_come_only_when_they_are_asked_for() {
    let hub = TestHub::personal();
    let token = hub.signer.token("ada");
    for (query, expect) in [
        ("", false),
        ("&saved=1", true),
        ("&s%61ved=%31", true),
        ("&saved=", false),
        ("&saved=0", false),
        ("&saved=true", false),
        ("&saved", false),
        ("&Saved=1", false),
        ("&xsaved=1", false),
    ] {
        let reply = open(&hub, &format!("{ROOM}{query}"), &token).await;
        let Some(UpgradeDecision::Join { reports, .. }) = reply.decision else {
            panic!("{query}: {:?}", reply.decision);
        };
        assert_eq!(reports, expect, "{query}");
    }
}
