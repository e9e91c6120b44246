//! The protocols of providers, without I/O: a call becomes a request, and the bytes that come back become events.
//!
//! [`Decoder`] takes bytes in whatever pieces they arrive and gives [`ModelEvent`]s. It promises that exactly one event
//! ends an answer ([`ModelEvent::Finished`] or [`ModelEvent::Failed`]), that nothing follows it, that memory is bounded,
//! and that no input makes it panic.

mod anthropic;
mod gemini;
mod openai_completions;
mod openai_responses;
pub(super) mod sse;

use std::collections::BTreeSet;

use serde_json::Value;

use self::sse::{SseError, SseReader};
use super::conversation::Conversation;
use super::request::{ChatSettings, RequestError};
use super::settings::Protocol;
use super::upstream::HeaderText;
use crate::secret::Secret;

/// Calls in one turn; models make a handful. More is a provider that has lost its way.
const MAX_CALLS: usize = 128;

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

/// An event that is not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Where a protocol's decoder puts its events.
#[derive(Debug)]
struct Sink<'a> {
    events: &'a mut Vec<ModelEvent>,
    is_over: &'a mut bool,
}

impl Sink<'_> {
    fn push(&mut self, event: ModelEvent) {
        if *self.is_over {
            return;
        }
        *self.is_over = matches!(event, ModelEvent::Finished(_) | ModelEvent::Failed(_));
        self.events.push(event);
    }

    fn text(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.push(ModelEvent::Text(delta.to_owned()));
        }
    }

    fn reasoning(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.push(ModelEvent::Reasoning(delta.to_owned()));
        }
    }

    fn arguments(&mut self, slot: usize, delta: &str) {
        if !delta.is_empty() {
            self.push(ModelEvent::ToolArguments {
                slot,
                delta: delta.to_owned(),
            });
        }
    }

    fn fail(&mut self, failure: ModelFailure) {
        self.push(ModelEvent::Failed(failure));
    }
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
    is_over: bool,
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
            is_over: false,
        }
    }

    /// Takes some bytes, and appends what they complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<ModelEvent>) {
        while !self.is_over && !bytes.is_empty() {
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
        let mut sink = Sink {
            events,
            is_over: &mut self.is_over,
        };
        match &mut self.protocol {
            ProtocolDecoder::OpenAiCompletions(decoder) => decoder.end(&mut sink),
            ProtocolDecoder::Anthropic(decoder) => decoder.end(&mut sink),
            ProtocolDecoder::OpenAiResponses(_) | ProtocolDecoder::Gemini(_) => {}
        }
        sink.fail(ModelFailure::truncated());
    }

    fn fail(&mut self, failure: ModelFailure, events: &mut Vec<ModelEvent>) {
        let mut sink = Sink {
            events,
            is_over: &mut self.is_over,
        };
        sink.fail(failure);
    }

    fn take(&mut self, data: &str, events: &mut Vec<ModelEvent>) {
        let mut sink = Sink {
            events,
            is_over: &mut self.is_over,
        };
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

/// Numbers calls, and knows which are still open.
#[derive(Debug, Default)]
struct Slots {
    count: usize,
    open: BTreeSet<usize>,
}

impl Slots {
    fn start(
        &mut self,
        id: Option<&str>,
        name: &str,
        sink: &mut Sink<'_>,
    ) -> Result<usize, Malformed> {
        if self.count == MAX_CALLS {
            return Err(Malformed);
        }
        let slot = self.count;
        self.count += 1;
        self.open.insert(slot);
        sink.push(ModelEvent::ToolStarted {
            slot,
            id: id.filter(|id| !id.is_empty()).map(str::to_owned),
            name: name.to_owned(),
        });
        Ok(slot)
    }

    fn end(&mut self, slot: usize, sink: &mut Sink<'_>) {
        if self.open.remove(&slot) {
            sink.push(ModelEvent::ToolEnded { slot });
        }
    }

    fn end_all(&mut self, sink: &mut Sink<'_>) {
        for slot in std::mem::take(&mut self.open) {
            sink.push(ModelEvent::ToolEnded { slot });
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
