//! The provider behind all of them: an OpenAI-compatible endpoint on a thread of its own that streams words at a given pace.
//!
//! Each word is the moment at which it was written, so that whoever reads it knows how long it travelled: writer and reader
//! are one process.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// What stands before each moment, and nowhere else.
pub(super) const MARK: &str = "at-";
/// Behind it, in nanoseconds since the upstream's beginning.
pub(super) const DIGITS: usize = 18;
const LAST: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;

/// How an answer is paced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) words: usize,
    pub(super) pause: Duration,
}

/// Where it listens, and when its time began. It ends with the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) began: Instant,
}

impl Upstream {
    pub(super) fn start() -> anyhow::Result<Self> {
        let began = Instant::now();
        let (to, from) = channel();
        thread::spawn(move || {
            let served = crate::block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                to.send(listener.local_addr()?)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    // A connection that breaks belongs to a server that was stopped.
                    tokio::spawn(async move { drop(serve(stream, began).await) });
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                Ok(())
            });
            drop(served);
        });
        let address = from.recv().context("the upstream did not start")?;
        Ok(Self { address, began })
    }
}

/// Requests one after the other, as HTTP/1.1 keeps connections.
async fn serve(mut stream: TcpStream, began: Instant) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let pace = read_request(&mut stream, &mut buffer).await?;
        stream.write_all(HEAD.as_bytes()).await?;
        let mut tick = interval(pace.pause.max(Duration::from_nanos(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..pace.words {
            if number > 0 && !pace.pause.is_zero() {
                tick.tick().await;
            } else if number == 0 {
                tick.reset();
            }
            let at = began.elapsed().as_nanos();
            let event = format!(
                r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{MARK}{at:0DIGITS$} "}},"finish_reason":null}}]}}"#
            );
            stream.write_all(&chunk(&event)).await?;
        }
        let end = [chunk(LAST), chunk(USAGE), chunk("[DONE]")].concat();
        stream.write_all(&end).await?;
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

fn chunk(event: &str) -> Vec<u8> {
    let data = format!("data: {event}\n\n");
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// The pace stands in the question: `pace WORDS MILLISECONDS.`
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Pace> {
    buffer.clear();
    loop {
        if let Some(pace) = pace_in(buffer)? {
            return Ok(pace);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(anyhow!("the server hung up"));
        }
    }
}

/// Once the whole request is there.
fn pace_in(bytes: &[u8]) -> anyhow::Result<Option<Pace>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.context("a request without Content-Length")?;
    if body.len() < length.trim().parse()? {
        return Ok(None);
    }
    let (_, pace) = body
        .split_once("pace ")
        .context("a question without a pace")?;
    let (pace, _) = pace.split_once('.').context("a pace without an end")?;
    let (words, pause_ms) = pace.split_once(' ').context("a pace of two numbers")?;
    Ok(Some(Pace {
        words: words.parse()?,
        pause: Duration::from_millis(pause_ms.parse()?),
    }))
}

impl Pace {
    /// As it is asked for.
    pub(super) fn question(self) -> String {
        format!("pace {} {}.", self.words, self.pause.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_read_from_a_whole_request() {
        let pace = Pace {
            words: 3,
            pause: Duration::from_millis(20),
        };
        let body = format!(r#"{{"content":"{}"}}"#, pace.question());
        let text = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for cut in 0..text.len() {
            assert!(pace_in(&text.as_bytes()[..cut]).unwrap().is_none());
        }
        let found = pace_in(text.as_bytes()).unwrap().unwrap();
        assert_eq!((found.words, found.pause), (3, pace.pause));
    }
}
