//! A hostile provider: whatever it sends and wherever it stops, the answer is well formed, ends once, and frees everything.

use serde_json::{Value, json};

use super::charging::{GOOD, ask};
use super::provider::{End, Script};
use super::vectors::scenarios;
use super::world::{Billing, World, events, text};

fn world() -> World {
    World::build(Billing::Free, |config| {
        config.rate_limits.enabled = false;
        config.ai.max_answer_bytes = 8 * 1024 * 1024;
    })
}

/// As OpenAI says it, without the settings that it repeats.
const OPENAI: &str = concat!(
    "event: response.created\n",
    "data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"model\":\"m-1\"}}\n\n",
    "data: {\"type\":\"response.reasoning_text.delta\",\"sequence_number\":1,\"delta\":\"Hm\"}\n\n",
    "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"m\",\"delta\":\"L\u{e4}t me\"}\n\n",
    "data: {\"type\":\"response.output_item.added\",\"item\":",
    "{\"id\":\"f\",\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"get_weather\"}}\n\n",
    "data: {\"type\":\"response.function_call_arguments.delta\",\"item_id\":\"f\",\"delta\":\"{}\"}\n\n",
    "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
);

/// The one stream of each protocol with text, reasoning or calls in it.
fn streams() -> Vec<(&'static str, Value, String)> {
    let pick = |name: &'static str| {
        let scenario = scenarios(name).remove(name).unwrap();
        let body = scenario["upstream"][0]["body"].as_str().unwrap().to_owned();
        (name, scenario["request"].clone(), body)
    };
    vec![
        (
            "openai",
            pick("openai-tool-client-after-text").1,
            OPENAI.to_owned(),
        ),
        pick("gemini-thinking"),
        pick("gemini-error-midstream"),
        pick("gemini-tool-parallel"),
        pick("extra-completions-tool-parallel"),
        pick("extra-completions-reasoning"),
        pick("extra-anthropic-thinking"),
        pick("extra-anthropic-tool-parallel"),
    ]
}

/// The order of events that every answer keeps, whatever the provider sends.
#[track_caller]
fn check_order(context: &str, events: &[Value], is_done: bool) {
    let mut open_text = None;
    let mut open_reasoning = false;
    let mut started_calls = Vec::new();
    let mut ended_calls = Vec::new();
    let mut is_run_open = false;
    let mut has_message = false;
    let mut has_failed = false;
    for event in events {
        let kind = event["type"].as_str().unwrap();
        assert!(!has_failed, "{context}: {kind} after RUN_ERROR");
        assert!(
            event["timestamp"].is_u64() && event["model"].is_string(),
            "{event}"
        );
        let call = event["toolCallId"].as_str().map(str::to_owned);
        match kind {
            "RUN_STARTED" => {
                assert!(!is_run_open, "{context}");
                (is_run_open, has_message) = (true, false);
            }
            "RUN_FINISHED" => {
                assert!(
                    is_run_open && open_text.is_none() && !open_reasoning,
                    "{context}"
                );
                assert!(has_message, "{context}: the run opened no message");
                assert_eq!(started_calls, ended_calls, "{context}");
                is_run_open = false;
            }
            "RUN_ERROR" => {
                assert!(open_text.is_none() && !open_reasoning, "{context}");
                assert_eq!(event["error"]["message"], event["message"]);
                has_failed = true;
            }
            "TEXT_MESSAGE_START" => {
                assert!(
                    is_run_open && open_text.is_none() && !open_reasoning,
                    "{context}"
                );
                open_text = Some(event["messageId"].clone());
                has_message = true;
            }
            "TEXT_MESSAGE_CONTENT" => assert_eq!(open_text.as_ref(), Some(&event["messageId"])),
            "TEXT_MESSAGE_END" => assert_eq!(open_text.take().as_ref(), Some(&event["messageId"])),
            "REASONING_START" => {
                assert!(
                    is_run_open && open_text.is_none() && !open_reasoning,
                    "{context}"
                );
                (open_reasoning, has_message) = (true, true);
            }
            "REASONING_END" => open_reasoning = false,
            "TOOL_CALL_START" => {
                assert!(open_text.is_none() && !open_reasoning, "{context}");
                has_message = true;
                started_calls.push(call.unwrap());
                started_calls.sort();
            }
            "TOOL_CALL_ARGS" => assert!(started_calls.contains(&call.unwrap()), "{context}"),
            "TOOL_CALL_END" if event.get("result").is_none() => {
                ended_calls.push(call.unwrap());
                ended_calls.sort();
            }
            _ => {}
        }
    }
    assert_ne!(
        is_done, has_failed,
        "{context}: an answer is done or has failed"
    );
    assert!(!is_done || !is_run_open, "{context}");
}

