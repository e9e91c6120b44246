//! What a peer meets on a socket of the native host (sync.md 2 and 5).

use std::time::{Duration, Instant};

use epicenter_sync::Frame;
use epicenter_testkit::{HttpRequest, Received, TestHub, TestSocket, TestUser, Typist};
use epicenter_update::EMPTY_UPDATE;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

#[tokio::test]
async fn two_clients_edit_one_room_and_a_third_reads_it_after_a_restart() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let mut first = hub.open(&ada, "notes", "first").await;
    let mut second = hub.open(&ada, "notes", "second").await;
    second.drain().await;
    let mut typist = Typist::new(7);
    for text in ["hello", " ", "world"] {
        let update = typist.types(text);
        first.send_update(&update).await;
        assert_eq!(second.next_update().await, update);
    }
    first.close().await;
    second.close().await;

    let hub = hub.restart().await;
    let ada = hub.user("ada@example.test").await;
    let mut third = hub.open(&ada, "notes", "third").await;
    third.send_step1(&[0]).await;
    let state = third.next_update().await;
    assert!(String::from_utf8_lossy(&state).contains("world"));
    let snapshot = HttpRequest::new("GET", ada.room_path("notes"))
        .bearer(&ada.token)
        .send(hub.address())
        .await;
    assert_eq!(snapshot.body, state);
    hub.stop().await;
}

