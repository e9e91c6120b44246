//! Who and what is refused before a provider is asked, and what the hub offers.

use axum::body::Body;
use epicenter_identity::personal;
use epicenter_server::ai::settings::{Provider, ProviderKey};
use http::Request;
use serde_json::{Value, json};

use super::charging::{ask, good};
use super::world::{Billing, World, events, text};
use crate::hub::{Reply, TestHub, request};

fn send(world: &World, request: http::request::Builder, body: &str) -> Reply {
    let request: Request<Body> = request.body(Body::from(body.to_owned())).unwrap();
    world.run(world.hub.send(request))
}

#[test]
fn only_a_token_with_the_scope_gets_in() {
    let world = World::new();
    let body = ask("local", "small").to_string();
    for path in ["/api/ai/chat", "/ai/chat"] {
        let reply = send(&world, request("POST", path), &body);
        reply.assert_error(401, "InvalidToken");
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\"")
        );
        // Both forms: the clients' wrapper reads the envelope, others the flat one.
        assert_eq!(reply.json()["name"], "InvalidToken");
    }
    let scoped = world
        .hub
        .signer
        .token_with_scope("ada", "rooms.read rooms.write");
    let reply = world.run(
        world
            .hub
            .call("POST", "/api/ai/chat", &scoped, body.as_bytes()),
    );
    reply.assert_error(403, "insufficient_scope");
    assert_eq!(reply.json()["error"]["scope"], "ai");
    let reply = world.run(world.hub.call("GET", "/api/ai/models", &scoped, b""));
    reply.assert_error(403, "insufficient_scope");
    assert!(world.provider.asked().is_empty());

    world.provider.play([good()]);
    let token = world.hub.signer.token("ada");
    let reply = world.run(world.hub.call("POST", "/ai/chat", &token, body.as_bytes()));
    assert_eq!(reply.status, 200);
    let reply = world.run(world.hub.call("GET", "/api/ai/chat", &token, b""));
    reply.assert_error(405, "MethodNotAllowed");
}

#[test]
fn pages_may_send_the_run_id() {
    let world = World::new();
    let preflight = request("OPTIONS", "/api/ai/chat")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,x-run-id",
        );
    let reply = send(&world, preflight, "");
    let allowed = reply.header("access-control-allow-headers").unwrap();
    for name in ["Content-Type", "Authorization", "X-Run-Id"] {
        assert!(allowed.contains(name), "{allowed}");
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let world = World::new();
    for (body, expect) in [
        ("{", "the body is not JSON"),
        (
            "{\"messages\":[]}",
            "messages must be a list of at least one message",
        ),
        (
            "{\"messages\":[{}],\"data\":{\"provider\":\"local\",\"model\":\"small\"}}",
            "messages[0] has no role",
        ),
        (
            "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}],\"data\":{\"provider\":\"local\",\"model\":\"small\"}}",
            "messages have nothing to answer to",
        ),
        (
            "{\"messages\":[{\"role\":\"user\",\"parts\":[{\"type\":\"image\"}]}],\"data\":{\"provider\":\"local\",\"model\":\"small\"}}",
            "messages[0].parts[0] has a malformed source",
        ),
    ] {
        let reply = world.chat_bytes(body.as_bytes());
        reply.assert_error(400, "InvalidRequest");
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(expect), "{message}");
    }
    let deep = "[".repeat(100_000);
    world
        .chat_bytes(deep.as_bytes())
        .assert_error(400, "InvalidRequest");
    let video = json!({
        "messages": [{ "role": "user", "parts": [
            { "type": "video", "source": { "type": "url", "value": "https://x.example/a.mp4" } },
        ] }],
        "data": { "provider": "openai", "model": "gpt-4o-mini" },
    });
    let reply = world.chat(&video);
    reply.assert_error(400, "InvalidRequest");
    assert!(text(&reply).contains("video"));
    assert!(world.provider.asked().is_empty());
}

#[test]
fn models_and_providers_that_are_not_there_are_told_apart() {
    let world = World::build(Billing::Free, |config| {
        config.ai.providers[1] = Provider::gemini(ProviderKey::Missing);
        config.ai.providers[2] =
            Provider::anthropic(ProviderKey::Missing).at("https://proxy.example");
    });
    let reply = world.chat(&ask("grok", "grok-4"));
    reply.assert_error(400, "UnknownModel");
    assert_eq!(reply.json()["error"]["model"], "grok-4");
    world
        .chat(&ask("openai", "gemini-2.5-flash"))
        .assert_error(400, "UnknownModel");
    let reply = world.chat(&ask("gemini", "gemini-2.5-flash"));
    reply.assert_error(503, "ProviderNotConfigured");
    let error = &reply.json()["error"];
    assert_eq!(error["provider"], "gemini");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("gemini not configured")
    );

    // A key of one's own goes to a provider at its public address only.
    for (provider, model) in [("local", "small"), ("anthropic", "claude-sonnet-4-5")] {
        let mut body = ask(provider, model);
        body["apiKey"] = json!("sk-mine");
        let reply = world.chat(&body);
        reply.assert_error(400, "OwnKeyNotAllowed");
        assert_eq!(reply.json()["error"]["provider"], provider);
    }
    assert!(world.provider.asked().is_empty());
}

