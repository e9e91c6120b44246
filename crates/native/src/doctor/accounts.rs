//! The identity store under examination: file, schema, fingerprints of secrets, signing keys.

use std::sync::Arc;

use epicenter_store::schema::MIGRATIONS;
use epicenter_store::{SqlStore, StoredSigningKey};
use rusqlite::Connection;

use super::{Report, chain};
use crate::config::HostConfig;
use crate::data_dir::DataDir;
use crate::data_dir::secrets::{FINGERPRINTS, Fingerprints, FoundSecrets};
use crate::keys::thumbprint;
use crate::sqlite;
use crate::store::opens_signing_key;
use crate::store::postgres::{OpenError, PostgresEngine, Upgrade};

const SUBJECT: &str = "accounts";

/// A stored key: its id, its public point, its sealed private half.
type Key = (String, Vec<u8>, Vec<u8>);

/// What the checks need of a store.
struct Read {
    fingerprints: String,
    keys: Vec<Key>,
}

pub(super) async fn examine(
    config: &HostConfig,
    data_dir: &DataDir,
    secrets: Option<&FoundSecrets>,
    report: &mut Report,
) {
    let read = match &config.database_url {
        None => read_embedded(data_dir, report),
        Some(url) => read_postgres(url.expose(), report).await,
    };
    let Some(read) = read else {
        return;
    };
    report.examined.signing_keys = read.keys.len() as u64;
    examine_points(&read.keys, report);
    let Some(secrets) = secrets else {
        return;
    };
    let recorded = Fingerprints::parse(&read.fingerprints);
    if let Err(error) = recorded.check_and_merge(Fingerprints::of(&secrets.keyring)) {
        report.problem(
            "secrets",
            error,
            "values in rooms are encrypted under the old one: bring it back",
        );
    }
    examine_seals(&read.keys, secrets, report);
}

fn read_embedded(data_dir: &DataDir, report: &mut Report) -> Option<Read> {
    let path = data_dir.identity_database();
    let name = path.display().to_string();
    if !path.is_file() {
        report.problem(
            &name,
            "it is missing",
            "without it there are no accounts: restore a backup into a new data directory",
        );
        return None;
    }
    let read = |report: &mut Report| -> rusqlite::Result<Option<Read>> {
        let connection = sqlite::open_readonly(&path)?;
        connection.execute_batch("BEGIN")?;
        match sqlite::check_version(&connection, &path, MIGRATIONS) {
            Ok(version) if usize::try_from(version) == Ok(MIGRATIONS.len()) => {}
            Ok(version) => report.notice(
                &name,
                format_args!("its schema has version {version} of {}", MIGRATIONS.len()),
                "the next start of the hub brings it up to date; make a backup first",
            ),
            Err(error) => {
                report.problem(
                    &name,
                    chain(&error),
                    "use the program that wrote it, or a newer one",
                );
                return Ok(None);
            }
        }
        for line in sqlite::check_integrity(&connection)? {
            report.problem(
                &name,
                line,
                "the file is damaged: stop the hub and restore a backup into a new data directory",
            );
        }
        let fingerprints = sqlite::find_meta(&connection, FINGERPRINTS)?;
        Ok(Some(Read {
            fingerprints: fingerprints.unwrap_or_default(),
            keys: read_keys(&connection)?,
        }))
    };
    match read(report) {
        Ok(read) => read,
        Err(error) => {
            report.problem(
                &name,
                chain(&error),
                "if the disk is sound, restore a backup into a new data directory",
            );
            None
        }
    }
}

fn read_keys(connection: &Connection) -> rusqlite::Result<Vec<Key>> {
    let mut statement =
        connection.prepare("SELECT kid, point, sealed_private FROM signing_keys")?;
    let keys = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    keys.collect()
}

async fn read_postgres(url: &str, report: &mut Report) -> Option<Read> {
    let engine = match PostgresEngine::open(url, Upgrade::CheckOnly).await {
        Ok(engine) => engine,
        Err(error @ OpenError::Behind { .. }) => {
            report.notice(SUBJECT, &error, error.hint());
            return None;
        }
        Err(error) => {
            report.problem(SUBJECT, chain(&error), error.hint());
            return None;
        }
    };
    let store = SqlStore::new(Arc::new(engine));
    let (Ok(fingerprints), Ok(keys)) = (
        store.find_meta(FINGERPRINTS).await,
        store.list_signing_keys().await,
    ) else {
        report.problem(
            SUBJECT,
            "the database does not answer as it must",
            "the log of PostgreSQL says more",
        );
        return None;
    };
    let key = |key: StoredSigningKey| {
        (
            key.public.kid,
            key.public.point.to_vec(),
            key.sealed_private,
        )
    };
    Some(Read {
        fingerprints: fingerprints.unwrap_or_default(),
        keys: keys.into_iter().map(key).collect(),
    })
}

/// A key's id says what its public half must be.
fn examine_points(keys: &[Key], report: &mut Report) {
    for (kid, point, _) in keys {
        let point = <[u8; 65]>::try_from(point.as_slice());
        if !point.is_ok_and(|point| thumbprint(&point) == *kid) {
            report.problem(
                format_args!("signing key {kid}"),
                "its public half is damaged",
                "run `epicenter keys rotate-signing`; tokens of this key are refused until clients refresh them",
            );
        }
    }
}

fn examine_seals(keys: &[Key], secrets: &FoundSecrets, report: &mut Report) {
    let sealed: Vec<_> = keys
        .iter()
        .filter(|(kid, _, sealed)| !opens_signing_key(&secrets.auth_secret, kid, sealed))
        .collect();
    if !sealed.is_empty() && sealed.len() == keys.len() {
        report.problem(
            "secrets",
            "AUTH_SECRET opens none of the signing keys",
            "bring the old AUTH_SECRET back; if it is lost, the next start, or `epicenter keys rotate-signing`, makes a new key",
        );
        return;
    }
    for (kid, _, _) in sealed {
        report.notice(
            format_args!("signing key {kid}"),
            "AUTH_SECRET does not open its private half",
            "it was made under another AUTH_SECRET, or is damaged; another key signs, and this one is swept once it is retired",
        );
    }
}
