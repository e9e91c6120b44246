//! What the two protocols of OpenAI have in common.

use serde_json::{Map, Value, json};

use super::ModelCall;
use crate::ai::message::Tool;
use crate::ai::schema;
use crate::ai::upstream::HeaderText;

/// `Authorization`; a server of one's own may want none.
pub(super) fn bearer(call: &ModelCall<'_>) -> Vec<(&'static str, HeaderText)> {
    call.key
        .map(|key| ("authorization", HeaderText::bearer(key)))
        .into_iter()
        .collect()
}

/// `temperature` and `top_p`, for models that take them.
pub(super) fn encode_sampling(call: &ModelCall<'_>, body: &mut Map<String, Value>) {
    if call.ignores_sampling {
        return;
    }
    if let Some(temperature) = call.settings.temperature {
        body.insert("temperature".to_owned(), json!(temperature));
    }
    if let Some(top_p) = call.settings.top_p {
        body.insert("top_p".to_owned(), json!(top_p));
    }
}

/// A tool in strict mode where its schema allows that: name, description, parameters and `strict`.
pub(super) fn strict_function(tool: &Tool) -> Map<String, Value> {
    let (parameters, strict) = match &tool.schema {
        None => (schema::no_arguments_strict(), true),
        Some(schema) => strict_schema(schema),
    };
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(tool.name));
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    function.insert("parameters".to_owned(), parameters);
    function.insert("strict".to_owned(), Value::Bool(strict));
    function
}

/// The form of an answer, in strict mode where its schema allows that: name, schema and `strict`.
pub(super) fn strict_answer(schema: &Value) -> Map<String, Value> {
    let (schema, strict) = strict_schema(schema);
    let mut answer = Map::new();
    answer.insert("name".to_owned(), json!("answer"));
    answer.insert("schema".to_owned(), schema);
    answer.insert("strict".to_owned(), Value::Bool(strict));
    answer
}

/// What to send for a schema, and whether that is in strict mode.
fn strict_schema(schema: &Value) -> (Value, bool) {
    match schema::to_strict(schema) {
        Some(strict) => (strict, true),
        None => (schema.clone(), false),
    }
}
