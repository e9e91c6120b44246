//! The hub's dialect: the one stream that both generations of clients read (`ai.md`, Answers).
//!
//! [`Dialect`] writes bytes and keeps the order that clients rely on, whatever order a model speaks in: a run is started
//! first, reasoning is closed before text, text before a call, every run opens a message, and after `RUN_ERROR` nothing is
//! written any more. It knows no time and no randomness; both come with each call.

mod event;

use std::collections::HashSet;

use serde_json::{Value, json};

use self::event::Field::{Json, Number, Text};
use self::event::{Field, write_event};
use super::message::{Message, Tool, ToolCall, parse_arguments, unknown_tool_result};
use super::protocols::{FinishReason, ModelEvent, ModelFailure, Usage};
use super::schema;
use crate::ports::Random;

/// Up to this length the reasoning so far is repeated beside each piece of it, as the pinned clients' servers do. Beyond
/// it only the piece is sent: bytes would grow with the square of the length otherwise.
const MAX_REPEATED_BYTES: usize = 16 * 1024;

/// When something is written, and where its ids come from.
#[derive(Clone, Copy)]
pub(super) struct Stamp<'a> {
    pub(super) now_ms: u64,
    pub(super) random: &'a dyn Random,
}

impl Stamp<'_> {
    /// A fresh id: 96 random bits.
    pub(super) fn id(&self, prefix: &str) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; 12];
        self.random.fill(&mut bytes);
        let mut id = prefix.to_owned();
        for byte in bytes {
            id.push(char::from(DIGITS[usize::from(byte >> 4)]));
            id.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        id
    }
}

/// The writer of one response.
#[derive(Debug)]
pub(super) struct Dialect {
    thread_id: String,
    /// What the client asked for.
    requested_model: String,
    tools: Vec<Tool>,
    /// Optional arguments come as nulls.
    is_strict: bool,
    /// Of calls before this run.
    taken_ids: HashSet<String>,
    run: Run,
    is_closed: bool,
}

/// One run of a model.
#[derive(Debug)]
struct Run {
    id: String,
    /// What the provider calls the model.
    model: String,
    is_started: bool,
    message_id: Option<String>,
    is_text_open: bool,
    has_message: bool,
    reasoning: Option<Reasoning>,
    text: String,
    calls: Vec<Call>,
    usage: Usage,
}

#[derive(Debug)]
struct Reasoning {
    message_id: String,
    step_id: String,
    content: String,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    input: Value,
    has_ended: bool,
}

impl Run {
    fn new(id: String, model: String) -> Self {
        Self {
            id,
            model,
            is_started: false,
            message_id: None,
            is_text_open: false,
            has_message: false,
            reasoning: None,
            text: String::new(),
            calls: Vec::new(),
            usage: Usage::default(),
        }
    }
}

/// A call that the client is to run, or to ask its person about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WaitingCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) needs_approval: bool,
}

/// What a run's calls mean for the response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunCalls {
    /// The turn, for the next request.
    pub(super) turn: Message,
    /// Of tools that the client declared.
    pub(super) waiting: Vec<WaitingCall>,
    /// Of tools that nobody declared: id and name.
    pub(super) unknown: Vec<(String, String)>,
}

impl Dialect {
    pub(super) fn new(
        thread_id: String,
        run_id: String,
        requested_model: String,
        tools: Vec<Tool>,
        taken_ids: HashSet<String>,
    ) -> Self {
        Self {
            run: Run::new(run_id, requested_model.clone()),
            thread_id,
            requested_model,
            tools,
            is_strict: false,
            taken_ids,
            is_closed: false,
        }
    }

