//! OpenAI's Responses API.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::openai::{bearer, encode_sampling, strict_answer, strict_function};
use super::sink::{Malformed, Sink, Slots};
use super::{
    Encoded, FinishReason, ModelCall, ModelEvent, ModelFailure, Usage, count, failure_of, text,
    unsupported,
};
use crate::ai::message::{Media, MediaKind, MediaSource, Message, Part, Tool};
use crate::ai::request::RequestError;

pub(super) fn encode(call: &ModelCall<'_>) -> Result<Encoded, RequestError> {
    let settings = call.settings;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(call.model));
    let instructions = settings.system_prompts.join("\n");
    if !instructions.is_empty() {
        body.insert("instructions".to_owned(), json!(instructions));
    }
    let mut input = Vec::new();
    for message in &call.conversation.messages {
        encode_message(message, &mut input)?;
    }
    body.insert("input".to_owned(), Value::Array(input));
    if !settings.tools.is_empty() {
        let tools = settings.tools.iter().map(encode_tool).collect();
        body.insert("tools".to_owned(), Value::Array(tools));
    }
    encode_sampling(call, &mut body);
    if let Some(max_tokens) = settings.max_tokens {
        body.insert("max_output_tokens".to_owned(), json!(max_tokens));
    }
    if let Some(metadata) = &settings.metadata {
        body.insert("metadata".to_owned(), metadata.clone());
    }
    if let Some(schema) = &settings.output_schema {
        let mut format = strict_answer(schema);
        format.insert("type".to_owned(), json!("json_schema"));
        body.insert("text".to_owned(), json!({ "format": format }));
    }
    body.insert("stream".to_owned(), Value::Bool(true));
    Ok(Encoded {
        url: format!("{}/responses", call.base_url),
        headers: bearer(call),
        body: Value::Object(body),
    })
}

fn encode_tool(tool: &Tool) -> Value {
    let mut function = strict_function(tool);
    function.insert("type".to_owned(), json!("function"));
    Value::Object(function)
}

fn encode_message(message: &Message, input: &mut Vec<Value>) -> Result<(), RequestError> {
    match message {
        Message::User(parts) => {
            let content = parts
                .iter()
                .map(encode_part)
                .collect::<Result<Vec<_>, _>>()?;
            input.push(json!({ "type": "message", "role": "user", "content": content }));
        }
        Message::Assistant { text, calls } => {
            for call in calls {
                input.push(json!({
                    "type": "function_call", "call_id": call.id, "name": call.name,
                    "arguments": call.arguments,
                }));
            }
            if !text.is_empty() {
                input.push(json!({ "type": "message", "role": "assistant", "content": text }));
            }
        }
        Message::Tool { call_id, content } => input.push(json!({
            "type": "function_call_output", "call_id": call_id, "output": content,
        })),
    }
    Ok(())
}

fn encode_part(part: &Part) -> Result<Value, RequestError> {
    let media = match part {
        Part::Text(text) => return Ok(json!({ "type": "input_text", "text": text })),
        Part::Media(media) => media,
    };
    Ok(match media.kind {
        MediaKind::Image => json!({
            "type": "input_image", "image_url": media.to_url(), "detail": "auto",
        }),
        MediaKind::Audio | MediaKind::Document => encode_file(media),
        MediaKind::Video => return Err(unsupported(media)),
    })
}

fn encode_file(media: &Media) -> Value {
    let mut file = json!({ "type": "input_file" });
    match &media.source {
        MediaSource::Url(url) => file["file_url"] = json!(url),
        MediaSource::Data(_) => {
            file["file_data"] = json!(media.to_url());
            if media.kind == MediaKind::Document {
                let name = media.file_name.as_deref().unwrap_or("document.pdf");
                file["filename"] = json!(name);
            }
        }
    }
    file
}

/// Servers leave out what they like (`output_index`, `sequence_number`, the model), so nothing of it is required.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    last_sequence: Option<u64>,
    slots: Slots,
    /// Slots of calls, by item id.
    calls: HashMap<String, usize>,
    /// Parts whose text has come as deltas: item id and index of the content.
    streamed: HashSet<(String, u64)>,
    refusal: String,
}

