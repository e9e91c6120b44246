//! Accounts over JSON, in the shapes that clients of today know (`identity.md` 1).
//!
//! They take and give what Better Auth's do, with these differences: the answer to malformed JSON is 400, `token` is the
//! public id of a session and no credential, and there is one cookie, that of the session.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderName, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{CurrentAnswer, SessionAnswer, SignInAnswer, TokenAnswer, UserAnswer};
use super::fields::Fields;
use super::problem::Problem;
use super::rules;
use super::service::{AccountError, Attempt, SignUp, SignedIn};
use super::sessions::NewPassword;
use super::store::{AlsoEnd, SessionId};
use crate::auth::{BrowserSession, cookie};
use crate::oauth::authorize::{Answer, PendingRequest, SignedQuery};
use crate::peer::PeerAddress;
use crate::secret::Secret;
use crate::state::{HubState, SharedHub};

/// Whether the accounts are there at all, for clients that probe.
pub(crate) async fn ok() -> Json<Value> {
    Json(json!({ "ok": true }))
}

/// `POST /auth/sign-up/email`
pub(crate) async fn sign_up_email(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = Fields::read(&parts.headers, body).await?;
    let invitation = fields.find("invitation")?;
    let form = SignUp {
        name: fields.text("name")?,
        email: fields.text("email")?,
        password: fields.password("password")?,
        invitation: invitation.map(|token| Secret::presented(&token)),
    };
    // There for mails of verification, which are not sent: checked so that nobody relies on a bad one.
    hub.callback(&mut fields)?;
    let attempt = hub.attempt(&parts, &mut fields).await?;
    let is_invited = form.invitation.is_some();
    let signed_in = hub.sign_up(form, &attempt).await;
    let signed_in = signed_in.map_err(|error| match error {
        AccountError::EmailTaken => Problem::taken(is_invited),
        other => other.into(),
    })?;
    let answer = hub.token_answer(&signed_in).await?;
    Ok(hub.with_session(&signed_in, answer_with(&answer)))
}

/// `POST /auth/sign-in/email`
pub(crate) async fn sign_in_email(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let mut fields = Fields::read(&parts.headers, body).await?;
    let email = fields.text("email")?;
    let password = fields.password("password")?;
    let callback = hub.callback(&mut fields)?;
    // Before the password: a request that is over must not cost the person an attempt.
    let pending = hub.pending(&mut fields)?;
    let attempt = hub.attempt(&parts, &mut fields).await?;
    let signed_in = hub.sign_in(&email, password, &attempt).await?;
    let response = match pending {
        Some(pending) => hub.next_step(&signed_in, &pending).await?,
        None => hub.signed_in_answer(&signed_in, callback).await?,
    };
    Ok(hub.with_session(&signed_in, response))
}

/// `POST /auth/sign-out`: ends the session of this browser and no grant.
pub(crate) async fn sign_out(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let session = hub.authenticator.browser_session(&parts.headers).await?;
    if let Some(current) = session {
        let attempt = Attempt::of(&parts.headers, PeerAddress::of(&parts.extensions), None);
        let user = &current.user.id;
        hub.sign_out(user, &current.session, &attempt).await?;
    }
    let response = answer_with(&json!({ "success": true }));
    Ok(with_cookie(response, cookie::clear(&hub.config.origin)))
}

/// `GET /auth/get-session`: session and account, or `null`.
pub(crate) async fn find_session(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let nobody = || answer_with(&Value::Null);
    let Some(mut current) = hub.authenticator.browser_session(headers).await? else {
        return Ok(nobody());
    };
    let Some(account) = hub.find_account(&current.user.id).await? else {
        return Ok(nobody());
    };
    let extended = hub.refresh_session(&mut current).await?;
    let response = answer_with(&CurrentAnswer {
        session: SessionAnswer::from(current.session),
        user: UserAnswer::from(account),
    });
    Ok(match extended {
        Some(line) => with_cookie(response, line),
        None => response,
    })
}

/// `GET /auth/list-sessions`
pub(crate) async fn list_sessions(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let current = hub.require_session(request.headers()).await?;
    let sessions = hub.list_sessions(&current).await?;
    let sessions: Vec<_> = sessions.into_iter().map(SessionAnswer::from).collect();
    Ok(answer_with(&sessions))
}

/// `POST /auth/revoke-session`: `token` is what `list-sessions` calls so. One that is no session of this person is not told
/// apart from one that was.
pub(crate) async fn revoke_session(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let current = hub.require_session(&parts.headers).await?;
    let mut fields = Fields::read(&parts.headers, body).await?;
    let id = SessionId::new(fields.text("token")?);
    let attempt = Attempt::of(&parts.headers, PeerAddress::of(&parts.extensions), None);
    hub.revoke_session(&current, &id, &attempt).await?;
    let response = answer_with(&json!({ "status": true }));
    Ok(if id == current.session.id {
        with_cookie(response, cookie::clear(&hub.config.origin))
    } else {
        response
    })
}

