//! Where the decoders put what they read: events, and the calls among them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{FinishReason, ModelEvent, ModelFailure, failure_of};

/// Calls in one turn; models make a handful. More is a provider that has lost its way.
pub(super) const MAX_CALLS: usize = 128;

/// An event that is not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The provider has not said that it began.
    #[default]
    Waiting,
    Started,
    /// Nothing is heard any more.
    Over,
}

/// Takes the events of one answer up to its end.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    events: &'a mut Vec<ModelEvent>,
    stage: &'a mut Stage,
}

impl<'a> Sink<'a> {
    pub(super) fn new(events: &'a mut Vec<ModelEvent>, stage: &'a mut Stage) -> Self {
        Self { events, stage }
    }

    pub(super) fn push(&mut self, event: ModelEvent) {
        if *self.stage == Stage::Over {
            return;
        }
        if matches!(event, ModelEvent::Finished(_) | ModelEvent::Failed(_)) {
            *self.stage = Stage::Over;
        }
        self.events.push(event);
    }

    /// Says that the provider began to answer. Returns whether this is the first time; only then is it said.
    pub(super) fn start(&mut self, model: Option<&str>) -> bool {
        let is_first = *self.stage == Stage::Waiting;
        if is_first {
            *self.stage = Stage::Started;
            let model = model.map(str::to_owned);
            self.push(ModelEvent::Started { model });
        }
        is_first
    }

    pub(super) fn text(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.push(ModelEvent::Text(delta.to_owned()));
        }
    }

    pub(super) fn reasoning(&mut self, delta: &str) {
        if !delta.is_empty() {
            self.push(ModelEvent::Reasoning(delta.to_owned()));
        }
    }

    /// The end. A model that said why it refuses has not answered.
    pub(super) fn finish(&mut self, reason: FinishReason, refusal: String) {
        if refusal.is_empty() {
            self.push(ModelEvent::Finished(reason));
        } else {
            self.fail(ModelFailure::refusal(refusal));
        }
    }

    pub(super) fn fail(&mut self, failure: ModelFailure) {
        self.push(ModelEvent::Failed(failure));
    }

    /// Fails with the error that stands in an event. Returns whether there is one.
    pub(super) fn take_error(&mut self, event: &Value) -> bool {
        let error = event.get("error").filter(|error| !error.is_null());
        if let Some(error) = error {
            self.fail(failure_of(error));
        }
        error.is_some()
    }
}

/// Numbers calls, and knows which are still open.
#[derive(Debug, Default)]
pub(super) struct Slots {
    count: usize,
    open: BTreeSet<usize>,
    /// No piece of their arguments has come.
    silent: BTreeSet<usize>,
}

impl Slots {
    pub(super) fn start(
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
        self.silent.insert(slot);
        sink.push(ModelEvent::ToolStarted {
            slot,
            id: id.filter(|id| !id.is_empty()).map(str::to_owned),
            name: name.to_owned(),
        });
        Ok(slot)
    }

    /// Takes a piece of a call's arguments.
    pub(super) fn arguments(&mut self, slot: usize, delta: &str, sink: &mut Sink<'_>) {
        self.silent.remove(&slot);
        if !delta.is_empty() {
            sink.push(ModelEvent::ToolArguments {
                slot,
                delta: delta.to_owned(),
            });
        }
    }

    /// Ends a call, whose whole arguments are sent only if they did not come in pieces.
    pub(super) fn end(&mut self, slot: usize, whole: &str, sink: &mut Sink<'_>) {
        if self.silent.contains(&slot) {
            self.arguments(slot, whole, sink);
        }
        if self.open.remove(&slot) {
            sink.push(ModelEvent::ToolEnded { slot });
        }
    }

    pub(super) fn end_all(&mut self, sink: &mut Sink<'_>) {
        for slot in std::mem::take(&mut self.open) {
            sink.push(ModelEvent::ToolEnded { slot });
        }
    }
}
