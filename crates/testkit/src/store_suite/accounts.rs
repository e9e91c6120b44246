//! Accounts: who may make one, once; what ends with a password or an account.

use std::sync::Arc;

use epicenter_server::accounts::store::{
    AlsoEnd, Created, Door, Invitation, NewAccount, Observed, PasswordChange,
};
use epicenter_server::revocations::Subject;

use super::StoreUnderTest;
use super::fixtures::*;

pub(super) async fn the_first_account_is_an_administrator<S: StoreUnderTest>(store: Arc<S>) {
    assert_eq!(store.has_accounts().await, Ok(false));
    let plain = NewAccount {
        admin: false,
        ..new_account("ann")
    };
    let made = store
        .create_account(&plain, &Door::Operator, &act(NOW))
        .await;
    assert_eq!(made, Ok(Created::FirstMustBeAdmin));
    assert_eq!(store.has_accounts().await, Ok(false));
    assert_eq!(store.audit_lines().await, 0);
    add_account(&*store, "ann").await;
    assert_eq!(store.has_accounts().await, Ok(true));
    assert_eq!(store.audit_lines().await, 1);
    let second = NewAccount {
        admin: false,
        ..new_account("bob")
    };
    let made = store
        .create_account(&second, &Door::Operator, &act(NOW))
        .await;
    assert_eq!(made, Ok(Created::Done));
}

pub(super) async fn setup_spends_the_current_link<S: StoreUnderTest>(store: Arc<S>) {
    for (number, end) in [(1, NOW + 10), (2, NOW + 20)] {
        let put = store.put_setup_link(&hash(number), end, &act(NOW)).await;
        assert_eq!(put, Ok(true));
    }
    let try_link = async |number, at| {
        let door = Door::Setup { link: hash(number) };
        store
            .create_account(&new_account("ann"), &door, &act(at))
            .await
    };
    assert_eq!(
        try_link(1, NOW).await,
        Ok(Created::LinkSpent),
        "another one took its place"
    );
    assert_eq!(try_link(3, NOW).await, Ok(Created::LinkSpent), "unknown");
    assert_eq!(
        try_link(2, NOW + 20).await,
        Ok(Created::LinkSpent),
        "expired"
    );
    assert_eq!(store.has_accounts().await, Ok(false));
    assert_eq!(try_link(2, NOW + 19).await, Ok(Created::Done));
    assert_eq!(try_link(2, NOW + 19).await, Ok(Created::LinkSpent));
}

pub(super) async fn setup_is_over_with_the_first_account<S: StoreUnderTest>(store: Arc<S>) {
    let put = store.put_setup_link(&hash(1), NOW + HOUR, &act(NOW)).await;
    assert_eq!(put, Ok(true));
    add_account(&*store, "ann").await;
    let door = Door::Setup { link: hash(1) };
    let made = store
        .create_account(&new_account("bob"), &door, &act(NOW))
        .await;
    assert_eq!(made, Ok(Created::LinkSpent));
    let put = store.put_setup_link(&hash(2), NOW + HOUR, &act(NOW)).await;
    assert_eq!(put, Ok(false));
}

pub(super) async fn two_setups_at_once_make_one_account<S: StoreUnderTest>(store: Arc<S>) {
    let put = store.put_setup_link(&hash(1), NOW + HOUR, &act(NOW)).await;
    assert_eq!(put, Ok(true));
    let made = at_once(&store, |store, number| async move {
        let account = new_account(&format!("user{number}"));
        let door = Door::Setup { link: hash(1) };
        store.create_account(&account, &door, &act(NOW)).await
    });
    check_one_created(&made.await, Created::LinkSpent);
    let accounts = store
        .list_accounts(None, 100)
        .await
        .expect("the store works");
    assert_eq!(accounts.len(), 1);
}

pub(super) async fn two_sign_ups_with_one_address_make_one_account<S: StoreUnderTest>(
    store: Arc<S>,
) {
    add_account(&*store, "ann").await;
    let made = at_once(&store, |store, number| async move {
        let account = NewAccount {
            email: "same@example.org".to_owned(),
            ..new_account(&format!("user{number}"))
        };
        store
            .create_account(&account, &Door::SignUp, &act(NOW))
            .await
    });
    check_one_created(&made.await, Created::EmailTaken);
}

fn check_one_created<E: PartialEq + std::fmt::Debug>(made: &[Result<Created, E>], others: Created) {
    let done = made
        .iter()
        .filter(|made| **made == Ok(Created::Done))
        .count();
    assert_eq!(done, 1, "{made:?}");
    let refused = made.iter().filter(|made| **made == Ok(others)).count();
    assert_eq!(refused + 1, made.len(), "{made:?}");
}

