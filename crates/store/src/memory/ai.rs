//! Calls of AI models, and credits, in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::Act;
use epicenter_server::ai::catalog::Credits;
use epicenter_server::ai::store::{CreditAccount, CreditStore, Held, UsageLog, UsageRow};
use epicenter_server::ports::StoreUnavailable;

use super::{MemoryStore, State};
use crate::ai::MAX_AMOUNT;
use crate::credits::{Gift, Given, MAX_BALANCE};

/// What a person has left, held or not; below zero after a call that cost more than was held for it.
#[derive(Default)]
pub(super) struct Credit {
    left: i128,
    is_paid: bool,
}

pub(super) struct Reservation {
    user: UserId,
    amount: u64,
    expires_at_ms: u64,
}

impl MemoryStore {
    /// Calls of AI models, the oldest first.
    pub fn usage(&self) -> Vec<UsageRow> {
        self.lock().usage.clone()
    }

    /// Gives credits, and says so in the audit log.
    ///
    /// # Errors
    /// When the store is told to fail.
    pub fn give_credits(&self, gift: &Gift, act: &Act) -> Result<Given, StoreUnavailable> {
        let mut state = self.open()?;
        let account = account(&mut state.credits, &gift.user, gift.opening);
        let left = account.left + amount(gift.given);
        if left > i128::from(MAX_BALANCE) {
            return Ok(Given::TooMany);
        }
        account.left = left;
        account.is_paid = true;
        state.note(act, "credits.given", Some(gift.user.as_str()));
        Ok(Given::Done)
    }
}

fn account<'a>(
    credits: &'a mut HashMap<UserId, Credit>,
    user: &UserId,
    opening: Credits,
) -> &'a mut Credit {
    credits.entry(user.clone()).or_insert_with(|| Credit {
        left: amount(opening),
        is_paid: false,
    })
}

fn amount(credits: Credits) -> i128 {
    i128::from(credits.as_thousandths().min(MAX_AMOUNT))
}

impl State {
    fn free_credits(&self, user: &UserId, now_ms: u64) -> u64 {
        let left = self.credits.get(user).map_or(0, |account| account.left);
        let held = self
            .reservations
            .values()
            .filter(|held| held.user == *user && held.expires_at_ms > now_ms)
            .map(|held| i128::from(held.amount));
        u64::try_from(left - held.sum::<i128>()).unwrap_or(0)
    }
}

#[async_trait]
impl UsageLog for MemoryStore {
    async fn append_usage(&self, row: UsageRow) -> Result<(), StoreUnavailable> {
        let usage = &mut self.open()?.usage;
        if !usage.iter().any(|known| known.id == row.id) {
            usage.push(row);
        }
        Ok(())
    }
}

#[async_trait]
impl CreditStore for MemoryStore {
    async fn credit_account(
        &self,
        user: &UserId,
        opening: Credits,
        now_ms: u64,
    ) -> Result<CreditAccount, StoreUnavailable> {
        let mut state = self.open()?;
        let is_paid = account(&mut state.credits, user, opening).is_paid;
        Ok(CreditAccount {
            balance: Credits::thousandths(state.free_credits(user, now_ms)),
            is_paid,
        })
    }

    async fn reserve_credits(
        &self,
        user: &UserId,
        reservation: &str,
        credits: Credits,
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Result<Held, StoreUnavailable> {
        let mut state = self.open()?;
        if !state.credits.contains_key(user) {
            return Err(StoreUnavailable);
        }
        let amount = credits.as_thousandths().min(MAX_AMOUNT);
        let free = state.free_credits(user, now_ms);
        if free < amount {
            let balance = Credits::thousandths(free);
            return Ok(Held::Insufficient { balance });
        }
        let held = Reservation {
            user: user.clone(),
            amount,
            expires_at_ms,
        };
        state.reservations.insert(reservation.to_owned(), held);
        Ok(Held::Reserved)
    }

    async fn confirm_credits(
        &self,
        reservation: &str,
        credits: Credits,
        _now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        if let Some(held) = state.reservations.remove(reservation)
            && let Some(account) = state.credits.get_mut(&held.user)
        {
            account.left -= amount(credits);
        }
        Ok(())
    }

    async fn release_credits(&self, reservation: &str) -> Result<(), StoreUnavailable> {
        self.open()?.reservations.remove(reservation);
        Ok(())
    }
}
