//! One call from its body to its response: parse, find the model, answer what needs no model, count, hold credits, ask.
//!
//! Whatever is refused up to the provider's first byte is an HTTP error in the envelope, with all that a person needs in
//! its message: clients show nothing else.

use std::sync::Arc;

use axum::body::Body;
use epicenter_api::{ApiError, ErrorName};
use epicenter_identity::{Access, UserId};
use futures_util::future::BoxFuture;

use super::answer::{Answer, stamp};
use super::attempts::{Attempts, MAX_ATTEMPTS, OpenError, Opened};
use super::catalog::{Catalog, Model};
use super::conversation::{Conversation, PendingCall};
use super::dialect::{Dialect, WaitingCall};
use super::limits::StreamCounts;
use super::message::{Message, Part, parse_arguments, unknown_tool_result};
use super::policy::ChargeError;
use super::protocols::{self, ModelCall};
use super::request::{ChatRequest, ChatSettings, RequestError};
use super::settings::{AiConfig, Protocol, Provider, ProviderKey};
use super::settlement::{NewCall, ReserveError, Settlement, estimate_tokens};
use super::signatures::Signatures;
use super::store::Outcome;
use super::upstream::UpstreamRequest;
use crate::error::Refusal;
use crate::limits::Kind;
use crate::ports::AiPorts;
use crate::secret::Secret;
use crate::state::SharedHub;

/// Tokens that are held for an answer whose length the client does not bound. Most are shorter; what a longer one costs
/// beyond that is taken when it is known.
const EXPECTED_OUTPUT_TOKENS: u64 = 4_096;

/// What a picture or a page counts as, roughly.
const MEDIA_TOKENS: u64 = 1_000;

/// What the hub remembers for AI.
#[derive(Debug)]
pub(crate) struct AiState {
    pub(super) catalog: Catalog,
    pub(super) streams: Arc<StreamCounts>,
    pub(super) signatures: Signatures,
}

impl AiState {
    pub(crate) fn new(config: &AiConfig) -> Self {
        Self {
            catalog: Catalog::of(config),
            streams: Arc::default(),
            signatures: Signatures::default(),
        }
    }
}

/// How a model is asked; kept for as long as it may be asked again.
pub(super) struct Plan {
    pub(super) ports: AiPorts,
    pub(super) user: UserId,
    pub(super) key: Option<Secret>,
    pub(super) protocol: Protocol,
    base_url: String,
    model: Model,
    settings: ChatSettings,
}

impl Plan {
    /// Asks; nothing is sent before the future is polled.
    pub(super) fn open(
        &self,
        hub: &SharedHub,
        conversation: &Conversation,
        max_attempts: u32,
    ) -> Result<BoxFuture<'static, Result<Opened, OpenError>>, RequestError> {
        let now_ms = hub.now_ms();
        let signatures = |call: &str| hub.ai.signatures.find(&self.user, call, now_ms);
        let encoded = protocols::encode(
            self.protocol,
            &ModelCall {
                base_url: &self.base_url,
                key: self.key.as_ref(),
                model: &self.model.name,
                settings: &self.settings,
                conversation,
                ignores_sampling: self.model.ignores_sampling,
                max_output_tokens: self.model.max_output_tokens,
                signatures: &signatures,
                wants_signatures: self.model.wants_signatures,
            },
        )?;
        let request = UpstreamRequest {
            url: encoded.url,
            headers: encoded.headers,
            body: super::upstream::Body(encoded.body.to_string().into()),
        };
        let attempts = Attempts {
            ports: self.ports.clone(),
            random: Arc::clone(&hub.ports.random),
            times: hub.config.ai.times,
            protocol: self.protocol,
            key: self.key.clone(),
            max_attempts,
        };
        Ok(Box::pin(attempts.open(request)))
    }

    /// The same question to another model of this hub.
    fn fall_back(&self, hub: &SharedHub) -> Option<Self> {
        let (provider, model) = self.model.fallback.as_ref()?;
        let (provider, model) = hub.ai.catalog.find(provider, model)?;
        let key = match &provider.key {
            ProviderKey::Missing => return None,
            ProviderKey::NotNeeded => None,
            ProviderKey::Held(key) => Some(key.clone()),
        };
        Some(Self {
            ports: self.ports.clone(),
            user: self.user.clone(),
            key,
            protocol: provider.protocol,
            base_url: provider.base_url.clone(),
            model: model.clone(),
            settings: self.settings.clone(),
        })
    }

    /// Tokens of the answer that are paid for in advance.
    fn expected_output(&self) -> u64 {
        let expected = self.settings.max_tokens.unwrap_or(EXPECTED_OUTPUT_TOKENS);
        expected.min(self.model.max_output_tokens)
    }

    pub(super) fn is_strict(&self) -> bool {
        matches!(
            self.protocol,
            Protocol::OpenAiResponses | Protocol::OpenAiCompletions
        )
    }
}

