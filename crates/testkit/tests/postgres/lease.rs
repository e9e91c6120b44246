//! Who serves rooms: one process at a time, the next when it ends or falls silent.

use std::time::Duration;

use epicenter_native::lease::{LeaseTimes, RoomsLease};
use epicenter_native::store::postgres::{PostgresEngine, Upgrade};
use epicenter_server::ports::RoomsDuty;
use epicenter_testkit::{PostgresCluster, soon};

/// A loaded machine may pause for some seconds. Meanwhile no lease runs out that is to be held, and who counts itself out
/// before the end is not late.
const TIMES: LeaseTimes = LeaseTimes {
    life: Duration::from_secs(10),
    renew_every: Duration::from_millis(500),
    margin: Duration::from_secs(5),
    look_every: Duration::from_millis(50),
};

async fn start(url: &str, name: &str) -> RoomsLease {
    let engine = PostgresEngine::open(url, Upgrade::Run)
        .await
        .expect("it opens");
    let address = format!("https://{name}.example");
    RoomsLease::start(engine, name.to_owned(), address, TIMES).await
}

async fn until(lease: &RoomsLease, wanted: RoomsDuty) {
    let mut duty = lease.duty();
    let reached = duty.wait_for(|duty| *duty == wanted);
    soon("the duty", reached).await.expect("the lease is kept");
}

fn at(name: &str) -> RoomsDuty {
    RoomsDuty::Elsewhere {
        url: format!("https://{name}.example"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_serves_and_the_other_names_it_until_it_gives_up() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let one = start(&url, "one").await;
    until(&one, RoomsDuty::Here).await;
    let two = start(&url, "two").await;
    until(&two, at("one")).await;
    one.release().await;
    until(&two, RoomsDuty::Here).await;
    let three = start(&url, "three").await;
    until(&three, at("two")).await;
    // A process that is killed gives nothing up; its lease runs out.
    drop(two);
    until(&three, RoomsDuty::Here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_replaced_finds_out_and_stops() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let one = start(&url, "one").await;
    until(&one, RoomsDuty::Here).await;
    let database = url.rsplit('/').next().expect("a database");
    let replaced = "UPDATE leases SET holder = 'two', url = 'https://two.example', epoch = epoch + 1, expires_at = expires_at + 60000";
    cluster.sql(database, replaced);
    until(&one, at("two")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_renew_stops_before_the_end() {
    let cluster = PostgresCluster::start();
    let url = cluster.database();
    let one = start(&url, "one").await;
    until(&one, RoomsDuty::Here).await;
    let stopped = std::time::Instant::now();
    cluster.stop();
    until(&one, RoomsDuty::Nobody).await;
    assert!(stopped.elapsed() < TIMES.life, "{:?}", stopped.elapsed());
    cluster.resume();
    until(&one, RoomsDuty::Here).await;
}
