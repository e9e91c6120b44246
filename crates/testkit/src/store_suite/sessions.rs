//! Browser sessions and the devices of a shared owner.

use std::sync::Arc;

use epicenter_identity::{DeviceId, OwnerId};
use epicenter_server::accounts::store::{AlsoEnd, Session, SessionId};
use epicenter_server::oauth::store::Redeemed;

use super::StoreUnderTest;
use super::fixtures::*;

pub(super) async fn a_session_begins_and_replaces_the_browsers_last<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    add_session(&*store, &bob, 1).await;
    let lines = store.audit_lines().await;
    let wanted = session("mine", &ann);
    let begun = store
        .insert_session(&hash(2), &wanted, Some(&hash(1)), &act(NOW))
        .await;
    assert_eq!(begun, Ok(true));
    assert!(store.audit_lines().await > lines);
    assert!(!has_session(&*store, 1).await, "whoever it belonged to");
    let (found, account) = store
        .find_session(&hash(2), NOW)
        .await
        .expect("the store works")
        .expect("it lives");
    assert_eq!((found, account.id), (wanted, ann));
    assert_eq!(store.find_session(&hash(3), NOW).await, Ok(None));
}

pub(super) async fn nobody_begins_a_session_for_a_disabled_account<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    add_session(&*store, &bob, 1).await;
    assert_eq!(store.set_enabled(&ann, false, &act(NOW)).await, Ok(true));
    for owner in [ann, user("nobody")] {
        let wanted = session("s", &owner);
        let begun = store
            .insert_session(&hash(2), &wanted, Some(&hash(1)), &act(NOW))
            .await;
        assert_eq!(begun, Ok(false));
        assert!(!has_session(&*store, 2).await);
    }
}

pub(super) async fn an_expired_session_is_not_there<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let id = add_session(&*store, &ann, 1).await;
    let end = NOW + HOUR;
    let is_there = async |now| {
        let found = store
            .find_session(&hash(1), now)
            .await
            .expect("the store works");
        let listed = store
            .list_sessions(&ann, now)
            .await
            .expect("the store works");
        assert_eq!(found.is_some(), !listed.is_empty());
        found.is_some()
    };
    assert!(is_there(end - 1).await);
    assert!(!is_there(end).await);
    assert_eq!(
        store.extend_session(&hash(1), end + HOUR, end).await,
        Ok(())
    );
    assert!(!is_there(end).await, "what is over is not extended");
    assert_eq!(store.end_session(&ann, &id, &act(end)).await, Ok(false));
    let ended = store
        .end_sessions(&ann, None, AlsoEnd::Nothing, &act(end))
        .await;
    assert_eq!(ended, Ok(0));

    add_session(&*store, &ann, 2).await;
    assert_eq!(
        store.extend_session(&hash(2), end + HOUR, end - 1).await,
        Ok(())
    );
    let found = store
        .find_session(&hash(2), end)
        .await
        .expect("the store works");
    let (extended, _) = found.expect("it was extended");
    assert_eq!(
        (extended.expires_at_ms, extended.updated_at_ms),
        (end + HOUR, end - 1)
    );
}

pub(super) async fn sessions_are_listed_newest_first<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    for (number, created_at_ms) in [(1, NOW), (2, NOW + 2), (3, NOW + 1)] {
        let session = Session {
            created_at_ms,
            ..session(&format!("session{number}"), &ann)
        };
        let begun = store
            .insert_session(&hash(number), &session, None, &act(NOW))
            .await;
        assert_eq!(begun, Ok(true));
    }
    add_session(&*store, &bob, 4).await;
    let listed = store
        .list_sessions(&ann, NOW)
        .await
        .expect("the store works");
    let ids: Vec<_> = listed.iter().map(|session| session.id.as_str()).collect();
    assert_eq!(ids, ["session2", "session3", "session1"]);
}

pub(super) async fn nobody_ends_anothers_session<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    let id = add_session(&*store, &ann, 1).await;
    assert_eq!(store.end_session(&bob, &id, &act(NOW)).await, Ok(false));
    assert_eq!(
        store
            .end_sessions(&bob, None, AlsoEnd::Grants, &act(NOW))
            .await,
        Ok(0)
    );
    assert!(has_session(&*store, 1).await);
    assert_eq!(
        store
            .end_session(&ann, &SessionId::new("other"), &act(NOW))
            .await,
        Ok(false)
    );
    assert_eq!(store.end_session(&ann, &id, &act(NOW)).await, Ok(true));
    assert!(!has_session(&*store, 1).await);
    assert_eq!(store.end_session(&ann, &id, &act(NOW)).await, Ok(false));
}

