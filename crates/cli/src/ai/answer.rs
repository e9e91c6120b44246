//! One question and its answer, written as it comes.

use epicenter_auth::HubUrl;
use epicenter_device::Caller;
use serde_json::Value;
use zeroize::Zeroizing;

use super::event_stream::{Event, EventStream};
use super::{refusal, visible};
use crate::failure::Failure;
use crate::{print, say};

const CHAT: &str = "/api/ai/chat";

/// How answers are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Every event as a line of JSON instead of the text.
    pub(super) json: bool,
    /// Thoughts, model and tokens go to stderr.
    pub(super) verbose: bool,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub(super) struct Answer {
    form: Form,
    text: String,
    /// A line of stdout is begun and not ended.
    is_line_open: bool,
    /// A thought is being told on stderr.
    is_thinking: bool,
}

impl Answer {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            text: String::new(),
            is_line_open: false,
            is_thinking: false,
        }
    }

    /// What the model said, as it said it.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Ends the line that is open on stdout, if any.
    pub(super) fn end_line(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.is_line_open) {
            print("\n")?;
        }
        Ok(())
    }

    fn take(&mut self, event: &Value) -> Result<(), Failure> {
        if self.form.json {
            print(&format!("{}\n", visible::json_line(&event.to_string())))?;
        }
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "TEXT_MESSAGE_CONTENT" => self.say(text("delta"))?,
            // A later message of the same answer, after a call of a tool.
            "TEXT_MESSAGE_START" if !self.text.is_empty() && !self.text.ends_with('\n') => {
                self.say("\n")?;
            }
            "REASONING_MESSAGE_CONTENT" if self.form.verbose => self.think(text("delta")),
            "RUN_STARTED" if self.form.verbose => {
                say(&format!("model: {}\n", visible::line(text("model"))));
            }
            "RUN_FINISHED" => self.finish(event)?,
            "RUN_ERROR" => {
                self.stop_thinking();
                self.end_line()?;
                return Err(refusal::of_event(event));
            }
            _ => {}
        }
        Ok(())
    }

    fn say(&mut self, delta: &str) -> Result<(), Failure> {
        self.stop_thinking();
        self.text.push_str(delta);
        if self.form.json {
            return Ok(());
        }
        let shown = visible::text(delta);
        if let Some(last) = shown.chars().last() {
            print(&shown)?;
            self.is_line_open = last != '\n';
        }
        Ok(())
    }

    fn think(&mut self, delta: &str) {
        if !std::mem::replace(&mut self.is_thinking, true) {
            say("thinking: ");
        }
        say(&visible::text(delta));
    }

    fn stop_thinking(&mut self) {
        if std::mem::take(&mut self.is_thinking) {
            say("\n");
        }
    }

    /// Says what the text alone does not show.
    fn finish(&mut self, event: &Value) -> Result<(), Failure> {
        self.stop_thinking();
        let why = match event.get("finishReason").and_then(Value::as_str) {
            Some("length") => Some("the answer reached its limit of tokens and is not complete"),
            Some("content_filter") => Some("the provider cut the answer off"),
            _ if self.text.is_empty() => Some("the model said nothing"),
            _ => None,
        };
        let usage = |name: &str| {
            event
                .pointer(&format!("/usage/{name}"))
                .and_then(Value::as_u64)
        };
        let counts = usage("promptTokens").zip(usage("completionTokens"));
        let counts = counts.filter(|_| self.form.verbose);
        if why.is_some() || counts.is_some() {
            // stdout and stderr may be the same terminal.
            self.end_line()?;
        }
        if let Some(why) = why {
            say(&format!("note: {why}\n"));
        }
        if let Some((input, output)) = counts {
            say(&format!("tokens: {input} in, {output} out\n"));
        }
        Ok(())
    }
}

/// Asks, and writes the answer as it comes. Dropping the future stops the answer: the hub sees the connection close.
pub(super) async fn ask(
    caller: &mut Caller,
    hub: &HubUrl,
    body: &Zeroizing<Vec<u8>>,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let asked = caller.post_stream(CHAT, body).await;
    let mut response = asked.map_err(|error| refusal::of_call(hub, error))?;
    if response.status() != 200 {
        let retry_after_s = response.retry_after_s();
        let whole = response.whole().await;
        let reply = whole.map_err(|error| refusal::of_hub(&error))?;
        return Err(refusal::of_answer(reply.status, retry_after_s, &reply.body));
    }
    let mut stream = EventStream::default();
    loop {
        let piece = response.next().await.map_err(|error| {
            // The text that came stays where it is; what follows is a line of its own.
            let _ = answer.end_line();
            refusal::of_hub(&error)
        })?;
        let Some(piece) = piece else {
            answer.end_line()?;
            return Err(Failure::new(
                "the answer broke off",
                "what was written above may be incomplete; ask again",
            ));
        };
        let events = stream.read(&piece).map_err(|error| {
            let _ = answer.end_line();
            Failure::of(
                &error,
                "check --url or EPICENTER_API_URL, and what stands between here and the hub",
            )
        })?;
        for event in events {
            match event {
                Event::Data(event) => answer.take(&event)?,
                Event::Done => return Ok(()),
            }
        }
    }
}
