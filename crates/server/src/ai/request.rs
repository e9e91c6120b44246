//! What clients send (`ai.md`, Requests): both generations of the stock client, with their settings in one of four
//! places.
//!
//! Only the outer form is read here; [`super::conversation`] reads the messages. Values are moved out of the parsed body,
//! since a picture in it may have megabytes. An error names the member that is wrong and never repeats a value.

use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::message::Tool;
use crate::secret::Secret;

/// As long as the ids of any client, and short enough to be repeated in every event.
const MAX_ID_BYTES: usize = 200;

/// No provider's key is nearly as long.
const MAX_KEY_BYTES: usize = 1_024;

/// A call as it was asked for.
#[derive(Debug)]
pub(super) struct ChatRequest {
    pub(super) messages: Vec<Value>,
    pub(super) settings: ChatSettings,
    /// The caller's own key.
    pub(super) api_key: Option<Secret>,
    pub(super) thread_id: Option<String>,
    pub(super) run_id: Option<String>,
}

/// How the model is to answer.
#[derive(Clone, Debug, Default)]
pub(super) struct ChatSettings {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) system_prompts: Vec<String>,
    pub(super) temperature: Option<f64>,
    pub(super) max_tokens: Option<u64>,
    pub(super) top_p: Option<f64>,
    pub(super) metadata: Option<Value>,
    /// A schema that the answer must follow.
    pub(super) output_schema: Option<Value>,
    pub(super) tools: Vec<Tool>,
}

/// The body cannot be used; the text says why, for the person who wrote the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError(String);

impl RequestError {
    pub(super) fn at(place: impl fmt::Display, problem: &str) -> Self {
        Self(format!("{place} {problem}"))
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for RequestError {}

impl ChatRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let body: Value = serde_json::from_slice(body).map_err(|error| {
            // The error's own text may repeat a piece of the body.
            let (line, column) = (error.line(), error.column());
            RequestError(format!(
                "the body is not JSON (line {line}, column {column})"
            ))
        })?;
        let Value::Object(mut body) = body else {
            return Err(RequestError::at("the body", "must be an object"));
        };
        let messages = match body.remove("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => messages,
            _ => {
                return Err(RequestError::at(
                    "messages",
                    "must be a list of at least one message",
                ));
            }
        };
        let api_key = take_key(&mut body)?;
        let thread_id = take_id(&mut body, "threadId");
        let run_id = take_id(&mut body, "runId");
        let client_tools = body.remove("tools");
        let mut settings = take_settings(&mut body)
            .ok_or_else(|| RequestError::at("data.provider", "is missing"))?;
        // The older clients know no threads, but their apps name conversations.
        let thread_id = thread_id.or_else(|| take_id(&mut settings, "conversationId"));
        let mut settings = ChatSettings::parse(settings)?;
        if settings.tools.is_empty()
            && let Some(tools) = client_tools
        {
            settings.tools = parse_tools(tools, "tools", "parameters")?;
        }
        Ok(Self {
            messages,
            settings,
            api_key,
            thread_id,
            run_id,
        })
    }
}

/// The first of `data`, `data.data`, `forwardedProps`, `forwardedProps.data` that names a provider.
fn take_settings(body: &mut Map<String, Value>) -> Option<Map<String, Value>> {
    for outer in ["data", "forwardedProps"] {
        let Some(Value::Object(mut candidate)) = body.remove(outer) else {
            continue;
        };
        if candidate.contains_key("provider") {
            return Some(candidate);
        }
        if let Some(Value::Object(inner)) = candidate.remove("data")
            && inner.contains_key("provider")
        {
            return Some(inner);
        }
    }
    None
}

