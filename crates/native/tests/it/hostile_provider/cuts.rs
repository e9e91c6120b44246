//! A connection that ends at every byte of a recorded stream, in every protocol, head and body.

use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::play::{STREAM, Script, chunk, send};
use super::scene::{Reply, Scene, case};
use crate::wait;

/// Fewer than one person may have.
const AT_ONCE: usize = 40;

/// The provider's bytes in a scenario of `vectors/ai`.
fn recorded(name: &str) -> String {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let beside = root.join("../shared/vectors/ai");
    let folder = if beside.exists() {
        beside
    } else {
        root.join("vectors/ai")
    };
    let scenario = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let scenario: Value = serde_json::from_str(&scenario).unwrap();
    scenario["upstream"][0]["body"].as_str().unwrap().to_owned()
}

/// Asks once for each of these scripts, many at a time.
async fn ask_all(
    scene: &Scene,
    provider: &str,
    first: usize,
    scripts: Vec<Vec<Script>>,
) -> Vec<Reply> {
    let asking = scripts.into_iter().enumerate();
    stream::iter(asking.map(|(index, scripts)| scene.ask(provider, first + index, scripts)))
        .buffered(AT_ONCE)
        .collect()
        .await
}

fn cut_at_every_byte(provider: &str, scenario: &str) {
    let body = recorded(scenario);
    let whole = body.as_bytes();
    let bodies = (1..=whole.len()).map(|end| vec![vec![send(STREAM), send(chunk(&whole[..end]))]]);
    let bodies: Vec<_> = bodies.collect();
    // Up to the first byte of the body it is tried three times.
    let heads = (0..=STREAM.len()).map(|end| vec![vec![send(&STREAM[..end])]; 3]);
    let heads: Vec<_> = heads.collect();
    let (cut_bodies, cut_heads) = (bodies.len(), heads.len());
    wait(async {
        let cases = cut_bodies + cut_heads;
        let scene = Scene::start(cases + 48, |_| {}).await;
        let replies = ask_all(&scene, provider, 0, bodies).await;
        let full = replies.last().unwrap().text();
        assert!(!full.is_empty() && replies.last().unwrap().is_done);
        let mut was_done = false;
        for (end, reply) in replies.iter().enumerate() {
            let context = format!("{scenario} cut after {} bytes", end + 1);
            let code = reply.code();
            assert!(
                matches!(code, None | Some("upstream_disconnected")),
                "{context}: {code:?}"
            );
            assert!(
                code.is_none() >= was_done,
                "{context}: a complete answer stays complete"
            );
            was_done = code.is_none();
            assert!(full.starts_with(&reply.text()), "{context}");
        }
        let refused = ask_all(&scene, provider, cut_bodies, heads).await;
        for (end, reply) in refused.iter().enumerate() {
            let context = format!("{scenario}, the head cut after {end} bytes");
            assert_eq!(reply.answer.status, 502, "{context}: {reply:?}");
            assert_eq!(reply.answer.error_name(), "ProviderUnavailable");
            let tries = scene.provider.records(&case(cut_bodies + end)).len();
            assert_eq!(tries, 3, "{context}");
        }
        let rows = scene.rows(cases).await;
        for (number, reply) in replies.iter().chain(&refused).enumerate() {
            let name = case(number);
            Scene::check_row(&format!("{scenario} {name}"), reply, &rows[&name]);
        }
        scene.check_all_is_free(cases).await;
        scene.hub.stop().await;
    });
}

#[test]
fn openai_may_be_cut_at_every_byte() {
    cut_at_every_byte("openai", "openai-text-single");
}

#[test]
fn gemini_may_be_cut_at_every_byte() {
    cut_at_every_byte("gemini", "gemini-thinking");
}

#[test]
fn anthropic_may_be_cut_at_every_byte() {
    cut_at_every_byte("anthropic", "extra-anthropic-thinking");
}

#[test]
fn compatible_endpoints_may_be_cut_at_every_byte() {
    cut_at_every_byte("local", "extra-completions-reasoning");
}
