//! Which models there are, and which one a question goes to.

use std::fmt;

use epicenter_auth::HubUrl;
use epicenter_device::Caller;
use serde_json::Value;

use super::{refusal, visible};
use crate::arguments::ChatArguments;
use crate::failure::Failure;

const MODELS: &str = "/api/ai/models";
/// Names in an error; more would be a list, and there is a command for that.
const MOST_NAMES: usize = 5;

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelName {
    pub(super) provider: String,
    pub(super) model: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.provider, self.model)
    }
}

/// What the hub offers.
pub(super) struct Offered {
    /// As it answered.
    pub(super) json: Value,
    pub(super) models: Vec<Model>,
}

/// A model as the list describes it.
#[derive(Debug)]
pub(super) struct Model {
    name: ModelName,
    needs_own_key: bool,
    takes_own_key: bool,
    described: Value,
}

/// Asks the hub what it offers.
pub(super) async fn offered(caller: &mut Caller, hub: &HubUrl) -> Result<Offered, Failure> {
    let asked = caller.get(MODELS).await;
    let reply = asked.map_err(|error| refusal::of_call(hub, error))?;
    let json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let models = json.get("models").and_then(Value::as_array);
    let models = models.filter(|_| reply.status == 200);
    let Some(models) = models else {
        return Err(refusal::of_answer(reply.status, None, &reply.body));
    };
    let models = models.iter().filter_map(parse).collect();
    Ok(Offered { json, models })
}

/// One that a later hub describes otherwise is left out of the table; `--json` has it.
fn parse(described: &Value) -> Option<Model> {
    let text = |name: &str| Some(described.get(name)?.as_str()?.to_owned());
    let flag = |name: &str| described.get(name).and_then(Value::as_bool);
    Some(Model {
        name: ModelName {
            provider: text("provider")?,
            model: text("model")?,
        },
        needs_own_key: flag("needsOwnKey").unwrap_or(false),
        takes_own_key: flag("takesOwnKey").unwrap_or(false),
        described: described.clone(),
    })
}

/// The model that was named, or else the only one that fits.
pub(super) async fn choose(
    caller: &mut Caller,
    hub: &HubUrl,
    arguments: &ChatArguments,
    has_own_key: bool,
) -> Result<ModelName, Failure> {
    let (provider, model) = (arguments.provider.as_deref(), arguments.model.as_deref());
    if let (Some(provider), Some(model)) = (provider, model) {
        // The hub knows whether there is one.
        return Ok(ModelName {
            provider: provider.to_owned(),
            model: model.to_owned(),
        });
    }
    let offered = offered(caller, hub).await?;
    only_one(&offered.models, provider, model, has_own_key)
}

fn only_one(
    models: &[Model],
    provider: Option<&str>,
    model: Option<&str>,
    has_own_key: bool,
) -> Result<ModelName, Failure> {
    let fits = |offered: &&Model| {
        let answers = if has_own_key {
            offered.takes_own_key
        } else {
            !offered.needs_own_key
        };
        answers
            && provider.is_none_or(|name| offered.name.provider == name)
            && model.is_none_or(|name| offered.name.model == name)
    };
    let fitting: Vec<&Model> = models.iter().filter(fits).collect();
    match fitting.as_slice() {
        [] => Err(Failure::configuration(
            "the hub offers no model that fits",
            "`epicenter ai models` lists what it offers; those that are marked `own` need --own-key-env",
        )),
        [only] => Ok(only.name.clone()),
        several => {
            let named = several.iter().take(MOST_NAMES);
            let named: Vec<_> = named
                .map(|model| visible::line(&model.name.to_string()))
                .collect();
            let more = several.len() - named.len();
            let more = if more == 0 {
                String::new()
            } else {
                format!(" and {more} more")
            };
            Err(Failure::configuration(
                format!("several models fit: {}{more}", named.join(", ")),
                "name one with --provider and --model, or for good with EPICENTER_AI_PROVIDER and EPICENTER_AI_MODEL; `epicenter ai models` lists all",
            ))
        }
    }
}

