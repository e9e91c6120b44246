//! The port [`Accounts`]: making, changing and disabling accounts, and the links that let people in.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::{
    Account, Accounts, Act, AlsoEnd, Created, Door, Invitation, NewAccount, Observed,
    PasswordChange,
};
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::revocations::Subject;
use epicenter_server::secret::SecretHash;

use crate::SqlStore;
use crate::audit::{Line, write_line};
use crate::operation::{self, Operation};
use crate::revocations::revoke;
use crate::sql::{SqlError, Transaction};
use crate::users::{FindAccount, ListAccounts, end_grants, has_accounts};
use crate::values::{Columns, first, values};

/// Makes everything that makes accounts, or depends on their being none, wait for the end of this transaction.
async fn lock_accounts(transaction: &mut dyn Transaction) -> Result<(), SqlError> {
    transaction
        .execute(
            "UPDATE counters SET value = value + 1 WHERE name = 'accounts'",
            &[],
        )
        .await?;
    Ok(())
}

struct HasAccounts;

#[async_trait]
impl Operation for HasAccounts {
    type Output = bool;
    const NAME: &'static str = "has accounts";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        has_accounts(transaction).await
    }
}

struct CreateAccount {
    account: NewAccount,
    door: Door,
    act: Act,
}

#[async_trait]
impl Operation for CreateAccount {
    type Output = Created;
    const NAME: &'static str = "create account";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Created, SqlError> {
        lock_accounts(transaction).await?;
        if let Some(refused) = self.check_door(transaction).await? {
            return Ok(refused);
        }
        let made = transaction
            .execute(
                "INSERT INTO users (id, email, name, email_verified, password_hash, admin, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (email) DO NOTHING",
                values![
                    &self.account.id,
                    &self.account.email,
                    &self.account.name,
                    self.account.email_verified,
                    self.account.password_hash.as_ref(),
                    self.account.admin,
                    self.act.at_ms
                ],
            )
            .await?;
        if made == 0 {
            return Ok(Created::EmailTaken);
        }
        self.spend_links(transaction).await?;
        let line = Line::about("account.created", &self.account.id).detail(door_name(&self.door));
        write_line(transaction, &self.act, line).await?;
        Ok(Created::Done)
    }
}

impl CreateAccount {
    /// Why the door is shut; nothing when it is open. Accounts are locked.
    async fn check_door(
        &self,
        transaction: &mut dyn Transaction,
    ) -> Result<Option<Created>, SqlError> {
        let has_accounts = has_accounts(transaction).await?;
        let refused = match &self.door {
            Door::Operator if !has_accounts && !self.account.admin => {
                Some(Created::FirstMustBeAdmin)
            }
            Door::Invitation { .. } | Door::SignUp if !has_accounts => Some(Created::SetupRequired),
            Door::Operator | Door::SignUp => None,
            Door::Setup { .. } if has_accounts => Some(Created::LinkSpent),
            Door::Setup { link } => {
                let rows = transaction
                    .query(
                        "SELECT id FROM setup_link WHERE token_hash = $1 AND expires_at > $2",
                        values![link, self.act.at_ms],
                    )
                    .await?;
                rows.is_empty().then_some(Created::LinkSpent)
            }
            Door::Invitation { link } => {
                let invitation = find_invitation(transaction, link, self.act.at_ms).await?;
                let fits = invitation.is_some_and(|invitation| {
                    invitation
                        .email
                        .is_none_or(|email| email == self.account.email)
                });
                (!fits).then_some(Created::LinkSpent)
            }
        };
        Ok(refused)
    }

    /// Whatever door was used, setup is over with the first account.
    async fn spend_links(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction.execute("DELETE FROM setup_link", &[]).await?;
        if let Door::Invitation { link } = &self.door {
            transaction
                .execute(
                    "DELETE FROM invitations WHERE token_hash = $1",
                    values![link],
                )
                .await?;
        }
        Ok(())
    }
}

fn door_name(door: &Door) -> &'static str {
    match door {
        Door::Operator => "operator",
        Door::Setup { .. } => "setup",
        Door::Invitation { .. } => "invitation",
        Door::SignUp => "sign_up",
    }
}

