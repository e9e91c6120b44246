//! What needs a PostgreSQL server, which these tests start themselves: `cargo test -p epicenter-testkit --features
//! postgres-tests --test postgres`.

mod changes;
mod engine;
mod lease;
mod misfits;
mod opening;
mod processes;

use epicenter_native::store::postgres;
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
