//! The authorization endpoint: from a request to the next step (RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207).
//!
//! The endpoint and the pages share one function, [`HubState::authorize`]. Whatever has to wait for a person travels as
//! the query of the request itself with an expiry and a MAC, so that nothing is stored for who never comes back.

use std::sync::Arc;

use epicenter_identity::Scopes;

use super::clients::OAuthClient;
use crate::auth::BrowserSession;
use crate::ports::StoreUnavailable;
use crate::state::HubState;

/// A query string with `exp` and `sig`, ready to be put behind `?` or into a hidden field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedQuery(pub(crate) String);

/// What a page may say about a request that waits.
#[derive(Clone, Debug)]
pub(crate) struct PendingRequest {
    pub(crate) client: Arc<OAuthClient>,
    /// Where the answer goes; validated.
    pub(crate) redirect_uri: String,
    /// What the client will hold if the person agrees.
    pub(crate) scopes: Scopes,
    /// The same, to be carried on.
    pub(crate) query: SignedQuery,
}

/// What a person has just said on one of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing yet: the request comes from the client.
    Asked,
    /// Came back from signing in: `prompt=login` and `max_age` are satisfied if the sign-in is that fresh.
    SignedIn,
    /// Clicked "Continue as …".
    Continue,
    /// Agreed to the scopes.
    Consent,
    /// Declined on any page.
    Deny,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To this URL, which is the client's redirect URI with an answer or an error.
    Redirect(String),
    /// The person has to sign in at `/sign-in?…`.
    SignIn(SignedQuery),
    /// The person has to click at `/continue?…` (RFC 8252 section 8.6).
    Continue(SignedQuery),
    /// The person has to agree at `/consent?…`.
    Consent(SignedQuery),
    /// The client cannot be trusted with an answer: an error page of our own at `/auth/error`.
    Refuse(AuthorizeError),
}

/// Why a request is answered by a page of ours and not at its redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizeError {
    UnknownClient,
    RedirectUri,
    /// A parameter is missing, or there twice.
    Malformed,
    /// The signed query was changed or is too old.
    Expired,
}

impl HubState {
    /// Decides the next step of an authorization request; a code is made when nothing is left to ask.
    pub(crate) async fn authorize(
        &self,
        _query: &str,
        _session: Option<&BrowserSession>,
        _answer: Answer,
    ) -> Result<Step, StoreUnavailable> {
        unimplemented!()
    }

    /// Reads a query that [`Step`] gave: MAC, expiry, client, redirect URI.
    pub(crate) fn pending_request(&self, _query: &str) -> Result<PendingRequest, AuthorizeError> {
        unimplemented!()
    }
}
