//! A backup that is made while rooms are written to: every room in it is as it was at one moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use epicenter_testkit::Typist;
use epicenter_update::{Limits, Update, content_digest, merge};
use tokio::sync::watch;

use crate::backup::{
    PASSPHRASE, back_up, config_of, empty_place, passphrase, push, restore, snapshot, start,
    start_restored, user, with_passphrase,
};

/// What each writer has to send.
const UPDATES: usize = 400;

const BACKUPS: usize = 3;

/// A room and everything its one writer sent, in order.
struct History {
    room: String,
    updates: Vec<Vec<u8>>,
    /// How many of them are durable.
    acknowledged: AtomicUsize,
}

impl History {
    fn new(client: u64) -> Self {
        let mut typist = Typist::new(client);
        let words = (0..UPDATES).map(|number| format!("word {number} of {client}; "));
        Self {
            room: format!("room-{client}"),
            updates: words.map(|word| typist.types(&word)).collect(),
            acknowledged: AtomicUsize::new(0),
        }
    }

    /// How many updates make up this state; none if it is not one that the room had.
    fn count_in(&self, state: &[u8]) -> Option<usize> {
        let limits = Limits::default();
        let digest = |bytes: &[u8]| content_digest(&Update::parse(bytes, &limits).unwrap());
        let found = Update::parse(state, &limits).unwrap().state_vector();
        let wanted = digest(state);
        (0..=self.updates.len()).find(|count| {
            let parsed: Vec<_> = self.updates[..*count]
                .iter()
                .map(|update| Update::parse(update, &limits).unwrap())
                .collect();
            let prefix = merge(&parsed);
            Update::parse(&prefix, &limits).unwrap().state_vector() == found
                && digest(&prefix) == wanted
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_states_that_the_rooms_had() {
    const WRITERS: u64 = 6;
    let hub = start().await;
    let ada = user(&hub).await;
    let histories: Vec<_> = (1..=WRITERS).map(History::new).collect();
    // How many updates a writer may have sent by now: there are some left for each backup, however long the others took.
    let (allow, allowed) = watch::channel(0);
    let place = empty_place();
    let write = async |history: &History| {
        let mut allowed = allowed.clone();
        for (index, update) in history.updates.iter().enumerate() {
            // An error: all backups are made.
            if allowed.wait_for(|count| index < *count).await.is_err() {
                break;
            }
            assert_eq!(push(&hub, &ada, &history.room, update).await, 200);
            history.acknowledged.store(index + 1, Ordering::SeqCst);
        }
    };
    let acknowledged = || -> Vec<_> {
        let counts = histories.iter();
        counts
            .map(|history| history.acknowledged.load(Ordering::SeqCst))
            .collect()
    };
    let take_backups = async {
        let mut taken = Vec::new();
        for number in 0..BACKUPS {
            allow.send_replace(UPDATES * (number + 1) / BACKUPS);
            let target = acknowledged().iter().sum::<usize>() + 60;
            while acknowledged().iter().sum::<usize>() < target {
                tokio::task::yield_now().await;
            }
            let before = acknowledged();
            let file = place.path().join(format!("backup-{number}"));
            let config = config_of(&hub);
            let path = file.clone();
            let made = tokio::task::spawn_blocking(move || {
                back_up(config, &path, Some(&passphrase(PASSPHRASE))).unwrap()
            });
            made.await.unwrap();
            taken.push((file, before, acknowledged()));
        }
        allow.send_replace(0);
        drop(allow);
        taken
    };
    let writing = futures_util::future::join_all(histories.iter().map(write));
    let (taken, _) = tokio::join!(take_backups, writing);
    hub.stop().await;

    for (file, before, after) in taken {
        let place = empty_place();
        let secret = passphrase(PASSPHRASE);
        restore(&file, &place.path().join("data"), with_passphrase(&secret)).unwrap();
        let restored = start_restored(place).await;
        let ada = user(&restored).await;
        for ((history, before), after) in histories.iter().zip(before).zip(after) {
            let state = snapshot(&restored, &ada, &history.room).await;
            let count = history.count_in(&state);
            let count = count.expect("a state that the room had");
            // One more than was acknowledged may be on its way to its sender.
            assert!(
                (before..=after + 1).contains(&count),
                "{before} {count} {after}"
            );
        }
        restored.stop().await;
    }
}
