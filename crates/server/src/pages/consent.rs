//! What an app will be able to do, and whether the person agrees.

use epicenter_identity::{Scope, Scopes};
use maud::{Markup, html};

use super::account::use_another;
use super::destination::Destination;
use super::elements::{person, tick};
use super::page::Page;
use super::words::{self, AnswerGoesTo, ScopeWords, answer_goes_to};
use crate::oauth::authorize::PendingRequest;
use crate::ports::User;

/// Asks for consent.
pub(super) fn page(request: &PendingRequest, user: &User) -> Page {
    let app = &request.client.name;
    let destination = Destination::Request(Box::new(request.clone()));
    let heading = format!("Allow {app} to use your account?");
    let body = html! {
        h1 { (heading) }
        (person(user))
        (abilities(request))
        div.notice { (way_back(request)) }
        form method="post" action="/consent" {
            (destination.hidden_fields())
            div.actions {
                button.button name="accept" value="true" { "Allow" }
                button.button.quiet name="accept" value="false" { "Do not allow" }
            }
        }
        (use_another(&request.query.0, &user.email))
    };
    Page::new(heading, body).leading_to(destination.form_targets())
}

fn abilities(request: &PendingRequest) -> Markup {
    html! {
        h2 { (request.client.name) " will be able to" }
        ul.grants {
            @if request.scopes == Scopes::NONE {
                // Without any scope an app still learns who somebody is.
                (ability(&words::scope(Scope::OpenId)))
            }
            @for scope in request.scopes.iter().map(words::scope) {
                (ability(&scope))
            }
        }
    }
}

fn ability(words: &ScopeWords) -> Markup {
    html! {
        li.heavy[words.is_heavy] {
            (tick())
            div {
                (words.text)
                @if let Some(detail) = words.detail { small { (detail) } }
            }
        }
    }
}

fn way_back(request: &PendingRequest) -> Markup {
    html! {
        p {
            "Not made by this hub. "
            @match answer_goes_to(&request.redirect_uri) {
                AnswerGoesTo::Site { host } => { "You will be sent to " strong { (host) } "." }
                AnswerGoesTo::ThisDevice => { "The answer goes to a program on this device." }
                AnswerGoesTo::App { scheme } => { "The answer goes to the app that opens " code { (scheme) ":" } " links on this device." }
            }
        }
    }
}