/// All of them, for people: columns under their names.
pub(super) fn table(models: &[Model]) -> String {
    let head = [
        "PROVIDER", "MODEL", "CONTEXT", "OUTPUT", "CREDITS", "KEY", "CAN",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(models.iter().map(row));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(model: &Model) -> [String; 7] {
    let number = |name: &str| match model.described.get(name) {
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let key = match (model.needs_own_key, model.takes_own_key) {
        (true, _) => "own",
        (false, true) => "hub's or own",
        (false, false) => "hub's",
    };
    let can = model
        .described
        .get("capabilities")
        .and_then(Value::as_object);
    let can: Vec<&str> = can
        .into_iter()
        .flatten()
        .filter(|(_, can)| **can == Value::Bool(true))
        .map(|(name, _)| name.as_str())
        .collect();
    [
        model.name.provider.clone(),
        model.name.model.clone(),
        number("contextTokens"),
        number("maxOutputTokens"),
        price(&model.described),
        key.to_owned(),
        can.join(","),
    ]
    .map(|cell| visible::line(&cell))
}

fn price(described: &Value) -> String {
    let part = |name: &str| match described.pointer(&format!("/price/{name}")) {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let tokens = part("creditsPerMillionInputTokens").zip(part("creditsPerMillionOutputTokens"));
    match (part("creditsPerCall"), tokens) {
        (Some(call), _) if call == "0" => "free".to_owned(),
        (Some(call), _) => format!("{call} a call"),
        (None, Some((input, output))) => format!("{input} in, {output} out a million tokens"),
        (None, None) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Model, only_one, parse, table};

    fn model(provider: &str, name: &str, needs: bool, takes: bool) -> Value {
        json!({
            "provider": provider, "model": name, "contextTokens": 8_192, "maxOutputTokens": 4_096,
            "price": {"creditsPerCall": 0}, "capabilities": {"tools": true, "images": false},
            "needsOwnKey": needs, "takesOwnKey": takes,
        })
    }

    fn models() -> Vec<Model> {
        let all = [
            model("local", "small", false, false),
            model("local", "large", false, false),
            model("openai", "gpt", false, true),
            model("gemini", "pro", true, true),
        ];
        all.iter().filter_map(parse).collect()
    }

    #[test]
    fn one_that_fits_is_taken_and_none_is_guessed() {
        let models = models();
        let choose = |provider, model, has_key| match only_one(&models, provider, model, has_key) {
            Ok(name) => name.to_string(),
            Err(failure) => failure.message().to_owned(),
        };
        let several = "several models fit: local/small, local/large, openai/gpt";
        assert_eq!(choose(None, None, false), several);
        assert_eq!(choose(Some("openai"), None, false), "openai/gpt");
        assert_eq!(choose(None, Some("large"), false), "local/large");
        let none = "the hub offers no model that fits";
        assert_eq!(choose(Some("gemini"), None, false), none, "it needs a key");
        assert_eq!(choose(Some("gemini"), None, true), "gemini/pro");
        assert_eq!(choose(Some("local"), None, true), none, "it takes no key");
    }

    #[test]
    fn the_table_is_safe_and_aligned() {
        let mut hostile = model("lo\u{1b}cal", "a\nb", true, true);
        hostile["price"] =
            json!({"creditsPerMillionInputTokens": 1.5, "creditsPerMillionOutputTokens": 6});
        let models = [parse(&hostile), parse(&json!({"model": "no provider"}))];
        let models: Vec<_> = models.into_iter().flatten().collect();
        assert_eq!(
            table(&models),
            "PROVIDER  MODEL  CONTEXT  OUTPUT  CREDITS                         KEY  CAN\n\
             local     a b    8192     4096    1.5 in, 6 out a million tokens  own  tools\n"
        );
    }
}
