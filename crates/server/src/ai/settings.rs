//! What an operator says about AI: providers with their keys, further models, limits.
//!
//! Hosts fill this in; a hub that says nothing offers no models and refuses with `ProviderNotConfigured`.

use std::fmt;

use super::attempts::{MAX_ATTEMPTS, MAX_PAUSE_MS};
use super::catalog::Model;
use crate::secret::Secret;

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `POST {base}/responses`.
    OpenAiResponses,
    /// `POST {base}/chat/completions`.
    OpenAiCompletions,
    /// `POST {base}/v1beta/models/{model}:streamGenerateContent`.
    Gemini,
    /// `POST {base}/v1/messages`.
    Anthropic,
}

/// A provider: one of the built-in three, or an OpenAI-compatible endpoint of the operator's.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What clients call it.
    pub name: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Without a slash at the end.
    pub base_url: String,
    /// The house key.
    pub key: ProviderKey,
    /// Whether callers may bring a key of their own: then the call goes to `base_url` all the same, so that only a
    /// provider at its public address may say yes.
    pub own_key: bool,
}

/// The house key of a provider.
#[derive(Clone, Debug)]
pub enum ProviderKey {
    /// None yet: only callers with a key of their own are served.
    Missing,
    /// The endpoint asks for none.
    NotNeeded,
    /// The key.
    Held(Secret),
}

impl Provider {
    /// OpenAI at its public address.
    pub fn openai(key: ProviderKey) -> Self {
        Self::built_in(
            "openai",
            Protocol::OpenAiResponses,
            "https://api.openai.com/v1",
            key,
        )
    }

    /// Gemini at its public address.
    pub fn gemini(key: ProviderKey) -> Self {
        let base_url = "https://generativelanguage.googleapis.com";
        Self::built_in("gemini", Protocol::Gemini, base_url, key)
    }

    /// Anthropic at its public address.
    pub fn anthropic(key: ProviderKey) -> Self {
        let base_url = "https://api.anthropic.com";
        Self::built_in("anthropic", Protocol::Anthropic, base_url, key)
    }

    fn built_in(name: &str, protocol: Protocol, base_url: &str, key: ProviderKey) -> Self {
        Self {
            name: name.to_owned(),
            protocol,
            base_url: base_url.to_owned(),
            key,
            own_key: true,
        }
    }

    /// The same provider elsewhere: behind a proxy, or played by a test. What a caller's own key would be sent to is no
    /// longer the provider they got it from, so none is taken.
    #[must_use]
    pub fn at(mut self, base_url: &str) -> Self {
        self.base_url = base_url.trim_end_matches('/').to_owned();
        self.own_key = false;
        self
    }

    /// An OpenAI-compatible endpoint.
    pub fn compatible(name: &str, base_url: &str, key: ProviderKey) -> Self {
        Self {
            name: name.to_owned(),
            protocol: Protocol::OpenAiCompletions,
            base_url: base_url.trim_end_matches('/').to_owned(),
            key,
            own_key: false,
        }
    }

    /// Whether calls can be made for callers without a key.
    pub fn is_configured(&self) -> bool {
        !matches!(self.key, ProviderKey::Missing)
    }
}

/// Everything about AI.
#[derive(Clone)]
pub struct AiConfig {
    /// The providers; the built-in three are always among them.
    pub providers: Vec<Provider>,
    /// Models beyond the built-in catalog; one of the same provider and name replaces the built-in.
    pub models: Vec<Model>,
    /// Largest request body in bytes: pictures travel in it.
    pub max_body_bytes: usize,
    /// Largest answer in bytes, as the provider sends it: some twenty times its text.
    pub max_answer_bytes: usize,
    /// Answers that one person may stream at once.
    pub max_streams: usize,
    /// Times, in milliseconds.
    pub times: AiTimes,
}

/// The clocks of a call, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AiTimes {
    /// From sending a request to the first byte of its answer.
    pub first_byte_ms: u64,
    /// Without a byte from the provider, within an answer.
    pub silence_ms: u64,
    /// The whole answer.
    pub answer_ms: u64,
    /// Without a byte to the client, before a comment keeps the connection alive.
    pub keep_alive_ms: u64,
}

impl AiTimes {
    /// No call takes longer: a model and the one that answers for it are each asked as often as they may be, and the answer
    /// is as long as it may be.
    pub fn longest_call_ms(&self) -> u64 {
        let attempt_ms = self.first_byte_ms.saturating_add(MAX_PAUSE_MS);
        let opening_ms = attempt_ms.saturating_mul(2 * u64::from(MAX_ATTEMPTS));
        self.answer_ms.saturating_add(opening_ms)
    }
}

impl Default for AiTimes {
    fn default() -> Self {
        Self {
            // Models that think before they speak take most of this.
            first_byte_ms: 120_000,
            silence_ms: 300_000,
            answer_ms: 1_800_000,
            // `ai.md`; proxies close after 30 or 60 seconds of silence.
            keep_alive_ms: 15_000,
        }
    }
}

impl Default for AiConfig {
    fn default() -> Self {
        let key = || ProviderKey::Missing;
        Self {
            providers: vec![
                Provider::openai(key()),
                Provider::gemini(key()),
                Provider::anthropic(key()),
            ],
            models: Vec::new(),
            max_body_bytes: 5 * 1024 * 1024,
            // The longest answers of today have some 600 KiB of text, and a frame stands around each piece of it.
            max_answer_bytes: 64 * 1024 * 1024,
            max_streams: 8,
            times: AiTimes::default(),
        }
    }
}

impl fmt::Debug for AiConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AiConfig")
            .field("providers", &self.providers)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("max_answer_bytes", &self.max_answer_bytes)
            .field("max_streams", &self.max_streams)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
