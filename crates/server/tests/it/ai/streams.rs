//! How answers flow: time limits, retries, keep-alive, pieces, and what both generations of clients send.

use std::time::Duration;

use epicenter_server::ai::catalog::Model;
use serde_json::{Value, json};

use super::charging::{GOOD, ask, good};
use super::provider::{End, Piece, Script};
use super::vectors::scenarios;
use super::world::{Billing, World, events, text};

fn reply_with(pieces: Vec<Piece>, end: End) -> Script {
    Script::Reply {
        status: 200,
        headers: Vec::new(),
        pieces,
        end,
    }
}

fn piece(text: &str) -> Piece {
    Piece::Bytes(text.to_owned().into())
}

fn pause(seconds: u64) -> Piece {
    Piece::Pause(Duration::from_secs(seconds))
}

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn silence_is_bridged_with_comments_and_ends_some_time() {
    let world = World::new();
    let (start, rest) = GOOD.split_at(80);
    let slow = reply_with(vec![piece(start), pause(40), piece(rest)], End::Close);
    let reply = world.play([slow], &ask("local", "small"));
    assert_eq!(text(&reply).matches(": keep-alive\n\n").count(), 2);
    assert!(events(text(&reply)).1);

    let began_ms = world.timer.now_ms();
    let silent = reply_with(vec![piece(start)], End::Hang);
    let reply = world.play([silent], &ask("local", "small"));
    assert_eq!(world.timer.now_ms() - began_ms, 300_000);
    let (events, is_done) = events(text(&reply));
    assert!(!is_done);
    assert_eq!(events.last().unwrap()["code"], "upstream_timeout");
    assert_eq!(world.provider.open_connections(), 0);
}

#[test]
fn a_comment_comes_only_after_silence() {
    let world = World::new();
    let mut pieces = Vec::new();
    for _ in 0..10 {
        pieces.push(piece(
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
        ));
        pieces.push(pause(10));
    }
    pieces.push(piece(GOOD));
    let reply = world.play([reply_with(pieces, End::Close)], &ask("local", "small"));
    assert!(!text(&reply).contains("keep-alive"));
}

#[test]
fn no_answer_takes_longer_than_half_an_hour() {
    let world = World::new();
    let mut pieces = Vec::new();
    for _ in 0..1_000 {
        pieces.push(piece(
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
        ));
        pieces.push(pause(10));
    }
    let began_ms = world.timer.now_ms();
    let reply = world.play([reply_with(pieces, End::Close)], &ask("local", "small"));
    assert_eq!(world.timer.now_ms() - began_ms, 1_800_000);
    let (events, _) = events(text(&reply));
    assert_eq!(events.last().unwrap()["code"], "upstream_timeout");
}

#[test]
fn a_provider_that_does_not_begin_is_given_up_once() {
    let world = World::new();
    let began_ms = world.timer.now_ms();
    let reply = world.play([Script::Silence], &ask("local", "small"));
    reply.assert_error(502, "ProviderUnavailable");
    assert_eq!(world.timer.now_ms() - began_ms, 120_000);
    // A head without a body has not begun either.
    let reply = world.play([reply_with(Vec::new(), End::Hang)], &ask("local", "small"));
    reply.assert_error(502, "ProviderUnavailable");
    assert_eq!(world.provider.asked().len(), 2);
    assert_eq!(world.provider.open_connections(), 0);
}

#[test]
fn what_failed_before_the_first_byte_is_tried_again_with_growing_pauses() {
    let world = World::new();
    let scripts = [
        Script::Unreachable,
        reply_with(Vec::new(), End::Reset),
        good(),
    ];
    let reply = world.play(scripts, &ask("local", "small"));
    assert!(events(text(&reply)).1);
    let times: Vec<_> = world
        .provider
        .asked()
        .iter()
        .map(|asked| asked.at_ms)
        .collect();
    let pauses = [times[1] - times[0], times[2] - times[1]];
    assert!((375..=500).contains(&pauses[0]), "{pauses:?}");
    assert!((750..=1_000).contains(&pauses[1]), "{pauses:?}");

    // Not after a byte.
    let scripts = [reply_with(vec![piece("d")], End::Reset)];
    let reply = world.play(scripts, &ask("local", "small"));
    assert!(text(&reply).contains("upstream_disconnected"));
    assert_eq!(world.provider.asked().len(), 4);
}

