//! Room routes over HTTP: what a room is asked, and how its answers look.

use axum::body::{Body, Bytes};
use epicenter_identity::RoomId;
use epicenter_room::{Answer, Request, StorageFull, StorageScope, Tag};
use epicenter_server::ports::{Refusal, RoomEntry, RoomPage, StoreUnavailable};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::hub::{MAX_BODY, Reply, TestHub, request};

const ROOM: &str = "/api/owners/ada/rooms/notes";
const TAG: Tag = Tag([0xab; 16]);
const ETAG: &str = "W/\"abababababababababababababababab\"";

async fn send(
    hub: &TestHub,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut builder = request(method, path).header(
        "authorization",
        format!("Bearer {}", hub.signer.token("ada")),
    );
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    hub.send(builder.body(Body::from(body.to_vec())).unwrap())
        .await
}

#[tokio::test]
async fn a_snapshot_is_bytes_with_a_tag() {
    let hub = TestHub::personal();
    hub.rooms.answer(Answer::Update {
        update: Bytes::from_static(b"update"),
        tag: TAG,
    });
    let reply = hub.get(ROOM).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(reply.header("etag"), Some(ETAG));
    assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
    assert_eq!(reply.body, "update");

    let head = send(&hub, "HEAD", ROOM, &[], b"").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some("6"));
    assert!(head.body.is_empty());
}

#[tokio::test]
async fn if_none_match_reaches_the_room_and_a_star_names_whatever_is_there() {
    let hub = TestHub::personal();
    hub.rooms.respond(|request| match request {
        Request::Snapshot { if_none_match } if if_none_match.contains(&TAG) => {
            Answer::NotModified { tag: TAG }
        }
        _ => Answer::Update {
            update: Bytes::from_static(b"update"),
            tag: TAG,
        },
    });
    let get = async |value: &str| send(&hub, "GET", ROOM, &[("if-none-match", value)], b"").await;
    for value in [
        ETAG,
        "\"abababababababababababababababab\"",
        "*",
        &format!("\"x\", {ETAG}"),
    ] {
        let reply = get(value).await;
        assert_eq!(reply.status, 304, "{value}");
        assert_eq!(reply.header("etag"), Some(ETAG));
        assert!(reply.body.is_empty());
        assert_eq!(reply.header("content-type"), None);
    }
    for value in ["\"other\"", "abababababababababababababababab", ""] {
        assert_eq!(get(value).await.status, 200, "{value}");
    }
    let two = [("if-none-match", "\"x\""), ("if-none-match", ETAG)];
    assert_eq!(send(&hub, "GET", ROOM, &two, b"").await.status, 304);

    // To a sync a star says nothing: it asks for what the caller lacks.
    let reply = send(&hub, "POST", ROOM, &[("if-none-match", "*")], &[1, 0, 0]).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_sync_hands_state_vector_and_update_to_the_room() {
    let hub = TestHub::personal();
    hub.rooms.respond(|request| match request {
        Request::Sync {
            state_vector,
            update,
            if_none_match,
        } => {
            assert!(state_vector.is_empty());
            assert_eq!(if_none_match, &[TAG]);
            assert_eq!(update.as_ref(), [7, 8]);
            Answer::UpToDate { tag: TAG }
        }
        other => panic!("{other:?}"),
    });
    // What follows the update is ignored.
    let body = [1, 0, 2, 7, 8, 99, 99];
    let reply = send(&hub, "POST", ROOM, &[("if-none-match", ETAG)], &body).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("etag"), Some(ETAG));
    assert_eq!(reply.header("content-type"), None);
    assert!(reply.body.is_empty());

    hub.rooms.answer(Answer::Update {
        update: Bytes::from_static(b"diff"),
        tag: TAG,
    });
    let reply = send(&hub, "POST", ROOM, &[], &[1, 0, 0]).await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body[..]),
        (200, &b"diff"[..])
    );
    assert_eq!(
        reply.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(reply.header("etag"), Some(ETAG));
}

