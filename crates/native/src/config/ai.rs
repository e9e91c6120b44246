//! `[[ai.providers]]` and `[[ai.models]]`, and the providers that come of them and of the keys in the environment.

use std::path::{Path, PathBuf};

use epicenter_server::ai::catalog::{Capabilities, Credits, Model, Price};
use epicenter_server::ai::settings::{AiConfig, Provider, ProviderKey};
use epicenter_server::secret::Secret;

use super::tables::{Fields, TableList, TableReader};
use super::value::{Problem, Value};

/// Endpoints beside the built-in three.
pub(super) static PROVIDERS: TableList = TableList {
    key: "ai.providers",
    noun: "provider",
    fields: &[
        (
            "name",
            "what clients call it: 1 to 64 of `a` to `z`, digits, `-`, `_`, `.`",
        ),
        (
            "base_url",
            "where `/chat/completions` lies below, such as `http://127.0.0.1:11434/v1`",
        ),
        (
            "key_env",
            "the environment variable that holds its key; without this and `key_file` none is sent",
        ),
        ("key_file", "a file that holds its key"),
        (
            "own_key",
            "`true` when callers may send a key of their own to it; `false` without it",
        ),
    ],
    about: "One table for each OpenAI-compatible endpoint: Ollama, vLLM, llama.cpp, OpenRouter and others.",
    example: "[[ai.providers]]\nname = \"ollama\"\nbase_url = \"http://127.0.0.1:11434/v1\"\n",
};

/// Models beside the built-in list.
pub(super) static MODELS: TableList = TableList {
    key: "ai.models",
    noun: "model",
    fields: &[
        (
            "provider",
            "`openai`, `gemini`, `anthropic` or the name of one of `[[ai.providers]]`",
        ),
        ("model", "what the provider calls it"),
        (
            "context",
            "tokens of question and answer together; 8192 without it",
        ),
        ("max_output", "tokens of an answer at most; 4096 without it"),
        (
            "credits",
            "what a call costs; nothing without it and the next two",
        ),
        ("input_credits", "what a million tokens cost that are sent"),
        (
            "output_credits",
            "what a million tokens cost that come back",
        ),
        (
            "capabilities",
            "some of `tools`, `images`, `documents`, `audio`, `reasoning`, `structured_output`; `tools` without it",
        ),
        (
            "ignores_sampling",
            "`true` when it refuses `temperature` and `top_p`, which are left out then; `false` without it",
        ),
        (
            "wants_signatures",
            "`true` when it insists on the signatures of its own calls, as Gemini 3 does; `false` without it",
        ),
        (
            "fallback",
            "who answers when it cannot, as `\"provider/model\"`, built in or in a table here; with the house key only",
        ),
    ],
    about: "One table for each model beside the built-in list, or in place of one of it.\nWhat a table of a built-in model leaves out stays as it is built in, the price as well; `credits = 0` makes such a model free.\nThe defaults below are those of all others.",
    example: "[[ai.models]]\nprovider = \"ollama\"\nmodel = \"llama3.2\"\ncontext = 131072\ncapabilities = [\"tools\", \"images\"]\n",
};

/// The capabilities as the file has them.
const CAPABILITIES: [&str; 6] = [
    "tools",
    "images",
    "documents",
    "audio",
    "reasoning",
    "structured_output",
];

/// The variables and files of the built-in providers, in the order of [`built_in`].
pub(super) const BUILT_IN_NAMES: [&str; 3] = ["openai", "gemini", "anthropic"];

/// Where the key of an endpoint comes from.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    None,
    Variable(String),
    File(PathBuf),
}

/// An endpoint whose key is not read yet.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) base_url: String,
    pub(super) own_key: bool,
    pub(super) key: KeySource,
}

/// A built-in provider with this key, by its place in [`BUILT_IN_NAMES`].
pub(super) fn built_in(place: usize, key: ProviderKey) -> Provider {
    match place {
        0 => Provider::openai(key),
        1 => Provider::gemini(key),
        _ => Provider::anthropic(key),
    }
}

/// The public addresses of the built-in providers.
pub(super) fn public_urls() -> [String; 3] {
    [0, 1, 2].map(|place| built_in(place, ProviderKey::Missing).base_url)
}

/// A built-in provider at an address, which may be its public one.
pub(super) fn built_in_at(place: usize, base_url: &str, key: ProviderKey) -> Provider {
    let provider = built_in(place, key);
    if provider.base_url == base_url.trim_end_matches('/') {
        return provider;
    }
    provider.at(base_url)
}

