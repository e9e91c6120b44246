//! How a call is paid and counted: once, however it ends.
//!
//! A call is charged when something of the model's answer left the hub (text, reasoning, a call) or when it finished; else
//! what was held is released. That one rule covers success, failure and clients that go away: whoever has read all but the
//! last event has had the answer, and the provider has been paid for it. By tokens, the provider's count is used; an answer
//! that broke off is counted by its bytes, where that is more.
//!
//! Dropping a [`Settlement`] settles it, after the response and whether or not anybody waits. A process that dies settles
//! nothing: reservations expire by themselves. A store that does not answer is asked again for half a minute; what it has
//! not taken by then is counted and logged.

use std::sync::Arc;
use std::time::Duration;

use epicenter_identity::UserId;
use futures_util::future::BoxFuture;

use super::catalog::{Credits, Price};
use super::policy::{Charge, ChargeError};
use super::protocols::Usage;
use super::store::{Outcome, UsageRow};
use super::upstream::Timer;
use crate::ports::{AiPorts, Clock, Observation, Observer, StoreUnavailable};

/// Bytes of text in a token, on the low side of what providers count.
const BYTES_PER_TOKEN: u64 = 4;

/// Pauses before a store that did not answer is told again how a call ended, in milliseconds.
const PAUSES_MS: [u64; 4] = [200, 1_000, 5_000, 20_000];

/// An open account of one call.
pub(super) struct Settlement {
    ports: AiPorts,
    clock: Arc<dyn Clock>,
    counted_call: Option<CountedCall>,
    row: UsageRow,
    /// `None`: it costs nothing here.
    price: Option<Price>,
    estimated_input: u64,
    /// Of runs that have ended.
    counted: Usage,
    /// Of the run that goes on.
    current: Usage,
    output_bytes: u64,
    has_output: bool,
    /// What is held.
    held: Credits,
    /// Something is, or may be, held.
    is_reserved: bool,
    /// It leaves no row.
    is_silent: bool,
}

/// Tells once how a call ended, when all that it held is free.
struct CountedCall {
    observer: Arc<dyn Observer>,
    ended: Observation,
}

impl CountedCall {
    fn begin(observer: Arc<dyn Observer>) -> Self {
        observer.observe(Observation::AiCallBegan);
        Self {
            observer,
            ended: Observation::AiCallTurnedAway,
        }
    }
}

impl CountedCall {
    /// It could not be paid, or left no row.
    fn could_not_be_settled(&self) {
        self.observer.observe(Observation::AiSettlementFailed);
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        self.observer.observe(self.ended);
    }
}

/// What is known about a call before it is made.
pub(super) struct NewCall {
    pub(super) id: String,
    pub(super) user: UserId,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) own_key: bool,
    pub(super) price: Price,
    pub(super) estimated_input: u64,
}

impl Settlement {
    /// Nothing is held yet. Dropped like that, the call counts as cancelled.
    pub(super) fn open(
        ports: AiPorts,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
        call: NewCall,
    ) -> Self {
        let is_charged = !call.own_key && ports.charge.charges();
        let row = UsageRow {
            id: call.id,
            user: call.user,
            at_ms: clock.now_ms(),
            provider: call.provider,
            model: call.model,
            own_key: call.own_key,
            input_tokens: 0,
            output_tokens: 0,
            credits: Credits::ZERO,
            first_byte_ms: None,
            duration_ms: 0,
            outcome: Outcome::Cancelled,
            error_code: None,
        };
        Self {
            ports,
            clock,
            counted_call: Some(CountedCall::begin(observer)),
            row,
            price: is_charged.then_some(call.price),
            estimated_input: call.estimated_input,
            counted: Usage::default(),
            current: Usage::default(),
            output_bytes: 0,
            has_output: false,
            held: Credits::ZERO,
            is_reserved: false,
            is_silent: false,
        }
    }

    /// Holds what an answer of this length would cost.
    pub(super) async fn reserve(&mut self, output_tokens: u64) -> Result<(), ReserveError> {
        let Some(price) = self.price else {
            return Ok(());
        };
        let amount = price.of_tokens(self.estimated_input, output_tokens);
        let held = self.hold(amount).await;
        self.is_silent = held.is_err();
        held
    }

    /// Exchanges what is held for what an answer of this length by a dearer model would cost.
    pub(super) async fn reserve_for(
        &mut self,
        price: Price,
        output_tokens: u64,
    ) -> Result<(), ReserveError> {
        let amount = price.of_tokens(self.estimated_input, output_tokens);
        if self.price.is_none() || amount <= self.held {
            return Ok(());
        }
        let released = self.ports.charge.release(&self.row.id).await;
        released.map_err(|error| ReserveError {
            error: error.into(),
            amount,
        })?;
        self.hold(amount).await
    }

    async fn hold(&mut self, amount: Credits) -> Result<(), ReserveError> {
        // Said before it is known: should this be dropped while it waits, what was held is released.
        self.is_reserved = true;
        self.held = amount;
        let charge = Charge {
            user: &self.row.user,
            call: &self.row.id,
            amount,
        };
        let held = self.ports.charge.reserve(charge, self.clock.now_ms()).await;
        held.map_err(|error| {
            // A store that did not answer may hold it.
            self.is_reserved = matches!(error, ChargeError::Unavailable(_));
            ReserveError { error, amount }
        })
    }

