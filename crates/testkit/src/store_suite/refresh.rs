//! Refresh tokens and their rotation.

use std::sync::Arc;

use epicenter_identity::{Scope, Scopes};
use epicenter_server::oauth::store::{RefreshToken, RevocationReason, Rotated, RotationChange};

use super::StoreUnderTest;
use super::fixtures::*;

async fn find<S: StoreUnderTest>(store: &S, number: u8) -> RefreshToken {
    let found = store
        .find_refresh_token(&hash(number))
        .await
        .expect("the store works");
    found.expect("there is such a token")
}

pub(super) async fn a_rotation_is_seen_from_both_ends<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let change = rotation(&grant, 0, 1, 2);
    assert_eq!(
        store.rotate_refresh_token(&change, &act(NOW + 1)).await,
        Ok(Rotated::Done)
    );
    let presented = find(&*store, 1).await;
    assert_eq!(presented.grant.version, 1);
    let rotated = presented.rotation.expect("it was rotated");
    assert_eq!((rotated.at_ms, rotated.successor), (NOW + 1, hash(2)));
    assert_eq!(rotated.sealed_answer, Some(change.sealed_answer));
    assert!(!rotated.successor_was_presented && !rotated.reissued);
    let newest = find(&*store, 2).await;
    assert!(newest.rotation.is_none() && !newest.killed);
    assert_eq!(newest.created_at_ms, NOW + 1);
    assert_eq!(newest.expires_at_ms, change.successor.expires_at_ms);

    let next = rotation(&grant, 1, 2, 3);
    assert_eq!(
        store.rotate_refresh_token(&next, &act(NOW + 2)).await,
        Ok(Rotated::Done)
    );
    let presented = find(&*store, 1).await;
    let rotated = presented.rotation.expect("it was rotated");
    assert!(rotated.successor_was_presented);
}

pub(super) async fn a_rotation_may_narrow_for_good<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let change = RotationChange {
        scopes: Scopes::NONE.with(Scope::RoomsRead),
        requested_scope: "rooms.read".to_owned(),
        ..rotation(&grant, 0, 1, 2)
    };
    assert_eq!(
        store.rotate_refresh_token(&change, &act(NOW)).await,
        Ok(Rotated::Done)
    );
    let narrowed = find(&*store, 2).await.grant;
    assert_eq!(narrowed.scopes, change.scopes);
    assert_eq!(narrowed.requested_scope, "rooms.read");
}

pub(super) async fn of_two_rotations_of_one_version_one_is_done<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let first = store
        .rotate_refresh_token(&rotation(&grant, 0, 1, 2), &act(NOW))
        .await;
    assert_eq!(first, Ok(Rotated::Done));
    let second = store
        .rotate_refresh_token(&rotation(&grant, 0, 1, 3), &act(NOW))
        .await;
    assert_eq!(second, Ok(Rotated::Changed));
    assert_eq!(
        store.find_refresh_token(&hash(3)).await,
        Ok(None),
        "nothing is left of it"
    );
    let rotated = find(&*store, 1).await.rotation.expect("it was rotated");
    assert_eq!(rotated.successor, hash(2));
    let unknown = rotation(&grant_id("unknown"), 0, 1, 4);
    let unknown = store.rotate_refresh_token(&unknown, &act(NOW)).await;
    assert_eq!(unknown, Ok(Rotated::Changed));
}

pub(super) async fn many_rotations_at_once_are_done_once<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 100).await;
    let rotated = at_once(&store, |store, number| {
        let change = rotation(&grant, 0, 100, number);
        async move { store.rotate_refresh_token(&change, &act(NOW)).await }
    });
    let rotated = rotated.await;
    let done = rotated
        .iter()
        .filter(|answer| **answer == Ok(Rotated::Done))
        .count();
    let changed = rotated
        .iter()
        .filter(|answer| **answer == Ok(Rotated::Changed))
        .count();
    assert_eq!((done, changed), (1, usize::from(MANY) - 1), "{rotated:?}");
    let mut made = 0;
    for number in 0..MANY {
        let token = store
            .find_refresh_token(&hash(number))
            .await
            .expect("the store works");
        made += usize::from(token.is_some());
    }
    assert_eq!(made, 1);
}

pub(super) async fn nothing_rotates_under_a_revoked_grant<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let reason = RevocationReason::RefreshReuse;
    assert_eq!(
        store.revoke_grant(&grant, reason, &act(NOW)).await,
        Ok(true)
    );
    let version = find(&*store, 1).await.grant.version;
    let rotated = store
        .rotate_refresh_token(&rotation(&grant, version, 1, 2), &act(NOW))
        .await;
    assert_eq!(rotated, Ok(Rotated::Changed));
    assert_eq!(store.find_refresh_token(&hash(2)).await, Ok(None));
}

pub(super) async fn nothing_rotates_for_a_disabled_account<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    assert_eq!(store.set_enabled(&ann, false, &act(NOW)).await, Ok(true));
    let version = find(&*store, 1).await.grant.version;
    let rotated = store
        .rotate_refresh_token(&rotation(&grant, version, 1, 2), &act(NOW))
        .await;
    assert_eq!(rotated, Ok(Rotated::Changed));
}

pub(super) async fn a_lost_answer_is_replaced<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let lost = store
        .rotate_refresh_token(&rotation(&grant, 0, 1, 2), &act(NOW))
        .await;
    assert_eq!(lost, Ok(Rotated::Done));
    let replacement = RotationChange {
        kill: Some(hash(2)),
        ..rotation(&grant, 1, 1, 3)
    };
    let replaced = store
        .rotate_refresh_token(&replacement, &act(NOW + HOUR))
        .await;
    assert_eq!(replaced, Ok(Rotated::Done));
    assert!(find(&*store, 2).await.killed);
    assert!(!find(&*store, 3).await.killed);
    let rotated = find(&*store, 1).await.rotation.expect("it was rotated");
    assert!(rotated.reissued && !rotated.successor_was_presented);
    assert_eq!((rotated.at_ms, rotated.successor), (NOW + HOUR, hash(3)));
    assert_eq!(rotated.sealed_answer, Some(replacement.sealed_answer));
}

pub(super) async fn a_rotation_beside_a_revocation_leaves_no_living_grant<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 100).await;
    let calls = at_once(&store, |store, number| {
        let grant = grant.clone();
        async move {
            if number == MANY / 2 {
                let reason = RevocationReason::RefreshReuse;
                let ended = store.revoke_grant(&grant, reason, &act(NOW)).await;
                assert_eq!(ended, Ok(true));
            } else {
                let change = rotation(&grant, 0, 100, number);
                let rotated = store.rotate_refresh_token(&change, &act(NOW)).await;
                assert!(rotated.is_ok());
            }
        }
    });
    calls.await;
    assert!(!is_living(&*store, &grant).await);
}
