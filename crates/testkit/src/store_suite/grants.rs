//! Codes, grants, revocations, consents.

use std::sync::Arc;

use epicenter_identity::{ClientId, Scope, Scopes};
use epicenter_server::accounts::store::AlsoEnd;
use epicenter_server::oauth::store::{Grant, Redeemed, RevocationReason};
use epicenter_server::revocations::Subject;

use super::StoreUnderTest;
use super::fixtures::*;

pub(super) async fn a_code_is_redeemed_once<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let issued = code(1, &ann);
    assert_eq!(store.insert_code(&issued, &act(NOW)).await, Ok(()));
    assert_eq!(store.find_code(&hash(1)).await, Ok(Some(issued.clone())));
    assert_eq!(store.find_code(&hash(2)).await, Ok(None));
    let first = grant("first", &ann);
    let redeemed = store
        .redeem_code(&redemption(1, first.clone(), Some(3)), &act(NOW + 1))
        .await;
    assert_eq!(redeemed, Ok(Redeemed::Done));
    assert_eq!(store.find_grant(&first.id).await, Ok(Some(first.clone())));
    let token = store
        .find_refresh_token(&hash(3))
        .await
        .expect("the store works");
    let token = token.expect("it was made");
    assert_eq!((token.token, &token.grant), (hash(3), &first));
    assert_eq!(token.created_at_ms, NOW + 1);
    assert_eq!(token.expires_at_ms, new_token(3).expires_at_ms);
    assert!(token.rotation.is_none() && !token.killed);
    let used = store
        .find_code(&hash(1))
        .await
        .expect("the store works")
        .expect("it is kept");
    assert_eq!(used.redeemed_by, Some(first.id.clone()));
    let again = store
        .redeem_code(&redemption(1, grant("second", &ann), Some(4)), &act(NOW))
        .await;
    assert_eq!(again, Ok(Redeemed::Already(first.id)));
    assert_eq!(store.find_grant(&grant_id("second")).await, Ok(None));
    assert_eq!(store.find_refresh_token(&hash(4)).await, Ok(None));
    let unknown = store
        .redeem_code(&redemption(9, grant("third", &ann), None), &act(NOW))
        .await;
    assert_eq!(unknown, Ok(Redeemed::Gone));
}

pub(super) async fn many_redemptions_at_once_make_one_grant<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    assert_eq!(store.insert_code(&code(100, &ann), &act(NOW)).await, Ok(()));
    let redeemed = at_once(&store, |store, number| {
        let grant = grant(&format!("grant{number}"), &ann);
        async move {
            let redemption = redemption(100, grant, Some(number));
            store.redeem_code(&redemption, &act(NOW)).await
        }
    });
    let redeemed = redeemed.await;
    let listed = store.list_grants(&ann, NOW).await.expect("the store works");
    assert_eq!(listed.len(), 1);
    let winner = Ok(Redeemed::Already(listed[0].id.clone()));
    let done = redeemed
        .iter()
        .filter(|answer| **answer == Ok(Redeemed::Done))
        .count();
    let already = redeemed.iter().filter(|answer| **answer == winner).count();
    assert_eq!((done, already), (1, usize::from(MANY) - 1), "{redeemed:?}");
}

pub(super) async fn a_disabled_accounts_code_is_gone<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    assert_eq!(store.insert_code(&code(1, &ann), &act(NOW)).await, Ok(()));
    assert_eq!(store.set_enabled(&ann, false, &act(NOW)).await, Ok(true));
    let redeemed = store
        .redeem_code(&redemption(1, grant("g", &ann), Some(1)), &act(NOW))
        .await;
    assert_eq!(redeemed, Ok(Redeemed::Gone));
    assert_eq!(store.find_grant(&grant_id("g")).await, Ok(None));
    assert_eq!(store.find_refresh_token(&hash(1)).await, Ok(None));
}

pub(super) async fn a_redemption_beside_a_disabling_leaves_no_living_grant<S: StoreUnderTest>(
    store: Arc<S>,
) {
    race_redemptions(&store, async |store, ann| {
        let disabled = store.set_enabled(&ann, false, &act(NOW)).await;
        assert_eq!(disabled, Ok(true));
    })
    .await;
}

pub(super) async fn a_redemption_beside_signing_out_everywhere_leaves_no_living_grant<
    S: StoreUnderTest,
>(
    store: Arc<S>,
) {
    race_redemptions(&store, async |store, ann| {
        let ended = store
            .end_sessions(&ann, None, AlsoEnd::Grants, &act(NOW))
            .await;
        assert_eq!(ended, Ok(0));
    })
    .await;
}

