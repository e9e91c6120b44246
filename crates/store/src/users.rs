//! Accounts as rows: reading them, and ending everything that hangs on one.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::Account;
use epicenter_server::ports::{Health, StoreUnavailable, User, Users};
use epicenter_server::revocations::Subject;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::revocations::revoke;
use crate::sql::{Row, SqlError, Transaction};
use crate::values::{Columns, first, values};

/// The columns of a user, for every query that ends with them.
pub(crate) fn parse_user(columns: &mut Columns) -> Result<User, SqlError> {
    let id = columns.next("users.id")?;
    let email = columns.next("users.email")?;
    let email_verified = columns.next("users.email_verified")?;
    let name = columns.next("users.name")?;
    let admin = columns.next("users.admin")?;
    let disabled_at: Option<u64> = columns.next("users.disabled_at")?;
    Ok(User {
        id,
        email,
        email_verified,
        name,
        enabled: disabled_at.is_none(),
        admin,
    })
}

fn parse_account(row: Row) -> Result<Account, SqlError> {
    let mut columns = Columns::of(row);
    Ok(Account {
        user: parse_user(&mut columns)?,
        password_hash: columns.next("users.password_hash")?,
        created_at_ms: columns.next("users.created_at")?,
        updated_at_ms: columns.next("users.updated_at")?,
    })
}

/// By which key an account is looked for.
pub(crate) enum FindAccount {
    Id(UserId),
    Email(String),
}

#[async_trait]
impl Operation for FindAccount {
    type Output = Option<Account>;
    const NAME: &'static str = "find account";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = match self {
            Self::Id(id) => {
                transaction
                    .query(
                        "SELECT id, email, email_verified, name, admin, disabled_at, password_hash, created_at, updated_at
                         FROM users WHERE id = $1",
                        values![id],
                    )
                    .await?
            }
            Self::Email(email) => {
                transaction
                    .query(
                        "SELECT id, email, email_verified, name, admin, disabled_at, password_hash, created_at, updated_at
                         FROM users WHERE email = $1",
                        values![email],
                    )
                    .await?
            }
        };
        rows.into_iter().next().map(parse_account).transpose()
    }
}

pub(crate) struct ListAccounts {
    /// No address is empty, so that every one comes after the empty text.
    pub(crate) after: String,
    pub(crate) limit: usize,
}

#[async_trait]
impl Operation for ListAccounts {
    type Output = Vec<Account>;
    const NAME: &'static str = "list accounts";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, email, email_verified, name, admin, disabled_at, password_hash, created_at, updated_at
                 FROM users WHERE email > $1 ORDER BY email LIMIT $2",
                values![&self.after, self.limit],
            )
            .await?;
        rows.into_iter().map(parse_account).collect()
    }
}

struct FindUser(UserId);

#[async_trait]
impl Operation for FindUser {
    type Output = Option<User>;
    const NAME: &'static str = "find user";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, email, email_verified, name, admin, disabled_at FROM users WHERE id = $1",
                values![&self.0],
            )
            .await?;
        first(rows)
            .map(|mut columns| parse_user(&mut columns))
            .transpose()
    }
}

#[async_trait]
impl Users for SqlStore {
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreUnavailable> {
        operation::read(&*self.engine, FindUser(id.clone())).await
    }
}

pub(crate) async fn has_accounts(transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
    let rows = transaction
        .query("SELECT id FROM users LIMIT 1", &[])
        .await?;
    Ok(!rows.is_empty())
}

/// Locks an enabled account's row until the end of the transaction; false when there is none. Whoever makes something that
/// a disabled account must not have does this first, and so either comes before the disabling, which then ends it, or sees
/// that the account is disabled.
pub(crate) async fn lock_enabled(
    transaction: &mut dyn Transaction,
    user: &UserId,
) -> Result<bool, SqlError> {
    let locked = transaction
        .execute(
            "UPDATE users SET updated_at = updated_at WHERE id = $1 AND disabled_at IS NULL",
            values![user],
        )
        .await?;
    Ok(locked == 1)
}

/// Ends every grant of a person, one revocation for each, and the codes that could still become grants.
pub(crate) async fn end_grants(
    transaction: &mut dyn Transaction,
    user: &UserId,
    at_ms: u64,
) -> Result<(), SqlError> {
    // Codes first: a redemption that runs now has locked its code, and has made its grant when this statement is through.
    transaction
        .execute(
            "DELETE FROM codes WHERE user_id = $1 AND redeemed_by IS NULL",
            values![user],
        )
        .await?;
    let rows = transaction
        .query(
            "UPDATE grants SET revoked_at = $2, version = version + 1 WHERE user_id = $1 AND revoked_at IS NULL RETURNING id",
            values![user, at_ms],
        )
        .await?;
    for row in rows {
        let grant = Columns::of(row).next("grants.id")?;
        revoke(transaction, &Subject::Grant(grant), at_ms).await?;
    }
    Ok(())
}

struct CheckHealth;

#[async_trait]
impl Operation for CheckHealth {
    type Output = ();
    const NAME: &'static str = "health check";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT value FROM meta WHERE key = $1",
                values![crate::schema::VERSION_KEY],
            )
            .await?;
        if rows.is_empty() {
            return Err(SqlError::Damaged("meta: no schema version"));
        }
        Ok(())
    }
}

#[async_trait]
impl Health for SqlStore {
    async fn check(&self) -> Result<(), StoreUnavailable> {
        operation::read(&*self.engine, CheckHealth).await
    }
}
