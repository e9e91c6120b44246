//! The port [`Grants`]: codes, grants, consents. Refresh tokens have a module of their own, `rotation`.

use async_trait::async_trait;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::accounts::store::Act;
use epicenter_server::oauth::store::{
    AuthorizationCode, Grant, Grants, Redeemed, Redemption, RefreshToken, RevocationReason,
    Rotated, RotationChange,
};
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::revocations::Subject;
use epicenter_server::secret::SecretHash;

use crate::SqlStore;
use crate::audit::{Line, write_line};
use crate::operation::{self, Operation};
use crate::revocations::revoke;
use crate::rotation::{FindRefreshToken, Rotate, insert_refresh_token};
use crate::sql::{Row, SqlError, Transaction};
use crate::users::lock_enabled;
use crate::values::{Columns, first, values};

struct InsertCode {
    code: AuthorizationCode,
    act: Act,
}

#[async_trait]
impl Operation for InsertCode {
    type Output = ();
    const NAME: &'static str = "insert code";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let code = &self.code;
        if !lock_enabled(transaction, &code.user).await? {
            // Nobody could redeem it.
            return Ok(());
        }
        transaction
            .execute(
                "INSERT INTO codes (code_hash, user_id, client, session, redirect_uri, challenge, nonce, scopes,
                                    requested_scope, resource, authenticated_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                values![
                    &code.code,
                    &code.user,
                    &code.client,
                    &code.session,
                    &code.redirect_uri,
                    &code.challenge,
                    code.nonce.as_ref(),
                    code.scopes,
                    &code.requested_scope,
                    &code.resource,
                    code.authenticated_at_ms,
                    code.expires_at_ms
                ],
            )
            .await?;
        let line = Line::about("code.issued", &code.user)
            .client(&code.client)
            .subject(code.session.as_str());
        write_line(transaction, &self.act, line).await
    }
}

struct FindCode(SecretHash);

#[async_trait]
impl Operation for FindCode {
    type Output = Option<AuthorizationCode>;
    const NAME: &'static str = "find code";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT code_hash, user_id, client, session, redirect_uri, challenge, nonce, scopes, requested_scope,
                        resource, authenticated_at, expires_at, redeemed_by
                 FROM codes WHERE code_hash = $1",
                values![&self.0],
            )
            .await?;
        first(rows).map(parse_code).transpose()
    }
}

fn parse_code(mut columns: Columns) -> Result<AuthorizationCode, SqlError> {
    Ok(AuthorizationCode {
        code: columns.next("codes.code_hash")?,
        user: columns.next("codes.user_id")?,
        client: columns.next("codes.client")?,
        session: columns.next("codes.session")?,
        redirect_uri: columns.next("codes.redirect_uri")?,
        challenge: columns.next("codes.challenge")?,
        nonce: columns.next("codes.nonce")?,
        scopes: columns.next("codes.scopes")?,
        requested_scope: columns.next("codes.requested_scope")?,
        resource: columns.next("codes.resource")?,
        authenticated_at_ms: columns.next("codes.authenticated_at")?,
        expires_at_ms: columns.next("codes.expires_at")?,
        redeemed_by: columns.next("codes.redeemed_by")?,
    })
}

struct RedeemCode {
    redemption: Redemption,
    act: Act,
}

#[async_trait]
impl Operation for RedeemCode {
    type Output = Redeemed;
    const NAME: &'static str = "redeem code";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Redeemed, SqlError> {
        let Redemption {
            code,
            grant,
            refresh,
        } = &self.redemption;
        // One of any number of concurrent redemptions changes the row. Disabling the account deletes it, and so waits for
        // a redemption that runs, and revokes the grants afterwards.
        let taken = transaction
            .execute(
                "UPDATE codes SET redeemed_by = $2 WHERE code_hash = $1 AND redeemed_by IS NULL
                 AND EXISTS (SELECT id FROM users WHERE users.id = codes.user_id AND users.disabled_at IS NULL)",
                values![code, &grant.id],
            )
            .await?;
        if taken == 0 {
            return redeemed_before(transaction, code).await;
        }
        insert_grant(transaction, grant).await?;
        if let Some(refresh) = refresh {
            insert_refresh_token(transaction, &grant.id, refresh, self.act.at_ms).await?;
        }
        write_line(transaction, &self.act, granted(grant)).await?;
        Ok(Redeemed::Done)
    }
}

