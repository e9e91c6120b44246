//! One connection with its prepared statements, as the transaction that jobs run in.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use epicenter_store::sql::{Job, Row, SqlError, Transaction, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql};

/// More than there are different statements.
const STATEMENTS: usize = 256;

/// A connection and the form in which SQLite takes each statement.
pub(super) struct Statements {
    connection: Connection,
    translated: HashMap<&'static str, Box<str>>,
}

impl Statements {
    pub(super) fn new(connection: Connection) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Self {
            connection,
            translated: HashMap::new(),
        }
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Begins or ends something.
    pub(super) fn control(&self, sql: &'static str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// The same for callers who only pass the failure on.
    pub(super) fn statement(&self, sql: &'static str) -> Result<(), SqlError> {
        self.control(sql).map_err(|error| self.refuse(&error, sql))
    }

    /// Ends the transaction whatever state it is in.
    pub(super) fn roll_back(&self) {
        if self.is_in_transaction()
            && let Err(error) = self.control("ROLLBACK")
        {
            self.log(&error, "the transaction cannot be rolled back");
        }
    }

    /// Runs a job to its end. A panic costs the job only.
    pub(super) fn run(&mut self, job: &mut dyn Job) -> Result<(), SqlError> {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut future = pin!(job.run(self));
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        }));
        match polled {
            Ok(Poll::Ready(result)) => result,
            Ok(Poll::Pending) => {
                tracing::error!("a job waits for something other than its transaction");
                Err(SqlError::Statement)
            }
            Err(_) => {
                tracing::error!("a job panicked");
                Err(SqlError::Statement)
            }
        }
    }

    pub(super) fn log(&self, error: &rusqlite::Error, what: &'static str) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the identity store: {what}"
        );
    }

    fn refuse(&self, error: &rusqlite::Error, sql: &str) -> SqlError {
        // Statements hold no values, those are parameters.
        tracing::warn!(
            error = error as &dyn std::error::Error,
            store.statement = sql,
            "SQLite refused a statement"
        );
        classify(error)
    }

    fn prepare(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> rusqlite::Result<CachedStatement<'_>> {
        let translated = self
            .translated
            .entry(sql)
            .or_insert_with(|| number_parameters(sql).into_boxed_str());
        let mut statement = self.connection.prepare_cached(translated)?;
        for (index, parameter) in (1..).zip(parameters) {
            statement.raw_bind_parameter(index, Parameter(parameter))?;
        }
        Ok(statement)
    }

    fn execute_sync(&mut self, sql: &'static str, parameters: &[Value]) -> rusqlite::Result<usize> {
        self.prepare(sql, parameters)?.raw_execute()
    }

    fn query_sync(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.prepare(sql, parameters)?;
        let count = statement.column_count();
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let columns = (0..count).map(|index| row.get_ref(index).map(to_value));
            found.push(Row(columns.collect::<Result<_, _>>()?));
        }
        Ok(found)
    }
}

#[async_trait]
impl Transaction for Statements {
    async fn execute(&mut self, sql: &'static str, parameters: &[Value]) -> Result<u64, SqlError> {
        match self.execute_sync(sql, parameters) {
            // Counts of rows fit.
            Ok(rows) => Ok(u64::try_from(rows).unwrap_or(u64::MAX)),
            Err(error) => Err(self.refuse(&error, sql)),
        }
    }

    async fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Vec<Row>, SqlError> {
        self.query_sync(sql, parameters)
            .map_err(|error| self.refuse(&error, sql))
    }
}

/// `$1` is a name in SQLite and `?1` a number. No statement holds a dollar sign otherwise: texts are parameters.
fn number_parameters(sql: &str) -> String {
    sql.replace('$', "?")
}

/// Who could do something about it: the operator about a full disk, a programmer about a wrong statement.
fn classify(error: &rusqlite::Error) -> SqlError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            SqlError::Damaged("SQLite finds the file corrupt")
        }
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::ApiMisuse
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::Unknown,
        )
        | None => SqlError::Statement,
        Some(_) => SqlError::Unavailable,
    }
}

struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn to_value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            // No column is read as bytes that was written as text: whoever reads it finds it damaged.
            Err(_) => Value::Blob(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        // The tables are strict and have no such column.
        ValueRef::Real(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::number_parameters;

    #[test]
    fn parameters_are_numbered() {
        assert_eq!(
            number_parameters("VALUES ($1, $12) -- $2"),
            "VALUES (?1, ?12) -- ?2"
        );
    }
}
