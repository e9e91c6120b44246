//! HTTP/1.1 over one connection that stays open: as much of it as the servers under test speak.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 64 << 20;

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
        self.ask("GET", path, header, &[]).await
    }

    /// `POST` of a body of this type.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        let header = format!("Content-Type: {content_type}");
        self.ask("POST", path, &header, body.as_bytes()).await
    }

    /// Any request with one more header line, or several without the last one's end.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        header: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n",
            self.address
        );
        if method != "GET" {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let request = [request.as_bytes(), body].concat();
        timeout(DEADLINE, async {
            self.stream.write_all(&request).await?;
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
    let length: usize = match answer.header("content-length") {
        Some(length) => length.parse()?,
        // These never have a body.
        None if matches!(status, 204 | 304) => 0,
        None => bail!("an answer without Content-Length"),
    };
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

/// Of a JSON document that a token opens, over a connection of its own.
pub(crate) async fn json(
    address: SocketAddr,
    path: &str,
    token: &str,
) -> anyhow::Result<serde_json::Value> {
    let header = format!("Authorization: Bearer {token}");
    let answer = Connection::open(address).await?.get(path, &header).await?;
    ensure!(
        answer.status == 200,
        "GET {path} was answered {}: {}",
        answer.status,
        answer.text()
    );
    Ok(serde_json::from_slice(&answer.body)?)
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
        assert!(
            parse(b"HTTP/1.1 304 Not Modified\r\n\r\n")
                .unwrap()
                .is_some()
        );
    }
}
