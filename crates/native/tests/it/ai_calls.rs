//! AI calls through a whole hub: a client on one socket, a provider that tests play on another.

use std::time::Duration;

use epicenter_native::config::HostConfig;
use epicenter_native::store::open_sqlite;
use epicenter_server::ai::catalog::{Credits, Model, Price};
use epicenter_server::ai::settings::{Provider, ProviderKey};
use epicenter_server::ai::store::{Outcome, UsageRow};
use epicenter_server::secret::Secret;
use epicenter_testkit::{TestHub, TestUser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::wait;

/// Longer than anything here takes; a test that waits this long fails.
const LIMIT: Duration = Duration::from_secs(30);

const CANARY: &str = "sk-canary-71d0c2f4";
const QUESTION: &str = "what-only-the-person-knows";

/// A hub with one endpoint and a built-in provider, both played by the listener, and one person.
struct Scene {
    hub: TestHub,
    user: TestUser,
    provider: TcpListener,
}

impl Scene {
    async fn start(adjust: impl FnOnce(&mut HostConfig)) -> Self {
        let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = provider.local_addr().unwrap();
        let hub = TestHub::start_with(|config| {
            let key = || ProviderKey::Held(Secret::presented(CANARY));
            let url = format!("http://{address}/v1");
            let mut openai = Provider::openai(key());
            openai = openai.at(&url);
            config.ai.providers[0] = openai;
            let local = Provider::compatible("local", &url, key());
            config.ai.providers.push(local);
            config.ai.models.push(Model {
                price: Price::PerCall(Credits::whole(4)),
                ..Model::plain("local", "parrot")
            });
            adjust(config);
        })
        .await;
        let user = hub.user("ada@example.test").await;
        Self {
            hub,
            user,
            provider,
        }
    }

    /// Asks; the answer is read from the socket.
    async fn ask(&self, provider: &str, model: &str) -> TcpStream {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"{QUESTION}"}}],"data":{{"provider":"{provider}","model":"{model}"}}}}"#
        );
        let mut socket = TcpStream::connect(self.hub.address()).await.unwrap();
        let head = format!(
            "POST /api/ai/chat HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.hub.address(),
            self.user.token,
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body.as_bytes()).await.unwrap();
        socket
    }

    /// The provider's side of the next call, and what it was asked.
    async fn asked(&self) -> (TcpStream, String) {
        let accepted = timeout(LIMIT, self.provider.accept()).await;
        let (mut socket, _) = accepted.unwrap().unwrap();
        let mut seen = String::new();
        // The question stands near the end of the body, and the rest comes with it.
        while !seen.contains(QUESTION) {
            seen.push_str(&read_some(&mut socket).await.expect("a request"));
        }
        (socket, seen)
    }

    /// Rows of calls, once there are this many.
    async fn usage(&self, count: usize) -> Vec<UsageRow> {
        let store = open_sqlite(&self.hub.data_dir().join("identity.db"))
            .unwrap()
            .store;
        let began = Instant::now();
        loop {
            let rows = store.list_usage(100).await.unwrap();
            if rows.len() >= count {
                return rows;
            }
            assert!(began.elapsed() < LIMIT, "{rows:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What comes next; `None` at the end or when the connection is reset.
async fn read_some(socket: &mut TcpStream) -> Option<String> {
    let mut piece = [0; 16_384];
    match timeout(LIMIT, socket.read(&mut piece)).await.unwrap() {
        Ok(0) | Err(_) => None,
        Ok(length) => Some(String::from_utf8_lossy(&piece[..length]).into_owned()),
    }
}

async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match read_some(socket).await {
            Some(piece) => seen.push_str(&piece),
            None => panic!("{text} did not come: {seen}"),
        }
    }
    seen
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut seen = String::new();
    while let Some(piece) = read_some(socket).await {
        seen.push_str(&piece);
    }
    seen
}

async fn begin_answer(socket: &mut TcpStream) {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
}

async fn send(socket: &mut TcpStream, event: &str) {
    let text = format!("data: {event}\n\n");
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    socket.write_all(chunk.as_bytes()).await.unwrap();
}

fn delta(text: &str) -> String {
    format!(
        r#"{{"id":"c","model":"parrot","choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#
    )
}

const END: &str =
    r#"{"id":"c","model":"parrot","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c","model":"parrot","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;

async fn end_answer(socket: &mut TcpStream) {
    send(socket, END).await;
    send(socket, USAGE).await;
    send(socket, "[DONE]").await;
    socket.write_all(b"0\r\n\r\n").await.unwrap();
}

#[test]
fn an_answer_streams_unbuffered_and_leaves_a_row_without_content() {
    wait(async {
        let scene = Scene::start(|_| {}).await;
        let mut client = scene.ask("local", "parrot").await;
        let (mut provider, seen) = scene.asked().await;
        assert!(seen.starts_with("POST /v1/chat/completions "), "{seen}");
        assert!(
            seen.contains(&format!("authorization: Bearer {CANARY}\r\n")),
            "{seen}"
        );
        begin_answer(&mut provider).await;
        let mut heard = String::new();
        for word in ["alpha", "bravo", "charlie"] {
            send(&mut provider, &delta(word)).await;
            // The provider sends nothing more before this one was heard.
            heard.push_str(&read_until(&mut client, word).await);
        }
        end_answer(&mut provider).await;
        heard.push_str(&read_all(&mut client).await);
        assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
        assert!(heard.contains("data: [DONE]"), "{heard}");
        assert!(!heard.contains(CANARY), "{heard}");

        let row = scene.usage(1).await.remove(0);
        assert_eq!(
            (row.provider.as_str(), row.model.as_str()),
            ("local", "parrot")
        );
        assert_eq!((row.input_tokens, row.output_tokens), (5, 7));
        assert_eq!(row.outcome, Outcome::Completed);
        assert_eq!(row.credits, Credits::ZERO, "calls cost nothing here");
        assert!(row.first_byte_ms.is_some());

        let data_dir = scene.hub.data_dir();
        let Scene { hub, .. } = scene;
        // The directory goes with the hub, so that the files are read while it runs.
        for secret in [CANARY, QUESTION, "bravo"] {
            assert_nowhere(&data_dir, secret);
        }
        hub.stop().await;
    });
}

/// Looks into every file below a folder.
fn assert_nowhere(folder: &std::path::Path, secret: &str) {
    let mut files = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
            files += 1;
        }
    }
    assert!(files > 1, "there is a store to look into");
}

