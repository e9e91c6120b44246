//! The port [`Sessions`]: browser sessions, found by the hash of their secret.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::{Act, AlsoEnd, Session, SessionId, Sessions};
use epicenter_server::ports::{StoreUnavailable, User};
use epicenter_server::secret::SecretHash;

use crate::SqlStore;
use crate::audit::{Line, write_line};
use crate::operation::{self, Operation};
use crate::sql::{Row, SqlError, Transaction};
use crate::users::{end_grants, parse_user};
use crate::values::{Columns, first, values};

struct InsertSession {
    token: SecretHash,
    session: Session,
    replaces: Option<SecretHash>,
    act: Act,
}

#[async_trait]
impl Operation for InsertSession {
    type Output = bool;
    const NAME: &'static str = "insert session";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let session = &self.session;
        // Locks the account against being disabled meanwhile, like `lock_enabled`.
        let locked = transaction
            .execute(
                "UPDATE users SET signed_in_at = $2 WHERE id = $1 AND disabled_at IS NULL",
                values![&session.user, self.act.at_ms],
            )
            .await?;
        if locked == 0 {
            return Ok(false);
        }
        if let Some(replaced) = &self.replaces {
            transaction
                .execute(
                    "DELETE FROM sessions WHERE token_hash = $1",
                    values![replaced],
                )
                .await?;
        }
        transaction
            .execute(
                "INSERT INTO sessions (token_hash, id, user_id, created_at, updated_at, expires_at, authenticated_at, ip,
                                       user_agent, ends_with_browser)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                values![
                    &self.token,
                    &session.id,
                    &session.user,
                    session.created_at_ms,
                    session.updated_at_ms,
                    session.expires_at_ms,
                    session.authenticated_at_ms,
                    session.ip,
                    session.user_agent.as_ref(),
                    session.ends_with_browser
                ],
            )
            .await?;
        let line = Line::about("session.started", &session.user).subject(session.id.as_str());
        write_line(transaction, &self.act, line).await?;
        Ok(true)
    }
}

struct FindSession {
    token: SecretHash,
    now_ms: u64,
}

#[async_trait]
impl Operation for FindSession {
    type Output = Option<(Session, User)>;
    const NAME: &'static str = "find session";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT s.id, s.user_id, s.created_at, s.updated_at, s.expires_at, s.authenticated_at, s.ip, s.user_agent,
                        s.ends_with_browser, u.id, u.email, u.email_verified, u.name, u.admin, u.disabled_at
                 FROM sessions s JOIN users u ON u.id = s.user_id
                 WHERE s.token_hash = $1 AND s.expires_at > $2 AND u.disabled_at IS NULL",
                values![&self.token, self.now_ms],
            )
            .await?;
        let parse = |mut columns: Columns| {
            let session = parse_session(&mut columns)?;
            Ok((session, parse_user(&mut columns)?))
        };
        first(rows).map(parse).transpose()
    }
}

fn parse_session(columns: &mut Columns) -> Result<Session, SqlError> {
    Ok(Session {
        id: columns.next("sessions.id")?,
        user: columns.next("sessions.user_id")?,
        created_at_ms: columns.next("sessions.created_at")?,
        updated_at_ms: columns.next("sessions.updated_at")?,
        expires_at_ms: columns.next("sessions.expires_at")?,
        authenticated_at_ms: columns.next("sessions.authenticated_at")?,
        ip: columns.next("sessions.ip")?,
        user_agent: columns.next("sessions.user_agent")?,
        ends_with_browser: columns.next("sessions.ends_with_browser")?,
    })
}

struct ExtendSession {
    token: SecretHash,
    expires_at_ms: u64,
    now_ms: u64,
}

#[async_trait]
impl Operation for ExtendSession {
    type Output = ();
    const NAME: &'static str = "extend session";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute(
                "UPDATE sessions SET expires_at = $2, updated_at = $3 WHERE token_hash = $1 AND expires_at > $3",
                values![&self.token, self.expires_at_ms, self.now_ms],
            )
            .await?;
        Ok(())
    }
}

struct ListSessions {
    user: UserId,
    now_ms: u64,
}

#[async_trait]
impl Operation for ListSessions {
    type Output = Vec<Session>;
    const NAME: &'static str = "list sessions";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT id, user_id, created_at, updated_at, expires_at, authenticated_at, ip, user_agent, ends_with_browser
                 FROM sessions WHERE user_id = $1 AND expires_at > $2 ORDER BY created_at DESC, id",
                values![&self.user, self.now_ms],
            )
            .await?;
        let parse = |row: Row| parse_session(&mut Columns::of(row));
        rows.into_iter().map(parse).collect()
    }
}

struct EndSession {
    user: UserId,
    session: SessionId,
    act: Act,
}

#[async_trait]
impl Operation for EndSession {
    type Output = bool;
    const NAME: &'static str = "end session";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let ended = transaction
            .execute(
                "DELETE FROM sessions WHERE user_id = $1 AND id = $2 AND expires_at > $3",
                values![&self.user, &self.session, self.act.at_ms],
            )
            .await?;
        if ended == 0 {
            return Ok(false);
        }
        let line = Line::about("session.ended", &self.user).subject(self.session.as_str());
        write_line(transaction, &self.act, line).await?;
        Ok(true)
    }
}

struct EndSessions {
    user: UserId,
    keep: Option<SessionId>,
    also: AlsoEnd,
    act: Act,
}

#[async_trait]
impl Operation for EndSessions {
    type Output = u64;
    const NAME: &'static str = "end sessions";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<u64, SqlError> {
        // Expired sessions are not there and do not count. No id is empty.
        let kept = self.keep.as_ref().map_or("", SessionId::as_str);
        let ended = transaction
            .execute(
                "DELETE FROM sessions WHERE user_id = $1 AND id <> $2 AND expires_at > $3",
                values![&self.user, kept, self.act.at_ms],
            )
            .await?;
        let detail = match self.also {
            AlsoEnd::Nothing => "sessions",
            AlsoEnd::Grants => "sessions_and_grants",
        };
        let line = Line::about("sessions.ended", &self.user).detail(detail);
        write_line(transaction, &self.act, line).await?;
        if self.also == AlsoEnd::Grants {
            end_grants(transaction, &self.user, self.act.at_ms).await?;
        }
        Ok(ended)
    }
}

#[async_trait]
impl Sessions for SqlStore {
    async fn insert_session(
        &self,
        token: &SecretHash,
        session: &Session,
        replaces: Option<&SecretHash>,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = InsertSession {
            token: *token,
            session: session.clone(),
            replaces: replaces.copied(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn find_session(
        &self,
        token: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<(Session, User)>, StoreUnavailable> {
        let token = *token;
        operation::read(&*self.engine, FindSession { token, now_ms }).await
    }

    async fn extend_session(
        &self,
        token: &SecretHash,
        expires_at_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        let operation = ExtendSession {
            token: *token,
            expires_at_ms,
            now_ms,
        };
        operation::write(&*self.engine, operation).await
    }

    async fn list_sessions(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Session>, StoreUnavailable> {
        let user = user.clone();
        operation::read(&*self.engine, ListSessions { user, now_ms }).await
    }

    async fn end_session(
        &self,
        user: &UserId,
        session: &SessionId,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = EndSession {
            user: user.clone(),
            session: session.clone(),
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }

    async fn end_sessions(
        &self,
        user: &UserId,
        keep: Option<&SessionId>,
        also: AlsoEnd,
        act: &Act,
    ) -> Result<u64, StoreUnavailable> {
        let operation = EndSessions {
            user: user.clone(),
            keep: keep.cloned(),
            also,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }
}