async fn redeemed_before(
    transaction: &mut dyn Transaction,
    code: &SecretHash,
) -> Result<Redeemed, SqlError> {
    let rows = transaction
        .query(
            "SELECT redeemed_by FROM codes WHERE code_hash = $1",
            values![code],
        )
        .await?;
    let Some(mut columns) = first(rows) else {
        return Ok(Redeemed::Gone);
    };
    let grant: Option<GrantId> = columns.next("codes.redeemed_by")?;
    Ok(grant.map_or(Redeemed::Gone, Redeemed::Already))
}

fn granted(grant: &Grant) -> Line<'_> {
    Line::about("grant.made", &grant.user)
        .client(&grant.client)
        .subject(grant.id.as_str())
}

async fn insert_grant(transaction: &mut dyn Transaction, grant: &Grant) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO grants (id, user_id, client, scopes, requested_scope, resource, session, authenticated_at,
                                 created_at, expires_at, version)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            values![
                &grant.id,
                &grant.user,
                &grant.client,
                grant.scopes,
                &grant.requested_scope,
                &grant.resource,
                grant.session.as_ref(),
                grant.authenticated_at_ms,
                grant.created_at_ms,
                grant.expires_at_ms,
                grant.version
            ],
        )
        .await?;
    Ok(())
}

/// The columns of a grant, in the order in which every query has them.
pub(crate) fn parse_grant(columns: &mut Columns) -> Result<Grant, SqlError> {
    let id = columns.next("grants.id")?;
    let user = columns.next("grants.user_id")?;
    let client = columns.next("grants.client")?;
    let scopes = columns.next("grants.scopes")?;
    let requested_scope = columns.next("grants.requested_scope")?;
    let resource = columns.next("grants.resource")?;
    let session = columns.next("grants.session")?;
    let authenticated_at_ms = columns.next("grants.authenticated_at")?;
    let created_at_ms = columns.next("grants.created_at")?;
    let expires_at_ms = columns.next("grants.expires_at")?;
    let revoked_at: Option<u64> = columns.next("grants.revoked_at")?;
    let version = columns.next("grants.version")?;
    Ok(Grant {
        id,
        user,
        client,
        scopes,
        requested_scope,
        resource,
        session,
        authenticated_at_ms,
        created_at_ms,
        expires_at_ms,
        revoked: revoked_at.is_some(),
        version,
    })
}

struct InsertGrant {
    grant: Grant,
    act: Act,
}

#[async_trait]
impl Operation for InsertGrant {
    type Output = ();
    const NAME: &'static str = "insert grant";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        // A disabled account's tokens are refused whatever their grant says; the lock keeps a grant from outliving the
        // disabling unseen.
        lock_enabled(transaction, &self.grant.user).await?;
        insert_grant(transaction, &self.grant).await?;
        write_line(transaction, &self.act, granted(&self.grant)).await
    }
}

struct FindGrant(GrantId);

#[async_trait]
impl Operation for FindGrant {
    type Output = Option<Grant>;
    const NAME: &'static str = "find grant";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, user_id, client, scopes, requested_scope, resource, session, authenticated_at, created_at,
                        expires_at, revoked_at, version
                 FROM grants WHERE id = $1",
                values![&self.0],
            )
            .await?;
        first(rows)
            .map(|mut columns| parse_grant(&mut columns))
            .transpose()
    }
}

struct ListGrants {
    user: UserId,
    now_ms: u64,
}

#[async_trait]
impl Operation for ListGrants {
    type Output = Vec<Grant>;
    const NAME: &'static str = "list grants";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, user_id, client, scopes, requested_scope, resource, session, authenticated_at, created_at,
                        expires_at, revoked_at, version
                 FROM grants WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, id",
                values![&self.user, self.now_ms],
            )
            .await?;
        let parse = |row: Row| parse_grant(&mut Columns::of(row));
        rows.into_iter().map(parse).collect()
    }
}

struct RevokeGrant {
    id: GrantId,
    reason: RevocationReason,
    act: Act,
}