#[test]
fn a_client_that_goes_away_stops_the_provider_within_a_second() {
    wait(async {
        let scene = Scene::start(|_| {}).await;
        let mut client = scene.ask("local", "parrot").await;
        let (mut provider, _) = scene.asked().await;
        begin_answer(&mut provider).await;
        send(&mut provider, &delta("alpha")).await;
        read_until(&mut client, "alpha").await;
        let left_at = Instant::now();
        drop(client);
        assert_eq!(read_some(&mut provider).await, None);
        let took = left_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let row = scene.usage(1).await.remove(0);
        assert_eq!(row.outcome, Outcome::Cancelled);

        // The same before the first byte of an answer.
        let client = scene.ask("local", "parrot").await;
        let (mut provider, _) = scene.asked().await;
        let left_at = Instant::now();
        drop(client);
        assert_eq!(read_some(&mut provider).await, None);
        let took = left_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        scene.hub.stop().await;
    });
}

#[test]
fn credits_are_held_while_an_answer_streams_and_run_out() {
    wait(async {
        let scene = Scene::start(|config| config.ai_credits.opening = Some(7)).await;
        let mut client = scene.ask("local", "parrot").await;
        let (mut provider, _) = scene.asked().await;
        // Four of seven are held: a second call does not fit beside the first.
        let refused = read_all(&mut scene.ask("local", "parrot").await).await;
        assert!(refused.starts_with("HTTP/1.1 402"), "{refused}");
        assert!(refused.contains(r#""balance":3"#), "{refused}");
        begin_answer(&mut provider).await;
        send(&mut provider, &delta("alpha")).await;
        end_answer(&mut provider).await;
        read_all(&mut client).await;
        assert_eq!(scene.usage(1).await[0].credits, Credits::whole(4));
        let refused = read_all(&mut scene.ask("local", "parrot").await).await;
        assert!(refused.starts_with("HTTP/1.1 402"), "{refused}");
        scene.hub.stop().await;
    });
}

#[test]
fn dear_calls_are_for_who_has_paid() {
    wait(async {
        let scene = Scene::start(|config| {
            config.ai_credits.opening = Some(7);
            config.ai_credits.unpaid_call = Some(3);
        })
        .await;
        let refused = read_all(&mut scene.ask("local", "parrot").await).await;
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
        assert!(refused.contains("ModelRequiresPaidPlan"), "{refused}");
        scene.hub.stop().await;
    });
}

#[test]
fn the_responses_protocol_answers_too_and_a_refused_house_key_is_not_told() {
    wait(async {
        let scene = Scene::start(|_| {}).await;
        let mut client = scene.ask("openai", "gpt-4o-mini").await;
        let (mut provider, seen) = scene.asked().await;
        assert!(seen.starts_with("POST /v1/responses "), "{seen}");
        begin_answer(&mut provider).await;
        for event in [
            r#"{"type":"response.created","response":{"id":"r"}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"m","role":"assistant"}}"#,
            r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"alpha"}"#,
        ] {
            send(&mut provider, event).await;
        }
        read_until(&mut client, "alpha").await;
        let end = r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}"#;
        send(&mut provider, end).await;
        provider.write_all(b"0\r\n\r\n").await.unwrap();
        let heard = read_all(&mut client).await;
        assert!(heard.contains("data: [DONE]"), "{heard}");
        drop(provider);

        let mut client = scene.ask("openai", "gpt-4o-mini").await;
        let (mut provider, _) = scene.asked().await;
        let error = format!(r#"{{"error":{{"message":"Incorrect API key provided: {CANARY}."}}}}"#);
        let answer = format!(
            "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{error}",
            error.len()
        );
        provider.write_all(answer.as_bytes()).await.unwrap();
        let heard = read_all(&mut client).await;
        assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
        assert!(!heard.contains(CANARY), "{heard}");
        assert_eq!(scene.usage(2).await.len(), 2);
        scene.hub.stop().await;
    });
}

#[test]
fn a_shutdown_settles_what_is_still_streaming() {
    wait(async {
        // The answer is cut off after three quarters of it; the last one is ample for a row on a slow disk.
        let scene = Scene::start(|config| config.shutdown_deadline_ms = 12_000).await;
        let mut client = scene.ask("local", "parrot").await;
        let (mut provider, _) = scene.asked().await;
        begin_answer(&mut provider).await;
        send(&mut provider, &delta("alpha")).await;
        read_until(&mut client, "alpha").await;
        let Scene {
            hub,
            user: _,
            provider: listener,
        } = scene;
        let hub = hub.restart().await;
        drop(listener);
        let store = open_sqlite(&hub.data_dir().join("identity.db"))
            .unwrap()
            .store;
        let rows = store.list_usage(10).await.unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        hub.stop().await;
    });
}
