//! Which models there are, what they can and what they cost: a built-in list, and what an operator adds or replaces.
//!
//! The list is what providers document at the time of a release; `GET /api/ai/models` shows those of it that this hub can
//! call. Prices are in credits, one of which is a cent at list prices.

use std::fmt;

use serde_json::{Value, json};

use super::settings::{AiConfig, Provider};

/// Ten million dollars' worth: more is a typing error.
const MOST_THAT_IS_WRITTEN: u64 = 1_000_000_000;

/// Credits, counted in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credits {
    thousandths: u64,
}

impl Credits {
    /// None.
    pub const ZERO: Self = Self { thousandths: 0 };

    /// Whole credits.
    pub const fn whole(credits: u64) -> Self {
        Self::thousandths(credits.saturating_mul(1_000))
    }

    /// Thousandths of credits.
    pub const fn thousandths(thousandths: u64) -> Self {
        Self { thousandths }
    }

    /// Credits as people write them: a number with at most three digits after the point, up to a thousand million.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 3 || !is_plain(whole) || !is_plain(part) {
            return None;
        }
        let whole: u64 = whole
            .parse()
            .ok()
            .filter(|whole| *whole <= MOST_THAT_IS_WRITTEN)?;
        let part: u64 = format!("{part:0<3}").parse().ok()?;
        Some(Self::thousandths(whole * 1_000 + part))
    }

    /// In thousandths, as they are stored.
    pub const fn as_thousandths(self) -> u64 {
        self.thousandths
    }

    /// As JSON: a number of credits.
    pub fn to_json(self) -> Value {
        let whole = self.thousandths / 1_000;
        if self.thousandths.is_multiple_of(1_000) {
            return json!(whole);
        }
        // Exact in all digits for as many credits as anybody will have.
        #[expect(
            clippy::cast_precision_loss,
            reason = "thousandths of credits stay far below 2^53"
        )]
        let credits = self.thousandths as f64 / 1_000.0;
        json!(credits)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.to_json())
    }
}

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// The same for every call.
    PerCall(Credits),
    /// By what the provider counts.
    PerMillionTokens {
        /// What is sent.
        input: Credits,
        /// What comes back.
        output: Credits,
    },
}

impl Price {
    /// The cost of this many tokens, rounded up to a thousandth.
    pub fn of_tokens(self, input_tokens: u64, output_tokens: u64) -> Credits {
        match self {
            Self::PerCall(credits) => credits,
            Self::PerMillionTokens { input, output } => {
                let part = |tokens: u64, price: Credits| {
                    u128::from(tokens) * u128::from(price.thousandths)
                };
                let sum = part(input_tokens, input).saturating_add(part(output_tokens, output));
                let thousandths = u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX);
                Credits::thousandths(thousandths)
            }
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::PerCall(credits) => json!({ "creditsPerCall": credits.to_json() }),
            Self::PerMillionTokens { input, output } => json!({
                "creditsPerMillionInputTokens": input.to_json(),
                "creditsPerMillionOutputTokens": output.to_json(),
            }),
        }
    }
}

/// What a model takes and does beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Calls tools.
    pub tools: bool,
    /// Looks at pictures.
    pub images: bool,
    /// Reads documents.
    pub documents: bool,
    /// Listens.
    pub audio: bool,
    /// Thinks before it speaks.
    pub reasoning: bool,
    /// Answers by a schema.
    pub structured_output: bool,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The provider's name.
    pub provider: String,
    /// What the provider calls it, and so do clients.
    pub name: String,
    /// Tokens of question and answer together.
    pub context_tokens: u64,
    /// Tokens of an answer at most.
    pub max_output_tokens: u64,
    /// What it costs.
    pub price: Price,
    /// What it can.
    pub capabilities: Capabilities,
    /// It refuses `temperature` and `top_p`, which are left out then.
    pub ignores_sampling: bool,
    /// It insists on the signatures of its own calls (Gemini 3).
    pub wants_signatures: bool,
    /// Who answers when it cannot: provider and name.
    pub fallback: Option<(String, String)>,
}

impl Model {
    /// A model about which nothing is known but its name: text and tools, at no charge.
    pub fn plain(provider: &str, name: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            name: name.to_owned(),
            context_tokens: 8_192,
            max_output_tokens: 4_096,
            price: Price::PerCall(Credits::ZERO),
            capabilities: Capabilities {
                tools: true,
                ..Capabilities::default()
            },
            ignores_sampling: false,
            wants_signatures: false,
            fallback: None,
        }
    }

    /// The model of this provider and name in the built-in list.
    pub fn built_in(provider: &str, name: &str) -> Option<Self> {
        built_in()
            .into_iter()
            .find(|model| model.provider == provider && model.name == name)
    }
}