#[test]
fn a_provider_that_says_when_to_come_back_is_obeyed() {
    #[track_caller]
    fn check(header: (&str, &str), pause_ms: u64) {
        let world = World::new();
        let busy = Script::error(503, &[header], "{}");
        let reply = world.play([busy, good()], &ask("local", "small"));
        assert_eq!(reply.status, 200);
        let asked = world.provider.asked();
        assert_eq!(asked[1].at_ms - asked[0].at_ms, pause_ms, "{header:?}");
    }
    check(("retry-after-ms", "1234"), 1_234);
    check(("retry-after", "7"), 7_000);
    check(("retry-after", "0.5"), 500);

    // The caller waits for longer ones.
    let world = World::new();
    let busy = Script::error(
        429,
        &[("retry-after", "61")],
        "{\"error\":{\"message\":\"slow down\"}}",
    );
    let reply = world.play([busy], &ask("local", "small"));
    reply.assert_error(429, "ProviderRateLimited");
    assert_eq!(reply.header("retry-after"), Some("61"));
    for nonsense in ["-1", "NaN", "inf", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT"] {
        let busy = Script::error(429, &[("retry-after", nonsense)], "");
        let reply = world.play([busy.clone(), busy.clone(), busy], &ask("local", "small"));
        assert!([429, 502].contains(&reply.status.as_u16()), "{nonsense}");
    }
}

#[test]
fn an_error_that_is_no_json_or_endless_is_told_by_its_status() {
    let world = World::new();
    let html = Script::error(403, &[], "<html>secret page</html>");
    let reply = world.play([html], &ask("local", "small"));
    reply.assert_error(502, "ProviderUnavailable");
    let message = reply.json()["error"]["message"].clone();
    let expect = "local answered 403: Forbidden. Ask the operator of this hub to look at its key.";
    assert_eq!(message, expect);
    let endless = Script::Reply {
        status: 403,
        headers: Vec::new(),
        pieces: vec![piece(&"x".repeat(1_000))],
        end: End::Repeat,
    };
    let reply = world.play([endless], &ask("local", "small"));
    reply.assert_error(502, "ProviderUnavailable");
    let hanging = Script::Reply {
        status: 403,
        headers: Vec::new(),
        pieces: vec![piece("x")],
        end: End::Hang,
    };
    let reply = world.play([hanging], &ask("local", "small"));
    reply.assert_error(502, "ProviderUnavailable");
    assert_eq!(world.provider.open_connections(), 0);
}

#[test]
fn each_piece_is_passed_on_at_once_and_nothing_is_read_ahead() {
    let world = World::new();
    let pieces =
        (0..50).map(|_| piece("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"));
    world
        .provider
        .play([reply_with(pieces.collect(), End::Hang)]);
    let mut response = world.open(&ask("local", "small"));
    assert_eq!(world.provider.pieces_read(), 1);
    for read in 1..=20 {
        assert!(
            world
                .next_write(&mut response)
                .unwrap()
                .contains("TEXT_MESSAGE_CONTENT")
        );
        assert_eq!(
            world.provider.pieces_read(),
            read,
            "a slow client is not read ahead for"
        );
    }
}

#[test]
fn the_end_with_calls_is_one_write() {
    let world = World::new();
    let scenario = scenarios("openai-tool-parallel")
        .remove("openai-tool-parallel")
        .unwrap();
    world
        .provider
        .play(Script::of_vector(&scenario["upstream"], 16));
    let mut response = world.open(&scenario["request"]);
    let mut writes = Vec::new();
    while let Some(write) = world.next_write(&mut response) {
        writes.push(write);
    }
    let last = writes.last().unwrap();
    assert!(
        last.starts_with("data: {\"type\":\"RUN_FINISHED\""),
        "{last}"
    );
    assert_eq!(last.matches("tool-input-available").count(), 2);
    assert!(last.ends_with("data: [DONE]\n\n"));
    assert!(writes.len() > 5);
}

