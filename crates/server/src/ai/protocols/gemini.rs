//! Gemini's `streamGenerateContent`.

use serde_json::{Map, Value, json};

use super::sink::{Malformed, Sink, Slots};
use super::turns::Turns;
use super::{Encoded, FinishReason, ModelCall, ModelEvent, ModelFailure, Usage, text};
use crate::ai::message::{Media, MediaSource, Message, Part, Tool, parse_arguments};
use crate::ai::schema;
use crate::ai::upstream::HeaderText;

/// Stands for a signature that is gone, where the model insists on one.
const SKIP_SIGNATURE: &str = "skip_thought_signature_validator";

pub(super) fn encode(call: &ModelCall<'_>) -> Encoded {
    let settings = call.settings;
    let mut body = Map::new();
    body.insert("contents".to_owned(), encode_contents(call));
    let system = settings.system_prompts.join("\n");
    if !system.is_empty() {
        let instruction = json!({ "parts": [{ "text": system }] });
        body.insert("systemInstruction".to_owned(), instruction);
    }
    if !settings.tools.is_empty() {
        let tools: Vec<_> = settings.tools.iter().map(encode_tool).collect();
        let tools = json!([{ "functionDeclarations": tools }]);
        body.insert("tools".to_owned(), tools);
    }
    let mut generation = Map::new();
    if let Some(temperature) = settings.temperature {
        generation.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = settings.top_p {
        generation.insert("topP".to_owned(), json!(top_p));
    }
    if let Some(max_tokens) = settings.max_tokens {
        generation.insert("maxOutputTokens".to_owned(), json!(max_tokens));
    }
    if let Some(schema) = &settings.output_schema {
        generation.insert("responseMimeType".to_owned(), json!("application/json"));
        generation.insert("responseJsonSchema".to_owned(), schema.clone());
    }
    body.insert("generationConfig".to_owned(), Value::Object(generation));
    let url = format!(
        "{}/v1beta/models/{}:streamGenerateContent?alt=sse",
        call.base_url,
        encode_segment(call.model)
    );
    let key = call
        .key
        .map(|key| ("x-goog-api-key", HeaderText::secret(key)));
    Encoded {
        url,
        headers: key.into_iter().collect(),
        body: Value::Object(body),
    }
}

/// A model's name comes from the catalog; still it cannot leave its segment of the path.
fn encode_segment(model: &str) -> String {
    form_urlencoded::byte_serialize(model.as_bytes()).collect()
}

fn encode_tool(tool: &Tool) -> Value {
    let schema = tool.schema.clone().unwrap_or_else(schema::no_arguments);
    json!({
        "name": tool.name,
        "description": tool.description.as_deref().unwrap_or(&tool.name),
        "parametersJsonSchema": schema,
    })
}

fn encode_contents(call: &ModelCall<'_>) -> Value {
    let mut turns = Turns::default();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for message in &call.conversation.messages {
        let (role, parts) = match message {
            Message::User(parts) => ("user", parts.iter().map(encode_part).collect()),
            Message::Assistant { text, calls } => {
                names.extend(
                    calls
                        .iter()
                        .map(|call| (call.id.as_str(), call.name.as_str())),
                );
                let mut parts = Vec::new();
                if !text.is_empty() {
                    parts.push(json!({ "text": text }));
                }
                parts.extend(calls.iter().enumerate().map(|(index, made)| {
                    let mut part = json!({ "functionCall": {
                        "id": made.id, "name": made.name, "args": parse_arguments(&made.arguments),
                    } });
                    let kept = (call.signatures)(&made.id);
                    // Of calls that were made together only the first carries a signature.
                    let is_missing = call.wants_signatures && index == 0;
                    let missing = || is_missing.then(|| SKIP_SIGNATURE.to_owned());
                    if let Some(signature) = kept.or_else(missing) {
                        part["thoughtSignature"] = json!(signature);
                    }
                    part
                }));
                ("model", parts)
            }
            Message::Tool { call_id, content } => {
                let name = names.iter().rev().find(|(id, _)| id == call_id);
                // A result without its call has a name in no case.
                let name = name.map_or(call_id.as_str(), |(_, name)| name);
                let part = json!({ "functionResponse": {
                    "id": call_id, "name": name, "response": { "content": content },
                } });
                ("user", vec![part])
            }
        };
        turns.push(role, parts);
    }
    turns.encode(|role, parts| json!({ "role": role, "parts": parts }))
}

fn encode_part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "text": text }),
        Part::Media(media) => encode_media(media),
    }
}

