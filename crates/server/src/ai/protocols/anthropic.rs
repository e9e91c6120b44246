//! Anthropic's Messages API.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::sink::{Malformed, Sink, Slots};
use super::turns::Turns;
use super::{
    Encoded, FinishReason, ModelCall, ModelEvent, ModelFailure, Usage, count, text, unsupported,
};
use crate::ai::message::{Media, MediaKind, MediaSource, Message, Part, Tool, parse_arguments};
use crate::ai::request::RequestError;
use crate::ai::schema;
use crate::ai::upstream::HeaderText;

/// The version of the protocol that is written and read here.
const VERSION: &str = "2023-06-01";

pub(super) fn encode(call: &ModelCall<'_>) -> Result<Encoded, RequestError> {
    let settings = call.settings;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(call.model));
    let max_tokens = settings.max_tokens.unwrap_or(call.max_output_tokens);
    body.insert("max_tokens".to_owned(), json!(max_tokens));
    let system: Vec<_> = settings
        .system_prompts
        .iter()
        .filter(|prompt| !prompt.is_empty())
        .map(|prompt| json!({ "type": "text", "text": prompt }))
        .collect();
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    body.insert("messages".to_owned(), encode_messages(call)?);
    if !settings.tools.is_empty() {
        let tools = settings.tools.iter().map(encode_tool).collect();
        body.insert("tools".to_owned(), Value::Array(tools));
    }
    // Newer models refuse both at once.
    if !call.ignores_sampling {
        match (settings.temperature, settings.top_p) {
            (Some(temperature), _) => body.insert("temperature".to_owned(), json!(temperature)),
            (None, Some(top_p)) => body.insert("top_p".to_owned(), json!(top_p)),
            (None, None) => None,
        };
    }
    if let Some(schema) = &settings.output_schema {
        let format = json!({ "type": "json_schema", "schema": schema });
        body.insert("output_config".to_owned(), json!({ "format": format }));
    }
    body.insert("stream".to_owned(), Value::Bool(true));
    let mut headers = vec![("anthropic-version", HeaderText::Plain(VERSION))];
    headers.extend(call.key.map(|key| ("x-api-key", HeaderText::secret(key))));
    Ok(Encoded {
        url: format!("{}/v1/messages", call.base_url),
        headers,
        body: Value::Object(body),
    })
}

fn encode_tool(tool: &Tool) -> Value {
    let mut out = json!({
        "name": tool.name,
        "input_schema": tool.schema.clone().unwrap_or_else(schema::no_arguments),
    });
    if let Some(description) = &tool.description {
        out["description"] = json!(description);
    }
    out
}

/// Results of tools are what the user says.
fn encode_messages(call: &ModelCall<'_>) -> Result<Value, RequestError> {
    let mut turns = Turns::default();
    for message in &call.conversation.messages {
        let (role, blocks) = match message {
            Message::User(parts) => {
                let blocks = parts
                    .iter()
                    .map(encode_part)
                    .collect::<Result<Vec<_>, _>>()?;
                ("user", blocks)
            }
            Message::Assistant { text, calls } => {
                let mut blocks = Vec::new();
                if !text.is_empty() {
                    blocks.push(json!({ "type": "text", "text": text }));
                }
                blocks.extend(calls.iter().map(|call| {
                    json!({
                        "type": "tool_use", "id": call.id, "name": call.name,
                        "input": parse_arguments(&call.arguments),
                    })
                }));
                ("assistant", blocks)
            }
            Message::Tool { call_id, content } => {
                let block =
                    json!({ "type": "tool_result", "tool_use_id": call_id, "content": content });
                ("user", vec![block])
            }
        };
        turns.push(role, blocks);
    }
    Ok(turns.encode(encode_turn))
}

fn encode_turn(role: &str, blocks: &[Value]) -> Value {
    let only_text = match blocks {
        [block] if role == "user" => text(block, "text"),
        _ => None,
    };
    match only_text {
        Some(text) => json!({ "role": role, "content": text }),
        None => json!({ "role": role, "content": blocks }),
    }
}

fn encode_part(part: &Part) -> Result<Value, RequestError> {
    let media = match part {
        Part::Text(text) => return Ok(json!({ "type": "text", "text": text })),
        Part::Media(media) => media,
    };
    match media.kind {
        MediaKind::Image => Ok(json!({ "type": "image", "source": encode_source(media) })),
        MediaKind::Document => Ok(json!({ "type": "document", "source": encode_source(media) })),
        MediaKind::Audio | MediaKind::Video => Err(unsupported(media)),
    }
}

