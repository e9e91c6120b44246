//! An answer as a response body: bytes are pulled from the provider as the client takes them, never ahead.
//!
//! Whoever reads slowly holds back their own answer only. Dropping the body drops the provider's, settles the call and
//! makes room for the person's next one. Nothing here waits for a task: the host polls the body, and only the alarm of
//! [`body`] runs beside that.

mod body;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};

use super::attempts::{OpenError, Opened};
use super::conversation::Conversation;
use super::dialect::{Dialect, KEEP_ALIVE, RunCalls, Stamp};
use super::limits::StreamPermit;
use super::message::unknown_tool_result;
use super::protocols::{Decoder, Ending, FinishReason, ModelEvent, ModelFailure};
use super::redact::redact;
use super::service::Plan;
use super::settings::AiTimes;
use super::settlement::Settlement;
use super::store::Outcome;
use super::upstream::{Alarm, UpstreamError};
use crate::state::SharedHub;

/// Models that call tools that do not exist are told so this often in one response.
const MAX_ROUNDS: u32 = 5;

/// For the mark that ends a provider's answer, behind the last event. Far below the second in which a provider is left
/// by whoever stops reading, because nobody knows whether they stopped before the last event or after it.
const REST_TIME: Duration = Duration::from_millis(250);

/// A provider that goes on and on is cut off.
const MAX_REST_BYTES: usize = 16 * 1024;

/// A response on its way.
pub(super) struct Answer {
    hub: SharedHub,
    /// What is needed to ask again.
    plan: Plan,
    conversation: Conversation,
    dialect: Dialect,
    decoder: Decoder,
    phase: Phase,
    tick: BoxFuture<'static, ()>,
    out: Vec<u8>,
    events: Vec<ModelEvent>,
    /// Both end with the answer, the place first, also when nobody reads it to its end.
    open: Option<(StreamPermit, Settlement)>,
    /// For as long as it is open.
    alarm: Option<Alarm>,
    times: AiTimes,
    round: u32,
    received_bytes: usize,
    began_ms: u64,
    written_ms: u64,
    heard_ms: u64,
}