#[test]
fn a_hub_without_ai_says_so() {
    let hub = TestHub::build(personal(), |_| {});
    let world = World::new();
    let token = hub.signer.token("ada");
    let body = ask("openai", "gpt-4o-mini").to_string();
    let reply = world.run(hub.call("POST", "/api/ai/chat", &token, body.as_bytes()));
    reply.assert_error(503, "ProviderNotConfigured");
}

#[test]
fn the_list_of_models_shows_what_can_be_called() {
    let world = World::build(Billing::Free, |config| {
        config.ai.providers[1] = Provider::gemini(ProviderKey::Missing);
        config.ai.providers[2] =
            Provider::anthropic(ProviderKey::Missing).at("https://proxy.example");
    });
    let token = world.hub.signer.token("ada");
    let reply = world.run(world.hub.call("GET", "/api/ai/models", &token, b""));
    assert_eq!(reply.status, 200);
    let models = reply.json()["models"].as_array().unwrap().clone();
    let find = |provider: &str, model: &str| -> Option<Value> {
        let is_it = |entry: &&Value| entry["provider"] == provider && entry["model"] == model;
        models.iter().find(is_it).cloned()
    };
    let mini = find("openai", "gpt-4o-mini").unwrap();
    assert_eq!(mini["contextTokens"], 128_000);
    assert_eq!(
        mini["price"],
        json!({
            "creditsPerMillionInputTokens": 15, "creditsPerMillionOutputTokens": 60,
        })
    );
    assert_eq!(mini["capabilities"]["images"], true);
    assert_eq!(
        (&mini["needsOwnKey"], &mini["takesOwnKey"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        find("gemini", "gemini-2.5-flash").unwrap()["needsOwnKey"],
        true
    );
    assert_eq!(
        find("local", "small").unwrap()["price"],
        json!({ "creditsPerCall": 2 })
    );
    assert_eq!(find("anthropic", "claude-sonnet-4-5"), None);

    // Whoever takes the first gets one that answers.
    let need_a_key = models.iter().map(|model| model["needsOwnKey"] == true);
    let need_a_key: Vec<bool> = need_a_key.collect();
    assert!(need_a_key.is_sorted(), "{need_a_key:?}");
    assert!(need_a_key.contains(&true) && need_a_key.contains(&false));
}

#[test]
fn bodies_have_a_limit_of_their_own() {
    let world = World::build(Billing::Free, |config| config.ai.max_body_bytes = 200_000);
    let mut body = ask("local", "small");
    body["messages"][0]["content"] = json!("x".repeat(150_000));
    world.provider.play([good()]);
    let reply = world.chat(&body);
    assert!(events(text(&reply)).1);
    body["messages"][0]["content"] = json!("x".repeat(250_000));
    world.chat(&body).assert_error(413, "PayloadTooLarge");
    assert_eq!(world.provider.asked().len(), 1);
}

#[test]
fn one_person_has_so_many_answers_at_once_and_in_a_minute() {
    use super::provider::{End, Script};
    let world = World::build(Billing::Free, |config| {
        config.ai.max_streams = 2;
        config.rate_limits.ai.count = 5;
    });
    let open = || {
        Script::stream(
            b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            99,
            End::Hang,
        )
    };
    world.provider.play([open(), open(), open()]);
    let first = world.open(&ask("local", "small"));
    let second = world.open(&ask("local", "small"));
    let reply = world.chat(&ask("local", "small"));
    reply.assert_error(429, "RateLimited");
    assert!(reply.header("retry-after").is_some());
    drop(first);
    let third = world.open(&ask("local", "small"));
    assert_eq!(third.status(), 200);
    drop((second, third));
    world.provider.play([good()]);
    assert_eq!(world.chat(&ask("local", "small")).status, 200);
    let reply = world.chat(&ask("local", "small"));
    reply.assert_error(429, "RateLimited");
    assert_eq!(reply.header("retry-after"), Some("12"));
}