/// Answers a call, or says why not.
pub(super) async fn chat(hub: &SharedHub, access: &Access, body: &[u8]) -> Result<Body, Refusal> {
    let ChatRequest {
        messages,
        settings,
        api_key,
        thread_id,
        run_id,
    } = ChatRequest::parse(body).map_err(|error| invalid(&error))?;
    let own_key = api_key.is_some();
    let (provider, model) = find_model(hub, &settings)?;
    let key = choose_key(provider, api_key)?;
    let mut conversation = Conversation::parse(messages).map_err(|error| invalid(&error))?;
    let Some(ports) = hub.ports.ai.clone() else {
        return Err(not_configured(provider));
    };
    let plan = Plan {
        ports,
        user: access.user().clone(),
        key,
        protocol: provider.protocol,
        base_url: provider.base_url.clone(),
        model: model.clone(),
        settings,
    };
    let stamp = stamp(hub);
    let mut dialect = Dialect::new(
        thread_id.unwrap_or_else(|| stamp.id("thread-")),
        run_id.unwrap_or_else(|| stamp.id("run-")),
        model.name.clone(),
        plan.settings.tools.clone(),
        conversation.call_ids(),
    );
    let user = access.user().as_str();
    hub.limits.check(Kind::Ai, None, Some(user), hub.now_ms())?;
    let new_call = NewCall {
        id: stamp.id("ai-"),
        user: access.user().clone(),
        provider: provider.name.clone(),
        model: model.name.clone(),
        own_key,
        price: model.price,
        estimated_input: estimate_input(&plan.settings, &conversation),
    };
    let clock = Arc::clone(&hub.ports.clock);
    let observer = Arc::clone(&hub.ports.observer);
    let mut settlement = Settlement::open(plan.ports.clone(), clock, observer, new_call);

    let mut out = Vec::new();
    if answer_pending(&plan, &mut conversation, &mut dialect, hub, &mut out) == Pending::Answered {
        settlement.close(Outcome::Local, None);
        return Ok(Body::from(out));
    }

    let max_streams = hub.config.ai.max_streams;
    let Some(permit) = hub.ai.streams.open(access.user(), max_streams) else {
        settlement.forget();
        return Err(too_many_streams(max_streams));
    };
    let reserved = settlement.reserve(plan.expected_output()).await;
    reserved.map_err(|error| no_credits(&model.name, &error))?;

    match open_with_fallback(hub, plan, &conversation, own_key, &mut settlement).await {
        Ok((plan, opened)) => {
            let open = (permit, settlement);
            let answer = Answer::begin(
                Arc::clone(hub),
                plan,
                conversation,
                dialect,
                opened,
                out,
                open,
            );
            Ok(answer.into_body())
        }
        Err(error) => {
            let name = error.name().as_str();
            drop(permit);
            settlement.close(Outcome::Refused, Some(name.to_owned()));
            Err(error)
        }
    }
}

