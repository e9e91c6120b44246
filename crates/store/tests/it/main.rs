//! The stores that need nothing but a file system: in memory, and on SQLite. PostgreSQL has a test of its own, in
//! `epicenter-testkit`.

use epicenter_native::store::open_sqlite;
use epicenter_store::memory::MemoryStore;
use epicenter_testkit::store_suite;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_every_promise() {
    store_suite::run(async || MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_on_sqlite_keeps_every_promise() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut files = 0..;
    let paths =
        std::iter::from_fn(|| Some(directory.path().join(format!("{}.sqlite", files.next()?))));
    let paths = std::sync::Mutex::new(paths);
    store_suite::run(async || {
        let path = paths.lock().expect("one case at a time").next();
        let opened = open_sqlite(&path.expect("there is always another"));
        opened.expect("the store opens").store
    })
    .await;
}

#[tokio::test]
async fn a_store_told_to_fail_answers_nothing_and_changes_nothing() {
    use epicenter_server::accounts::store::Accounts as _;
    use epicenter_server::ports::StoreUnavailable;
    let store = MemoryStore::new();
    store.fail(true);
    assert_eq!(store.has_accounts().await, Err(StoreUnavailable));
    assert_eq!(store.revocations_since(0), Err(StoreUnavailable));
    store.fail(false);
    assert_eq!(store.has_accounts().await, Ok(false));
}
