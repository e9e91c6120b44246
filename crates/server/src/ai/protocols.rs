//! The protocols of providers, without I/O: a call becomes a request, and the bytes that come back become events.
//!
//! [`Decoder`] takes bytes in whatever pieces they arrive and gives [`ModelEvent`]s. It promises that exactly one event
//! ends an answer ([`ModelEvent::Finished`] or [`ModelEvent::Failed`]), that nothing follows it, that memory is bounded,
//! and that no input makes it panic.

mod anthropic;
mod gemini;
mod openai;
mod openai_completions;
mod openai_responses;
mod sink;
pub(super) mod sse;
mod turns;

use serde_json::Value;

use self::sink::{Malformed, Sink, Stage};
use self::sse::{SseError, SseReader};
use super::conversation::Conversation;
use super::message::Media;
use super::request::{ChatSettings, RequestError};
use super::settings::Protocol;
use super::upstream::HeaderText;
use crate::secret::Secret;

/// A call of a model, in the hub's terms.
#[derive(Clone, Copy)]
pub(super) struct ModelCall<'a> {
    pub(super) base_url: &'a str,
    pub(super) key: Option<&'a Secret>,
    pub(super) model: &'a str,
    pub(super) settings: &'a ChatSettings,
    pub(super) conversation: &'a Conversation,
    /// The model takes no `temperature` and `top_p`.
    pub(super) ignores_sampling: bool,
    /// What the provider asks for in `max_tokens` when the client names none.
    pub(super) max_output_tokens: u64,
    /// Gemini's signatures of calls, and whether one that is gone must be replaced.
    pub(super) signatures: &'a dyn Fn(&str) -> Option<String>,
    pub(super) wants_signatures: bool,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, HeaderText)>,
    pub(super) body: Value,
}

/// Builds the request.
///
/// # Errors
/// When the protocol cannot carry what the client sent.
pub(super) fn encode(protocol: Protocol, call: &ModelCall<'_>) -> Result<Encoded, RequestError> {
    let mut encoded = match protocol {
        Protocol::OpenAiResponses => openai_responses::encode(call)?,
        Protocol::OpenAiCompletions => openai_completions::encode(call)?,
        Protocol::Gemini => gemini::encode(call),
        Protocol::Anthropic => anthropic::encode(call)?,
    };
    let plain = |text: &'static str| HeaderText::Plain(text);
    encoded
        .headers
        .push(("content-type", plain("application/json")));
    encoded.headers.push(("accept", plain("text/event-stream")));
    Ok(encoded)
}

/// The refusal of what a protocol cannot carry.
fn unsupported(media: &Media) -> RequestError {
    RequestError::at(
        format_args!("messages: {}", media.kind.as_str()),
        "is not something that this model's provider takes",
    )
}

/// What a model says, in the hub's terms.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ModelEvent {
    /// The provider began to answer; what it calls the model.
    Started { model: Option<String> },
    /// A piece of text.
    Text(String),
    /// A piece of reasoning that may be shown.
    Reasoning(String),
    /// A call began. Slots are numbered from zero, in the order of calls.
    ToolStarted {
        slot: usize,
        /// The provider's id, if it gives one.
        id: Option<String>,
        name: String,
    },
    /// A piece of a call's arguments.
    ToolArguments { slot: usize, delta: String },
    /// What the provider wants back beside this call.
    ToolSignature { slot: usize, signature: String },
    /// A call is complete.
    ToolEnded { slot: usize },
    /// Tokens so far.
    Usage(Usage),
    /// The end.
    Finished(FinishReason),
    /// The other end.
    Failed(ModelFailure),
}

/// Why a model did not finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelFailure {
    pub(super) message: String,
    pub(super) code: Option<String>,
}

impl ModelFailure {
    pub(super) fn new(message: impl Into<String>, code: &str) -> Self {
        Self {
            message: message.into(),
            code: Some(code.to_owned()),
        }
    }

    pub(super) fn malformed() -> Self {
        Self::new("The provider sent a malformed event.", "upstream_protocol")
    }

    pub(super) fn disconnected() -> Self {
        Self::new(
            "The connection to the provider was lost.",
            "upstream_disconnected",
        )
    }

    fn truncated() -> Self {
        Self::new(
            "The provider closed the stream before the answer was complete.",
            "upstream_truncated",
        )
    }

    fn refusal(text: String) -> Self {
        Self::new(text, "refusal")
    }
}

/// Tokens as the provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) total_tokens: u64,
}

impl Usage {
    /// Reads the counts under the names that a protocol gives them.
    fn read(value: &Value, input: &str, output: &str, total: &str) -> Self {
        let input_tokens = count(value, input).unwrap_or(0);
        let output_tokens = count(value, output).unwrap_or(0);
        Self {
            input_tokens,
            output_tokens,
            total_tokens: count(value, total).unwrap_or(input_tokens.saturating_add(output_tokens)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishReason {
    Stop,
    Length,
    ContentFilter,
    ToolCalls,
}

impl FinishReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
        }
    }
}

/// How the bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The provider closed the stream.
    Clean,
    /// The connection broke.
    Lost,
}

#[derive(Debug)]
enum ProtocolDecoder {
    OpenAiResponses(openai_responses::Decoder),
    OpenAiCompletions(openai_completions::Decoder),
    Gemini(gemini::Decoder),
    Anthropic(anthropic::Decoder),
}

/// From bytes to events.
#[derive(Debug)]
pub(super) struct Decoder {
    reader: SseReader,
    protocol: ProtocolDecoder,
    stage: Stage,
}

