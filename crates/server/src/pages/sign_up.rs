//! The pages that make an account: by the policy of the hub, by invitation, and the first one by setup link.

use maud::{Markup, html};

use super::destination::Destination;
use super::elements::{TextField, summary, title};
use super::page::Page;
use super::problem::{Field, Problem};
use super::sign_in::lead;

/// Through which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Anybody; an invitation may be used too.
    Open,
    /// With an invitation.
    Invitation,
    /// The first account.
    Setup,
}

/// What the form shows.
#[derive(Debug)]
pub(super) struct SignUpForm<'a> {
    pub(super) way: Way,
    pub(super) destination: &'a Destination,
    pub(super) token: &'a str,
    pub(super) name: &'a str,
    pub(super) email: &'a str,
    pub(super) problem: Option<&'a Problem>,
}

/// The form.
pub(super) fn page(form: &SignUpForm<'_>) -> Page {
    let (heading, action, button) = match form.way {
        Way::Open | Way::Invitation => ("Create your account", "/sign-up", "Create account"),
        Way::Setup => ("Set up this hub", "/setup", "Create the first account"),
    };
    let body = html! {
        h1 { (heading) }
        @match form.way {
            Way::Setup => { p.lead { "Create the first account. It looks after this hub." } }
            _ => { (lead(form.destination.request())) }
        }
        (summary(form.problem))
        form method="post" action=(action) {
            (form.destination.hidden_fields())
            div.fields {
                (token(form))
                (person_fields(form))
                div.actions { button.button { (button) } }
            }
        }
        @if form.way != Way::Setup {
            p.aside {
                "Have an account? "
                a href=(form.destination.link("/sign-in")) { "Sign in" }
            }
        }
    };
    let page = Page::new(title(heading, form.problem), body)
        .enhanced()
        .leading_to(form.destination.form_targets());
    match form.problem {
        None => page,
        Some(problem) => page.with_problem(problem),
    }
}

/// The token comes in the fragment of a link, and a script moves it here; without scripts it is pasted.
fn token(form: &SignUpForm<'_>) -> Markup {
    let is_needed = form.way != Way::Open;
    let is_setup = form.way == Way::Setup;
    let field = TextField {
        field: Field::Token,
        label: if is_setup { "Setup link" } else { "Invitation" },
        value: form.token,
        autocomplete: "off",
        hint: Some("Paste the whole link, or what stands in it after #t=."),
        is_required: is_needed,
        max_length: 512,
        is_first: is_needed && form.token.is_empty(),
    };
    let known = if is_setup {
        "The setup link was recognised."
    } else {
        "Your invitation was recognised."
    };
    let is_open = !form.token.is_empty();
    html! {
        div.notice #token-known hidden { p { (known) } }
        div data-token {
            @if is_needed {
                (field.render(form.problem))
            } @else {
                details open[is_open] {
                    summary { "I have an invitation" }
                    (field.render(form.problem))
                }
            }
        }
    }
}

fn person_fields(form: &SignUpForm<'_>) -> Markup {
    let is_begun = form.way == Way::Open || !form.token.is_empty();
    let name = TextField {
        field: Field::Name,
        label: "Name",
        value: form.name,
        autocomplete: "name",
        hint: None,
        is_required: false,
        max_length: 200,
        is_first: false,
    };
    let email = TextField {
        field: Field::Email,
        label: "Email",
        value: form.email,
        autocomplete: "username",
        hint: None,
        is_required: true,
        max_length: 254,
        is_first: is_begun,
    };
    let password = TextField {
        field: Field::Password,
        label: "Password",
        value: "",
        autocomplete: "new-password",
        hint: Some("At least 8 characters. A long phrase is best."),
        is_required: true,
        max_length: 1024,
        is_first: false,
    };
    html! {
        (email.render(form.problem))
        (name.render(form.problem))
        (password.render(form.problem))
    }
}
