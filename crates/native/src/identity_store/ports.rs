//! The store as the server's ports: each call runs on a blocking thread, and a failure is logged here and nowhere else.

use async_trait::async_trait;
use epicenter_identity::{ClientId, DeviceId, OwnerId, UserId};
use epicenter_server::ports::{
    Devices, Health, PublicKey, SigningKeys, StoreUnavailable, User, Users,
};

use super::{IdentityStore, StoreError};

impl IdentityStore {
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreUnavailable> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    store.operation = doing,
                    "the identity store failed"
                );
                Err(StoreUnavailable)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    store.operation = doing,
                    "the identity store panicked"
                );
                Err(StoreUnavailable)
            }
        }
    }
}

#[async_trait]
impl SigningKeys for IdentityStore {
    async fn load(&self) -> Result<Vec<PublicKey>, StoreUnavailable> {
        self.blocking("load signing keys", Self::load_public_keys)
            .await
    }
}

#[async_trait]
impl Users for IdentityStore {
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreUnavailable> {
        let id = id.clone();
        self.blocking("find user", move |store| store.find_user_by_id(&id))
            .await
    }
}

#[async_trait]
impl Devices for IdentityStore {
    async fn claim_device(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        client: &ClientId,
        now_ms: u64,
    ) -> Result<bool, StoreUnavailable> {
        let (owner, device, user, client) =
            (owner.clone(), device.clone(), user.clone(), client.clone());
        self.blocking("claim device", move |store| {
            store.claim_device_at(&owner, &device, &user, &client, now_ms)
        })
        .await
    }
}

#[async_trait]
impl Health for IdentityStore {
    async fn check(&self) -> Result<(), StoreUnavailable> {
        self.blocking("health check", |store| {
            let answer: i64 = store
                .lock()
                .query_row("SELECT count(*) FROM meta", [], |row| row.get(0))?;
            if answer > 0 {
                Ok(())
            } else {
                Err(StoreError::Damaged("it is empty"))
            }
        })
        .await
    }
}
