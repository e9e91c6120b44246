//! The tables, as forward-only migrations; `docs/schema.md` says what every column holds.
//!
//! The text is SQLite's; [`postgres`] translates it. Migration `n` of [`MIGRATIONS`] leads from version `n` to `n + 1`,
//! in one transaction with the new value of `schema_version` in the table [`META`]. A released migration is never edited.

/// The table that must be there before the first migration: it holds the version.
pub const META: &str = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID";

/// The key of [`META`] that counts the migrations that ran.
pub const VERSION_KEY: &str = "schema_version";

/// Every migration, the first one first.
pub const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

/// Accounts, signing keys and the devices of shared owners.
const VERSION_1: &str = r#"
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
        "user" TEXT NOT NULL,
        client TEXT NOT NULL,
        last_used_at INTEGER NOT NULL,
        PRIMARY KEY (owner, device)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX devices_by_last_use ON devices (last_used_at);
"#;

/// Everything of sign-in and of the authorization server.
///
/// `user` is a reserved word of PostgreSQL, so that `devices` gets another name for it. `counters` are rows to be locked
/// (`accounts`, `signing_keys`) or counted in commit order (`revocations`).
const VERSION_2: &str = r#"
    ALTER TABLE users ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
    UPDATE users SET updated_at = created_at;
    ALTER TABLE users ADD COLUMN signed_in_at INTEGER;
    ALTER TABLE signing_keys ADD COLUMN active_from INTEGER NOT NULL DEFAULT 0;
    UPDATE signing_keys SET active_from = created_at;
    ALTER TABLE devices RENAME COLUMN "user" TO user_id;
    CREATE TABLE counters (
        name TEXT PRIMARY KEY NOT NULL,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO counters (name, value) VALUES ('accounts', 0);
    INSERT INTO counters (name, value) VALUES ('signing_keys', 0);
    INSERT INTO counters (name, value) VALUES ('revocations', 0);
    CREATE TABLE setup_link (
        id INTEGER PRIMARY KEY NOT NULL,
        token_hash BLOB NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE invitations (
        token_hash BLOB PRIMARY KEY NOT NULL,
        email TEXT,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX invitations_by_end ON invitations (expires_at);
    CREATE TABLE sessions (
        token_hash BLOB PRIMARY KEY NOT NULL,
        id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        authenticated_at INTEGER NOT NULL,
        ip TEXT,
        user_agent TEXT,
        ends_with_browser INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_by_user ON sessions (user_id);
    CREATE INDEX sessions_by_end ON sessions (expires_at);
    CREATE TABLE codes (
        code_hash BLOB PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        client TEXT NOT NULL,
        session TEXT NOT NULL,
        redirect_uri TEXT NOT NULL,
        challenge TEXT NOT NULL,
        nonce TEXT,
        scopes TEXT NOT NULL,
        requested_scope TEXT NOT NULL,
        resource TEXT NOT NULL,
        authenticated_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        redeemed_by TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX codes_by_user ON codes (user_id);
    CREATE INDEX codes_by_grant ON codes (redeemed_by, expires_at);
    CREATE TABLE grants (
        id TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        client TEXT NOT NULL,
        scopes TEXT NOT NULL,
        requested_scope TEXT NOT NULL,
        resource TEXT NOT NULL,
        session TEXT,
        authenticated_at INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        revoked_at INTEGER,
        version INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX grants_by_user ON grants (user_id);
    CREATE INDEX grants_by_end ON grants (expires_at);
    CREATE INDEX grants_by_revocation ON grants (revoked_at) WHERE revoked_at IS NOT NULL;
    CREATE TABLE refresh_tokens (
        token_hash BLOB PRIMARY KEY NOT NULL,
        grant_id TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        killed_at INTEGER,
        rotated_at INTEGER,
        successor_hash BLOB,
        sealed_answer BLOB,
        reissued INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX refresh_tokens_by_grant ON refresh_tokens (grant_id);
    CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);
    CREATE INDEX refresh_tokens_with_answer ON refresh_tokens (rotated_at) WHERE sealed_answer IS NOT NULL;
    CREATE TABLE consents (
        user_id TEXT NOT NULL,
        client TEXT NOT NULL,
        scope TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (user_id, client, scope)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE revocations (
        seq INTEGER PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX revocations_by_time ON revocations (at);
    CREATE TABLE audit (
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        actor_id TEXT,
        user_id TEXT,
        client TEXT,
        subject TEXT,
        detail TEXT,
        ip TEXT
    ) STRICT;
    CREATE INDEX audit_by_time ON audit (at);
    CREATE INDEX audit_by_user ON audit (user_id, at);
    CREATE TABLE leases (
        name TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        url TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
"#;

/// AI: a row for each call, and fixed credits. Credits are in thousandths; what a person has left may be below zero.
const VERSION_3: &str = r#"
    CREATE TABLE ai_usage (
        id TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        own_key INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        credits INTEGER NOT NULL,
        first_byte_ms INTEGER,
        duration_ms INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        error_code TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ai_usage_by_time ON ai_usage (at);
    CREATE INDEX ai_usage_by_user ON ai_usage (user_id, at);
    CREATE TABLE ai_credits (
        user_id TEXT PRIMARY KEY NOT NULL,
        credits INTEGER NOT NULL,
        paid INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ai_reservations (
        id TEXT PRIMARY KEY NOT NULL,
        user_id TEXT NOT NULL,
        credits INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ai_reservations_by_user ON ai_reservations (user_id, expires_at);
    CREATE INDEX ai_reservations_by_end ON ai_reservations (expires_at);
"#;

/// A statement of this module as PostgreSQL takes it: `INTEGER` is `BIGINT`, `BLOB` is `BYTEA`, `TEXT` compares byte by byte
/// as it does in SQLite, and `STRICT` and `WITHOUT ROWID`, which PostgreSQL has no need of, are left out.
pub fn postgres(sqlite: &str) -> String {
    sqlite
        .replace(" STRICT, WITHOUT ROWID", "")
        .replace(" STRICT", "")
        .replace(" INTEGER", " BIGINT")
        .replace(" BLOB", " BYTEA")
        .replace(" TEXT", " TEXT COLLATE \"C\"")
}

#[cfg(test)]
mod tests {
    use super::{META, MIGRATIONS, postgres};

    #[test]
    fn nothing_of_sqlite_is_left_in_the_translation() {
        for sql in MIGRATIONS.iter().chain([&META]) {
            let translated = postgres(sql);
            for word in ["STRICT", "ROWID", "INTEGER", "BLOB", "AUTOINCREMENT"] {
                assert!(!translated.contains(word), "{word} in {translated}");
            }
        }
        assert_eq!(
            postgres("CREATE TABLE a (b TEXT NOT NULL, c INTEGER, d BLOB) STRICT, WITHOUT ROWID"),
            "CREATE TABLE a (b TEXT COLLATE \"C\" NOT NULL, c BIGINT, d BYTEA)"
        );
    }
}
