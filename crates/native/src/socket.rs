//! One WebSocket: frames in to its room, frames out from its outbox, and a close that the peer can read.
//!
//! Reading and writing make progress at the same time in one task: a peer that does not read holds back nobody but
//! itself, and a room that is slow to take input does not stop what is already on its way out. The literal text `ping`
//! is answered here, so that it never wakes a room. Bytes are read into a buffer that all sockets of a thread share, so a
//! socket that says nothing holds none.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use epicenter_identity::{Access, DeviceId, RoomName};
use epicenter_room::{ConnectionId, Message, Pace};
use epicenter_sync::CloseCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, timeout};

use crate::config::LimitsConfig;
use crate::rooms::outbox::{CloseOrder, Flushed, Outbox, Sink};
use crate::rooms::{Input, Opening, RoomHandle, RoomRegistry};
use crate::websocket::{Decoder, Frame, Incoming, Opcode, Violation};

/// After a close frame was sent: how long, and how much, is read and thrown away, so that a TCP reset does not eat the
/// frame on its way (sync.md 2).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// How long the close frame itself may wait behind a peer that does not read.
const CLOSE_WRITE: Duration = Duration::from_secs(2);
/// The same when its access has ended: news of that takes up to half a second, and after a second it is to be gone.
const REVOKED_WRITE: Duration = Duration::from_millis(400);
/// What one system call reads at most.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// Used between a read and the end of the same poll, never longer.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

impl Sink for TcpStream {
    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(bytes)
    }
}

/// A finished HTTP upgrade.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    outbox: Arc<Outbox>,
    decoder: Decoder,
    /// What was read and not yet decoded.
    rest: Bytes,
    max_frame_bytes: usize,
    max_frames_per_second: u32,
    pace: Pace,
    /// Until when what was queued before a close may still be sent.
    close_deadline: Option<Pin<Box<Sleep>>>,
}

/// Where a socket wants to be.
pub(crate) struct Joining {
    pub(crate) access: Access,
    pub(crate) room: RoomName,
    pub(crate) device: DeviceId,
    /// How many revocations were known before the token was checked.
    pub(crate) revocations_seen: u64,
    /// Whether it asked to be told what became of its updates.
    pub(crate) reports: bool,
}

/// What came of polling a socket.
enum Event {
    Message(Message),
    /// The peer has sent its close frame, with this code in this payload.
    Closed(Option<u16>, Bytes),
    /// The peer is gone.
    Gone,
    /// This side closes.
    Close(CloseOrder),
}

