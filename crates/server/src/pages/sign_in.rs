//! The page for signing in.

use maud::{Markup, html};

use super::destination::Destination;
use super::elements::{TextField, summary, title};
use super::page::Page;
use super::problem::{Field, Problem};
use crate::config::SignUpPolicy;
use crate::oauth::authorize::PendingRequest;

/// What the form shows.
#[derive(Debug)]
pub(super) struct SignInForm<'a> {
    pub(super) destination: &'a Destination,
    pub(super) email: &'a str,
    pub(super) is_remembered: bool,
    pub(super) has_passwords: bool,
    pub(super) sign_up: SignUpPolicy,
    pub(super) problem: Option<&'a Problem>,
}

/// The form.
pub(super) fn page(form: &SignInForm<'_>) -> Page {
    let body = html! {
        h1 { "Sign in" }
        (lead(form.destination.request()))
        (summary(form.problem))
        @if form.has_passwords {
            (fields(form))
        } @else {
            div.notice { p { "Passwords are switched off on this hub. Ask the person who runs it how to sign in." } }
        }
        @if form.sign_up != SignUpPolicy::Closed {
            p.aside {
                @if form.sign_up == SignUpPolicy::Open { "New here? " } @else { "Invited? " }
                a href=(form.destination.link("/sign-up")) { "Create an account" }
            }
        }
    };
    let page = Page::new(title("Sign in", form.problem), body)
        .enhanced()
        .leading_to(form.destination.form_targets());
    match form.problem {
        None => page,
        Some(problem) => page.with_problem(problem),
    }
}

/// For which app.
pub(super) fn lead(request: Option<&PendingRequest>) -> Markup {
    html! {
        @if let Some(request) = request {
            p.lead { "to continue to " strong { (request.client.name) } }
        }
    }
}

fn fields(form: &SignInForm<'_>) -> Markup {
    let email = TextField {
        field: Field::Email,
        label: "Email",
        value: form.email,
        autocomplete: "username",
        hint: None,
        is_required: true,
        max_length: 254,
        is_first: true,
    };
    let password = TextField {
        field: Field::Password,
        label: "Password",
        value: "",
        autocomplete: "current-password",
        hint: None,
        is_required: true,
        max_length: 1024,
        is_first: false,
    };
    html! {
        form method="post" action="/sign-in" {
            (form.destination.hidden_fields())
            div.fields {
                (email.render(form.problem))
                (password.render(form.problem))
                label.check {
                    input type="checkbox" name="remember" value="true" checked[form.is_remembered];
                    "Keep me signed in on this device"
                }
                div.actions { button.button { "Sign in" } }
            }
        }
    }
}

impl Page {
    /// A form that was not taken.
    pub(super) fn with_problem(self, problem: &Problem) -> Self {
        let page = self.with_status(problem.status);
        match problem.retry_after_s {
            Some(seconds) => page.retry_after(seconds),
            None => page,
        }
    }
}
