//! The ports of AI: a row for each call, and fixed credits with what is held of them.
//!
//! What a person has left is one number, and what is held are rows with an end: free is the difference. Whoever reserves
//! first locks the account's row, so that two calls of a person never hold the same credits. What an operator gives is in
//! `credits.rs`.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::ai::catalog::Credits;
use epicenter_server::ai::store::{CreditAccount, CreditStore, Held, Outcome, UsageLog, UsageRow};
use epicenter_server::ports::StoreUnavailable;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{Row, SqlError, Transaction};
use crate::values::{Columns, first, values};

/// Far beyond what any call costs, and so small that sums never leave a column.
pub(crate) const MAX_AMOUNT: u64 = 1 << 50;

struct AppendUsage(UsageRow);

#[async_trait]
impl Operation for AppendUsage {
    type Output = ();
    const NAME: &'static str = "append AI usage";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let row = &self.0;
        transaction
            .execute(
                "INSERT INTO ai_usage (id, user_id, at, provider, model, own_key, input_tokens, output_tokens, credits,
                                       first_byte_ms, duration_ms, outcome, error_code)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING",
                values![
                    &row.id,
                    &row.user,
                    row.at_ms,
                    &row.provider,
                    &row.model,
                    row.own_key,
                    row.input_tokens,
                    row.output_tokens,
                    row.credits.as_thousandths(),
                    row.first_byte_ms,
                    row.duration_ms,
                    row.outcome.as_str(),
                    row.error_code.as_deref()
                ],
            )
            .await?;
        Ok(())
    }
}

struct ListUsage(usize);

#[async_trait]
impl Operation for ListUsage {
    type Output = Vec<UsageRow>;
    const NAME: &'static str = "list AI usage";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, user_id, at, provider, model, own_key, input_tokens, output_tokens, credits, first_byte_ms,
                        duration_ms, outcome, error_code
                 FROM ai_usage ORDER BY at DESC, id LIMIT $1",
                values![self.0],
            )
            .await?;
        rows.into_iter().map(parse_usage).collect()
    }
}

fn parse_usage(row: Row) -> Result<UsageRow, SqlError> {
    let mut columns = Columns::of(row);
    Ok(UsageRow {
        id: columns.next("ai_usage.id")?,
        user: columns.next("ai_usage.user_id")?,
        at_ms: columns.next("ai_usage.at")?,
        provider: columns.next("ai_usage.provider")?,
        model: columns.next("ai_usage.model")?,
        own_key: columns.next("ai_usage.own_key")?,
        input_tokens: columns.next("ai_usage.input_tokens")?,
        output_tokens: columns.next("ai_usage.output_tokens")?,
        credits: Credits::thousandths(columns.next("ai_usage.credits")?),
        first_byte_ms: columns.next("ai_usage.first_byte_ms")?,
        duration_ms: columns.next("ai_usage.duration_ms")?,
        outcome: Outcome::parse(&columns.next::<String>("ai_usage.outcome")?)
            .ok_or(SqlError::Damaged("ai_usage.outcome"))?,
        error_code: columns.next("ai_usage.error_code")?,
    })
}

/// What is held of a person's credits.
pub(crate) async fn held(
    transaction: &mut dyn Transaction,
    user: &UserId,
    now_ms: u64,
) -> Result<i64, SqlError> {
    let rows = transaction
        .query(
            "SELECT CAST(COALESCE(SUM(credits), 0) AS BIGINT) FROM ai_reservations
             WHERE user_id = $1 AND expires_at > $2",
            values![user, now_ms],
        )
        .await?;
    let mut columns = first(rows).ok_or(SqlError::Damaged("ai_reservations"))?;
    columns.next("ai_reservations.credits")
}

/// Of an account's credits, what is not held.
async fn free(
    transaction: &mut dyn Transaction,
    user: &UserId,
    credits: i64,
    now_ms: u64,
) -> Result<u64, SqlError> {
    let held = held(transaction, user, now_ms).await?;
    // Below zero nothing is free.
    Ok(u64::try_from(credits.saturating_sub(held)).unwrap_or(0))
}

struct FindAccount {
    user: UserId,
    now_ms: u64,
}

#[async_trait]
impl Operation for FindAccount {
    type Output = Option<CreditAccount>;
    const NAME: &'static str = "find AI credits";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT credits, paid FROM ai_credits WHERE user_id = $1",
                values![&self.user],
            )
            .await?;
        let Some(mut columns) = first(rows) else {
            return Ok(None);
        };
        let credits = columns.next("ai_credits.credits")?;
        let is_paid = columns.next("ai_credits.paid")?;
        let free = free(transaction, &self.user, credits, self.now_ms).await?;
        Ok(Some(CreditAccount {
            balance: Credits::thousandths(free),
            is_paid,
        }))
    }
}

