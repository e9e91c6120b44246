//! Looking at a database before it is used: does it keep what it acknowledges, and is its schema ours.

use epicenter_store::schema::{META, MIGRATIONS, VERSION_KEY, postgres};

use super::connection::{ConnectError, Connection, Connector};
use super::{OpenError, Upgrade};

/// Held while the schema is looked at and changed, so that several processes may start at once.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7309458070846731379)";

/// Checks durability and brings the schema up to date.
pub(super) async fn prepare(
    connector: &Connector,
    upgrade: Upgrade,
) -> Result<(), OpenError> {
    let server = connector.server();
    let connection = match connector.connect(None).await {
        Ok(connection) => connection,
        Err(ConnectError::Refused(source)) => return Err(OpenError::Connect { server, source }),
        Err(ConnectError::Silent) => return Err(OpenError::Silent { server }),
    };
    check_durable(&connection, &server).await?;
    migrate(connection, &server, upgrade).await
}

async fn check_durable(connection: &Connection, server: &str) -> Result<(), OpenError> {
    let refused = |source| OpenError::Connect {
        server: server.to_owned(),
        source,
    };
    for (setting, query) in [
        ("fsync", "SELECT current_setting('fsync')"),
        ("full_page_writes", "SELECT current_setting('full_page_writes')"),
        ("synchronous_commit", "SELECT current_setting('synchronous_commit')"),
    ] {
        let row = connection.client.query_one(query, &[]).await.map_err(refused)?;
        let found: String = row.try_get(0).map_err(refused)?;
        if found != "on" && found != "remote_apply" {
            return Err(OpenError::NotDurable {
                server: server.to_owned(),
                setting,
                found,
            });
        }
    }
    Ok(())
}

async fn migrate(
    mut connection: Connection,
    server: &str,
    upgrade: Upgrade,
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Connect {
        server: server.to_owned(),
        source,
    };
    let known = MIGRATIONS.len() as u64;
    let transaction = connection.client.transaction().await.map_err(failed)?;
    // A migration of much data may take longer than any request.
    let unbounded = format!("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; {MIGRATION_LOCK}");
    transaction.batch_execute(&unbounded).await.map_err(failed)?;
    let found = find_version(&transaction).await.map_err(failed)?;
    if found > known {
        return Err(OpenError::Newer {
            server: server.to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    if upgrade == Upgrade::CheckOnly {
        return Err(OpenError::Behind {
            server: server.to_owned(),
            found,
            known,
        });
    }
    transaction.batch_execute(&postgres(META)).await.map_err(failed)?;
    for (migration, version) in MIGRATIONS.iter().zip(1_u64..) {
        if version > found {
            let ran = transaction.batch_execute(&postgres(migration)).await;
            ran.map_err(|source| OpenError::Migration {
                server: server.to_owned(),
                version,
                source,
            })?;
        }
    }
    let record = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    let version = known.to_string();
    transaction.execute(record, &[&VERSION_KEY, &version]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Zero for a database that this program has not used.
async fn find_version(
    transaction: &tokio_postgres::Transaction<'_>,
) -> Result<u64, tokio_postgres::Error> {
    let exists = "SELECT to_regclass('meta') IS NOT NULL";
    if !transaction.query_one(exists, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let version = "SELECT value::bigint FROM meta WHERE key = $1";
    let Some(row) = transaction.query_opt(version, &[&VERSION_KEY]).await? else {
        return Ok(0);
    };
    Ok(u64::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0))
}
