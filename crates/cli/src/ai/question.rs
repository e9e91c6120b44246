//! What is asked: the settings of the command line around the messages of a conversation.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::models::ModelName;
use crate::arguments::ChatArguments;
use crate::failure::Failure;

/// Everything about a question but its messages.
pub(super) struct Question {
    pub(super) model: ModelName,
    settings: Value,
    own_key: Option<Zeroizing<String>>,
}

impl Question {
    pub(super) fn new(
        arguments: &ChatArguments,
        model: ModelName,
        own_key: Option<Zeroizing<String>>,
    ) -> Self {
        let mut settings = json!({"provider": model.provider, "model": model.model});
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                settings[name] = value;
            }
        };
        set(
            "systemPrompts",
            arguments.system.as_ref().map(|text| json!([text])),
        );
        set(
            "temperature",
            arguments.temperature.map(|number| json!(number)),
        );
        set("maxTokens", arguments.max_tokens.map(|count| json!(count)));
        Self {
            model,
            settings,
            own_key,
        }
    }

    /// The body of the request with these messages.
    pub(super) fn body(&self, messages: &[Value]) -> Zeroizing<Vec<u8>> {
        let body = json!({"messages": messages, "data": self.settings});
        let mut body = Zeroizing::new(body.to_string().into_bytes());
        if let Some(key) = &self.own_key {
            // Put in by hand, so that no copy of it stays behind in a tree of values.
            let key = Zeroizing::new(Value::from(key.as_str()).to_string());
            body.pop();
            body.extend_from_slice(b",\"apiKey\":");
            body.extend_from_slice(key.as_bytes());
            body.push(b'}');
        }
        body
    }
}

/// The key that a variable of the environment holds. An argument could be read by others on this machine.
pub(super) fn own_key(variable: Option<&str>) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(variable) = variable else {
        return Ok(None);
    };
    let key = Zeroizing::new(std::env::var(variable).unwrap_or_default());
    if key.trim().is_empty() {
        return Err(Failure::configuration(
            format!(
                "the environment variable {} holds no key",
                variable.escape_debug()
            ),
            "--own-key-env takes the name of a variable, not the key itself; set and export it first",
        ));
    }
    Ok(Some(Zeroizing::new(key.trim().to_owned())))
}
