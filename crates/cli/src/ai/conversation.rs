//! A conversation on a terminal: questions are lines, answers are written as they come, and both are sent along with the
//! next question.

use epicenter_auth::HubUrl;
use epicenter_device::Caller;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use super::answer::{Answer, Form, ask};
use super::question::Question;
use super::visible;
use crate::failure::Failure;
use crate::say;

const PROMPT: &str = "> ";

/// Holds a conversation until stdin ends.
pub(super) async fn hold(
    caller: &mut Caller,
    hub: &HubUrl,
    question: &Question,
    form: Form,
) -> Result<(), Failure> {
    // From here on Ctrl-C ends answers and not the program.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(|error| {
        Failure::new(
            "Ctrl-C cannot be listened for",
            "ask one question at a time",
        )
        .caused_by(&error)
    })?;
    say(&format!(
        "{} at {hub}. Ctrl-C stops an answer, Ctrl-D ends the conversation.\n",
        visible::line(&question.model.to_string())
    ));
    let mut messages = Vec::new();
    while let Some(line) = next_question(&mut interrupts).await? {
        messages.push(json!({"role": "user", "content": line}));
        let body = question.body(&messages);
        let mut answer = Answer::new(form);
        let asked = tokio::select! {
            asked = ask(caller, hub, &body, &mut answer) => Some(asked),
            _ = interrupts.recv() => None,
        };
        answer.end_line()?;
        match asked {
            Some(Ok(())) => {}
            // The person decides what to do about it; the conversation goes on.
            Some(Err(failure)) => _ = failure.report(),
            None => say("note: the answer was stopped\n"),
        }
        remember(&mut messages, answer.into_text());
    }
    Ok(())
}

/// What was said stands in the conversation, whole or not: the person saw it. A question that got nothing does not, since
/// it may be what was refused, and two questions in a row would be answered as one.
fn remember(messages: &mut Vec<Value>, answer: String) {
    if answer.is_empty() {
        messages.pop();
    } else {
        messages.push(json!({"role": "assistant", "content": answer}));
    }
}

/// The next line that says something; `None` at the end of stdin.
async fn next_question(interrupts: &mut Signal) -> Result<Option<String>, Failure> {
    loop {
        say(PROMPT);
        // Its thread waits for the terminal, whatever else happens here.
        let mut reading = spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin()
                .read_line(&mut line)
                .map(|read| (read, line))
        });
        let read = loop {
            tokio::select! {
                read = &mut reading => break read,
                // The terminal has thrown away what was typed.
                _ = interrupts.recv() => say(&format!("\n{PROMPT}")),
            }
        };
        let line = match read {
            Ok(Ok((0, _))) => {
                say("\n");
                return Ok(None);
            }
            Ok(Ok((_, line))) => line,
            Ok(Err(error)) => {
                let failure = Failure::new("stdin cannot be read", "type UTF-8 text");
                return Err(failure.caused_by(&error));
            }
            Err(error) => {
                let failure = Failure::new("stdin cannot be read", "start the command again");
                return Err(failure.caused_by(&error));
            }
        };
        if !line.trim().is_empty() {
            return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::remember;

    #[test]
    fn a_question_without_an_answer_is_forgotten() {
        let mut messages = vec![json!({"role": "user", "content": "one"})];
        remember(&mut messages, "two".to_owned());
        messages.push(json!({"role": "user", "content": "three"}));
        remember(&mut messages, String::new());
        let expect = json!([
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
        ]);
        assert_eq!(json!(messages), expect);
    }
}
