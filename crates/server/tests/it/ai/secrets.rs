//! A key is in the request to its provider and nowhere else, whatever the provider does with it.

use epicenter_server::ai::settings::{AiConfig, Provider, ProviderKey};
use epicenter_server::ai::upstream::{Body, HeaderText, UpstreamRequest};
use epicenter_server::secret::Secret;
use serde_json::json;

use super::charging::ask;
use super::provider::{End, Script};
use super::world::{Billing, World, text};
use crate::logs;

const CANARY: &str = "Canary/key+0123456789";

fn world(protocol: fn(ProviderKey) -> Provider) -> World {
    World::build(Billing::Free, |config| {
        let key = ProviderKey::Held(Secret::presented(CANARY));
        let provider = protocol(key);
        config
            .ai
            .providers
            .retain(|known| known.name != provider.name);
        config.ai.providers.push(provider);
    })
}

/// Everything that a run leaves: answers, logs, rows.
#[track_caller]
fn check_clean(world: &World, answers: &[String]) {
    let rows = format!("{:?}", world.rows());
    let logged = logs::take();
    for text in answers.iter().chain([&rows, &logged]) {
        assert!(!text.contains("Canary"), "{text}");
        assert!(!text.contains("0123456789"), "{text}");
    }
}

#[test]
fn errors_that_repeat_the_key_are_cleaned() {
    for (protocol, provider, model) in [
        (
            Provider::openai as fn(ProviderKey) -> Provider,
            "openai",
            "gpt-4o-mini",
        ),
        (Provider::gemini, "gemini", "gemini-2.5-flash"),
        (Provider::anthropic, "anthropic", "claude-haiku-4-5"),
    ] {
        let world = world(protocol);
        let mut answers = Vec::new();
        let echo = |status: &str| {
            format!(
                "{{\"error\":{{\"message\":\"wrong key {CANARY}\",\"code\":\"{CANARY}\",\"status\":\"{status}\"}}}}"
            )
        };
        for status in [400, 401, 403, 404, 418] {
            let reply = world.play(
                [Script::error(status, &[], &echo(CANARY))],
                &ask(provider, model),
            );
            assert!(reply.status.is_client_error() || reply.status.is_server_error());
            assert!(
                text(&reply).contains("wrong key [redacted]"),
                "{}",
                text(&reply)
            );
            answers.push(text(&reply).to_owned());
        }
        // In the stream, and in pieces.
        let event = format!("data: {}\n\n", echo("x"));
        let reply = world.play(
            [Script::stream(event.as_bytes(), 5, End::Close)],
            &ask(provider, model),
        );
        assert!(
            text(&reply).contains("wrong key [redacted]"),
            "{}",
            text(&reply)
        );
        answers.push(text(&reply).to_owned());
        // The key was really sent.
        let asked = world.provider.asked();
        assert!(asked.iter().all(|asked| {
            asked
                .headers
                .iter()
                .any(|(_, value)| value.contains(CANARY))
        }));
        assert!(asked.iter().all(|asked| !asked.url.contains("Canary")));
        check_clean(&world, &answers);
    }
}

#[test]
fn a_key_of_ones_own_leaves_no_trace() {
    let world = World::new();
    let mut body = ask("openai", "gpt-4o-mini");
    body["apiKey"] = json!(CANARY);
    let echo = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {CANARY}.\"}}}}");
    let reply = world.play([Script::error(401, &[], &echo)], &body);
    reply.assert_error(400, "InvalidRequest");
    let mut answers = vec![text(&reply).to_owned()];
    body["apiKey"] = json!(format!("{CANARY}\r\nx: y"));
    let reply = world.chat(&body);
    reply.assert_error(400, "InvalidRequest");
    answers.push(text(&reply).to_owned());
    let reply = world.chat_bytes(format!("{{\"apiKey\":\"{CANARY}\",").as_bytes());
    reply.assert_error(400, "InvalidRequest");
    answers.push(text(&reply).to_owned());
    check_clean(&world, &answers);
}

#[test]
fn keys_do_not_print() {
    let config = AiConfig {
        providers: vec![Provider::openai(ProviderKey::Held(Secret::presented(
            CANARY,
        )))],
        ..AiConfig::default()
    };
    let header = HeaderText::Key {
        scheme: "Bearer ",
        key: Secret::presented(CANARY),
    };
    let value = header.to_value().unwrap();
    assert!(value.is_sensitive());
    let request = UpstreamRequest {
        url: "https://provider.example".to_owned(),
        headers: vec![("authorization", header)],
        body: Body("what a person said".into()),
    };
    let printed = format!("{config:?} {request:?} {value:?}");
    assert!(!printed.contains("Canary"), "{printed}");
    assert!(!printed.contains("person said"), "{printed}");
}
