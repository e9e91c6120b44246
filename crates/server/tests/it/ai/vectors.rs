//! Every scenario of `vectors/ai` through the route, with the provider's bytes in pieces of several sizes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::patterns::Placeholders;
use super::provider::Script;
use super::world::{World, events, text};

/// The scenarios whose names begin like this.
pub(super) fn scenarios(prefix: &str) -> BTreeMap<String, Value> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let beside = root.join("../shared/vectors/ai");
    let folder = if beside.exists() {
        beside
    } else {
        root.join("vectors/ai")
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(prefix) {
            let scenario = std::fs::read_to_string(&path).unwrap();
            found.insert(name, serde_json::from_str(&scenario).unwrap());
        }
    }
    found
}

#[test]
fn every_openai_scenario_passes() {
    check_all("openai-", 50);
}

#[test]
fn every_gemini_scenario_passes() {
    check_all("gemini-", 29);
}

/// What the other protocols are asked. Beyond the recorded adapter the hub sends no member that says nothing, and what it
/// leaves to the model's own settings is compared in part only.
#[test]
fn the_other_protocols_ask_what_was_recorded() {
    for (name, scenario) in scenarios("extra-") {
        let recorded = &scenario["observed"]["latest"]["upstreamRequests"];
        // The one without is refused by the adapter; the one with options puts them elsewhere.
        if recorded.as_array().unwrap().is_empty() || name.ends_with("-text") {
            continue;
        }
        let world = World::new();
        world.play(
            Script::of_vector(&scenario["upstream"], 64),
            &scenario["request"],
        );
        let asked = &world.provider.asked()[0];
        let recorded = &recorded[0];
        let mut body = recorded["body"].clone();
        if name.starts_with("extra-anthropic") {
            let tools = body["tools"].as_array_mut().unwrap();
            for tool in tools.iter_mut() {
                let tool = tool.as_object_mut().unwrap();
                tool.remove("type");
                tool.remove("cache_control");
            }
            if tools.is_empty() {
                body.as_object_mut().unwrap().remove("tools");
            }
        }
        let difference = Placeholders::default().difference(&body, &asked.body);
        assert_eq!(difference, None, "{name}");
        let path = recorded["url"].as_str().unwrap();
        let path = path.trim_end_matches("?beta=true");
        assert!(asked.url.ends_with(path), "{name}: {}", asked.url);
        for key in ["authorization", "x-api-key", "anthropic-version"] {
            let sent = asked.headers.iter().find(|(name, _)| name == key);
            let sent = sent.map(|(_, value)| value.as_str());
            assert_eq!(sent, recorded["headers"][key].as_str(), "{name}: {key}");
        }
    }
}

#[test]
fn options_reach_the_other_protocols() {
    let ask = |provider: &str, model: &str| {
        let scenario = scenarios("openai-req-options")
            .remove("openai-req-options")
            .unwrap();
        let mut body = scenario["request"].clone();
        body["data"]["provider"] = json!(provider);
        body["data"]["model"] = json!(model);
        let world = World::new();
        world.play([Script::error(400, &[], "")], &body);
        world.provider.asked()[0].body.clone()
    };
    let completions = ask("local", "small");
    assert_eq!(
        completions["messages"][0]["content"],
        "You are terse.\nReply in English."
    );
    assert_eq!(completions["temperature"], 0.3);
    assert_eq!(completions["top_p"], 0.9);
    assert_eq!(completions["max_tokens"], 256);
    let anthropic = ask("anthropic", "claude-sonnet-4-5");
    assert_eq!(
        anthropic["system"],
        json!([
            { "type": "text", "text": "You are terse." }, { "type": "text", "text": "Reply in English." },
        ])
    );
    assert_eq!(
        (&anthropic["temperature"], &anthropic["max_tokens"]),
        (&json!(0.3), &json!(256))
    );
    // Models that reason refuse these two.
    let reasoning = ask("openai", "gpt-5-mini");
    assert!(reasoning.get("temperature").is_none() && reasoning.get("top_p").is_none());
}

