//! One WebSocket: frames in to its room, frames out from its outbox, and a close that the peer can read.
//!
//! Reading and writing make progress at the same time in one task: a peer that does not read holds back nobody but
//! itself, and a room that is slow to take input does not stop what is already on its way out. The literal text `ping`
//! is answered here, so that it never wakes a room.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use epicenter_identity::{Access, DeviceId, RoomName};
use epicenter_room::{ConnectionId, Message};
use epicenter_sync::CloseCode;
use futures_util::{Sink, SinkExt, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as WireMessage, Utf8Bytes};

use crate::config::LimitsConfig;
use crate::rooms::outbox::{CloseOrder, Next, Outbox, Queued};
use crate::rooms::{Input, Opening, RoomHandle, RoomRegistry};

/// After a close frame was sent: how long, and how much, is read and thrown away, so that a TCP reset does not eat the
/// frame on its way (sync.md 2).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const DISCARD_BUFFER_BYTES: usize = 16 * 1024;
/// How long the close frame itself may wait behind a peer that does not read.
const CLOSE_WRITE: Duration = Duration::from_secs(2);
/// Small, because ten thousand idle sockets each hold one (sync.md 7); larger frames grow it for their time.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Small messages that are ready together leave in one write.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// A finished HTTP upgrade.
pub(crate) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    max_frame_bytes: usize,
    needs_flush: bool,
    /// Until when what was queued before a close, or the answer to the peer's, may still be sent.
    close_deadline: Option<Pin<Box<Sleep>>>,
    /// The code of the peer's close frame, once it has come.
    peer_code: Option<u16>,
    has_peer_closed: bool,
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
    /// The peer closed or vanished; its close frame has been answered by the protocol layer.
    Ended,
    /// This side closes.
    Close(CloseOrder),
}

