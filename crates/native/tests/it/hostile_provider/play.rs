//! The provider: it plays a script for each model that it is asked for, and writes down when its connections began and
//! ended. Whatever the protocol, the name of the model stands in the request.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Names of models, which no other text contains.
pub(super) const MARK: &str = "case-";
const MARKED_DIGITS: usize = 5;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// One thing that the provider does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Sends this until the hub has gone.
    Repeat(Vec<u8>, Duration),
    /// Waits until the hub has gone.
    Hold,
    /// Ends with a reset in place of a proper end.
    Reset,
    /// Ends with nothing: the connection waits for another request.
    Keep,
}

pub(super) type Script = Vec<Step>;

pub(super) fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

/// A head of a stream, whose body is chunked by [`chunk`].
pub(super) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A head of a stream that ends with its connection.
pub(super) const UNTIL_CLOSE: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

pub(super) fn chunk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = format!("{:x}\r\n", text.len()).into_bytes();
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A complete answer with a length.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Step {
    send(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) case: String,
    /// As it was sent, with its body.
    pub(super) request: String,
    /// When the hub's end of the connection was gone, if that came before the script's end.
    pub(super) left_at: Option<Instant>,
    /// Bytes that the hub's side has taken.
    pub(super) written: usize,
    pub(super) is_open: bool,
}

#[derive(Debug, Default)]
struct Stage {
    scripts: HashMap<String, VecDeque<Script>>,
    records: Vec<Record>,
    connections: usize,
}

/// The provider; it plays until the runtime ends.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    stage: Arc<Mutex<Stage>>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            stage: Arc::default(),
        };
        let playing = provider.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let playing = playing.clone();
                tokio::spawn(async move { playing.serve(socket).await });
            }
        });
        provider
    }

    /// What is played when this model is asked, request by request.
    pub(super) fn expect(&self, case: &str, scripts: Vec<Script>) {
        let mut stage = self.stage.lock().unwrap();
        stage.scripts.insert(case.to_owned(), scripts.into());
    }

    pub(super) fn records(&self, case: &str) -> Vec<Record> {
        let stage = self.stage.lock().unwrap();
        let of_case = stage.records.iter().filter(|record| record.case == case);
        of_case.cloned().collect()
    }

    /// Connections that there have been.
    pub(super) fn connections(&self) -> usize {
        self.stage.lock().unwrap().connections
    }

    /// Connections on which the provider speaks or is spoken to.
    pub(super) fn open_requests(&self) -> usize {
        let stage = self.stage.lock().unwrap();
        stage.records.iter().filter(|record| record.is_open).count()
    }

    /// Requests of one connection, which ends with the first script that does not keep it.
    async fn serve(&self, mut socket: TcpStream) {
        socket.set_nodelay(true).unwrap();
        self.stage.lock().unwrap().connections += 1;
        while let Some(request) = read_request(&mut socket).await {
            let Some((index, script)) = self.begin(&request) else {
                return;
            };
            let keeps = self.play(&mut socket, index, script).await;
            self.stage.lock().unwrap().records[index].is_open = false;
            if !keeps {
                return;
            }
        }
    }

    fn begin(&self, request: &str) -> Option<(usize, Script)> {
        let at = request.find(MARK)?;
        let case = request[at..at + MARK.len() + MARKED_DIGITS].to_owned();
        let mut stage = self.stage.lock().unwrap();
        let script = stage.scripts.get_mut(&case)?.pop_front();
        stage.records.push(Record {
            case,
            request: request.to_owned(),
            left_at: None,
            written: 0,
            is_open: true,
        });
        Some((stage.records.len() - 1, script?))
    }

    /// Whether the connection may be used again.
    async fn play(&self, socket: &mut TcpStream, index: usize, script: Script) -> bool {
        for step in script {
            let is_there = match step {
                Step::Send(bytes) => self.write(socket, index, &bytes).await,
                Step::Pause(time) => {
                    sleep(time).await;
                    true
                }
                Step::Repeat(bytes, pause) => {
                    while self.write(socket, index, &bytes).await && !has_left(socket) {
                        sleep(pause).await;
                    }
                    false
                }
                Step::Hold => {
                    let mut rest = [0; 1_024];
                    let gone = timeout(LIMIT, socket.read(&mut rest)).await;
                    assert!(gone.is_ok(), "the hub stayed");
                    false
                }
                Step::Reset => {
                    socket.set_zero_linger().unwrap();
                    return false;
                }
                Step::Keep => return true,
            };
            if !is_there {
                self.stage.lock().unwrap().records[index].left_at = Some(Instant::now());
                return false;
            }
        }
        false
    }

    async fn write(&self, socket: &mut TcpStream, index: usize, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match socket.write(rest).await {
                Ok(length) if length > 0 => {
                    rest = &rest[length..];
                    self.stage.lock().unwrap().records[index].written += length;
                }
                _ => return false,
            }
        }
        true
    }
}

/// Whether the other side has closed; nothing is expected from it.
fn has_left(socket: &TcpStream) -> bool {
    let mut byte = [0];
    !matches!(socket.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Head and body of the next request; `None` when there is none.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16_384];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("requests have a length").parse().unwrap();
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
        match timeout(LIMIT, socket.read(&mut piece)).await {
            Ok(Ok(length)) if length > 0 => bytes.extend_from_slice(&piece[..length]),
            _ => return None,
        }
    }
}
