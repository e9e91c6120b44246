//! A client of a streaming endpoint: one connection that stays open, and the moments of what comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::upstream::{DIGITS, MARK, Pace, Upstream};

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    /// More header lines, each with its end.
    pub(super) headers: String,
    /// In whose words the question is put.
    pub(super) asks: Asks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// `POST /api/ai/chat`.
    Hub,
    /// `POST /v1/chat/completions`.
    OpenAi,
}

impl Target {
    fn request(&self, pace: Pace) -> String {
        let question = pace.question();
        let messages = serde_json::json!([{ "role": "user", "content": question }]);
        let body = match self.asks {
            Asks::Hub => serde_json::json!({
                "messages": messages,
                "data": { "provider": "bench", "model": "bench" },
            }),
            Asks::OpenAi => serde_json::json!({
                "model": "bench",
                "messages": messages,
                "stream": true,
                "stream_options": { "include_usage": true },
            }),
        };
        let body = body.to_string();
        format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{body}",
            self.path,
            self.address,
            body.len(),
            self.headers,
        )
    }
}

/// What one answer took.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// From the request to its first word.
    pub(super) first_word: Duration,
    /// How long each word travelled from the upstream.
    pub(super) delays: Vec<u64>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Asker {
    stream: TcpStream,
    target: Target,
    began: Instant,
}

impl Asker {
    pub(super) async fn open(target: &Target, upstream: Upstream) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            target: target.clone(),
            began: upstream.began,
        })
    }

    /// Asks and reads the answer to its end, for no longer than `patience`.
    pub(super) async fn ask(&mut self, pace: Pace, patience: Duration) -> anyhow::Result<Answered> {
        let request = self.target.request(pace);
        timeout(patience, self.exchange(&request, pace))
            .await
            .with_context(|| format!("no whole answer within {patience:?}"))?
    }

    async fn exchange(&mut self, request: &str, pace: Pace) -> anyhow::Result<Answered> {
        let asked = Instant::now();
        self.stream.write_all(request.as_bytes()).await?;
        let mut answered = Answered::default();
        let mut buffer = Vec::with_capacity(8 * 1024);
        let mut seen = 0;
        loop {
            ensure!(
                self.stream.read_buf(&mut buffer).await? > 0,
                "the server hung up"
            );
            while let Some((at, end)) = next_moment(&buffer, seen) {
                let now = self.began.elapsed();
                if answered.delays.is_empty() {
                    answered.first_word = asked.elapsed();
                }
                let delay = u64::try_from(now.as_nanos())?.saturating_sub(at);
                answered.delays.push(delay);
                seen = end;
            }
            if buffer.ends_with(b"\r\n0\r\n\r\n") {
                break;
            }
            // What was read is not needed again; a mark may still be cut in two.
            if seen > 64 * 1024 {
                buffer.drain(..seen);
                seen = 0;
            }
        }
        ensure!(
            answered.delays.len() == pace.words,
            "{} of {} words came: {}",
            answered.delays.len(),
            pace.words,
            String::from_utf8_lossy(&buffer)
        );
        Ok(answered)
    }
}

/// The next moment behind `from`, and where it ends; its event must be whole.
fn next_moment(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let rest = bytes.get(from..)?;
    let at = rest
        .windows(MARK.len())
        .position(|window| window == MARK.as_bytes())?;
    let start = at + MARK.len();
    let digits = rest.get(start..start + DIGITS)?;
    let moment = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((moment, from + start + DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_found_one_after_the_other() {
        let text = b"x at-000000000000000007 y at-000000000000000009 at-0000";
        assert_eq!(next_moment(text, 0), Some((7, 23)));
        assert_eq!(next_moment(text, 23), Some((9, 47)));
        assert_eq!(next_moment(text, 47), None);
    }
}
