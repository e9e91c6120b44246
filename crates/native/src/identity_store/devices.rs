//! Device ids of a shared owner: each belongs to the user who used it first (`sync.md` 5).

use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use rusqlite::{OptionalExtension, params};

use super::{IdentityStore, StoreError};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A claim that was not used for so long is free again.
const LAPSE_MS: u64 = 90 * DAY_MS;
/// A claim is written again at most so often: opening a socket should not cost an fsync every time.
const RENEW_MS: u64 = DAY_MS;

impl IdentityStore {
    pub(super) fn claim_device_at(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        client: &ClientId,
        now_ms: u64,
    ) -> Result<bool, StoreError> {
        let key = [owner.as_str(), device.as_str()];
        let claim = self
            .lock()
            .query_row(
                "SELECT user = ?3, last_used_at FROM devices WHERE owner = ?1 AND device = ?2",
                [key[0], key[1], user.as_str()],
                |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)),
            )
            .optional()?;
        if let Some((true, last_used_at)) = claim
            && now_ms < u64::try_from(last_used_at)?.saturating_add(RENEW_MS)
        {
            return Ok(true);
        }
        let now = i64::try_from(now_ms)?;
        let lapsed = i64::try_from(now_ms.saturating_sub(LAPSE_MS))?;
        self.transact(|connection| {
            connection.execute("DELETE FROM devices WHERE last_used_at <= ?1", [lapsed])?;
            // The client stays the one that opened the device first; others of the same user may use it.
            let claimed = connection.execute(
                "INSERT INTO devices (owner, device, user, client, last_used_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (owner, device) DO UPDATE SET last_used_at = ?5 WHERE user = ?3",
                params![key[0], key[1], user.as_str(), client.as_str(), now],
            )?;
            Ok(claimed == 1)
        })
        .map_err(|error: StoreError| error)
    }
}
