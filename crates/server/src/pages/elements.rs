//! Parts that pages have in common.

use maud::{Markup, html};

use super::problem::{Field, Problem};
use crate::ports::User;

const SUMMARY: &str = "problem";

/// A labelled input. The error, when it is about this field, and the hint are part of its description.
pub(super) struct TextField<'a> {
    pub(super) field: Field,
    pub(super) label: &'a str,
    pub(super) value: &'a str,
    pub(super) autocomplete: &'a str,
    pub(super) hint: Option<&'a str>,
    pub(super) is_required: bool,
    pub(super) max_length: u16,
    /// Where typing begins when nothing is wrong.
    pub(super) is_first: bool,
}

impl TextField<'_> {
    pub(super) fn render(&self, problem: Option<&Problem>) -> Markup {
        let id = self.field.id();
        let wrong = problem.filter(|problem| problem.is_about(self.field));
        let hint_id = self.hint.map(|_| format!("{id}-hint"));
        let wrong_id = wrong.map(|wrong| {
            if wrong.has_one_field() {
                format!("{id}-wrong")
            } else {
                SUMMARY.to_owned()
            }
        });
        let described: Vec<&str> = [wrong_id.as_deref(), hint_id.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let described = (!described.is_empty()).then(|| described.join(" "));
        let begins_here = match problem {
            Some(problem) => problem.first_field() == Some(self.field),
            None => self.is_first,
        };
        let is_password = self.field == Field::Password;
        let is_token = self.field == Field::Token;
        let kind = match self.field {
            Field::Email => "email",
            Field::Password => "password",
            Field::Name | Field::Token => "text",
        };
        let spelled = matches!(self.field, Field::Name).then_some("true");
        let input = html! {
            input #(id) .code[is_token] name=(id) type=(kind) value=[(!is_password).then_some(self.value)]
                autocomplete=(self.autocomplete) maxlength=(self.max_length) required[self.is_required]
                autocapitalize=[spelled.is_none().then_some("none")] spellcheck=(spelled.unwrap_or("false"))
                aria-invalid=[wrong.map(|_| "true")] aria-describedby=[described] autofocus[begins_here];
        };
        html! {
            div.field {
                label for=(id) {
                    (self.label)
                    @if !self.is_required { span.optional { " (optional)" } }
                }
                @if is_password {
                    div.reveal {
                        (input)
                        button type="button" data-reveal=(id) aria-label="Show password" hidden { "Show" }
                    }
                } @else {
                    (input)
                }
                @if let Some(wrong) = wrong.filter(|wrong| wrong.has_one_field()) {
                    p.wrong id=[wrong_id] { (wrong.text()) }
                }
                @if let Some(hint) = self.hint {
                    p.hint id=[hint_id] { (hint) }
                }
            }
        }
    }
}

/// What went wrong, above the form; read out when the page opens.
pub(super) fn summary(problem: Option<&Problem>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            div.notice.failed #(SUMMARY) role="alert" {
                @match problem.first_field() {
                    Some(field) if problem.has_one_field() => {
                        p { "Please check the field “" a href=(format!("#{}", field.id())) { (field.name()) } "”." }
                    }
                    _ => { p { (problem.text()) } }
                }
            }
        }
    }
}

/// The title of a page whose form was not taken begins with the error: that is what is read out first.
pub(super) fn title(text: &str, problem: Option<&Problem>) -> String {
    match problem {
        Some(_) => format!("Error: {text}"),
        None => text.to_owned(),
    }
}

/// Who is signed in.
pub(super) fn person(user: &User) -> Markup {
    let initial: String = user
        .name
        .chars()
        .chain(user.email.chars())
        .find(|letter| letter.is_alphanumeric())
        .map_or_else(String::new, |letter| letter.to_uppercase().collect());
    html! {
        div.person {
            span.initial aria-hidden="true" { (initial) }
            div {
                p.name { (user.name) }
                p.email { (user.email) }
            }
        }
    }
}

pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}

pub(super) fn tick() -> Markup {
    html! {
        svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"
            stroke-linejoin="round" aria-hidden="true" {
            path d="m4.5 10.5 3.5 3.5 7.5-8" {}
        }
    }
}
