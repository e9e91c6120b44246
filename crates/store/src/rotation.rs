//! Refresh tokens: found with their grant in one query, rotated in three statements that the grant's row puts in order.

use async_trait::async_trait;
use epicenter_identity::GrantId;
use epicenter_server::oauth::store::{
    NewRefreshToken, RefreshToken, Rotated, Rotation, RotationChange,
};
use epicenter_server::secret::SecretHash;

use crate::grants::parse_grant;
use crate::operation::Operation;
use crate::sql::{SqlError, Transaction};
use crate::values::{Columns, first, values};

pub(crate) struct FindRefreshToken(pub(crate) SecretHash);

#[async_trait]
impl Operation for FindRefreshToken {
    type Output = Option<RefreshToken>;
    const NAME: &'static str = "find refresh token";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT t.created_at, t.expires_at, t.killed_at, t.rotated_at, t.successor_hash, t.sealed_answer, t.reissued,
                        s.rotated_at,
                        g.id, g.user_id, g.client, g.scopes, g.requested_scope, g.resource, g.session, g.authenticated_at,
                        g.created_at, g.expires_at, g.revoked_at, g.version
                 FROM refresh_tokens t
                 JOIN grants g ON g.id = t.grant_id
                 LEFT JOIN refresh_tokens s ON s.token_hash = t.successor_hash
                 WHERE t.token_hash = $1",
                values![&self.0],
            )
            .await?;
        first(rows)
            .map(|columns| parse_token(self.0, columns))
            .transpose()
    }
}

fn parse_token(token: SecretHash, mut columns: Columns) -> Result<RefreshToken, SqlError> {
    let created_at_ms = columns.next("refresh_tokens.created_at")?;
    let expires_at_ms = columns.next("refresh_tokens.expires_at")?;
    let killed_at: Option<u64> = columns.next("refresh_tokens.killed_at")?;
    let rotated_at: Option<u64> = columns.next("refresh_tokens.rotated_at")?;
    let successor: Option<SecretHash> = columns.next("refresh_tokens.successor_hash")?;
    let sealed_answer = columns.next("refresh_tokens.sealed_answer")?;
    let reissued = columns.next("refresh_tokens.reissued")?;
    let successor_rotated_at: Option<u64> = columns.next("refresh_tokens.rotated_at")?;
    let rotation = match (rotated_at, successor) {
        (Some(at_ms), Some(successor)) => Some(Rotation {
            at_ms,
            successor,
            successor_was_presented: successor_rotated_at.is_some(),
            sealed_answer,
            reissued,
        }),
        (None, None) => None,
        _ => return Err(SqlError::Damaged("refresh_tokens: half a rotation")),
    };
    Ok(RefreshToken {
        token,
        grant: parse_grant(&mut columns)?,
        created_at_ms,
        expires_at_ms,
        rotation,
        killed: killed_at.is_some(),
    })
}

pub(crate) async fn insert_refresh_token(
    transaction: &mut dyn Transaction,
    grant: &GrantId,
    refresh: &NewRefreshToken,
    at_ms: u64,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO refresh_tokens (token_hash, grant_id, created_at, expires_at, reissued) VALUES ($1, $2, $3, $4, 0)",
            values![&refresh.token, grant, at_ms, refresh.expires_at_ms],
        )
        .await?;
    Ok(())
}

pub(crate) struct Rotate {
    pub(crate) change: RotationChange,
    pub(crate) at_ms: u64,
}

#[async_trait]
impl Operation for Rotate {
    type Output = Rotated;
    const NAME: &'static str = "rotate refresh token";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Rotated, SqlError> {
        let change = &self.change;
        // Of all that was decided on one version, one gets it. Disabling the account changes the row too.
        let taken = transaction
            .execute(
                "UPDATE grants SET version = version + 1, scopes = $3, requested_scope = $4
                 WHERE id = $1 AND version = $2 AND revoked_at IS NULL
                 AND EXISTS (SELECT id FROM users WHERE users.id = grants.user_id AND users.disabled_at IS NULL)",
                values![
                    &change.grant,
                    change.version,
                    change.scopes,
                    &change.requested_scope
                ],
            )
            .await?;
        if taken == 0 {
            return Ok(Rotated::Changed);
        }
        self.replace_presented(transaction).await?;
        insert_refresh_token(transaction, &change.grant, &change.successor, self.at_ms).await?;
        Ok(Rotated::Done)
    }
}

impl Rotate {
    async fn replace_presented(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let change = &self.change;
        if let Some(unseen) = &change.kill {
            let killed = transaction
                .execute(
                    "UPDATE refresh_tokens SET killed_at = $3 WHERE token_hash = $1 AND grant_id = $2 AND rotated_at IS NULL",
                    values![unseen, &change.grant, self.at_ms],
                )
                .await?;
            check_one(killed)?;
        }
        let reissued = change.kill.is_some();
        let rotated = transaction
            .execute(
                "UPDATE refresh_tokens SET rotated_at = $3, successor_hash = $4, sealed_answer = $5, reissued = $6
                 WHERE token_hash = $1 AND grant_id = $2",
                values![
                    &change.presented,
                    &change.grant,
                    self.at_ms,
                    &change.successor.token,
                    &change.sealed_answer,
                    reissued
                ],
            )
            .await?;
        check_one(rotated)
    }
}

/// The grant is as it was read, so its tokens must be too; only a caller that mixes two grants up comes here.
fn check_one(rows: u64) -> Result<(), SqlError> {
    if rows == 1 {
        Ok(())
    } else {
        Err(SqlError::Damaged("refresh_tokens: a rotated token is gone"))
    }
}
