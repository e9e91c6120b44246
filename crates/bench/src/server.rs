//! The servers under test, behind one face: where a room's socket is, and how the Yjs sync protocol looks on it.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use http::Request;

use crate::edits::Encoding;
use crate::process::ServerProcess;
use crate::socket::Socket;
use crate::{hub, y_sweet};

/// A program that can be started as a server under test.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program<'a> {
    Hub(&'a Path),
    YSweet(&'a Path),
}

/// A server with a data directory of its own.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: ServerProcess,
    address: SocketAddr,
    kind: Kind,
    _directory: tempfile::TempDir,
}

#[derive(Debug)]
enum Kind {
    /// Its users; rooms are spread over them, because a user may hold a limited number of sockets.
    Hub(Vec<hub::User>),
    YSweet,
}

/// The differences between two dialects of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Goes before every message: the outer message type, where there is one.
    pub(crate) prefix: &'static [u8],
    pub(crate) encoding: Encoding,
}

/// What is to be opened: numbers that stand for a room and for somebody in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) room: usize,
    pub(crate) number: usize,
}

impl Program<'_> {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hub(_) => "hub",
            Self::YSweet(_) => "y-sweet",
        }
    }

    /// Starts it for `rooms` rooms and `sockets` sockets, with a new directory below `parent`.
    pub(crate) async fn start(
        self,
        parent: &Path,
        rooms: usize,
        sockets: usize,
    ) -> anyhow::Result<Server> {
        let directory = tempfile::tempdir_in(parent)?;
        let path = directory.path();
        let (process, address, kind) = match self {
            Self::Hub(program) => {
                let (process, address) = hub::start(program, path).await?;
                let users = hub::add_users(program, path, address, rooms, sockets).await?;
                (process, address, Kind::Hub(users))
            }
            Self::YSweet(program) => {
                let (process, address) = y_sweet::start(program, path).await?;
                (process, address, Kind::YSweet)
            }
        };
        Ok(Server {
            process,
            address,
            kind,
            _directory: directory,
        })
    }
}

impl Server {
    /// Opens a socket and completes the handshake of the sync protocol on it.
    pub(crate) async fn join(&self, seat: Seat, read_buffer: usize) -> anyhow::Result<Socket> {
        let request = match &self.kind {
            Kind::Hub(users) => hub::upgrade(self.address, users, seat),
            Kind::YSweet => y_sweet::upgrade(self.address, seat),
        };
        let request = request?;
        let uri = request.uri().clone();
        Socket::open(self.address, request, self.dialect(), read_buffer)
            .await
            .with_context(|| format!("no socket at {uri}"))
    }

    fn dialect(&self) -> Dialect {
        match &self.kind {
            Kind::Hub(_) => hub::DIALECT,
            Kind::YSweet => y_sweet::DIALECT,
        }
    }

    /// Ends it; its directory goes too.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.process.end().await
    }
}

/// The request of a WebSocket handshake, without credentials.
pub(crate) fn upgrade_request(address: SocketAddr, path: &str) -> anyhow::Result<Request<()>> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    Ok(format!("ws://{address}{path}").into_client_request()?)
}
