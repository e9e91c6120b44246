//! A store that lets others go first, and that fails before or after it has committed.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::accounts::store::Act;
use epicenter_server::oauth::store::{
    AuthorizationCode, Grant, Grants, Redeemed, Redemption, RefreshToken, RevocationReason,
    Rotated, RotationChange,
};
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::secret::SecretHash;

use super::dice::Dice;

pub(super) struct Unreliable {
    inner: Arc<dyn Grants>,
    dice: Mutex<Dice>,
}

enum Fault {
    None,
    Before,
    After,
}

impl Unreliable {
    pub(super) fn new(inner: Arc<dyn Grants>, seed: u64) -> Self {
        Self {
            inner,
            dice: Mutex::new(Dice::new(seed ^ 0xFA_17)),
        }
    }

    async fn luck(&self) -> Fault {
        let (yields, fault) = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = match dice.below(400) {
                0 => Fault::Before,
                1..=3 => Fault::After,
                _ => Fault::None,
            };
            (dice.below(3), fault)
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        fault
    }
}

/// Runs a call between the two places where a store can fail.
macro_rules! with_luck {
    ($self:ident, $call:expr) => {
        match $self.luck().await {
            Fault::None => $call.await,
            Fault::Before => Err(StoreUnavailable),
            Fault::After => {
                let _committed = $call.await;
                Err(StoreUnavailable)
            }
        }
    };
}

#[async_trait]
impl Grants for Unreliable {
    async fn insert_code(
        &self,
        code: &AuthorizationCode,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        with_luck!(self, self.inner.insert_code(code, act))
    }

    async fn find_code(
        &self,
        code: &SecretHash,
    ) -> Result<Option<AuthorizationCode>, StoreUnavailable> {
        with_luck!(self, self.inner.find_code(code))
    }

    async fn redeem_code(
        &self,
        redemption: &Redemption,
        act: &Act,
    ) -> Result<Redeemed, StoreUnavailable> {
        with_luck!(self, self.inner.redeem_code(redemption, act))
    }

    async fn find_refresh_token(
        &self,
        token: &SecretHash,
    ) -> Result<Option<RefreshToken>, StoreUnavailable> {
        with_luck!(self, self.inner.find_refresh_token(token))
    }

    async fn rotate_refresh_token(
        &self,
        change: &RotationChange,
        act: &Act,
    ) -> Result<Rotated, StoreUnavailable> {
        with_luck!(self, self.inner.rotate_refresh_token(change, act))
    }

    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreUnavailable> {
        with_luck!(self, self.inner.find_grant(id))
    }

    async fn list_grants(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Grant>, StoreUnavailable> {
        with_luck!(self, self.inner.list_grants(user, now_ms))
    }

    async fn insert_grant(&self, grant: &Grant, act: &Act) -> Result<(), StoreUnavailable> {
        with_luck!(self, self.inner.insert_grant(grant, act))
    }

    async fn revoke_grant(
        &self,
        id: &GrantId,
        reason: RevocationReason,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        with_luck!(self, self.inner.revoke_grant(id, reason, act))
    }

    async fn find_consent(
        &self,
        user: &UserId,
        client: &ClientId,
    ) -> Result<Scopes, StoreUnavailable> {
        with_luck!(self, self.inner.find_consent(user, client))
    }

    async fn add_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        scopes: Scopes,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        with_luck!(self, self.inner.add_consent(user, client, scopes, act))
    }
}
