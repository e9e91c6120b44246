//! Handlers of pages: read the request, ask a service, show a page or lead on.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::header::SET_COOKIE;

use super::destination::{Destination, follow, see_other};
use super::form::Form;
use super::page::{Frame, Page};
use super::problem::Problem;
use super::sign_in::SignInForm;
use super::sign_up::{SignUpForm, Way};
use super::visit::Visit;
use super::{account, cli_callback as cli, consent as consent_page, continue_as as continue_page};
use super::{notices, sign_in as sign_in_page, sign_up as sign_up_page};
use crate::accounts::service::{AccountError, SetUp, SignUp, SignedIn};
use crate::auth::BrowserSession;
use crate::auth::cookie;
use crate::config::SignUpPolicy;
use crate::oauth::authorize::{Answer, PendingRequest, Step};
use crate::query;
use crate::state::{HubState, SharedHub};

/// `GET /sign-in`
pub(crate) async fn sign_in(State(hub): State<SharedHub>, visit: Visit) -> Response {
    visit.answer(show_sign_in(&hub, &visit).await)
}

async fn show_sign_in(hub: &HubState, visit: &Visit) -> Result<Response, Page> {
    let destination = Destination::of_query(hub, &visit.query)?;
    if let Some(session) = &visit.session {
        match &destination {
            Destination::Page(page) => return Ok(see_other(page)),
            Destination::Nowhere => return Ok(visit.show(account::signed_in(&session.user))),
            Destination::Request(pending) => {
                let step = hub
                    .authorize(&pending.query.0, Some(session), Answer::Asked)
                    .await?;
                // Only a request that wants a fresh sign-in comes back to this page.
                if !matches!(step, Step::SignIn(_)) {
                    return Ok(follow(&step));
                }
            }
        }
    } else if !hub.ports.accounts.has_accounts().await? {
        return Err(notices::not_set_up());
    }
    Ok(visit.show(sign_in_form(hub, &destination, "", true, None)))
}

fn sign_in_form(
    hub: &HubState,
    destination: &Destination,
    email: &str,
    is_remembered: bool,
    problem: Option<&Problem>,
) -> Page {
    sign_in_page::page(&SignInForm {
        destination,
        email,
        is_remembered,
        has_passwords: hub.config.accounts.password,
        sign_up: hub.config.accounts.sign_up,
        problem,
    })
}

/// `POST /sign-in`
pub(crate) async fn submit_sign_in(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_sign_in(&hub, &visit, body).await)
}

async fn take_sign_in(hub: &HubState, visit: &Visit, body: Body) -> Result<Response, Page> {
    let form = Form::read(&visit.headers, body).await?;
    let destination = Destination::of_form(hub, &form)?;
    let mut attempt = visit.attempt();
    attempt.remember = form.has("remember");
    let email = form.text("email");
    match hub.sign_in(email, form.password(), &attempt).await {
        Ok(signed_in) => Ok(lead_on(hub, visit, signed_in, &destination).await),
        Err(AccountError::SetupRequired) => Err(notices::not_set_up()),
        Err(error) => Err(sign_in_form(
            hub,
            &destination,
            email,
            attempt.remember,
            Some(&error.into()),
        )),
    }
}

/// `GET /sign-up`
pub(crate) async fn sign_up(State(hub): State<SharedHub>, visit: Visit) -> Response {
    visit.answer(show_sign_up(&hub, &visit).await)
}

async fn show_sign_up(hub: &HubState, visit: &Visit) -> Result<Response, Page> {
    let destination = Destination::of_query(hub, &visit.query)?;
    let way = sign_up_way(hub, &destination)?;
    if !hub.ports.accounts.has_accounts().await? {
        return Err(notices::not_set_up());
    }
    Ok(visit.show(sign_up_form(way, &destination, None, None)))
}

