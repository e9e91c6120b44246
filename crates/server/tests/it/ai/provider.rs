//! A provider that plays a script and remembers what it was asked and when its connections were closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use epicenter_server::ai::upstream::{
    Timer as _, Upstream, UpstreamError, UpstreamRequest, UpstreamResponse,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::world::VirtualTimer;

/// One answer of the provider.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// A head, pieces and an end.
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        pieces: Vec<Piece>,
        end: End,
    },
    /// No connection.
    Unreachable,
    /// A connection, and then nothing.
    Silence,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Reset,
    /// The connection stays open.
    Hang,
    /// The last piece comes again and again.
    Repeat,
}

impl Script {
    /// A good answer, in pieces of this many bytes.
    pub(crate) fn stream(body: &[u8], piece: usize, end: End) -> Self {
        let pieces = body.chunks(piece.max(1));
        Self::Reply {
            status: 200,
            headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
            pieces: pieces
                .map(|piece| Piece::Bytes(Bytes::copy_from_slice(piece)))
                .collect(),
            end,
        }
    }

    pub(crate) fn error(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::Reply {
            status,
            headers: headers.iter().map(own).collect(),
            pieces: vec![Piece::Bytes(Bytes::copy_from_slice(body.as_bytes()))],
            end: End::Close,
        }
    }

    /// The answers of a vector.
    pub(crate) fn of_vector(upstream: &Value, piece: usize) -> Vec<Self> {
        let one = |reply: &Value| {
            let headers = reply["headers"].as_object().unwrap();
            let end = match reply["end"].as_str().unwrap() {
                "close" => End::Close,
                "connection reset after the body" => End::Reset,
                "connection kept open" => End::Hang,
                other => panic!("unknown end: {other}"),
            };
            let body = reply["body"].as_str().unwrap();
            let Self::Reply { pieces, .. } = Self::stream(body.as_bytes(), piece, end) else {
                unreachable!("a stream is a reply");
            };
            Self::Reply {
                status: u16::try_from(reply["status"].as_u64().unwrap()).unwrap(),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect(),
                pieces,
                end,
            }
        };
        upstream.as_array().unwrap().iter().map(one).collect()
    }
}

/// What the provider was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) at_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Provider {
    timer: Arc<VirtualTimer>,
    scripts: Mutex<VecDeque<Script>>,
    asked: Mutex<Vec<Asked>>,
    open: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

impl Provider {
    pub(crate) fn new(timer: Arc<VirtualTimer>) -> Self {
        Self {
            timer,
            scripts: Mutex::default(),
            asked: Mutex::default(),
            open: Arc::default(),
            read: Arc::default(),
        }
    }

    pub(crate) fn play(&self, scripts: impl IntoIterator<Item = Script>) {
        self.scripts.lock().unwrap().extend(scripts);
    }

    /// Before all that is to be played.
    pub(crate) fn play_first(&self, script: Script) {
        self.scripts.lock().unwrap().push_front(script);
    }

    /// Nothing more is played.
    pub(crate) fn forget(&self) {
        self.scripts.lock().unwrap().clear();
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Connections that nobody has closed.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Pieces that were taken.
    pub(crate) fn pieces_read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }
}

struct Connection(Arc<AtomicUsize>);

impl Connection {
    fn open(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Upstream for Provider {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamResponse, UpstreamError> {
        let headers = request.headers.iter().map(|(name, value)| {
            let value = value.to_value().unwrap();
            ((*name).to_owned(), value.to_str().unwrap().to_owned())
        });
        self.asked.lock().unwrap().push(Asked {
            url: request.url.clone(),
            headers: headers.collect(),
            body: serde_json::from_slice(&request.body.0).unwrap(),
            at_ms: self.timer.now_ms(),
        });
        let script = self.scripts.lock().unwrap().pop_front();
        let connection = Connection::open(&self.open);
        match script.expect("the provider was asked more often than the test says") {
            Script::Unreachable => Err(UpstreamError::Unreachable),
            Script::Silence => std::future::pending().await,
            Script::Reply {
                status,
                headers,
                pieces,
                end,
            } => {
                let mut map = HeaderMap::new();
                for (name, value) in headers {
                    let name = HeaderName::try_from(name).unwrap();
                    map.append(name, HeaderValue::try_from(value).unwrap());
                }
                let body = ScriptedBody {
                    timer: Arc::clone(&self.timer),
                    pieces: pieces.into(),
                    end,
                    pause: None,
                    read: Arc::clone(&self.read),
                    _connection: connection,
                };
                Ok(UpstreamResponse {
                    status,
                    headers: map,
                    body: Box::pin(body),
                })
            }
        }
    }
}

struct ScriptedBody {
    timer: Arc<VirtualTimer>,
    pieces: VecDeque<Piece>,
    end: End,
    pause: Option<BoxFuture<'static, ()>>,
    read: Arc<AtomicUsize>,
    _connection: Connection,
}

impl Stream for ScriptedBody {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.poll_unpin(context));
                self.pause = None;
            }
            if self.end == End::Repeat
                && self.pieces.len() == 1
                && let Some(Piece::Bytes(piece)) = self.pieces.front().cloned()
            {
                self.read.fetch_add(1, Ordering::SeqCst);
                return Poll::Ready(Some(Ok(piece)));
            }
            match self.pieces.pop_front() {
                Some(Piece::Bytes(piece)) => {
                    self.read.fetch_add(1, Ordering::SeqCst);
                    return Poll::Ready(Some(Ok(piece)));
                }
                Some(Piece::Pause(time)) => self.pause = Some(self.timer.sleep(time)),
                None => {
                    return match self.end {
                        End::Close => Poll::Ready(None),
                        End::Reset => Poll::Ready(Some(Err(UpstreamError::Lost))),
                        End::Hang | End::Repeat => Poll::Pending,
                    };
                }
            }
        }
    }
}