/// What comes of the other protocols' streams: text, calls with their input, and how it ends.
#[test]
fn the_other_protocols_are_understood() {
    let calls = json!([["get_weather", { "city": "Oslo" }], ["files_search", { "q": "notes" }]]);
    let one_call = json!([["get_weather", { "city": "Oslo" }]]);
    let none = json!([]);
    let cases = [
        ("extra-anthropic-text", "Hello", "", &none, "stop"),
        ("extra-anthropic-thinking", "Four", "Hmm.", &none, "stop"),
        ("extra-anthropic-max-tokens", "Once", "", &none, "length"),
        (
            "extra-anthropic-tool-parallel",
            "Let me look.",
            "",
            &calls,
            "tool_calls",
        ),
        (
            "extra-anthropic-error-midstream",
            "Pa",
            "",
            &none,
            "overloaded_error",
        ),
        ("extra-completions-text", "Hello", "", &none, "stop"),
        ("extra-completions-length", "Once", "", &none, "length"),
        (
            "extra-completions-content-filter",
            "I",
            "",
            &none,
            "content_filter",
        ),
        (
            "extra-completions-error-chunk",
            "Pa",
            "",
            &none,
            "overloaded",
        ),
        (
            "extra-completions-no-done",
            "Par",
            "",
            &none,
            "upstream_truncated",
        ),
        ("extra-completions-reasoning", "Four", "Hmm.", &none, "stop"),
        (
            "extra-completions-reasoning-content",
            "Four",
            "Hmm.",
            &none,
            "stop",
        ),
        ("extra-completions-refusal", "", "", &none, "refusal"),
        (
            "extra-completions-tool-parallel",
            "",
            "",
            &calls,
            "tool_calls",
        ),
        (
            "extra-completions-tool-finish-stop",
            "",
            "",
            &one_call,
            "tool_calls",
        ),
        (
            "extra-completions-tool-onechunk-ollama",
            "",
            "",
            &one_call,
            "tool_calls",
        ),
    ];
    let scenarios = scenarios("extra-");
    for (name, said, thought, calls, end) in cases {
        for piece in [usize::MAX, 1, 11] {
            let scenario = &scenarios[name];
            let mut request = scenario["request"].clone();
            if request["data"]["provider"].is_null() {
                request["data"]["provider"] = json!("openai-chat-completions");
            }
            let world = World::new();
            let reply = world.play(Script::of_vector(&scenario["upstream"], piece), &request);
            assert_eq!(reply.status, 200, "{name}: {}", text(&reply));
            let (events, is_done) = events(text(&reply));
            let joined = |kind: &str| {
                let of_kind = events.iter().filter(|event| event["type"] == kind);
                of_kind
                    .map(|event| event["delta"].as_str().unwrap())
                    .collect::<String>()
            };
            assert_eq!(joined("TEXT_MESSAGE_CONTENT"), said, "{name}");
            assert_eq!(joined("REASONING_MESSAGE_CONTENT"), thought, "{name}");
            let ended = events
                .iter()
                .filter(|event| event["type"] == "TOOL_CALL_END");
            let ended: Vec<_> = ended
                .map(|event| json!([event["toolName"], event["input"]]))
                .collect();
            assert_eq!(json!(ended), *calls, "{name}");
            let last = events
                .iter()
                .rfind(|event| event["type"] != "CUSTOM")
                .unwrap();
            assert_eq!(is_done, last["type"] == "RUN_FINISHED", "{name}");
            let reached = if is_done {
                &last["finishReason"]
            } else {
                &last["code"]
            };
            assert_eq!(reached, end, "{name}");
        }
    }
}

fn check_all(prefix: &str, at_least: usize) {
    let scenarios = scenarios(prefix);
    assert!(scenarios.len() >= at_least, "{}", scenarios.len());
    for (name, scenario) in &scenarios {
        for piece in [usize::MAX, 1, 7, 64, 1_000] {
            if let Some(difference) = check(scenario, piece) {
                panic!("{name}, in pieces of {piece}: {difference}");
            }
        }
    }
}

