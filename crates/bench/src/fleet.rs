//! Many WebSocket clients on one thread.
//!
//! The generator shares the machine with the server it measures, so it must cost less: one epoll set, one read buffer
//! for all sockets, no task, timer or allocation per message. A client that waits costs a few hundred bytes here.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::dialect::{Dialect, STEP2};
use crate::websocket::{BINARY, CLOSE, PING, PONG, TEXT, read_frame, write_frame};

const READ_BUFFER_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// An answer to an upgrade is a few hundred bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Sockets that are being opened at one time.
const JOINING_AT_ONCE: usize = 64;
/// In which at least one more socket must have opened.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// The code of a hub that has not heard of revocations for five seconds and so cannot check tokens (`sync.md` 5), as after
/// it was not let run: clients come again.
const CANNOT_CHECK: u16 = 4503;
/// Before they do.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Space that an empty buffer may keep.
const KEPT_BYTES: usize = 4096;

/// What a client does to get in.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) address: SocketAddr,
    /// The upgrade request, its empty last line included.
    pub(crate) request: String,
    pub(crate) dialect: Arc<Dialect>,
}

/// What a client hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// A sync message: its subtype and what follows.
    Sync(u8, &'a [u8]),
    Text(&'a [u8]),
    /// Any other message.
    Other,
    /// The server closed the socket, with this code if it gave one.
    Closed(Option<u16>),
}

/// Who listens to all clients.
pub(crate) trait Crowd {
    /// `at` counts from the fleet's beginning. An error ends the run.
    fn hear(&mut self, client: usize, at: Duration, event: Event<'_>) -> anyhow::Result<()>;
}

/// Listens to nothing, and minds when a socket is closed.
#[derive(Debug)]
pub(crate) struct Deaf;

impl Crowd for Deaf {
    fn hear(&mut self, client: usize, _at: Duration, event: Event<'_>) -> anyhow::Result<()> {
        if let Event::Closed(code) = event {
            bail!("the server closed the socket of client {client} with {code:?}");
        }
        Ok(())
    }
}

/// The clients, by number in the order of their joining.
pub(crate) struct Fleet {
    epoll: OwnedFd,
    clients: Vec<Client>,
    buffer: Box<[u8]>,
    events: Vec<epoll::Event>,
    begin: Instant,
    open: usize,
    /// Who could not be checked and is to come again.
    refused: Vec<usize>,
}

#[derive(Debug)]
struct Client {
    /// `None` once it is closed.
    stream: Option<TcpStream>,
    dialect: Arc<Dialect>,
    phase: Phase,
    /// The beginning of a message that has not all come yet.
    partial: Vec<u8>,
    out: Vec<u8>,
    waits_for_room: bool,
    /// Whether what comes in is left in the kernel.
    is_paused: bool,
    /// What it comes again with when it could not be checked; none once it is in.
    again: Option<Box<Entrance>>,
    is_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Upgrading,
    Joining,
    Open,
}

impl Fleet {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            events: Vec::with_capacity(EVENTS),
            begin: Instant::now(),
            open: 0,
            refused: Vec::new(),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Opens a socket for each entrance and completes the handshake of the sync protocol on it. Who cannot be checked at
    /// the moment comes again, as clients do, and the crowd does not hear of it.
    pub(crate) fn join_all(
        &mut self,
        entrances: impl IntoIterator<Item = anyhow::Result<Entrance>>,
        crowd: &mut impl Crowd,
    ) -> anyhow::Result<()> {
        let mut entrances = entrances.into_iter().fuse();
        let already = self.clients.len() - self.open;
        let mut progress = Instant::now();
        loop {
            while self.clients.len() - self.open < already + JOINING_AT_ONCE {
                match entrances.next() {
                    Some(entrance) => self.connect_stubbornly(entrance?)?,
                    None => break,
                }
            }
            if self.clients.len() - self.open == already {
                return Ok(());
            }
            let before = self.open;
            self.poll(Duration::from_millis(100), crowd)?;
            self.connect_again()?;
            if self.open > before {
                progress = Instant::now();
            }
            ensure!(
                progress.elapsed() < JOIN_DEADLINE,
                "{} sockets are open and no other opens: {}",
                self.open,
                self.left_out()
            );
        }
    }

    /// How far those have come that are not open.
    fn left_out(&self) -> String {
        let outside = |client: &&Client| client.phase != Phase::Open;
        let count = |is_meant: &dyn Fn(&Client) -> bool| {
            let clients = self.clients.iter().filter(outside);
            clients.filter(|client| is_meant(client)).count()
        };
        let lost = count(&|client| client.stream.is_none());
        let upgrading =
            count(&|client| client.stream.is_some() && client.phase == Phase::Upgrading);
        let joining = count(&|client| client.stream.is_some() && client.phase == Phase::Joining);
        format!("{upgrading} wait for the upgrade, {joining} for step 2, {lost} were hung up on")
    }

    /// Begins to open a socket; its number is returned at once.
    pub(crate) fn connect(&mut self, entrance: Entrance) -> anyhow::Result<usize> {
        let number = self.clients.len();
        let client = Client::connect(&self.epoll, number, entrance)?;
        self.clients.push(client);
        self.flush(number)?;
        Ok(number)
    }

    /// The same for somebody who comes again when it cannot be checked.
    fn connect_stubbornly(&mut self, entrance: Entrance) -> anyhow::Result<()> {
        let again = Box::new(entrance.clone());
        let number = self.connect(entrance)?;
        if let Some(client) = self.clients.get_mut(number) {
            client.again = Some(again);
        }
        Ok(())
    }

    fn connect_again(&mut self) -> anyhow::Result<()> {
        if self.refused.is_empty() {
            return Ok(());
        }
        std::thread::sleep(AGAIN_AFTER);
        for number in std::mem::take(&mut self.refused) {
            let Some(client) = self.clients.get_mut(number) else {
                continue;
            };
            if let Some(again) = client.again.take() {
                *client = Client::connect(&self.epoll, number, Entrance::clone(&again))?;
                client.again = Some(again);
                self.flush(number)?;
            }
        }
        Ok(())
    }

    /// Puts an update in line for the next `flush` of this client.
    pub(crate) fn queue_update(&mut self, client: usize, update: &[u8]) {
        if let Some(client) = self.clients.get_mut(client) {
            let Client { dialect, out, .. } = client;
            dialect.write_update(out, update);
        }
    }

    /// Puts a message of any kind in line.
    pub(crate) fn queue(&mut self, client: usize, opcode: u8, payload: &[u8]) {
        if let Some(client) = self.clients.get_mut(client) {
            write_frame(&mut client.out, opcode, &[payload]);
        }
    }

    /// Puts a sign of life in line.
    pub(crate) fn queue_ping(&mut self, client: usize) {
        if let Some(client) = self.clients.get_mut(client) {
            let Client { dialect, out, .. } = client;
            dialect.write_ping(out);
        }
    }

    /// Bytes that the server has not taken yet.
    pub(crate) fn queued_bytes(&self, client: usize) -> usize {
        self.clients
            .get(client)
            .map_or(0, |client| client.out.len())
    }

    pub(crate) fn encoding(&self, client: usize) -> Option<crate::edits::Encoding> {
        Some(self.clients.get(client)?.dialect.encoding)
    }

    /// Whether any socket is not closed yet.
    pub(crate) fn has_open(&self) -> bool {
        self.clients.iter().any(|client| client.stream.is_some())
    }

    pub(crate) fn is_open(&self, client: usize) -> bool {
        self.clients
            .get(client)
            .is_some_and(|client| client.stream.is_some() && client.phase == Phase::Open)
    }

    /// Sends what is in line, as far as the server takes it; the rest follows during `poll`.
    pub(crate) fn flush(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        client.flush()?;
        let waits = !client.out.is_empty();
        if waits != client.waits_for_room {
            client.waits_for_room = waits;
            client.set_interest(&self.epoll, number)?;
        }
        Ok(())
    }

    /// Leaves what this client is sent in the kernel.
    pub(crate) fn pause(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        client.is_paused = true;
        client.set_interest(&self.epoll, number)
    }

    /// Goes on reading.
    pub(crate) fn resume(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        client.is_paused = false;
        client.set_interest(&self.epoll, number)
    }

    /// Sends the first half of what is in line and forgets the rest.
    pub(crate) fn send_half(&mut self, number: usize) -> anyhow::Result<()> {
        if let Some(client) = self.clients.get_mut(number) {
            client.out.truncate(client.out.len() / 2);
        }
        self.flush(number)
    }

    /// Hangs up without a word.
    pub(crate) fn hang_up(&mut self, number: usize) {
        if let Some(client) = self.clients.get_mut(number) {
            client.stream = None;
            client.partial = Vec::new();
            client.out = Vec::new();
        }
    }

    /// Waits for at most `timeout` and handles what has come.
    pub(crate) fn poll(&mut self, timeout: Duration, crowd: &mut impl Crowd) -> anyhow::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs())?,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let number = usize::try_from(event.data.u64())?;
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.flush(number)?;
            }
            let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if flags.intersects(readable) {
                self.read(number, crowd)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Polls until `until`, counted from the beginning.
    pub(crate) fn poll_until(
        &mut self,
        until: Duration,
        crowd: &mut impl Crowd,
    ) -> anyhow::Result<()> {
        while let Some(left) = until.checked_sub(self.now()) {
            self.poll(left, crowd)?;
        }
        Ok(())
    }

    fn read(&mut self, number: usize, crowd: &mut impl Crowd) -> anyhow::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.read_into(&mut buffer, number, crowd);
        self.buffer = buffer;
        outcome.with_context(|| format!("client {number}"))
    }

    fn read_into(
        &mut self,
        buffer: &mut [u8],
        number: usize,
        crowd: &mut impl Crowd,
    ) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        let Some(mut stream) = client.stream.as_ref() else {
            return Ok(());
        };
        let length = match stream.read(buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_reset) => 0,
        };
        let at = self.begin.elapsed();
        if length == 0 {
            client.stream = None;
            return crowd.hear(number, at, Event::Closed(None));
        }
        let fresh = buffer.get(..length).unwrap_or_default();
        let was_open = client.phase == Phase::Open;
        if client.partial.is_empty() {
            let taken = client.handle(number, at, fresh, crowd)?;
            client
                .partial
                .extend(fresh.get(taken..).unwrap_or_default());
        } else {
            let mut all = std::mem::take(&mut client.partial);
            all.extend_from_slice(fresh);
            let taken = client.handle(number, at, &all, crowd)?;
            all.drain(..taken);
            if all.is_empty() && all.capacity() > KEPT_BYTES {
                all = Vec::new();
            }
            client.partial = all;
        }
        if client.phase == Phase::Open && !was_open {
            client.again = None;
            self.open += 1;
        }
        if std::mem::take(&mut client.is_refused) {
            self.refused.push(number);
        }
        // An answer to the upgrade or to a ping.
        self.flush(number)
    }
}

