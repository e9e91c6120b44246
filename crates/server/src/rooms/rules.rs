//! Pure decisions about room requests.

use axum::body::Bytes;
use epicenter_api::{ApiError, ErrorName, IfNoneMatch};
use epicenter_identity::{DeviceId, RoomId, Scope};
use epicenter_room::{Answer, Tag};
use epicenter_sync::SyncBody;
use epicenter_update::{Limits, StateVector, UpdateError};
use http::HeaderMap;
use http::header::IF_NONE_MATCH;

use crate::error::Refusal;
use crate::query;

/// The device of an upgrade. One that is named twice has no address.
pub(super) fn parse_device(query: Option<&str>) -> Result<DeviceId, Refusal> {
    let mut values = query::values(query, "deviceId");
    let device = match (values.next(), values.next()) {
        (None, _) => return Err(Refusal::from(ErrorName::MissingDeviceId)),
        (Some(Some(text)), None) if text.is_empty() => {
            return Err(Refusal::from(ErrorName::MissingDeviceId));
        }
        (Some(text), None) => text.and_then(|text| DeviceId::parse(&text).ok()),
        (Some(_), Some(_)) => None,
    };
    device.ok_or(Refusal::from(ErrorName::InvalidDeviceId))
}

/// Whether an upgrade asks for reports on its updates: `saved=1`. Anything else asks for nothing, so that a client which
/// knows no such frames never meets one.
pub(super) fn wants_reports(query: Option<&str>) -> bool {
    query::values(query, "saved").any(|value| value.as_deref() == Some("1"))
}

/// Where a list goes on: after this id, or at the beginning.
pub(super) fn parse_after(query: Option<&str>) -> Result<Option<RoomId>, Refusal> {
    let mut values = query::values(query, "after");
    let after = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(text), None) => text.and_then(|text| RoomId::parse(&text).ok()),
        (Some(_), Some(_)) => None,
    };
    after
        .map(Some)
        .ok_or(Refusal::from(ErrorName::InvalidRoomId))
}

/// What a `POST` asks: the caller's state vector and what it pushes, possibly nothing.
#[derive(Debug)]
pub(super) struct SyncCall {
    pub(super) state_vector: StateVector,
    pub(super) update: Bytes,
}

impl SyncCall {
    pub(super) fn parse(body: &Bytes, limits: &Limits) -> Result<Self, Refusal> {
        // Where the body broke off helps nobody who sends bytes made by a library.
        let body = SyncBody::parse(body).map_err(|_| ErrorName::MalformedSyncBody)?;
        let state_vector = StateVector::decode(&body.state_vector, limits).map_err(refusal_of)?;
        Ok(Self {
            state_vector,
            update: body.update,
        })
    }

    /// Pushing needs another scope than asking.
    pub(super) fn scope(&self) -> Scope {
        if self.update.is_empty() {
            Scope::RoomsRead
        } else {
            Scope::RoomsWrite
        }
    }
}

fn refusal_of(error: UpdateError) -> Refusal {
    Refusal::from(match error {
        UpdateError::Refused { limit, .. } => {
            ApiError::update_refused("the state vector exceeds a limit", limit)
        }
        _ => ApiError::new(ErrorName::MalformedSyncBody),
    })
}

/// What `If-None-Match` names; no header names nothing.
pub(super) fn parse_if_none_match(headers: &HeaderMap) -> IfNoneMatch {
    let lines = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|line| line.to_str().ok());
    IfNoneMatch::parse(&lines.collect::<Vec<_>>().join(","))
}

/// The tags that a room compares. `*` is none of them: it asks whether anything is there, not what.
pub(super) fn to_tags(named: &IfNoneMatch) -> Vec<Tag> {
    match named {
        IfNoneMatch::Any => Vec::new(),
        IfNoneMatch::Tags(tags) => tags.iter().copied().map(Tag).collect(),
    }
}

/// What a room answered, when it did what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Update { update: Bytes, tag: Tag },
    UpToDate { tag: Tag },
    NotModified { tag: Tag },
    Deleted,
    Created,
    Restored,
    Dispatched { result: String },
}

/// Tells what a room did from what it refused.
pub(super) fn check_answer(answer: Answer) -> Result<Done, Refusal> {
    Err(Refusal::from(match answer {
        Answer::Update { update, tag } => return Ok(Done::Update { update, tag }),
        Answer::UpToDate { tag } => return Ok(Done::UpToDate { tag }),
        Answer::NotModified { tag } => return Ok(Done::NotModified { tag }),
        Answer::Deleted => return Ok(Done::Deleted),
        Answer::Created => return Ok(Done::Created),
        Answer::Dispatched { result } => return Ok(Done::Dispatched { result }),
        Answer::Restored => return Ok(Done::Restored),
        Answer::Exists => ApiError::new(ErrorName::RoomExists),
        Answer::Unknown => ApiError::new(ErrorName::NotFound).with_message(
            "There never was such a room, so there is nothing to restore. Create it with PUT.",
        ),
        Answer::Gone => ApiError::new(ErrorName::RoomDeleted),
        Answer::Purged => ApiError::new(ErrorName::RoomDeleted).with_message(
            "The room was deleted so long ago that its content is gone. Create it anew, empty, with PUT.",
        ),
        Answer::Malformed { what } => {
            tracing::debug!(reason = what, "update refused as malformed");
            ApiError::new(ErrorName::MalformedSyncBody)
        }
        Answer::Refused { reason, limit } => ApiError::update_refused(&reason, &limit),
        // What waits is full to the brim: one more update did not fit.
        Answer::PendingFull { limit } => ApiError::quota_exceeded(limit, limit),
        Answer::QuotaExceeded(full) => ApiError::quota_exceeded(full.limit, full.used)
            .with_field("scope", full.scope.as_str()),
        Answer::Unavailable => ApiError::new(ErrorName::StorageUnavailable),
        Answer::GoingAway => ApiError::new(ErrorName::ShuttingDown),
    }))
}