pub(super) async fn an_invitation_is_for_one_account_and_its_address<S: StoreUnderTest>(
    store: Arc<S>,
) {
    add_account(&*store, "ann").await;
    let named = Invitation {
        link: hash(1),
        email: Some("bob@example.org".to_owned()),
        expires_at_ms: NOW + 10,
    };
    let open = Invitation {
        link: hash(2),
        email: None,
        expires_at_ms: NOW + 10,
    };
    for invitation in [&named, &open] {
        assert_eq!(store.put_invitation(invitation, &act(NOW)).await, Ok(()));
        let found = store.find_invitation(&invitation.link, NOW + 9).await;
        assert_eq!(found, Ok(Some(invitation.clone())));
        let expired = store.find_invitation(&invitation.link, NOW + 10).await;
        assert_eq!(expired, Ok(None));
    }
    let enter = async |name: &str, number, at| {
        let door = Door::Invitation { link: hash(number) };
        store
            .create_account(&new_account(name), &door, &act(at))
            .await
    };
    assert_eq!(
        enter("eve", 1, NOW).await,
        Ok(Created::LinkSpent),
        "for somebody else"
    );
    assert_eq!(
        enter("bob", 1, NOW + 10).await,
        Ok(Created::LinkSpent),
        "expired"
    );
    assert_eq!(
        enter("bob", 3, NOW).await,
        Ok(Created::LinkSpent),
        "unknown"
    );
    assert_eq!(enter("ann", 2, NOW).await, Ok(Created::EmailTaken));
    assert_eq!(enter("bob", 1, NOW + 9).await, Ok(Created::Done));
    assert_eq!(
        store.find_invitation(&hash(1), NOW).await,
        Ok(None),
        "spent"
    );
    assert_eq!(
        enter("cas", 2, NOW).await,
        Ok(Created::Done),
        "a refusal spends nothing"
    );
    assert_eq!(enter("dan", 2, NOW).await, Ok(Created::LinkSpent));
}

pub(super) async fn one_invitation_used_many_times_at_once_makes_one_account<S: StoreUnderTest>(
    store: Arc<S>,
) {
    add_account(&*store, "ann").await;
    let invitation = Invitation {
        link: hash(1),
        email: None,
        expires_at_ms: NOW + HOUR,
    };
    assert_eq!(store.put_invitation(&invitation, &act(NOW)).await, Ok(()));
    let made = at_once(&store, |store, number| async move {
        let account = new_account(&format!("user{number}"));
        let door = Door::Invitation { link: hash(1) };
        store.create_account(&account, &door, &act(NOW)).await
    });
    check_one_created(&made.await, Created::LinkSpent);
}

pub(super) async fn signing_up_needs_a_first_account<S: StoreUnderTest>(store: Arc<S>) {
    let invitation = Invitation {
        link: hash(1),
        email: None,
        expires_at_ms: NOW + HOUR,
    };
    assert_eq!(store.put_invitation(&invitation, &act(NOW)).await, Ok(()));
    for door in [Door::SignUp, Door::Invitation { link: hash(1) }] {
        let made = store
            .create_account(&new_account("ann"), &door, &act(NOW))
            .await;
        assert_eq!(made, Ok(Created::SetupRequired));
    }
}

pub(super) async fn accounts_are_found_and_listed<S: StoreUnderTest>(store: Arc<S>) {
    for name in ["cas", "ann", "bob"] {
        add_account(&*store, name).await;
    }
    let found = store
        .find_account(&user("bob"))
        .await
        .expect("the store works");
    let account = found.clone().expect("there is one");
    let wanted = new_account("bob");
    assert_eq!(account.user.id, wanted.id);
    assert_eq!(account.user.email, wanted.email);
    assert_eq!(account.user.name, wanted.name);
    assert!(account.user.email_verified && account.user.enabled && account.user.admin);
    assert_eq!(account.password_hash, wanted.password_hash);
    assert_eq!((account.created_at_ms, account.updated_at_ms), (NOW, NOW));
    assert_eq!(
        store.find_account_by_email("bob@example.org").await,
        Ok(found)
    );
    assert_eq!(store.find_account_by_email("bob").await, Ok(None));
    assert_eq!(store.find_account(&user("nobody")).await, Ok(None));
    assert_eq!(store.find_user(&user("bob")).await, Ok(Some(account.user)));
    assert_eq!(store.find_user(&user("nobody")).await, Ok(None));
    let list = async |after, limit| {
        let page = store
            .list_accounts(after, limit)
            .await
            .expect("the store works");
        let ids = page.into_iter().map(|account| account.user.id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["ann", "bob", "cas"]);
    assert_eq!(list(None, 2).await, ["ann", "bob"]);
    assert_eq!(list(Some("ann@example.org"), 1).await, ["bob"]);
    assert!(list(Some("cas@example.org"), 1).await.is_empty());
}

pub(super) async fn a_password_change_ends_other_sessions<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    for number in [1, 2] {
        add_session(&*store, &ann, number).await;
    }
    add_session(&*store, &bob, 3).await;
    let grant = add_grant(&*store, &ann, 9).await;
    let change = PasswordChange {
        user: ann.clone(),
        password_hash: "new".to_owned(),
        keep: Some((hash(1), hash(4))),
        also: AlsoEnd::Nothing,
    };
    assert_eq!(
        store.change_password(&change, &act(NOW + 1)).await,
        Ok(true)
    );
    let account = store
        .find_account(&ann)
        .await
        .expect("the store works")
        .expect("there is one");
    assert_eq!(account.password_hash.as_deref(), Some("new"));
    assert_eq!(account.updated_at_ms, NOW + 1);
    assert!(
        !has_session(&*store, 1).await,
        "the old secret is worth nothing"
    );
    assert!(!has_session(&*store, 2).await);
    assert!(has_session(&*store, 3).await, "somebody else's");
    let kept = store
        .find_session(&hash(4), NOW)
        .await
        .expect("the store works");
    assert_eq!(kept.expect("it goes on").0.id.as_str(), "session1");
    assert!(is_living(&*store, &grant).await);
    let unknown = PasswordChange {
        user: user("nobody"),
        ..change
    };
    assert_eq!(store.change_password(&unknown, &act(NOW)).await, Ok(false));
}

