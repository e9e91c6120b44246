//! From the messages of a request to the flat list, and which calls in it still wait (`ai.md`, Requests).
//!
//! A message with `parts` is in the form of the pinned client's interface, any other in the wire form; a list may mix both.
//! What only an interface shows (thinking, unknown parts) and who only the client knows (system, developer, reasoning,
//! activity) is left out.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::message::{Media, MediaKind, MediaSource, Message, Part, ToolCall};
use super::request::RequestError;

/// The flat list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
}

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingCall {
    pub(super) call: ToolCall,
    /// The person allowed it.
    pub(super) is_approved: bool,
}

impl Conversation {
    pub(super) fn parse(messages: Vec<Value>) -> Result<Self, RequestError> {
        let mut builder = Builder::default();
        for (index, message) in messages.into_iter().enumerate() {
            let Value::Object(message) = message else {
                return Err(at(index, "must be an object"));
            };
            builder.add(index, message)?;
        }
        let mut messages = builder.messages;
        keep_last_results(&mut messages);
        messages.retain(|message| match message {
            Message::User(parts) => !parts.is_empty(),
            Message::Assistant { text, calls } => !text.is_empty() || !calls.is_empty(),
            Message::Tool { .. } => true,
        });
        if messages.is_empty() {
            return Err(RequestError::at("messages", "have nothing to answer to"));
        }
        Ok(Self { messages })
    }

    /// Calls that nothing answers, or only that they may run, in their order.
    pub(super) fn pending_calls(&self) -> Vec<PendingCall> {
        let mut answered = HashMap::new();
        for message in &self.messages {
            if let Message::Tool { call_id, content } = message {
                answered.insert(call_id.as_str(), is_pending_execution(content));
            }
        }
        let mut pending = Vec::new();
        for message in &self.messages {
            let Message::Assistant { calls, .. } = message else {
                continue;
            };
            for call in calls {
                let is_approved = match answered.get(call.id.as_str()) {
                    Some(false) => continue,
                    answer => answer.is_some(),
                };
                pending.push(PendingCall {
                    call: call.clone(),
                    is_approved,
                });
            }
        }
        pending
    }

    /// The ids of all calls.
    pub(super) fn call_ids(&self) -> HashSet<String> {
        let calls = self.messages.iter().flat_map(|message| match message {
            Message::Assistant { calls, .. } => calls.as_slice(),
            Message::User(_) | Message::Tool { .. } => &[],
        });
        calls.map(|call| call.id.clone()).collect()
    }

    /// Adds the hub's own answer to a call, right after the message that made it and the other answers to that.
    pub(super) fn answer_call(&mut self, call_id: &str, content: String) {
        let made = |message: &Message| {
            matches!(message, Message::Assistant { calls, .. }
                if calls.iter().any(|call| call.id == call_id))
        };
        let after = self.messages.iter().rposition(made).map_or(0, |at| at + 1);
        let answers = self.messages.get(after..).unwrap_or_default();
        let others = answers
            .iter()
            .take_while(|message| matches!(message, Message::Tool { .. }))
            .count();
        let answer = Message::Tool {
            call_id: call_id.to_owned(),
            content,
        };
        self.messages.insert(after + others, answer);
    }
}

/// One answer for each call: the last one that is more than a permission.
fn keep_last_results(messages: &mut Vec<Message>) {
    let mut real = HashSet::new();
    let mut seen = HashSet::new();
    for message in messages.iter() {
        if let Message::Tool { call_id, content } = message
            && !is_pending_execution(content)
        {
            real.insert(call_id.clone());
        }
    }
    messages.reverse();
    messages.retain(|message| match message {
        Message::Tool { call_id, content } => {
            let is_stale = real.contains(call_id) && is_pending_execution(content);
            !is_stale && seen.insert(call_id.clone())
        }
        _ => true,
    });
    messages.reverse();
}

fn is_pending_execution(content: &str) -> bool {
    // Results may be long; only one that says so is read.
    content.contains("pendingExecution")
        && serde_json::from_str::<Value>(content)
            .is_ok_and(|content| content["pendingExecution"] == Value::Bool(true))
}

fn at(index: usize, problem: &str) -> RequestError {
    RequestError::at(format_args!("messages[{index}]"), problem)
}

fn part_at(index: usize, part: usize, problem: &str) -> RequestError {
    RequestError::at(format_args!("messages[{index}].parts[{part}]"), problem)
}

#[derive(Default)]
struct Builder {
    messages: Vec<Message>,
}

