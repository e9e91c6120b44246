//! What has ended is swept, and nothing else.

use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_native::store::open_sqlite;
use epicenter_server::accounts::store::{
    Accounts as _, Act, Actor, Door, NewAccount, Session, SessionId, Sessions as _,
};
use epicenter_server::oauth::store::{
    AuthorizationCode, Grant, Grants as _, NewRefreshToken, Redeemed, Redemption, RevocationReason,
    Rotated, RotationChange,
};
use epicenter_server::revocations::LONGEST_TOKEN_LIFE_MS;
use epicenter_server::secret::SecretHash;
use epicenter_store::SqlStore;

use crate::wait;

const DAY_MS: u64 = 86_400_000;
const START: u64 = 1_000 * DAY_MS;

fn hash(byte: u8) -> SecretHash {
    SecretHash::from_bytes([byte; 32])
}

fn act(at_ms: u64) -> Act {
    Act {
        at_ms,
        actor: Actor::Hub,
        ip: None,
    }
}

fn ada() -> UserId {
    UserId::parse("ada").unwrap()
}

fn client() -> ClientId {
    ClientId::parse("app").unwrap()
}

fn grant(id: &str) -> Grant {
    Grant {
        id: GrantId::parse(id).unwrap(),
        user: ada(),
        client: client(),
        scopes: Scopes::all(),
        requested_scope: "openid".to_owned(),
        resource: "https://hub.example".to_owned(),
        session: None,
        authenticated_at_ms: START,
        created_at_ms: START,
        expires_at_ms: START + 365 * DAY_MS,
        revoked: false,
        version: 0,
    }
}

fn code(byte: u8) -> AuthorizationCode {
    AuthorizationCode {
        code: hash(byte),
        user: ada(),
        client: client(),
        session: SessionId::new("sid"),
        redirect_uri: "https://app.example/".to_owned(),
        challenge: "challenge".to_owned(),
        nonce: None,
        scopes: Scopes::all(),
        requested_scope: "openid".to_owned(),
        resource: "https://hub.example".to_owned(),
        authenticated_at_ms: START,
        expires_at_ms: START + 60_000,
        redeemed_by: None,
    }
}

async fn fill(store: &SqlStore) {
    let account = NewAccount {
        id: ada(),
        email: "ada@example.test".to_owned(),
        email_verified: true,
        name: "Ada".to_owned(),
        password_hash: None,
        admin: true,
    };
    store
        .create_account(&account, &Door::Operator, &act(START))
        .await
        .unwrap();
    let session = Session {
        id: SessionId::new("sid"),
        user: ada(),
        created_at_ms: START,
        updated_at_ms: START,
        expires_at_ms: START + 7 * DAY_MS,
        authenticated_at_ms: START,
        ip: Some("2001:db8::1".parse().unwrap()),
        user_agent: None,
        ends_with_browser: false,
    };
    assert_eq!(
        store
            .insert_session(&hash(1), &session, None, &act(START))
            .await,
        Ok(true)
    );
    for byte in [2, 3] {
        store.insert_code(&code(byte), &act(START)).await.unwrap();
    }
    let redemption = Redemption {
        code: hash(2),
        grant: grant("kept"),
        refresh: Some(NewRefreshToken {
            token: hash(4),
            expires_at_ms: START + 30 * DAY_MS,
        }),
    };
    assert_eq!(
        store.redeem_code(&redemption, &act(START)).await,
        Ok(Redeemed::Done)
    );
    let change = RotationChange {
        grant: GrantId::parse("kept").unwrap(),
        version: 0,
        scopes: Scopes::all(),
        requested_scope: "openid".to_owned(),
        presented: hash(4),
        kill: None,
        successor: NewRefreshToken {
            token: hash(5),
            expires_at_ms: START + 40 * DAY_MS,
        },
        sealed_answer: vec![7; 40],
    };
    assert_eq!(
        store.rotate_refresh_token(&change, &act(START)).await,
        Ok(Rotated::Done)
    );
}

async fn has_answer(store: &SqlStore) -> bool {
    let token = store.find_refresh_token(&hash(4)).await.unwrap().unwrap();
    token.rotation.unwrap().sealed_answer.is_some()
}

#[test]
fn what_has_ended_is_swept_and_nothing_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_sqlite(&directory.path().join("identity.db"))
        .unwrap()
        .store;
    wait(async {
        fill(&store).await;
        let sweep = async |at_ms| store.sweep(at_ms).await.unwrap();

        assert_eq!(sweep(START + 59_999).await, 0);
        assert_eq!(sweep(START + 60_000).await, 1, "the code nobody redeemed");
        assert_eq!(store.find_code(&hash(3)).await, Ok(None));

        assert!(has_answer(&store).await);
        assert_eq!(sweep(START + 119_999).await, 0);
        assert_eq!(sweep(START + 120_000).await, 1, "the sealed answer");
        assert!(!has_answer(&store).await);

        assert_eq!(sweep(START + 7 * DAY_MS - 1).await, 0);
        assert_eq!(sweep(START + 7 * DAY_MS).await, 1, "the session");

        assert_eq!(sweep(START + 30 * DAY_MS).await, 1, "the rotated token");
        let used = store.find_code(&hash(2)).await.unwrap().unwrap();
        assert_eq!(used.redeemed_by, Some(GrantId::parse("kept").unwrap()));

        let revoked_at = START + 30 * DAY_MS;
        let kept = GrantId::parse("kept").unwrap();
        let revoked = store
            .revoke_grant(&kept, RevocationReason::ByPerson, &act(revoked_at))
            .await;
        assert_eq!(revoked, Ok(true));
        assert_eq!(sweep(revoked_at + LONGEST_TOKEN_LIFE_MS - 1).await, 0);
        assert!(store.find_grant(&kept).await.unwrap().unwrap().revoked);
        // Its token, its code, and itself.
        assert_eq!(sweep(revoked_at + LONGEST_TOKEN_LIFE_MS).await, 3);
        assert_eq!(store.find_grant(&kept).await, Ok(None));
        assert_eq!(store.find_code(&hash(2)).await, Ok(None));

        assert_eq!(store.revocations_since(0).await.unwrap().len(), 1);
        assert_eq!(sweep(revoked_at + LONGEST_TOKEN_LIFE_MS + 60_000).await, 1);
        assert!(store.revocations_since(0).await.unwrap().is_empty());

        let lines = store.list_audit(0, 100).await.unwrap();
        let kinds: Vec<_> = lines.iter().map(|line| line.kind.as_str()).collect();
        assert!(kinds.contains(&"session.started") && kinds.contains(&"grant.revoked"));
        let begun = lines.iter().find(|line| line.kind == "session.started");
        assert_eq!(begun.unwrap().user, Some(ada()));
        sweep(revoked_at + 365 * DAY_MS).await;
        assert!(store.list_audit(0, 100).await.unwrap().is_empty());
        assert!(
            store.find_account(&ada()).await.unwrap().is_some(),
            "people stay"
        );
    });
}

#[test]
fn more_than_one_batch_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.db");
    let store = open_sqlite(&path).unwrap().store;
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
             INSERT INTO invitations (token_hash, created_at, expires_at) SELECT randomblob(32), 0, i FROM n",
        )
        .unwrap();
    assert_eq!(wait(store.sweep(2_400)), Ok(2_400));
    assert_eq!(wait(store.sweep(3_000)), Ok(100));
}
