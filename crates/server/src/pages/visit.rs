//! What a page knows of the request it answers.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use super::notices;
use super::page::{Frame, Page};
use crate::accounts::service::Attempt;
use crate::auth::BrowserSession;
use crate::middleware::CspNonce;
use crate::peer::PeerAddress;
use crate::ports::StoreUnavailable;
use crate::state::SharedHub;

/// The frame alone: for pages that must show even when no store answers.
impl FromRequestParts<SharedHub> for Frame {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        hub: &SharedHub,
    ) -> Result<Self, Self::Rejection> {
        let nonce = CspNonce::from_request_parts(parts, hub).await?;
        Ok(Frame::new(&hub.config, nonce))
    }
}

/// A request for a page, and who makes it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(super) frame: Frame,
    /// Who is signed in.
    pub(super) session: Option<BrowserSession>,
    pub(super) headers: HeaderMap,
    /// The cookie of a session that lives on from now.
    extended: Option<HeaderValue>,
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
        let unavailable = |_: StoreUnavailable| notices::unavailable().into_response(&frame);
        let found = hub.authenticator.browser_session(&parts.headers).await;
        let mut session = found.map_err(unavailable)?;
        let mut extended = None;
        // Forms begin and end sessions; a page that is looked at says only that its session is in use.
        if let (&Method::GET, Some(session)) = (&parts.method, &mut session) {
            extended = hub.refresh_session(session).await.map_err(unavailable)?;
        }
        Ok(Self {
            frame,
            session,
            headers: parts.headers.clone(),
            extended,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            ip: PeerAddress::of(&parts.extensions),
        })
    }
}

impl Visit {
    /// An attempt to begin or end a session with this request.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt::of(&self.headers, self.ip, self.session.clone())
    }

    /// The answer, with whatever became of it.
    pub(super) fn answer(&self, result: Result<Response, Page>) -> Response {
        let mut response = result.unwrap_or_else(|page| page.into_response(&self.frame));
        if let Some(line) = &self.extended {
            response.headers_mut().append(SET_COOKIE, line.clone());
        }
        response
    }

    /// A page that goes well.
    pub(super) fn show(&self, page: Page) -> Response {
        page.into_response(&self.frame)
    }
}