impl Socket {
    pub(crate) async fn upgraded(io: Upgraded, limits: &LimitsConfig) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(limits.max_frame_bytes))
            .max_frame_size(Some(limits.max_frame_bytes));
        let io = TokioIo::new(io);
        Self {
            stream: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            max_frame_bytes: limits.max_frame_bytes,
            needs_flush: false,
            close_deadline: None,
            peer_code: None,
            has_peer_closed: false,
        }
    }

    /// Runs the connection to its end.
    pub(crate) async fn run(
        mut self,
        rooms: &RoomRegistry,
        max_outbound_bytes: usize,
        joining: Joining,
    ) {
        let Ok(room) = rooms.enter(&joining.room) else {
            self.close(CloseOrder {
                code: CloseCode::GoingAway,
                reason: "the hub is shutting down".to_owned(),
            })
            .await;
            return;
        };
        let connection = rooms.next_connection();
        let outbox = Arc::new(Outbox::new(max_outbound_bytes));
        let open = Input::Open(Box::new(Opening {
            connection,
            access: joining.access,
            device: joining.device,
            revocations_seen: joining.revocations_seen,
            reports: joining.reports,
            outbox: Arc::clone(&outbox),
        }));
        let end = match self.deliver(&room, open, &outbox).await {
            Ok(()) => self.serve(connection, &room, &outbox).await,
            Err(end) => end,
        };
        outbox.abandon();
        let code = self.peer_code;
        // A full inbox must not hold up the close, nor the close the news of it.
        let departed = room.deliver(Input::Disconnected { connection, code });
        let closed = async {
            if let Event::Close(order) = end {
                self.close(order).await;
            }
        };
        tokio::join!(departed, closed);
    }

    /// Passes messages on until the connection is to end; says how.
    async fn serve(
        &mut self,
        connection: ConnectionId,
        room: &RoomHandle,
        outbox: &Outbox,
    ) -> Event {
        loop {
            let message = match self.next_event(outbox).await {
                Event::Message(message) => message,
                end => return end,
            };
            if matches!(&message, Message::Text(text) if text == "ping") {
                outbox.push(WireMessage::Text(Utf8Bytes::from_static("pong")));
                continue;
            }
            let input = Input::Frame {
                connection,
                message,
            };
            if let Err(end) = self.deliver(room, input, outbox).await {
                return end;
            }
        }
    }

    /// Waits for room in the inbox while writing goes on. When the connection is to end meanwhile, the input is given
    /// up: nothing of it was acknowledged, and a stalled disk must not keep a revoked socket open.
    async fn deliver(
        &mut self,
        room: &RoomHandle,
        input: Input,
        outbox: &Outbox,
    ) -> Result<(), Event> {
        let mut delivery = std::pin::pin!(room.deliver(input));
        poll_fn(|context| {
            if delivery.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_write(context, outbox).map(Err)
        })
        .await
    }

    async fn next_event(&mut self, outbox: &Outbox) -> Event {
        poll_fn(|context| {
            if let Poll::Ready(event) = self.poll_write(context, outbox) {
                return Poll::Ready(event);
            }
            self.poll_read(context)
        })
        .await
    }

    /// Writes what the outbox holds; ready when the connection is to end.
    fn poll_write(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<Event> {
        loop {
            match Pin::new(&mut self.stream).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Ended),
                Poll::Pending => return self.poll_blocked(context, outbox),
            }
            match outbox.poll_next(context.waker()) {
                Next::Message(message) => {
                    if Pin::new(&mut self.stream).start_send(message).is_err() {
                        return Poll::Ready(Event::Ended);
                    }
                    self.needs_flush = true;
                }
                Next::Close(order) => return Poll::Ready(Event::Close(order)),
                Next::Empty => break,
            }
        }
        if self.needs_flush {
            match Pin::new(&mut self.stream).poll_flush(context) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Ended),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// The peer does not read at the moment: a close must come through all the same.
    fn poll_blocked(&mut self, context: &mut Context<'_>, outbox: &Outbox) -> Poll<Event> {
        match outbox.poll_ordered_close(context.waker()) {
            None => return Poll::Pending,
            Some(Queued::Drop) => {}
            Some(Queued::Send) => {
                ready!(self.poll_close_deadline(context));
            }
        }
        Poll::Ready(outbox.take_close().map_or(Event::Ended, Event::Close))
    }

    fn poll_close_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.close_deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_WRITE)))
            .as_mut()
            .poll(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            let read = match Pin::new(&mut self.stream).poll_next(context) {
                Poll::Ready(Some(read)) => read,
                Poll::Ready(None) => return Poll::Ready(Event::Ended),
                Poll::Pending if self.has_peer_closed => {
                    // Its close frame cannot be answered while it does not read.
                    ready!(self.poll_close_deadline(context));
                    return Poll::Ready(Event::Ended);
                }
                Poll::Pending => return Poll::Pending,
            };
            return Poll::Ready(match read {
                Ok(WireMessage::Binary(bytes)) => Event::Message(Message::Binary(bytes)),
                Ok(WireMessage::Text(text)) => {
                    Event::Message(Message::Text(text.as_str().to_owned()))
                }
                // The protocol layer has answered the ping; it answers the close before the stream ends.
                Ok(WireMessage::Ping(_) | WireMessage::Pong(_) | WireMessage::Frame(_)) => continue,
                Ok(WireMessage::Close(frame)) => {
                    self.peer_code = frame.map(|frame| frame.code.into());
                    self.has_peer_closed = true;
                    continue;
                }
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    Event::Close(CloseOrder {
                        code: CloseCode::TooLarge,
                        reason: format!(
                            "message over limits.max_frame_bytes ({} bytes)",
                            self.max_frame_bytes
                        ),
                    })
                }
                Err(Error::Utf8(_)) => Event::Close(CloseOrder {
                    code: CloseCode::UpdateRefused,
                    reason: "text that is not UTF-8".to_owned(),
                }),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Event::Ended,
                Err(Error::Protocol(_)) => Event::Close(CloseOrder {
                    code: CloseCode::Protocol,
                    reason: "protocol-error".to_owned(),
                }),
                Err(_) => Event::Ended,
            });
        }
    }

    /// Sends a close frame and the end of the stream, then reads and throws away until the peer ends it too; also the
    /// answer to a refused upgrade. What the peer still sends may be the rest of a message that was too large, so it is
    /// not read as frames.
    pub(crate) async fn close(&mut self, order: CloseOrder) {
        if !self.send_close(order).await {
            return;
        }
        let io = self.stream.get_mut();
        let ended = async {
            if io.shutdown().await.is_err() {
                return;
            }
            let mut buffer = vec![0; DISCARD_BUFFER_BYTES];
            let mut discarded = 0_usize;
            while let Ok(read) = io.read(&mut buffer).await {
                discarded = discarded.saturating_add(read);
                if read == 0 || discarded > LINGER_BYTES {
                    return;
                }
            }
        };
        drop(timeout(LINGER, ended).await);
    }

    /// Queues the close frame and flushes; false when that did not succeed in time.
    async fn send_close(&mut self, order: CloseOrder) -> bool {
        let frame = CloseFrame {
            code: order.code.as_u16().into(),
            reason: order.reason.into(),
        };
        let sent = self.stream.send(WireMessage::Close(Some(frame)));
        matches!(timeout(CLOSE_WRITE, sent).await, Ok(Ok(())))
    }
}