    /// Another model answers, at its own price.
    pub(super) fn answered_by(&mut self, provider: &str, model: &str, price: Price) {
        provider.clone_into(&mut self.row.provider);
        model.clone_into(&mut self.row.model);
        self.price = self.price.map(|_| price);
    }

    pub(super) fn first_byte(&mut self) {
        let now_ms = self.clock.now_ms();
        let waited_ms = now_ms.saturating_sub(self.row.at_ms);
        self.row.first_byte_ms.get_or_insert(waited_ms);
    }

    /// Something of the answer is about to leave.
    pub(super) fn output(&mut self, bytes: usize) {
        self.has_output = true;
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
    }

    pub(super) fn usage(&mut self, usage: Usage) {
        self.current = usage;
    }

    /// A run has ended; another one may follow.
    pub(super) fn end_run(&mut self) {
        let Usage {
            input_tokens,
            output_tokens,
            total_tokens,
        } = std::mem::take(&mut self.current);
        // What a model thinks is paid as output, and some count it only in the total.
        let beyond_input = total_tokens.saturating_sub(input_tokens);
        let counted = &mut self.counted;
        counted.input_tokens = counted.input_tokens.saturating_add(input_tokens);
        counted.output_tokens = counted
            .output_tokens
            .saturating_add(output_tokens.max(beyond_input));
    }

    /// The call was not made after all, and leaves no row.
    pub(super) fn forget(mut self) {
        self.is_silent = true;
    }

    /// Settles the call.
    pub(super) fn close(mut self, outcome: Outcome, error_code: Option<String>) {
        self.row.outcome = outcome;
        self.row.error_code = error_code;
    }

    fn cost(&self) -> Option<Credits> {
        let is_complete = self.row.outcome == Outcome::Completed;
        if !is_complete && !self.has_output {
            return None;
        }
        let price = self.price?;
        let Usage {
            input_tokens: counted_input,
            output_tokens: counted_output,
            ..
        } = self.counted;
        let is_counted = counted_input > 0 || counted_output > 0;
        let estimated_output = self.output_bytes.div_ceil(BYTES_PER_TOKEN);
        let input = if counted_input > 0 {
            counted_input
        } else {
            self.estimated_input
        };
        let output = if is_complete && is_counted {
            counted_output
        } else {
            counted_output.max(estimated_output)
        };
        Some(price.of_tokens(input, output))
    }
}

/// Why nothing was held.
pub(super) struct ReserveError {
    pub(super) error: ChargeError,
    /// What the call would have needed.
    pub(super) amount: Credits,
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.is_silent && !self.is_reserved {
            return;
        }
        self.end_run();
        let now_ms = self.clock.now_ms();
        let cost = self.cost();
        let mut row = self.row.clone();
        row.duration_ms = now_ms.saturating_sub(row.at_ms);
        row.input_tokens = self.counted.input_tokens;
        row.output_tokens = self.counted.output_tokens;
        row.credits = cost.unwrap_or(Credits::ZERO);
        let mut counted_call = self.counted_call.take();
        if let Some(call) = counted_call.as_mut().filter(|_| !self.is_silent) {
            call.ended = Observation::AiCallEnded(row.outcome);
        }
        let last_words = LastWords {
            ports: self.ports.clone(),
            is_reserved: self.is_reserved,
            leaves_row: !self.is_silent,
            cost,
            row,
            now_ms,
        };
        self.ports.after_response.run(Box::pin(async move {
            if !last_words.say().await
                && let Some(call) = &counted_call
            {
                call.could_not_be_settled();
            }
            drop(counted_call);
        }));
    }
}

/// What the store is told of a call that is over.
struct LastWords {
    ports: AiPorts,
    is_reserved: bool,
    leaves_row: bool,
    cost: Option<Credits>,
    row: UsageRow,
    now_ms: u64,
}

impl LastWords {
    /// Whether the store has heard all of it.
    async fn say(&self) -> bool {
        let Self { ports, row, .. } = self;
        let (call, timer) = (row.id.as_str(), ports.timer.as_ref());
        let mut is_settled = true;
        if self.is_reserved {
            let paid = insist(timer, || match self.cost {
                Some(amount) => ports.charge.confirm(call, amount, self.now_ms),
                None => ports.charge.release(call),
            });
            if paid.await.is_err() {
                tracing::error!(call.id = call, "an AI call could not be settled");
                is_settled = false;
            }
        }
        if self.leaves_row {
            let added = insist(timer, || ports.usage.append_usage(row.clone()));
            if added.await.is_err() {
                tracing::error!(call.id = call, "a usage row of an AI call was lost");
                is_settled = false;
            }
        }
        is_settled
    }
}

/// Tells a store until it has heard; what it was told twice counts once.
async fn insist<'a>(
    timer: &dyn Timer,
    mut tell: impl FnMut() -> BoxFuture<'a, Result<(), StoreUnavailable>>,
) -> Result<(), StoreUnavailable> {
    for pause_ms in PAUSES_MS {
        if tell().await.is_ok() {
            return Ok(());
        }
        timer.sleep(Duration::from_millis(pause_ms)).await;
    }
    tell().await
}

/// Tokens of a text of this length, at least.
pub(super) fn estimate_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}
