//! Word of revocations from other processes, heard or polled for.

use std::time::{Duration, Instant};

use epicenter_identity::UserId;
use epicenter_native::store::postgres::{Changes, PostgresEngine, Upgrade};
use epicenter_native::store::{ChangeSignal as _, postgres};
use epicenter_server::accounts::store::{Accounts, Act, Actor, Door, NewAccount};
use epicenter_testkit::{PostgresCluster, soon};

fn act() -> Act {
    Act {
        at_ms: 1,
        actor: Actor::Operator,
        ip: None,
    }
}

/// The poll answers after half a second.
const BEFORE_THE_POLL: Duration = Duration::from_millis(450);

/// How long it took.
async fn wait_for_change(changes: &Changes) -> Duration {
    let started = Instant::now();
    changes.changed().await;
    started.elapsed()
}

#[tokio::test]
async fn a_revocation_is_heard_at_once_and_without_it_the_poll_answers() {
    let cluster = PostgresCluster::shared();
    let url = cluster.database();
    let writer = postgres::open(&url).await.expect("it opens").store;
    let ann = UserId::parse("ann").expect("a user");
    let account = NewAccount {
        id: ann.clone(),
        email: "ann@example.org".to_owned(),
        email_verified: true,
        name: "Ann".to_owned(),
        password_hash: None,
        admin: true,
    };
    let made = writer
        .create_account(&account, &Door::Operator, &act())
        .await;
    made.expect("the store works");
    let reader = PostgresEngine::open(&url, Upgrade::Run)
        .await
        .expect("it opens");
    let changes = reader.changes();
    soon("listening", async {
        while changes.is_deaf() {
            changes.changed().await;
        }
    })
    .await;
    // What connecting itself said.
    changes.changed().await;
    assert!(
        wait_for_change(&changes).await >= BEFORE_THE_POLL,
        "nothing to hear: the poll answers"
    );

    // Without a word nothing comes before the poll is due; a machine that pauses for so long is asked again.
    soon("a word that is heard before the poll", async {
        loop {
            let act = act();
            let (heard, disabled) = tokio::join!(
                wait_for_change(&changes),
                writer.set_enabled(&ann, false, &act)
            );
            assert_eq!(disabled, Ok(true));
            if heard < BEFORE_THE_POLL {
                break;
            }
            assert_eq!(writer.set_enabled(&ann, true, &act).await, Ok(true));
            // Until nothing of this is left to hear.
            while wait_for_change(&changes).await < BEFORE_THE_POLL {}
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_deaf_says_so_polls_and_listens_again() {
    let cluster = PostgresCluster::start();
    let url = cluster.database();
    let engine = PostgresEngine::open(&url, Upgrade::Run)
        .await
        .expect("it opens");
    let changes = engine.changes();
    let until_deaf_is = async |wanted: bool| {
        soon("the state of the listener", async {
            while changes.is_deaf() != wanted {
                // Returns within half a second whatever happens.
                changes.changed().await;
            }
        })
        .await;
    };
    until_deaf_is(false).await;
    cluster.stop();
    until_deaf_is(true).await;
    cluster.resume();
    until_deaf_is(false).await;
}
