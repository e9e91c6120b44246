//! The schemas: a store of the first version loses nothing, and the page about them is true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use epicenter_native::identity_store::{OwnershipMode, claim_mode, find_origin};
use epicenter_native::log::{LogConfig, SqliteLog};
use epicenter_native::store::{ensure_signing_key, open_sqlite};
use epicenter_server::accounts::store::Accounts as _;
use epicenter_server::ports::{Clock, Devices as _, SigningKeys as _};
use rusqlite::{Connection, params};

use crate::wait;

/// As the first released program made it, byte for byte.
const FIRST_VERSION: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE users (
        id TEXT PRIMARY KEY NOT NULL,
        email TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        email_verified INTEGER NOT NULL,
        password_hash TEXT,
        admin INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        disabled_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE signing_keys (
        kid TEXT PRIMARY KEY NOT NULL,
        point BLOB NOT NULL,
        sealed_private BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        retired_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE devices (
        owner TEXT NOT NULL,
        device TEXT NOT NULL,
        user TEXT NOT NULL,
        client TEXT NOT NULL,
        last_used_at INTEGER NOT NULL,
        PRIMARY KEY (owner, device)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX devices_by_last_use ON devices (last_used_at);
    INSERT INTO meta (key, value) VALUES
        ('schema_version', '1'), ('mode', 'shared'), ('origin', 'https://hub.example'), ('encryption_secrets', '1:ab');
    INSERT INTO users VALUES
        ('user1', 'ada@example.test', 'Ada', 1, '$argon2id$1', 1, 7, NULL),
        ('user2', 'bob@example.test', 'Bob', 0, NULL, 0, 8, 9);
    INSERT INTO devices VALUES ('shared', 'laptop', 'user1', 'app', 10);
";

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

#[test]
fn a_store_of_the_first_version_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.db");
    let secret =
        epicenter_encryption::AuthSecret::parse("an-auth-secret-of-more-than-32-bytes").unwrap();
    let (key, pkcs8) = epicenter_native::keys::SigningKey::generate().unwrap();
    let public = key.public().clone();
    let sealed = secret.seal("signing-key", public.kid.as_bytes(), [7; 24], &pkcs8);
    let first = Connection::open(&path).unwrap();
    first.execute_batch(FIRST_VERSION).unwrap();
    first
        .execute(
            "INSERT INTO signing_keys (kid, point, sealed_private, created_at) VALUES (?1, ?2, ?3, 6)",
            params![public.kid, public.point, sealed],
        )
        .unwrap();
    drop(first);

    for _ in 0..2 {
        let store = open_sqlite(&path).unwrap().store;
        wait(async {
            assert_eq!(store.has_accounts().await, Ok(true));
            let ada = store.find_account(&user("user1")).await.unwrap().unwrap();
            assert_eq!(ada.user.email, "ada@example.test");
            assert_eq!(ada.user.name, "Ada");
            assert!(ada.user.enabled && ada.user.admin && ada.user.email_verified);
            assert_eq!(ada.password_hash.as_deref(), Some("$argon2id$1"));
            assert_eq!((ada.created_at_ms, ada.updated_at_ms), (7, 7));
            let bob = store.find_account(&user("user2")).await.unwrap().unwrap();
            assert!(!bob.user.enabled && !bob.user.admin && !bob.user.email_verified);
            assert_eq!(bob.password_hash, None);
            let key = ensure_signing_key(&store, &secret, 20).await.unwrap();
            assert_eq!(key.public(), &public);
            assert_eq!(store.load().await, Ok(vec![public.clone()]));
            claim_mode(&store, OwnershipMode::Shared).await.unwrap();
            let origin = find_origin(&store).await.unwrap().unwrap();
            assert_eq!(origin.as_str(), "https://hub.example");
            let secrets = store.find_meta("encryption_secrets").await.unwrap();
            assert_eq!(secrets.as_deref(), Some("1:ab"));
            for (claimer, expect) in [("user1", true), ("user2", false)] {
                let claimed = store
                    .claim_device(
                        &OwnerId::parse("shared").unwrap(),
                        &DeviceId::parse("laptop").unwrap(),
                        &user(claimer),
                        &ClientId::parse("app").unwrap(),
                        11,
                    )
                    .await;
                assert_eq!(claimed, Ok(expect));
            }
        });
    }
    let migrated = schema_of(&path);
    let fresh = directory.path().join("fresh.db");
    drop(open_sqlite(&fresh).unwrap());
    assert_eq!(migrated, schema_of(&fresh));
}

/// Tables with their columns.
fn schema_of(path: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let (table, column) = row.unwrap();
        tables.entry(table).or_default().insert(column);
    }
    tables
}

/// What the page says of a database: its tables with their columns.
fn named_under(title: &str) -> BTreeMap<String, BTreeSet<String>> {
    let page = include_str!("../../../../docs/schema.md");
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut is_meant, mut table) = (false, String::new());
    for line in page.lines() {
        if let Some(database) = line.strip_prefix("# ") {
            is_meant = database == title;
        } else if let Some(name) = line.strip_prefix("## `") {
            table = name.trim_end_matches('`').to_owned();
        } else if let Some((column, _)) = line
            .strip_prefix("| `")
            .and_then(|cells| cells.split_once('`'))
            && is_meant
        {
            named
                .entry(table.clone())
                .or_default()
                .insert(column.to_owned());
        }
    }
    named
}

struct Midnight;

impl Clock for Midnight {
    fn now_ms(&self) -> u64 {
        0
    }
}

#[test]
fn the_page_names_every_table_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.db");
    drop(open_sqlite(&path).unwrap());
    assert_eq!(named_under("The identity store"), schema_of(&path));
    let path = directory.path().join("rooms.db");
    drop(SqliteLog::open(&path, LogConfig::default(), Arc::new(Midnight)).unwrap());
    assert_eq!(named_under("The room log"), schema_of(&path));
}

#[test]
fn no_secret_is_stored_in_clear() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity.db");
    drop(open_sqlite(&path).unwrap());
    for (table, columns) in schema_of(&path) {
        for column in columns {
            let is_secret = [
                "token", "code", "secret", "password", "private", "answer", "cookie",
            ]
            .iter()
            .any(|word| column.contains(word))
                // What a call of a model took, and how it failed.
                && !["input_tokens", "output_tokens", "error_code"].contains(&column.as_str());
            assert!(
                !is_secret || column.ends_with("_hash") || column.starts_with("sealed_"),
                "{table}.{column}"
            );
        }
    }
}
