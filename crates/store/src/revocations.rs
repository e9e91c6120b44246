//! The feed of revocations: rows that appear in the order of their numbers (`identity.md` 3).
//!
//! The number comes from a counter's row that stays locked until its transaction commits: a reader that has seen a number
//! will never meet a smaller one for the first time. A sequence of the database would give no such promise.

use async_trait::async_trait;
use epicenter_identity::{GrantId, UserId};
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::revocations::{Revocation, Subject};

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{Row, SqlError, Transaction};
use crate::values::{Columns, first, values};

const GRANT: &str = "grant";
const USER: &str = "user";

/// Adds a row. Other changes of the transaction come before it: from here on all other revocations wait.
pub(crate) async fn revoke(
    transaction: &mut dyn Transaction,
    subject: &Subject,
    at_ms: u64,
) -> Result<(), SqlError> {
    let rows = transaction
        .query(
            "UPDATE counters SET value = value + 1 WHERE name = 'revocations' RETURNING value",
            &[],
        )
        .await?;
    let seq: u64 = first(rows)
        .ok_or(SqlError::Damaged("counters: no revocations"))?
        .next("counters.value")?;
    let (kind, id) = match subject {
        Subject::Grant(grant) => (GRANT, grant.as_str()),
        Subject::User(user) => (USER, user.as_str()),
    };
    transaction
        .execute(
            "INSERT INTO revocations (seq, kind, subject, at) VALUES ($1, $2, $3, $4)",
            values![seq, kind, id, at_ms],
        )
        .await?;
    Ok(())
}

/// As many as a reader takes at once.
const PAGE: usize = 10_000;

struct Since(u64);

#[async_trait]
impl Operation for Since {
    type Output = Vec<Revocation>;
    const NAME: &'static str = "read revocations";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT seq, kind, subject, at FROM revocations WHERE seq > $1 ORDER BY seq LIMIT $2",
                values![self.0, PAGE],
            )
            .await?;
        rows.into_iter().map(parse).collect()
    }
}

fn parse(row: Row) -> Result<Revocation, SqlError> {
    let mut columns = Columns::of(row);
    let seq = columns.next("revocations.seq")?;
    let kind: String = columns.next("revocations.kind")?;
    let subject = match kind.as_str() {
        GRANT => Subject::Grant(columns.next::<GrantId>("revocations.subject")?),
        USER => Subject::User(columns.next::<UserId>("revocations.subject")?),
        _ => return Err(SqlError::Damaged("revocations.kind")),
    };
    Ok(Revocation {
        seq,
        subject,
        at_ms: columns.next("revocations.at")?,
    })
}

impl SqlStore {
    /// Revocations after this one, in their order; at most some thousands, so that a reader asks again until there are none.
    pub async fn revocations_since(&self, seq: u64) -> Result<Vec<Revocation>, StoreUnavailable> {
        operation::read(&*self.engine, Since(seq)).await
    }
}