async fn open_with_fallback(
    hub: &SharedHub,
    plan: Plan,
    conversation: &Conversation,
    own_key: bool,
    settlement: &mut Settlement,
) -> Result<(Plan, Opened), Refusal> {
    let opening = plan.open(hub, conversation, MAX_ATTEMPTS);
    let opening = opening.map_err(|error| invalid(&error))?;
    let error = match opening.await {
        Ok(opened) => return Ok((plan, opened)),
        Err(error) => error,
    };
    tracing::warn!(
        provider = plan.model.provider,
        model = plan.model.name,
        error = error.kind(),
        "the AI provider did not answer"
    );
    if error.is_providers_fault()
        && !own_key
        && let Some(other) = plan.fall_back(hub)
        && let Ok(opening) = other.open(hub, conversation, MAX_ATTEMPTS)
        // Whoever cannot pay for it hears why the first one did not answer.
        && let Ok(()) = settlement.reserve_for(other.model.price, other.expected_output()).await
        && let Ok(opened) = opening.await
    {
        let model = &other.model;
        settlement.answered_by(&model.provider, &model.name, model.price);
        return Ok((other, opened));
    }
    Err(refuse(&plan.model, own_key, &error))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    /// The response is complete.
    Answered,
    /// The model is to be asked.
    Nothing,
}

/// Calls that wait are handed to the client without asking a model. Calls of tools that nobody declared are answered
/// here; when no others wait, the model is asked what it makes of that.
fn answer_pending(
    plan: &Plan,
    conversation: &mut Conversation,
    dialect: &mut Dialect,
    hub: &SharedHub,
    out: &mut Vec<u8>,
) -> Pending {
    let stamp = stamp(hub);
    let mut outcome = Pending::Nothing;
    for PendingCall { call, is_approved } in conversation.pending_calls() {
        let tool = plan
            .settings
            .tools
            .iter()
            .find(|tool| tool.name == call.name);
        let Some(tool) = tool else {
            dialect.answer_unknown(&call.id, &call.name, stamp, out);
            conversation.answer_call(&call.id, unknown_tool_result(&call.name));
            continue;
        };
        let waiting = WaitingCall {
            id: call.id,
            name: call.name,
            input: parse_arguments(&call.arguments),
            needs_approval: tool.needs_approval && !is_approved,
        };
        dialect.hand_over(&waiting, stamp, out);
        outcome = Pending::Answered;
    }
    if outcome == Pending::Answered {
        dialect.done(out);
    }
    outcome
}

fn find_model<'a>(
    hub: &'a SharedHub,
    settings: &ChatSettings,
) -> Result<(&'a Provider, &'a Model), Refusal> {
    let found = hub.ai.catalog.find(&settings.provider, &settings.model);
    found.ok_or_else(|| {
        let message =
            "This hub does not offer the model. Choose one that GET /api/ai/models lists.";
        Refusal::from(unknown_model(&settings.model).with_message(message))
    })
}

fn unknown_model(model: &str) -> ApiError {
    // Long names are no models, and need not come back whole.
    let shown: String = model.chars().take(100).collect();
    ApiError::new(ErrorName::UnknownModel).with_field("model", shown)
}

/// The caller's key where that may be used, else the house's.
fn choose_key(provider: &Provider, own: Option<Secret>) -> Result<Option<Secret>, Refusal> {
    match (own, &provider.key) {
        (Some(_), _) if !provider.own_key => Err(Refusal::from(
            ApiError::new(ErrorName::OwnKeyNotAllowed)
                .with_field("provider", provider.name.as_str()),
        )),
        (Some(own), _) => Ok(Some(own)),
        (None, ProviderKey::Held(key)) => Ok(Some(key.clone())),
        (None, ProviderKey::NotNeeded) => Ok(None),
        (None, ProviderKey::Missing) => Err(not_configured(provider)),
    }
}

fn not_configured(provider: &Provider) -> Refusal {
    let name = provider.name.as_str();
    let message = format!("{name} not configured. Choose another provider, or ask the operator.");
    Refusal::from(
        ApiError::new(ErrorName::ProviderNotConfigured)
            .with_message(message)
            .with_field("provider", name),
    )
}

fn invalid(error: &RequestError) -> Refusal {
    Refusal::from(
        ApiError::new(ErrorName::InvalidRequest)
            .with_message(format!("The chat request is not valid: {error}.")),
    )
}

fn too_many_streams(max: usize) -> Refusal {
    let message =
        format!("You have {max} answers streaming already. Wait for one to end, or stop one.");
    Refusal::from(ApiError::new(ErrorName::RateLimited).with_message(message)).retry_after(1)
}

