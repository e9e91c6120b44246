//! The hub's end of one connection: what `socket.rs` of the native host does, on a simulated network.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use epicenter_native::rooms::outbox::{Flushed, Outbox};
use epicenter_native::rooms::{Input, Opening, RoomHandle};
use epicenter_native::websocket::{Frame as WireFrame, Opcode};
use epicenter_room::{ConnectionId, Message};

use super::ledger::Content;
use super::pipe::Pipe;

/// How long a close waits for what is queued before it.
const CLOSE_WRITE_MS: u64 = 2_000;

type Delivery = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that a client says.
#[derive(Clone, Debug)]
pub(super) enum ToHub {
    Message(Message),
    Close(Option<u16>),
}

/// What came of polling a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waits,
    /// It is to be polled again at this time.
    Drains(u64),
    /// It is gone, and the room knows.
    Ended,
}

/// One connection at the hub.
pub(super) struct Socket {
    connection: ConnectionId,
    room: Arc<RoomHandle>,
    outbox: Arc<Outbox>,
    pipe: Arc<Pipe>,
    inbound: VecDeque<ToHub>,
    delivery: Option<Delivery>,
    drains_until: Option<u64>,
    is_leaving: bool,
}

impl Socket {
    /// A connection whose upgrade is done.
    pub(super) fn open(room: RoomHandle, pipe: Arc<Pipe>, opening: Opening) -> Self {
        let room = Arc::new(room);
        let (connection, outbox) = (opening.connection, Arc::clone(&opening.outbox));
        room.join(opening);
        Self {
            connection,
            room,
            outbox,
            pipe,
            inbound: VecDeque::new(),
            delivery: None,
            drains_until: None,
            is_leaving: false,
        }
    }

    /// Something has come from the client.
    pub(super) fn receive(&mut self, message: ToHub) {
        self.inbound.push_back(message);
    }

    /// The connection is found to be gone.
    pub(super) fn lose(&mut self) {
        if !self.is_leaving {
            self.leave(None);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Frames and bytes that wait for the client.
    pub(super) fn outbox(&self) -> (usize, usize) {
        self.outbox.queued()
    }

    /// Commands and bytes that wait for the room.
    pub(super) fn inbox(&self) -> (usize, usize) {
        self.room.waiting()
    }

    pub(super) fn poll(&mut self, waker: &Waker, now: u64) -> Progress {
        loop {
            if let Some(delivery) = &mut self.delivery
                && delivery
                    .as_mut()
                    .poll(&mut Context::from_waker(waker))
                    .is_ready()
            {
                self.delivery = None;
            }
            if self.is_leaving {
                return if self.delivery.is_some() {
                    Progress::Waits
                } else {
                    Progress::Ended
                };
            }
            match self.outbox.poll_flush(waker) {
                Flushed::All => {}
                Flushed::Close(order) => {
                    self.pipe.close(order.code.as_u16());
                    self.leave(None);
                    continue;
                }
                Flushed::Gone => {
                    self.leave(None);
                    continue;
                }
                Flushed::Blocked if self.outbox.is_draining() => {
                    let until = *self.drains_until.get_or_insert(now + CLOSE_WRITE_MS);
                    if now < until {
                        return Progress::Drains(until);
                    }
                    if let Some(order) = self.outbox.take_close() {
                        self.pipe.close(order.code.as_u16());
                    }
                    self.leave(None);
                    continue;
                }
                Flushed::Blocked => {}
            }
            if self.delivery.is_some() {
                return Progress::Waits;
            }
            match self.inbound.pop_front() {
                None => return Progress::Waits,
                Some(ToHub::Close(code)) => self.leave(code),
                Some(ToHub::Message(Message::Text(text))) if text == "ping" => {
                    let pong = Bytes::from_static(b"pong");
                    self.outbox.push(WireFrame::new(Opcode::Text, pong));
                    self.outbox.flush();
                }
                Some(ToHub::Message(message)) => {
                    if let Message::Binary(bytes) = &message
                        && let Some(1 | 2) = bytes.first()
                    {
                        self.pipe.accept(content_of(bytes));
                    }
                    let connection = self.connection;
                    self.deliver(Input::Frame {
                        connection,
                        message,
                    });
                }
            }
        }
    }

    fn deliver(&mut self, input: Input) {
        let room = Arc::clone(&self.room);
        self.delivery = Some(Box::pin(async move { room.deliver(input).await }));
    }

    /// What was not delivered is given up: nothing of it was acknowledged.
    fn leave(&mut self, code: Option<u16>) {
        self.is_leaving = true;
        self.outbox.abandon();
        self.inbound.clear();
        let connection = self.connection;
        self.deliver(Input::Disconnected { connection, code });
    }
}

fn content_of(frame: &Bytes) -> Option<Content> {
    let frame = epicenter_sync::Frame::parse(frame).ok()?;
    Content::of(frame.payload())
}