fn check(world: &World, context: &str, script: Script, request: &Value) -> (Vec<Value>, bool) {
    let reply = world.play([script], request);
    assert_eq!(reply.status, 200, "{context}: {}", text(&reply));
    let (events, is_done) = events(text(&reply));
    check_order(context, &events, is_done);
    assert_eq!(world.provider.open_connections(), 0, "{context}");
    (events, is_done)
}

#[test]
fn a_connection_may_end_at_every_byte() {
    let world = world();
    let mut cuts = 0;
    for (name, request, body) in streams() {
        for end in [End::Close, End::Reset] {
            // A broken connection is told the same way wherever it breaks: a sample is enough.
            let step = if end == End::Close { 1 } else { 7 };
            // An empty body that is reset has not begun, and is asked for again.
            for length in (1..=body.len()).step_by(step) {
                cuts += 1;
                let context = format!("{name}, {end:?} after {length}");
                let script = Script::stream(&body.as_bytes()[..length], 4_096, end);
                let (events, is_done) = check(&world, &context, script, &request);
                if !is_done {
                    let code = events.last().unwrap()["code"].as_str().unwrap().to_owned();
                    let expect = match end {
                        End::Close => "upstream_truncated",
                        _ => "upstream_disconnected",
                    };
                    // The stream of one scenario ends in an error of its own.
                    assert!(code == expect || code == "UNAVAILABLE", "{context}: {code}");
                }
            }
        }
    }
    assert_eq!(world.rows().len(), cuts, "every call leaves one row");
}

#[test]
fn bytes_may_come_one_by_one_and_mean_the_same() {
    let world = world();
    for (name, request, body) in streams() {
        let kinds = |piece| {
            let script = Script::stream(body.as_bytes(), piece, End::Close);
            let (events, _) = check(&world, name, script, &request);
            let shape = |event: &Value| (event["type"].clone(), event["delta"].clone());
            events.iter().map(shape).collect::<Vec<_>>()
        };
        let whole = kinds(usize::MAX);
        assert_eq!(kinds(1), whole, "{name}");
        assert_eq!(kinds(3), whole, "{name}");
    }
}

#[test]
fn changed_bytes_never_break_the_answer() {
    let world = world();
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        // Xorshift: the same bytes in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for (name, request, body) in streams() {
        for round in 0..200 {
            let mut bytes = body.clone().into_bytes();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = b"{}[]\":,\\\n\r 0a\xff"[random(14)],
                    1 => {
                        bytes.remove(at);
                    }
                    _ => {
                        let end = (at + 1 + random(200)).min(bytes.len());
                        let copy = bytes[at..end].to_vec();
                        bytes.splice(at..at, copy);
                    }
                }
            }
            let piece = 1 + random(100);
            // A call of a tool whose name was changed is asked about again.
            for _ in 0..5 {
                world
                    .provider
                    .play([Script::stream(b"data: {\"x\":1}\n\n", 99, End::Reset)]);
            }
            let context = format!("{name}, round {round}");
            let world_reply = {
                let script = Script::stream(&bytes, piece, End::Close);
                world.provider.play_first(script);
                world.chat(&request)
            };
            assert_eq!(world_reply.status, 200, "{context}");
            let (events, is_done) = events(text(&world_reply));
            check_order(&context, &events, is_done);
            assert_eq!(world.provider.open_connections(), 0, "{context}");
            world.provider.forget();
        }
    }
}

#[test]
fn giant_and_endless_events_end_the_answer() {
    let world = world();
    let giant = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(5 * 1024 * 1024)
    );
    let script = Script::stream(giant.as_bytes(), 65_536, End::Close);
    let (events, _) = check(&world, "giant", script, &ask("local", "small"));
    assert_eq!(events.last().unwrap()["code"], "upstream_protocol");
    assert!(serde_json::to_string(&events).unwrap().len() < 1_000);

    let endless = Script::stream(&vec![b'x'; 100_000], 100_000, End::Repeat);
    let (events, _) = check(&world, "endless line", endless, &ask("local", "small"));
    assert_eq!(events.last().unwrap()["code"], "upstream_protocol");
}