/// A key is used for this call. The text that it was parsed into is wiped here and the secret with the call; the bytes of
/// the request that it came in are not. Where it stood makes no difference.
fn take_key(body: &mut Map<String, Value>) -> Result<Option<Secret>, RequestError> {
    let mut found = body.remove("apiKey");
    for outer in ["data", "forwardedProps"] {
        if let Some(Value::Object(inner)) = body.get_mut(outer) {
            let key = inner.remove("apiKey");
            found = found.or(key);
        }
    }
    let problem = || RequestError::at("apiKey", "is not a provider's key");
    let key = match found {
        None | Some(Value::Null) => return Ok(None),
        // Also when it turns out to be no key: it may be one with a slip in it.
        Some(Value::String(text)) => Zeroizing::new(text),
        Some(_) => return Err(problem()),
    };
    if key.is_empty() {
        return Ok(None);
    }
    if key.len() > MAX_KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(problem());
    }
    Ok(Some(Secret::presented(&key)))
}

/// An id that is to be echoed; one that no client makes is as good as none.
fn take_id(body: &mut Map<String, Value>, member: &str) -> Option<String> {
    match body.remove(member) {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_ID_BYTES => Some(id),
        _ => None,
    }
}

impl ChatSettings {
    fn parse(mut members: Map<String, Value>) -> Result<Self, RequestError> {
        let mut settings = Members(&mut members);
        let provider = settings.required_text("provider")?;
        let model = settings.required_text("model")?;
        let system_prompts = settings.texts("systemPrompts")?;
        let temperature = settings.number("temperature")?;
        let max_tokens = settings.count("maxTokens")?;
        let top_p = settings.number("topP")?;
        let metadata = settings.object("metadata")?;
        let output_schema = settings.object("outputSchema")?;
        let tools = match settings.0.remove("tools") {
            None => Vec::new(),
            Some(tools) => parse_tools(tools, "data.tools", "inputSchema")?,
        };
        Ok(Self {
            provider,
            model,
            system_prompts,
            temperature,
            max_tokens,
            top_p,
            metadata,
            output_schema,
            tools,
        })
    }
}

/// Typed reads of the settings. A member is there and right, or it is not there; `null` is refused like any other value
/// of a wrong type.
struct Members<'a>(&'a mut Map<String, Value>);

impl Members<'_> {
    fn required_text(&mut self, name: &str) -> Result<String, RequestError> {
        match self.0.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(wrong(name, "must be a text")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, RequestError> {
        let problem = || wrong(name, "must be a list of texts");
        match self.0.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(problem()),
                })
                .collect(),
            Some(_) => Err(problem()),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<f64>, RequestError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| wrong(name, "must be a number")),
        }
    }

    fn count(&mut self, name: &str) -> Result<Option<u64>, RequestError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .filter(|count| *count > 0)
                .map(Some)
                .ok_or_else(|| wrong(name, "must be a whole number above zero")),
        }
    }

    fn object(&mut self, name: &str) -> Result<Option<Value>, RequestError> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(value)),
            Some(_) => Err(wrong(name, "must be an object")),
        }
    }
}

fn wrong(name: &str, problem: &str) -> RequestError {
    RequestError::at(format_args!("data.{name}"), problem)
}

fn parse_tools(tools: Value, place: &str, schema: &str) -> Result<Vec<Tool>, RequestError> {
    let Value::Array(tools) = tools else {
        return Err(RequestError::at(place, "must be a list of tools"));
    };
    let parse = |(index, tool)| {
        match tool {
            Value::Object(tool) => parse_tool(tool, schema),
            _ => None,
        }
        .ok_or_else(|| RequestError::at(format_args!("{place}[{index}]"), "is not a tool"))
    };
    tools.into_iter().enumerate().map(parse).collect()
}

