//! Compaction seen from outside: when it happens, and that nobody sees it.

use std::path::Path;
use std::time::Duration;

use epicenter_native::config::HostConfig;
use epicenter_testkit::{HttpRequest, TestHub, TestUser, Typist, soon};
use epicenter_update::{Limits, Update};
use rusqlite::{Connection, OpenFlags};

const ROOM: &str = "notes";

/// Rows of a table of the room log that fit, as another process sees them.
fn count(data_dir: &Path, question: &str) -> i64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let log = Connection::open_with_flags(data_dir.join("rooms.db"), flags).expect("the log");
    log.query_row(&format!("SELECT count(*) FROM {question}"), [], |row| {
        row.get(0)
    })
    .expect("a number")
}

/// Looks again and again until there is a state in the log.
async fn is_compacted(hub: &TestHub) {
    let compacted = async {
        while count(&hub.data_dir(), STATES) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a compaction", compacted).await;
}

const STATES: &str = "entries WHERE kind = 6";
const GENERATIONS: &str = "generations";

/// Nothing is compacted unless a test says when.
fn never(config: &mut HostConfig) {
    let compaction = &mut config.engine.compaction;
    compaction.load_entries = usize::MAX;
    compaction.busy_entries = usize::MAX;
    compaction.busy_bytes = usize::MAX;
    compaction.close_entries = usize::MAX;
    compaction.after_close_ms = 0;
}

async fn snapshot(hub: &TestHub, user: &TestUser) -> Vec<u8> {
    let answer = HttpRequest::new("GET", user.room_path(ROOM))
        .bearer(&user.token)
        .send(hub.address())
        .await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// What a document says, whatever its bytes.
fn digest(update: &[u8]) -> [u8; 32] {
    let update = Update::parse(update, &Limits::default()).expect("an update");
    epicenter_update::content_digest(&update)
}

async fn type_letters(hub: &TestHub, user: &TestUser, typist: &mut Typist, letters: usize) {
    let mut writer = hub.open(user, ROOM, "writer").await;
    for _ in 0..letters {
        writer.send_update(&typist.types("x")).await;
    }
    // Whatever was sent before is handled before the answer to this.
    writer.send_step1(&[0]).await;
    writer.next_update().await;
    writer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_room_is_compacted_while_two_clients_use_it() {
    let hub = TestHub::start_with(|config| {
        never(config);
        config.engine.compaction.busy_entries = 32;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let mut reader = hub.open(&ada, ROOM, "reader").await;
    // It joins after the upgrade has been answered, and must not miss the first update.
    reader.drain().await;
    let mut writer = hub.open(&ada, ROOM, "writer").await;
    let mut typist = Typist::new(7);
    let mut seen = 0;
    while count(&hub.data_dir(), STATES) == 0 || seen % 100 != 0 {
        let update = typist.types("x");
        writer.send_update(&update).await;
        assert_eq!(reader.next_update().await, update, "update {seen}");
        seen += 1;
        assert!(seen < 10_000, "it is never compacted");
    }
    let before = digest(&snapshot(&hub, &ada).await);
    let hub = hub.restart_with(never).await;
    let ada = hub.user("ada@example.test").await;
    let after = snapshot(&hub, &ada).await;
    assert_eq!(digest(&after), before);
    assert!(count(&hub.data_dir(), GENERATIONS) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_compacted_after_its_last_connection_has_closed() {
    let hub = TestHub::start_with(|config| {
        never(config);
        config.engine.compaction.close_entries = 8;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let mut typist = Typist::new(7);
    type_letters(&hub, &ada, &mut typist, 20).await;
    is_compacted(&hub).await;
    let compacted = digest(&snapshot(&hub, &ada).await);
    // The room goes on behind its state.
    type_letters(&hub, &ada, &mut typist, 3).await;
    let edited = snapshot(&hub, &ada).await;
    assert_ne!(digest(&edited), compacted);
    let hub = hub.restart_with(never).await;
    let ada = hub.user("ada@example.test").await;
    assert_eq!(digest(&snapshot(&hub, &ada).await), digest(&edited));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_with_a_long_log_is_compacted_when_it_is_opened() {
    let hub = TestHub::start_with(never).await;
    let ada = hub.user("ada@example.test").await;
    let mut typist = Typist::new(7);
    type_letters(&hub, &ada, &mut typist, 50).await;
    let before = digest(&snapshot(&hub, &ada).await);
    assert_eq!(count(&hub.data_dir(), STATES), 0);
    let hub = hub
        .restart_with(|config| {
            never(config);
            config.engine.compaction.load_entries = 16;
        })
        .await;
    let ada = hub.user("ada@example.test").await;
    assert_eq!(digest(&snapshot(&hub, &ada).await), before);
    is_compacted(&hub).await;
    assert_eq!(digest(&snapshot(&hub, &ada).await), before);
}