impl Builder {
    fn add(&mut self, index: usize, mut message: Map<String, Value>) -> Result<(), RequestError> {
        let Some(Value::String(role)) = message.remove("role") else {
            return Err(at(index, "has no role"));
        };
        let parts = match message.remove("parts") {
            None | Some(Value::Null) => None,
            Some(Value::Array(parts)) => Some(parts),
            Some(_) => return Err(at(index, "has parts that are no list")),
        };
        match (role.as_str(), parts) {
            ("user", Some(parts)) => self.add_user(index, parts),
            ("user", None) => match message.remove("content") {
                Some(Value::String(text)) => self.add_user(index, vec![text_part(text)]),
                Some(Value::Array(parts)) => self.add_user(index, parts),
                _ => Err(at(index, "has no content")),
            },
            ("assistant", Some(parts)) => self.add_assistant_parts(index, parts),
            ("assistant", None) => self.add_assistant(index, message),
            ("tool", _) => self.add_tool(index, message),
            _ => Ok(()),
        }
    }

    fn add_user(&mut self, index: usize, parts: Vec<Value>) -> Result<(), RequestError> {
        let mut content: Vec<Part> = Vec::new();
        for (place, part) in parts.into_iter().enumerate() {
            match (parse_content(index, place, part)?, content.last_mut()) {
                (Some(Part::Text(text)), _) if text.is_empty() => {}
                (Some(Part::Text(text)), Some(Part::Text(before))) => before.push_str(&text),
                (Some(part), _) => content.push(part),
                (None, _) => {}
            }
        }
        self.messages.push(Message::User(content));
        Ok(())
    }

    /// The wire form.
    fn add_assistant(
        &mut self,
        index: usize,
        mut message: Map<String, Value>,
    ) -> Result<(), RequestError> {
        let mut text = String::new();
        match message.remove("content") {
            None | Some(Value::Null) => {}
            Some(Value::String(content)) => text = content,
            Some(Value::Array(parts)) => {
                for (place, part) in parts.into_iter().enumerate() {
                    if let Some(Part::Text(more)) = parse_content(index, place, part)? {
                        text.push_str(&more);
                    }
                }
            }
            Some(_) => return Err(at(index, "has content that is no text")),
        }
        let calls = match message.remove("toolCalls") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(calls)) => calls
                .into_iter()
                .map(|call| {
                    parse_wire_call(call).ok_or_else(|| at(index, "has a malformed tool call"))
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(at(index, "has tool calls that are no list")),
        };
        self.messages.push(Message::Assistant { text, calls });
        Ok(())
    }

    fn add_tool(
        &mut self,
        index: usize,
        mut message: Map<String, Value>,
    ) -> Result<(), RequestError> {
        let (Some(Value::String(call_id)), Some(Value::String(content))) =
            (message.remove("toolCallId"), message.remove("content"))
        else {
            return Err(at(index, "is no tool result"));
        };
        let content = match message.remove("error") {
            Some(Value::String(error)) if !error.is_empty() => failed_result(&error),
            _ => content,
        };
        self.messages.push(Message::Tool { call_id, content });
        Ok(())
    }

    /// The interface form: parts are walked in order, a result closes the message that made the call.
    fn add_assistant_parts(&mut self, index: usize, parts: Vec<Value>) -> Result<(), RequestError> {
        let mut text = String::new();
        let mut calls: Vec<ToolCall> = Vec::new();
        let mut answered = HashSet::new();
        let mut unanswered: Vec<(String, String)> = Vec::new();
        for (place, part) in parts.into_iter().enumerate() {
            let Value::Object(mut part) = part else {
                return Err(part_at(index, place, "must be an object"));
            };
            match part.get("type").and_then(Value::as_str) {
                Some("text") => text.push_str(
                    &take_text(&mut part).ok_or_else(|| part_at(index, place, "has no text"))?,
                ),
                Some("tool-call") => {
                    let Some((call, answer)) = parse_part_call(part)
                        .ok_or_else(|| part_at(index, place, "is a malformed tool call"))?
                    else {
                        continue;
                    };
                    if let Some(answer) = answer {
                        unanswered.push((call.id.clone(), answer));
                    }
                    calls.push(call);
                }
                Some("tool-result") => {
                    let (call_id, content) = match parse_result(part) {
                        Some(Some(result)) => result,
                        Some(None) => continue,
                        None => return Err(part_at(index, place, "is a malformed tool result")),
                    };
                    self.close(&mut text, &mut calls);
                    if answered.insert(call_id.clone()) {
                        self.messages.push(Message::Tool { call_id, content });
                    }
                }
                _ => {}
            }
        }
        self.close(&mut text, &mut calls);
        for (call_id, content) in unanswered {
            if answered.insert(call_id.clone()) {
                self.messages.push(Message::Tool { call_id, content });
            }
        }
        Ok(())
    }

    fn close(&mut self, text: &mut String, calls: &mut Vec<ToolCall>) {
        if !text.is_empty() || !calls.is_empty() {
            self.messages.push(Message::Assistant {
                text: std::mem::take(text),
                calls: std::mem::take(calls),
            });
        }
    }
}

fn text_part(text: String) -> Value {
    json!({ "type": "text", "content": text })
}

