//! The authorization endpoint: from a request to the next step (RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207).
//!
//! The endpoint and the pages share one function, [`HubState::authorize`]. Whatever has to wait for a person travels as
//! the query of the request itself with an expiry and a MAC, so that nothing is stored for who never comes back.

use std::sync::Arc;

use epicenter_identity::Scopes;

use super::clients::{self, OAuthClient};
use super::parameters::Parameters;
use super::pending::{self, Found, Stamp};
use super::redirect::Recipient;
use super::request::{self, CheckedRequest, RequestError};
use super::scopes;
use super::store::AuthorizationCode;
use crate::accounts::store::{Act, Actor};
use crate::auth::BrowserSession;
use crate::ports::StoreUnavailable;
use crate::secret::Secret;
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

impl AuthorizeError {
    /// Its name in `/auth/error?error=…`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::UnknownClient => "invalid_client",
            Self::RedirectUri => "invalid_redirect",
            Self::Malformed => "invalid_request",
            Self::Expired => "expired_request",
        }
    }
}

impl Step {
    /// Where the browser goes next.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Redirect(url) => url.clone(),
            Self::SignIn(SignedQuery(query)) => format!("/sign-in?{query}"),
            Self::Continue(SignedQuery(query)) => format!("/continue?{query}"),
            Self::Consent(SignedQuery(query)) => format!("/consent?{query}"),
            Self::Refuse(error) => format!("/auth/error?error={}", error.code()),
        }
    }
}

/// A request on its way, with all that its next step depends on.
struct Deliberation<'a> {
    parameters: &'a Parameters,
    client: &'a OAuthClient,
    recipient: &'a Recipient,
    request: &'a CheckedRequest,
    /// What the client will hold.
    held: Scopes,
    stamp: Option<Stamp>,
    answer: Answer,
    now_ms: u64,
}

impl HubState {
    /// Decides the next step of an authorization request; a code is made when nothing is left to ask.
    pub(crate) async fn authorize(
        &self,
        query: &str,
        session: Option<&BrowserSession>,
        answer: Answer,
    ) -> Result<Step, StoreUnavailable> {
        let now_ms = self.now_ms();
        let (parameters, client, recipient, stamp) = match self.read_request(query, answer, now_ms)
        {
            Ok(read) => read,
            Err(error) => return Ok(Step::Refuse(error)),
        };
        let request = match request::check(&self.config, &client, &parameters) {
            Ok(request) => request,
            Err(error) => return Ok(Step::Redirect(recipient.error(&error))),
        };
        if answer == Answer::Deny {
            return Ok(Step::Redirect(recipient.error(&DENIED)));
        }
        let deliberation = Deliberation {
            held: client.held_scopes(request.asked.scopes),
            parameters: &parameters,
            client: &client,
            recipient: &recipient,
            request: &request,
            stamp,
            answer,
            now_ms,
        };
        self.deliberate(&deliberation, session).await
    }

    /// Reads a query that [`Step`] gave: MAC, expiry, client, redirect URI.
    pub(crate) fn pending_request(&self, query: &str) -> Result<PendingRequest, AuthorizeError> {
        let read = self.read_request(query, Answer::SignedIn, self.now_ms())?;
        let (parameters, client, recipient, stamp) = read;
        let stamp = stamp.ok_or(AuthorizeError::Expired)?;
        // It was signed when it had passed this check; only a change of configuration can fail it now.
        let request = request::check(&self.config, &client, &parameters)
            .map_err(|_| AuthorizeError::Malformed)?;
        Ok(PendingRequest {
            scopes: client.held_scopes(request.asked.scopes),
            query: pending::sign(&self.config.auth_secret, &parameters, &stamp),
            redirect_uri: recipient.redirect_uri,
            client,
        })
    }

    fn read_request(
        &self,
        query: &str,
        answer: Answer,
        now_ms: u64,
    ) -> Result<ReadRequest, AuthorizeError> {
        let parameters = Parameters::parse(query).map_err(|_| AuthorizeError::Malformed)?;
        let stamp = match pending::find(&self.config.auth_secret, &parameters, now_ms) {
            Found::Signed(stamp) => Some(stamp),
            Found::Unsigned if answer == Answer::Asked => None,
            Found::Unsigned | Found::Spoiled => return Err(AuthorizeError::Expired),
        };
        let (client, recipient) = request::recipient(&self.config, &parameters)?;
        Ok((parameters, client, recipient, stamp))
    }

    async fn deliberate(
        &self,
        request: &Deliberation<'_>,
        session: Option<&BrowserSession>,
    ) -> Result<Step, StoreUnavailable> {
        let prompt = request.request.prompt;
        let Some(session) = session.filter(|session| request.is_fresh(session)) else {
            let wait = || Step::SignIn(self.wait(request, None));
            return Ok(request.unless_silent(&LOGIN_REQUIRED, wait));
        };
        let agreed = request.is_answered_by(session, Answer::Consent);
        if !agreed {
            let remembered = self
                .ports
                .grants
                .find_consent(&session.user.id, &request.client.id)
                .await?;
            if prompt.consent || request.must_ask(remembered) {
                let wait = || Step::Consent(self.wait(request, Some(session)));
                return Ok(request.unless_silent(&CONSENT_REQUIRED, wait));
            }
        }
        let clicked = agreed || request.is_answered_by(session, Answer::Continue);
        if !clicked && (prompt.select_account || self.needs_click(request)) {
            let wait = || Step::Continue(self.wait(request, Some(session)));
            return Ok(request.unless_silent(&INTERACTION_REQUIRED, wait));
        }
        if agreed {
            self.remember_consent(request, session).await?;
        }
        self.issue_code(request, session).await
    }

