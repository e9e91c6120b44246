//! What needs a PostgreSQL server, which these tests start themselves: `cargo test -p epicenter-testkit --features
//! postgres-tests --test postgres`.

mod backup;
mod changes;
mod engine;
mod lease;
mod misfits;
mod opening;
mod processes;

use std::sync::Arc;

use epicenter_native::store::postgres;
use epicenter_testkit::refresh_model::{ModelPlan, play};
use epicenter_testkit::{PostgresCluster, store_suite};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_on_postgresql_keeps_every_promise() {
    let cluster = PostgresCluster::shared();
    store_suite::run(async || {
        let opened = postgres::open(&cluster.migrated_database().await).await;
        opened.expect("the store opens").store
    })
    .await;
}

/// `identity.md` 2; the same model plays a million in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refreshes_on_postgresql_lose_nobody_and_no_thief_gets_away() {
    let cluster = PostgresCluster::shared();
    let opened = postgres::open(&cluster.migrated_database().await).await;
    let store = opened.expect("the store opens").store;
    // A request waits for one of 16 connections, each of which waits for the disk alone: not too many at once.
    let plan = ModelPlan {
        refreshes: 5_000,
        devices: 50,
        seed: 3,
    };
    play(Arc::new(store), &plan).await;
}
