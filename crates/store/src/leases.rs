//! Leases: which process does what only one may do, for how long, and with which epoch.

use async_trait::async_trait;
use epicenter_server::ports::StoreUnavailable;

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{SqlError, Transaction};
use crate::values::{Columns, first, values};

/// A lease as it stands, lapsed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is about.
    pub name: String,
    /// Which process; an id that no other run of the program has.
    pub holder: String,
    /// Where the holder is reached.
    pub url: String,
    /// Counts the holders.
    pub epoch: u64,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

struct TakeLease {
    lease: Lease,
    now_ms: u64,
}

#[async_trait]
impl Operation for TakeLease {
    type Output = Option<u64>;
    const NAME: &'static str = "take lease";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "INSERT INTO leases (name, holder, url, epoch, expires_at) VALUES ($1, $2, $3, 1, $4)
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, url = excluded.url, epoch = leases.epoch + 1,
                                                  expires_at = excluded.expires_at
                 WHERE leases.expires_at <= $5 OR leases.holder = excluded.holder
                 RETURNING epoch",
                values![
                    &self.lease.name,
                    &self.lease.holder,
                    &self.lease.url,
                    self.lease.expires_at_ms,
                    self.now_ms
                ],
            )
            .await?;
        first(rows)
            .map(|mut columns| columns.next("leases.epoch"))
            .transpose()
    }
}

/// Moves the end of a lease that nobody else took meanwhile; into the past, to give it up.
struct RenewLease(Lease);

#[async_trait]
impl Operation for RenewLease {
    type Output = bool;
    const NAME: &'static str = "renew lease";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        let renewed = transaction
            .execute(
                "UPDATE leases SET expires_at = $4 WHERE name = $1 AND holder = $2 AND epoch = $3",
                values![
                    &self.0.name,
                    &self.0.holder,
                    self.0.epoch,
                    self.0.expires_at_ms
                ],
            )
            .await?;
        Ok(renewed == 1)
    }
}

struct FindLease(String);

#[async_trait]
impl Operation for FindLease {
    type Output = Option<Lease>;
    const NAME: &'static str = "find lease";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT name, holder, url, epoch, expires_at FROM leases WHERE name = $1",
                values![&self.0],
            )
            .await?;
        let parse = |mut columns: Columns| {
            Ok(Lease {
                name: columns.next("leases.name")?,
                holder: columns.next("leases.holder")?,
                url: columns.next("leases.url")?,
                epoch: columns.next("leases.epoch")?,
                expires_at_ms: columns.next("leases.expires_at")?,
            })
        };
        first(rows).map(parse).transpose()
    }
}

impl SqlStore {
    /// Takes a lease that is free, lapsed or the holder's own; its new epoch. `None` while another holder has it.
    /// The epoch of `lease` itself is not looked at.
    pub async fn take_lease(
        &self,
        lease: &Lease,
        now_ms: u64,
    ) -> Result<Option<u64>, StoreUnavailable> {
        let lease = lease.clone();
        operation::write(&*self.engine, TakeLease { lease, now_ms }).await
    }

    /// Moves the end of a lease held at this epoch; false when it was lost to another holder. An end in the past gives it up.
    pub async fn renew_lease(&self, lease: &Lease) -> Result<bool, StoreUnavailable> {
        operation::write(&*self.engine, RenewLease(lease.clone())).await
    }

    /// The lease of this name, lapsed or not.
    pub async fn find_lease(&self, name: &str) -> Result<Option<Lease>, StoreUnavailable> {
        operation::read(&*self.engine, FindLease(name.to_owned())).await
    }
}