#[test]
fn a_model_that_insists_on_unknown_tools_is_stopped() {
    let world = World::new();
    let call = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":",
        "{\"name\":\"nope\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    let again = || Script::stream(call.as_bytes(), 30, End::Close);
    let scripts = (0..5).map(|_| again());
    let reply = world.play(scripts, &ask("local", "small"));
    let (events, is_done) = events(text(&reply));
    assert!(!is_done);
    assert_eq!(events.last().unwrap()["code"], "unknown_tools");
    let count = |kind: &str| types(&events).iter().filter(|name| **name == kind).count();
    assert_eq!((count("RUN_STARTED"), count("RUN_FINISHED")), (5, 4));
    assert_eq!(count("TOOL_CALL_RESULT"), 5);
    let ids: std::collections::BTreeSet<_> = events
        .iter()
        .filter(|event| event["type"] == "RUN_STARTED")
        .map(|event| event["runId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 5, "every run has an id of its own");
    let last = &world.provider.asked()[4].body["messages"];
    let [_question, rounds @ ..] = last.as_array().unwrap().as_slice() else {
        panic!("{last}");
    };
    assert_eq!(rounds.len(), 8, "{last}");
    let mut call_ids = std::collections::BTreeSet::new();
    for round in rounds.chunks(2) {
        // The provider names all of its calls alike.
        let id = round[0]["tool_calls"][0]["id"].as_str().unwrap();
        assert!(call_ids.insert(id), "{last}");
        assert_eq!(round[1]["tool_call_id"], id, "{last}");
    }
    assert_eq!(world.provider.open_connections(), 0);
}

#[test]
fn a_failure_of_a_later_round_is_an_event() {
    let world = World::new();
    let scenario = scenarios("openai-tool-unknown")
        .remove("openai-tool-unknown")
        .unwrap();
    let mut scripts = Script::of_vector(&scenario["upstream"], 64);
    scripts.truncate(1);
    scripts.push(Script::error(
        500,
        &[],
        "{\"error\":{\"message\":\"sorry\",\"code\":\"down\"}}",
    ));
    let reply = world.play(scripts, &scenario["request"]);
    assert_eq!(reply.status, 200);
    let (events, is_done) = events(text(&reply));
    assert!(!is_done);
    let last = events.last().unwrap();
    assert_eq!(
        (&last["message"], &last["code"]),
        (&json!("500 sorry"), &json!("down"))
    );
    assert_eq!(
        world.provider.asked().len(),
        2,
        "nothing is tried twice once a byte was sent"
    );
}

#[test]
fn known_and_unknown_calls_of_one_turn_do_not_hold_each_other_up() {
    let world = World::new();
    let call = |id: &str, name: &str| {
        format!(
            "{{\"index\":0,\"id\":\"{id}\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"{{}}\"}}}}"
        )
    };
    let answer = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{},{}]}},\"finish_reason\":\"tool_calls\"}}]}}\n\ndata: [DONE]\n\n",
        call("a", "nope"),
        call("b", "look"),
    );
    let mut body = ask("local", "small");
    body["data"]["tools"] = json!([{ "name": "look", "description": "x" }]);
    let reply = world.play([Script::stream(answer.as_bytes(), 9, End::Close)], &body);
    let (answered, is_done) = events(text(&reply));
    assert!(is_done);
    let results: Vec<_> = answered
        .iter()
        .filter(|event| event["type"] == "TOOL_CALL_RESULT")
        .collect();
    assert_eq!((results.len(), &results[0]["toolCallId"]), (1, &json!("a")));
    let custom = answered.last().unwrap();
    assert_eq!(custom["value"]["toolCallId"], "b");
    assert_eq!(world.provider.asked().len(), 1);

    // After a reload neither has an answer: the unknown one is answered here, the other one waits.
    let calls = json!([
        { "id": "a", "type": "function", "function": { "name": "nope", "arguments": "" } },
        { "id": "b", "type": "function", "function": { "name": "look", "arguments": "" } },
    ]);
    body["messages"] =
        json!([{ "role": "user", "content": "x" }, { "role": "assistant", "toolCalls": calls }]);
    let (again, is_done) = events(text(&world.chat(&body)));
    assert!(is_done);
    assert_eq!(
        types(&again),
        ["TOOL_CALL_END", "TOOL_CALL_RESULT", "CUSTOM"]
    );
    // With nothing else to wait for, the model hears about it.
    body["messages"][1]["toolCalls"]
        .as_array_mut()
        .unwrap()
        .pop();
    world.provider.play([good()]);
    let (again, is_done) = events(text(&world.chat(&body)));
    assert!(is_done);
    assert_eq!(
        types(&again)[..3],
        ["TOOL_CALL_END", "TOOL_CALL_RESULT", "RUN_STARTED"]
    );
    let sent = &world.provider.asked()[1].body["messages"];
    assert_eq!(sent[2]["content"], "{\"error\":\"Unknown tool: nope\"}");
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], "{}");
}