fn no_credits(model: &str, refused: &ReserveError) -> Refusal {
    Refusal::from(match refused.error {
        ChargeError::Insufficient { balance } => ApiError::new(ErrorName::InsufficientCredits)
            .with_message(format!(
                "You have {balance} credits left, and this call needs up to {}. Get more, or choose a cheaper model.",
                refused.amount
            ))
            .with_field("balance", balance.to_json()),
        ChargeError::RequiresPaidPlan => ApiError::new(ErrorName::ModelRequiresPaidPlan)
            .with_field("model", model)
            .with_field("credits", refused.amount.to_json()),
        ChargeError::Unavailable(_) => ApiError::new(ErrorName::StorageUnavailable),
    })
}

/// A provider's refusal as the caller hears it. With the house key, a key that is not accepted is the operator's to mend.
fn refuse(model: &Model, own_key: bool, error: &OpenError) -> Refusal {
    let provider = model.provider.as_str();
    let OpenError::Refused {
        status,
        failure,
        retry_after_ms,
    } = error
    else {
        let what = match error {
            OpenError::Timeout => "did not answer in time",
            _ => "cannot be reached at the moment",
        };
        let message = format!("{provider} {what}. Try again shortly, or choose another model.");
        return Refusal::from(
            ApiError::new(ErrorName::ProviderUnavailable)
                .with_message(message)
                .with_field("provider", provider),
        );
    };
    let name = match status {
        429 => ErrorName::ProviderRateLimited,
        404 => ErrorName::UnknownModel,
        400 | 413 | 422 => ErrorName::InvalidRequest,
        401 | 403 if own_key => ErrorName::InvalidRequest,
        _ => ErrorName::ProviderUnavailable,
    };
    let next = match name {
        ErrorName::InvalidRequest if matches!(status, 401 | 403) => "Check your key.",
        ErrorName::InvalidRequest => "Change the question, or choose another model.",
        ErrorName::UnknownModel => "Choose another model.",
        _ if matches!(status, 401 | 403) => "Ask the operator of this hub to look at its key.",
        _ => "Try again later, or choose another model.",
    };
    let words = failure.message.trim_end();
    let stop = if words.ends_with(['.', '!', '?', '…']) {
        ""
    } else {
        "."
    };
    let message = format!("{provider} answered {status}: {words}{stop} {next}");
    let mut described = match name {
        ErrorName::UnknownModel => unknown_model(&model.name),
        name => ApiError::new(name),
    }
    .with_message(message)
    .with_field("provider", provider)
    .with_field("providerStatus", *status);
    if let Some(code) = &failure.code {
        described = described.with_field("providerCode", code.as_str());
    }
    let refusal = Refusal::from(described);
    match retry_after_ms {
        Some(milliseconds) if error.is_providers_fault() => {
            refusal.retry_after(milliseconds.div_ceil(1_000).max(1))
        }
        _ => refusal,
    }
}

/// Tokens of what is sent, roughly.
fn estimate_input(settings: &ChatSettings, conversation: &Conversation) -> u64 {
    let mut bytes = settings
        .system_prompts
        .iter()
        .map(String::len)
        .sum::<usize>();
    let mut media = 0;
    for tool in &settings.tools {
        let schema = tool
            .schema
            .as_ref()
            .map_or(0, |schema| schema.to_string().len());
        bytes += tool.name.len() + tool.description.as_ref().map_or(0, String::len) + schema;
    }
    for message in &conversation.messages {
        match message {
            Message::User(parts) => {
                for part in parts {
                    match part {
                        Part::Text(text) => bytes += text.len(),
                        Part::Media(_) => media += 1,
                    }
                }
            }
            Message::Assistant { text, calls } => {
                bytes += text.len();
                bytes += calls.iter().map(|call| call.arguments.len()).sum::<usize>();
            }
            Message::Tool { content, .. } => bytes += content.len(),
        }
    }
    estimate_tokens(bytes).saturating_add(MEDIA_TOKENS.saturating_mul(media))
}