/// Whoever comes second finds the account of whoever came first.
pub(crate) struct OpenAccount {
    pub(crate) user: UserId,
    pub(crate) opening: Credits,
}

#[async_trait]
impl Operation for OpenAccount {
    type Output = ();
    const NAME: &'static str = "open AI credits";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute(
                "INSERT INTO ai_credits (user_id, credits, paid) VALUES ($1, $2, 0) ON CONFLICT (user_id) DO NOTHING",
                values![&self.user, amount(self.opening)],
            )
            .await?;
        Ok(())
    }
}

struct Reserve {
    user: UserId,
    reservation: String,
    amount: u64,
    now_ms: u64,
    expires_at_ms: u64,
}

#[async_trait]
impl Operation for Reserve {
    type Output = Held;
    const NAME: &'static str = "reserve AI credits";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Held, SqlError> {
        // Changes nothing and locks the row: other reservations of the person wait, and are seen below.
        let rows = transaction
            .query(
                "UPDATE ai_credits SET credits = credits WHERE user_id = $1 RETURNING credits",
                values![&self.user],
            )
            .await?;
        let mut columns = first(rows).ok_or(SqlError::Damaged("ai_credits: no account"))?;
        let credits = columns.next("ai_credits.credits")?;
        let free = free(transaction, &self.user, credits, self.now_ms).await?;
        if free < self.amount {
            let balance = Credits::thousandths(free);
            return Ok(Held::Insufficient { balance });
        }
        transaction
            .execute(
                "INSERT INTO ai_reservations (id, user_id, credits, expires_at) VALUES ($1, $2, $3, $4)",
                values![&self.reservation, &self.user, self.amount, self.expires_at_ms],
            )
            .await?;
        Ok(Held::Reserved)
    }
}

/// Ends a reservation; what was spent is taken only by who ended it.
struct Settle {
    reservation: String,
    spent: u64,
}

#[async_trait]
impl Operation for Settle {
    type Output = ();
    const NAME: &'static str = "settle AI credits";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let rows = transaction
            .query(
                "DELETE FROM ai_reservations WHERE id = $1 RETURNING user_id",
                values![&self.reservation],
            )
            .await?;
        let Some(mut columns) = first(rows) else {
            return Ok(());
        };
        if self.spent == 0 {
            return Ok(());
        }
        let user: UserId = columns.next("ai_reservations.user_id")?;
        transaction
            .execute(
                "UPDATE ai_credits SET credits = credits - $2 WHERE user_id = $1",
                values![&user, self.spent],
            )
            .await?;
        Ok(())
    }
}

pub(crate) fn amount(credits: Credits) -> u64 {
    credits.as_thousandths().min(MAX_AMOUNT)
}

#[async_trait]
impl UsageLog for SqlStore {
    async fn append_usage(&self, row: UsageRow) -> Result<(), StoreUnavailable> {
        operation::write(&*self.engine, AppendUsage(row)).await
    }
}

#[async_trait]
impl CreditStore for SqlStore {
    async fn credit_account(
        &self,
        user: &UserId,
        opening: Credits,
        now_ms: u64,
    ) -> Result<CreditAccount, StoreUnavailable> {
        let find = || FindAccount {
            user: user.clone(),
            now_ms,
        };
        if let Some(account) = operation::read(&*self.engine, find()).await? {
            return Ok(account);
        }
        let user = user.clone();
        operation::write(&*self.engine, OpenAccount { user, opening }).await?;
        let account = operation::read(&*self.engine, find()).await?;
        account.ok_or(StoreUnavailable)
    }

    async fn reserve_credits(
        &self,
        user: &UserId,
        reservation: &str,
        credits: Credits,
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Result<Held, StoreUnavailable> {
        let reserve = Reserve {
            user: user.clone(),
            reservation: reservation.to_owned(),
            amount: amount(credits),
            now_ms,
            expires_at_ms,
        };
        operation::write(&*self.engine, reserve).await
    }

    async fn confirm_credits(
        &self,
        reservation: &str,
        credits: Credits,
        _now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        let settle = Settle {
            reservation: reservation.to_owned(),
            spent: amount(credits),
        };
        operation::write(&*self.engine, settle).await
    }

    async fn release_credits(&self, reservation: &str) -> Result<(), StoreUnavailable> {
        let settle = Settle {
            reservation: reservation.to_owned(),
            spent: 0,
        };
        operation::write(&*self.engine, settle).await
    }
}

impl SqlStore {
    /// Calls of AI models, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_usage(&self, limit: usize) -> Result<Vec<UsageRow>, StoreUnavailable> {
        operation::read(&*self.engine, ListUsage(limit)).await
    }
}
