//! The servers under test, behind one face: how each is started, and how a client gets into a room.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use crate::fleet::Entrance;
use crate::hub::{self, Users};
use crate::peers;
use crate::process::ServerProcess;

/// A program that can be started as a server under test.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    /// The executable, or the folder of a peer's script.
    pub(crate) path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hub,
    Hocuspocus,
    YWebsocket,
    YSweet,
}

/// A server with a data directory of its own, running or stopped.
#[derive(Debug)]
pub(crate) struct Server {
    program: Program,
    running: Option<(ServerProcess, SocketAddr)>,
    users: Arc<Users>,
    pub(crate) directory: tempfile::TempDir,
}

/// What is to be opened: numbers that stand for a room and for somebody in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) room: usize,
    pub(crate) number: usize,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Hocuspocus => "hocuspocus",
            Self::YWebsocket => "y-websocket",
            Self::YSweet => "y-sweet",
        }
    }

    pub(crate) fn waits_for_the_disk(self) -> bool {
        self == Self::Hub
    }

    /// When an update is on disk, against when others see it.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Hub => "waits for the disk: an update is synced before anybody else sees it",
            Self::Hocuspocus => {
                "does not wait: relays and acknowledges at once, stores the document 2 s after the last change (10 s at most)"
            }
            Self::YWebsocket => "does not wait: has no store of its own, rooms are in memory",
            Self::YSweet => "does not wait: relays at once, stores the document every 10 s",
        }
    }
}

impl Program {
    /// Starts it with a new directory below `parent`.
    pub(crate) fn start(&self, parent: &Path, users: &Arc<Users>) -> anyhow::Result<Server> {
        let directory = tempfile::tempdir_in(parent)?;
        if self.kind == Kind::Hub {
            users.furnish(directory.path())?;
        }
        let mut server = Server {
            program: self.clone(),
            running: None,
            users: Arc::clone(users),
            directory,
        };
        server.start_again()?;
        Ok(server)
    }
}

impl Server {
    /// Starts it on the directory it had.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        let Program { kind, path } = &self.program;
        let directory = self.directory.path();
        let running = match kind {
            Kind::Hub => hub::start(path, directory),
            kind => peers::start(*kind, path, directory),
        };
        self.running = Some(running?);
        Ok(())
    }

    pub(crate) fn process(&self) -> anyhow::Result<&ServerProcess> {
        let (process, _) = self.running.as_ref().context("the server is stopped")?;
        Ok(process)
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let (_, address) = self.running.as_ref().context("the server is stopped")?;
        Ok(*address)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.program.kind
    }

    pub(crate) fn users(&self) -> &Users {
        &self.users
    }

    pub(crate) fn entrance(&self, seat: Seat) -> anyhow::Result<Entrance> {
        let address = self.address()?;
        let (request, dialect) = match self.program.kind {
            Kind::Hub => hub::entrance(address, &self.users, seat)?,
            kind => peers::entrance(kind, address, seat)?,
        };
        Ok(Entrance {
            address,
            request,
            dialect: Arc::new(dialect),
        })
    }

    /// Ends it with SIGTERM; it keeps its directory.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let (process, _) = self.running.take().context("the server is stopped")?;
        process.stop()
    }

    /// Ends it with SIGKILL; it keeps its directory.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let (process, _) = self.running.take().context("the server is stopped")?;
        process.kill()
    }
}

/// The request of a WebSocket handshake with more header lines, each ended.
pub(crate) fn upgrade_request(address: SocketAddr, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZXBpY2VudGVyLWJlbmNoLQ==\r\n{headers}\r\n"
    )
}

/// What clients of one room say, however many there are.
pub(crate) fn room_name(room: usize) -> String {
    format!("bench-{room}")
}
