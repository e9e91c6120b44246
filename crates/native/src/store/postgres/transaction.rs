//! One attempt at a transaction, and what PostgreSQL's errors mean for the next.

use std::fmt;

use async_trait::async_trait;
use bytes::BytesMut;
use epicenter_store::sql::{Job, Row, SqlError, Transaction, Value};
use futures_util::future::join;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::connection::{ANSWER_WITHIN, Connection};

/// Statements that write revocations contain this.
const WRITES_REVOCATIONS: &str = "INSERT INTO revocations";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each statement is a transaction of its own: READ COMMITTED promises no more to a longer one.
    Read,
    Write,
}

/// How an attempt failed, and what is known about the connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Rolled back, and the connection is good.
    Final(SqlError),
    /// Rolled back because of others, and the connection is good. The error is for when attempts run out.
    Repeat(SqlError),
    /// The connection is not usable. Nothing was committed.
    Broken,
    /// The connection broke while committing: nobody knows whether it happened.
    Lost,
}

/// What one statement's failure means.
#[derive(Clone, Debug)]
enum Fault {
    Final(SqlError),
    Repeat(SqlError),
    Broken,
}

struct Open<'a> {
    connection: &'a mut Connection,
    mode: Mode,
    has_begun: bool,
    writes_revocations: bool,
    fault: Option<Fault>,
}

/// Runs a job once.
pub(super) async fn attempt(
    connection: &mut Connection,
    job: &mut dyn Job,
    mode: Mode,
) -> Result<(), Failure> {
    let mut open = Open {
        connection,
        mode,
        has_begun: false,
        writes_revocations: false,
        fault: None,
    };
    let result = job.run(&mut open).await;
    let fault = match (open.fault.take(), result) {
        // Even when the job made nothing of it: PostgreSQL has given the transaction up.
        (Some(fault), _) => fault,
        (None, Err(SqlError::Repeat)) => Fault::Repeat(SqlError::Unavailable),
        (None, Err(error)) => Fault::Final(error),
        (None, Ok(())) => return open.commit().await,
    };
    if matches!(fault, Fault::Broken) || !open.roll_back().await {
        return Err(match fault {
            Fault::Final(error) => {
                tracing::debug!("a connection could not be rolled back and is dropped");
                if error == SqlError::Unavailable { Failure::Broken } else { Failure::Final(error) }
            }
            Fault::Repeat(_) | Fault::Broken => Failure::Broken,
        });
    }
    Err(match fault {
        Fault::Final(error) => Failure::Final(error),
        Fault::Repeat(error) => Failure::Repeat(error),
        Fault::Broken => Failure::Broken,
    })
}

impl Open<'_> {
    async fn commit(self) -> Result<(), Failure> {
        if !self.has_begun {
            return Ok(());
        }
        let end = if self.writes_revocations {
            super::changes::NOTIFY_AND_COMMIT
        } else {
            "COMMIT"
        };
        match timeout(ANSWER_WITHIN, self.connection.client.batch_execute(end)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match classify(&error, "COMMIT") {
                Fault::Repeat(error) => Failure::Repeat(error),
                Fault::Final(_) if error.code().is_some() => {
                    Failure::Final(SqlError::Unavailable)
                }
                Fault::Final(_) | Fault::Broken => Failure::Lost,
            }),
            Err(_) => Err(Failure::Lost),
        }
    }

    /// Whether the connection can be used again.
    async fn roll_back(&mut self) -> bool {
        if !self.has_begun {
            return true;
        }
        let rolled_back = self.connection.client.batch_execute("ROLLBACK");
        matches!(timeout(ANSWER_WITHIN, rolled_back).await, Ok(Ok(())))
    }

    async fn run(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<(Vec<tokio_postgres::Row>, u64), SqlError> {
        if let Some(fault) = &self.fault {
            return Err(fault.to_error());
        }
        let result = match timeout(ANSWER_WITHIN, self.run_now(sql, parameters)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) => classify(&error, sql),
            Err(_) => {
                tracing::error!("PostgreSQL does not answer");
                Fault::Broken
            }
        };
        let error = result.to_error();
        self.fault = Some(result);
        Err(error)
    }

    /// BEGIN and the first statement leave together; they are answered in that order.
    async fn run_now(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<(Vec<tokio_postgres::Row>, u64), tokio_postgres::Error> {
        let statement = self.connection.prepare(sql, parameters).await?;
        let begins = self.mode == Mode::Write && !self.has_begun;
        self.has_begun |= begins;
        self.writes_revocations |= sql.contains(WRITES_REVOCATIONS);
        let client = &self.connection.client;
        let begin = async {
            if begins {
                client.batch_execute("BEGIN").await
            } else {
                Ok(())
            }
        };
        let run = async {
            let parameters: Vec<_> = parameters.iter().map(Parameter).collect();
            let parameters = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync));
            let parameters: Vec<_> = parameters.collect();
            if statement.columns().is_empty() {
                let changed = client.execute(&statement, &parameters).await?;
                return Ok((Vec::new(), changed));
            }
            let rows = client.query(&statement, &parameters).await?;
            let count = rows.len() as u64;
            Ok((rows, count))
        };
        let (begun, ran) = join(begin, run).await;
        begun?;
        ran
    }
}

