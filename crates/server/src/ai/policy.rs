//! Charging, around the route and not part of it (`ai.md`): reserve before, then confirm or release, once.
//!
//! A reservation that is neither confirmed nor released expires by itself in the store, so that a process that dies costs
//! nobody anything.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use epicenter_identity::UserId;

use super::catalog::Credits;
use super::settings::AiTimes;
use super::store::{CreditAccount, CreditStore, Held};
use crate::ports::StoreUnavailable;

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// Who pays.
    pub user: &'a UserId,
    /// A random id of this call.
    pub call: &'a str,
    /// What is held for it.
    pub amount: Credits,
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// Too few credits: 402.
    #[error("the credits do not suffice")]
    Insufficient {
        /// What there is.
        balance: Credits,
    },
    /// Too dear a call for who has not paid: 403.
    #[error("the call costs more than unpaid accounts may spend at once")]
    RequiresPaidPlan,
    /// Whether the caller may pay cannot be found out: 503, and no call.
    #[error("credits cannot be checked")]
    Unavailable(#[from] StoreUnavailable),
}

/// Who pays for calls, and how much.
#[async_trait]
pub trait ChargePolicy: Send + Sync {
    /// Holds credits for a call.
    async fn reserve(&self, charge: Charge<'_>, now_ms: u64) -> Result<(), ChargeError>;

    /// Takes what the call cost.
    async fn confirm(
        &self,
        call: &str,
        amount: Credits,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable>;

    /// Gives back what was held.
    async fn release(&self, call: &str) -> Result<(), StoreUnavailable>;

    /// False when calls cost nothing here; usage rows say zero credits then.
    fn charges(&self) -> bool {
        true
    }
}

/// A hub without billing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCharge;

#[async_trait]
impl ChargePolicy for NoCharge {
    async fn reserve(&self, _charge: Charge<'_>, _now_ms: u64) -> Result<(), ChargeError> {
        Ok(())
    }

    async fn confirm(
        &self,
        _call: &str,
        _amount: Credits,
        _now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        Ok(())
    }

    async fn release(&self, _call: &str) -> Result<(), StoreUnavailable> {
        Ok(())
    }

    fn charges(&self) -> bool {
        false
    }
}

/// Everybody begins with some credits, and an operator gives more.
pub struct FixedCredits {
    store: Arc<dyn CreditStore>,
    opening: Credits,
    unpaid_call: Credits,
    reservation_ms: u64,
}

impl fmt::Debug for FixedCredits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FixedCredits")
            .field("opening", &self.opening)
            .field("unpaid_call", &self.unpaid_call)
            .finish_non_exhaustive()
    }
}

impl FixedCredits {
    /// New accounts have `opening` credits, and spend at most `unpaid_call` in a call until they are given more. A
    /// reservation lives as long as a call can, or its credits could be held twice; what is confirmed later is paid all
    /// the same.
    pub fn new(
        store: Arc<dyn CreditStore>,
        opening: Credits,
        unpaid_call: Credits,
        times: &AiTimes,
    ) -> Self {
        Self {
            store,
            opening,
            unpaid_call,
            reservation_ms: times.longest_call_ms(),
        }
    }
}

#[async_trait]
impl ChargePolicy for FixedCredits {
    async fn reserve(&self, charge: Charge<'_>, now_ms: u64) -> Result<(), ChargeError> {
        let Charge { user, call, amount } = charge;
        let account = self.store.credit_account(user, self.opening, now_ms);
        let CreditAccount { is_paid, .. } = account.await?;
        if !is_paid && amount > self.unpaid_call {
            return Err(ChargeError::RequiresPaidPlan);
        }
        let expires_at_ms = now_ms.saturating_add(self.reservation_ms);
        let held = self
            .store
            .reserve_credits(user, call, amount, now_ms, expires_at_ms);
        match held.await? {
            Held::Reserved => Ok(()),
            Held::Insufficient { balance } => Err(ChargeError::Insufficient { balance }),
        }
    }

    async fn confirm(
        &self,
        call: &str,
        amount: Credits,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        self.store.confirm_credits(call, amount, now_ms).await
    }

    async fn release(&self, call: &str) -> Result<(), StoreUnavailable> {
        self.store.release_credits(call).await
    }
}