struct PutSetupLink {
    link: SecretHash,
    expires_at_ms: u64,
    act: Act,
}

#[async_trait]
impl Operation for PutSetupLink {
    type Output = bool;
    const NAME: &'static str = "put setup link";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        lock_accounts(transaction).await?;
        if has_accounts(transaction).await? {
            return Ok(false);
        }
        transaction
            .execute(
                "INSERT INTO setup_link (id, token_hash, expires_at) VALUES (1, $1, $2)
                 ON CONFLICT (id) DO UPDATE SET token_hash = excluded.token_hash, expires_at = excluded.expires_at",
                values![&self.link, self.expires_at_ms],
            )
            .await?;
        write_line(transaction, &self.act, Line::new("setup_link.made")).await?;
        Ok(true)
    }
}

struct PutInvitation {
    invitation: Invitation,
    act: Act,
}

#[async_trait]
impl Operation for PutInvitation {
    type Output = ();
    const NAME: &'static str = "put invitation";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute(
                "INSERT INTO invitations (token_hash, email, created_at, expires_at) VALUES ($1, $2, $3, $4)",
                values![
                    &self.invitation.link,
                    self.invitation.email.as_ref(),
                    self.act.at_ms,
                    self.invitation.expires_at_ms
                ],
            )
            .await?;
        write_line(transaction, &self.act, Line::new("invitation.made")).await
    }
}

struct FindInvitation {
    link: SecretHash,
    now_ms: u64,
}

#[async_trait]
impl Operation for FindInvitation {
    type Output = Option<Invitation>;
    const NAME: &'static str = "find invitation";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        find_invitation(transaction, &self.link, self.now_ms).await
    }
}

async fn find_invitation(
    transaction: &mut dyn Transaction,
    link: &SecretHash,
    now_ms: u64,
) -> Result<Option<Invitation>, SqlError> {
    let rows = transaction
        .query(
            "SELECT email, expires_at FROM invitations WHERE token_hash = $1 AND expires_at > $2",
            values![link, now_ms],
        )
        .await?;
    let parse = |mut columns: Columns| {
        Ok(Invitation {
            link: *link,
            email: columns.next("invitations.email")?,
            expires_at_ms: columns.next("invitations.expires_at")?,
        })
    };
    first(rows).map(parse).transpose()
}

struct ChangePassword {
    change: PasswordChange,
    act: Act,
}

#[async_trait]
impl Operation for ChangePassword {
    type Output = bool;
    const NAME: &'static str = "change password";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let (change, at_ms) = (&self.change, self.act.at_ms);
        let changed = transaction
            .execute(
                "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1",
                values![&change.user, &change.password_hash, at_ms],
            )
            .await?;
        if changed == 0 {
            return Ok(false);
        }
        if let Some((old, new)) = &change.keep {
            transaction
                .execute(
                    "UPDATE sessions SET token_hash = $3 WHERE token_hash = $2 AND user_id = $1",
                    values![&change.user, old, new],
                )
                .await?;
        }
        // No hash is empty.
        let kept: &[u8] = change.keep.as_ref().map_or(&[], |(_, new)| new.as_bytes());
        transaction
            .execute(
                "DELETE FROM sessions WHERE user_id = $1 AND token_hash <> $2",
                values![&change.user, kept],
            )
            .await?;
        if change.also == AlsoEnd::Grants {
            end_grants(transaction, &change.user, at_ms).await?;
        }
        let line = Line::about("password.changed", &change.user);
        write_line(transaction, &self.act, line).await?;
        Ok(true)
    }
}

struct RehashPassword {
    user: UserId,
    old: String,
    new: String,
}

#[async_trait]
impl Operation for RehashPassword {
    type Output = ();
    const NAME: &'static str = "rehash password";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute(
                "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
                values![&self.user, &self.old, &self.new],
            )
            .await?;
        Ok(())
    }
}

struct SetEnabled {
    user: UserId,
    enabled: bool,
    act: Act,
}

#[async_trait]
impl Operation for SetEnabled {
    type Output = bool;
    const NAME: &'static str = "set enabled";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        if self.enabled {
            self.enable(transaction).await
        } else {
            self.disable(transaction).await
        }
    }
}