/// `POST /auth/revoke-other-sessions`: signs out everywhere but here, apps included.
pub(crate) async fn revoke_other_sessions(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let current = hub.require_session(&parts.headers).await?;
    let attempt = Attempt::of(&parts.headers, PeerAddress::of(&parts.extensions), None);
    hub.sign_out_elsewhere(&current, &attempt).await?;
    Ok(answer_with(&json!({ "status": true })))
}

/// `POST /auth/change-password`: other browser sessions end in any case; with `revokeOtherSessions` apps are signed out too.
pub(crate) async fn change_password(
    State(hub): State<SharedHub>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let current = hub.require_session(&parts.headers).await?;
    let mut fields = Fields::read(&parts.headers, body).await?;
    let form = NewPassword {
        new: fields.password("newPassword")?,
        current: fields.password("currentPassword")?,
        also: match fields.flag("revokeOtherSessions")? {
            Some(true) => AlsoEnd::Grants,
            Some(false) | None => AlsoEnd::Nothing,
        },
    };
    let attempt = Attempt::of(&parts.headers, PeerAddress::of(&parts.extensions), None);
    let changed = hub.change_password(&current, form, &attempt).await;
    let changed = changed.map_err(|error| match error {
        AccountError::InvalidCredentials => Problem::current_password(),
        other => other.into(),
    })?;
    let answer = hub.token_answer(&changed).await?;
    Ok(hub.with_session(&changed, answer_with(&answer)))
}

impl HubState {
    async fn require_session(&self, headers: &http::HeaderMap) -> Result<BrowserSession, Problem> {
        let session = self.authenticator.browser_session(headers).await?;
        session.ok_or_else(Problem::unauthorized)
    }

    /// The circumstances of a sign-in or sign-up.
    async fn attempt(&self, parts: &Parts, fields: &mut Fields) -> Result<Attempt, Problem> {
        let remember = fields.flag("rememberMe")?.unwrap_or(true);
        let current = self.authenticator.browser_session(&parts.headers).await?;
        let ip = PeerAddress::of(&parts.extensions);
        let attempt = Attempt::of(&parts.headers, ip, current);
        Ok(Attempt {
            remember,
            ..attempt
        })
    }

    /// Where the client wants to go on, if that is allowed.
    fn callback(&self, fields: &mut Fields) -> Result<Option<String>, Problem> {
        let Some(callback) = fields.find("callbackURL")? else {
            return Ok(None);
        };
        let config = &self.config;
        if rules::is_safe_callback(&callback, &config.origin, &config.trusted_origins) {
            Ok(Some(callback))
        } else {
            Err(Problem::callback())
        }
    }

    /// The request of an app that waits for this sign-in.
    fn pending(&self, fields: &mut Fields) -> Result<Option<PendingRequest>, Problem> {
        let Some(query) = fields.find("oauth_query")? else {
            return Ok(None);
        };
        let pending = self.pending_request(&query);
        pending.map(Some).map_err(|_| Problem::oauth_query())
    }

    /// On to the app, or to the page that is still to be answered.
    async fn next_step(
        &self,
        signed_in: &SignedIn,
        pending: &PendingRequest,
    ) -> Result<Response, Problem> {
        let session = signed_in.browser_session();
        let SignedQuery(query) = &pending.query;
        let step = self
            .authorize(query, Some(&session), Answer::SignedIn)
            .await?;
        let location = HeaderValue::try_from(step.location());
        // Every part of it was parsed or encoded before it came here.
        let location = location.map_err(|_| Problem::oauth_query())?;
        Ok((StatusCode::FOUND, no_store(), [(LOCATION, location)]).into_response())
    }

    async fn token_answer(&self, signed_in: &SignedIn) -> Result<TokenAnswer, Problem> {
        Ok(TokenAnswer {
            token: signed_in.session.id.as_str().to_owned(),
            user: self.user_answer(signed_in).await?,
        })
    }

    async fn signed_in_answer(
        &self,
        signed_in: &SignedIn,
        callback: Option<String>,
    ) -> Result<Response, Problem> {
        let location = callback.as_deref().map(HeaderValue::from_str).transpose();
        // A safe callback is visible ASCII.
        let location = location.map_err(|_| Problem::callback())?;
        let mut response = answer_with(&SignInAnswer {
            redirect: callback.is_some(),
            token: signed_in.session.id.as_str().to_owned(),
            url: callback,
            user: self.user_answer(signed_in).await?,
        });
        if let Some(location) = location {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }

    async fn user_answer(&self, signed_in: &SignedIn) -> Result<UserAnswer, Problem> {
        let account = self.find_account(&signed_in.user.id).await?;
        let account = account.ok_or_else(Problem::unauthorized)?;
        Ok(UserAnswer::from(account))
    }

    fn with_session(&self, signed_in: &SignedIn, response: Response) -> Response {
        let line = self.session_cookie(&signed_in.token, &signed_in.session);
        with_cookie(response, line)
    }
}

/// No answer about a person is kept by anybody in between.
fn answer_with(body: &impl Serialize) -> Response {
    (no_store(), Json(body)).into_response()
}

fn no_store() -> [(HeaderName, HeaderValue); 1] {
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

fn with_cookie(mut response: Response, line: HeaderValue) -> Response {
    response.headers_mut().append(SET_COOKIE, line);
    response
}