pub(super) async fn signing_out_elsewhere_keeps_this_session_and_grants<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let ann = add_account(&*store, "ann").await;
    let mine = add_session(&*store, &ann, 1).await;
    add_session(&*store, &ann, 2).await;
    add_session(&*store, &ann, 3).await;
    let grant = add_grant(&*store, &ann, 9).await;
    let lines = store.audit_lines().await;
    let ended = store
        .end_sessions(&ann, Some(&mine), AlsoEnd::Nothing, &act(NOW))
        .await;
    assert_eq!(ended, Ok(2));
    assert!(store.audit_lines().await > lines);
    assert!(has_session(&*store, 1).await && !has_session(&*store, 2).await);
    assert!(is_living(&*store, &grant).await);
    assert!(store.revocations_after(0).await.is_empty());
}

pub(super) async fn signing_out_everywhere_ends_grants_and_codes<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    add_session(&*store, &ann, 1).await;
    let grants = [
        add_grant(&*store, &ann, 8).await,
        add_grant(&*store, &ann, 9).await,
    ];
    assert_eq!(store.insert_code(&code(7, &ann), &act(NOW)).await, Ok(()));
    let ended = store
        .end_sessions(&ann, None, AlsoEnd::Grants, &act(NOW))
        .await;
    assert_eq!(ended, Ok(1));
    let feed = store.revocations_after(0).await;
    for id in &grants {
        assert!(!is_living(&*store, id).await);
        assert!(tells_end(&feed, id, &ann));
    }
    let redeemed = store
        .redeem_code(&redemption(7, grant("late", &ann), None), &act(NOW))
        .await;
    assert_eq!(
        redeemed,
        Ok(Redeemed::Gone),
        "a code on its way would be a grant that survives"
    );
}

pub(super) async fn a_sign_in_beside_a_disabling_leaves_no_session<S: StoreUnderTest>(
    store: Arc<S>,
) {
    let ann = add_account(&*store, "ann").await;
    let both = at_once(&store, |store, number| {
        let ann = ann.clone();
        async move {
            if number == MANY / 2 {
                return store.set_enabled(&ann, false, &act(NOW)).await;
            }
            let session = session(&format!("session{number}"), &ann);
            store
                .insert_session(&hash(number), &session, None, &act(NOW))
                .await
        }
    });
    assert!(both.await.iter().all(Result::is_ok));
    // Enabled again, so that the sessions themselves must be gone.
    assert_eq!(store.set_enabled(&ann, true, &act(NOW)).await, Ok(true));
    assert_eq!(store.list_sessions(&ann, NOW).await, Ok(Vec::new()));
}

pub(super) async fn a_device_belongs_to_who_used_it_first<S: StoreUnderTest>(store: Arc<S>) {
    let owner = OwnerId::parse("shared").expect("an owner");
    let other_owner = OwnerId::parse("other").expect("an owner");
    let device = DeviceId::parse("laptop").expect("a device");
    let (ann, bob) = (user("ann"), user("bob"));
    let day = 24 * HOUR;
    let claim = async |owner, who, now| {
        store
            .claim_device(owner, &device, who, &client(), now)
            .await
    };
    assert_eq!(claim(&owner, &ann, NOW).await, Ok(true));
    assert_eq!(claim(&owner, &bob, NOW).await, Ok(false));
    assert_eq!(claim(&owner, &ann, NOW).await, Ok(true));
    assert_eq!(claim(&other_owner, &bob, NOW).await, Ok(true));
    let used = NOW + 40 * day;
    assert_eq!(claim(&owner, &ann, used).await, Ok(true));
    assert_eq!(claim(&owner, &bob, used + 90 * day - 1).await, Ok(false));
    assert_eq!(
        claim(&owner, &bob, used + 90 * day).await,
        Ok(true),
        "it lapsed"
    );
    assert_eq!(claim(&owner, &ann, used + 90 * day).await, Ok(false));
}

pub(super) async fn one_of_many_claims_to_a_device_wins<S: StoreUnderTest>(store: Arc<S>) {
    let claims = at_once(&store, |store, number| async move {
        let owner = OwnerId::parse("shared").expect("an owner");
        let device = DeviceId::parse("laptop").expect("a device");
        let who = user(&format!("user{number}"));
        store
            .claim_device(&owner, &device, &who, &client(), NOW)
            .await
    });
    let claims = claims.await;
    assert!(claims.iter().all(Result::is_ok), "{claims:?}");
    assert_eq!(claims.iter().filter(|claim| **claim == Ok(true)).count(), 1);
}