/// Reads one endpoint; a relative file is relative to `base`.
pub(super) fn parse_endpoint(fields: Fields, base: &Path) -> Result<Endpoint, Problem> {
    let mut reader = TableReader::new(&PROVIDERS, "name", fields);
    let name = reader.needed_text("name", "give every provider a name")?;
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    if name.len() > 64 || !name.bytes().all(is_plain) {
        let fix = "use at most 64 of a to z, digits, -, _ and .";
        return Err(reader.wrong("name", "is malformed", fix));
    }
    let fix = "write a whole address without a query, such as \"http://127.0.0.1:11434/v1\"";
    let base_url = reader.needed_text("base_url", fix)?;
    if !is_address(&base_url) {
        return Err(reader.wrong("base_url", "is no http or https address", fix));
    }
    let variable = reader.text("key_env")?;
    let file = reader.text("key_file")?;
    let key = match (variable, file) {
        (Some(_), Some(_)) => {
            return Err(reader.wrong("key_env", "is beside `key_file`", "keep one of them"));
        }
        (Some(variable), None) => KeySource::Variable(variable),
        (None, Some(file)) => KeySource::File(base.join(file)),
        (None, None) => KeySource::None,
    };
    Ok(Endpoint {
        name,
        base_url,
        own_key: reader.switch("own_key")?,
        key,
    })
}

fn is_address(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_whole = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    is_whole
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#', '@', '"', '\\'])
}

impl Endpoint {
    /// Reads the key; `look_up` reads the environment.
    pub(super) fn open(
        self,
        look_up: impl Fn(&str) -> Option<String>,
    ) -> Result<Provider, Problem> {
        let wrong = |field: &str, problem: &str, fix: &str| {
            Problem::new(
                format!("provider {:?}: `{field}` {problem}", self.name),
                fix,
            )
        };
        let (field, text) = match &self.key {
            KeySource::None => ("", None),
            KeySource::Variable(variable) => {
                let text = look_up(variable).ok_or_else(|| {
                    let problem = format!("names {variable}, which is not set");
                    wrong("key_env", &problem, "set the variable, or remove the line")
                })?;
                ("key_env", Some(text))
            }
            KeySource::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let problem =
                        format!("names {}, which cannot be read: {error}", path.display());
                    wrong(
                        "key_file",
                        &problem,
                        "the file must be readable by the user that runs the hub",
                    )
                })?;
                ("key_file", Some(text))
            }
        };
        let key = match text {
            // Without a key of the house, callers bring one or none is asked for.
            None if self.own_key => ProviderKey::Missing,
            None => ProviderKey::NotNeeded,
            Some(text) => {
                let key = zeroize::Zeroizing::new(text);
                let key = key.trim_end_matches(['\r', '\n']);
                check_key(key).map_err(|problem| {
                    wrong(field, &format!("holds a key that {problem}"), KEY_FIX)
                })?;
                ProviderKey::Held(Secret::presented(key))
            }
        };
        let provider = Provider::compatible(&self.name, &self.base_url, key);
        Ok(Provider {
            own_key: self.own_key,
            ..provider
        })
    }
}

pub(super) const KEY_FIX: &str = "copy the key from the provider, on one line and without quotes";

/// Whether a key can be one; the answer never repeats it.
pub(super) fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("is empty");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds spaces or characters that no key has");
    }
    Ok(())
}

/// Reads one model.
pub(super) fn parse_model(fields: Fields) -> Result<Model, Problem> {
    let mut reader = TableReader::new(&MODELS, "model", fields);
    let name = reader.needed_text("model", "give every model the name its provider knows")?;
    let provider = reader.needed_text("provider", "name the model's provider")?;
    // Whoever gives a built-in model only a fallback does not give the model away.
    let known = Model::built_in(&provider, &name).unwrap_or_else(|| Model::plain(&provider, &name));
    let context_tokens = reader.count("context")?.unwrap_or(known.context_tokens);
    let max_output = reader.count("max_output")?;
    Ok(Model {
        context_tokens,
        max_output_tokens: max_output.unwrap_or(known.max_output_tokens.min(context_tokens)),
        price: price(&mut reader)?.unwrap_or(known.price),
        capabilities: capabilities(&mut reader)?.unwrap_or(known.capabilities),
        ignores_sampling: flag(&mut reader, "ignores_sampling")?.unwrap_or(known.ignores_sampling),
        wants_signatures: flag(&mut reader, "wants_signatures")?.unwrap_or(known.wants_signatures),
        fallback: fallback(&mut reader)?.or(known.fallback),
        provider,
        name,
    })
}

/// A switch that may be left out, which is not the same as `false`.
fn flag(reader: &mut TableReader, field: &str) -> Result<Option<bool>, Problem> {
    match reader.take(field) {
        None => Ok(None),
        Some(Value::Switch(value)) => Ok(Some(value)),
        Some(_) => Err(reader.wrong(field, "is neither true nor false", "write true or false")),
    }
}