#[test]
fn an_approval_that_was_not_given_is_asked_for_again() {
    let world = World::new();
    let mut body = ask("local", "small");
    body["data"]["tools"] = json!([{ "name": "close", "needsApproval": true }]);
    let call = json!({ "id": "c", "type": "function", "function": { "name": "close", "arguments": "{\"a\":1}" } });
    body["messages"] =
        json!([{ "role": "user", "content": "x" }, { "role": "assistant", "toolCalls": [call] }]);
    let (asked, is_done) = events(text(&world.chat(&body)));
    assert!(is_done);
    assert_eq!(asked[0]["name"], "approval-requested");
    assert_eq!(asked[0]["value"]["approval"]["id"], "approval_c");
    let allowed = json!({
        "role": "tool", "toolCallId": "c",
        "content": "{\"approved\":true,\"pendingExecution\":true,\"message\":\"x\"}",
    });
    body["messages"].as_array_mut().unwrap().push(allowed);
    let (asked, _) = events(text(&world.chat(&body)));
    assert_eq!(asked[0]["name"], "tool-input-available");
    assert_eq!(asked[0]["value"]["input"], json!({ "a": 1 }));
    // The result makes the permission stale.
    let result = json!({ "role": "tool", "toolCallId": "c", "content": "closed" });
    body["messages"].as_array_mut().unwrap().push(result);
    assert!(events(text(&world.play([good()], &body))).1);
    let sent = &world.provider.asked()[0].body["messages"];
    assert_eq!(sent.as_array().unwrap().len(), 3);
    assert_eq!(sent[2]["content"], "closed");
}

#[test]
fn ids_of_the_client_come_back() {
    let world = World::new();
    let mut body = ask("local", "small");
    body["threadId"] = json!("thread-x");
    body["runId"] = json!("run-x");
    let (answer, _) = events(text(&world.play([good()], &body)));
    for event in [answer.first().unwrap(), answer.last().unwrap()] {
        assert_eq!(
            (&event["threadId"], &event["runId"]),
            (&json!("thread-x"), &json!("run-x"))
        );
    }
}

#[test]
fn gemini_gets_its_signatures_back_while_they_are_kept() {
    let world = World::build(Billing::Free, |_| {});
    let scenario = scenarios("gemini-tool-client")
        .remove("gemini-tool-client")
        .unwrap();
    let scripts = Script::of_vector(&scenario["upstream"], 64);
    let reply = world.play(scripts, &scenario["request"]);
    let (answer, _) = events(text(&reply));
    let id = answer.last().unwrap()["value"]["toolCallId"]
        .as_str()
        .unwrap()
        .to_owned();

    let again = |model: &str, id: &str| {
        let mut body = scenario["request"].clone();
        body["data"]["model"] = json!(model);
        body["messages"] = json!([
            { "role": "user", "content": "x" },
            { "role": "assistant", "toolCalls": [{
                "id": id, "type": "function",
                "function": { "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" },
            }] },
            { "role": "tool", "toolCallId": id, "content": "4" },
        ]);
        let text_scenario = scenarios("gemini-text-single")
            .remove("gemini-text-single")
            .unwrap();
        let reply = world.play(Script::of_vector(&text_scenario["upstream"], 64), &body);
        assert_eq!(reply.status, 200, "{}", text(&reply));
        let asked = world.provider.asked();
        asked.last().unwrap().body["contents"][1]["parts"][0]["thoughtSignature"].clone()
    };
    assert_eq!(again("gemini-2.5-flash", &id), "c2lnQQ==");
    assert_eq!(again("gemini-2.5-flash", "other"), Value::Null);
    assert_eq!(again("gemini-3-pro-preview", &id), "c2lnQQ==");
    assert_eq!(
        again("gemini-3-pro-preview", "other"),
        "skip_thought_signature_validator"
    );
}

