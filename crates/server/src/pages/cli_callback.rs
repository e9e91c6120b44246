//! Where the command line's sign-in ends: the person carries the code over by hand.

use http::StatusCode;
use maud::html;

use super::page::Page;

/// Longer than any code; what is longer is none.
const LONGEST_CODE: usize = 256;

/// The page for the parameters that the authorization endpoint sent here. The `state` is the program's own business.
pub(super) fn page(host: &str, code: Option<&str>, error: Option<&str>) -> Page {
    let page = match (code, error) {
        (_, Some(error)) => failed(error),
        (Some(code), None) if is_code(code) => show(host, code),
        _ => no_code(),
    };
    page.secretive()
}

/// Anybody can make a link to this page: what is shown as a code must not be a sentence.
fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_CODE
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn show(host: &str, code: &str) -> Page {
    let body = html! {
        h1 { "Copy this code" }
        p.lead { "Paste it into the terminal that asked you to sign in to " strong { (host) } "." }
        div.secret #code role="group" aria-label="Code" { (code) }
        div.actions {
            button.button type="button" data-copy="code" aria-live="polite" hidden { "Copy code" }
        }
        div.notice {
            p { strong { "Give this code only to that terminal." } " Whoever has it can sign in as you. It works once and for 10 minutes." }
            p { "If you did not start a sign-in yourself, close this page." }
        }
    };
    Page::new("Your sign-in code", body).enhanced()
}

fn failed(error: &str) -> Page {
    let (heading, text) = match error {
        "access_denied" => (
            "You declined",
            "The command line has no access to your account. You can close this page.",
        ),
        "login_required" | "interaction_required" | "consent_required" => (
            "A click was needed",
            "The command line asked for a sign-in without any question, and that cannot be done here. Start it again.",
        ),
        "temporarily_unavailable" | "server_error" => (
            "The hub is not ready",
            "It could not finish the sign-in. Wait a few seconds, then start it again in the terminal.",
        ),
        _ => (
            "The sign-in did not work",
            "The command line’s request was refused. Update the program, then start again in the terminal.",
        ),
    };
    let body = html! { h1 { (heading) } p.lead { (text) } };
    Page::new(heading, body)
}

fn no_code() -> Page {
    let body = html! {
        h1 { "There is no code here" }
        p.lead { "This page shows the code of a sign-in that was started in a terminal. Run " code { "epicenter auth login" } " to start one." }
    };
    Page::new("No code", body).with_status(StatusCode::BAD_REQUEST)
}