/// All models of a hub and the providers behind them.
#[derive(Debug)]
pub(super) struct Catalog {
    providers: Vec<Provider>,
    models: Vec<Model>,
}

impl Catalog {
    pub(super) fn of(config: &AiConfig) -> Self {
        let mut models = built_in();
        models.retain(|model| !config.models.iter().any(|own| is_same(own, model)));
        models.extend(config.models.iter().cloned());
        Self {
            providers: config.providers.clone(),
            models,
        }
    }

    pub(super) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    pub(super) fn find(&self, provider: &str, name: &str) -> Option<(&Provider, &Model)> {
        let is_it = |model: &&Model| model.provider == provider && model.name == name;
        let model = self.models.iter().find(is_it)?;
        Some((self.provider(provider)?, model))
    }

    /// What this hub offers: first what it calls with its own keys, then what is for who brings one.
    pub(super) fn to_json(&self) -> Value {
        let known = self.models.iter().filter_map(|model| {
            let provider = self.provider(&model.provider)?;
            Some((model, provider))
        });
        let (house, other): (Vec<_>, Vec<_>) =
            known.partition(|(_, provider)| provider.is_configured());
        let own = other.into_iter().filter(|(_, provider)| provider.own_key);
        let offered = house.into_iter().chain(own);
        let described = offered.map(|(model, provider)| describe(model, provider));
        json!({ "models": described.collect::<Vec<_>>() })
    }
}

fn is_same(one: &Model, other: &Model) -> bool {
    one.provider == other.provider && one.name == other.name
}

fn describe(model: &Model, provider: &Provider) -> Value {
    let can = model.capabilities;
    json!({
        "provider": model.provider,
        "model": model.name,
        "contextTokens": model.context_tokens,
        "maxOutputTokens": model.max_output_tokens,
        "price": model.price.to_json(),
        "capabilities": {
            "tools": can.tools, "images": can.images, "documents": can.documents, "audio": can.audio,
            "reasoning": can.reasoning, "structuredOutput": can.structured_output,
        },
        // Without a house key only a caller's own opens it.
        "needsOwnKey": !provider.is_configured(),
        "takesOwnKey": provider.own_key,
    })
}

/// How the models of one family differ from each other only in name, size and price.
#[derive(Clone, Copy)]
struct Family {
    provider: &'static str,
    capabilities: Capabilities,
    ignores_sampling: bool,
    wants_signatures: bool,
}

const SEEING: Capabilities = Capabilities {
    tools: true,
    images: true,
    documents: true,
    audio: false,
    reasoning: false,
    structured_output: true,
};

const GPT: Family = Family {
    provider: "openai",
    capabilities: SEEING,
    ignores_sampling: false,
    wants_signatures: false,
};

const GPT_REASONING: Family = Family {
    capabilities: Capabilities {
        reasoning: true,
        ..SEEING
    },
    ignores_sampling: true,
    ..GPT
};

const GEMINI: Family = Family {
    provider: "gemini",
    capabilities: Capabilities {
        audio: true,
        reasoning: true,
        ..SEEING
    },
    ..GPT
};

const GEMINI_3: Family = Family {
    wants_signatures: true,
    ..GEMINI
};

const CLAUDE: Family = Family {
    provider: "anthropic",
    capabilities: Capabilities {
        reasoning: true,
        ..SEEING
    },
    ..GPT
};

