//! Refresh tokens under bad luck and theft (`identity.md` 2), on the stores.

use std::sync::Arc;

use epicenter_identity::UserId;
use epicenter_native::store::open_sqlite;
use epicenter_server::accounts::store::{Accounts as _, Act, Actor, Created, Door, NewAccount};
use epicenter_store::memory::MemoryStore;
use epicenter_testkit::refresh_model::{ModelPlan, ModelStore, ModelTally, run};

/// Optimised code plays a million in minutes (`cargo test --release`); a run for every change has to be short.
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

fn ada() -> NewAccount {
    NewAccount {
        id: UserId::parse("ada").unwrap(),
        email: "ada@example.com".to_owned(),
        email_verified: true,
        name: "Ada".to_owned(),
        password_hash: None,
        admin: true,
    }
}

fn act() -> Act {
    Act {
        at_ms: 0,
        actor: Actor::Operator,
        ip: None,
    }
}

/// Nobody honest was signed out, every theft ended its grant, and everything that can happen did.
#[track_caller]
fn check(tally: &ModelTally, refreshes: u64) {
    assert_eq!(tally.lost, Vec::<String>::new());
    assert_eq!(tally.caught, tally.thefts);
    assert!(tally.refreshes >= refreshes);
    // A few in ten thousand, whatever the seed.
    let seldom = refreshes / 2_000;
    assert!(tally.thefts > seldom, "{tally:?}");
    assert!(tally.mishaps > seldom, "{tally:?}");
    assert!(tally.concurrent > seldom, "{tally:?}");
    assert!(tally.late_tabs > seldom, "{tally:?}");
    assert!(tally.late_retries > seldom, "{tally:?}");
}

#[tokio::test]
async fn refreshes_in_memory_lose_nobody_and_no_thief_gets_away() {
    let memory = Arc::new(MemoryStore::new());
    let created = memory.create_account(&ada(), &Door::Operator, &act()).await;
    assert_eq!(created, Ok(Created::Done));
    let store = ModelStore {
        grants: memory.clone(),
        users: memory,
        user: ada().id,
    };
    let plan = ModelPlan {
        refreshes: MEMORY_REFRESHES,
        devices: 500,
        seed: 1,
    };
    check(&run(&store, &plan).await, plan.refreshes);
}

#[tokio::test]
async fn refreshes_in_sqlite_lose_nobody_and_no_thief_gets_away() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open_sqlite(&directory.path().join("identity.db")).unwrap();
    let sqlite = Arc::new(opened.store);
    let created = sqlite.create_account(&ada(), &Door::Operator, &act()).await;
    assert_eq!(created, Ok(Created::Done));
    let store = ModelStore {
        grants: sqlite.clone(),
        users: sqlite,
        user: ada().id,
    };
    let plan = ModelPlan {
        refreshes: SQLITE_REFRESHES,
        devices: 500,
        seed: 2,
    };
    check(&run(&store, &plan).await, plan.refreshes);
}
