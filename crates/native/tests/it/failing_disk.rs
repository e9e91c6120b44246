//! A disk that takes nothing more, because it is full or has turned read-only, under a running hub (sync.md 3 and 8).
//!
//! A trigger has SQLite refuse every row of an update, so that the log that ships fails in its own commits and not in a
//! stand-in for it. What such a log does by itself is in `log/failures.rs`.

use epicenter_sync::Frame;
use epicenter_testkit::{HttpAnswer, HttpRequest, Received, TestHub, TestSocket, TestUser, Typist};
use rusqlite::Connection;

const ADA: &str = "ada@example.test";

/// Changes the room log beside the hub.
fn change_log(hub: &TestHub, statement: &str) {
    let log = Connection::open(hub.data_dir().join("rooms.db")).unwrap();
    log.execute_batch(statement).unwrap();
}

/// From now on every append fails.
fn fill_disk(hub: &TestHub) {
    change_log(
        hub,
        "CREATE TRIGGER disk_is_full BEFORE INSERT ON entries
         BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    );
}

/// From now on none does.
fn free_disk(hub: &TestHub) {
    change_log(hub, "DROP TRIGGER disk_is_full");
}

/// Opens a socket that is told what was saved.
async fn open(hub: &TestHub, user: &TestUser, room: &str) -> TestSocket {
    let path = format!("{}?deviceId=phone&saved=1", user.room_path(room));
    TestSocket::open(hub.address(), &path, Some(&user.token)).await
}

async fn push(hub: &TestHub, user: &TestUser, room: &str, update: &[u8]) -> HttpAnswer {
    // Behind the state vector of nothing.
    let mut body = vec![1, 0];
    epicenter_update::lib0::write_var_bytes(&mut body, update);
    HttpRequest::new("POST", user.room_path(room))
        .bearer(&user.token)
        .body(body)
        .send(hub.address())
        .await
}

/// What the document of a room says.
async fn text(hub: &TestHub, user: &TestUser, room: &str) -> String {
    let answer = HttpRequest::new("GET", user.room_path(room))
        .bearer(&user.token)
        .send(hub.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn writers_are_told_readers_read_on_and_all_goes_on_when_the_disk_does() {
    let hub = TestHub::start().await;
    let ada = hub.user(ADA).await;
    for room in ["read", "joined"] {
        let update = Typist::new(1).types("kept");
        assert_eq!(push(&hub, &ada, room, &update).await.status, 200);
    }
    // After a restart these two are on the disk only.
    let hub = hub.restart().await;
    let ada = hub.user(ADA).await;
    let mut typist = Typist::new(7);
    let mut writer = open(&hub, &ada, "written").await;
    writer.send_update(&typist.types("before,")).await;
    writer.saved(1).await;

    fill_disk(&hub);
    let unsaved = typist.types("during,");
    writer.send_update(&unsaved).await;
    let (code, reason) = writer.closed().await;
    assert_eq!(code, 1013);
    assert!(reason.contains("StorageUnavailable"), "{reason}");
    for room in ["written", "new"] {
        let answer = push(&hub, &ada, room, &Typist::new(9).types("pushed")).await;
        let error = (answer.status, answer.error_name());
        assert_eq!(error, (503, "StorageUnavailable".to_owned()), "{room}");
    }
    // What is stored is there, and nothing else is.
    assert!(text(&hub, &ada, "read").await.contains("kept"));
    let written = text(&hub, &ada, "written").await;
    assert!(written.contains("before,"), "{written}");
    assert!(!written.contains("during,"), "{written}");
    assert!(!written.contains("pushed"), "{written}");
    assert!(!text(&hub, &ada, "new").await.contains("pushed"));
    let mut reader = open(&hub, &ada, "joined").await;
    reader.send_step1(&[0]).await;
    let state = reader
        .next_where(|received| match received {
            Received::Frame(Frame::Step2(update)) => Some(update.clone()),
            _ => None,
        })
        .await;
    assert!(String::from_utf8_lossy(&state).contains("kept"));

    free_disk(&hub);
    // As clients do, which send again what the hub lacks.
    writer = open(&hub, &ada, "written").await;
    writer.send_update(&unsaved).await;
    writer.send_update(&typist.types("after")).await;
    writer.saved(2).await;
    let written = text(&hub, &ada, "written").await;
    assert!(written.contains("before,during,after"), "{written}");
    let answer = push(&hub, &ada, "new", &Typist::new(9).types("pushed")).await;
    assert_eq!(answer.status, 200);
    // Whoever only read never noticed.
    reader.send_update(&Typist::new(11).types("read on")).await;
    reader.saved(1).await;
}
