//! The extractor of room routes: whoever gets through may act for the owner in the path.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use epicenter_api::{ApiError, ErrorName, RoomsRoute};
use epicenter_identity::{Access, RoomName, Scope};
use http::Uri;

use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::ports::RoomsDuty;
use crate::state::{HubState, SharedHub};

/// An authenticated caller of a path whose owner is the caller's own.
#[derive(Debug)]
pub(crate) struct RoomsCaller {
    pub(super) access: Access,
    uri: Uri,
}

impl RoomsCaller {
    /// Token, admission, owner and whether rooms are here, in this order.
    pub(super) async fn admit(
        hub: &HubState,
        presented: &PresentedBearer,
        uri: &Uri,
    ) -> Result<Self, Refusal> {
        let caller = hub.authenticator.authenticate(presented).await?;
        let route = RoomsRoute::parse(uri.path()).ok_or(ErrorName::NotFound)?;
        if !route.is_owned_by(caller.access.owner()) {
            return Err(Refusal::from(ErrorName::OwnerMismatch));
        }
        check_duty(hub.ports.rooms.duty())?;
        Ok(Self {
            access: caller.access,
            uri: uri.clone(),
        })
    }

    pub(super) fn check_scope(&self, scope: Scope) -> Result<(), Refusal> {
        if self.access.scopes().contains(scope) {
            Ok(())
        } else {
            Err(Refusal::from(ApiError::insufficient_scope(scope)))
        }
    }

    /// The durable name of the room in the path.
    fn room(&self) -> Result<RoomName, Refusal> {
        let Some(RoomsRoute::Room(route)) = RoomsRoute::parse(self.uri.path()) else {
            return Err(Refusal::from(ErrorName::NotFound));
        };
        // Whether encoding or rule is broken, the caller is told the rule.
        let room = route.room_id().map_err(|_| ErrorName::InvalidRoomId)?;
        Ok(RoomName::of(&self.access, room))
    }

    /// The room in the path, once the call is counted: the last thing that can be refused without the room (`sync.md` 1).
    pub(super) fn enter_room(&self, hub: &HubState) -> Result<RoomName, Refusal> {
        let room = self.room()?;
        hub.check_api_rate(&self.access)?;
        Ok(room)
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.uri.query()
    }
}

fn check_duty(duty: RoomsDuty) -> Result<(), Refusal> {
    match duty {
        RoomsDuty::Here => Ok(()),
        RoomsDuty::Elsewhere { url } => Err(Refusal::from(ApiError::wrong_hub(&url))),
        RoomsDuty::Nobody => Err(Refusal::from(ErrorName::StorageUnavailable)),
    }
}

impl FromRequestParts<SharedHub> for RoomsCaller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &SharedHub) -> Result<Self, Refusal> {
        let presented = PresentedBearer::of_request(&parts.headers);
        Self::admit(hub, &presented, &parts.uri).await
    }
}
