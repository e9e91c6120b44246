//! The port [`Devices`]: device ids of a shared owner, each of which belongs to the user who used it first (`sync.md` 5).

use async_trait::async_trait;
use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use epicenter_server::ports::{Devices, StoreUnavailable};

use crate::SqlStore;
use crate::operation::{self, Operation};
use crate::sql::{SqlError, Transaction};
use crate::values::{Columns, first, values};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A claim that was not used for so long is free again.
const LAPSE_MS: u64 = 90 * DAY_MS;
/// A claim is written again at most so often: opening a socket should not cost an fsync every time.
const RENEW_MS: u64 = DAY_MS;

struct FindClaim {
    owner: OwnerId,
    device: DeviceId,
}

#[async_trait]
impl Operation for FindClaim {
    type Output = Option<(UserId, u64)>;
    const NAME: &'static str = "find device claim";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<Self::Output, SqlError> {
        let rows = transaction
            .query(
                "SELECT user_id, last_used_at FROM devices WHERE owner = $1 AND device = $2",
                values![self.owner.as_str(), self.device.as_str()],
            )
            .await?;
        let parse = |mut columns: Columns| {
            Ok((
                columns.next("devices.user_id")?,
                columns.next("devices.last_used_at")?,
            ))
        };
        first(rows).map(parse).transpose()
    }
}

struct Claim {
    owner: OwnerId,
    device: DeviceId,
    user: UserId,
    client: ClientId,
    now_ms: u64,
}

#[async_trait]
impl Operation for Claim {
    type Output = bool;
    const NAME: &'static str = "claim device";

    async fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, SqlError> {
        transaction
            .execute(
                "DELETE FROM devices WHERE last_used_at <= $1",
                values![self.now_ms.saturating_sub(LAPSE_MS)],
            )
            .await?;
        // The client stays the one that opened the device first; others of the same user may use it.
        let claimed = transaction
            .execute(
                "INSERT INTO devices (owner, device, user_id, client, last_used_at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (owner, device) DO UPDATE SET last_used_at = excluded.last_used_at
                 WHERE devices.user_id = excluded.user_id",
                values![
                    self.owner.as_str(),
                    self.device.as_str(),
                    &self.user,
                    &self.client,
                    self.now_ms
                ],
            )
            .await?;
        Ok(claimed == 1)
    }
}

#[async_trait]
impl Devices for SqlStore {
    async fn claim_device(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        client: &ClientId,
        now_ms: u64,
    ) -> Result<bool, StoreUnavailable> {
        let find = FindClaim {
            owner: owner.clone(),
            device: device.clone(),
        };
        if let Some((holder, last_used_at)) = operation::read(&*self.engine, find).await?
            && holder == *user
            && now_ms < last_used_at.saturating_add(RENEW_MS)
        {
            return Ok(true);
        }
        let claim = Claim {
            owner: owner.clone(),
            device: device.clone(),
            user: user.clone(),
            client: client.clone(),
            now_ms,
        };
        operation::write(&*self.engine, claim).await
    }
}
