//! What a hub must remember about itself: lines of text by key.

use async_trait::async_trait;
use epicenter_server::ports::StoreUnavailable;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{SqlError, Transaction};
use crate::values::{first, values};

struct FindMeta(&'static str);

#[async_trait]
impl Operation for FindMeta {
    type Output = Option<String>;
    const NAME: &'static str = "find meta";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        find(transaction, self.0).await
    }
}

async fn find(transaction: &mut dyn Transaction, key: &str) -> Result<Option<String>, SqlError> {
    let rows = transaction
        .query("SELECT value FROM meta WHERE key = $1", values![key])
        .await?;
    first(rows)
        .map(|mut columns| columns.next("meta.value"))
        .transpose()
}

struct SetMeta {
    key: &'static str,
    value: String,
}

#[async_trait]
impl Operation for SetMeta {
    type Output = ();
    const NAME: &'static str = "set meta";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<(), SqlError> {
        transaction
            .execute(
                "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                values![self.key, &self.value],
            )
            .await?;
        Ok(())
    }
}

struct ClaimMeta {
    key: &'static str,
    value: String,
}

#[async_trait]
impl Operation for ClaimMeta {
    type Output = String;
    const NAME: &'static str = "claim meta";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<String, SqlError> {
        transaction
            .execute(
                "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
                values![self.key, &self.value],
            )
            .await?;
        find(transaction, self.key)
            .await?
            .ok_or(SqlError::Damaged("meta: a line is gone"))
    }
}

struct ReplaceMeta {
    key: &'static str,
    expected: Option<String>,
    value: String,
}

#[async_trait]
impl Operation for ReplaceMeta {
    type Output = bool;
    const NAME: &'static str = "replace meta";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let changed = match &self.expected {
            None => transaction
                .execute(
                    "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
                    values![self.key, &self.value],
                )
                .await?,
            Some(expected) => {
                transaction
                    .execute(
                        "UPDATE meta SET value = $2 WHERE key = $1 AND value = $3",
                        values![self.key, &self.value, expected],
                    )
                    .await?
            }
        };
        Ok(changed == 1)
    }
}

impl SqlStore {
    /// The line with this key.
    pub async fn find_meta(&self, key: &'static str) -> Result<Option<String>, StoreUnavailable> {
        operation::read(&*self.engine, FindMeta(key)).await
    }

    /// Writes the line with this key.
    pub async fn set_meta(&self, key: &'static str, value: &str) -> Result<(), StoreUnavailable> {
        let value = value.to_owned();
        operation::write(&*self.engine, SetMeta { key, value }).await
    }

    /// Writes the line if there is none, and gives the one that stands: whoever comes first decides for good.
    pub async fn claim_meta(
        &self,
        key: &'static str,
        value: &str,
    ) -> Result<String, StoreUnavailable> {
        let value = value.to_owned();
        operation::write(&*self.engine, ClaimMeta { key, value }).await
    }

    /// Writes the line if it still is what was read; false when somebody else was first.
    pub async fn replace_meta(
        &self,
        key: &'static str,
        expected: Option<&str>,
        value: &str,
    ) -> Result<bool, StoreUnavailable> {
        let operation = ReplaceMeta {
            key,
            expected: expected.map(str::to_owned),
            value: value.to_owned(),
        };
        operation::write(&*self.engine, operation).await
    }
}