#[tokio::test]
async fn a_malformed_sync_body_does_not_reach_the_room() {
    let hub = TestHub::personal();
    // Empty, truncated, without its second field, with a state vector of length zero or of garbage.
    let bodies: [&[u8]; 6] = [b"", &[5, 1], &[1, 0], &[0, 0], &[1, 0, 9, 1], &[2, 1, 1, 0]];
    for body in bodies {
        let reply = send(&hub, "POST", ROOM, &[], body).await;
        assert_eq!(
            reply.error(),
            (400, "MalformedSyncBody".to_owned()),
            "{body:?}"
        );
    }
    assert!(hub.rooms.asked().is_empty());
}

#[tokio::test]
async fn what_a_room_refuses_has_its_status() {
    let hub = TestHub::personal();
    let refused = || Answer::Refused {
        reason: "too many structs".into(),
        limit: "structs".into(),
    };
    let cases = [
        (Answer::Exists, 409, "RoomExists"),
        (Answer::Gone, 410, "RoomDeleted"),
        (
            Answer::Malformed {
                what: "secret detail".into(),
            },
            400,
            "MalformedSyncBody",
        ),
        (refused(), 422, "UpdateRefused"),
        (Answer::PendingFull { limit: 8 }, 507, "QuotaExceeded"),
        (Answer::QuotaExceeded(FULL), 507, "QuotaExceeded"),
        (Answer::Unknown, 404, "NotFound"),
        (Answer::Purged, 410, "RoomDeleted"),
        (Answer::Unavailable, 503, "StorageUnavailable"),
        (Answer::GoingAway, 503, "ShuttingDown"),
    ];
    for (answer, status, name) in cases {
        hub.rooms.answer(answer);
        let reply = send(&hub, "POST", ROOM, &[], &[1, 0, 0]).await;
        reply.assert_error(status, name);
        let retry_after = (status == 503).then_some("5");
        assert_eq!(reply.header("retry-after"), retry_after, "{name}");
        assert_eq!(
            reply.json().get("name"),
            None,
            "only tokens are refused in both forms"
        );
        assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
    }
    hub.rooms.answer(refused());
    let error = send(&hub, "POST", ROOM, &[], &[1, 0, 0]).await.json()["error"].take();
    assert_eq!(
        (&error["reason"], &error["limit"]),
        (&json!("too many structs"), &json!("structs"))
    );
}

const FULL: StorageFull = StorageFull {
    scope: StorageScope::Owner,
    limit: 100,
    used: 120,
};

#[tokio::test]
async fn a_quota_says_what_is_counted_and_how_much_there_is() {
    let hub = TestHub::personal();
    hub.rooms.answer(Answer::QuotaExceeded(FULL));
    let error = send(&hub, "POST", ROOM, &[], &[1, 0, 0]).await.json()["error"].take();
    assert_eq!(error["status"], 507);
    assert_eq!(
        (&error["limit"], &error["used"], &error["scope"]),
        (&json!(100), &json!(120), &json!("owner"))
    );
}

#[tokio::test]
async fn a_deleted_room_is_restored() {
    let hub = TestHub::personal();
    hub.rooms.respond(|request| match request {
        Request::Restore => Answer::Restored,
        other => panic!("{other:?}"),
    });
    let path = &format!("{ROOM}/restore");
    let reply = send(&hub, "POST", path, &[], b"").await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
    let (room, _, _) = hub.rooms.calls.lock().unwrap().pop().unwrap();
    assert_eq!(room.to_string(), "owners/ada/rooms/notes");
    let reply = hub.get(path).await;
    assert_eq!(reply.error(), (405, "MethodNotAllowed".to_owned()));
    assert_eq!(reply.header("allow"), Some("POST"));
}

#[tokio::test]
async fn rooms_are_made_and_deleted() {
    let hub = TestHub::personal();
    hub.rooms.respond(|request| match request {
        Request::Create => Answer::Created,
        Request::Delete => Answer::Deleted,
        other => panic!("{other:?}"),
    });
    let put = send(&hub, "PUT", ROOM, &[], b"").await;
    assert_eq!((put.status.as_u16(), put.body.len()), (201, 0));
    let delete = send(&hub, "DELETE", ROOM, &[], b"").await;
    assert_eq!((delete.status.as_u16(), delete.body.len()), (204, 0));
}