    /// RFC 8252 section 8.6. On a hub of this machine the imitator would be on it too and needs no answer of ours.
    fn needs_click(&self, request: &Deliberation<'_>) -> bool {
        let uri = &request.recipient.redirect_uri;
        request.client.secret.is_none()
            && clients::can_be_imitated(uri)
            && *uri != clients::cli_callback(&self.config.origin)
            && !self.config.origin.is_loopback()
    }

    fn wait(&self, request: &Deliberation<'_>, session: Option<&BrowserSession>) -> SignedQuery {
        let stamp = Stamp {
            requested_at_ms: request.requested_at_ms(),
            expires_at_ms: request.now_ms + self.config.oauth.pending_request_ms,
            session: session.map(|session| session.session.id.clone()),
        };
        pending::sign(&self.config.auth_secret, request.parameters, &stamp)
    }

    async fn remember_consent(
        &self,
        request: &Deliberation<'_>,
        session: &BrowserSession,
    ) -> Result<(), StoreUnavailable> {
        let scopes = request.client.scopes_to_ask(request.held);
        let user = &session.user.id;
        let act = act_of(request, session);
        self.ports
            .grants
            .add_consent(user, &request.client.id, scopes, &act)
            .await
    }

    async fn issue_code(
        &self,
        request: &Deliberation<'_>,
        session: &BrowserSession,
    ) -> Result<Step, StoreUnavailable> {
        let code = Secret::draw(&*self.ports.random);
        let redirect_uri = request.recipient.redirect_uri.clone();
        let is_pasted = redirect_uri == clients::cli_callback(&self.config.origin);
        let life_ms = if is_pasted {
            self.config.oauth.pasted_code_ms
        } else {
            self.config.oauth.code_ms
        };
        let stored = AuthorizationCode {
            code: code.hash(),
            user: session.user.id.clone(),
            client: request.client.id.clone(),
            session: session.session.id.clone(),
            redirect_uri,
            challenge: request.request.challenge.clone(),
            nonce: request.request.nonce.clone(),
            scopes: request.held,
            requested_scope: request.request.asked.words.clone(),
            resource: request.request.resource.clone(),
            authenticated_at_ms: session.session.authenticated_at_ms,
            expires_at_ms: request.now_ms + life_ms,
            redeemed_by: None,
        };
        let act = act_of(request, session);
        self.ports.grants.insert_code(&stored, &act).await?;
        Ok(Step::Redirect(request.recipient.code(&code)))
    }
}

type ReadRequest = (Parameters, Arc<OAuthClient>, Recipient, Option<Stamp>);

const DENIED: RequestError = RequestError {
    code: "access_denied",
    description: "the person declined",
};
const LOGIN_REQUIRED: RequestError = RequestError {
    code: "login_required",
    description: "nobody is signed in, or the sign-in is not recent enough",
};
const CONSENT_REQUIRED: RequestError = RequestError {
    code: "consent_required",
    description: "the person has not agreed to these scopes",
};
const INTERACTION_REQUIRED: RequestError = RequestError {
    code: "interaction_required",
    description: "this redirect URI needs a click of the person each time",
};

impl Deliberation<'_> {
    fn requested_at_ms(&self) -> u64 {
        self.stamp
            .as_ref()
            .map_or(self.now_ms, |stamp| stamp.requested_at_ms)
    }

    /// Whether the sign-in is as recent as the client wants it. One that came after the request always is: otherwise
    /// `prompt=login` would ask for ever.
    fn is_fresh(&self, session: &BrowserSession) -> bool {
        let authenticated_at_ms = session.session.authenticated_at_ms;
        let came_after = self.stamp.is_some() && authenticated_at_ms >= self.requested_at_ms();
        let age_ms = self.now_ms.saturating_sub(authenticated_at_ms);
        let is_young = self
            .request
            .max_age_s
            .is_none_or(|max_age| age_ms <= max_age.saturating_mul(1_000));
        came_after || (is_young && !self.request.prompt.login)
    }

    /// A click counts only in the session that was asked: somebody else may have signed in since.
    fn is_answered_by(&self, session: &BrowserSession, answer: Answer) -> bool {
        let asked = self.stamp.as_ref().and_then(|stamp| stamp.session.as_ref());
        self.answer == answer && asked == Some(&session.session.id)
    }

    /// Without any scope a client still learns who somebody is.
    fn must_ask(&self, remembered: Scopes) -> bool {
        let to_ask = self.client.scopes_to_ask(self.held);
        let is_stranger = !self.client.trusted && to_ask == Scopes::NONE;
        is_stranger || !scopes::is_subset(to_ask, remembered)
    }

    fn unless_silent(&self, error: &RequestError, wait: impl FnOnce() -> Step) -> Step {
        if self.request.prompt.none {
            Step::Redirect(self.recipient.error(error))
        } else {
            wait()
        }
    }
}

fn act_of(request: &Deliberation<'_>, session: &BrowserSession) -> Act {
    Act {
        at_ms: request.now_ms,
        actor: Actor::User(session.user.id.clone()),
        ip: session.session.ip,
    }
}