fn take_text(part: &mut Map<String, Value>) -> Option<String> {
    match part.remove("content").or_else(|| part.remove("text")) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Text or media; `None` for what is neither.
fn parse_content(index: usize, place: usize, part: Value) -> Result<Option<Part>, RequestError> {
    let Value::Object(mut part) = part else {
        return Err(part_at(index, place, "must be an object"));
    };
    let kind = match part.get("type").and_then(Value::as_str) {
        Some("text") => {
            let text = take_text(&mut part).ok_or_else(|| part_at(index, place, "has no text"))?;
            return Ok(Some(Part::Text(text)));
        }
        Some(kind) => MediaKind::parse(kind),
        None => return Err(part_at(index, place, "has no type")),
    };
    let Some(kind) = kind else {
        return Ok(None);
    };
    let media =
        parse_media(kind, part).ok_or_else(|| part_at(index, place, "has a malformed source"))?;
    Ok(Some(Part::Media(media)))
}

fn parse_media(kind: MediaKind, mut part: Map<String, Value>) -> Option<Media> {
    let Some(Value::Object(mut source)) = part.remove("source") else {
        return None;
    };
    let Some(Value::String(value)) = source.remove("value") else {
        return None;
    };
    let mime_type = match source.remove("mimeType") {
        Some(Value::String(mime_type)) => Some(mime_type),
        None | Some(Value::Null) => None,
        Some(_) => return None,
    };
    let source = match source.get("type").and_then(Value::as_str) {
        Some("url") => MediaSource::Url(value),
        Some("data") => MediaSource::Data(value),
        _ => return None,
    };
    let file_name = part
        .get("metadata")
        .and_then(|metadata| metadata.get("filename"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    Some(Media {
        kind,
        source,
        mime_type,
        file_name,
    })
}

fn parse_wire_call(call: Value) -> Option<ToolCall> {
    let Value::Object(mut call) = call else {
        return None;
    };
    let Some(Value::Object(mut function)) = call.remove("function") else {
        return None;
    };
    match (
        call.remove("id"),
        function.remove("name"),
        function.remove("arguments"),
    ) {
        (Some(Value::String(id)), Some(Value::String(name)), Some(Value::String(arguments))) => {
            Some(ToolCall::new(id, name, arguments))
        }
        _ => None,
    }
}

/// A call and the answer that stands on it. The outer `None`: malformed; the inner: the call is not complete.
#[expect(
    clippy::option_option,
    reason = "the two are told apart where the place of the part is known"
)]
fn parse_part_call(mut part: Map<String, Value>) -> Option<Option<(ToolCall, Option<String>)>> {
    let (Some(Value::String(id)), Some(Value::String(name))) =
        (part.remove("id"), part.remove("name"))
    else {
        return None;
    };
    let arguments = match part.remove("arguments") {
        Some(Value::String(arguments)) => arguments,
        None => String::new(),
        Some(_) => return None,
    };
    let output = part.remove("output");
    let state = part.get("state").and_then(Value::as_str).unwrap_or("");
    let is_complete = matches!(
        state,
        "input-complete" | "approval-responded" | "complete" | "error"
    );
    if !is_complete && output.is_none() {
        return Some(None);
    }
    let answer = match output {
        Some(output) => Some(output.to_string()),
        None if state == "approval-responded" => {
            let is_approved = part
                .get("approval")
                .is_some_and(|approval| approval["approved"] == Value::Bool(true));
            Some(permission(is_approved))
        }
        None => None,
    };
    Some(Some((ToolCall::new(id, name, arguments), answer)))
}

/// What the person decided, in the words of both library servers.
fn permission(is_approved: bool) -> String {
    if is_approved {
        r#"{"approved":true,"pendingExecution":true,"message":"User approved this action"}"#
            .to_owned()
    } else {
        r#"{"approved":false,"message":"User denied this action"}"#.to_owned()
    }
}

/// The outer `None`: malformed; the inner: the result is not complete.
#[expect(
    clippy::option_option,
    reason = "the two are told apart where the place of the part is known"
)]
fn parse_result(mut part: Map<String, Value>) -> Option<Option<(String, String)>> {
    let Some(Value::String(call_id)) = part.remove("toolCallId") else {
        return None;
    };
    let state = part.get("state").and_then(Value::as_str).unwrap_or("");
    let error = part.get("error").and_then(Value::as_str);
    let content = match (state, error, part.get("content")) {
        ("error", Some(error), _) if !error.is_empty() => failed_result(error),
        ("complete" | "error", _, Some(Value::String(content))) => content.clone(),
        ("complete" | "error", _, _) => return None,
        _ => return Some(None),
    };
    Some(Some((call_id, content)))
}

/// The clients send the text `null` here, which tells a model nothing.
fn failed_result(error: &str) -> String {
    json!({ "error": error }).to_string()
}