#[tokio::test]
async fn a_room_id_is_decoded_once_and_a_slash_makes_another_path() {
    let hub = TestHub::personal();
    let longest = "r".repeat(256);
    for (segment, room) in [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("..", ".."),
        ("%C3%A9", "é"),
        (&longest, &longest),
    ] {
        let reply = hub.get(&format!("/api/owners/ada/rooms/{segment}")).await;
        assert_eq!(reply.status, 204, "{segment}");
        let (name, _, _) = hub.rooms.calls.lock().unwrap().pop().unwrap();
        assert_eq!(name.to_string(), format!("owners/ada/rooms/{room}"));
    }
    for path in ["a/b", "", "a/", "a/restore/b", "a/dispatch/b"] {
        let reply = hub.get(&format!("/api/owners/ada/rooms/{path}")).await;
        assert_eq!(reply.error(), (404, "NotFound".to_owned()), "{path}");
    }
    let too_long = "r".repeat(257);
    for segment in ["%00", "%0A", "%7F", "%FF", "%zz", "%", &too_long] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let path = format!("/api/owners/ada/rooms/{segment}");
            let reply = send(&hub, method, &path, &[], &[1, 0, 0]).await;
            assert_eq!(
                reply.error(),
                (400, "InvalidRoomId".to_owned()),
                "{method} {segment}"
            );
        }
    }
    assert!(hub.rooms.asked().is_empty());
}

