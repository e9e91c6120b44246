//! Everything around the routes: what the hub says about itself, unknown paths, hosts, request ids, panics, the session.

use std::sync::atomic::Ordering;

use axum::body::Body;
use epicenter_identity::personal;
use epicenter_room::{Answer, Tag};
use serde_json::json;

use crate::hub::{Reply, TestHub, request, upgrade};
use crate::logs;

async fn get(hub: &TestHub, path: &str) -> Reply {
    hub.send(request("GET", path).body(Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn the_hub_says_what_it_is() {
    let hub = TestHub::personal();
    let reply = get(&hub, "/").await;
    assert_eq!(reply.status, 200);
    let expect = json!({
        "mode": "hub", "version": "0.1.0", "runtime": "native", "sourceUrl": "https://source.example",
    });
    assert_eq!(reply.json(), expect);
    assert_eq!(get(&TestHub::shared(), "/").await.json()["mode"], "shared");

    let head = hub
        .send(request("HEAD", "/").body(Body::empty()).unwrap())
        .await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn live_is_the_process_and_ready_is_stores_and_keys() {
    let hub = TestHub::personal();
    for path in ["/healthz", "/readyz"] {
        let reply = get(&hub, path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json(), json!({ "status": "ok" }));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    hub.health.down.store(true, Ordering::SeqCst);
    let reply = get(&hub, "/readyz").await;
    reply.assert_error(503, "StorageUnavailable");
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert_eq!(get(&hub, "/healthz").await.status, 200);

    let hub = TestHub::personal();
    hub.keys.down.store(true, Ordering::SeqCst);
    get(&hub, "/readyz")
        .await
        .assert_error(503, "StorageUnavailable");
    let hub = TestHub::personal();
    hub.keys.keys.lock().unwrap().clear();
    get(&hub, "/readyz")
        .await
        .assert_error(503, "StorageUnavailable");
    // Once loaded, keys are there whatever the store does.
    let hub = TestHub::personal();
    assert_eq!(get(&hub, "/readyz").await.status, 200);
    hub.keys.down.store(true, Ordering::SeqCst);
    hub.clock.advance(60_000);
    assert_eq!(get(&hub, "/readyz").await.status, 200);
}

#[tokio::test]
async fn the_session_bridges_a_token_to_user_owner_and_keys() {
    let hub = TestHub::personal();
    let reply = hub.get("/api/session").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let session = reply.json();
    assert_eq!(
        session["user"],
        json!({ "id": "ada", "email": "ada@example.com" })
    );
    assert_eq!(session["ownerId"], "ada");
    let keyring = session["keyring"].as_array().unwrap();
    assert_eq!(keyring.len(), 1);
    assert_eq!(keyring[0]["version"], 1);
    assert_eq!(keyring[0]["keyBytesBase64"].as_str().unwrap().len(), 44);

    let without = hub.signer.token_with_scope("ada", "rooms.read rooms.write");
    let session = hub.call("GET", "/api/session", &without, b"").await.json();
    assert_eq!(session["keyring"], json!([]));
    assert_eq!(session["ownerId"], "ada");

    // The key that clients of a shared hub with this root secret hold today.
    let shared = TestHub::shared();
    let session = shared.get("/api/session").await.json();
    assert_eq!(session["ownerId"], "shared");
    let key = &session["keyring"][0]["keyBytesBase64"];
    assert_eq!(key, "lHkET8K1oKr9farZPC5yfazSIjrK/WP8/XmhKo3iMgk=");

    get(&hub, "/api/session")
        .await
        .assert_error(401, "InvalidToken");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_envelope() {
    let hub = TestHub::personal();
    for path in [
        "/nowhere",
        "/auth/nowhere",
        "/api",
        "/api/owners/ada",
        "/healthz/",
    ] {
        get(&hub, path).await.assert_error(404, "NotFound");
    }
    let cases = [
        ("POST", "/", "GET,HEAD"),
        ("DELETE", "/healthz", "GET,HEAD"),
        ("POST", "/api/session", "GET,HEAD"),
        ("PUT", "/api/owners/ada/rooms", "GET,HEAD"),
        (
            "PATCH",
            "/api/owners/ada/rooms/notes",
            "GET,HEAD,POST,PUT,DELETE",
        ),
        ("GET", "/api/owners/ada/rooms/notes/dispatch", "POST"),
    ];
    for (method, path, allow) in cases {
        let reply = hub
            .send(request(method, path).body(Body::empty()).unwrap())
            .await;
        reply.assert_error(405, "MethodNotAllowed");
        assert!(reply.header("x-request-id").is_some());
        let mut allowed: Vec<_> = reply.header("allow").unwrap().split(',').collect();
        let mut expect: Vec<_> = allow.split(',').collect();
        allowed.sort_unstable();
        expect.sort_unstable();
        assert_eq!(allowed, expect, "{method} {path}");
    }
}

#[tokio::test]
async fn a_request_names_this_hub() {
    let with_host = async |hub: &TestHub, hosts: &[&str]| {
        let mut request = http::Request::builder().uri("/healthz");
        for host in hosts {
            request = request.header("host", *host);
        }
        hub.send(request.body(Body::empty()).unwrap()).await
    };
    let hub = TestHub::personal();
    for host in ["hub.example", "HUB.example", "hub.example:443"] {
        assert_eq!(with_host(&hub, &[host]).await.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "hub.example.evil",
        "hub.example:80",
        "hub.example:8443",
        "127.0.0.1",
        "localhost",
    ] {
        with_host(&hub, &[host])
            .await
            .assert_error(421, "MisdirectedRequest");
    }
    for hosts in [
        &[][..],
        &[""],
        &["a b"],
        &["hub.example:x"],
        &["hub.example", "hub.example"],
    ] {
        with_host(&hub, hosts)
            .await
            .assert_error(400, "InvalidRequest");
    }
    // The request line may name the host as well, and neither overrules the other.
    let absolute = |host: Option<&str>, uri: &str| {
        let mut request = http::Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        hub.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(
        absolute(None, "https://hub.example/healthz").await.status,
        200
    );
    let evil = absolute(Some("hub.example"), "https://evil.example/healthz").await;
    evil.assert_error(421, "MisdirectedRequest");
    let evil = absolute(Some("evil.example"), "https://hub.example/healthz").await;
    evil.assert_error(421, "MisdirectedRequest");

    let local = TestHub::build(personal(), |config| config.loopback_port = Some(8787));
    for host in [
        "127.0.0.1:8787",
        "localhost:8787",
        "LOCALHOST:8787",
        "[::1]:8787",
        "hub.example",
    ] {
        assert_eq!(with_host(&local, &[host]).await.status, 200, "{host}");
    }
    for host in [
        "127.0.0.1",
        "localhost:8788",
        "127.0.0.2:8787",
        "localhost.evil:8787",
    ] {
        with_host(&local, &[host])
            .await
            .assert_error(421, "MisdirectedRequest");
    }
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let hub = TestHub::personal();
    let with_ids = async |ids: &[&str]| {
        let mut builder = request("GET", "/nowhere");
        for id in ids {
            builder = builder.header("x-request-id", *id);
        }
        let reply = hub.send(builder.body(Body::empty()).unwrap()).await;
        reply.header("x-request-id").unwrap().to_owned()
    };
    let longest = "a".repeat(64);
    for id in ["abc-DEF_123", "x", &longest] {
        assert_eq!(with_ids(&[id]).await, id);
    }
    let first = with_ids(&[]).await;
    assert!(first.len() == 32 && first.starts_with("0000"), "{first}");
    assert_ne!(with_ids(&[]).await, first);
    let too_long = "a".repeat(65);
    for ids in [
        &["a b"][..],
        &[""],
        &["a\tb"],
        &["a;b"],
        &[&too_long],
        &["a", "b"],
    ] {
        let id = with_ids(ids).await;
        assert!(id.len() == 32 && id.starts_with("0000"), "{id}");
    }
    // Refusals of every layer, and upgrades.
    let refused = http::Request::builder()
        .uri("/")
        .body(Body::empty())
        .unwrap();
    assert!(hub.send(refused).await.header("x-request-id").is_some());
    let socket = upgrade("/api/owners/ada/rooms/notes?deviceId=d")
        .body(Body::empty())
        .unwrap();
    assert!(hub.send(socket).await.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let hub = TestHub::personal();
    hub.rooms.respond(|_| panic!("a secret"));
    let reply = hub.get("/api/owners/ada/rooms/notes").await;
    reply.assert_error(500, "InternalError");
    assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
    assert!(reply.header("x-request-id").is_some());
    let log = logs::take();
    assert!(
        log.contains("ERROR request") && log.contains("a request panicked"),
        "{log}"
    );
    assert!(!log.contains("secret"), "{log}");
    hub.rooms.answer(Answer::UpToDate { tag: Tag([0; 16]) });
    assert_eq!(hub.get("/api/owners/ada/rooms/notes").await.status, 204);
}

#[tokio::test]
async fn the_access_log_names_the_request_and_nothing_private() {
    let hub = TestHub::personal();
    hub.rooms.answer(Answer::UpToDate { tag: Tag([0; 16]) });
    let token = hub.signer.token("ada");
    let private = [
        token.as_str(),
        "ada",
        "diary",
        "laptop",
        "203.0.113.9",
        "deviceId",
        "owners/",
    ];
    let request = request("POST", "/api/owners/ada/rooms/diary?x=laptop")
        .header("x-request-id", "request-7")
        .header("x-forwarded-for", "203.0.113.9")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(vec![1, 0, 0]));
    hub.send(request.unwrap()).await;
    let socket = upgrade("/api/owners/ada/rooms/diary?deviceId=laptop")
        .header(
            "sec-websocket-protocol",
            format!("epicenter, bearer.{token}x"),
        )
        .body(Body::empty());
    hub.send(socket.unwrap()).await;

    let log = logs::take();
    let answered: Vec<_> = log
        .lines()
        .filter(|line| line.contains("request answered"))
        .collect();
    assert_eq!(answered.len(), 2, "{log}");
    for part in [
        "request-7",
        "http.method=\"POST\"",
        "http.status=204",
        "duration_ms=0",
    ] {
        assert!(answered[0].contains(part), "{part}: {}", answered[0]);
    }
    assert!(answered[0].contains("{owner}"), "{}", answered[0]);
    for part in [
        "http.status=101",
        "socket.close_code=4401",
        "error.name=\"InvalidToken\"",
    ] {
        assert!(answered[1].contains(part), "{part}: {}", answered[1]);
    }
    for word in private {
        let shown = log.replace("/api/owners/{owner}/rooms/{room}", "");
        assert!(!shown.contains(word), "{word}: {log}");
    }
}
