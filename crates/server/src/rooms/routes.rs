//! HTTP in, HTTP out for rooms: parse, authorize, call, answer.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::{IntoResponse, Response};
use epicenter_api::{ApiError, DispatchBody, ErrorName, IfNoneMatch, RoomsPage, format_etag};
use epicenter_identity::Scope;
use epicenter_room as room;
use epicenter_room::Tag;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};

use super::caller::RoomsCaller;
use super::rules::{self, Done, SyncCall};
use super::service;
use crate::body;
use crate::error::Refusal;
use crate::handshake::Handshake;
use crate::state::{HubState, SharedHub};
use crate::upgrade::{RefusalForm, answered_protocol, switch};

/// Documents are private, and a copy of one is good only when the hub says so.
const REVALIDATED: &str = "private, no-cache";

/// `GET …/rooms`.
pub(crate) async fn list(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
) -> Result<Json<RoomsPage>, Refusal> {
    caller.check_scope(Scope::RoomsRead)?;
    let after = rules::parse_after(caller.query())?;
    hub.check_api_rate(&caller.access)?;
    service::list(&hub, caller.access.owner(), after.as_ref())
        .await
        .map(Json)
}

/// `GET …/rooms/:roomId`: a socket when the request asks for one, else the snapshot.
pub(crate) async fn open_or_snapshot(State(hub): State<SharedHub>, request: Request) -> Response {
    match Handshake::of(&request) {
        Handshake::NotAsked => snapshot(hub, request).await.into_response(),
        Handshake::Malformed(error) => Refusal::from(error).into_response(),
        Handshake::WellFormed => open(&hub, request).await,
    }
}

async fn open(hub: &HubState, request: Request) -> Response {
    match service::decide_upgrade(hub, request.headers(), request.uri()).await {
        Ok(decision) => switch(answered_protocol(request.headers()), decision),
        Err(refusal) => RefusalForm::of(&request).refuse(refusal),
    }
}

async fn snapshot(hub: SharedHub, request: Request) -> Result<Response, Refusal> {
    let (mut parts, _body) = request.into_parts();
    let caller = RoomsCaller::from_request_parts(&mut parts, &hub).await?;
    caller.check_scope(Scope::RoomsRead)?;
    let room = caller.enter_room(&hub)?;
    let named = rules::parse_if_none_match(&parts.headers);
    let request = room::Request::Snapshot {
        if_none_match: rules::to_tags(&named),
    };
    let done = rules::check_answer(hub.ports.rooms.call(room, caller.access, request).await)?;
    Ok(match (done, named) {
        // Every room has a representation (RFC 9110 section 13.1.2): one that does not exist is the empty document.
        (Done::Update { tag, .. }, IfNoneMatch::Any) => answer(Done::NotModified { tag }),
        (done, _) => answer(done),
    })
}

/// `POST …/rooms/:roomId`: one-round-trip sync.
pub(crate) async fn sync(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    // Which of the two scopes is needed, the body says; a token with neither is refused before it is read.
    if caller.check_scope(Scope::RoomsWrite).is_err() {
        caller.check_scope(Scope::RoomsRead)?;
    }
    let room = caller.enter_room(&hub)?;
    let call = SyncCall::parse(&body::read(body).await?, &hub.config.update_limits)?;
    caller.check_scope(call.scope())?;
    let request = room::Request::Sync {
        state_vector: call.state_vector,
        update: call.update,
        if_none_match: rules::to_tags(&rules::parse_if_none_match(&headers)),
    };
    rules::check_answer(hub.ports.rooms.call(room, caller.access, request).await).map(answer)
}

/// `PUT …/rooms/:roomId`: makes a room, or an empty one where one was deleted.
pub(crate) async fn create(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
) -> Result<Response, Refusal> {
    write(&hub, caller, room::Request::Create).await
}

/// `DELETE …/rooms/:roomId`: leaves a tombstone.
pub(crate) async fn delete(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
) -> Result<Response, Refusal> {
    write(&hub, caller, room::Request::Delete).await
}

/// `POST …/rooms/:roomId/restore`: undoes a deletion.
pub(crate) async fn restore(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
) -> Result<Response, Refusal> {
    write(&hub, caller, room::Request::Restore).await
}

/// `POST …/rooms/:roomId/dispatch`: calls an action on a connected device.
pub(crate) async fn dispatch(
    State(hub): State<SharedHub>,
    caller: RoomsCaller,
    body: Body,
) -> Result<Response, Refusal> {
    caller.check_scope(Scope::RoomsWrite)?;
    let room = caller.enter_room(&hub)?;
    let DispatchBody { to, action, input } = DispatchBody::parse(&body::read(body).await?)
        .map_err(|error| {
            ApiError::new(ErrorName::MalformedDispatch)
                .with_message(format!("The dispatch body is malformed: {error}."))
        })?;
    let input = input.map(|input| Box::<str>::from(input).into_string());
    let request = room::Request::Dispatch { to, action, input };
    rules::check_answer(hub.ports.rooms.call(room, caller.access, request).await).map(answer)
}

async fn write(
    hub: &HubState,
    caller: RoomsCaller,
    request: room::Request,
) -> Result<Response, Refusal> {
    caller.check_scope(Scope::RoomsWrite)?;
    let room = caller.enter_room(hub)?;
    rules::check_answer(hub.ports.rooms.call(room, caller.access, request).await).map(answer)
}

fn answer(done: Done) -> Response {
    match done {
        Done::Update { update, tag } => {
            let headers = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CACHE_CONTROL, REVALIDATED.to_owned()),
                (ETAG, etag(tag)),
            ];
            (headers, update).into_response()
        }
        Done::UpToDate { tag } => (StatusCode::NO_CONTENT, [(ETAG, etag(tag))]).into_response(),
        Done::NotModified { tag } => {
            let headers = [(CACHE_CONTROL, REVALIDATED.to_owned()), (ETAG, etag(tag))];
            (StatusCode::NOT_MODIFIED, headers).into_response()
        }
        Done::Deleted | Done::Restored => StatusCode::NO_CONTENT.into_response(),
        Done::Created => StatusCode::CREATED.into_response(),
        Done::Dispatched { result } => {
            ([(CONTENT_TYPE, "application/json")], result).into_response()
        }
    }
}

fn etag(Tag(tag): Tag) -> String {
    format_etag(&tag)
}
