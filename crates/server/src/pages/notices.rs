//! Pages that say why something cannot be done, and what to do instead.

use epicenter_api::ErrorName;
use http::StatusCode;
use maud::{Markup, html};

use super::page::Page;
use super::problem::RETRY_SOON_S;
use crate::error::Refusal;
use crate::oauth::authorize::AuthorizeError;
use crate::ports::StoreUnavailable;

impl From<StoreUnavailable> for Page {
    fn from(_: StoreUnavailable) -> Self {
        unavailable()
    }
}

impl From<AuthorizeError> for Page {
    fn from(error: AuthorizeError) -> Self {
        let page = match error {
            AuthorizeError::UnknownClient => unknown_client(),
            AuthorizeError::RedirectUri => foreign_redirect(),
            AuthorizeError::Malformed => malformed(),
            AuthorizeError::Expired => expired(),
        };
        page.with_status(StatusCode::BAD_REQUEST)
    }
}

impl From<Refusal> for Page {
    fn from(refusal: Refusal) -> Self {
        of_name(refusal.name())
    }
}

/// For what the hub refused before a page was reached.
pub(super) fn of_name(name: ErrorName) -> Page {
    let (title, lead, advice) = match name {
        ErrorName::ForbiddenOrigin => (
            "This came from another site",
            "The form was not sent by a page of this hub, so nothing was done.",
            "Open the page anew and try again there.",
        ),
        ErrorName::RateLimited => (
            "Too many attempts",
            "There were too many requests from your network in a short time.",
            "Wait a minute, then try again.",
        ),
        ErrorName::StorageUnavailable => return unavailable(),
        name if name.status() >= 500 => (
            "Something went wrong here",
            "That is a fault of the hub, not yours. It was written down.",
            "Try again in a moment.",
        ),
        _ => (
            "This was not understood",
            "The hub could not read what your browser sent, so nothing was done.",
            "Go back, reload the page and try again.",
        ),
    };
    let status = StatusCode::from_u16(name.status()).unwrap_or(StatusCode::BAD_REQUEST);
    notice(title, html! { p.lead { (lead) } p.lead { (advice) } }).with_status(status)
}

/// The page of `/auth/error`. Codes that we know have a text of ours; what a link says besides is never shown.
pub(super) fn of_code(code: &str) -> Page {
    match code {
        "invalid_client" | "unauthorized_client" => unknown_client(),
        "invalid_redirect" | "invalid_redirect_uri" => foreign_redirect(),
        "expired_request" => expired(),
        "invalid_request" | "unsupported_response_type" | "invalid_scope" | "invalid_target" => {
            malformed()
        }
        "access_denied" => declined(),
        "temporarily_unavailable" | "server_error" => unavailable().with_status(StatusCode::OK),
        _ => notice(
            "Something went wrong",
            html! {
                p.lead { "The sign-in did not work. Nothing was shared with any app." }
                p.lead { "Go back to the app and start again." }
            },
        ),
    }
}

pub(super) fn unavailable() -> Page {
    notice(
        "The hub is not ready",
        html! {
            p.lead { "It cannot reach its database right now. Nothing is lost and nothing was changed." }
            p.lead { "Wait a few seconds, then reload this page." }
        },
    )
    .with_status(StatusCode::SERVICE_UNAVAILABLE)
    .retry_after(RETRY_SOON_S)
}

pub(super) fn not_set_up() -> Page {
    notice(
        "This hub is not set up yet",
        html! {
            p.lead { "It has no account so far. The first one is made with a setup link, and only whoever runs the hub has that." }
            h2 { "If that is you" }
            ol.steps {
                li { "Look at the terminal where the hub was started, or into the file " code { "setup-link" } " in its data directory." }
                li { "Open the link there. It works once and for 30 minutes." }
                li { "For a new link, run " code { "epicenter admin setup-link" } " on the hub’s machine." }
            }
        },
    )
    .with_status(StatusCode::FORBIDDEN)
}

pub(super) fn already_set_up() -> Page {
    notice(
        "This hub is already set up",
        html! {
            p.lead { "Its first account exists, so setup links open nothing any more." }
            div.actions { a.button href="/sign-in" { "Sign in" } }
        },
    )
    .with_status(StatusCode::FORBIDDEN)
}

pub(super) fn sign_up_closed(sign_in: &str) -> Page {
    notice(
        "Sign-up is closed",
        html! {
            p.lead { "New accounts on this hub are made by whoever runs it. Ask them for one." }
            div.actions { a.button href=(sign_in) { "Sign in" } }
        },
    )
    .with_status(StatusCode::FORBIDDEN)
}

fn unknown_client() -> Page {
    notice(
        "This app is not known here",
        html! {
            p.lead { "An app sent you here to sign in, but this hub does not know it. Nothing was shared with it." }
            p.lead { "Check that the app is set to the right hub. Whoever runs this hub can add apps in its configuration." }
        },
    )
}

fn foreign_redirect() -> Page {
    notice(
        "This app gave a wrong address",
        html! {
            p.lead { "After signing in, you would have been sent to an address that does not belong to the app. The hub stopped there, and nothing was shared." }
            p.lead { "If you did not start this yourself, close this page. Otherwise update the app, or tell its makers." }
        },
    )
}

fn malformed() -> Page {
    notice(
        "The app’s request is not complete",
        html! {
            p.lead { "An app sent you here to sign in, but its request cannot be read. Nothing was shared with it." }
            p.lead { "Go back to the app and start again. If that does not help, update the app." }
        },
    )
}

fn expired() -> Page {
    notice(
        "This sign-in took too long",
        html! {
            p.lead { "The request of the app is no longer valid. Nothing was shared with it." }
            p.lead { "Go back to the app and start again." }
        },
    )
}

fn declined() -> Page {
    notice(
        "You declined",
        html! {
            p.lead { "The app has no access to your account." }
            p.lead { "You can close this page." }
        },
    )
}

fn notice(title: &str, text: Markup) -> Page {
    Page::new(title, html! { h1 { (title) } (text) })
}
