//! What an operator does to a person's credits: looks at them, and gives more.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::Act;
use epicenter_server::ai::catalog::Credits;
use epicenter_server::ports::StoreUnavailable;

use crate::SqlStore;
use crate::ai::{OpenAccount, amount, held};
use crate::audit::{Line, write_line};
use crate::operation::{self, Operation};
use crate::sql::{SqlError, Transaction};
use crate::values::{first, values};

/// The most that a person can have, in thousandths: a number that JSON carries exactly, and far from the end of a column.
pub(crate) const MAX_BALANCE: u64 = 1 << 52;

/// Credits from an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gift {
    /// Who gets them.
    pub user: UserId,
    /// What the person begins with, if this is the first that is heard of their credits.
    pub opening: Credits,
    /// How many.
    pub given: Credits,
    /// Why, for the audit log.
    pub note: Option<String>,
}

/// Whether credits were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// They were; the account counts as paid from now on.
    Done,
    /// Nothing changed: the person would have more than can be counted.
    TooMany,
}

/// What a person has, in thousandths of credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditStatement {
    /// What is left, held or not; below zero after a call that cost more than was held for it.
    pub left: i64,
    /// What is held for calls that are being made.
    pub held: i64,
    /// Has been given credits by an operator.
    pub is_paid: bool,
}

struct GiveCredits {
    gift: Gift,
    act: Act,
}

#[async_trait]
impl Operation for GiveCredits {
    type Output = Given;
    const NAME: &'static str = "give AI credits";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Given, SqlError> {
        let Gift {
            user,
            opening,
            given,
            note,
        } = &self.gift;
        let open = OpenAccount {
            user: user.clone(),
            opening: *opening,
        };
        open.run(transaction).await?;
        let given = amount(*given);
        let changed = transaction
            .execute(
                "UPDATE ai_credits SET credits = credits + $2, paid = 1 WHERE user_id = $1 AND credits <= $3",
                values![user, given, MAX_BALANCE - given],
            )
            .await?;
        if changed == 0 {
            return Ok(Given::TooMany);
        }
        let credits = Credits::thousandths(given).to_string();
        let mut line = Line::about("credits.given", user).subject(&credits);
        line.detail = note.as_deref();
        write_line(transaction, &self.act, line).await?;
        Ok(Given::Done)
    }
}

struct FindCredits {
    user: UserId,
    now_ms: u64,
}

#[async_trait]
impl Operation for FindCredits {
    type Output = Option<CreditStatement>;
    const NAME: &'static str = "find credits";

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
        Ok(Some(CreditStatement {
            left: columns.next("ai_credits.credits")?,
            is_paid: columns.next("ai_credits.paid")?,
            held: held(transaction, &self.user, self.now_ms).await?,
        }))
    }
}

impl SqlStore {
    /// Gives credits, and says so in the audit log.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn give_credits(&self, gift: &Gift, act: &Act) -> Result<Given, StoreUnavailable> {
        let gift = gift.clone();
        let act = act.clone();
        operation::write(&*self.engine, GiveCredits { gift, act }).await
    }

    /// What a person has; nobody's credits are there before their first call or gift.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find_credits(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Option<CreditStatement>, StoreUnavailable> {
        let user = user.clone();
        operation::read(&*self.engine, FindCredits { user, now_ms }).await
    }
}
