//! Sweeping: rows that nobody can ask for any more are deleted, some at a time, so that other writes find room between.

use async_trait::async_trait;
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::revocations::LONGEST_TOKEN_LIFE_MS;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{SqlError, Transaction};
use crate::values::values;

/// Rows of one transaction.
const BATCH: u64 = 1_000;

/// A replayed refresh token gets its answer for 60 s (`identity.md` 2); as much again is kept for clocks that differ.
const ANSWER_KEPT_MS: u64 = 120_000;

/// The audit log is kept for a year.
const AUDIT_KEPT_MS: u64 = 365 * 86_400_000;

/// Rows about calls of AI models are kept for a year, as the audit log is.
const USAGE_KEPT_MS: u64 = AUDIT_KEPT_MS;

/// What a call cost is taken also when its reservation has expired; answers end after an hour at most.
const RESERVATIONS_KEPT_MS: u64 = 86_400_000;

/// Reads of the feed may be this late when the row they wait for is swept.
const FEED_MARGIN_MS: u64 = 60_000;

/// A statement whose `$1` is a time and whose `$2` is the number of rows.
#[derive(Clone, Copy)]
struct Step {
    sql: &'static str,
    /// How long before now the rows must have ended.
    kept_ms: u64,
}

/// What hangs on a grant goes before it.
const STEPS: [Step; 15] = [
    Step {
        sql: "DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE expires_at <= $1 LIMIT $2)",
        kept_ms: 0,
    },
    Step {
        sql: "DELETE FROM setup_link WHERE id IN (SELECT id FROM setup_link WHERE expires_at <= $1 LIMIT $2)",
        kept_ms: 0,
    },
    Step {
        sql: "DELETE FROM invitations WHERE token_hash IN
              (SELECT token_hash FROM invitations WHERE expires_at <= $1 LIMIT $2)",
        kept_ms: 0,
    },
    Step {
        sql: "DELETE FROM codes WHERE code_hash IN
              (SELECT code_hash FROM codes WHERE redeemed_by IS NULL AND expires_at <= $1 LIMIT $2)",
        kept_ms: 0,
    },
    Step {
        sql: "UPDATE refresh_tokens SET sealed_answer = NULL WHERE token_hash IN
              (SELECT token_hash FROM refresh_tokens WHERE sealed_answer IS NOT NULL AND rotated_at <= $1 LIMIT $2)",
        kept_ms: ANSWER_KEPT_MS,
    },
    Step {
        sql: "DELETE FROM refresh_tokens WHERE token_hash IN
              (SELECT token_hash FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
        kept_ms: 0,
    },
    Step {
        sql: "DELETE FROM refresh_tokens WHERE token_hash IN
              (SELECT t.token_hash FROM refresh_tokens t JOIN grants g ON g.id = t.grant_id
               WHERE g.revoked_at <= $1 LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM codes WHERE code_hash IN
              (SELECT c.code_hash FROM codes c JOIN grants g ON g.id = c.redeemed_by
               WHERE g.revoked_at <= $1 LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM codes WHERE code_hash IN
              (SELECT c.code_hash FROM codes c JOIN grants g ON g.id = c.redeemed_by
               WHERE g.expires_at <= $1 LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM grants WHERE id IN
              (SELECT id FROM grants WHERE revoked_at <= $1
               AND NOT EXISTS (SELECT t.token_hash FROM refresh_tokens t WHERE t.grant_id = grants.id) LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM grants WHERE id IN
              (SELECT id FROM grants WHERE expires_at <= $1
               AND NOT EXISTS (SELECT t.token_hash FROM refresh_tokens t WHERE t.grant_id = grants.id) LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM revocations WHERE seq IN (SELECT seq FROM revocations WHERE at <= $1 LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS + FEED_MARGIN_MS,
    },
    Step {
        sql: "DELETE FROM signing_keys WHERE kid IN (SELECT kid FROM signing_keys WHERE retired_at <= $1 LIMIT $2)",
        kept_ms: LONGEST_TOKEN_LIFE_MS,
    },
    Step {
        sql: "DELETE FROM ai_reservations WHERE id IN (SELECT id FROM ai_reservations WHERE expires_at <= $1 LIMIT $2)",
        kept_ms: RESERVATIONS_KEPT_MS,
    },
    Step {
        sql: "DELETE FROM ai_usage WHERE id IN (SELECT id FROM ai_usage WHERE at <= $1 LIMIT $2)",
        kept_ms: USAGE_KEPT_MS,
    },
];

struct Sweep {
    step: Step,
    until_ms: u64,
}

#[async_trait]
impl Operation for Sweep {
    type Output = u64;
    const NAME: &'static str = "sweep";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<u64, SqlError> {
        transaction
            .execute(self.step.sql, values![self.until_ms, BATCH])
            .await
    }
}

/// Lines of the audit log have no key; those of one moment go together.
struct SweepAudit {
    until_ms: u64,
}

#[async_trait]
impl Operation for SweepAudit {
    type Output = u64;
    const NAME: &'static str = "sweep audit";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<u64, SqlError> {
        transaction
            .execute("DELETE FROM audit WHERE at <= $1", values![self.until_ms])
            .await
    }
}

impl SqlStore {
    /// Deletes what has ended for so long that nothing hangs on it; how many rows.
    pub async fn sweep(&self, now_ms: u64) -> Result<u64, StoreUnavailable> {
        let mut swept = 0;
        for step in STEPS {
            let Some(until_ms) = now_ms.checked_sub(step.kept_ms) else {
                continue;
            };
            loop {
                let rows = operation::write(&*self.engine, Sweep { step, until_ms }).await?;
                swept += rows;
                if rows < BATCH {
                    break;
                }
            }
        }
        if let Some(until_ms) = now_ms.checked_sub(AUDIT_KEPT_MS) {
            swept += operation::write(&*self.engine, SweepAudit { until_ms }).await?;
        }
        Ok(swept)
    }
}