    /// Whether the model that answers writes an optional argument that it leaves out as null.
    pub(super) fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
    }

    /// Writes what the model said; ends are written by [`Self::finish`] and [`Self::fail`].
    pub(super) fn apply(&mut self, event: &ModelEvent, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        match event {
            ModelEvent::Started { model } => {
                if !self.run.is_started
                    && let Some(model) = model.as_ref().filter(|model| !model.is_empty())
                {
                    self.run.model.clone_from(model);
                }
                self.start(stamp, out);
            }
            ModelEvent::Text(delta) => self.text(delta, stamp, out),
            ModelEvent::Reasoning(delta) => self.reasoning(delta, stamp, out),
            ModelEvent::ToolStarted { slot, id, name } => {
                self.start_call(*slot, id.as_deref(), name, stamp, out);
            }
            ModelEvent::ToolArguments { slot, delta } => self.arguments(*slot, delta, stamp, out),
            ModelEvent::ToolEnded { slot } => self.end_call(*slot, stamp, out),
            ModelEvent::Usage(usage) => self.run.usage = *usage,
            ModelEvent::ToolSignature { .. } | ModelEvent::Finished(_) | ModelEvent::Failed(_) => {}
        }
    }

    /// The id under which the client knows a call.
    pub(super) fn call_id(&self, slot: usize) -> Option<&str> {
        self.run.calls.get(slot).map(|call| call.id.as_str())
    }

    /// What the run's calls ask for.
    pub(super) fn calls(&self) -> RunCalls {
        let mut waiting = Vec::new();
        let mut unknown = Vec::new();
        for call in &self.run.calls {
            match self.tools.iter().find(|tool| tool.name == call.name) {
                Some(tool) => waiting.push(WaitingCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    input: call.input.clone(),
                    needs_approval: tool.needs_approval,
                }),
                None => unknown.push((call.id.clone(), call.name.clone())),
            }
        }
        let made =
            |call: &Call| ToolCall::new(call.id.clone(), call.name.clone(), call.arguments.clone());
        RunCalls {
            turn: Message::Assistant {
                text: self.run.text.clone(),
                calls: self.run.calls.iter().map(made).collect(),
            },
            waiting,
            unknown,
        }
    }

    /// Ends every call that the provider left open, so that [`Self::calls`] knows their input.
    pub(super) fn end_calls(&mut self, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        for slot in 0..self.run.calls.len() {
            self.end_call(slot, stamp, out);
        }
    }

    /// `RUN_FINISHED`. A run without anything opens an empty message, or the pinned client waits for good.
    pub(super) fn finish(&mut self, reason: FinishReason, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        self.start(stamp, out);
        self.end_calls(stamp, out);
        self.close_blocks(stamp, out);
        if !self.run.has_message {
            self.open_text(stamp, out);
            self.close_blocks(stamp, out);
        }
        let reason = match reason {
            _ if !self.run.calls.is_empty() => FinishReason::ToolCalls,
            // The turn has no calls after all.
            FinishReason::ToolCalls => FinishReason::Stop,
            reason => reason,
        };
        let usage = json!({
            "promptTokens": self.run.usage.input_tokens,
            "completionTokens": self.run.usage.output_tokens,
            "totalTokens": self.run.usage.total_tokens,
        });
        let fields = [
            ("runId", Text(&self.run.id)),
            ("threadId", Text(&self.thread_id)),
            ("finishReason", Text(reason.as_str())),
            ("usage", Json(&usage)),
        ];
        self.write("RUN_FINISHED", &fields, stamp, out);
    }

    /// `RUN_ERROR`, the last thing that is written.
    pub(super) fn fail(&mut self, failure: &ModelFailure, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        self.start(stamp, out);
        self.close_blocks(stamp, out);
        let mut error = json!({ "message": failure.message });
        if let Some(code) = &failure.code {
            error["code"] = json!(code);
        }
        let mut fields = vec![
            ("runId", Text(&self.run.id)),
            ("threadId", Text(&self.thread_id)),
            ("message", Text(&failure.message)),
        ];
        fields.extend(failure.code.as_ref().map(|code| ("code", Text(code))));
        fields.push(("error", Json(&error)));
        self.write("RUN_ERROR", &fields, stamp, out);
        self.is_closed = true;
    }

    /// The answer to a call of a tool that nobody declared: in one form for each generation of clients.
    pub(super) fn answer_unknown(
        &mut self,
        call_id: &str,
        name: &str,
        stamp: Stamp<'_>,
        out: &mut Vec<u8>,
    ) {
        if self.is_closed {
            return;
        }
        let result = unknown_tool_result(name);
        let fields = [
            ("toolCallId", Text(call_id)),
            ("toolName", Text(name)),
            ("toolCallName", Text(name)),
            ("result", Text(&result)),
        ];
        self.write_as_hub("TOOL_CALL_END", &fields, stamp, out);
        let message_id = self.message_id(stamp);
        let fields = [
            ("messageId", Text(&message_id)),
            ("toolCallId", Text(call_id)),
            ("content", Text(&result)),
            ("role", Text("tool")),
        ];
        self.write_as_hub("TOOL_CALL_RESULT", &fields, stamp, out);
    }

    /// Tells the client to run a call, or to ask first.
    pub(super) fn hand_over(&self, call: &WaitingCall, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if self.is_closed {
            return;
        }
        let mut value = json!({
            "toolCallId": call.id, "toolName": call.name, "input": call.input,
        });
        let name = if call.needs_approval {
            let id = format!("approval_{}", call.id);
            value["approval"] = json!({ "id": id, "needsApproval": true });
            "approval-requested"
        } else {
            "tool-input-available"
        };
        let fields = [("name", Text(name)), ("value", Json(&value))];
        self.write_as_hub("CUSTOM", &fields, stamp, out);
    }

    /// `[DONE]`: the response was good.
    pub(super) fn done(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_closed, true) {
            out.extend_from_slice(b"data: [DONE]\n\n");
        }
    }

    /// Begins another run in the same response.
    pub(super) fn next_run(&mut self, stamp: Stamp<'_>) {
        let next = Run::new(stamp.id("run-"), self.requested_model.clone());
        let ended = std::mem::replace(&mut self.run, next);
        self.taken_ids
            .extend(ended.calls.into_iter().map(|call| call.id));
    }

    fn write(&self, kind: &str, fields: &[(&str, Field<'_>)], stamp: Stamp<'_>, out: &mut Vec<u8>) {
        write_event(kind, stamp.now_ms, &self.run.model, fields, out);
    }

    /// What the hub says by itself names the model as the client does.
    fn write_as_hub(
        &self,
        kind: &str,
        fields: &[(&str, Field<'_>)],
        stamp: Stamp<'_>,
        out: &mut Vec<u8>,
    ) {
        write_event(kind, stamp.now_ms, &self.requested_model, fields, out);
    }

    fn start(&mut self, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.run.is_started, true) {
            let fields = [
                ("runId", Text(&self.run.id)),
                ("threadId", Text(&self.thread_id)),
            ];
            self.write("RUN_STARTED", &fields, stamp, out);
        }
    }

    fn message_id(&mut self, stamp: Stamp<'_>) -> String {
        let id = &mut self.run.message_id;
        id.get_or_insert_with(|| stamp.id("msg-")).clone()
    }

    fn text(&mut self, delta: &str, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        self.start(stamp, out);
        if !self.run.is_text_open {
            self.open_text(stamp, out);
        }
        self.run.text.push_str(delta);
        let message_id = self.message_id(stamp);
        let fields = [("messageId", Text(&message_id)), ("delta", Text(delta))];
        self.write("TEXT_MESSAGE_CONTENT", &fields, stamp, out);
    }

    fn open_text(&mut self, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        self.close_blocks(stamp, out);
        let message_id = self.message_id(stamp);
        self.run.is_text_open = true;
        self.run.has_message = true;
        let fields = [
            ("messageId", Text(&message_id)),
            ("role", Text("assistant")),
        ];
        self.write("TEXT_MESSAGE_START", &fields, stamp, out);
    }

    fn reasoning(&mut self, delta: &str, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        self.start(stamp, out);
        let mut reasoning = match self.run.reasoning.take() {
            Some(reasoning) => reasoning,
            None => self.open_reasoning(stamp, out),
        };
        let (message, step) = (&reasoning.message_id, &reasoning.step_id);
        let fields = [("messageId", Text(message)), ("delta", Text(delta))];
        self.write("REASONING_MESSAGE_CONTENT", &fields, stamp, out);
        let is_repeated = reasoning.content.len() + delta.len() <= MAX_REPEATED_BYTES;
        if is_repeated {
            reasoning.content.push_str(delta);
        }
        let mut fields = vec![
            ("stepId", Text(step)),
            ("stepName", Text(step)),
            ("delta", Text(delta)),
        ];
        if is_repeated {
            fields.push(("content", Text(&reasoning.content)));
        }
        self.write("STEP_FINISHED", &fields, stamp, out);
        self.run.reasoning = Some(reasoning);
    }

    fn open_reasoning(&mut self, stamp: Stamp<'_>, out: &mut Vec<u8>) -> Reasoning {
        self.close_blocks(stamp, out);
        self.run.has_message = true;
        let reasoning = Reasoning {
            message_id: stamp.id("msg-"),
            step_id: stamp.id("step-"),
            content: String::new(),
        };
        let message = ("messageId", Text(&reasoning.message_id));
        self.write("REASONING_START", &[message], stamp, out);
        let fields = [message, ("role", Text("reasoning"))];
        self.write("REASONING_MESSAGE_START", &fields, stamp, out);
        let step = Text(&reasoning.step_id);
        let fields = [
            ("stepId", step),
            ("stepName", step),
            ("stepType", Text("thinking")),
        ];
        self.write("STEP_STARTED", &fields, stamp, out);
        reasoning
    }

    /// Closes reasoning or text; at most one is open.
    fn close_blocks(&mut self, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        if let Some(reasoning) = self.run.reasoning.take() {
            let fields = [("messageId", Text(&reasoning.message_id))];
            self.write("REASONING_MESSAGE_END", &fields, stamp, out);
            self.write("REASONING_END", &fields, stamp, out);
        }
        if std::mem::take(&mut self.run.is_text_open) {
            let message_id = self.message_id(stamp);
            self.write(
                "TEXT_MESSAGE_END",
                &[("messageId", Text(&message_id))],
                stamp,
                out,
            );
        }
    }

    fn start_call(
        &mut self,
        slot: usize,
        id: Option<&str>,
        name: &str,
        stamp: Stamp<'_>,
        out: &mut Vec<u8>,
    ) {
        if slot != self.run.calls.len() {
            return;
        }
        self.start(stamp, out);
        self.close_blocks(stamp, out);
        // A provider that names two calls alike, now or in an earlier turn, would make the client answer both at once.
        let is_free = |id: &&str| {
            !self.taken_ids.contains(*id) && !self.run.calls.iter().any(|call| call.id == **id)
        };
        let id = id.filter(is_free).map(str::to_owned);
        let id = id.unwrap_or_else(|| stamp.id("call_"));
        let message_id = self.message_id(stamp);
        self.run.has_message = true;
        let fields = [
            ("toolCallId", Text(&id)),
            ("toolName", Text(name)),
            ("toolCallName", Text(name)),
            ("parentMessageId", Text(&message_id)),
            ("index", Number(slot as u64)),
        ];
        self.write("TOOL_CALL_START", &fields, stamp, out);
        self.run.calls.push(Call {
            id,
            name: name.to_owned(),
            arguments: String::new(),
            input: Value::Null,
            has_ended: false,
        });
    }

    fn arguments(&mut self, slot: usize, delta: &str, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        let Some(call) = self.run.calls.get_mut(slot).filter(|call| !call.has_ended) else {
            return;
        };
        call.arguments.push_str(delta);
        let id = call.id.clone();
        let fields = [("toolCallId", Text(&id)), ("delta", Text(delta))];
        self.write("TOOL_CALL_ARGS", &fields, stamp, out);
    }

    fn end_call(&mut self, slot: usize, stamp: Stamp<'_>, out: &mut Vec<u8>) {
        let call = self.run.calls.get(slot).filter(|call| !call.has_ended);
        let Some(call) = call else {
            return;
        };
        if call.arguments.is_empty() {
            // The client sends back what it heard, and an empty text is no JSON.
            self.arguments(slot, "{}", stamp, out);
        }
        let Some(call) = self.run.calls.get_mut(slot) else {
            return;
        };
        call.has_ended = true;
        let mut input = parse_arguments(&call.arguments);
        let (id, name) = (call.id.clone(), call.name.clone());
        if self.is_strict {
            let tool = self.tools.iter().find(|tool| tool.name == name);
            if let Some(schema) = tool.and_then(|tool| tool.schema.as_ref()) {
                schema::remove_strict_nulls(&mut input, schema);
            }
        }
        let fields = [
            ("toolCallId", Text(&id)),
            ("toolName", Text(&name)),
            ("toolCallName", Text(&name)),
            ("input", Json(&input)),
        ];
        self.write("TOOL_CALL_END", &fields, stamp, out);
        if let Some(call) = self.run.calls.get_mut(slot) {
            call.input = input;
        }
    }
}

/// A comment that keeps the connection alive; both clients pass it over.
pub(super) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