/// Waits for the presence list, which ends what a socket is greeted with: a ping may be answered before the room is read.
async fn greeting(socket: &mut TestSocket) {
    socket
        .next_where(|received| match received {
            Received::Json(json) if json["type"] == "presence" => Some(()),
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn ping_is_answered_and_nothing_else_of_that_kind() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let mut socket = hub.open(&ada, "notes", "phone").await;
    assert_eq!(socket.subprotocol.as_deref(), Some("epicenter"));
    greeting(&mut socket).await;
    socket.send_text("ping").await;
    assert_eq!(socket.next().await, Received::Text("pong".to_owned()));
    socket.send_text("Ping").await;
    assert_eq!(socket.closed().await, (4400, "protocol-error".to_owned()));
}

#[tokio::test]
async fn every_close_frame_is_answered_an_empty_one_too() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let with_code = CloseFrame {
        code: 4001.into(),
        reason: "bye".into(),
    };
    for (sent, answered) in [(None, 1005), (Some(with_code), 4001)] {
        let mut socket = hub.open(&ada, "notes", "phone").await;
        socket.drain().await;
        socket.send(Message::Close(sent)).await;
        assert_eq!(socket.closed().await.0, answered);
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_with_1009_that_names_the_setting() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let frame = vec![0x02; 6 * 1024 * 1024];
    let text = "x".repeat(6 * 1024 * 1024);
    // Many times, because what follows the limit is masked with random bytes and thrown away.
    let messages = [Message::binary(frame), Message::text(text)];
    for message in messages.iter().cycle().take(24).cloned() {
        let mut socket = hub.open(&ada, "notes", "phone").await;
        socket.drain().await;
        socket.send(message).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 1009);
        assert!(reason.contains("limits.max_frame_bytes"), "{reason}");
    }
    let snapshot = HttpRequest::new("GET", ada.room_path("notes")).bearer(&ada.token);
    assert_eq!(snapshot.send(hub.address()).await.body, EMPTY_UPDATE);
}

#[tokio::test]
async fn text_at_the_limit_passes_and_is_counted_in_bytes() {
    let hub = TestHub::start_with(|config| config.limits.max_frame_bytes = 1_000).await;
    let ada = hub.user("ada@example.test").await;
    let mut socket = hub.open(&ada, "notes", "phone").await;
    greeting(&mut socket).await;
    // 500 two-byte characters are 1,000 bytes; a frame of a known type and bad fields is dropped.
    let known = r#"{"type":"dispatch_response","id":""}"#;
    socket
        .send_text(&format!("{known}{}", " ".repeat(1_000 - known.len())))
        .await;
    assert_eq!(socket.drain().await, []);
    socket.send_text(&"é".repeat(501)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn a_refused_upgrade_is_a_completed_handshake_with_a_readable_close() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let path = format!("{}?deviceId=phone", ada.room_path("notes"));
    let mut socket = TestSocket::open(hub.address(), &path, Some("not-a-token")).await;
    assert_eq!(socket.subprotocol.as_deref(), Some("epicenter"));
    let (code, reason) = socket.closed().await;
    assert_eq!(code, 4401);
    let reason: serde_json::Value = serde_json::from_str(&reason).expect("JSON");
    assert_eq!(reason["name"], "InvalidToken");
    assert_eq!(reason["code"], "invalid_token");
}

/// Waits until a newcomer to `notes` is told of nobody by this name.
async fn has_left(hub: &TestHub, user: &TestUser, device: &str) {
    let mut observer = hub.open(user, "notes", "observer").await;
    observer
        .next_where(|received| match received {
            Received::Json(json) if json["type"] == "presence" => {
                let devices = json["devices"].as_array()?;
                devices
                    .iter()
                    .all(|other| other["deviceId"] != device)
                    .then_some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_others_are_not_held_back() {
    let hub = TestHub::start_with(|config| config.limits.max_outbound_bytes = 1024 * 1024).await;
    let ada = hub.user("ada@example.test").await;
    let mut slow = hub.open(&ada, "notes", "slow").await;
    slow.drain().await;
    let mut reader = hub.open(&ada, "notes", "reader").await;
    reader.drain().await;
    let mut writer = hub.open(&ada, "notes", "writer").await;
    let mut typist = Typist::new(9);
    // More than the kernel's socket buffers and the outbox together take from a hub that writes to a deaf peer.
    let text = "y".repeat(256 * 1024);
    for _ in 0..60 {
        let update = typist.types(&text);
        writer.send_update(&update).await;
        assert_eq!(reader.next_update().await, update);
    }
    // It leaves although it never reads.
    has_left(&hub, &ada, "slow").await;
    let (code, reason) = slow.closed().await;
    // The close frame itself may not fit through to a peer that never reads; then the connection just ends.
    assert!(
        (code, reason.as_str()) == (1013, "slow-consumer") || code == 1006,
        "{code} {reason}"
    );
}

#[tokio::test]
async fn a_peer_that_says_goodbye_and_reads_no_more_leaves_the_list() {
    let hub =
        TestHub::start_with(|config| config.limits.max_outbound_bytes = 64 * 1024 * 1024).await;
    let ada = hub.user("ada@example.test").await;
    let mut deaf = hub.open(&ada, "notes", "deaf").await;
    deaf.drain().await;
    let mut writer = hub.open(&ada, "notes", "writer").await;
    let mut typist = Typist::new(9);
    let text = "y".repeat(1024 * 1024);
    for _ in 0..24 {
        writer.send_update(&typist.types(&text)).await;
    }
    writer.drain().await;
    deaf.send(Message::Close(None)).await;
    has_left(&hub, &ada, "deaf").await;
}

#[tokio::test]
async fn an_upload_that_is_refused_still_reads_its_answer() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let body = vec![0; 12 * 1024 * 1024];
    for (token, status) in [("no-token", 413), (ada.token.as_str(), 413)] {
        let request = HttpRequest::new("POST", ada.room_path("notes")).bearer(token);
        assert_eq!(
            request.body(body.clone()).send(hub.address()).await.status,
            status
        );
    }
    let small_enough = vec![0; 4 * 1024 * 1024];
    let request = HttpRequest::new("POST", ada.room_path("notes")).bearer("no-token");
    assert_eq!(
        request.body(small_enough).send(hub.address()).await.status,
        401
    );
}

#[tokio::test]
async fn a_socket_that_sends_too_many_messages_is_read_at_its_rate_and_to_the_end() {
    const PER_SECOND: u32 = 50;
    const MESSAGES: u32 = 200;
    let hub = TestHub::start_with(|config| config.limits.max_frames_per_second = PER_SECOND).await;
    let ada = hub.user("ada@example.test").await;
    let path = format!("{}?deviceId=phone&saved=1", ada.room_path("notes"));
    let mut socket = TestSocket::open(hub.address(), &path, Some(&ada.token)).await;
    greeting(&mut socket).await;
    let mut typist = Typist::new(7);
    let began = Instant::now();
    for message in 1..=MESSAGES {
        let update = typist.types(&format!("message {message};"));
        socket.send_update(&update).await;
    }
    socket.saved(MESSAGES).await;
    let took = began.elapsed();
    // What a second allows passes at once, and each of the others takes its part of a second. The hub's clock counts
    // whole milliseconds.
    let owed = Duration::from_secs(1) * (MESSAGES - PER_SECOND) / PER_SECOND;
    assert!(took + Duration::from_millis(50) >= owed, "{took:?}");
    let snapshot = HttpRequest::new("GET", ada.room_path("notes")).bearer(&ada.token);
    let body = snapshot.send(hub.address()).await.body;
    let text = String::from_utf8_lossy(&body);
    for message in 1..=MESSAGES {
        let written = format!("message {message};");
        assert!(text.contains(&written), "{written} is lost");
    }
}

#[tokio::test]
async fn connections_of_one_user_are_limited() {
    let hub = TestHub::start_with(|config| config.limits.max_user_connections = 2).await;
    let ada = hub.user("ada@example.test").await;
    let mut first = hub.open(&ada, "a", "phone").await;
    first.drain().await;
    let mut second = hub.open(&ada, "b", "phone").await;
    second.drain().await;
    let mut third = hub.open(&ada, "c", "phone").await;
    assert_eq!(third.closed().await.0, 1008);
    first.close().await;
    // The place is given back when the hub has seen the end of the first.
    loop {
        let mut again = hub.open(&ada, "c", "phone").await;
        if matches!(again.next().await, Received::Frame(Frame::Step1(_))) {
            break;
        }
    }
}

#[tokio::test]
async fn what_was_sent_just_before_a_close_is_not_lost() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let mut typist = Typist::new(5);
    for round in 0..20 {
        let mut socket = hub.open(&ada, "notes", "phone").await;
        socket
            .send_update(&typist.types(&format!("round {round};")))
            .await;
        socket.close().await;
    }
    let snapshot = HttpRequest::new("GET", ada.room_path("notes")).bearer(&ada.token);
    let body = snapshot.send(hub.address()).await.body;
    let text = String::from_utf8_lossy(&body).into_owned();
    for round in 0..20 {
        assert!(
            text.contains(&format!("round {round};")),
            "round {round} is lost"
        );
    }
}

#[tokio::test]
async fn a_recreated_room_is_empty_also_while_it_stays_in_memory() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let request =
        |method: &str| HttpRequest::new(method, ada.room_path("notes")).bearer(&ada.token);
    let mut socket = hub.open(&ada, "notes", "phone").await;
    socket.send_update(&Typist::new(5).types("before")).await;
    socket.drain().await;
    let before = request("GET").send(hub.address()).await;
    assert_ne!(before.body, EMPTY_UPDATE);
    assert_eq!(request("DELETE").send(hub.address()).await.status, 204);
    assert_eq!(request("GET").send(hub.address()).await.status, 410);
    assert_eq!(request("PUT").send(hub.address()).await.status, 201);
    assert_eq!(request("GET").send(hub.address()).await.body, EMPTY_UPDATE);
}

#[tokio::test]
async fn shutdown_closes_sockets_with_1001() {
    let hub = TestHub::start().await;
    let ada = hub.user("ada@example.test").await;
    let mut socket = hub.open(&ada, "notes", "phone").await;
    greeting(&mut socket).await;
    let stopping = tokio::spawn(hub.stop());
    assert_eq!(socket.closed().await.0, 1001);
    epicenter_testkit::soon("the end of the hub", stopping)
        .await
        .expect("no panic");
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_shutdown() {
    use tokio::io::AsyncWriteExt;

    let hub = TestHub::start_with(|config| config.shutdown_deadline_ms = 60_000).await;
    let mut stalled = tokio::net::TcpStream::connect(hub.address())
        .await
        .expect("the hub accepts connections");
    stalled
        .write_all(b"GET / HTTP/1.1\r\nHost: ")
        .await
        .expect("the hub reads");
    // A third of the deadline that the hub would otherwise wait for.
    epicenter_testkit::soon("the end of the hub", hub.stop()).await;
}