fn encode_media(media: &Media) -> Value {
    let mime_type = media.mime_type();
    match &media.source {
        MediaSource::Url(url) => json!({ "fileData": { "fileUri": url, "mimeType": mime_type } }),
        MediaSource::Data(data) => json!({ "inlineData": { "data": data, "mimeType": mime_type } }),
    }
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    has_output: bool,
    slots: Slots,
}

impl Decoder {
    pub(super) fn take(&mut self, chunk: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        // Without `alt=sse`, and where an error comes late, chunks are elements of a list.
        if let Value::Array(chunks) = chunk {
            return chunks
                .iter()
                .try_for_each(|chunk| self.take_chunk(chunk, sink));
        }
        self.take_chunk(chunk, sink)
    }

    fn take_chunk(&mut self, chunk: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        if sink.take_error(chunk) {
            return Ok(());
        }
        if !chunk.is_object() {
            return Err(Malformed);
        }
        sink.start(text(chunk, "modelVersion"));
        let candidate = chunk
            .get("candidates")
            .and_then(|candidates| candidates.get(0))
            .unwrap_or(&Value::Null);
        let parts = candidate
            .get("content")
            .and_then(|content| content.get("parts"));
        for part in parts.and_then(Value::as_array).into_iter().flatten() {
            self.take_part(part, sink)?;
        }
        if let Some(usage) = chunk.get("usageMetadata") {
            let usage = Usage::read(
                usage,
                "promptTokenCount",
                "candidatesTokenCount",
                "totalTokenCount",
            );
            sink.push(ModelEvent::Usage(usage));
        }
        let feedback = chunk.get("promptFeedback").unwrap_or(&Value::Null);
        if let Some(reason) = text(feedback, "blockReason") {
            let message = format!("The provider blocked the prompt: {reason}");
            sink.fail(ModelFailure::new(message, "content_filter"));
        }
        if let Some(reason) = text(candidate, "finishReason") {
            self.finish(reason, sink);
        }
        Ok(())
    }

    fn take_part(&mut self, part: &Value, sink: &mut Sink<'_>) -> Result<(), Malformed> {
        if let Some(call) = part.get("functionCall").filter(|call| call.is_object()) {
            let name = text(call, "name").ok_or(Malformed)?;
            let slot = self.slots.start(text(call, "id"), name, sink)?;
            self.has_output = true;
            if let Some(signature) = text(part, "thoughtSignature") {
                let signature = signature.to_owned();
                sink.push(ModelEvent::ToolSignature { slot, signature });
            }
            let arguments = call.get("args").filter(|args| args.is_object());
            let arguments = arguments.map_or_else(|| "{}".to_owned(), Value::to_string);
            self.slots.end(slot, &arguments, sink);
            return Ok(());
        }
        let delta = text(part, "text").unwrap_or_default();
        if part.get("thought") == Some(&Value::Bool(true)) {
            sink.reasoning(delta);
        } else {
            self.has_output |= !delta.is_empty();
            sink.text(delta);
        }
        Ok(())
    }

    fn finish(&self, reason: &str, sink: &mut Sink<'_>) {
        match reason {
            "STOP" | "FINISH_REASON_UNSPECIFIED" => {
                sink.push(ModelEvent::Finished(FinishReason::Stop));
            }
            "MAX_TOKENS" => sink.fail(ModelFailure::new(
                "The response was cut off at the token limit.",
                "max_tokens",
            )),
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE"
            | "IMAGE_SAFETY"
                if self.has_output =>
            {
                sink.push(ModelEvent::Finished(FinishReason::ContentFilter));
            }
            reason => {
                let message = format!("The provider stopped: {reason}");
                sink.fail(ModelFailure::new(message, &reason.to_ascii_lowercase()));
            }
        }
    }
}