/// Codes are redeemed while something ends all grants. The codes are older than that, so nothing may be left of them.
async fn race_redemptions<S: StoreUnderTest>(
    store: &Arc<S>,
    end: impl AsyncFn(Arc<S>, epicenter_identity::UserId),
) {
    let ann = add_account(&**store, "ann").await;
    for number in 0..MANY {
        assert_eq!(
            store.insert_code(&code(number, &ann), &act(NOW)).await,
            Ok(())
        );
    }
    let redemptions = at_once(store, |store, number| {
        let grant = grant(&format!("grant{number}"), &ann);
        async move {
            let redemption = redemption(number, grant, Some(number));
            store.redeem_code(&redemption, &act(NOW)).await
        }
    });
    let ((), redeemed) = tokio::join!(end(Arc::clone(store), ann.clone()), redemptions);
    let feed = store.revocations_after(0).await;
    for (number, redeemed) in redeemed.iter().enumerate() {
        let id = grant_id(&format!("grant{number}"));
        assert!(!is_living(&**store, &id).await);
        match redeemed {
            Ok(Redeemed::Done) => assert!(tells_end(&feed, &id, &ann)),
            other => assert_eq!(*other, Ok(Redeemed::Gone)),
        }
    }
}

pub(super) async fn grants_are_listed_newest_first<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    for (name, created_at_ms) in [("old", NOW), ("new", NOW + 2), ("middle", NOW + 1)] {
        let grant = Grant {
            created_at_ms,
            ..grant(name, &ann)
        };
        assert_eq!(store.insert_grant(&grant, &act(NOW)).await, Ok(()));
        assert_eq!(store.find_grant(&grant.id).await, Ok(Some(grant)));
    }
    let others = grant("others", &bob);
    assert_eq!(store.insert_grant(&others, &act(NOW)).await, Ok(()));
    let list = async |now| {
        let grants = store.list_grants(&ann, now).await.expect("the store works");
        let ids = grants.into_iter().map(|grant| grant.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list(NOW).await, ["new", "middle", "old"]);
    let ended = store
        .revoke_grant(&grant_id("middle"), RevocationReason::ByPerson, &act(NOW))
        .await;
    assert_eq!(ended, Ok(true));
    assert_eq!(list(NOW).await, ["new", "old"]);
    let end = others.expires_at_ms;
    assert_eq!(list(end - 1).await, ["new", "old"]);
    assert!(list(end).await.is_empty());
}

pub(super) async fn a_grant_ends_once_and_is_told<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let grant = add_grant(&*store, &ann, 1).await;
    let lines = store.audit_lines().await;
    let reason = RevocationReason::SignedOut;
    assert_eq!(
        store.revoke_grant(&grant, reason, &act(NOW + 3)).await,
        Ok(true)
    );
    assert_eq!(store.audit_lines().await, lines + 1);
    assert!(!is_living(&*store, &grant).await);
    let token = store
        .find_refresh_token(&hash(1))
        .await
        .expect("the store works");
    assert!(token.expect("it is kept").grant.revoked);
    let feed = store.revocations_after(0).await;
    assert_eq!(feed.len(), 1);
    assert_eq!(
        (&feed[0].subject, feed[0].at_ms),
        (&Subject::Grant(grant.clone()), NOW + 3)
    );
    assert_eq!(
        store.revoke_grant(&grant, reason, &act(NOW)).await,
        Ok(false)
    );
    let unknown = store
        .revoke_grant(&grant_id("unknown"), reason, &act(NOW))
        .await;
    assert_eq!(unknown, Ok(false));
    assert_eq!(store.revocations_after(0).await, feed);
    assert_eq!(store.audit_lines().await, lines + 1);
}

/// A reader that goes on from the last position it saw misses nothing, however the writers interleave.
pub(super) async fn revocations_are_told_in_their_order<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    for number in 0..MANY * 4 {
        add_grant(&*store, &ann, number).await;
    }
    let writers = at_once(&store, |store, number| async move {
        for grant in (number * 4)..(number * 4 + 4) {
            let id = grant_id(&format!("grant{grant}"));
            let reason = RevocationReason::ByPerson;
            assert_eq!(store.revoke_grant(&id, reason, &act(NOW)).await, Ok(true));
        }
    });
    let reader = async {
        let mut seen = Vec::new();
        while seen.len() < usize::from(MANY * 4) {
            let last = seen
                .last()
                .map_or(0, |row: &epicenter_server::revocations::Revocation| row.seq);
            seen.extend(store.revocations_after(last).await);
            tokio::task::yield_now().await;
        }
        seen
    };
    let (_, seen) = crate::soon("every revocation", async { tokio::join!(writers, reader) }).await;
    assert!(seen.is_sorted_by(|one, next| one.seq < next.seq));
    assert_eq!(store.revocations_after(0).await, seen);
}

pub(super) async fn consent_adds_up<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    let other = ClientId::parse("other").expect("a client id");
    assert_eq!(store.find_consent(&ann, &client()).await, Ok(Scopes::NONE));
    let (read, write) = (
        Scopes::NONE.with(Scope::RoomsRead),
        Scopes::NONE.with(Scope::RoomsWrite),
    );
    for scopes in [read, write, read] {
        assert_eq!(
            store.add_consent(&ann, &client(), scopes, &act(NOW)).await,
            Ok(())
        );
    }
    let both = read.with(Scope::RoomsWrite);
    assert_eq!(store.find_consent(&ann, &client()).await, Ok(both));
    assert_eq!(store.find_consent(&ann, &other).await, Ok(Scopes::NONE));
    assert_eq!(store.find_consent(&bob, &client()).await, Ok(Scopes::NONE));
}