#[test]
fn a_stream_without_end_is_cut() {
    let world = world();
    let line = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
        "x".repeat(1_000_000)
    );
    let script = Script::stream(line.as_bytes(), usize::MAX, End::Repeat);
    let (events, _) = check(&world, "endless text", script, &ask("local", "small"));
    assert_eq!(events.last().unwrap()["code"], "upstream_limit");

    // Nothing that is said either.
    let comment = Script::stream(
        ": nothing\n".repeat(100_000).as_bytes(),
        usize::MAX,
        End::Repeat,
    );
    let (events, _) = check(&world, "endless comments", comment, &ask("local", "small"));
    assert_eq!(events.last().unwrap()["code"], "upstream_limit");
}

#[test]
fn a_flood_of_calls_is_no_answer() {
    let world = world();
    let mut flood = String::new();
    for index in 0..1_000 {
        flood += &format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{index},\"id\":\"c{index}\",\"function\":{{\"name\":\"x\"}}}}]}}}}]}}\n\n"
        );
    }
    let script = Script::stream(flood.as_bytes(), 10_000, End::Close);
    let (events, _) = check(&world, "calls", script, &ask("local", "small"));
    assert_eq!(events.last().unwrap()["code"], "upstream_protocol");
}

#[test]
fn usage_may_be_missing_or_nonsense() {
    let world = world();
    for usage in [
        "null",
        "{}",
        "[]",
        "{\"prompt_tokens\":-1,\"completion_tokens\":\"x\"}",
        "{\"prompt_tokens\":18446744073709551615,\"completion_tokens\":18446744073709551615}",
    ] {
        let body = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
        );
        let script = Script::stream(body.as_bytes(), 64, End::Close);
        let (events, is_done) = check(&world, usage, script, &ask("local", "small"));
        assert!(is_done, "{usage}");
        assert!(events.last().unwrap()["usage"]["promptTokens"].is_u64());
    }
}

#[test]
fn events_that_come_twice_say_nothing_twice() {
    let world = world();
    let scenario = scenarios("openai-tool-parallel")
        .remove("openai-tool-parallel")
        .unwrap();
    let body = scenario["upstream"][0]["body"].as_str().unwrap();
    let twice: String = body
        .split_inclusive("\n\n")
        .flat_map(|event| [event, event])
        .collect();
    let shape = |text: &str| {
        let script = Script::stream(text.as_bytes(), 64, End::Close);
        let (events, is_done) = check(&world, "twice", script, &scenario["request"]);
        assert!(is_done);
        let shape = |event: &Value| (event["type"].clone(), event["delta"].clone());
        events.iter().map(shape).collect::<Vec<_>>()
    };
    assert_eq!(shape(&twice), shape(body));
    // A second end is not heard.
    let script = Script::stream(format!("{GOOD}{GOOD}").as_bytes(), usize::MAX, End::Close);
    let (events, is_done) = check(&world, "two ends", script, &ask("local", "small"));
    assert!(is_done);
    let finished = events
        .iter()
        .filter(|event| event["type"] == "RUN_FINISHED");
    assert_eq!(finished.count(), 1);
}

#[test]
fn calls_that_share_an_id_get_their_own() {
    let world = world();
    let body = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[",
        "{\"functionCall\":{\"id\":\"same\",\"name\":\"look\",\"args\":{}}},",
        "{\"functionCall\":{\"id\":\"same\",\"name\":\"look\"}}",
        "]},\"finishReason\":\"STOP\"}]}\n\n",
    );
    let mut request = ask("gemini", "gemini-2.5-flash");
    request["data"]["tools"] = json!([{ "name": "look" }]);
    let script = Script::stream(body.as_bytes(), 64, End::Close);
    let (events, _) = check(&world, "same ids", script, &request);
    let ids: std::collections::BTreeSet<_> = events
        .iter()
        .filter(|event| event["type"] == "TOOL_CALL_START")
        .map(|event| event["toolCallId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn pages_and_other_things_that_are_no_stream_are_told_apart() {
    let world = world();
    for (body, code) in [
        (
            "<html>\n<body>hello</body>\n</html>\n",
            "upstream_truncated",
        ),
        (
            "{\"error\":{\"message\":\"over\",\"code\":\"quota\"}}",
            "quota",
        ),
        (
            "{\n  \"error\": {\n    \"message\": \"over\",\n    \"code\": \"quota\"\n  }\n}\n",
            "quota",
        ),
        ("data: [1,2]\n\n", "upstream_protocol"),
        ("data: 7\n\n", "upstream_protocol"),
        ("data: {\"choices\":7}\n\n", "upstream_truncated"),
    ] {
        let script = Script::stream(body.as_bytes(), 10, End::Close);
        let (events, _) = check(&world, body, script, &ask("local", "small"));
        assert_eq!(events.last().unwrap()["code"], code, "{body}");
    }
}
