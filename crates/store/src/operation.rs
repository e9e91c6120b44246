//! Operations: typed work for one transaction, and how it travels through an engine that knows nothing of types.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use epicenter_server::ports::StoreUnavailable;

use crate::sql::{Engine, Job, SqlError, Transaction};

/// Work for one transaction with what comes of it. An engine may run it several times, so that it keeps nothing between
/// runs.
#[async_trait]
pub(crate) trait Operation: Send + Sync + 'static {
    /// What comes of it.
    type Output: Send + 'static;
    /// What a log line calls it.
    const NAME: &'static str;

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError>;
}

/// An operation on its way, and the place for its output.
struct Run<O: Operation> {
    operation: O,
    output: Arc<Mutex<Option<O::Output>>>,
}

#[async_trait]
impl<O: Operation> Job for Run<O> {
    async fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let output = self.operation.run(transaction).await?;
        *self.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
        Ok(())
    }
}

enum Kind {
    Read,
    Write,
}

pub(crate) async fn read<O: Operation>(
    engine: &dyn Engine,
    operation: O,
) -> Result<O::Output, StoreUnavailable> {
    perform(engine, operation, Kind::Read).await
}

pub(crate) async fn write<O: Operation>(
    engine: &dyn Engine,
    operation: O,
) -> Result<O::Output, StoreUnavailable> {
    perform(engine, operation, Kind::Write).await
}

async fn perform<O: Operation>(
    engine: &dyn Engine,
    operation: O,
    kind: Kind,
) -> Result<O::Output, StoreUnavailable> {
    let output = Arc::new(Mutex::new(None));
    let job = Box::new(Run {
        operation,
        output: Arc::clone(&output),
    });
    let done = match kind {
        Kind::Read => engine.read(job).await,
        Kind::Write => engine.write(job).await,
    };
    let output = output.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (done, output) {
        (Ok(()), Some(output)) => Ok(output),
        (Ok(()), None) => Err(failed::<O>(&SqlError::Damaged("a job gave no output"))),
        (Err(error), _) => Err(failed::<O>(&error)),
    }
}

/// The engine has logged what the database said; here it is said what was being done.
fn failed<O: Operation>(error: &SqlError) -> StoreUnavailable {
    tracing::error!(
        error = error as &dyn std::error::Error,
        store.operation = O::NAME,
        "an operation on the identity store failed"
    );
    StoreUnavailable
}
