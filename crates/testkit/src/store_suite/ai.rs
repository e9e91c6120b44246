//! Calls of AI models, and credits.

use std::sync::Arc;

use epicenter_identity::UserId;
use epicenter_server::ai::catalog::Credits;
use epicenter_server::ai::store::{CreditAccount, Held, Outcome, UsageRow};
use epicenter_store::{Gift, Given};
use futures_util::future::join_all;

use super::StoreUnderTest;
use super::fixtures::act;

const NOW: u64 = 1_000_000;
const END: u64 = NOW + 1_000;
const OPENING: Credits = Credits::whole(10);

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("an id")
}

async fn account<S: StoreUnderTest>(store: &S, name: &str, now_ms: u64) -> CreditAccount {
    let account = store.credit_account(&user(name), OPENING, now_ms).await;
    account.expect("the store works")
}

async fn balance<S: StoreUnderTest>(store: &S, now_ms: u64) -> Credits {
    account(store, "ada", now_ms).await.balance
}

async fn reserve<S: StoreUnderTest>(store: &S, id: &str, credits: u64, now_ms: u64) -> Held {
    let amount = Credits::whole(credits);
    let end_ms = now_ms + 1_000;
    let ada = user("ada");
    let held = store.reserve_credits(&ada, id, amount, now_ms, end_ms);
    held.await.expect("the store works")
}

async fn confirm<S: StoreUnderTest>(store: &S, id: &str, credits: u64) {
    let paid = store.confirm_credits(id, Credits::whole(credits), NOW);
    paid.await.expect("the store works");
}

async fn give<S: StoreUnderTest>(store: &S, given: Credits) -> Given {
    let gift = Gift {
        user: user("ada"),
        opening: OPENING,
        given,
        note: Some("invoice 7".to_owned()),
    };
    store.give(&gift, &act(NOW)).await
}

pub(super) async fn usage_is_kept_as_it_was<S: StoreUnderTest>(store: Arc<S>) {
    let mut rows = Vec::new();
    for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
        let row = UsageRow {
            id: format!("ai-{index}"),
            user: user("ada"),
            at_ms: NOW + index as u64,
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            own_key: index == 1,
            input_tokens: 7,
            output_tokens: 11,
            credits: Credits::thousandths(13),
            first_byte_ms: (index > 1).then_some(17),
            duration_ms: 19,
            outcome,
            error_code: (index == 3).then(|| "refusal".to_owned()),
        };
        store.append_usage(row.clone()).await.expect("it is kept");
        rows.push(row);
    }
    assert_eq!(store.usage_rows().await, rows);
}

pub(super) async fn credits_are_held_paid_and_freed<S: StoreUnderTest>(store: Arc<S>) {
    let store = &*store;
    assert_eq!(balance(store, NOW).await, OPENING);
    assert_eq!(reserve(store, "one", 4, NOW).await, Held::Reserved);
    assert_eq!(reserve(store, "two", 6, NOW).await, Held::Reserved);
    let none = Held::Insufficient {
        balance: Credits::ZERO,
    };
    assert_eq!(reserve(store, "three", 1, NOW).await, none);
    store.release_credits("two").await.expect("it is freed");
    assert_eq!(balance(store, NOW).await, Credits::whole(6));
    confirm(store, "one", 3).await;
    assert_eq!(balance(store, NOW).await, Credits::whole(7));
    // Once, however often it is asked for, and nothing comes back.
    confirm(store, "one", 3).await;
    store.release_credits("one").await.expect("nothing to do");
    confirm(store, "two", 3).await;
    confirm(store, "never", 3).await;
    assert_eq!(balance(store, NOW).await, Credits::whole(7));
    assert_eq!(account(store, "bob", NOW).await.balance, OPENING);
}

pub(super) async fn an_expired_reservation_is_free_and_paid_all_the_same<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let store = &*store;
    balance(store, NOW).await;
    assert_eq!(reserve(store, "one", 8, NOW).await, Held::Reserved);
    assert_eq!(balance(store, END - 1).await, Credits::whole(2));
    assert_eq!(balance(store, END).await, OPENING);
    assert_eq!(reserve(store, "two", 9, END).await, Held::Reserved);
    confirm(store, "one", 8).await;
    confirm(store, "two", 9).await;
    // More than there was: nothing is free until it is made up for.
    assert_eq!(balance(store, END).await, Credits::ZERO);
    assert!(!account(store, "ada", END).await.is_paid);
    assert_eq!(give(store, Credits::whole(8)).await, Given::Done);
    let account = account(store, "ada", END).await;
    assert_eq!(account.balance, Credits::whole(1));
    assert!(account.is_paid);
}

pub(super) async fn many_reservations_at_once_hold_no_more_than_there_is<S: StoreUnderTest>(
    store: Arc<S>,
) {
    balance(&*store, NOW).await;
    let tries = (0..16).map(|index| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { reserve(&*store, &format!("call-{index}"), 3, NOW).await })
    });
    let mut held = 0;
    for done in join_all(tries).await {
        held += usize::from(done.expect("no panic") == Held::Reserved);
    }
    assert_eq!(held, 3);
    assert_eq!(balance(&*store, NOW).await, Credits::whole(1));
}

pub(super) async fn one_of_many_confirmations_pays<S: StoreUnderTest>(store: Arc<S>) {
    balance(&*store, NOW).await;
    assert_eq!(reserve(&*store, "one", 5, NOW).await, Held::Reserved);
    let tries = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { confirm(&*store, "one", 2).await })
    });
    for done in join_all(tries).await {
        done.expect("no panic");
    }
    assert_eq!(balance(&*store, NOW).await, Credits::whole(8));
}

pub(super) async fn gifts_add_up_and_are_written_down<S: StoreUnderTest>(store: Arc<S>) {
    let store = &*store;
    // Who has never called has what everybody begins with, and the gift beside it.
    assert_eq!(give(store, Credits::thousandths(1_500)).await, Given::Done);
    let ada = account(store, "ada", NOW).await;
    assert_eq!(ada.balance, Credits::thousandths(11_500));
    assert!(ada.is_paid);
    assert_eq!(store.audit_lines().await, 1);
    assert_eq!(give(store, Credits::whole(2)).await, Given::Done);
    assert_eq!(balance(store, NOW).await, Credits::thousandths(13_500));
    assert_eq!(store.audit_lines().await, 2);
    let bob = account(store, "bob", NOW).await;
    assert_eq!((bob.balance, bob.is_paid), (OPENING, false));
}

pub(super) async fn gifts_end_before_a_column_does<S: StoreUnderTest>(store: Arc<S>) {
    let store = &*store;
    let most = Credits::thousandths(1 << 50);
    let mut given = 0;
    while give(store, most).await == Given::Done {
        given += 1;
        assert!(given < 10, "there is an end");
    }
    let before = balance(store, NOW).await;
    let lines = store.audit_lines().await;
    assert_eq!(give(store, most).await, Given::TooMany);
    assert_eq!(balance(store, NOW).await, before);
    assert_eq!(store.audit_lines().await, lines, "nothing happened");
    assert_eq!(give(store, Credits::whole(1)).await, Given::Done);
}

pub(super) async fn gifts_at_once_are_all_given<S: StoreUnderTest>(store: Arc<S>) {
    let tries = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { give(&*store, Credits::whole(1)).await })
    });
    for done in join_all(tries).await {
        assert_eq!(done.expect("no panic"), Given::Done);
    }
    assert_eq!(balance(&*store, NOW).await, Credits::whole(18));
}