#[test]
fn every_recorded_request_of_both_clients_is_understood() {
    let mut count = 0;
    for (name, scenario) in scenarios("client-") {
        for client in ["@tanstack/ai-client@0.7.7", "@tanstack/ai-client@0.33.2"] {
            for recorded in scenario[client]["requests"].as_array().unwrap() {
                let world = World::new();
                let answer = scenarios("openai-text-single")
                    .remove("openai-text-single")
                    .unwrap();
                let reply = world.play(
                    Script::of_vector(&answer["upstream"], 64),
                    &recorded["body"],
                );
                assert_eq!(reply.status, 200, "{name} {client}: {}", text(&reply));
                let (events, is_done) = events(text(&reply));
                assert!(is_done, "{name} {client}");
                // Two kinds of answers: the model's, or what the client is to run now.
                let is_local = world.provider.asked().is_empty();
                assert_eq!(is_local, types(&events) == ["CUSTOM"], "{name} {client}");
                if recorded["body"]["runId"].is_string() && !is_local {
                    assert_eq!(events[0]["runId"], recorded["body"]["runId"]);
                }
                count += 1;
            }
        }
    }
    assert!(count >= 27, "{count}");
}

#[test]
fn reasoning_is_repeated_only_while_it_is_short() {
    let world = World::new();
    let mut answer = String::new();
    for _ in 0..400 {
        let reasoning = "x".repeat(100);
        answer +=
            &format!("data: {{\"choices\":[{{\"delta\":{{\"reasoning\":\"{reasoning}\"}}}}]}}\n\n");
    }
    answer += GOOD;
    let reply = world.play(
        [Script::stream(answer.as_bytes(), 4_096, End::Close)],
        &ask("local", "small"),
    );
    let (events, is_done) = events(text(&reply));
    assert!(is_done);
    let steps: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "STEP_FINISHED")
        .collect();
    assert_eq!(steps.len(), 400);
    assert_eq!(steps[99]["content"].as_str().unwrap().len(), 10_000);
    assert!(steps[399].get("content").is_none());
    assert!(reply.body.len() < 3_000_000, "{}", reply.body.len());
}

#[test]
fn keys_of_schemas_reach_the_provider_in_their_order() {
    // Models fill in an object in the order of its schema: thoughts before the verdict, or after it.
    for (provider, model) in [
        ("local", "small"),
        ("openai", "gpt-4o"),
        ("gemini", "gemini-2.5-flash"),
        ("anthropic", "claude-sonnet-4-5"),
    ] {
        let world = World::new();
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"Judge"}}],
                "data":{{"provider":"{provider}","model":"{model}","tools":[{{"name":"judge","description":"Judges",
                "inputSchema":{{"type":"object","properties":{{"thoughts":{{"type":"string"}},"mark":{{"type":"number"}},
                "advice":{{"type":"string"}}}},"required":["thoughts","mark","advice"]}}}}]}}}}"#
        );
        world.provider.play([
            Script::Unreachable,
            Script::Unreachable,
            Script::Unreachable,
        ]);
        let _failed = world.chat_bytes(body.as_bytes());
        let asked = world.provider.asked();
        let sent = asked[0].body.to_string();
        let places = ["\"thoughts\":", "\"mark\":", "\"advice\":"].map(|key| sent.find(key));
        assert!(
            places[0].is_some() && places.is_sorted(),
            "{provider}: {sent}"
        );
    }
}

/// Which nulls of a call's arguments stand for nothing hangs on the model that answers, not on the one that was asked.
#[test]
fn a_model_that_steps_in_is_read_by_its_own_rules() {
    let world = World::build(Billing::Free, |config| {
        config.ai.models.push(Model {
            fallback: Some(("local".to_owned(), "small".to_owned())),
            ..Model::plain("gemini", "gemini-weak")
        });
    });
    let mut body = ask("gemini", "gemini-weak");
    body["data"]["tools"] = json!([{
        "name": "look",
        "inputSchema": {
            "type": "object",
            "properties": { "at": { "type": "string" }, "how": { "type": "string" } },
            "required": ["at"],
        },
    }]);
    let call = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"look\",",
        "\"arguments\":\"{\\\"at\\\":\\\"sea\\\",\\\"how\\\":null}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
    );
    let scripts = [
        Script::error(500, &[], "{}"),
        Script::stream(call.as_bytes(), 40, End::Close),
    ];
    let reply = world.play(scripts, &body);
    let (events, is_done) = events(text(&reply));
    assert!(is_done, "{events:?}");
    let end = events.iter().find(|event| event["type"] == "TOOL_CALL_END");
    assert_eq!(end.unwrap()["input"], json!({ "at": "sea" }));
}
