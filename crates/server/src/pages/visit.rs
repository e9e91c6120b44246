//! What a page knows of the request it answers.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;

use super::headers::CspNonce;
use super::notices;
use super::page::{Frame, Page};
use crate::accounts::service::Attempt;
use crate::auth::BrowserSession;
use crate::peer::PeerAddress;
use crate::state::SharedHub;

/// The frame alone: for pages that must show even when no store answers.
impl FromRequestParts<SharedHub> for Frame {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        hub: &SharedHub,
    ) -> Result<Self, Self::Rejection> {
        let nonce = parts.extensions.get::<CspNonce>();
        Ok(Frame::new(&hub.config, nonce.map(|nonce| nonce.0.clone())))
    }
}

/// A request for a page, and who makes it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(super) frame: Frame,
    /// Who is signed in.
    pub(super) session: Option<BrowserSession>,
    pub(super) headers: HeaderMap,
    /// Without the question mark.
    pub(super) query: String,
    ip: Option<IpAddr>,
}

impl FromRequestParts<SharedHub> for Visit {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        hub: &SharedHub,
    ) -> Result<Self, Self::Rejection> {
        let Ok(frame) = Frame::from_request_parts(parts, hub).await;
        match hub.authenticator.browser_session(&parts.headers).await {
            Ok(session) => Ok(Self {
                frame,
                session,
                headers: parts.headers.clone(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                ip: PeerAddress::of(&parts.extensions),
            }),
            Err(_) => Err(notices::unavailable().into_response(&frame)),
        }
    }
}

impl Visit {
    /// An attempt to begin or end a session with this request.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt::of(&self.headers, self.ip, self.session.clone())
    }

    pub(super) fn answer(&self, result: Result<Response, Page>) -> Response {
        result.unwrap_or_else(|page| page.into_response(&self.frame))
    }

    pub(super) fn show(&self, page: Page) -> Response {
        page.into_response(&self.frame)
    }
}