/// What differs, if anything does.
fn check(scenario: &Value, piece: usize) -> Option<String> {
    let world = World::new();
    let expect = &scenario["hub"];
    world
        .provider
        .play(Script::of_vector(&scenario["upstream"], piece));
    if let Some(count) = scenario["clientAbortsAfterEvents"].as_u64() {
        return check_abort(&world, scenario, usize::try_from(count).unwrap());
    }
    let reply = world.chat(&scenario["request"]);
    if let Some(difference) = compare_requests(&world, expect) {
        return Some(difference);
    }
    assert_eq!(world.provider.open_connections(), 0);
    if reply.status != 200 {
        return compare_refusal(scenario, &world, &reply);
    }
    for (name, value) in expect["headers"].as_object().unwrap() {
        assert_eq!(reply.header(name), value.as_str());
    }
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    let (actual, is_done) = events(text(&reply));
    if is_done != expect["done"].as_bool().unwrap() {
        return Some(format!("done is {is_done}"));
    }
    Placeholders::default().difference(&expect["events"], &Value::Array(actual))
}

fn compare_requests(world: &World, expect: &Value) -> Option<String> {
    let asked = world.provider.asked();
    let expected = expect["upstreamRequests"].as_array().unwrap();
    if asked.len() != expected.len() {
        return Some(format!("{} upstream requests", asked.len()));
    }
    let mut placeholders = Placeholders::default();
    expected.iter().zip(asked).find_map(|(expect, asked)| {
        let (_, rest) = asked.url.split_once("://").unwrap();
        let path = rest.split_once('/').unwrap().1;
        let headers: BTreeMap<_, _> = asked.headers.into_iter().collect();
        let actual = json!({
            "method": "POST", "url": format!("/{path}"), "headers": headers, "body": asked.body,
        });
        placeholders.difference(expect, &actual)
    })
}

/// The scenarios show errors before the first byte as a stream; the hub answers them with HTTP (`ai.md`, Answers).
fn compare_refusal(scenario: &Value, world: &World, reply: &crate::hub::Reply) -> Option<String> {
    let last = world.provider.asked().len() - 1;
    let status = scenario["upstream"][last]["status"].as_u64().unwrap();
    assert!(status >= 400, "a good answer was refused: {}", text(reply));
    let (hub_status, name) = match status {
        429 => (429, "ProviderRateLimited"),
        404 => (400, "UnknownModel"),
        400 => (400, "InvalidRequest"),
        401 if !scenario["request"]["apiKey"].is_null() => (400, "InvalidRequest"),
        _ => (502, "ProviderUnavailable"),
    };
    reply.assert_error(hub_status, name);
    let error = &reply.json()["error"];
    let shown = error["message"].as_str().unwrap();
    let expect = &scenario["hub"]["events"][1];
    assert_eq!(expect["type"], "RUN_ERROR");
    let provider = expect["message"].as_str().unwrap();
    let provider = match scenario["request"]["apiKey"].as_str() {
        Some(key) => provider.replace(&format!("provided: {key}"), "provided: [redacted]"),
        None => provider.to_owned(),
    };
    // "429 Rate limit …" is "openai answered 429: Rate limit …" here.
    let provider = provider.replacen(' ', ": ", 1);
    if !shown.contains(&provider) {
        return Some(format!("{shown:?} lacks {provider:?}"));
    }
    (error.get("providerCode") != expect.get("code"))
        .then(|| format!("the code is {:?}", error.get("providerCode")))
}

fn check_abort(world: &World, scenario: &Value, count: usize) -> Option<String> {
    let mut response = world.open(&scenario["request"]);
    let mut body = String::new();
    while body.matches("\n\n").count() < count {
        body.push_str(&world.next_write(&mut response).unwrap());
    }
    // A first piece with everything in it is an answer that was complete before the client went away.
    let is_complete = body.ends_with("[DONE]\n\n");
    if is_complete {
        world.settle();
    }
    assert_eq!(world.provider.open_connections(), usize::from(!is_complete));
    drop(response);
    assert_eq!(world.provider.open_connections(), 0, "it is still open");
    let (mut actual, _) = events(&body);
    actual.truncate(count);
    compare_requests(world, &scenario["hub"]).or_else(|| {
        Placeholders::default().difference(&scenario["hub"]["events"], &Value::Array(actual))
    })
}