#[tokio::test]
async fn a_dispatch_carries_the_callers_own_json() {
    let hub = TestHub::personal();
    hub.rooms.respond(|request| match request {
        Request::Dispatch { to, action, input } => {
            assert_eq!((to.as_str(), action.as_str()), ("laptop", "open_tab"));
            let result = input.clone().unwrap_or_else(|| "none".to_owned());
            Answer::Dispatched {
                result: format!(r#"{{"data":{result},"error":null}}"#),
            }
        }
        other => panic!("{other:?}"),
    });
    let path = &format!("{ROOM}/dispatch");
    let body =
        br#"{"to":"laptop","action":"open_tab","input":{"n":1.0,"big":12345678901234567890}}"#;
    let reply = send(&hub, "POST", path, &[], body).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let expect = r#"{"data":{"n":1.0,"big":12345678901234567890},"error":null}"#;
    assert_eq!(reply.body, expect);
    let reply = send(
        &hub,
        "POST",
        path,
        &[],
        br#"{"to":"laptop","action":"open_tab"}"#,
    )
    .await;
    assert_eq!(reply.body, r#"{"data":none,"error":null}"#);
}

#[tokio::test]
async fn a_malformed_dispatch_does_not_reach_the_room() {
    let hub = TestHub::personal();
    let path = &format!("{ROOM}/dispatch");
    let bodies = [
        "",
        "{}",
        "[]",
        r#"{"to":"laptop"}"#,
        r#"{"action":"a"}"#,
        r#"{"to":"","action":"a"}"#,
        r#"{"to":"a/b","action":"a"}"#,
        r#"{"to":"laptop","action":"A"}"#,
        r#"{"to":"laptop","action":"1a"}"#,
        r#"{"to":"laptop","action":""}"#,
        r#"{"to":1,"action":"a"}"#,
        r#"{"to":"laptop","action":"a"} x"#,
    ];
    for body in bodies {
        let reply = send(&hub, "POST", path, &[], body.as_bytes()).await;
        assert_eq!(
            reply.error(),
            (400, "MalformedDispatch".to_owned()),
            "{body}"
        );
    }
    assert!(hub.rooms.asked().is_empty());
}

#[tokio::test]
async fn rooms_are_listed_in_pages() {
    let hub = TestHub::personal();
    let id = |text: &str| RoomId::parse(text).unwrap();
    let entry = RoomEntry {
        id: id("a/b"),
        storage_bytes: 10,
        last_accessed_at: 20,
        connections: 1,
        refusals: vec![Refusal {
            at: 30,
            reason: "too many structs".into(),
            bytes: 40,
        }],
    };
    *hub.rooms.page.lock().unwrap() = Ok(RoomPage {
        rooms: vec![entry],
        next: Some(id("a/b")),
    });
    let reply = hub.get("/api/owners/ada/rooms").await;
    assert_eq!(reply.status, 200);
    let expect = json!({
        "rooms": [{
            "id": "a/b", "storageBytes": 10, "lastAccessedAt": 20, "connections": 1,
            "refusals": [{ "at": 30, "reason": "too many structs", "bytes": 40 }],
        }],
        "next": "a/b",
    });
    assert_eq!(reply.json(), expect);

    *hub.rooms.page.lock().unwrap() = Ok(RoomPage::default());
    let reply = hub.get("/api/owners/ada/rooms?after=a%2Fb").await;
    assert_eq!(reply.json(), json!({ "rooms": [] }));
    let asked = hub.rooms.lists.lock().unwrap().clone();
    let ada = || "ada".to_owned();
    assert_eq!(
        asked,
        [(ada(), None, 500), (ada(), Some("a/b".to_owned()), 500)]
    );

    for after in ["", "%00", "a&after=b"] {
        let reply = hub
            .get(&format!("/api/owners/ada/rooms?after={after}"))
            .await;
        reply.assert_error(400, "InvalidRoomId");
    }
    *hub.rooms.page.lock().unwrap() = Err(StoreUnavailable);
    hub.get("/api/owners/ada/rooms")
        .await
        .assert_error(503, "StorageUnavailable");
}

fn refuse_to_be_read() -> Result<Bytes, std::io::Error> {
    panic!("the body was read")
}

#[tokio::test]
async fn a_body_over_the_limit_is_never_kept() {
    let hub = TestHub::personal();
    hub.rooms.answer(Answer::UpToDate { tag: TAG });
    // A state vector of one byte, an update that fills the rest: length fields take 1 and 2 bytes.
    let full = |size: usize| {
        let update = size - 4;
        let mut body = vec![1, 0, (update & 0x7f) as u8 | 0x80, (update >> 7) as u8];
        body.resize(size, 0);
        body
    };
    assert_eq!(
        send(&hub, "POST", ROOM, &[], &full(MAX_BODY)).await.status,
        204
    );
    let dispatch = format!("{ROOM}/dispatch");
    for path in [ROOM, &dispatch] {
        let reply = send(&hub, "POST", path, &[], &full(MAX_BODY + 1)).await;
        reply.assert_error(413, "PayloadTooLarge");
    }

    // One that says its size is not even begun.
    let never = stream::once(async { refuse_to_be_read() });
    let announced = request("POST", ROOM)
        .header("content-length", MAX_BODY + 1)
        .header(
            "authorization",
            format!("Bearer {}", hub.signer.token("ada")),
        )
        .body(Body::from_stream(never));
    hub.send(announced.unwrap())
        .await
        .assert_error(413, "PayloadTooLarge");

    // One that does not is read up to the limit and no further.
    let (sender, pieces) = std::sync::mpsc::channel();
    let long = stream::repeat_with(move || {
        sender.send(()).unwrap();
        Ok::<_, std::io::Error>(Bytes::from_static(&[0; 100]))
    })
    .take(1_000);
    let chunked = request("POST", ROOM)
        .header(
            "authorization",
            format!("Bearer {}", hub.signer.token("ada")),
        )
        .body(Body::from_stream(long));
    hub.send(chunked.unwrap())
        .await
        .assert_error(413, "PayloadTooLarge");
    assert_eq!(pieces.try_iter().count(), MAX_BODY / 100 + 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_body() {
    let hub = TestHub::personal();
    let broken = stream::iter([
        Ok(Bytes::from_static(&[1, 0])),
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    ]);
    let request = request("POST", ROOM)
        .header(
            "authorization",
            format!("Bearer {}", hub.signer.token("ada")),
        )
        .body(Body::from_stream(broken));
    hub.send(request.unwrap())
        .await
        .assert_error(400, "InvalidRequest");
    assert!(hub.rooms.asked().is_empty());
}
