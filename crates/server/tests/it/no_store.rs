//! A store in which nothing can be read.

use async_trait::async_trait;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::accounts::store::*;
use epicenter_server::oauth::store::*;
use epicenter_server::ports::{StoreUnavailable, User};
use epicenter_server::secret::SecretHash;

/// Fails whatever it is asked.
pub(crate) struct NoStore;

#[async_trait]
impl Accounts for NoStore {
    async fn has_accounts(&self) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_account(&self, _id: &UserId) -> Result<Option<Account>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_account_by_email(
        &self,
        _email: &str,
    ) -> Result<Option<Account>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn list_accounts(
        &self,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<Account>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn create_account(
        &self,
        _account: &NewAccount,
        _door: &Door,
        _act: &Act,
    ) -> Result<Created, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn put_setup_link(
        &self,
        _link: &SecretHash,
        _expires_at_ms: u64,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn put_invitation(
        &self,
        _invitation: &Invitation,
        _act: &Act,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_invitation(
        &self,
        _link: &SecretHash,
        _now_ms: u64,
    ) -> Result<Option<Invitation>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn change_password(
        &self,
        _change: &PasswordChange,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn rehash_password(
        &self,
        _user: &UserId,
        _old: &str,
        _new: &str,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn set_enabled(
        &self,
        _user: &UserId,
        _enabled: bool,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn observe(
        &self,
        _observed: Observed,
        _user: Option<&UserId>,
        _act: &Act,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }
}

#[async_trait]
impl Sessions for NoStore {
    async fn insert_session(
        &self,
        _token: &SecretHash,
        _session: &Session,
        _replaces: Option<&SecretHash>,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_session(
        &self,
        _token: &SecretHash,
        _now_ms: u64,
    ) -> Result<Option<(Session, User)>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn extend_session(
        &self,
        _token: &SecretHash,
        _expires_at_ms: u64,
        _now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn list_sessions(
        &self,
        _user: &UserId,
        _now_ms: u64,
    ) -> Result<Vec<Session>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn end_session(
        &self,
        _user: &UserId,
        _session: &SessionId,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn end_sessions(
        &self,
        _user: &UserId,
        _keep: Option<&SessionId>,
        _also: AlsoEnd,
        _act: &Act,
    ) -> Result<u64, StoreUnavailable> {
        Err(StoreUnavailable)
    }
}

#[async_trait]
impl Grants for NoStore {
    async fn insert_code(
        &self,
        _code: &AuthorizationCode,
        _act: &Act,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_code(
        &self,
        _code: &SecretHash,
    ) -> Result<Option<AuthorizationCode>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn redeem_code(
        &self,
        _redemption: &Redemption,
        _act: &Act,
    ) -> Result<Redeemed, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_refresh_token(
        &self,
        _token: &SecretHash,
    ) -> Result<Option<RefreshToken>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn rotate_refresh_token(
        &self,
        _change: &RotationChange,
        _act: &Act,
    ) -> Result<Rotated, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_grant(&self, _id: &GrantId) -> Result<Option<Grant>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn list_grants(
        &self,
        _user: &UserId,
        _now_ms: u64,
    ) -> Result<Vec<Grant>, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn insert_grant(&self, _grant: &Grant, _act: &Act) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn revoke_grant(
        &self,
        _id: &GrantId,
        _reason: RevocationReason,
        _act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn find_consent(
        &self,
        _user: &UserId,
        _client: &ClientId,
    ) -> Result<Scopes, StoreUnavailable> {
        Err(StoreUnavailable)
    }

    async fn add_consent(
        &self,
        _user: &UserId,
        _client: &ClientId,
        _scopes: Scopes,
        _act: &Act,
    ) -> Result<(), StoreUnavailable> {
        Err(StoreUnavailable)
    }
}
