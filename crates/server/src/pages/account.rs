//! Pages about the session of this browser: who is signed in, and signing out.

use maud::html;

use super::elements::{hidden, person};
use super::page::Page;
use crate::ports::User;

/// Who is signed in.
pub(super) fn signed_in(user: &User) -> Page {
    let body = html! {
        h1 { "You are signed in" }
        p.lead { "Apps that use this hub can now ask you to continue with this account." }
        (person(user))
        form method="post" action="/sign-out" {
            div.actions {
                button.button { "Sign out" }
                button.button.quiet name="next" value="sign-in" { "Use another account" }
            }
        }
    };
    Page::new("Signed in", body)
}

/// Asks before it signs out.
pub(super) fn sign_out(user: &User) -> Page {
    let body = html! {
        h1 { "Sign out?" }
        p.lead { "This signs you out of this browser. Apps that you connected stay connected." }
        (person(user))
        form method="post" action="/sign-out" {
            div.actions {
                button.button { "Sign out" }
                a.button.quiet href="/sign-in" { "Stay signed in" }
            }
        }
    };
    Page::new("Sign out", body)
}

/// Nobody is signed in.
pub(super) fn signed_out() -> Page {
    let body = html! {
        h1 { "You are signed out" }
        p.lead { "Nobody is signed in to this hub in this browser." }
        div.actions { a.button href="/sign-in" { "Sign in" } }
    };
    Page::new("Signed out", body)
}

/// The button for signing out and coming back to the same request.
pub(super) fn use_another(query: &str, email: &str) -> maud::Markup {
    html! {
        form.aside method="post" action="/sign-out" {
            (hidden("oauth_query", query))
            "Not " (email) "? "
            button.link name="next" value="sign-in" { "Use another account" }
        }
    }
}