enum Phase {
    /// The provider speaks.
    Streaming(BoxStream<'static, Result<Bytes, UpstreamError>>),
    /// It was asked again.
    Opening(BoxFuture<'static, Result<Opened, OpenError>>),
    /// All is said.
    Over,
}

/// What the body waited for.
enum Heard {
    Piece(Bytes),
    Lost,
    End,
    Opened(Result<Opened, OpenError>),
    Tick,
}

impl Answer {
    /// An answer whose first piece is there. `out` is what has been written before it.
    pub(super) fn begin(
        hub: SharedHub,
        plan: Plan,
        conversation: Conversation,
        dialect: Dialect,
        opened: Opened,
        out: Vec<u8>,
        open: (StreamPermit, Settlement),
    ) -> Self {
        let now_ms = hub.now_ms();
        let times = hub.config.ai.times;
        let tick = plan
            .ports
            .timer
            .sleep(Duration::from_millis(times.keep_alive_ms));
        let mut answer = Self {
            decoder: Decoder::new(plan.protocol),
            hub,
            plan,
            conversation,
            dialect,
            phase: Phase::Over,
            tick,
            out,
            events: Vec::new(),
            open: Some(open),
            alarm: None,
            times,
            round: 1,
            received_bytes: 0,
            began_ms: now_ms,
            written_ms: now_ms,
            heard_ms: now_ms,
        };
        answer.dialect.set_strict(answer.plan.is_strict());
        answer.take_opened(opened);
        answer
    }

    pub(super) fn into_body(self) -> Body {
        body::serve(self)
    }

    /// Keeps what ends this answer when its time is over.
    fn hold(&mut self, alarm: Alarm) {
        // Its time may have been over at once.
        self.alarm = self.open.is_some().then_some(alarm);
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if !self.out.is_empty() {
                self.written_ms = self.hub.now_ms();
                return Poll::Ready(Some(Bytes::from(std::mem::take(&mut self.out))));
            }
            let Some(heard) = ready!(self.poll_heard(context)) else {
                return Poll::Ready(None);
            };
            match heard {
                Heard::Piece(piece) => self.take_piece(&piece),
                Heard::End => self.take_end(Ending::Clean),
                Heard::Lost => self.take_end(Ending::Lost),
                Heard::Opened(Ok(opened)) => self.take_opened(opened),
                Heard::Opened(Err(error)) => self.fail(error.to_failure()),
                Heard::Tick => self.take_tick(),
            }
        }
    }

    /// `None` when all is said.
    fn poll_heard(&mut self, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        let heard = match &mut self.phase {
            Phase::Over => return Poll::Ready(None),
            Phase::Streaming(body) => body.poll_next_unpin(context).map(|piece| match piece {
                Some(Ok(piece)) => Heard::Piece(piece),
                Some(Err(_)) => Heard::Lost,
                None => Heard::End,
            }),
            Phase::Opening(opening) => opening.poll_unpin(context).map(Heard::Opened),
        };
        if heard.is_ready() {
            return heard.map(Some);
        }
        self.tick.poll_unpin(context).map(|()| Some(Heard::Tick))
    }

    fn take_opened(&mut self, opened: Opened) {
        let Opened { first, rest } = opened;
        self.phase = Phase::Streaming(rest);
        match first {
            Some(piece) => self.take_piece(&piece),
            None => self.take_end(Ending::Clean),
        }
    }

    fn take_piece(&mut self, piece: &Bytes) {
        self.heard_ms = self.hub.now_ms();
        if let Some((_, settlement)) = &mut self.open {
            settlement.first_byte();
        }
        self.received_bytes = self.received_bytes.saturating_add(piece.len());
        if self.received_bytes > self.hub.config.ai.max_answer_bytes {
            self.fail(ModelFailure::new(
                "The provider's answer is longer than the hub passes on. Ask for a shorter one.",
                "upstream_limit",
            ));
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        self.decoder.feed(piece, &mut events);
        self.take_events(events);
        // Checked here as well: a provider that never pauses leaves the timer no turn.
        self.check_times();
    }

    fn take_end(&mut self, ending: Ending) {
        let mut events = std::mem::take(&mut self.events);
        self.decoder.end(ending, &mut events);
        self.take_events(events);
    }

    fn take_events(&mut self, mut events: Vec<ModelEvent>) {
        for event in events.drain(..) {
            self.take_event(event);
        }
        self.events = events;
    }

    fn take_event(&mut self, event: ModelEvent) {
        let Some((_, settlement)) = &mut self.open else {
            return;
        };
        match &event {
            ModelEvent::Text(delta)
            | ModelEvent::Reasoning(delta)
            | ModelEvent::ToolArguments { delta, .. } => settlement.output(delta.len()),
            ModelEvent::ToolStarted { name, .. } => settlement.output(name.len()),
            ModelEvent::Usage(usage) => settlement.usage(*usage),
            ModelEvent::ToolSignature { slot, signature } => self.keep_signature(*slot, signature),
            ModelEvent::Finished(reason) => return self.finish(*reason),
            ModelEvent::Failed(failure) => return self.fail(failure.clone()),
            ModelEvent::Started { .. } | ModelEvent::ToolEnded { .. } => {}
        }
        let stamp = stamp(&self.hub);
        self.dialect.apply(&event, stamp, &mut self.out);
    }

    fn keep_signature(&self, slot: usize, signature: &str) {
        if let Some(call) = self.dialect.call_id(slot) {
            let now_ms = self.hub.now_ms();
            let user = &self.plan.user;
            self.hub.ai.signatures.keep(user, call, signature, now_ms);
        }
    }

    fn finish(&mut self, reason: FinishReason) {
        let hub = SharedHub::clone(&self.hub);
        let stamp = stamp(&hub);
        self.dialect.end_calls(stamp, &mut self.out);
        let calls = self.dialect.calls();
        let asks_again = calls.waiting.is_empty() && !calls.unknown.is_empty();
        if asks_again && self.round == MAX_ROUNDS {
            self.answer_unknown(&calls, stamp);
            self.fail(ModelFailure::new(
                "The model keeps calling tools that do not exist. Choose another model.",
                "unknown_tools",
            ));
            return;
        }
        self.dialect.finish(reason, stamp, &mut self.out);
        self.answer_unknown(&calls, stamp);
        if asks_again {
            self.ask_again(calls, stamp);
            return;
        }
        // One write from `RUN_FINISHED` on, and the end at once: a client that is still connected when its tool has
        // finished asks twice.
        for call in &calls.waiting {
            self.dialect.hand_over(call, stamp, &mut self.out);
        }
        self.dialect.done(&mut self.out);
        self.close(Outcome::Completed, None);
    }

    fn answer_unknown(&mut self, calls: &RunCalls, stamp: Stamp<'_>) {
        for (id, name) in &calls.unknown {
            self.dialect.answer_unknown(id, name, stamp, &mut self.out);
        }
    }

    fn ask_again(&mut self, calls: RunCalls, stamp: Stamp<'_>) {
        self.round += 1;
        if let Some((_, settlement)) = &mut self.open {
            settlement.end_run();
        }
        self.conversation.messages.push(calls.turn);
        for (id, name) in calls.unknown {
            self.conversation
                .answer_call(&id, unknown_tool_result(&name));
        }
        self.dialect.next_run(stamp);
        self.decoder = Decoder::new(self.plan.protocol);
        // Something was sent on already, so that nothing is tried twice.
        match self.plan.open(&self.hub, &self.conversation, 1) {
            Ok(opening) => self.phase = Phase::Opening(opening),
            Err(_) => self.fail(ModelFailure::malformed()),
        }
    }

    fn take_tick(&mut self) {
        let now_ms = self.hub.now_ms();
        let silent_ms = now_ms.saturating_sub(self.written_ms);
        let mut next_ms = self.times.keep_alive_ms;
        if silent_ms >= self.times.keep_alive_ms {
            self.out.extend_from_slice(KEEP_ALIVE);
        } else {
            next_ms -= silent_ms;
        }
        self.tick = self.plan.ports.timer.sleep(Duration::from_millis(next_ms));
        self.check_times();
    }

    fn check_times(&mut self) {
        let now_ms = self.hub.now_ms();
        let is_silent = now_ms.saturating_sub(self.heard_ms) >= self.times.silence_ms
            && matches!(self.phase, Phase::Streaming(_));
        if is_silent {
            self.fail(ModelFailure::new(
                "The provider has been silent for too long. Ask again.",
                "upstream_timeout",
            ));
        } else if now_ms.saturating_sub(self.began_ms) >= self.times.answer_ms {
            self.end_late();
        }
    }

    fn end_late(&mut self) {
        self.fail(ModelFailure::new(
            "The answer took longer than the hub waits. Ask for a shorter one.",
            "upstream_timeout",
        ));
    }

    fn fail(&mut self, failure: ModelFailure) {
        if self.open.is_none() {
            return;
        }
        let key = self.plan.key.as_ref();
        let failure = ModelFailure {
            message: redact(&failure.message, key),
            code: failure.code.map(|code| redact(&code, key)),
        };
        let stamp = stamp(&self.hub);
        self.dialect.fail(&failure, stamp, &mut self.out);
        self.close(Outcome::Failed, failure.code);
    }

    fn close(&mut self, outcome: Outcome, error_code: Option<String>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        if let Phase::Streaming(rest) = phase
            && outcome == Outcome::Completed
        {
            let ports = &self.plan.ports;
            let time = ports.timer.sleep(REST_TIME);
            ports.after_response.run(read_rest(rest, time));
        }
        self.alarm = None;
        if let Some((permit, settlement)) = self.open.take() {
            // First the place, so that nothing is held any more when the call counts as settled.
            drop(permit);
            settlement.close(outcome, error_code);
        }
    }
}

/// Reads what a provider says behind its last event, so that its connection can be used for the next question.
fn read_rest(
    mut rest: BoxStream<'static, Result<Bytes, UpstreamError>>,
    mut time: BoxFuture<'static, ()>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut bytes = 0;
        while bytes < MAX_REST_BYTES {
            match select(rest.next(), &mut time).await {
                Either::Left((Some(Ok(piece)), _)) => bytes += piece.len(),
                _ => return,
            }
        }
    })
}

/// Now, and this hub's randomness.
pub(super) fn stamp(hub: &SharedHub) -> Stamp<'_> {
    Stamp {
        now_ms: hub.now_ms(),
        random: hub.ports.random.as_ref(),
    }
}
