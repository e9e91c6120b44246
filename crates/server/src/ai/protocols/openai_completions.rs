//! Chat Completions, as OpenAI-compatible servers speak it.
//!
//! They differ in what they leave out: ids, indexes, usage, `[DONE]`, the right finish reason. All of that is accepted; an
//! end without any finish reason is not.

use serde_json::{Map, Value, json};

use super::openai::{bearer, encode_sampling, strict_answer, strict_function};
use super::sink::{MAX_CALLS, Malformed, Sink, Slots};
use super::{Encoded, FinishReason, ModelCall, ModelEvent, Usage, count, text, unsupported};
use crate::ai::message::{Media, MediaKind, MediaSource, Message, Part, ToolCall};
use crate::ai::request::RequestError;

pub(super) fn encode(call: &ModelCall<'_>) -> Result<Encoded, RequestError> {
    let settings = call.settings;
    let mut messages = Vec::new();
    let system = settings.system_prompts.join("\n");
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    for message in &call.conversation.messages {
        messages.push(encode_message(message)?);
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(call.model));
    body.insert("messages".to_owned(), Value::Array(messages));
    if !settings.tools.is_empty() {
        let encode =
            |tool| json!({ "type": "function", "function": Value::Object(strict_function(tool)) });
        let tools = settings.tools.iter().map(encode).collect();
        body.insert("tools".to_owned(), Value::Array(tools));
    }
    encode_sampling(call, &mut body);
    if let Some(max_tokens) = settings.max_tokens {
        // Compatible servers know the old name; only OpenAI itself has retired it, and that has a protocol of its own.
        body.insert("max_tokens".to_owned(), json!(max_tokens));
    }
    if let Some(schema) = &settings.output_schema {
        let format = json!({ "type": "json_schema", "json_schema": strict_answer(schema) });
        body.insert("response_format".to_owned(), format);
    }
    body.insert("stream".to_owned(), Value::Bool(true));
    body.insert(
        "stream_options".to_owned(),
        json!({ "include_usage": true }),
    );
    Ok(Encoded {
        url: format!("{}/chat/completions", call.base_url),
        headers: bearer(call),
        body: Value::Object(body),
    })
}

fn encode_message(message: &Message) -> Result<Value, RequestError> {
    Ok(match message {
        Message::User(parts) => match parts.as_slice() {
            [Part::Text(text)] => json!({ "role": "user", "content": text }),
            parts => {
                let content = parts
                    .iter()
                    .map(encode_part)
                    .collect::<Result<Vec<_>, _>>()?;
                json!({ "role": "user", "content": content })
            }
        },
        Message::Assistant { text, calls } => {
            let content = (!text.is_empty()).then_some(text);
            let mut message = json!({ "role": "assistant", "content": content });
            if !calls.is_empty() {
                message["tool_calls"] = calls.iter().map(encode_call).collect();
            }
            message
        }
        Message::Tool { call_id, content } => {
            json!({ "role": "tool", "tool_call_id": call_id, "content": content })
        }
    })
}

fn encode_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id, "type": "function",
        "function": { "name": call.name, "arguments": call.arguments },
    })
}

fn encode_part(part: &Part) -> Result<Value, RequestError> {
    let media = match part {
        Part::Text(text) => return Ok(json!({ "type": "text", "text": text })),
        Part::Media(media) => media,
    };
    match (media.kind, &media.source) {
        (MediaKind::Image, _) => Ok(json!({
            "type": "image_url", "image_url": { "url": media.to_url(), "detail": "auto" },
        })),
        (MediaKind::Audio, MediaSource::Data(data)) => Ok(json!({
            "type": "input_audio", "input_audio": { "data": data, "format": audio_format(media) },
        })),
        (MediaKind::Document, MediaSource::Data(_)) => {
            let name = media.file_name.as_deref().unwrap_or("document.pdf");
            Ok(json!({
                "type": "file", "file": { "filename": name, "file_data": media.to_url() },
            }))
        }
        _ => Err(unsupported(media)),
    }
}

fn audio_format(media: &Media) -> &str {
    match media.mime_type() {
        "audio/mpeg" => "mp3",
        mime_type => mime_type.rsplit('/').next().unwrap_or("mp3"),
    }
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    slots: Slots,
    calls: Vec<Call>,
    usage: Option<Usage>,
    refusal: String,
    finish: Option<FinishReason>,
}

/// A call; without a slot until its name is known.
#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    name: String,
    early_arguments: String,
    slot: Option<usize>,
}

impl Decoder {
    pub(super) fn take(&mut self, chunk: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        if sink.take_error(chunk) {
            return Ok(());
        }
        if !chunk.is_object() {
            return Err(Malformed);
        }
        sink.start(text(chunk, "model"));
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = Some(Usage::read(
                usage,
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
            ));
        }
        let choice = chunk.get("choices").and_then(|choices| choices.get(0));
        if let Some(choice) = choice {
            self.take_choice(choice, sink)?;
        }
        // What follows the finish is usage at most, and some servers never send the end.
        if self.finish.is_some() && self.usage.is_some() {
            self.end(sink);
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        // Servers that do not stream after all put the whole message where the delta belongs.
        let delta = choice.get("delta").or_else(|| choice.get("message"));
        let delta = delta.unwrap_or(&Value::Null);
        let reasoning = text(delta, "reasoning_content").or_else(|| text(delta, "reasoning"));
        sink.reasoning(reasoning.unwrap_or_default());
        sink.text(text(delta, "content").unwrap_or_default());
        self.refusal
            .push_str(text(delta, "refusal").unwrap_or_default());
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            self.take_call(call, sink)?;
        }
        if let Some(reason) = text(choice, "finish_reason") {
            self.finish = Some(match reason {
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                _ => FinishReason::Stop,
            });
        }
        Ok(())
    }

    fn take_call(&mut self, delta: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        let index = count(delta, "index");
        let id = text(delta, "id").filter(|id| !id.is_empty());
        let function = delta.get("function").unwrap_or(&Value::Null);
        let name = text(function, "name").unwrap_or_default();
        let arguments = text(function, "arguments").unwrap_or_default();
        let known = self.calls.iter().rposition(|call| {
            // Some servers number every call zero, and tell them apart by their ids.
            let is_other = id.is_some() && call.id.is_some() && id != call.id.as_deref();
            !is_other && (index.is_none() || call.index == index)
        });
        let call = match known {
            Some(at) => self.calls.get_mut(at),
            None if self.calls.len() < MAX_CALLS => {
                self.calls.push(Call {
                    index,
                    id: id.map(str::to_owned),
                    ..Call::default()
                });
                self.calls.last_mut()
            }
            None => None,
        };
        let call = call.ok_or(Malformed)?;
        if let Some(slot) = call.slot {
            self.slots.arguments(slot, arguments, sink);
            return Ok(());
        }
        call.name.push_str(name);
        call.early_arguments.push_str(arguments);
        if !call.name.is_empty() {
            let slot = self.slots.start(call.id.as_deref(), &call.name, sink)?;
            call.slot = Some(slot);
            let arguments = std::mem::take(&mut call.early_arguments);
            self.slots.arguments(slot, &arguments, sink);
        }
        Ok(())
    }

    /// `[DONE]`, or the end of the stream.
    pub(super) fn end(&mut self, sink: &mut Sink<'_>) {
        let Some(finish) = self.finish else {
            return;
        };
        self.slots.end_all(sink);
        if let Some(usage) = self.usage {
            sink.push(ModelEvent::Usage(usage));
        }
        sink.finish(finish, std::mem::take(&mut self.refusal));
    }
}
