//! A WebSocket client that speaks the frames of `sync.md`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use epicenter_sync::{Frame, encode_step1, encode_update};
use futures_util::{SinkExt, StreamExt};
use http::Request;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::soon;

/// One thing that came from the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A sync frame.
    Frame(Frame),
    /// A JSON text frame.
    Json(Value),
    /// A text frame that is not JSON: `pong`.
    Text(String),
    /// The hub's close frame; code 1005 stands for none, 1006 for a connection that broke.
    Closed(u16, String),
}

/// An open socket.
#[derive(Debug)]
pub struct TestSocket {
    stream: WebSocketStream<TcpStream>,
    /// The subprotocol that the hub echoed.
    pub subprotocol: Option<String>,
    kept: VecDeque<Received>,
}

impl TestSocket {
    /// Upgrades. `path` carries path and query; the token travels as a subprotocol, as in a browser.
    ///
    /// # Panics
    /// When the upgrade is not answered with 101.
    pub async fn open(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let mut protocols = "epicenter".to_owned();
        if let Some(token) = token {
            protocols.push_str(&format!(", bearer.{token}"));
        }
        let request = Request::builder()
            .uri(format!("ws://{address}{path}"))
            .header("Host", address.to_string())
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key())
            .header("Sec-WebSocket-Protocol", protocols)
            .body(())
            .expect("a valid request");
        let connect = async {
            let stream = TcpStream::connect(address)
                .await
                .expect("the hub accepts connections");
            stream.set_nodelay(true).expect("a TCP socket");
            tokio_tungstenite::client_async(request, stream)
                .await
                .expect("a completed upgrade")
        };
        let (stream, response) = soon("an upgrade", connect).await;
        let subprotocol = response
            .headers()
            .get("sec-websocket-protocol")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Self {
            stream,
            subprotocol,
            kept: VecDeque::new(),
        }
    }

    /// Sends a message; one that the hub has closed on is lost silently, as on a real network.
    pub async fn send(&mut self, message: Message) {
        let _ = soon("a send", self.stream.send(message)).await;
    }

    /// Sends an update frame.
    pub async fn send_update(&mut self, update: &[u8]) {
        self.send(Message::Binary(encode_update(update))).await;
    }

    /// Sends an update frame unless the hub leaves it lying for a while; says whether it took it.
    pub async fn offers_update(&mut self, update: &[u8]) -> bool {
        let message = Message::Binary(encode_update(update));
        let sent = tokio::time::timeout(Duration::from_millis(500), self.stream.send(message));
        sent.await.is_ok()
    }

    /// Sends a step 1 frame.
    pub async fn send_step1(&mut self, state_vector: &[u8]) {
        self.send(Message::Binary(encode_step1(state_vector))).await;
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) {
        self.send(Message::text(text.to_owned())).await;
    }

    /// The next thing, whatever it is.
    pub async fn next(&mut self) -> Received {
        if let Some(kept) = self.kept.pop_front() {
            return kept;
        }
        soon("a frame", self.read()).await
    }

    /// Waits until the hub has said that so many updates of this socket are saved.
    pub async fn saved(&mut self, count: u32) {
        self.next_where(|received| match received {
            Received::Json(report) if report["type"] == "saved" => {
                (report["count"] == count).then_some(())
            }
            _ => None,
        })
        .await;
    }

    /// The next thing that `wanted` takes; what comes before it is thrown away.
    pub async fn next_where<T>(&mut self, mut wanted: impl FnMut(&Received) -> Option<T>) -> T {
        soon("an awaited frame", async {
            loop {
                let received = match self.kept.pop_front() {
                    Some(kept) => kept,
                    None => self.read().await,
                };
                if let Some(value) = wanted(&received) {
                    return value;
                }
                assert!(
                    !matches!(received, Received::Closed(..)),
                    "closed while waiting: {received:?}"
                );
            }
        })
        .await
    }

    /// The payload of the next update or step 2 frame.
    pub async fn next_update(&mut self) -> Bytes {
        self.next_where(|received| match received {
            Received::Frame(Frame::Update(payload) | Frame::Step2(payload)) => {
                Some(payload.clone())
            }
            _ => None,
        })
        .await
    }

    /// Waits for the close frame.
    pub async fn closed(&mut self) -> (u16, String) {
        self.next_where(|received| match received {
            Received::Closed(code, reason) => Some((*code, reason.clone())),
            _ => None,
        })
        .await
    }

    /// Everything that the hub had sent to this socket when it read the `ping` that this sends: `pong` overtakes nothing.
    pub async fn drain(&mut self) -> Vec<Received> {
        self.send_text("ping").await;
        let mut drained = Vec::new();
        loop {
            match self.next().await {
                Received::Text(text) if text == "pong" => return drained,
                closed @ Received::Closed(..) => {
                    drained.push(closed);
                    return drained;
                }
                other => drained.push(other),
            }
        }
    }

    /// Closes with a code and waits for the end of the connection.
    pub async fn close(mut self) {
        let _ = soon("a close", self.stream.close(None)).await;
        soon("the end of the connection", async {
            while let Some(Ok(_)) = self.stream.next().await {}
        })
        .await;
    }

    async fn read(&mut self) -> Received {
        loop {
            let message = match self.stream.next().await {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => return Received::Closed(1006, String::new()),
            };
            return match message {
                Message::Binary(bytes) => {
                    Received::Frame(Frame::parse(&bytes).expect("the hub sends valid frames"))
                }
                Message::Text(text) => serde_json::from_str(&text)
                    .map_or_else(|_| Received::Text(text.to_string()), Received::Json),
                Message::Close(frame) => frame.map_or_else(
                    || Received::Closed(1005, String::new()),
                    |frame| Received::Closed(frame.code.into(), frame.reason.to_string()),
                ),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
        }
    }
}