#[async_trait]
impl Transaction for Open<'_> {
    async fn execute(&mut self, sql: &'static str, parameters: &[Value]) -> Result<u64, SqlError> {
        Ok(self.run(sql, parameters).await?.1)
    }

    async fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Vec<Row>, SqlError> {
        let (rows, _) = self.run(sql, parameters).await?;
        rows.iter().map(read_row).collect()
    }
}

impl Fault {
    fn to_error(&self) -> SqlError {
        match self {
            Fault::Final(error) => error.clone(),
            Fault::Repeat(_) => SqlError::Repeat,
            Fault::Broken => SqlError::Unavailable,
        }
    }
}

/// What PostgreSQL's error means. Messages are logged without their details, which repeat stored values.
fn classify(error: &tokio_postgres::Error, sql: &str) -> Fault {
    let Some(state) = error.code() else {
        let is_ours = std::error::Error::source(error)
            .is_some_and(|cause| !cause.is::<std::io::Error>());
        return if is_ours && !error.is_closed() {
            tracing::error!(error = %super::pool::full(error), sql, "a statement does not fit its parameters");
            Fault::Final(SqlError::Statement)
        } else {
            tracing::warn!(error = %super::pool::full(error), "a connection to PostgreSQL broke");
            Fault::Broken
        };
    };
    let message = error.as_db_error().map_or("", |error| error.message());
    let code = state.code();
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(state) {
        return Fault::Repeat(SqlError::Unavailable);
    }
    if *state == SqlState::UNIQUE_VIOLATION {
        // Somebody was first; the next attempt sees their row.
        return Fault::Repeat(SqlError::Statement);
    }
    // A plan that another version's migration made void, or a server that takes no writes any more.
    let is_stale = [
        SqlState::FEATURE_NOT_SUPPORTED,
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    // Connection exceptions and the operator's intervention.
    let is_gone = code.starts_with("08") || code.starts_with("57P");
    if is_stale.contains(state) || is_gone {
        tracing::warn!(code, message, "a connection to PostgreSQL is given up");
        return Fault::Broken;
    }
    // Resources, locks, a statement out of time, the system's own errors.
    if ["53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) {
        tracing::error!(code, message, "PostgreSQL cannot do it now");
        return Fault::Final(SqlError::Unavailable);
    }
    tracing::error!(code, message, sql, "PostgreSQL refuses a statement");
    Fault::Final(SqlError::Statement)
}

fn read_row(row: &tokio_postgres::Row) -> Result<Row, SqlError> {
    (0..row.len())
        .map(|at| read_value(row, at))
        .collect::<Result<_, _>>()
        .map(Row)
}

fn read_value(row: &tokio_postgres::Row, at: usize) -> Result<Value, SqlError> {
    let kind = row.columns().get(at).map(tokio_postgres::Column::type_);
    let value = match kind {
        Some(&Type::INT8) => row.try_get::<_, Option<i64>>(at).map(|value| value.map(Value::Integer)),
        Some(&Type::INT4) => row
            .try_get::<_, Option<i32>>(at)
            .map(|value| value.map(|value| Value::Integer(value.into()))),
        Some(&Type::BOOL) => row
            .try_get::<_, Option<bool>>(at)
            .map(|value| value.map(|value| Value::Integer(value.into()))),
        Some(&Type::BYTEA) => row.try_get::<_, Option<Vec<u8>>>(at).map(|value| value.map(Value::Blob)),
        _ => row.try_get::<_, Option<String>>(at).map(|value| value.map(Value::Text)),
    };
    match value {
        Ok(value) => Ok(value.unwrap_or(Value::Null)),
        Err(error) => {
            tracing::error!(%error, "a column has a type that the store does not use");
            Err(SqlError::Statement)
        }
    }
}

/// A parameter; its `Debug` form hides it.
struct Parameter<'a>(&'a Value);

impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Parameter")
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(value) => value.to_sql(kind, out),
            Value::Text(value) => value.to_sql(kind, out),
            Value::Blob(value) => value.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // Each statement is prepared for the types of its parameters.
        true
    }

    to_sql_checked!();
}
