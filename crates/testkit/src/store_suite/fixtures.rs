//! Accounts, sessions, codes and grants to play with. Everything happens around [`NOW`].

use std::sync::Arc;

use epicenter_identity::{ClientId, GrantId, Scope, Scopes, UserId};
use epicenter_server::accounts::store::{
    Act, Actor, Created, Door, NewAccount, Session, SessionId,
};
use epicenter_server::oauth::store::{
    AuthorizationCode, Grant, NewRefreshToken, Redeemed, Redemption, RotationChange,
};
use epicenter_server::revocations::{Revocation, Subject};
use epicenter_server::secret::SecretHash;

use super::StoreUnderTest;

pub(super) const NOW: u64 = 1_700_000_000_000;
pub(super) const HOUR: u64 = 3_600_000;
/// Calls that race.
pub(super) const MANY: u8 = 8;

pub(super) fn act(at_ms: u64) -> Act {
    Act {
        at_ms,
        actor: Actor::Operator,
        ip: "192.0.2.7".parse().ok(),
    }
}

/// The hash of a secret that only this number has.
pub(super) fn hash(number: u8) -> SecretHash {
    SecretHash::from_bytes([number; 32])
}

pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub(super) fn client() -> ClientId {
    ClientId::parse("notes").expect("a client id")
}

pub(super) fn grant_id(name: &str) -> GrantId {
    GrantId::parse(name).expect("a grant id")
}

pub(super) fn new_account(name: &str) -> NewAccount {
    NewAccount {
        id: user(name),
        email: format!("{name}@example.org"),
        email_verified: true,
        name: format!("The {name}"),
        password_hash: Some(format!("hash of {name}")),
        admin: true,
    }
}

/// Makes an enabled account.
pub(super) async fn add_account<S: StoreUnderTest>(store: &S, name: &str) -> UserId {
    let account = new_account(name);
    let made = store
        .create_account(&account, &Door::Operator, &act(NOW))
        .await;
    assert_eq!(made, Ok(Created::Done));
    account.id
}

pub(super) fn session(id: &str, owner: &UserId) -> Session {
    Session {
        id: SessionId::new(id),
        user: owner.clone(),
        created_at_ms: NOW,
        updated_at_ms: NOW,
        expires_at_ms: NOW + HOUR,
        authenticated_at_ms: NOW - 5,
        ip: "2001:db8::1".parse().ok(),
        user_agent: Some("Browser/1".to_owned()),
        ends_with_browser: true,
    }
}

/// Begins a session with the secret of this number.
pub(super) async fn add_session<S: StoreUnderTest>(
    store: &S,
    owner: &UserId,
    number: u8,
) -> SessionId {
    let session = session(&format!("session{number}"), owner);
    let begun = store
        .insert_session(&hash(number), &session, None, &act(NOW))
        .await;
    assert_eq!(begun, Ok(true));
    session.id
}

pub(super) async fn has_session<S: StoreUnderTest>(store: &S, number: u8) -> bool {
    let found = store.find_session(&hash(number), NOW).await;
    found.expect("the store works").is_some()
}

pub(super) fn code(number: u8, owner: &UserId) -> AuthorizationCode {
    AuthorizationCode {
        code: hash(number),
        user: owner.clone(),
        client: client(),
        session: SessionId::new("session"),
        redirect_uri: "http://127.0.0.1/callback".to_owned(),
        challenge: "challenge".to_owned(),
        nonce: Some("nonce".to_owned()),
        scopes: scopes(),
        requested_scope: "openid rooms.read unheard-of".to_owned(),
        resource: "https://hub.example".to_owned(),
        authenticated_at_ms: NOW - 5,
        expires_at_ms: NOW + 60_000,
        redeemed_by: None,
    }
}

pub(super) fn scopes() -> Scopes {
    Scopes::NONE.with(Scope::RoomsRead).with(Scope::RoomsWrite)
}

pub(super) fn grant(name: &str, owner: &UserId) -> Grant {
    Grant {
        id: grant_id(name),
        user: owner.clone(),
        client: client(),
        scopes: scopes(),
        requested_scope: "openid rooms.read unheard-of".to_owned(),
        resource: "https://hub.example".to_owned(),
        session: Some(SessionId::new("session")),
        authenticated_at_ms: NOW - 5,
        created_at_ms: NOW,
        expires_at_ms: NOW + 90 * 24 * HOUR,
        revoked: false,
        version: 0,
    }
}

pub(super) fn redemption(number: u8, grant: Grant, refresh: Option<u8>) -> Redemption {
    Redemption {
        code: hash(number),
        grant,
        refresh: refresh.map(new_token),
    }
}

pub(super) fn new_token(number: u8) -> NewRefreshToken {
    NewRefreshToken {
        token: hash(number),
        expires_at_ms: NOW + 30 * 24 * HOUR,
    }
}

/// A grant that came of a code, with a first refresh token; code and token have this number.
pub(super) async fn add_grant<S: StoreUnderTest>(store: &S, owner: &UserId, number: u8) -> GrantId {
    let stored = store.insert_code(&code(number, owner), &act(NOW)).await;
    assert_eq!(stored, Ok(()));
    let grant = grant(&format!("grant{number}"), owner);
    let id = grant.id.clone();
    let redemption = redemption(number, grant, Some(number));
    let redeemed = store.redeem_code(&redemption, &act(NOW)).await;
    assert_eq!(redeemed, Ok(Redeemed::Done));
    id
}

pub(super) async fn is_living<S: StoreUnderTest>(store: &S, grant: &GrantId) -> bool {
    let found = store.find_grant(grant).await.expect("the store works");
    found.is_some_and(|grant| !grant.revoked)
}

/// Rotates the token of `presented` to a new one.
pub(super) fn rotation(
    grant: &GrantId,
    version: u64,
    presented: u8,
    successor: u8,
) -> RotationChange {
    RotationChange {
        grant: grant.clone(),
        version,
        scopes: scopes(),
        requested_scope: "openid rooms.read unheard-of".to_owned(),
        presented: hash(presented),
        kill: None,
        successor: new_token(successor),
        sealed_answer: vec![presented, 0, 255, successor],
    }
}

/// Runs a call many times at once, each time with another number.
pub(super) async fn at_once<S, T, F>(store: &Arc<S>, call: impl Fn(Arc<S>, u8) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let calls: Vec<_> = (0..MANY)
        .map(|number| tokio::spawn(call(Arc::clone(store), number)))
        .collect();
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.expect("no call panics"));
    }
    results
}

/// Whether the feed after a position ends this grant, by itself or with its person.
pub(super) fn tells_end(feed: &[Revocation], grant: &GrantId, owner: &UserId) -> bool {
    feed.iter().any(|row| match &row.subject {
        Subject::Grant(ended) => ended == grant,
        Subject::User(ended) => ended == owner,
    })
}