impl Socket {
    /// None when what was upgraded is not a connection of this listener.
    pub(crate) fn upgraded(io: Upgraded, limits: &LimitsConfig) -> Option<Self> {
        let parts = io.downcast::<TokioIo<TcpStream>>().ok()?;
        let stream = Arc::new(parts.io.into_inner());
        Some(Self {
            outbox: Arc::new(Outbox::new(
                limits.max_outbound_bytes,
                Arc::clone(&stream) as Arc<dyn Sink>,
            )),
            stream,
            decoder: Decoder::new(limits.max_frame_bytes),
            // Copied, because an empty part of hyper's buffer keeps all of it.
            rest: Bytes::copy_from_slice(&parts.read_buf),
            max_frame_bytes: limits.max_frame_bytes,
            max_frames_per_second: limits.max_frames_per_second,
            pace: Pace::default(),
            close_deadline: None,
        })
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(mut self, rooms: &RoomRegistry, joining: Joining) {
        let Ok(room) = rooms.enter(&joining.room) else {
            let order = CloseOrder {
                code: CloseCode::GoingAway,
                reason: "the hub is shutting down".to_owned(),
            };
            note_close(rooms, &joining.room, None, &order);
            return self.close(order).await;
        };
        let connection = rooms.next_connection();
        room.join(Opening {
            connection,
            access: joining.access,
            device: joining.device,
            reports: joining.reports,
            revocations_seen: joining.revocations_seen,
            outbox: Arc::clone(&self.outbox),
        });
        let end = self.serve(connection, rooms, &room).await;
        match &end {
            Event::Close(order) => note_close(rooms, room.name(), Some(connection), order),
            Event::Closed(code, _) => rooms.stats().closed_by_peer(*code),
            Event::Gone | Event::Message(_) => rooms.stats().sockets_lost.add(1),
        }
        Box::pin(self.leave(connection, room, end)).await;
    }

    /// Tells the room and the peer that it is over.
    async fn leave(mut self, connection: ConnectionId, room: RoomHandle, end: Event) {
        let code = match &end {
            Event::Closed(code, _) => *code,
            _ => None,
        };
        // A full inbox must not hold up the close, nor the close the news of it.
        let departed = room.deliver(Input::Disconnected { connection, code });
        let closed = async {
            match end {
                Event::Close(order) => self.close(order).await,
                Event::Closed(_, payload) => self.answer_close(payload).await,
                Event::Gone | Event::Message(_) => {}
            }
            self.outbox.abandon();
        };
        tokio::join!(departed, closed);
    }

    /// Passes messages on until the connection is to end; says how.
    async fn serve(
        &mut self,
        connection: ConnectionId,
        rooms: &RoomRegistry,
        room: &RoomHandle,
    ) -> Event {
        loop {
            let message = match poll_fn(|context| self.poll_event(context)).await {
                Event::Message(message) => message,
                end => return end,
            };
            let pause_ms = self
                .pace
                .frame_read(self.max_frames_per_second, rooms.now());
            if pause_ms > 0
                && let Err(end) = Box::pin(self.pause(Duration::from_millis(pause_ms))).await
            {
                return end;
            }
            if matches!(&message, Message::Text(text) if text == "ping") {
                self.answer(Frame::new(Opcode::Text, Bytes::from_static(b"pong")));
                continue;
            }
            let input = Input::Frame {
                connection,
                message,
            };
            let Err(input) = room.try_deliver_here(input) else {
                continue;
            };
            // Boxed, because most sockets never wait for their room.
            if let Err(end) = Box::pin(self.deliver(room, input)).await {
                return end;
            }
        }
    }

    /// Waits for room in the inbox while writing goes on. When the connection is to end meanwhile, the input is given
    /// up: nothing of it was acknowledged, and a stalled disk must not keep a revoked socket open.
    async fn deliver(&mut self, room: &RoomHandle, input: Input) -> Result<(), Event> {
        let mut delivery = pin!(room.deliver(input));
        poll_fn(|context| {
            if delivery.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_write(context).map(Err)
        })
        .await
    }

    /// Does not read for a while; writing goes on.
    async fn pause(&mut self, pause: Duration) -> Result<(), Event> {
        let mut pause = pin!(tokio::time::sleep(pause));
        poll_fn(|context| {
            if pause.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_write(context).map(Err)
        })
        .await
    }

    fn answer(&self, frame: Frame) {
        self.outbox.push(frame);
        self.outbox.flush();
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.poll_write(context) {
            return Poll::Ready(event);
        }
        self.poll_read(context)
    }

    /// Writes what the outbox holds; ready when the connection is to end.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            match self.outbox.poll_flush(context.waker()) {
                Flushed::All => return Poll::Pending,
                Flushed::Close(order) => return Poll::Ready(Event::Close(order)),
                Flushed::Gone => return Poll::Ready(Event::Gone),
                Flushed::Blocked => {}
            }
            // The peer does not read at the moment: a close must come through all the same.
            if self.outbox.is_draining() && self.poll_close_deadline(context).is_ready() {
                let order = self.outbox.take_close();
                return Poll::Ready(order.map_or(Event::Gone, Event::Close));
            }
            if ready!(self.stream.poll_write_ready(context)).is_err() {
                return Poll::Ready(Event::Gone);
            }
        }
    }

    fn poll_close_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.close_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_WRITE)))
            .as_mut()
            .poll(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if !self.rest.is_empty() {
                let mut rest = std::mem::take(&mut self.rest);
                let mut input = &rest[..];
                let event = self.decode(&mut input);
                let decoded = rest.len() - input.len();
                bytes::Buf::advance(&mut rest, decoded);
                if !rest.is_empty() {
                    self.rest = rest;
                }
                if let Some(event) = event {
                    return Poll::Ready(event);
                }
            }
            if ready!(self.stream.poll_read_ready(context)).is_err() {
                return Poll::Ready(Event::Gone);
            }
            let event = READ_BUFFER.with_borrow_mut(|buffer| {
                let mut input = match read_all(&self.stream, buffer) {
                    Ok(0) => return Some(Event::Gone),
                    Ok(read) => &buffer[..read],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                    Err(_gone) => return Some(Event::Gone),
                };
                let event = self.decode(&mut input);
                self.rest = Bytes::copy_from_slice(input);
                event
            });
            if let Some(event) = event {
                return Poll::Ready(event);
            }
        }
    }

    /// The next event in these bytes; none when they are used up.
    fn decode(&mut self, input: &mut &[u8]) -> Option<Event> {
        loop {
            let event = match self.decoder.decode(input) {
                Ok(None) => return None,
                Ok(Some(Incoming::Binary(bytes))) => Event::Message(Message::Binary(bytes)),
                Ok(Some(Incoming::Text(text))) => Event::Message(Message::Text(text)),
                Ok(Some(Incoming::Ping(payload))) => {
                    self.answer(Frame::new(Opcode::Pong, payload));
                    continue;
                }
                Ok(Some(Incoming::Close { code, payload })) => Event::Closed(code, payload),
                Err(violation) => Event::Close(self.order_for(violation)),
            };
            return Some(event);
        }
    }

    fn order_for(&self, violation: Violation) -> CloseOrder {
        let (code, reason) = match violation {
            Violation::TooLarge => (
                CloseCode::TooLarge,
                format!(
                    "message over limits.max_frame_bytes ({} bytes)",
                    self.max_frame_bytes
                ),
            ),
            Violation::NotUtf8 => (
                CloseCode::UpdateRefused,
                "text that is not UTF-8".to_owned(),
            ),
            Violation::Protocol => (CloseCode::Protocol, "protocol-error".to_owned()),
        };
        CloseOrder { code, reason }
    }

    /// The peer has closed: its close frame is answered with itself, and whatever was queued is void.
    async fn answer_close(&mut self, payload: Bytes) {
        let frame = Frame::new(Opcode::Close, payload);
        if self.send_last(frame, CLOSE_WRITE).await {
            // The peer closes its end when it has the answer.
            self.discard_rest().await;
        }
    }

    /// Sends a close frame and the end of the stream, then reads and throws away until the peer ends it too; also the
    /// answer to a refused upgrade. What the peer still sends may be the rest of a message that was too large, so it is
    /// not read as frames.
    pub(crate) async fn close(&mut self, order: CloseOrder) {
        let frame = Frame::close(order.code.as_u16(), &order.reason);
        let within = match order.code {
            CloseCode::Unauthorized => REVOKED_WRITE,
            _ => CLOSE_WRITE,
        };
        if self.send_last(frame, within).await {
            self.discard_rest().await;
        }
    }

    /// Sends the very last frame; false when that did not succeed in time.
    async fn send_last(&mut self, frame: Frame, within: Duration) -> bool {
        self.outbox.push_last(frame);
        let sent = poll_fn(|context| {
            loop {
                match self.outbox.poll_flush(context.waker()) {
                    Flushed::All => return Poll::Ready(true),
                    Flushed::Gone => return Poll::Ready(false),
                    // The order that led here, or one that came too late.
                    Flushed::Close(_) => {}
                    Flushed::Blocked => {
                        if ready!(self.stream.poll_write_ready(context)).is_err() {
                            return Poll::Ready(false);
                        }
                    }
                }
            }
        });
        timeout(within, sent).await.unwrap_or(false)
    }

    async fn discard_rest(&mut self) {
        let socket = socket2::SockRef::from(self.stream.as_ref());
        if socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let mut discarded = 0_usize;
        let ended = async {
            while discarded <= LINGER_BYTES && self.stream.readable().await.is_ok() {
                let read = READ_BUFFER.with_borrow_mut(|buffer| self.stream.try_read(buffer));
                match read {
                    Ok(0) => return,
                    Ok(read) => discarded = discarded.saturating_add(read),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_gone) => return,
                }
            }
        };
        drop(timeout(LINGER, ended).await);
    }
}

/// Counts and logs that this side closes a socket, which happens to each at most once. Codes and reasons are the hub's
/// own words and hold nothing of what the peer has sent. One that has not joined its room has no number.
pub(crate) fn note_close(
    rooms: &RoomRegistry,
    room: &RoomName,
    connection: Option<ConnectionId>,
    order: &CloseOrder,
) {
    rooms.stats().closed_by_hub(order.code, &order.reason);
    tracing::debug!(
        room.name = %room,
        connection = connection.map(|connection| connection.0),
        socket.close_code = order.code.as_u16(),
        reason = order.reason.as_str(),
        "the hub closes a socket"
    );
}

/// Reads what has come. When that leaves room in the buffer there is no more, so the stream counts as empty without a
/// second system call that would say so.
fn read_all(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let result = stream.try_io(Interest::READABLE, || {
        let socket = socket2::SockRef::from(stream);
        let bytes = (&*socket).read(buffer)?;
        read = Some(bytes);
        if bytes > 0 && bytes < buffer.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match (read, result) {
        (Some(bytes), _) => Ok(bytes),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Err(io::ErrorKind::WouldBlock.into()),
    }
}