fn encode_source(media: &Media) -> Value {
    match &media.source {
        MediaSource::Url(url) => json!({ "type": "url", "url": url }),
        MediaSource::Data(data) => {
            json!({ "type": "base64", "data": data, "media_type": media.mime_type() })
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    slots: Slots,
    /// Blocks that are calls, by index.
    calls: HashMap<u64, Call>,
    usage: Usage,
    stop: Option<Stop>,
}

#[derive(Debug)]
struct Call {
    slot: usize,
    /// The arguments of servers that send them whole, at the start.
    early_input: String,
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    Finished(FinishReason),
    Declined,
}

impl Decoder {
    pub(super) fn take(&mut self, event: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        if sink.take_error(event) {
            return Ok(());
        }
        match text(event, "type").unwrap_or_default() {
            "" => return Err(Malformed),
            "message_start" => {
                let message = event.get("message").unwrap_or(&Value::Null);
                if sink.start(text(message, "model")) {
                    self.take_usage(message);
                }
            }
            "content_block_start" => self.take_block(event, sink)?,
            "content_block_delta" => self.take_delta(event, sink),
            "content_block_stop" => self.close_block(event, sink),
            "message_delta" => {
                self.take_usage(event);
                let delta = event.get("delta").unwrap_or(&Value::Null);
                if let Some(reason) = text(delta, "stop_reason") {
                    self.stop = Some(match reason {
                        "max_tokens" | "model_context_window_exceeded" => {
                            Stop::Finished(FinishReason::Length)
                        }
                        "tool_use" => Stop::Finished(FinishReason::ToolCalls),
                        "refusal" => Stop::Declined,
                        _ => Stop::Finished(FinishReason::Stop),
                    });
                }
            }
            "message_stop" => self.end(sink),
            _ => {}
        }
        Ok(())
    }

    fn take_block(&mut self, event: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        let block = event.get("content_block").unwrap_or(&Value::Null);
        match text(block, "type") {
            Some("tool_use") => {
                let index = count(event, "index").ok_or(Malformed)?;
                if self.calls.contains_key(&index) {
                    return Ok(());
                }
                let name = text(block, "name").ok_or(Malformed)?;
                let slot = self.slots.start(text(block, "id"), name, sink)?;
                let input = block.get("input").and_then(Value::as_object);
                let early_input = input.filter(|input| !input.is_empty());
                let call = Call {
                    slot,
                    early_input: early_input
                        .and_then(|input| serde_json::to_string(input).ok())
                        .unwrap_or_default(),
                };
                self.calls.insert(index, call);
            }
            Some("text") => sink.text(text(block, "text").unwrap_or_default()),
            Some("thinking") => sink.reasoning(text(block, "thinking").unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    fn take_delta(&mut self, event: &Value, sink: &mut Sink<'_>) {
        let delta = event.get("delta").unwrap_or(&Value::Null);
        match text(delta, "type") {
            Some("text_delta") => sink.text(text(delta, "text").unwrap_or_default()),
            Some("thinking_delta") => sink.reasoning(text(delta, "thinking").unwrap_or_default()),
            Some("input_json_delta") => {
                let piece = text(delta, "partial_json").unwrap_or_default();
                let index = count(event, "index");
                let call = index.and_then(|index| self.calls.get(&index));
                if let Some(call) = call.filter(|_| !piece.is_empty()) {
                    self.slots.arguments(call.slot, piece, sink);
                }
            }
            _ => {}
        }
    }

    fn close_block(&mut self, event: &Value, sink: &mut Sink<'_>) {
        let index = count(event, "index");
        if let Some(call) = index.and_then(|index| self.calls.get(&index)) {
            self.slots.end(call.slot, &call.early_input, sink);
        }
    }

    /// Input comes at the start, output in full with each later count.
    fn take_usage(&mut self, event: &Value) {
        let Some(usage) = event.get("usage") else {
            return;
        };
        let input = [
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ]
        .into_iter()
        .filter_map(|member| count(usage, member))
        .fold(0, u64::saturating_add);
        if input > 0 {
            self.usage.input_tokens = input;
        }
        if let Some(output) = count(usage, "output_tokens") {
            self.usage.output_tokens = output;
        }
        self.usage.total_tokens = self
            .usage
            .input_tokens
            .saturating_add(self.usage.output_tokens);
    }

    /// `message_stop`, or the end of a stream that lacks it.
    pub(super) fn end(&mut self, sink: &mut Sink<'_>) {
        let Some(stop) = self.stop else {
            return;
        };
        self.slots.end_all(sink);
        sink.push(ModelEvent::Usage(self.usage));
        match stop {
            Stop::Finished(reason) => sink.push(ModelEvent::Finished(reason)),
            Stop::Declined => {
                sink.fail(ModelFailure::refusal(
                    "The model declined to answer.".to_owned(),
                ));
            }
        }
    }
}