fn sign_up_way(hub: &HubState, destination: &Destination) -> Result<Way, Page> {
    match hub.config.accounts.sign_up {
        SignUpPolicy::Open => Ok(Way::Open),
        SignUpPolicy::Invite => Ok(Way::Invitation),
        SignUpPolicy::Closed => Err(notices::sign_up_closed(&destination.link("/sign-in"))),
    }
}

/// The form again as it was sent, but for the password.
fn sign_up_form(
    way: Way,
    destination: &Destination,
    sent: Option<&Form>,
    problem: Option<&Problem>,
) -> Page {
    let text = |name| sent.map_or("", |form| form.text(name));
    sign_up_page::page(&SignUpForm {
        way,
        destination,
        token: text("token"),
        name: text("name"),
        email: text("email"),
        problem,
    })
}

/// `POST /sign-up`
pub(crate) async fn submit_sign_up(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_sign_up(&hub, &visit, body).await)
}

async fn take_sign_up(hub: &HubState, visit: &Visit, body: Body) -> Result<Response, Page> {
    let form = Form::read(&visit.headers, body).await?;
    let destination = Destination::of_form(hub, &form)?;
    let way = sign_up_way(hub, &destination)?;
    let sign_up = SignUp {
        email: form.text("email").to_owned(),
        name: form.text("name").to_owned(),
        password: form.password(),
        invitation: form.token(),
    };
    if way == Way::Invitation && sign_up.invitation.is_none() {
        let problem = Problem::no_link();
        return Err(sign_up_form(way, &destination, Some(&form), Some(&problem)));
    }
    match hub.sign_up(sign_up, &visit.attempt()).await {
        Ok(signed_in) => Ok(lead_on(hub, visit, signed_in, &destination).await),
        Err(AccountError::SetupRequired) => Err(notices::not_set_up()),
        Err(error) => Err(sign_up_form(
            way,
            &destination,
            Some(&form),
            Some(&error.into()),
        )),
    }
}

/// `GET /setup`
pub(crate) async fn setup(State(hub): State<SharedHub>, visit: Visit) -> Response {
    visit.answer(show_setup(&hub, &visit).await)
}

async fn show_setup(hub: &HubState, visit: &Visit) -> Result<Response, Page> {
    let destination = Destination::of_query(hub, &visit.query)?;
    if hub.ports.accounts.has_accounts().await? {
        return Err(notices::already_set_up());
    }
    Ok(visit.show(sign_up_form(Way::Setup, &destination, None, None)))
}

/// `POST /setup`
pub(crate) async fn submit_setup(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_setup(&hub, &visit, body).await)
}

async fn take_setup(hub: &HubState, visit: &Visit, body: Body) -> Result<Response, Page> {
    let form = Form::read(&visit.headers, body).await?;
    let destination = Destination::of_form(hub, &form)?;
    let refused =
        |problem: Problem| sign_up_form(Way::Setup, &destination, Some(&form), Some(&problem));
    let link = form.token().ok_or_else(|| refused(Problem::no_link()))?;
    let set_up = SetUp {
        link,
        email: form.text("email").to_owned(),
        name: form.text("name").to_owned(),
        password: form.password(),
    };
    match hub.set_up(set_up, &visit.attempt()).await {
        Ok(signed_in) => Ok(lead_on(hub, visit, signed_in, &destination).await),
        // Whoever comes too late learns that here; a link that is merely old leaves the form.
        Err(AccountError::LinkSpent) if hub.ports.accounts.has_accounts().await? => {
            Err(notices::already_set_up())
        }
        Err(error) => Err(refused(error.into())),
    }
}

/// Where somebody goes who has just signed in, with the cookie of the new session.
async fn lead_on(
    hub: &HubState,
    visit: &Visit,
    signed_in: SignedIn,
    destination: &Destination,
) -> Response {
    let line = hub.session_cookie(&signed_in.token, &signed_in.session);
    let session = signed_in.browser_session();
    let mut response = match destination {
        Destination::Request(pending) => {
            let step = hub
                .authorize(&pending.query.0, Some(&session), Answer::SignedIn)
                .await;
            visit.answer(step.map(|step| follow(&step)).map_err(Page::from))
        }
        Destination::Page(page) => see_other(page),
        Destination::Nowhere => see_other("/sign-in"),
    };
    // The session has begun whatever became of the request.
    response.headers_mut().append(SET_COOKIE, line);
    response
}