impl Client {
    fn connect(epoll: &OwnedFd, number: usize, entrance: Entrance) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(entrance.address).context("no connection")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            epoll,
            &stream,
            epoll::EventData::new_u64(number as u64),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            stream: Some(stream),
            dialect: entrance.dialect,
            phase: Phase::Upgrading,
            partial: Vec::new(),
            out: entrance.request.into_bytes(),
            waits_for_room: false,
            is_paused: false,
            again: None,
            is_refused: false,
        })
    }

    /// Handles the whole messages in `bytes` and tells how many bytes those are.
    fn handle(
        &mut self,
        number: usize,
        at: Duration,
        bytes: &[u8],
        crowd: &mut impl Crowd,
    ) -> anyhow::Result<usize> {
        let mut taken = 0;
        if self.phase == Phase::Upgrading {
            match head_length(bytes)? {
                Some(length) => taken = length,
                None => return Ok(0),
            }
            self.phase = Phase::Joining;
            self.dialect.write_opening(&mut self.out);
        }
        while let Some((frame, length)) = read_frame(bytes.get(taken..).unwrap_or_default())? {
            taken += length;
            let event = match frame.opcode {
                BINARY => match self.dialect.sync_message(frame.payload) {
                    Some((subtype, rest)) => {
                        if subtype == STEP2 {
                            self.phase = Phase::Open;
                        }
                        Event::Sync(subtype, rest)
                    }
                    None => Event::Other,
                },
                TEXT => Event::Text(frame.payload),
                PING => {
                    write_frame(&mut self.out, PONG, &[frame.payload]);
                    Event::Other
                }
                CLOSE => {
                    let code = frame.payload.first_chunk().copied().map(u16::from_be_bytes);
                    self.stream = None;
                    let may_return = self.again.is_some() && self.phase != Phase::Open;
                    self.is_refused = may_return && code == Some(CANNOT_CHECK);
                    if !self.is_refused {
                        crowd.hear(number, at, Event::Closed(code))?;
                    }
                    return Ok(bytes.len());
                }
                _ => Event::Other,
            };
            crowd.hear(number, at, event)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let Some(mut stream) = self.stream.as_ref() else {
            self.out = Vec::new();
            return Ok(());
        };
        let mut written = 0;
        while let Some(rest) = self.out.get(written..).filter(|rest| !rest.is_empty()) {
            match stream.write(rest) {
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The reading side finds out that and why the socket is closed.
                Err(_closed) => written = self.out.len(),
            }
        }
        if written == self.out.len() && self.out.capacity() <= KEPT_BYTES {
            self.out.clear();
        } else if written == self.out.len() {
            self.out = Vec::new();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }

    fn set_interest(&self, epoll: &OwnedFd, number: usize) -> anyhow::Result<()> {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, !self.is_paused);
        flags.set(epoll::EventFlags::OUT, self.waits_for_room);
        if let Some(stream) = &self.stream {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::modify(epoll, stream, data, flags)?;
        }
        Ok(())
    }
}

/// The length of a whole HTTP head that switches protocols; anything else in it is an error.
fn head_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(bytes.len() < MAX_HEAD_BYTES, "an answer without an end");
        return Ok(None);
    };
    let head = String::from_utf8_lossy(bytes);
    ensure!(
        head.starts_with("HTTP/1.1 101"),
        "the upgrade was answered: {head}"
    );
    Ok(Some(end + 4))
}