#[async_trait]
impl Operation for RevokeGrant {
    type Output = bool;
    const NAME: &'static str = "revoke grant";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let rows = transaction
            .query(
                "UPDATE grants SET revoked_at = $2, version = version + 1 WHERE id = $1 AND revoked_at IS NULL
                 RETURNING user_id, client",
                values![&self.id, self.act.at_ms],
            )
            .await?;
        let Some(mut columns) = first(rows) else {
            return Ok(false);
        };
        let user: UserId = columns.next("grants.user_id")?;
        let client: ClientId = columns.next("grants.client")?;
        let line = Line::about("grant.revoked", &user)
            .client(&client)
            .subject(self.id.as_str())
            .detail(reason_name(self.reason));
        write_line(transaction, &self.act, line).await?;
        revoke(
            transaction,
            &Subject::Grant(self.id.clone()),
            self.act.at_ms,
        )
        .await?;
        Ok(true)
    }
}

fn reason_name(reason: RevocationReason) -> &'static str {
    match reason {
        RevocationReason::SignedOut => "signed_out",
        RevocationReason::ByPerson => "by_person",
        RevocationReason::CodeReuse => "code_reuse",
        RevocationReason::RefreshReuse => "refresh_reuse",
        RevocationReason::ByOperator => "by_operator",
    }
}

struct FindConsent {
    user: UserId,
    client: ClientId,
}

#[async_trait]
impl Operation for FindConsent {
    type Output = Scopes;
    const NAME: &'static str = "find consent";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Scopes, SqlError> {
        let rows = transaction
            .query(
                "SELECT scope FROM consents WHERE user_id = $1 AND client = $2",
                values![&self.user, &self.client],
            )
            .await?;
        let mut all = Scopes::NONE;
        for row in rows {
            let scope: Scopes = Columns::of(row).next("consents.scope")?;
            all = scope.iter().fold(all, Scopes::with);
        }
        Ok(all)
    }
}

struct AddConsent {
    user: UserId,
    client: ClientId,
    scopes: Scopes,
    act: Act,
}

#[async_trait]
impl Operation for AddConsent {
    type Output = ();
    const NAME: &'static str = "add consent";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        // A row for each scope: two consents at once add up without reading each other.
        for scope in self.scopes.iter() {
            transaction
                .execute(
                    "INSERT INTO consents (user_id, client, scope, at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (user_id, client, scope) DO NOTHING",
                    values![&self.user, &self.client, scope.as_str(), self.act.at_ms],
                )
                .await?;
        }
        let line = Line::about("consent.given", &self.user).client(&self.client);
        write_line(transaction, &self.act, line).await
    }
}

#[async_trait]
impl Grants for SqlStore {
    async fn insert_code(
        &self,
        code: &AuthorizationCode,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let operation = InsertCode {
            code: code.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_code(
        &self,
        code: &SecretHash,
    ) -> Result<Option<AuthorizationCode>, StoreUnavailable> {
        operation::read(&*self.engine, FindCode(*code)).await
    }

    async fn redeem_code(
        &self,
        redemption: &Redemption,
        act: &Act,
    ) -> Result<Redeemed, StoreUnavailable> {
        let operation = RedeemCode {
            redemption: redemption.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_refresh_token(
        &self,
        token: &SecretHash,
    ) -> Result<Option<RefreshToken>, StoreUnavailable> {
        operation::read(&*self.engine, FindRefreshToken(*token)).await
    }

    async fn rotate_refresh_token(
        &self,
        change: &RotationChange,
        act: &Act,
    ) -> Result<Rotated, StoreUnavailable> {
        let operation = Rotate {
            change: change.clone(),
            at_ms: act.at_ms,
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreUnavailable> {
        operation::read(&*self.engine, FindGrant(id.clone())).await
    }

    async fn list_grants(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Grant>, StoreUnavailable> {
        let user = user.clone();
        operation::read(&*self.engine, ListGrants { user, now_ms }).await
    }

    async fn insert_grant(&self, grant: &Grant, act: &Act) -> Result<(), StoreUnavailable> {
        let operation = InsertGrant {
            grant: grant.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn revoke_grant(
        &self,
        id: &GrantId,
        reason: RevocationReason,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = RevokeGrant {
            id: id.clone(),
            reason,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_consent(
        &self,
        user: &UserId,
        client: &ClientId,
    ) -> Result<Scopes, StoreUnavailable> {
        let operation = FindConsent {
            user: user.clone(),
            client: client.clone(),
        };
        operation::read(&*self.engine, operation).await
    }

    async fn add_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        scopes: Scopes,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let operation = AddConsent {
            user: user.clone(),
            client: client.clone(),
            scopes,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }
}
