//! Orchestration of what a handler cannot say in a line: opening a socket, listing rooms.

use epicenter_api::{ErrorName, RefusalSummary, RoomSummary, RoomsPage};
use epicenter_identity::{OwnerId, RoomId, Scope};
use http::{HeaderMap, Uri};

use super::caller::RoomsCaller;
use super::rules;
use crate::auth::PresentedBearer;
use crate::error::Refusal;
use crate::ports::{RoomEntry, RoomPage};
use crate::state::HubState;
use crate::upgrade::UpgradeDecision;

/// Rooms in one page of a list (`sync.md` 1).
const PAGE: usize = 500;

/// Whether a well-formed upgrade joins. The room's own refusals (deleted, full) come from the room, after the join.
pub(super) async fn decide_upgrade(
    hub: &HubState,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<UpgradeDecision, Refusal> {
    let presented = PresentedBearer::of_upgrade(headers);
    let caller = RoomsCaller::admit(hub, &presented, uri).await?;
    caller.check_scope(Scope::RoomsWrite)?;
    let device = rules::parse_device(caller.query())?;
    let reports = rules::wants_reports(caller.query());
    let room = caller.enter_room(hub)?;
    let access = caller.access;
    if hub.config.ownership.is_shared() {
        let devices = &hub.ports.devices;
        let claim = devices.claim_device(
            access.owner(),
            &device,
            access.user(),
            access.client(),
            hub.now_ms(),
        );
        if !claim.await? {
            return Err(Refusal::from(ErrorName::DeviceTaken));
        }
    }
    Ok(UpgradeDecision::Join {
        access,
        room,
        device,
        reports,
    })
}

/// One page of an owner's rooms.
pub(super) async fn list(
    hub: &HubState,
    owner: &OwnerId,
    after: Option<&RoomId>,
) -> Result<RoomsPage, Refusal> {
    let RoomPage { rooms, next } = hub.ports.rooms.list(owner, after, PAGE).await?;
    Ok(RoomsPage {
        rooms: rooms.into_iter().map(summarize).collect(),
        next: next.map(|id| id.to_string()),
    })
}

fn summarize(entry: RoomEntry) -> RoomSummary {
    let refusals = entry.refusals.into_iter().map(|refusal| RefusalSummary {
        at: refusal.at,
        reason: refusal.reason,
        bytes: refusal.bytes,
    });
    RoomSummary {
        id: entry.id.to_string(),
        storage_bytes: entry.storage_bytes,
        last_accessed_at: entry.last_accessed_at,
        connections: entry.connections,
        refusals: refusals.collect(),
    }
}
