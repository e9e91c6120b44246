//! The click that a native app needs (RFC 8252 section 8.6): any program on the person's machine can pretend to be it.

use maud::html;

use super::account::use_another;
use super::destination::Destination;
use super::elements::person;
use super::page::Page;
use super::words::{AnswerGoesTo, answer_goes_to};
use crate::oauth::authorize::PendingRequest;
use crate::ports::User;

/// Asks whether the person started this.
pub(super) fn page(request: &PendingRequest, user: &User) -> Page {
    let app = &request.client.name;
    let destination = Destination::Request(Box::new(request.clone()));
    let heading = format!("Continue to {app}?");
    let body = html! {
        h1 { (heading) }
        p.lead {
            @match answer_goes_to(&request.redirect_uri) {
                AnswerGoesTo::ThisDevice => { "A program on this device asks to use your account." }
                AnswerGoesTo::App { scheme } => { "The app that opens " code { (scheme) ":" } " links on this device asks to use your account." }
                AnswerGoesTo::Site { host } => { strong { (host) } " asks to use your account." }
            }
        }
        (person(user))
        div.notice { p { "Continue only if you have just started this in " (app) " yourself." } }
        form method="post" action="/continue" {
            (destination.hidden_fields())
            div.actions {
                button.button name="accept" value="true" { "Continue as " (user.name) }
                button.button.quiet name="accept" value="false" { "Cancel" }
            }
        }
        (use_another(&request.query.0, &user.email))
    };
    Page::new(heading, body).leading_to(destination.form_targets())
}
