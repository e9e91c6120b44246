//! HTTP/1.1 over one connection that stays open: as much of it as the servers under test speak.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A connection to a server under test.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// An answer with a body of a known length.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            address,
            buffer: Vec::new(),
        })
    }

    /// `GET` with one more header line, `Name: value`.
    pub(crate) async fn get(&mut self, path: &str, header: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n\r\n",
            self.address
        );
        self.exchange(&request).await
    }

    /// `POST` of a body of this type.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.exchange(&request).await
    }

    async fn exchange(&mut self, request: &str) -> anyhow::Result<Answer> {
        timeout(DEADLINE, async {
            self.stream.write_all(request.as_bytes()).await?;
            self.read_answer().await
        })
        .await
        .context("no answer in time")?
    }

    async fn read_answer(&mut self) -> anyhow::Result<Answer> {
        self.buffer.clear();
        loop {
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
            ensure!(
                self.buffer.len() < MAX_ANSWER_BYTES,
                "the answer is too large"
            );
            let read = self.stream.read_buf(&mut self.buffer).await?;
            ensure!(read > 0, "the server hung up");
        }
    }
}

/// The whole answer, once it is all there.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("an answer without a status")?;
    let mut answer = Answer {
        status,
        head,
        body: Vec::new(),
    };
    let length: usize = answer
        .header("content-length")
        .context("an answer without Content-Length")?
        .parse()?;
    let Some(body) = body.get(..length) else {
        return Ok(None);
    };
    answer.body = body.to_vec();
    Ok(Some(answer))
}

impl Answer {
    /// The value of the first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The body as text, for what went wrong.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_parsed_when_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n\r\nhi";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).unwrap().is_none());
        }
        let answer = parse(text).unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
        assert_eq!(answer.header("x"), Some("a"));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