fn parse_tool(mut tool: Map<String, Value>, schema: &str) -> Option<Tool> {
    let Some(Value::String(name)) = tool.remove("name") else {
        return None;
    };
    let description = match tool.remove("description") {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        None | Some(Value::String(_) | Value::Null) => None,
        Some(_) => return None,
    };
    let schema = match tool.remove(schema) {
        None | Some(Value::Null) => None,
        Some(schema) if schema.is_object() => Some(schema),
        Some(_) => return None,
    };
    Some(Tool {
        name,
        description,
        schema,
        needs_approval: tool.get("needsApproval") == Some(&Value::Bool(true)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ChatRequest;

    fn parse(body: &Value) -> Result<ChatRequest, String> {
        ChatRequest::parse(body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    const SETTINGS: &str = r#"{"provider":"openai","model":"m"}"#;

    fn settings() -> Value {
        serde_json::from_str(SETTINGS).unwrap()
    }

    #[test]
    fn settings_are_found_in_all_four_places() {
        let bodies = [
            json!({ "messages": [1], "data": settings() }),
            json!({ "messages": [1], "data": { "data": settings() } }),
            json!({ "messages": [1], "forwardedProps": settings() }),
            json!({ "messages": [1], "data": {}, "forwardedProps": { "data": settings() } }),
        ];
        for body in bodies {
            let request = parse(&body).unwrap();
            assert_eq!(request.settings.provider, "openai", "{body}");
            assert_eq!(request.settings.model, "m", "{body}");
        }
        let both = json!({
            "messages": [1], "data": settings(), "forwardedProps": { "provider": "x", "model": "x" },
        });
        assert_eq!(parse(&both).unwrap().settings.provider, "openai");
    }

    #[test]
    fn a_key_is_found_in_all_places_and_never_printed() {
        for body in [
            json!({ "messages": [1], "data": settings(), "apiKey": "sk-canary" }),
            json!({ "messages": [1], "data": { "data": settings(), "apiKey": "sk-canary" } }),
            json!({ "messages": [1], "forwardedProps": { "data": settings(), "apiKey": "sk-canary" } }),
        ] {
            let request = parse(&body).unwrap();
            assert_eq!(request.api_key.as_ref().unwrap().expose(), "sk-canary");
            assert!(!format!("{request:?}").contains("canary"));
        }
        for key in [
            json!(7),
            json!("sk canary"),
            json!("x".repeat(2_000)),
            json!("a\r\nb: c"),
        ] {
            let body = json!({ "messages": [1], "data": settings(), "apiKey": key });
            assert_eq!(parse(&body).unwrap_err(), "apiKey is not a provider's key");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        #[track_caller]
        fn check(body: &Value, expect: &str) {
            assert_eq!(parse(body).unwrap_err(), expect);
        }
        let with = |name: &str, value: Value| {
            let mut data = settings();
            data[name] = value;
            json!({ "messages": [1], "data": data })
        };
        check(&json!([]), "the body must be an object");
        check(
            &json!({ "messages": [], "data": settings() }),
            "messages must be a list of at least one message",
        );
        check(&json!({ "messages": [1] }), "data.provider is missing");
        check(&with("model", json!("")), "data.model must be a text");
        check(
            &with("temperature", Value::Null),
            "data.temperature must be a number",
        );
        check(
            &with("maxTokens", json!(0)),
            "data.maxTokens must be a whole number above zero",
        );
        check(
            &with("systemPrompts", json!([1])),
            "data.systemPrompts must be a list of texts",
        );
        check(
            &with("metadata", json!("x")),
            "data.metadata must be an object",
        );
        check(&with("tools", json!([{}])), "data.tools[0] is not a tool");
        let broken = ChatRequest::parse(b"{\"apiKey\": sk-canary}").unwrap_err();
        assert!(!broken.to_string().contains("canary"), "{broken}");
    }

    #[test]
    fn the_clients_own_tools_count_only_without_others() {
        let tool =
            |name: &str, schema: &str| json!([{ "name": name, schema: { "type": "object" } }]);
        let mut body = json!({
            "messages": [1], "data": settings(), "tools": tool("outer", "parameters"),
        });
        let tools = parse(&body).unwrap().settings.tools;
        assert_eq!(tools[0].name, "outer");
        assert!(tools[0].schema.is_some());
        body["data"]["tools"] = tool("inner", "inputSchema");
        let tools = parse(&body).unwrap().settings.tools;
        assert_eq!((tools.len(), tools[0].name.as_str()), (1, "inner"));
    }
}
