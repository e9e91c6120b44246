//! The port to a database: transactions in which operations run.
//!
//! SQL is written once, in the part that SQLite and PostgreSQL share: parameters are `$1`, `$2` … ; times, counts and
//! flags are 64-bit integers; bytes are blobs; `ON CONFLICT` and `RETURNING` exist on both. Isolation is that of
//! PostgreSQL's READ COMMITTED and no more: an operation whose decision depends on a row changes that row with a condition
//! and looks at the count.

use async_trait::async_trait;

/// A value of a parameter or column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// `INTEGER` in SQLite, `BIGINT` in PostgreSQL.
    Integer(i64),
    /// `TEXT` in both.
    Text(String),
    /// `BLOB` in SQLite, `BYTEA` in PostgreSQL.
    Blob(Vec<u8>),
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

/// Why an operation failed. Causes are logged by the engine, where they happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The database cannot be reached, is out of space, or its answer is lost.
    #[error("the database is unavailable")]
    Unavailable,
    /// Another transaction was in the way; the engine runs the operation again, a few times.
    #[error("the transaction has to be repeated")]
    Repeat,
    /// A stored value is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// A statement was refused: a fault of this program.
    #[error("a statement was refused")]
    Statement,
}

/// An open transaction.
#[async_trait]
pub trait Transaction: Send {
    /// Runs a statement; the number of rows it changed.
    async fn execute(&mut self, sql: &'static str, parameters: &[Value]) -> Result<u64, SqlError>;

    /// Runs a query; all rows.
    async fn query(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Vec<Row>, SqlError>;
}

/// Work for one transaction. It may be run several times, each time in a transaction that sees nothing of the earlier ones.
#[async_trait]
pub trait Job: Send {
    /// Does the work; an error rolls everything back.
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError>;
}

/// A database.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Runs a job that changes nothing.
    async fn read(&self, job: Box<dyn Job>) -> Result<(), SqlError>;

    /// Runs a job; when this returns without an error, its changes are durable.
    async fn write(&self, job: Box<dyn Job>) -> Result<(), SqlError>;
}