/// `GET /sign-out`
pub(crate) async fn sign_out(visit: Visit) -> Response {
    let page = match &visit.session {
        Some(session) => account::sign_out(&session.user),
        None => account::signed_out(),
    };
    visit.answer(Ok(visit.show(page)))
}

/// `POST /sign-out`
pub(crate) async fn submit_sign_out(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_sign_out(&hub, &visit, body).await)
}

async fn take_sign_out(hub: &HubState, visit: &Visit, body: Body) -> Result<Response, Page> {
    let form = Form::read(&visit.headers, body).await?;
    let destination = Destination::of_form(hub, &form)?;
    if let Some(BrowserSession { session, user, .. }) = &visit.session {
        let ended = hub.sign_out(&user.id, session, &visit.attempt()).await;
        // A cookie that is taken away while its session lives would be a lie.
        ended.map_err(|_| notices::unavailable())?;
    }
    let next = match form.text("next") {
        "sign-in" => destination.link("/sign-in"),
        _ => "/sign-out".to_owned(),
    };
    let mut response = see_other(&next);
    let line = cookie::clear(&hub.config.origin);
    response.headers_mut().append(SET_COOKIE, line);
    Ok(response)
}

/// `GET /continue`
pub(crate) async fn continue_as(State(hub): State<SharedHub>, visit: Visit) -> Response {
    visit.answer(show_question(&hub, &visit, continue_page::page))
}

/// `GET /consent`
pub(crate) async fn consent(State(hub): State<SharedHub>, visit: Visit) -> Response {
    visit.answer(show_question(&hub, &visit, consent_page::page))
}

fn show_question(
    hub: &HubState,
    visit: &Visit,
    page: fn(&PendingRequest, &crate::ports::User) -> Page,
) -> Result<Response, Page> {
    let pending = hub.pending_request(&visit.query)?;
    Ok(match &visit.session {
        Some(session) => visit.show(page(&pending, &session.user)),
        None => follow(&Step::SignIn(pending.query)),
    })
}

/// `POST /continue`
pub(crate) async fn submit_continue_as(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_answer(&hub, &visit, body, Answer::Continue).await)
}

/// `POST /consent`
pub(crate) async fn submit_consent(
    State(hub): State<SharedHub>,
    visit: Visit,
    body: Body,
) -> Response {
    visit.answer(take_answer(&hub, &visit, body, Answer::Consent).await)
}

async fn take_answer(
    hub: &HubState,
    visit: &Visit,
    body: Body,
    yes: Answer,
) -> Result<Response, Page> {
    let form = Form::read(&visit.headers, body).await?;
    let pending = hub.pending_request(form.text("oauth_query"))?;
    let Some(session) = &visit.session else {
        return Ok(follow(&Step::SignIn(pending.query)));
    };
    let answer = match form.text("accept") {
        "true" => yes,
        _ => Answer::Deny,
    };
    let step = hub
        .authorize(&pending.query.0, Some(session), answer)
        .await?;
    Ok(follow(&step))
}

/// `GET /auth/cli-callback`
pub(crate) async fn cli_callback(frame: Frame, RawQuery(query): RawQuery) -> Response {
    let code = first_value(query.as_deref(), "code");
    let error = first_value(query.as_deref(), "error");
    cli::page(&frame.host, code.as_deref(), error.as_deref()).into_response(&frame)
}

/// `GET /auth/error`
pub(crate) async fn error(frame: Frame, RawQuery(query): RawQuery) -> Response {
    let code = first_value(query.as_deref(), "error").unwrap_or_default();
    notices::of_code(&code).into_response(&frame)
}

/// `None` for what cannot be decoded, too.
fn first_value(query: Option<&str>, name: &str) -> Option<String> {
    query::values(query, name).next().flatten()
}