pub(super) async fn a_password_change_ends_grants_when_asked<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    add_session(&*store, &bob, 1).await;
    let (grant, other) = (
        add_grant(&*store, &ann, 8).await,
        add_grant(&*store, &bob, 9).await,
    );
    let change = PasswordChange {
        user: ann.clone(),
        password_hash: "new".to_owned(),
        // A session of somebody else's goes nowhere.
        keep: Some((hash(1), hash(2))),
        also: AlsoEnd::Grants,
    };
    assert_eq!(store.change_password(&change, &act(NOW)).await, Ok(true));
    assert!(has_session(&*store, 1).await && !has_session(&*store, 2).await);
    assert!(!is_living(&*store, &grant).await && is_living(&*store, &other).await);
    let feed = store.revocations_after(0).await;
    assert!(tells_end(&feed, &grant, &ann) && !tells_end(&feed, &other, &bob));
}

pub(super) async fn a_rehash_replaces_only_what_was_read<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let hash = async || {
        let account = store.find_account(&ann).await.expect("the store works");
        account.and_then(|account| account.password_hash)
    };
    assert_eq!(
        store.rehash_password(&ann, "another", "newer").await,
        Ok(())
    );
    assert_eq!(hash().await.as_deref(), Some("hash of ann"));
    assert_eq!(
        store.rehash_password(&ann, "hash of ann", "newer").await,
        Ok(())
    );
    assert_eq!(hash().await.as_deref(), Some("newer"));
}

pub(super) async fn disabling_ends_everything<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let bob = add_account(&*store, "bob").await;
    add_session(&*store, &ann, 1).await;
    add_session(&*store, &bob, 2).await;
    let (grant, other) = (
        add_grant(&*store, &ann, 8).await,
        add_grant(&*store, &bob, 9).await,
    );
    assert_eq!(store.insert_code(&code(7, &ann), &act(NOW)).await, Ok(()));
    let lines = store.audit_lines().await;
    assert_eq!(
        store.set_enabled(&ann, false, &act(NOW + 1)).await,
        Ok(true)
    );
    assert_eq!(store.audit_lines().await, lines + 1);
    let account = store
        .find_account(&ann)
        .await
        .expect("the store works")
        .expect("there is one");
    assert!(!account.user.enabled);
    assert!(!has_session(&*store, 1).await && has_session(&*store, 2).await);
    assert!(!is_living(&*store, &grant).await && is_living(&*store, &other).await);
    let redeemed = redemption(7, super::fixtures::grant("late", &ann), None);
    let redeemed = store.redeem_code(&redeemed, &act(NOW + 1)).await;
    assert_eq!(redeemed, Ok(epicenter_server::oauth::store::Redeemed::Gone));
    let feed = store.revocations_after(0).await;
    assert!(
        feed.iter()
            .any(|row| row.subject == Subject::User(ann.clone()) && row.at_ms == NOW + 1)
    );
    assert!(!tells_end(&feed, &other, &bob));

    assert_eq!(store.set_enabled(&ann, true, &act(NOW + 2)).await, Ok(true));
    let account = store
        .find_account(&ann)
        .await
        .expect("the store works")
        .expect("there is one");
    assert!(account.user.enabled);
    assert_eq!(account.updated_at_ms, NOW + 2);
    assert!(!has_session(&*store, 1).await, "what has ended stays so");
    assert!(!is_living(&*store, &grant).await);
    let redeemed = redemption(7, super::fixtures::grant("later", &ann), None);
    let redeemed = store.redeem_code(&redeemed, &act(NOW + 2)).await;
    assert_eq!(redeemed, Ok(epicenter_server::oauth::store::Redeemed::Gone));
    assert_eq!(
        store.set_enabled(&user("nobody"), false, &act(NOW)).await,
        Ok(false)
    );
}

pub(super) async fn what_is_observed_is_written_down<S: StoreUnderTest>(store: Arc<S>) {
    let ann = add_account(&*store, "ann").await;
    let lines = store.audit_lines().await;
    let failed = store.observe(Observed::SignInFailed, None, &act(NOW)).await;
    assert_eq!(failed, Ok(()));
    let refused = store
        .observe(Observed::PasswordRefused, Some(&ann), &act(NOW))
        .await;
    assert_eq!(refused, Ok(()));
    assert_eq!(store.audit_lines().await, lines + 2);
}
