//! How much an address and an account may ask for, and when an address is not heard that was refused too often.

use std::sync::atomic::Ordering;

use axum::body::Body;
use epicenter_identity::personal;
use epicenter_server::config::Rate;
use epicenter_server::peer::PeerAddress;
use http::request::Builder;

use crate::hub::{TestHub, request, upgrade};

const ROOM: &str = "/api/owners/ada/rooms/notes";

#[tokio::test]
async fn an_address_and_an_account_have_their_limits() {
    let rate = |count| Rate {
        count,
        per_ms: 60_000,
    };
    let hub = TestHub::build(personal(), |config| {
        config.rate_limits.token = rate(2);
        config.rate_limits.auth = rate(3);
        config.rate_limits.api = rate(2);
    });
    let from = async |ip: &str, method: &str, path: &str| {
        let mut request = request(method, path).body(Body::empty()).unwrap();
        let ip = PeerAddress(ip.parse().unwrap());
        request.extensions_mut().insert(ip);
        hub.send(request).await
    };
    for _ in 0..2 {
        assert_ne!(
            from("192.0.2.1", "POST", "/auth/oauth2/token").await.status,
            429
        );
    }
    let reply = from("192.0.2.1", "POST", "/auth/oauth2/token").await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), Some("30"));
    // In the form that OAuth libraries read.
    assert_eq!(reply.json()["error"], "temporarily_unavailable");
    assert!(reply.json()["error_description"].is_string());
    assert_ne!(
        from("192.0.2.2", "POST", "/auth/oauth2/token").await.status,
        429
    );
    for _ in 0..3 {
        assert_ne!(
            from("192.0.2.1", "GET", "/auth/get-session").await.status,
            429
        );
    }
    let reply = from("192.0.2.1", "GET", "/sign-in").await;
    reply.assert_error(429, "RateLimited");
    assert_eq!(reply.header("retry-after"), Some("20"));
    assert_eq!(from("192.0.2.1", "GET", "/auth/jwks").await.status, 200);
    hub.clock.advance(20_000);
    assert_ne!(from("192.0.2.1", "GET", "/sign-in").await.status, 429);

    for _ in 0..2 {
        assert_eq!(hub.get(ROOM).await.status, 204);
    }
    let reply = hub.get("/api/session").await;
    reply.assert_error(429, "RateLimited");
    let socket = upgrade(&format!("{ROOM}?deviceId=d"))
        .header(
            "authorization",
            format!("Bearer {}", hub.signer.token("ada")),
        )
        .body(Body::empty());
    assert_eq!(hub.send(socket.unwrap()).await.closed().0, 1008);
    let bob = hub.signer.token("bob");
    assert_eq!(hub.call("GET", "/api/session", &bob, b"").await.status, 200);

    let off = TestHub::build(personal(), |config| {
        config.rate_limits.api = rate(0);
        config.rate_limits.enabled = false;
    });
    assert_eq!(off.get("/api/session").await.status, 200);
}

#[tokio::test]
async fn an_address_that_was_refused_too_often_is_not_heard_for_a_while() {
    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";
    let refused = Rate {
        count: 3,
        per_ms: 60_000,
    };
    let hub = TestHub::build(personal(), |config| config.rate_limits.refused = refused);
    let (ada, bob) = (hub.signer.token("ada"), hub.signer.token("bob"));
    let from = async |ip: &str, builder: Builder| {
        let mut request = builder.body(Body::empty()).unwrap();
        let ip = PeerAddress(ip.parse().unwrap());
        request.extensions_mut().insert(ip);
        hub.send(request).await
    };
    let call = |method: &str, path: &str, token: &str| {
        request(method, path).header("authorization", format!("Bearer {token}"))
    };
    let open = |token: &str| {
        let offer = format!("epicenter, bearer.{token}");
        upgrade(&format!("{ROOM}?deviceId=d")).header("sec-websocket-protocol", offer)
    };
    // What is good costs nothing, what presents no token neither, and what is refused for another reason neither.
    let elsewhere = "/api/owners/bob/rooms/notes";
    for _ in 0..10 {
        let reply = from(HERE, call("GET", "/api/session", &ada)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(from(HERE, open(&ada)).await.status, 101);
        let reply = from(HERE, request("GET", ROOM)).await;
        reply.assert_error(401, "InvalidToken");
        let reply = from(HERE, call("GET", elsewhere, &ada)).await;
        reply.assert_error(403, "OwnerMismatch");
    }
    // Whatever a bad token asks for, be it a socket or the chat by its short path.
    let reply = from(HERE, call("GET", ROOM, "bad")).await;
    reply.assert_error(401, "InvalidToken");
    let reply = from(HERE, call("POST", "/ai/chat", "bad")).await;
    reply.assert_error(401, "InvalidToken");
    assert_eq!(from(HERE, open("bad")).await.closed().0, 4401);
    // Now no token from there is looked at, not even a good one. A socket hears it in HTTP.
    let looked_at = hub.verify.calls.load(Ordering::SeqCst);
    for builder in [
        call("GET", ROOM, "bad"),
        call("GET", ROOM, &ada),
        call("POST", "/ai/chat", &ada),
        call("GET", "/api/session", &bob),
        open(&ada),
        open("bad"),
    ] {
        let reply = from(HERE, builder).await;
        reply.assert_error(429, "RateLimited");
        assert_eq!(reply.header("retry-after"), Some("20"));
        assert!(reply.decision.is_none());
    }
    assert_eq!(hub.verify.calls.load(Ordering::SeqCst), looked_at);
    // What presents none is served, and other addresses are.
    assert_eq!(from(HERE, request("GET", "/")).await.status, 200);
    let reply = from(HERE, request("GET", ROOM)).await;
    reply.assert_error(401, "InvalidToken");
    let reply = from(THERE, call("GET", "/api/session", &bob)).await;
    assert_eq!(reply.status, 200);
    // Refusals come back one after the other.
    hub.clock.advance(20_000);
    for _ in 0..10 {
        let reply = from(HERE, call("GET", "/api/session", &bob)).await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(from(HERE, open("bad")).await.closed().0, 4401);
    let reply = from(HERE, call("GET", "/api/session", &bob)).await;
    reply.assert_error(429, "RateLimited");

    let off = TestHub::build(personal(), |config| {
        config.rate_limits.refused.count = 0;
        config.rate_limits.enabled = false;
    });
    for _ in 0..2 {
        let reply = off.call("GET", ROOM, "bad", b"").await;
        reply.assert_error(401, "InvalidToken");
    }
}
