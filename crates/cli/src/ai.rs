//! `epicenter ai …`: AI models through a hub, as the person who is signed in on this machine.

mod answer;
mod conversation;
mod event_stream;
mod models;
mod question;
mod refusal;
mod visible;

use std::io::{IsTerminal as _, Read as _};

use epicenter_device::Caller;
use serde_json::json;

use crate::arguments::{ChatArguments, ModelsArguments};
use crate::auth::{machine_auth, run};
use crate::failure::Failure;
use crate::print;

use answer::{Answer, Form, ask};
use question::Question;

/// Far beyond what a hub takes (`ai.max_body_bytes`), which says so itself.
const MAX_STDIN_BYTES: u64 = 64 * 1024 * 1024;

/// `epicenter ai chat`: one answer, or a conversation.
pub(crate) fn chat(arguments: &ChatArguments) -> Result<(), Failure> {
    let auth = machine_auth(&arguments.hub)?;
    let own_key = question::own_key(arguments.own_key_env.as_deref())?;
    let text = only_question(&arguments.message)?;
    let hub = auth.hub().clone();
    let mut caller = Caller::new(auth);
    let form = Form {
        json: arguments.json,
        verbose: arguments.verbose,
    };
    run(async {
        let model = models::choose(&mut caller, &hub, arguments, own_key.is_some()).await?;
        let question = Question::new(arguments, model, own_key);
        let Some(text) = text else {
            return conversation::hold(&mut caller, &hub, &question, form).await;
        };
        let messages = [json!({"role": "user", "content": text})];
        let mut answer = Answer::new(form);
        let asked = ask(&mut caller, &hub, &question.body(&messages), &mut answer).await;
        answer.end_line()?;
        asked
    })
}

/// `epicenter ai models`: prints what the hub offers.
pub(crate) fn models(arguments: &ModelsArguments) -> Result<(), Failure> {
    let auth = machine_auth(&arguments.hub)?;
    let hub = auth.hub().clone();
    let mut caller = Caller::new(auth);
    let offered = run(models::offered(&mut caller, &hub))?;
    if arguments.json {
        return print(&format!(
            "{}\n",
            visible::json_line(&offered.json.to_string())
        ));
    }
    print(&models::table(&offered.models))
}

/// The question, if there is only one: from the command line, or else from a stdin that is no terminal.
fn only_question(words: &[String]) -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    let text = if !words.is_empty() {
        words.join(" ")
    } else if stdin.is_terminal() {
        return Ok(None);
    } else {
        let mut text = String::new();
        let read = stdin.lock().take(MAX_STDIN_BYTES).read_to_string(&mut text);
        read.map_err(|error| {
            Failure::new(
                "the question cannot be read from stdin",
                "send it as UTF-8 text",
            )
            .caused_by(&error)
        })?;
        text
    };
    if text.trim().is_empty() {
        return Err(Failure::configuration(
            "there is no question",
            "write it behind the command, as in `epicenter ai chat 'What is a CRDT?'`, or send it on stdin",
        ));
    }
    Ok(Some(text))
}