impl Decoder {
    pub(super) fn take(&mut self, event: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        let Some(kind) = text(event, "type") else {
            let has_failed = sink.take_error(event);
            return has_failed.then_some(()).ok_or(Malformed);
        };
        // An event that is repeated says nothing new.
        if let Some(sequence) = count(event, "sequence_number") {
            if self.last_sequence.is_some_and(|last| sequence <= last) {
                return Ok(());
            }
            self.last_sequence = Some(sequence);
        }
        let response = event.get("response").unwrap_or(&Value::Null);
        sink.start(text(response, "model"));
        match kind {
            "response.output_text.delta" => self.take_text_delta(event, sink),
            "response.output_text.done" => self.take_whole_text(event, text(event, "text"), sink),
            "response.content_part.done" => {
                let part = event.get("part").unwrap_or(&Value::Null);
                // What the model thought ends like this, too.
                if text(part, "type").is_none_or(|kind| kind == "output_text") {
                    self.take_whole_text(event, text(part, "text"), sink);
                }
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                sink.reasoning(text(event, "delta").unwrap_or_default());
            }
            "response.refusal.delta" => {
                self.refusal
                    .push_str(text(event, "delta").unwrap_or_default());
            }
            "response.refusal.done" => {
                if let Some(refusal) = text(event, "refusal") {
                    refusal.clone_into(&mut self.refusal);
                }
            }
            "response.output_item.added" => self.take_item(event, ItemState::Added, sink)?,
            "response.output_item.done" => self.take_item(event, ItemState::Done, sink)?,
            "response.function_call_arguments.delta" => {
                self.take_arguments(event, sink);
            }
            "response.function_call_arguments.done" => {
                let item = text(event, "item_id").unwrap_or_default();
                self.finish_call(item, text(event, "arguments"), sink);
            }
            "response.completed" | "response.done" => self.complete(response, sink),
            "response.incomplete" => {
                take_usage(response, sink);
                let details = response.get("incomplete_details").unwrap_or(&Value::Null);
                let reason = text(details, "reason").unwrap_or("incomplete");
                sink.fail(ModelFailure::new(reason, "incomplete"));
            }
            "response.failed" => {
                take_usage(response, sink);
                sink.fail(failure_of(response.get("error").unwrap_or(&Value::Null)));
            }
            "error" => {
                let error = event.get("error").filter(|error| error.is_object());
                // Here `type` is the name of the event.
                let mut failure = failure_of(error.unwrap_or(event));
                if error.is_none() {
                    failure.code = text(event, "code").map(str::to_owned);
                }
                sink.fail(failure);
            }
            _ => {}
        }
        Ok(())
    }

    fn take_text_delta(&mut self, event: &Value, sink: &mut Sink<'_>) {
        self.streamed.insert(part_key(event));
        sink.text(text(event, "delta").unwrap_or_default());
    }

    /// Text that came as deltas is not repeated.
    fn take_whole_text(&mut self, event: &Value, whole: Option<&str>, sink: &mut Sink<'_>) {
        if let Some(whole) = whole.filter(|whole| !whole.is_empty())
            && self.streamed.insert(part_key(event))
        {
            sink.text(whole);
        }
    }

    fn take_item(
        &mut self,
        event: &Value,
        state: ItemState,
        sink: &mut Sink<'_>,
    ) -> Result<(), Malformed> {
        let item = event.get("item").unwrap_or(&Value::Null);
        if text(item, "type") != Some("function_call") {
            return Ok(());
        }
        let call_id = text(item, "call_id").or_else(|| text(item, "id"));
        let key = text(item, "id").or(call_id).unwrap_or_default();
        if !self.calls.contains_key(key) {
            let name = text(item, "name").ok_or(Malformed)?;
            let slot = self.slots.start(call_id, name, sink)?;
            self.calls.insert(key.to_owned(), slot);
        }
        if state == ItemState::Done {
            self.finish_call(key, text(item, "arguments"), sink);
        }
        Ok(())
    }

    fn take_arguments(&mut self, event: &Value, sink: &mut Sink<'_>) {
        let item = text(event, "item_id").unwrap_or_default();
        if let Some(slot) = self.calls.get(item) {
            let delta = text(event, "delta").unwrap_or_default();
            self.slots.arguments(*slot, delta, sink);
        }
    }

    fn finish_call(&mut self, item: &str, arguments: Option<&str>, sink: &mut Sink<'_>) {
        if let Some(slot) = self.calls.get(item) {
            self.slots.end(*slot, arguments.unwrap_or_default(), sink);
        }
    }

    fn complete(&mut self, response: &Value, sink: &mut Sink<'_>) {
        self.slots.end_all(sink);
        take_usage(response, sink);
        sink.finish(FinishReason::Stop, std::mem::take(&mut self.refusal));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemState {
    Added,
    Done,
}

fn part_key(event: &Value) -> (String, u64) {
    let item = text(event, "item_id").unwrap_or_default().to_owned();
    (item, count(event, "content_index").unwrap_or(0))
}

fn take_usage(response: &Value, sink: &mut Sink<'_>) {
    if let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) {
        let usage = Usage::read(usage, "input_tokens", "output_tokens", "total_tokens");
        sink.push(ModelEvent::Usage(usage));
    }
}
