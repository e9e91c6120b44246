//! One client of a room: an open socket past the sync handshake.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use epicenter_sync::{encode_step1, encode_update};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::edits::Encoding;
use crate::server::Dialect;

const OPEN_DEADLINE: Duration = Duration::from_secs(20);
/// The state vector of somebody who has nothing.
const NOTHING: &[u8] = &[0];
/// Subtype of the answer to step1.
const STEP2: u8 = 1;

/// A socket on which both sides have said what they have.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    dialect: Dialect,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Outbound {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    dialect: Dialect,
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Inbound {
    stream: SplitStream<WebSocketStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn open(
        address: SocketAddr,
        request: Request<()>,
        dialect: Dialect,
        read_buffer: usize,
    ) -> anyhow::Result<Self> {
        timeout(
            OPEN_DEADLINE,
            Self::shake_hands(address, request, dialect, read_buffer),
        )
        .await?
    }

    async fn shake_hands(
        address: SocketAddr,
        request: Request<()>,
        dialect: Dialect,
        read_buffer: usize,
    ) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(read_buffer);
        let (mut stream, _response) = client_async_with_config(request, tcp, Some(config)).await?;
        let step1 = dialect.wrap(encode_step1(NOTHING));
        stream.send(Message::Binary(step1)).await?;
        loop {
            match next(&mut stream).await? {
                Some(frame) if dialect.subtype(&frame) == Some(STEP2) => {
                    return Ok(Self { stream, dialect });
                }
                _ => {}
            }
        }
    }

    pub(crate) fn split(self) -> (Outbound, Inbound) {
        let (sink, stream) = self.stream.split();
        let dialect = self.dialect;
        (Outbound { sink, dialect }, Inbound { stream })
    }
}

impl Outbound {
    pub(crate) fn encoding(&self) -> Encoding {
        self.dialect.encoding
    }

    /// Sends one update; it has left when this returns.
    pub(crate) async fn send(&mut self, update: &[u8]) -> anyhow::Result<()> {
        let frame = self.dialect.wrap(encode_update(update));
        self.sink.send(Message::Binary(frame)).await?;
        Ok(())
    }
}

impl Inbound {
    /// The next binary frame; `None` for anything else. A closed socket is an error: a benchmark never closes one early.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        next(&mut self.stream).await
    }
}

async fn next(
    stream: &mut (impl StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin),
) -> anyhow::Result<Option<Bytes>> {
    match stream.next().await.context("the server hung up")?? {
        Message::Binary(frame) => Ok(Some(frame)),
        Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
        _ => Ok(None),
    }
}

impl Dialect {
    fn wrap(self, message: Bytes) -> Bytes {
        if self.prefix.is_empty() {
            return message;
        }
        [self.prefix, &message].concat().into()
    }

    /// Subtypes are below 128, so each is one byte.
    fn subtype(self, frame: &[u8]) -> Option<u8> {
        frame.strip_prefix(self.prefix)?.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hub, y_sweet};

    #[test]
    fn dialects_differ_in_the_outer_type() {
        let check = |dialect: Dialect, expect: &[u8]| {
            let frame = dialect.wrap(encode_step1(NOTHING));
            assert_eq!(&frame[..], expect);
            assert_eq!(dialect.subtype(&frame), Some(0));
        };
        check(hub::DIALECT, &[0, 1, 0]);
        check(y_sweet::DIALECT, &[0, 0, 1, 0]);
        assert_eq!(y_sweet::DIALECT.subtype(&[1, 1]), None, "awareness");
    }
}
