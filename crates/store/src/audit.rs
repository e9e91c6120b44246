//! The audit log: one line for each sign-in, link, grant, revocation and act of an operator (`identity.md` 1).

use std::net::IpAddr;

use async_trait::async_trait;
use epicenter_identity::{ClientId, UserId};
use epicenter_server::accounts::store::{Act, Actor};
use epicenter_server::ports::StoreUnavailable;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{Row, SqlError, Transaction};
use crate::values::{Columns, values};

/// A line to be written. Names of kinds are part of the stored form.
pub(crate) struct Line<'a> {
    pub(crate) kind: &'static str,
    /// The account that it is about.
    pub(crate) user: Option<&'a UserId>,
    /// The app that it is about.
    pub(crate) client: Option<&'a ClientId>,
    /// The session, grant or key that it is about; never a secret.
    pub(crate) subject: Option<&'a str>,
    /// Why.
    pub(crate) detail: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            user: None,
            client: None,
            subject: None,
            detail: None,
        }
    }

    pub(crate) fn about(kind: &'static str, user: &'a UserId) -> Self {
        Self {
            user: Some(user),
            ..Self::new(kind)
        }
    }

    pub(crate) fn subject(self, subject: &'a str) -> Self {
        Self {
            subject: Some(subject),
            ..self
        }
    }

    pub(crate) fn client(self, client: &'a ClientId) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }

    pub(crate) fn detail(self, detail: &'a str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }
}

pub(crate) async fn write_line(
    transaction: &mut dyn Transaction,
    act: &Act,
    line: Line<'_>,
) -> Result<(), SqlError> {
    let (actor, actor_id) = match &act.actor {
        Actor::Nobody => ("nobody", None),
        Actor::User(user) => ("user", Some(user)),
        Actor::Operator => ("operator", None),
        Actor::Hub => ("hub", None),
    };
    transaction
        .execute(
            "INSERT INTO audit (at, kind, actor, actor_id, user_id, client, subject, detail, ip)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            values![
                act.at_ms,
                line.kind,
                actor,
                actor_id,
                line.user,
                line.client,
                line.subject,
                line.detail,
                act.ip
            ],
        )
        .await?;
    Ok(())
}

/// A line of the audit log, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened, as in `session.started`.
    pub kind: String,
    /// `nobody`, `user`, `operator` or `hub`.
    pub actor: String,
    /// Which user.
    pub actor_id: Option<UserId>,
    /// The account that it is about.
    pub user: Option<UserId>,
    /// The app that it is about.
    pub client: Option<ClientId>,
    /// The session, grant or key that it is about.
    pub subject: Option<String>,
    /// Why.
    pub detail: Option<String>,
    /// From where.
    pub ip: Option<IpAddr>,
}

struct ListAudit {
    since_ms: u64,
    limit: usize,
}

#[async_trait]
impl Operation for ListAudit {
    type Output = Vec<AuditLine>;
    const NAME: &'static str = "list audit";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT at, kind, actor, actor_id, user_id, client, subject, detail, ip FROM audit
                 WHERE at >= $1 ORDER BY at LIMIT $2",
                values![self.since_ms, self.limit],
            )
            .await?;
        rows.into_iter().map(parse_line).collect()
    }
}

fn parse_line(row: Row) -> Result<AuditLine, SqlError> {
    let mut columns = Columns::of(row);
    Ok(AuditLine {
        at_ms: columns.next("audit.at")?,
        kind: columns.next("audit.kind")?,
        actor: columns.next("audit.actor")?,
        actor_id: columns.next("audit.actor_id")?,
        user: columns.next("audit.user_id")?,
        client: columns.next("audit.client")?,
        subject: columns.next("audit.subject")?,
        detail: columns.next("audit.detail")?,
        ip: columns.next("audit.ip")?,
    })
}

/// Something that happened to a hub as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupEvent {
    /// A backup was made.
    Made,
    /// The store was restored from one, and everybody is signed out.
    Restored,
    /// The store was restored from one, and sessions and grants were kept.
    RestoredWithSessions,
}

struct RecordBackup {
    event: BackupEvent,
    act: Act,
}

#[async_trait]
impl Operation for RecordBackup {
    type Output = ();
    const NAME: &'static str = "record backup";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let line = match self.event {
            BackupEvent::Made => Line::new("backup.made"),
            BackupEvent::Restored => Line::new("backup.restored").detail("sessions ended"),
            BackupEvent::RestoredWithSessions => {
                Line::new("backup.restored").detail("sessions kept")
            }
        };
        write_line(transaction, &self.act, line).await
    }
}

impl SqlStore {
    /// Writes a line about a backup.
    pub async fn record_backup(
        &self,
        event: BackupEvent,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let act = act.clone();
        operation::write(&*self.engine, RecordBackup { event, act }).await
    }

    /// Lines of the audit log from then on, the oldest first.
    pub async fn list_audit(
        &self,
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<AuditLine>, StoreUnavailable> {
        operation::read(&*self.engine, ListAudit { since_ms, limit }).await
    }
}
