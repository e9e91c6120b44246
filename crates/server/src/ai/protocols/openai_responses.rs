//! OpenAI's Responses API (`ai-stream.md` 7.1).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    Encoded, FinishReason, Malformed, ModelCall, ModelEvent, ModelFailure, Sink, Slots, Usage,
    count, failure_of, text,
};
use crate::ai::message::{Media, MediaKind, MediaSource, Message, Part, Tool};
use crate::ai::request::RequestError;
use crate::ai::schema;
use crate::ai::upstream::HeaderText;

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
    if !call.ignores_sampling {
        if let Some(temperature) = settings.temperature {
            body.insert("temperature".to_owned(), json!(temperature));
        }
        if let Some(top_p) = settings.top_p {
            body.insert("top_p".to_owned(), json!(top_p));
        }
    }
    if let Some(max_tokens) = settings.max_tokens {
        body.insert("max_output_tokens".to_owned(), json!(max_tokens));
    }
    if let Some(metadata) = &settings.metadata {
        body.insert("metadata".to_owned(), metadata.clone());
    }
    if let Some(schema) = &settings.output_schema {
        let format =
            json!({ "type": "json_schema", "name": "answer", "strict": true, "schema": schema });
        body.insert("text".to_owned(), json!({ "format": format }));
    }
    body.insert("stream".to_owned(), Value::Bool(true));
    Ok(Encoded {
        url: format!("{}/responses", call.base_url),
        headers: bearer(call),
        body: Value::Object(body),
    })
}

/// `Authorization`; a server of one's own may want none.
pub(super) fn bearer(call: &ModelCall<'_>) -> Vec<(&'static str, HeaderText)> {
    call.key
        .map(|key| ("authorization", HeaderText::bearer(key)))
        .into_iter()
        .collect()
}

/// A tool in strict mode where its schema allows that: name, description, parameters and `strict`.
pub(super) fn strict_function(tool: &Tool) -> Map<String, Value> {
    let (parameters, strict) = match &tool.schema {
        None => (schema::no_arguments_strict(), true),
        Some(schema) => match schema::to_strict(schema) {
            Some(strict) => (strict, true),
            None => (schema.clone(), false),
        },
    };
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    function.insert("parameters".to_owned(), parameters);
    function.insert("strict".to_owned(), Value::Bool(strict));
    function
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

pub(super) fn unsupported(media: &Media) -> RequestError {
    RequestError::at(
        format_args!("messages: {}", media.kind.as_str()),
        "is not something that this model's provider takes",
    )
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
    has_started: bool,
    last_sequence: Option<u64>,
    slots: Slots,
    /// By item id.
    calls: HashMap<String, Call>,
    /// Parts whose text has come as deltas: item id and index of the content.
    streamed: HashSet<(String, u64)>,
    refusal: String,
}

#[derive(Debug)]
struct Call {
    slot: usize,
    has_arguments: bool,
}

impl Decoder {
    pub(super) fn take(&mut self, event: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        let Some(kind) = text(event, "type") else {
            return match event.get("error") {
                Some(error) if !error.is_null() => {
                    sink.fail(failure_of(error));
                    Ok(())
                }
                _ => Err(Malformed),
            };
        };
        // An event that is repeated says nothing new.
        if let Some(sequence) = count(event, "sequence_number") {
            if self.last_sequence.is_some_and(|last| sequence <= last) {
                return Ok(());
            }
            self.last_sequence = Some(sequence);
        }
        let response = event.get("response").unwrap_or(&Value::Null);
        if !self.has_started {
            self.has_started = true;
            let model = text(response, "model").map(str::to_owned);
            sink.push(ModelEvent::Started { model });
        }
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
            let call = Call {
                slot,
                has_arguments: false,
            };
            self.calls.insert(key.to_owned(), call);
        }
        if state == ItemState::Done {
            self.finish_call(key, text(item, "arguments"), sink);
        }
        Ok(())
    }

    fn take_arguments(&mut self, event: &Value, sink: &mut Sink<'_>) {
        let item = text(event, "item_id").unwrap_or_default();
        if let Some(call) = self.calls.get_mut(item) {
            call.has_arguments = true;
            sink.arguments(call.slot, text(event, "delta").unwrap_or_default());
        }
    }

    fn finish_call(&mut self, item: &str, arguments: Option<&str>, sink: &mut Sink<'_>) {
        if let Some(call) = self.calls.get_mut(item) {
            if !std::mem::replace(&mut call.has_arguments, true) {
                sink.arguments(call.slot, arguments.unwrap_or_default());
            }
            self.slots.end(call.slot, sink);
        }
    }

    fn complete(&mut self, response: &Value, sink: &mut Sink<'_>) {
        self.slots.end_all(sink);
        take_usage(response, sink);
        if !self.refusal.is_empty() {
            sink.fail(ModelFailure::refusal(std::mem::take(&mut self.refusal)));
            return;
        }
        sink.push(ModelEvent::Finished(FinishReason::Stop));
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
    let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) else {
        return;
    };
    let input_tokens = count(usage, "input_tokens").unwrap_or(0);
    let output_tokens = count(usage, "output_tokens").unwrap_or(0);
    sink.push(ModelEvent::Usage(Usage {
        input_tokens,
        output_tokens,
        total_tokens: count(usage, "total_tokens")
            .unwrap_or(input_tokens.saturating_add(output_tokens)),
    }));
}