impl Decoder {
    pub(super) fn new(protocol: Protocol) -> Self {
        let protocol = match protocol {
            Protocol::OpenAiResponses => ProtocolDecoder::OpenAiResponses(Default::default()),
            Protocol::OpenAiCompletions => ProtocolDecoder::OpenAiCompletions(Default::default()),
            Protocol::Gemini => ProtocolDecoder::Gemini(Default::default()),
            Protocol::Anthropic => ProtocolDecoder::Anthropic(Default::default()),
        };
        Self {
            reader: SseReader::default(),
            protocol,
            stage: Stage::default(),
        }
    }

    /// Takes some bytes, and appends what they complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<ModelEvent>) {
        while self.stage != Stage::Over && !bytes.is_empty() {
            match self.reader.feed(&mut bytes) {
                Ok(Some(data)) => self.take(&data, events),
                Ok(None) => {}
                Err(SseError) => self.fail(ModelFailure::malformed(), events),
            }
        }
    }

    /// No more bytes will come.
    pub(super) fn end(&mut self, ending: Ending, events: &mut Vec<ModelEvent>) {
        if ending == Ending::Lost {
            self.fail(ModelFailure::disconnected(), events);
            return;
        }
        // A last event may lack its blank line; half of one is no event.
        if let Some(data) = self.reader.end()
            && (data == "[DONE]" || serde_json::from_str::<Value>(&data).is_ok())
        {
            self.take(&data, events);
        }
        let mut sink = Sink::new(events, &mut self.stage);
        match &mut self.protocol {
            ProtocolDecoder::OpenAiCompletions(decoder) => decoder.end(&mut sink),
            ProtocolDecoder::Anthropic(decoder) => decoder.end(&mut sink),
            ProtocolDecoder::OpenAiResponses(_) | ProtocolDecoder::Gemini(_) => {}
        }
        sink.fail(ModelFailure::truncated());
    }

    fn fail(&mut self, failure: ModelFailure, events: &mut Vec<ModelEvent>) {
        Sink::new(events, &mut self.stage).fail(failure);
    }

    fn take(&mut self, data: &str, events: &mut Vec<ModelEvent>) {
        let mut sink = Sink::new(events, &mut self.stage);
        if data == "[DONE]" {
            if let ProtocolDecoder::OpenAiCompletions(decoder) = &mut self.protocol {
                decoder.end(&mut sink);
            }
            return;
        }
        let taken = match serde_json::from_str::<Value>(data) {
            Ok(event) => match &mut self.protocol {
                ProtocolDecoder::OpenAiResponses(decoder) => decoder.take(&event, &mut sink),
                ProtocolDecoder::OpenAiCompletions(decoder) => decoder.take(&event, &mut sink),
                ProtocolDecoder::Gemini(decoder) => decoder.take(&event, &mut sink),
                ProtocolDecoder::Anthropic(decoder) => decoder.take(&event, &mut sink),
            },
            Err(_) => Err(Malformed),
        };
        if taken == Err(Malformed) {
            sink.fail(ModelFailure::malformed());
        }
    }
}

/// A member that is a text; anything else is none.
fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

fn count(value: &Value, member: &str) -> Option<u64> {
    value.get(member).and_then(Value::as_u64)
}

/// `{"message", "code" or "status" or "type"}`, as every provider writes an error.
pub(super) fn failure_of(error: &Value) -> ModelFailure {
    let message = text(error, "message").or_else(|| error.as_str());
    // OpenAI's `type` is a family and stands beside a code, which may be null; Anthropic's is all there is.
    let code = match (error.get("status"), error.get("code")) {
        (None, None) => text(error, "type"),
        (status, code) => [status, code]
            .into_iter()
            .find_map(|code| code.and_then(Value::as_str)),
    };
    ModelFailure {
        message: message
            .filter(|message| !message.is_empty())
            .unwrap_or("The provider reported an error.")
            .to_owned(),
        code: code.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ModelCall, encode};
    use crate::ai::conversation::Conversation;
    use crate::ai::request::ChatSettings;
    use crate::ai::settings::Protocol;

    fn body(protocol: Protocol, settings: &ChatSettings) -> Value {
        let call = ModelCall {
            base_url: "https://provider.test",
            key: None,
            model: "m",
            settings,
            conversation: &Conversation::default(),
            ignores_sampling: false,
            max_output_tokens: 1_000,
            signatures: &|_| None,
            wants_signatures: false,
        };
        encode(protocol, &call).unwrap().body
    }

    #[test]
    fn the_schema_of_an_answer_is_strict_where_it_can_be() {
        #[track_caller]
        fn check(schema: &Value, sent: &Value, is_strict: bool) {
            let settings = ChatSettings {
                output_schema: Some(schema.clone()),
                ..ChatSettings::default()
            };
            let responses = body(Protocol::OpenAiResponses, &settings);
            assert_eq!(
                responses["text"]["format"],
                json!({ "type": "json_schema", "name": "answer", "schema": sent, "strict": is_strict })
            );
            let completions = body(Protocol::OpenAiCompletions, &settings);
            let answer = json!({ "name": "answer", "schema": sent, "strict": is_strict });
            assert_eq!(
                completions["response_format"],
                json!({ "type": "json_schema", "json_schema": answer })
            );
        }
        let optional = json!({
            "type": "object",
            "properties": { "mark": { "type": "number" }, "advice": { "type": "string" } },
            "required": ["mark"],
        });
        let nullable = json!({
            "type": "object",
            "properties": { "mark": { "type": "number" }, "advice": { "type": ["string", "null"] } },
            "required": ["mark", "advice"],
            "additionalProperties": false,
        });
        check(&optional, &nullable, true);
        let either = json!({
            "type": "object",
            "properties": { "mark": { "oneOf": [{ "type": "number" }, { "type": "string" }] } },
        });
        check(&either, &either, false);
    }
}
