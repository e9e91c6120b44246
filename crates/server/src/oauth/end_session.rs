//! `/auth/oauth2/end-session` (OpenID Connect RP-Initiated Logout 1.0): an app asks to sign the browser out.
//!
//! Only the browser session ends; the grants of apps are their own. The app's id_token must name that very session, or
//! the person is asked: otherwise any page could sign people out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use form_urlencoded::Serializer;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use http::{Method, StatusCode};
use serde_json::Value;

use super::client_auth;
use super::clients::{self, OAuthClient};
use super::failure::Failure;
use super::parameters::Parameters;
use super::presented::{payload, verifier};
use super::redirect;
use super::tokens::Asked;
use crate::auth::token::AcceptedTypes;
use crate::auth::{AuthError, BrowserSession, Expiry, cookie};
use crate::body;
use crate::peer::PeerAddress;
use crate::ports::StoreUnavailable;
use crate::state::{HubState, SharedHub};

/// Where a person is asked.
const ASK: &str = "/sign-out";
/// Where a person ends who is not sent back to an app.
const SIGNED_OUT: &str = "/sign-in";

/// An app's proof of whom it signed in.
struct Hint {
    client: Arc<OAuthClient>,
    subject: String,
    session: Option<String>,
}

/// Ends the browser session that the hint names, or has the person asked.
pub(crate) async fn end_session(State(hub): State<SharedHub>, request: Request) -> Response {
    match end(&hub, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn end(hub: &HubState, request: Request) -> Result<Response, Failure> {
    let ip = PeerAddress::of(request.extensions());
    let (head, body) = request.into_parts();
    let parameters = if head.method == Method::POST {
        if !client_auth::is_form(&head.headers) {
            return Err(Failure::NOT_A_FORM);
        }
        let body = body::read(body).await.map_err(|_| Failure::TOO_LARGE)?;
        client_auth::parse(&body)?
    } else {
        client_auth::parse(head.uri.query().unwrap_or_default().as_bytes())?
    };
    let session = hub.authenticator.browser_session(&head.headers).await?;
    let Some(hint) = read_hint(hub, &parameters).await? else {
        return Ok(see_other(ASK));
    };
    let back = hint.way_back(&parameters);
    let Some(session) = session else {
        return Ok(see_other(&back));
    };
    if !hint.names(&session) {
        return Ok(see_other(ASK));
    }
    let asked = Asked {
        at_ms: hub.now_ms(),
        ip,
    };
    let act = asked.act_of(&session.user.id);
    hub.ports
        .sessions
        .end_session(&session.user.id, &session.session.id, &act)
        .await?;
    let mut response = see_other(&back);
    let gone = cookie::clear(&hub.config.origin);
    response.headers_mut().insert(SET_COOKIE, gone);
    Ok(response)
}

/// The hint, when it is an id_token of ours for a client of ours, expired or not.
async fn read_hint(
    hub: &HubState,
    parameters: &Parameters,
) -> Result<Option<Hint>, StoreUnavailable> {
    let Some(token) = parameters.find("id_token_hint") else {
        return Ok(None);
    };
    let Some(claims) = payload(token) else {
        return Ok(None);
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // Not yet verified: it chooses whose token this has to be.
    let client = text("aud").and_then(|id| clients::find(&hub.config.oauth.clients, id));
    let Some(client) = client else {
        return Ok(None);
    };
    if parameters
        .find("client_id")
        .is_some_and(|id| id != client.id.as_str())
    {
        return Ok(None);
    }
    let verifier = verifier(hub, client.id.as_str(), AcceptedTypes::Any);
    let read = hub
        .authenticator
        .read_signed(token, &verifier, Expiry::Ignored, hub.now_ms())
        .await;
    match read {
        Ok(verified) => Ok(Some(Hint {
            client,
            subject: verified.subject,
            session: text("sid").map(str::to_owned),
        })),
        Err(AuthError::Unavailable) => Err(StoreUnavailable),
        Err(_) => Ok(None),
    }
}

impl Hint {
    fn names(&self, session: &BrowserSession) -> bool {
        self.subject == session.user.id.as_str()
            && self.session.as_deref() == Some(session.session.id.as_str())
    }

    /// To the app, when the place is one of its own.
    fn way_back(&self, parameters: &Parameters) -> String {
        let uri = parameters
            .find("post_logout_redirect_uri")
            .filter(|uri| self.client.allows_post_logout(uri));
        match (uri, parameters.find("state")) {
            (None, _) => SIGNED_OUT.to_owned(),
            (Some(uri), None) => uri.to_owned(),
            (Some(uri), Some(state)) => {
                let mut query = Serializer::new(String::new());
                query.append_pair("state", state);
                redirect::append(uri, &query.finish())
            }
        }
    }
}

fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