/// Family, name, context, longest answer, and cents per million tokens in and out.
const BUILT_IN: [(Family, &str, u64, u64, f64, f64); 22] = [
    (GPT, "gpt-4o", 128_000, 16_384, 250.0, 1_000.0),
    (GPT, "gpt-4o-mini", 128_000, 16_384, 15.0, 60.0),
    (GPT, "gpt-4.1", 1_047_576, 32_768, 200.0, 800.0),
    (GPT, "gpt-4.1-mini", 1_047_576, 32_768, 40.0, 160.0),
    (GPT, "gpt-4.1-nano", 1_047_576, 32_768, 10.0, 40.0),
    (GPT_REASONING, "gpt-5", 400_000, 128_000, 125.0, 1_000.0),
    (GPT_REASONING, "gpt-5-mini", 400_000, 128_000, 25.0, 200.0),
    (GPT_REASONING, "gpt-5-nano", 400_000, 128_000, 5.0, 40.0),
    (GPT_REASONING, "gpt-5.1", 400_000, 128_000, 125.0, 1_000.0),
    (GPT_REASONING, "gpt-5.2", 400_000, 128_000, 175.0, 1_400.0),
    (GPT_REASONING, "o3", 200_000, 100_000, 200.0, 800.0),
    (GPT_REASONING, "o4-mini", 200_000, 100_000, 110.0, 440.0),
    (GEMINI, "gemini-2.5-pro", 1_048_576, 65_536, 125.0, 1_000.0),
    (GEMINI, "gemini-2.5-flash", 1_048_576, 65_536, 30.0, 250.0),
    (
        GEMINI,
        "gemini-2.5-flash-lite",
        1_048_576,
        65_536,
        10.0,
        40.0,
    ),
    (
        GEMINI_3,
        "gemini-3-pro-preview",
        1_048_576,
        65_536,
        200.0,
        1_200.0,
    ),
    (
        GEMINI_3,
        "gemini-3-flash-preview",
        1_048_576,
        65_536,
        50.0,
        300.0,
    ),
    (CLAUDE, "claude-opus-4-5", 200_000, 64_000, 500.0, 2_500.0),
    (CLAUDE, "claude-sonnet-4-5", 200_000, 64_000, 300.0, 1_500.0),
    (CLAUDE, "claude-haiku-4-5", 200_000, 64_000, 100.0, 500.0),
    (CLAUDE, "claude-opus-4-1", 200_000, 32_000, 1_500.0, 7_500.0),
    (CLAUDE, "claude-sonnet-4-0", 200_000, 64_000, 300.0, 1_500.0),
];

fn built_in() -> Vec<Model> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the prices of the table above"
    )]
    let cents = |cents: f64| Credits::thousandths((cents * 1_000.0) as u64);
    let build = |(family, name, context, output, input_cents, output_cents): &(
        Family,
        &str,
        u64,
        u64,
        f64,
        f64,
    )| Model {
        context_tokens: *context,
        max_output_tokens: *output,
        price: Price::PerMillionTokens {
            input: cents(*input_cents),
            output: cents(*output_cents),
        },
        capabilities: family.capabilities,
        ignores_sampling: family.ignores_sampling,
        wants_signatures: family.wants_signatures,
        ..Model::plain(family.provider, name)
    };
    BUILT_IN.iter().map(build).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{AiConfig, Catalog, Credits, Model, Price};

    #[test]
    fn tokens_cost_their_share_rounded_up() {
        let price = Price::PerMillionTokens {
            input: Credits::whole(15),
            output: Credits::whole(60),
        };
        assert_eq!(price.of_tokens(0, 0), Credits::ZERO);
        assert_eq!(price.of_tokens(1, 0), Credits::thousandths(1));
        assert_eq!(price.of_tokens(1_000_000, 1_000_000), Credits::whole(75));
        let dear = Credits::thousandths(u64::MAX);
        let price = Price::PerMillionTokens {
            input: dear,
            output: dear,
        };
        let everything = price.of_tokens(u64::MAX, u64::MAX);
        assert_eq!(everything, Credits::thousandths(u64::MAX));
        assert_eq!(Credits::thousandths(1_500).to_json(), json!(1.5));
        assert_eq!(Credits::whole(2).to_string(), "2");
    }

    #[test]
    fn an_operators_model_replaces_the_built_in() {
        let mut config = AiConfig::default();
        config.models.push(Model::plain("openai", "gpt-4o"));
        config.models.push(Model::plain("nobody", "x"));
        let catalog = Catalog::of(&config);
        let (_, model) = catalog.find("openai", "gpt-4o").unwrap();
        assert_eq!(model.context_tokens, 8_192);
        assert!(catalog.find("nobody", "x").is_none());
        assert!(catalog.find("openai", "gemini-2.5-pro").is_none());
    }

    #[test]
    fn built_in_models_are_found_by_provider_and_name() {
        let model = Model::built_in("gemini", "gemini-3-pro-preview").unwrap();
        assert_eq!(model.context_tokens, 1_048_576);
        assert!(model.wants_signatures && !model.ignores_sampling);
        assert_eq!(Model::built_in("openai", "gemini-3-pro-preview"), None);
        assert_eq!(Model::built_in("gemini", "gemini-3"), None);
    }
}
