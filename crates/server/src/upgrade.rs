//! What the router decides about a WebSocket upgrade; the host performs it.
//!
//! A browser cannot read the status of a failed upgrade. So every well-formed upgrade of a room is answered with 101,
//! the refused ones too, and the client learns the reason from the close frame (`sync.md` 5).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use epicenter_api::{RoomOperation, RoomRoute, RoomsRoute};
use epicenter_identity::{Access, DeviceId, RoomName};
use epicenter_sync::{CloseCode, Offer};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Request, StatusCode};

use crate::auth::offered_protocols;
use crate::error::Refusal;
use crate::handshake::Handshake;

/// Put into the extensions of the router's 101 response, which carries `Sec-WebSocket-Protocol: epicenter` when that was
/// offered. The host adds `Connection`, `Upgrade` and `Sec-WebSocket-Accept` and runs the socket.
#[derive(Clone, Debug)]
pub enum UpgradeDecision {
    /// Join this room.
    Join {
        /// Proof of access.
        access: Access,
        /// The room.
        room: RoomName,
        /// The dispatch address.
        device: DeviceId,
        /// Whether the client asked to be told what became of its updates (`sync.md` 3.5).
        reports: bool,
    },
    /// Complete the handshake and close at once.
    Refuse {
        /// Close code.
        code: CloseCode,
        /// JSON, at most 123 bytes.
        reason: String,
    },
}

/// In which form a request hears that it is refused; read from it before it is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalForm {
    /// A status and the envelope.
    Http,
    /// 101 and a close.
    Socket {
        /// What the 101 answers to the offered subprotocols.
        protocol: Option<&'static str>,
    },
}

impl RefusalForm {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let is_room = matches!(
            RoomsRoute::parse(request.uri().path()),
            Some(RoomsRoute::Room(RoomRoute {
                operation: RoomOperation::Room,
                ..
            }))
        );
        if is_room && Handshake::of(request) == Handshake::WellFormed {
            Self::Socket {
                protocol: answered_protocol(request.headers()),
            }
        } else {
            Self::Http
        }
    }

    pub(crate) fn refuse(self, refusal: Refusal) -> Response {
        match self {
            Self::Http => refusal.into_response(),
            Self::Socket { protocol } => {
                let name = refusal.name();
                let mut response = switch(protocol, refusal.into_decision());
                response.extensions_mut().insert(name);
                response
            }
        }
    }
}

/// The 101 of an upgrade that is decided.
pub(crate) fn switch(protocol: Option<&'static str>, decision: UpgradeDecision) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    if let Some(protocol) = protocol {
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    response.extensions_mut().insert(decision);
    response
}

/// What may be answered to the offered subprotocols: never the one that carries the token.
pub(crate) fn answered_protocol(headers: &HeaderMap) -> Option<&'static str> {
    let offered = offered_protocols(headers);
    Offer::parse(offered.as_deref().map(String::as_str)).answer()
}