impl SetEnabled {
    async fn enable(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let found = transaction
            .execute(
                "UPDATE users SET disabled_at = NULL, updated_at = $2 WHERE id = $1",
                values![&self.user, self.act.at_ms],
            )
            .await?;
        if found == 0 {
            return Ok(false);
        }
        let line = Line::about("account.enabled", &self.user);
        write_line(transaction, &self.act, line).await?;
        Ok(true)
    }

    /// In this order: from the first statement on nothing new can begin, see [`crate::users::lock_enabled`].
    async fn disable(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let at_ms = self.act.at_ms;
        let found = transaction
            .execute(
                "UPDATE users SET disabled_at = COALESCE(disabled_at, $2), updated_at = $2 WHERE id = $1",
                values![&self.user, at_ms],
            )
            .await?;
        if found == 0 {
            return Ok(false);
        }
        transaction
            .execute(
                "DELETE FROM sessions WHERE user_id = $1",
                values![&self.user],
            )
            .await?;
        transaction
            .execute("DELETE FROM codes WHERE user_id = $1", values![&self.user])
            .await?;
        transaction
            .execute(
                "UPDATE grants SET revoked_at = $2, version = version + 1 WHERE user_id = $1 AND revoked_at IS NULL",
                values![&self.user, at_ms],
            )
            .await?;
        let line = Line::about("account.disabled", &self.user);
        write_line(transaction, &self.act, line).await?;
        revoke(transaction, &Subject::User(self.user.clone()), at_ms).await?;
        Ok(true)
    }
}

struct Observe {
    observed: Observed,
    user: Option<UserId>,
    act: Act,
}

#[async_trait]
impl Operation for Observe {
    type Output = ();
    const NAME: &'static str = "observe";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let kind = match self.observed {
            Observed::SignInFailed => "sign_in.failed",
            Observed::PasswordRefused => "password.refused",
        };
        let line = Line {
            user: self.user.as_ref(),
            ..Line::new(kind)
        };
        write_line(transaction, &self.act, line).await
    }
}

#[async_trait]
impl Accounts for SqlStore {
    async fn has_accounts(&self) -> Result<bool, StoreUnavailable> {
        operation::read(&*self.engine, HasAccounts).await
    }

    async fn find_account(&self, id: &UserId) -> Result<Option<Account>, StoreUnavailable> {
        operation::read(&*self.engine, FindAccount::Id(id.clone())).await
    }

    async fn find_account_by_email(
        &self,
        email: &str,
    ) -> Result<Option<Account>, StoreUnavailable> {
        operation::read(&*self.engine, FindAccount::Email(email.to_owned())).await
    }

    async fn list_accounts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, StoreUnavailable> {
        let after = after.unwrap_or_default().to_owned();
        operation::read(&*self.engine, ListAccounts { after, limit }).await
    }

    async fn create_account(
        &self,
        account: &NewAccount,
        door: &Door,
        act: &Act,
    ) -> Result<Created, StoreUnavailable> {
        let operation = CreateAccount {
            account: account.clone(),
            door: door.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn put_setup_link(
        &self,
        link: &SecretHash,
        expires_at_ms: u64,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = PutSetupLink {
            link: *link,
            expires_at_ms,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn put_invitation(
        &self,
        invitation: &Invitation,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let operation = PutInvitation {
            invitation: invitation.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_invitation(
        &self,
        link: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<Invitation>, StoreUnavailable> {
        let link = *link;
        operation::read(&*self.engine, FindInvitation { link, now_ms }).await
    }

    async fn change_password(
        &self,
        change: &PasswordChange,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = ChangePassword {
            change: change.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn rehash_password(
        &self,
        user: &UserId,
        old: &str,
        new: &str,
    ) -> Result<(), StoreUnavailable> {
        let operation = RehashPassword {
            user: user.clone(),
            old: old.to_owned(),
            new: new.to_owned(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn set_enabled(
        &self,
        user: &UserId,
        enabled: bool,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = SetEnabled {
            user: user.clone(),
            enabled,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn observe(
        &self,
        observed: Observed,
        user: Option<&UserId>,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let operation = Observe {
            observed,
            user: user.cloned(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }
}
