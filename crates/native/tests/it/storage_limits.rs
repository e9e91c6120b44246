//! Quotas, reports and restoring on the hub that ships (`sync.md` 1 to 3).

use epicenter_native::config::HostConfig;
use epicenter_sync::Frame;
use epicenter_testkit::{HttpRequest, Received, TestHub, TestSocket, TestUser, Typist};

async fn status(hub: &TestHub, ada: &TestUser, method: &str, path: &str) -> u16 {
    let request = HttpRequest::new(method, path.to_owned()).bearer(&ada.token);
    request.send(hub.address()).await.status
}

fn assert_full(closed: (u16, String), scope: &str) {
    assert_eq!(closed.0, 1013);
    let reason: serde_json::Value = serde_json::from_str(&closed.1).expect("JSON");
    assert_eq!(reason["name"], "QuotaExceeded");
    assert_eq!(reason["scope"], scope);
}

/// Reads up to the next message that is a report.
async fn next_report(socket: &mut TestSocket) -> serde_json::Value {
    loop {
        match socket.next().await {
            Received::Json(text) if text["type"] == "saved" || text["type"] == "refused" => {
                return text;
            }
            Received::Closed(code, reason) => panic!("closed with {code} {reason}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_owner_has_a_number_of_rooms_and_a_deleted_one_makes_place() {
    let hub = TestHub::start_with(|config| config.limits.max_owner_rooms = 1).await;
    let ada = hub.user("ada@example.test").await;
    let (first, second) = (ada.room_path("first"), ada.room_path("second"));
    assert_eq!(status(&hub, &ada, "PUT", &first).await, 201);
    assert_eq!(status(&hub, &ada, "PUT", &second).await, 507);
    let mut socket = hub.open(&ada, "second", "phone").await;
    assert_full(socket.closed().await, "rooms");
    let mut socket = hub.open(&ada, "first", "phone").await;
    assert!(matches!(
        socket.next().await,
        Received::Frame(Frame::Step1(_))
    ));

    assert_eq!(status(&hub, &ada, "DELETE", &first).await, 204);
    assert_eq!(status(&hub, &ada, "PUT", &second).await, 201);
    let restore = format!("{first}/restore");
    assert_eq!(status(&hub, &ada, "POST", &restore).await, 507);
    assert_eq!(status(&hub, &ada, "DELETE", &second).await, 204);
    assert_eq!(status(&hub, &ada, "POST", &restore).await, 204);
    assert_eq!(status(&hub, &ada, "POST", &restore).await, 409);
    assert_eq!(status(&hub, &ada, "GET", &first).await, 200);
}

#[tokio::test]
async fn a_full_room_is_read_and_takes_nothing_new() {
    let hub = TestHub::start_with(|config| config.limits.max_room_bytes = 10).await;
    let ada = hub.user("ada@example.test").await;
    let mut typist = Typist::new(5);
    let mut phone = hub.open(&ada, "notes", "phone").await;
    let mut laptop = hub.open(&ada, "notes", "laptop").await;
    phone.drain().await;
    laptop.drain().await;
    let first = typist.types("enough to fill it");
    phone.send_update(&first).await;
    assert_eq!(laptop.next_update().await, first);
    phone.send_update(&typist.types("more")).await;
    assert_full(phone.closed().await, "room");
    laptop.send_step1(&[0]).await;
    assert_eq!(laptop.next_update().await, first);
    assert_eq!(
        status(&hub, &ada, "GET", &ada.room_path("notes")).await,
        200
    );
}

#[tokio::test]
async fn a_room_that_begins_anew_has_all_its_bytes_and_one_that_comes_back_has_used_them() {
    let small = |config: &mut HostConfig| config.limits.max_room_bytes = 10;
    let hub = TestHub::start_with(small).await;
    let ada = hub.user("ada@example.test").await;
    let path = ada.room_path("notes");
    let mut typist = Typist::new(5);
    for begins_anew in [true, false] {
        let mut phone = hub.open(&ada, "notes", "phone").await;
        let mut laptop = hub.open(&ada, "notes", "laptop").await;
        phone.drain().await;
        laptop.drain().await;
        typist = Typist::new(5);
        let first = typist.types("enough to fill it");
        phone.send_update(&first).await;
        assert_eq!(laptop.next_update().await, first);
        assert_eq!(status(&hub, &ada, "DELETE", &path).await, 204);
        if begins_anew {
            assert_eq!(status(&hub, &ada, "PUT", &path).await, 201);
        }
    }
    // The next process reads the tombstone, of which nothing counts.
    let hub = hub.restart_with(small).await;
    let ada = hub.user("ada@example.test").await;
    assert_eq!(status(&hub, &ada, "GET", &path).await, 410);
    assert_eq!(
        status(&hub, &ada, "POST", &format!("{path}/restore")).await,
        204
    );
    let mut phone = hub.open(&ada, "notes", "phone").await;
    phone.drain().await;
    phone.send_update(&typist.types("more")).await;
    assert_full(phone.closed().await, "room");
}

#[tokio::test]
async fn whoever_asks_is_told_that_updates_are_saved() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let path = format!("{}?deviceId=phone&saved=1", ada.room_path("notes"));
    let mut phone = TestSocket::open(hub.address(), &path, Some(&ada.token)).await;
    let mut typist = Typist::new(5);
    for _ in 0..3 {
        phone.send_update(&typist.types("text")).await;
    }
    while next_report(&mut phone).await["count"] != 3 {}
    phone.send_update(&[1, 2, 3]).await;
    let refused = next_report(&mut phone).await;
    assert_eq!(
        (&refused["frame"], &refused["reason"]),
        (&4.into(), &"malformed".into())
    );
    assert_eq!(next_report(&mut phone).await["count"], 4);
}

#[tokio::test]
async fn a_deleted_room_comes_back_with_its_content_also_after_a_restart() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let path = ada.room_path("notes");
    let mut phone = hub.open(&ada, "notes", "phone").await;
    phone.drain().await;
    let update = Typist::new(5).types("kept");
    phone.send_update(&update).await;
    phone.close().await;
    while status(&hub, &ada, "DELETE", &path).await != 204 {}
    let hub = hub.restart().await;
    let ada = hub.user("ada@example.test").await;
    assert_eq!(status(&hub, &ada, "GET", &path).await, 410);
    let restore = format!("{path}/restore");
    assert_eq!(status(&hub, &ada, "POST", &restore).await, 204);
    let hub = hub.restart().await;
    let ada = hub.user("ada@example.test").await;
    let mut phone = hub.open(&ada, "notes", "phone").await;
    phone.send_step1(&[0]).await;
    assert_eq!(phone.next_update().await, update);
}
