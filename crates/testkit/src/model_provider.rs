//! A provider of AI models that a test plays: an OpenAI-compatible endpoint that speaks TCP and says what it is told.
//!
//! It blocks, and every read has an end: tests of the built program need no runtime.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::DEADLINE;

/// The endpoint.
#[derive(Debug)]
pub struct ModelProvider {
    listener: TcpListener,
}

/// A call that is being answered.
#[derive(Debug)]
pub struct ModelCall {
    socket: TcpStream,
    /// Request line and header lines.
    pub head: String,
    /// What was asked.
    pub body: Value,
}

impl ModelProvider {
    /// On a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // Accepting is bounded by asking again and again.
        listener.set_nonblocking(true).expect("a socket option");
        Self { listener }
    }

    /// What a hub calls it by: the base URL.
    pub fn base_url(&self) -> String {
        let address = self.listener.local_addr().expect("an address");
        format!("http://{address}/v1")
    }

    /// The next call, whose answer has not begun.
    ///
    /// # Panics
    /// When none comes in time, or it is no request with JSON.
    pub fn asked(&self) -> ModelCall {
        let began = Instant::now();
        let mut socket = loop {
            match self.listener.accept() {
                Ok((socket, _)) => break socket,
                Err(_) => assert!(began.elapsed() < DEADLINE, "nobody asked the provider"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        socket.set_nonblocking(false).expect("a socket option");
        let limit = Some(DEADLINE);
        socket.set_read_timeout(limit).expect("a socket option");
        let mut seen = Vec::new();
        loop {
            if let Some((head, body)) = split(&seen) {
                return ModelCall { socket, head, body };
            }
            let mut piece = [0; 16_384];
            let length = socket.read(&mut piece).expect("a request");
            assert_ne!(length, 0, "the request broke off");
            seen.extend_from_slice(&piece[..length]);
        }
    }

    /// Whether nobody else has asked.
    pub fn is_idle(&self) -> bool {
        self.listener.accept().is_err()
    }
}

/// Head and body of a request that is there whole.
fn split(seen: &[u8]) -> Option<(String, Value)> {
    let text = String::from_utf8_lossy(seen);
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.to_owned(), serde_json::from_str(body).ok()?))
}

/// A piece of an answer.
fn delta(delta: &Value, finish_reason: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    json!({"id": "c", "model": "parrot", "choices": [choice]}).to_string()
}

/// An event as a chunk of a body.
fn chunk(event: &str) -> String {
    let text = format!("data: {event}\n\n");
    format!("{:x}\r\n{text}\r\n", text.len())
}

impl ModelCall {
    /// Begins an answer that streams. A connection carries one call: the next one of a hub that kept it would be lost here.
    #[must_use]
    pub fn begin(mut self) -> Self {
        self.write(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        );
        self
    }

    /// Sends one event.
    pub fn send(&mut self, event: &str) {
        self.write(&chunk(event));
    }

    /// Says a piece of text.
    pub fn say(&mut self, text: &str) {
        self.send(&delta(&json!({ "content": text }), &Value::Null));
    }

    /// Thinks a piece of text.
    pub fn think(&mut self, text: &str) {
        self.send(&delta(&json!({ "reasoning_content": text }), &Value::Null));
    }

    /// Ends the answer well: five tokens in, seven out.
    pub fn finish(mut self) {
        let stop = delta(&json!({}), &json!("stop"));
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
        let usage = json!({"id": "c", "model": "parrot", "choices": [], "usage": usage});
        // In one piece: the hub may leave when it has heard that all is said.
        let pieces = [chunk(&stop), chunk(&usage.to_string()), chunk("[DONE]")];
        self.write(&format!("{}0\r\n\r\n", pieces.concat()));
    }

    /// Answers with an error instead.
    pub fn refuse(mut self, status: &str, body: &str) {
        let length = body.len();
        self.write(&format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        ));
    }

    /// Waits until the hub has closed the connection.
    ///
    /// # Panics
    /// When it says more instead, or stays.
    pub fn closed(mut self) {
        let mut piece = [0; 64];
        match self.socket.read(&mut piece) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("the connection is still open: {other:?}"),
        }
    }

    fn write(&mut self, text: &str) {
        let written = self.socket.write_all(text.as_bytes());
        written.expect("the hub listens");
    }
}
