//! Signing keys: public points in clear, private parts sealed by the host. The port [`SigningKeys`] gives the public halves.

use async_trait::async_trait;
use epicenter_server::accounts::store::Act;
use epicenter_server::ports::{PublicKey, SigningKeys, StoreUnavailable};

use crate::SqlStore;
use crate::audit::{Line, write_line};
use crate::operation::{self, Operation};
use crate::sql::{Row, SqlError, Transaction};
use crate::values::{Columns, values};

/// A key to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSigningKey {
    /// The public half.
    pub public: PublicKey,
    /// The private half, sealed and bound to the key id.
    pub sealed_private: Vec<u8>,
    /// When it begins to sign, in milliseconds since the Unix epoch: after everybody could learn of it.
    pub active_from_ms: u64,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSigningKey {
    /// The public half.
    pub public: PublicKey,
    /// The private half, sealed and bound to the key id.
    pub sealed_private: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it began or begins to sign, in milliseconds since the Unix epoch.
    pub active_from_ms: u64,
    /// When it ceased or ceases to sign, in milliseconds since the Unix epoch; it verifies for as long as its tokens live.
    pub retired_at_ms: Option<u64>,
}

struct ListKeys;

#[async_trait]
impl Operation for ListKeys {
    type Output = Vec<StoredSigningKey>;
    const NAME: &'static str = "list signing keys";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT kid, point, sealed_private, created_at, active_from, retired_at FROM signing_keys
                 ORDER BY created_at DESC, kid",
                &[],
            )
            .await?;
        rows.into_iter().map(parse_key).collect()
    }
}

fn parse_key(row: Row) -> Result<StoredSigningKey, SqlError> {
    let mut columns = Columns::of(row);
    Ok(StoredSigningKey {
        public: PublicKey {
            kid: columns.next("signing_keys.kid")?,
            point: columns.next("signing_keys.point")?,
        },
        sealed_private: columns.next("signing_keys.sealed_private")?,
        created_at_ms: columns.next("signing_keys.created_at")?,
        active_from_ms: columns.next("signing_keys.active_from")?,
        retired_at_ms: columns.next("signing_keys.retired_at")?,
    })
}

struct LoadPublicKeys;

#[async_trait]
impl Operation for LoadPublicKeys {
    type Output = Vec<PublicKey>;
    const NAME: &'static str = "load public keys";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT kid, point FROM signing_keys ORDER BY created_at DESC, kid",
                &[],
            )
            .await?;
        let parse = |row| {
            let mut columns = Columns::of(row);
            Ok(PublicKey {
                kid: columns.next("signing_keys.kid")?,
                point: columns.next("signing_keys.point")?,
            })
        };
        rows.into_iter().map(parse).collect()
    }
}

struct AddKey {
    key: NewSigningKey,
    /// The key ids that the caller has seen; others mean that somebody else was first.
    known: Vec<String>,
    /// Keys to be retired when the new one begins to sign.
    retire: Vec<String>,
    act: Act,
}

#[async_trait]
impl Operation for AddKey {
    type Output = bool;
    const NAME: &'static str = "add signing key";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        transaction
            .execute(
                "UPDATE counters SET value = value + 1 WHERE name = 'signing_keys'",
                &[],
            )
            .await?;
        let rows = transaction
            .query("SELECT kid FROM signing_keys", &[])
            .await?;
        for row in rows {
            let kid: String = Columns::of(row).next("signing_keys.kid")?;
            if !self.known.contains(&kid) {
                return Ok(false);
            }
        }
        self.insert(transaction).await?;
        for kid in &self.retire {
            transaction
                .execute(
                    "UPDATE signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL",
                    values![kid, self.key.active_from_ms],
                )
                .await?;
            let line = Line::new("signing_key.retired").subject(kid);
            write_line(transaction, &self.act, line).await?;
        }
        Ok(true)
    }
}

impl AddKey {
    async fn insert(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        let public = &self.key.public;
        transaction
            .execute(
                "INSERT INTO signing_keys (kid, point, sealed_private, created_at, active_from) VALUES ($1, $2, $3, $4, $5)",
                values![
                    &public.kid,
                    public.point.as_slice(),
                    &self.key.sealed_private,
                    self.act.at_ms,
                    self.key.active_from_ms
                ],
            )
            .await?;
        let line = Line::new("signing_key.made").subject(&public.kid);
        write_line(transaction, &self.act, line).await
    }
}

#[async_trait]
impl SigningKeys for SqlStore {
    async fn load(&self) -> Result<Vec<PublicKey>, StoreUnavailable> {
        operation::read(&*self.engine, LoadPublicKeys).await
    }
}

impl SqlStore {
    /// All keys with their sealed private halves, the newest first.
    pub async fn list_signing_keys(&self) -> Result<Vec<StoredSigningKey>, StoreUnavailable> {
        operation::read(&*self.engine, ListKeys).await
    }

    /// Stores a key, and retires others at the moment in which it begins to sign. False, and nothing done, when there is a
    /// key that is not among the `known` ones: somebody else has made one.
    pub async fn add_signing_key(
        &self,
        key: &NewSigningKey,
        known: Vec<String>,
        retire: Vec<String>,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let operation = AddKey {
            key: key.clone(),
            known,
            retire,
            act: act.clone(),
        };
        operation::write(&*self.engine, operation).await
    }
}
