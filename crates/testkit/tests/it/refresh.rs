//! Refresh tokens under bad luck and theft (`identity.md` 2), on the stores that need nothing but Rust.

use std::sync::Arc;

use epicenter_native::store::open_sqlite;
use epicenter_store::memory::MemoryStore;
use epicenter_testkit::refresh_model::{ModelPlan, play};

/// Optimised code plays a million in a minute (`cargo test --release`); a run for every change has to be short.
const MEMORY_REFRESHES: u64 = if cfg!(debug_assertions) {
    20_000
} else {
    1_000_000
};
const SQLITE_REFRESHES: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    50_000
};

fn plan(refreshes: u64, seed: u64) -> ModelPlan {
    ModelPlan {
        refreshes,
        devices: 500,
        seed,
    }
}

#[tokio::test]
async fn refreshes_in_memory_lose_nobody_and_no_thief_gets_away() {
    play(Arc::new(MemoryStore::new()), &plan(MEMORY_REFRESHES, 1)).await;
}

#[tokio::test]
async fn refreshes_in_sqlite_lose_nobody_and_no_thief_gets_away() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_sqlite(&directory.path().join("identity.db")).unwrap();
    play(Arc::new(opened.store), &plan(SQLITE_REFRESHES, 2)).await;
}
