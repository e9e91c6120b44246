//! One connection: how it is made and set up, and which statements it has prepared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use epicenter_store::sql::Value;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::DatabaseUrl;

/// Reaching, authenticating and setting up.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// A statement may take 10 s; an answer that is not there some time after that will not come.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(13);
/// What every connection is told. A stronger `synchronous_commit` of the server's stays.
const SET_UP: &str = "
    SET statement_timeout = '10s';
    SET lock_timeout = '8s';
    SET idle_in_transaction_session_timeout = '30s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false);";

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    url: Arc<DatabaseUrl>,
    tls: Option<MakeRustlsConnect>,
}

/// A connection could not be made.
#[derive(Debug)]
pub(super) enum ConnectError {
    Refused(tokio_postgres::Error),
    Silent,
}

/// A connection with what it has prepared.
pub(super) struct Connection {
    pub(super) client: Client,
    /// By text and by which parameters are null: a null has no type of its own.
    prepared: HashMap<(&'static str, u64), Statement>,
}

impl Connector {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        let tls = url.tls.clone().map(MakeRustlsConnect::new);
        Self {
            url: Arc::new(url),
            tls,
        }
    }

    /// Host, port and database.
    pub(super) fn server(&self) -> String {
        self.url.server()
    }

    /// Connects and sets up. `heard` is told of each notification.
    pub(super) async fn connect(
        &self,
        heard: Option<Arc<Notify>>,
    ) -> Result<Connection, ConnectError> {
        let ready = async {
            let client = match &self.tls {
                Some(tls) => self.reach(tls.clone(), heard).await?,
                None => self.reach(NoTls, heard).await?,
            };
            client.batch_execute(SET_UP).await?;
            Ok(client)
        };
        match timeout(READY_WITHIN, ready).await {
            Ok(Ok(client)) => Ok(Connection {
                client,
                prepared: HashMap::new(),
            }),
            Ok(Err(error)) => Err(ConnectError::Refused(error)),
            Err(_) => Err(ConnectError::Silent),
        }
    }

    async fn reach<T>(
        &self,
        tls: T,
        heard: Option<Arc<Notify>>,
    ) -> Result<Client, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, mut connection) = self.url.config.connect(tls).await?;
        // The task ends when the client is dropped or the server hangs up.
        tokio::spawn(async move {
            loop {
                match std::future::poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => {
                        if let Some(heard) = &heard {
                            heard.notify_one();
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a connection to PostgreSQL ended");
                        break;
                    }
                    None => break,
                }
            }
            if let Some(heard) = &heard {
                heard.notify_one();
            }
        });
        Ok(client)
    }
}

impl Connection {
    /// The statement, prepared at its first use.
    pub(super) async fn prepare(
        &mut self,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Statement, tokio_postgres::Error> {
        let key = (sql, nulls(parameters));
        if let Some(statement) = self.prepared.get(&key) {
            return Ok(statement.clone());
        }
        let types: Vec<_> = parameters.iter().map(type_of).collect();
        let statement = self.client.prepare_typed(sql, &types).await?;
        self.prepared.insert(key, statement.clone());
        Ok(statement)
    }
}

fn nulls(parameters: &[Value]) -> u64 {
    // No statement has 64 parameters; the bits of one that had would coincide and PostgreSQL refuse the wrong type.
    parameters
        .iter()
        .enumerate()
        .filter(|(_, value)| matches!(value, Value::Null))
        .fold(0, |mask, (at, _)| mask | 1 << (at % 64))
}

/// Types are said rather than inferred: in `$1 - 1000` PostgreSQL would take the parameter for 32 bits.
fn type_of(value: &Value) -> Type {
    match value {
        // Inferred from the context.
        Value::Null => Type::UNKNOWN,
        Value::Integer(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Blob(_) => Type::BYTEA,
    }
}
