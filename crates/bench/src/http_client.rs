//! As much HTTP as it takes to ask a loopback server one question.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// `GET` of a JSON document with a bearer token, over a connection of its own.
pub(crate) async fn json(
    address: SocketAddr,
    path: &str,
    token: &str,
) -> anyhow::Result<serde_json::Value> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut answer)
            .await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(DEADLINE, exchange).await??;
    let text = String::from_utf8(answer)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    ensure!(
        head.starts_with("HTTP/1.1 200"),
        "GET {path} was answered: {text}"
    );
    serde_json::from_str(body)
        .with_context(|| format!("GET {path} was not answered with JSON: {text}"))
}
