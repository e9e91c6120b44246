//! As much HTTP as it takes to ask a loopback server questions, one after the other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

const DEADLINE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection that stays open.
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
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self {
            stream,
            address,
            buffer: Vec::new(),
        })
    }

    /// A request with more header lines, each ended.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)?;
        self.answer()
            .with_context(|| format!("{method} {path} was not answered"))
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let end = loop {
            let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => self.read_more()?,
            }
        };
        let rest = self.buffer.split_off(end);
        let head = String::from_utf8(std::mem::replace(&mut self.buffer, rest))?;
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
        let length = match answer.header("content-length") {
            Some(length) => length.parse()?,
            None if matches!(status, 204 | 304) => 0,
            None => bail!("an answer without a length: {}", answer.head),
        };
        ensure!(length <= MAX_ANSWER_BYTES, "an answer of {length} bytes");
        while self.buffer.len() < length {
            self.read_more()?;
        }
        let rest = self.buffer.split_off(length);
        answer.body = std::mem::replace(&mut self.buffer, rest);
        Ok(answer)
    }

    fn read_more(&mut self) -> anyhow::Result<()> {
        let mut part = [0; 16 * 1024];
        let length = self.stream.read(&mut part)?;
        ensure!(length > 0, "the server hung up");
        self.buffer
            .extend_from_slice(part.get(..length).unwrap_or_default());
        Ok(())
    }
}

impl Answer {
    /// The value of a header line, whatever its name's case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// `GET` of a JSON document with a bearer token, over a connection of its own.
pub(crate) fn json(
    address: SocketAddr,
    path: &str,
    token: &str,
) -> anyhow::Result<serde_json::Value> {
    let headers = format!("Authorization: Bearer {token}\r\n");
    let answer = Connection::open(address)?.ask("GET", path, &headers, &[])?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status == 200,
        "GET {path} was answered {}: {text}",
        answer.status
    );
    serde_json::from_str(&text)
        .with_context(|| format!("GET {path} was not answered with JSON: {text}"))
}