fn price(reader: &mut TableReader) -> Result<Option<Price>, Problem> {
    let call = reader.thousandths("credits")?;
    let input = reader.thousandths("input_credits")?;
    let output = reader.thousandths("output_credits")?;
    match (call, input, output) {
        (None, None, None) => Ok(None),
        (Some(call), None, None) => Ok(Some(Price::PerCall(Credits::thousandths(call)))),
        (None, Some(input), Some(output)) => Ok(Some(Price::PerMillionTokens {
            input: Credits::thousandths(input),
            output: Credits::thousandths(output),
        })),
        _ => Err(reader.wrong(
            "credits",
            "does not go with the other prices",
            "write either credits, or input_credits and output_credits",
        )),
    }
}

fn capabilities(reader: &mut TableReader) -> Result<Option<Capabilities>, Problem> {
    if let Some(given) = reader.optional_texts("capabilities")? {
        let unknown = given
            .iter()
            .find(|name| !CAPABILITIES.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(reader.wrong(
                "capabilities",
                &format!("holds {unknown:?}"),
                &format!("use only: {}", CAPABILITIES.join(", ")),
            ));
        }
        let has = |name: &str| given.iter().any(|given| given == name);
        return Ok(Some(Capabilities {
            tools: has("tools"),
            images: has("images"),
            documents: has("documents"),
            audio: has("audio"),
            reasoning: has("reasoning"),
            structured_output: has("structured_output"),
        }));
    }
    Ok(None)
}

/// The names of what a model can, as the file has them.
pub(super) fn capability_names(can: Capabilities) -> Vec<String> {
    let flags = [
        can.tools,
        can.images,
        can.documents,
        can.audio,
        can.reasoning,
        can.structured_output,
    ];
    let named = CAPABILITIES.iter().zip(flags).filter(|(_, has)| *has);
    named.map(|(name, _)| (*name).to_owned()).collect()
}

fn fallback(reader: &mut TableReader) -> Result<Option<(String, String)>, Problem> {
    let Some(text) = reader.text("fallback")? else {
        return Ok(None);
    };
    match text.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
            Ok(Some((provider.to_owned(), model.to_owned())))
        }
        _ => Err(reader.wrong(
            "fallback",
            "is no model",
            "write provider and model, such as \"openai/gpt-4o-mini\"",
        )),
    }
}

/// What is wrong between the tables: the list, and the problem.
pub(super) fn check(config: &AiConfig) -> Result<(), (&'static TableList, Problem)> {
    let providers = &config.providers;
    for (at, provider) in providers.iter().enumerate() {
        if providers
            .iter()
            .take(at)
            .any(|other| other.name == provider.name)
        {
            return Err((
                &PROVIDERS,
                Problem::new(
                    format!("provider {:?}: `name` is taken", provider.name),
                    "give every provider a name of its own, also other than openai, gemini and anthropic",
                ),
            ));
        }
    }
    for (at, model) in config.models.iter().enumerate() {
        if let Some((field, problem, fix)) = wrong_in_model(config, at, model) {
            let text = format!("model {:?}: `{field}` {problem}", model.name);
            return Err((&MODELS, Problem::new(text, fix)));
        }
    }
    Ok(())
}

/// The field that is wrong in the model at this place of the list, the problem, and what to write instead.
fn wrong_in_model(
    config: &AiConfig,
    at: usize,
    model: &Model,
) -> Option<(&'static str, &'static str, &'static str)> {
    const FIX: &str =
        "name openai, gemini, anthropic or one of [[ai.providers]], and every model once";
    let is_known = |name: &str| {
        let mut providers = config.providers.iter();
        providers.any(|provider| provider.name == name)
    };
    if !is_known(&model.provider) {
        return Some(("provider", "is not configured", FIX));
    }
    if let Some((provider, name)) = &model.fallback {
        if !is_known(provider) {
            return Some(("fallback", "names a provider that is not configured", FIX));
        }
        if !has_model(&config.models, provider, name) && Model::built_in(provider, name).is_none() {
            let fix = "name a built-in model, or one that has a table of [[ai.models]]";
            return Some(("fallback", "names a model that is not there", fix));
        }
    }
    let before = config.models.get(..at).unwrap_or_default();
    has_model(before, &model.provider, &model.name).then_some(("model", "is there twice", FIX))
}

fn has_model(models: &[Model], provider: &str, name: &str) -> bool {
    models
        .iter()
        .any(|model| model.provider == provider && model.name == name)
}
