//! The machine: what a room decides, one command at a time.
//!
//! It owns the room's state and emits effects in order; when an effect may be seen is the gate's business. Its parts:
//! `updates` (sync, gap requests, reports), `document` (what is known and what waits), `presence`, `dispatch`, `calls` (HTTP) and `lifetime`
//! (opening, closing, the timer).
//!
//! Invariants: the state here runs ahead of the disk, so nothing of it leaves except through the outbox; nothing a
//! peer sends can panic; the cost of a frame does not grow with the room's history.

mod calls;
pub(crate) mod dispatch;
mod document;
mod lifetime;
mod presence;
mod updates;

use std::sync::Arc;

use epicenter_identity::{DeviceId, GrantId, UserId};
use epicenter_sync::{ClientText, CloseCode, TextError};

use crate::action::Note;
use crate::command::{
    Command, ConnectionId, Loaded, Message, Millis, Request, RoomStatus, Seq, StorageFull,
};
use crate::config::RoomConfig;
use crate::effect::{Effect, Outbox};
use crate::reason;
use crate::schedule::Schedule;
use crate::sorted::SortedMap;

use dispatch::Dispatch;
use document::Document;
use lifetime::{Departure, Leaving};
use presence::Presence;

/// The state of a room.
#[derive(Debug)]
pub(crate) struct Machine {
    config: Arc<RoomConfig>,
    phase: Phase,
    now: Millis,
    out: Outbox,
    schedule: Schedule,
    /// When each silent socket is closed at the latest.
    expiries: SortedMap<(Millis, ConnectionId), ()>,
    armed: Option<Millis>,
    going_away: bool,
    /// A quota is used up.
    full: Option<StorageFull>,
    document: Document,
    connections: SortedMap<ConnectionId, Box<Connection>>,
    /// Not connections any more, and open until the disk has caught up.
    leaving: Vec<Leaving>,
    presence: Presence,
    dispatch: Dispatch,
}

/// Whether the document is in memory.
#[derive(Debug)]
enum Phase {
    /// Never read, or forgotten.
    Asleep,
    /// With the input that made it load. Hosts feed no second one, but none would be lost.
    Loading(Vec<Waiting>),
    Ready,
}

/// An input that waits for the log.
#[derive(Debug)]
struct Waiting {
    command: Command,
    came_at: Millis,
    /// A frame whose socket was closed since, by its peer or because its time was over: the update counts, as it came
    /// before.
    is_orphan: bool,
}

impl Waiting {
    fn new(command: Command, came_at: Millis) -> Self {
        Waiting {
            command,
            came_at,
            is_orphan: false,
        }
    }
}

/// An open socket.
#[derive(Debug)]
struct Connection {
    device: DeviceId,
    user: UserId,
    grant: GrantId,
    opened_at: Millis,
    /// What it published, unless that was over a limit.
    actions: Option<Arc<str>>,
    last_list: Millis,
    last_gap_request: Option<Millis>,
    noted: Noted,
    /// How many updates it has sent, if it wants to hear what becomes of them.
    updates: Option<u64>,
}

/// Which kinds of note this connection has caused.
#[derive(Clone, Copy, Debug, Default)]
struct Noted(u8);

impl Noted {
    const FRAME: u8 = 1;
    const STATE_VECTOR: u8 = 2;
    const UPDATE: u8 = 4;
    const TEXT: u8 = 8;
    const PENDING: u8 = 16;
    const ACCEPTED: u8 = 32;

    /// Whether this is the first of its kind.
    fn first(&mut self, kind: u8) -> bool {
        let first = self.0 & kind == 0;
        self.0 |= kind;
        first
    }

    /// The next one is the first of its kind again.
    fn forget(&mut self, kind: u8) {
        self.0 &= !kind;
    }
}

impl Machine {
    pub(crate) fn new(config: Arc<RoomConfig>) -> Self {
        Machine {
            config,
            phase: Phase::Asleep,
            now: Millis::default(),
            out: Outbox::default(),
            schedule: Schedule::default(),
            expiries: SortedMap::default(),
            armed: None,
            going_away: false,
            full: None,
            document: Document::default(),
            connections: SortedMap::default(),
            leaving: Vec::new(),
            presence: Presence::default(),
            dispatch: Dispatch::default(),
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading(_))
    }

    pub(crate) fn max_in_flight_bytes(&self) -> usize {
        self.config.max_in_flight_bytes
    }

    pub(crate) fn last(&self) -> Seq {
        self.out.last()
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.out.in_flight_bytes()
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        self.out.take_effects()
    }

    /// Whether the document is in memory or on its way there.
    pub(crate) fn is_awake(&self) -> bool {
        !matches!(self.phase, Phase::Asleep)
    }

    /// Whether nothing needs the document: nothing waits for the disk and nobody is about to be asked for what is missing.
    pub(crate) fn can_sleep(&self) -> bool {
        matches!(self.phase, Phase::Ready)
            && self.out.in_flight_bytes() == 0
            && !self.schedule.has_gap_request()
    }

    /// Gives the document away. Sockets, presence, calls between devices and deadlines stay.
    pub(crate) fn sleep(&mut self) -> Loaded {
        self.phase = Phase::Asleep;
        self.out.shrink();
        self.leaving.shrink_to_fit();
        let left = Document::empty(self.document.status);
        std::mem::replace(&mut self.document, left).given_away(self.out.last())
    }

    /// Whether a log that was read can be the one this room knows: whoever slept wakes up where it fell asleep. Otherwise
    /// numbers of entries would come again, and what waits for them would be shown before it is on disk.
    pub(crate) fn goes_on_with(&self, loaded: &Loaded) -> bool {
        let is_first = self.out.last() == Seq(0) && self.connections.is_empty();
        let is_live = self.connections.is_empty() || loaded.status == RoomStatus::Live;
        is_first || (loaded.last == self.out.last() && is_live)
    }

    /// The log that was read is not this room's.
    pub(crate) fn note_mismatch(&mut self, read: Seq) {
        let known = self.out.last();
        self.out.note(Note::LogMismatch { known, read });
    }

    /// The log was read.
    pub(crate) fn loaded(&mut self, loaded: Loaded, now: Millis) {
        self.now = self.now.max(now);
        let Phase::Loading(waiting) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            return;
        };
        self.out.start_at(loaded.last);
        self.take_over(loaded);
        self.run_deadlines();
        for Waiting {
            command,
            came_at,
            is_orphan,
        } in waiting
        {
            match command {
                Command::Frame {
                    message: Message::Binary(message),
                    ..
                } if is_orphan => self.orphan_frame(&message),
                command => self.apply(command, came_at),
            }
        }
        self.finish();
    }

    /// Any command but those of the log, which `Room` takes apart.
    pub(crate) fn handle(&mut self, command: Command, now: Millis) {
        self.now = self.now.max(now);
        if matches!(command, Command::Timer) {
            self.armed = None;
        }
        self.run_deadlines();
        let is_input = matches!(
            command,
            Command::Open { .. } | Command::Frame { .. } | Command::Call { .. }
        );
        let must_load = !self.going_away && self.needs_document(&command);
        match &mut self.phase {
            Phase::Asleep if must_load => {
                self.phase = Phase::Loading(vec![Waiting::new(command, self.now)]);
                self.out.load();
            }
            Phase::Loading(waiting) if is_input && !self.going_away => {
                waiting.push(Waiting::new(command, self.now));
            }
            Phase::Loading(waiting) => {
                if let Command::Disconnected { connection, .. } = &command
                    && self.connections.contains_key(connection)
                {
                    orphan(waiting, *connection);
                }
                forget_waiting(waiting, &command, &mut self.out);
                self.apply(command, self.now);
            }
            Phase::Asleep | Phase::Ready => self.apply(command, self.now),
        }
        self.finish();
    }

    /// Whether this cannot be decided without the document. While a socket is open, the room is known to exist.
    fn needs_document(&self, command: &Command) -> bool {
        match command {
            Command::Open { .. } => true,
            Command::Frame {
                connection,
                message: Message::Binary(_),
            } => self.connections.contains_key(connection),
            Command::Call {
                request: Request::Dispatch { .. },
                ..
            } => self.connections.is_empty(),
            Command::Call { .. } => true,
            _ => false,
        }
    }

    /// Nothing happened but the passing of time.
    pub(crate) fn time_passed(&mut self, now: Millis) {
        self.now = self.now.max(now);
        self.run_deadlines();
        self.finish();
    }

    fn apply(&mut self, command: Command, came_at: Millis) {
        match command {
            Command::Open {
                connection,
                access,
                device,
                reports,
            } => {
                self.open(connection, &access, device, reports, came_at);
            }
            Command::Frame {
                connection,
                message,
            } => self.frame(connection, message),
            Command::Call {
                call,
                access,
                request,
            } => self.call(call, &access, request),
            Command::HangUp { call } => self.hang_up(call),
            Command::Disconnected { connection, code } => {
                let refused = code == Some(CloseCode::Unauthorized.as_u16());
                let departure = if refused {
                    Departure::AtOnce
                } else {
                    Departure::Delayed
                };
                self.leaving
                    .retain(|socket| socket.connection != connection);
                self.remove(connection, departure);
            }
            Command::Revoke { grant } => self.revoke(|_, of| *of == grant),
            Command::RevokeUser { user } => self.revoke(|of, _| *of == user),
            Command::Shutdown => self.shut_down(),
            Command::Storage(full) => self.full = full,
            Command::Timer
            | Command::Durable(_)
            | Command::AppendFailed(_)
            | Command::Loaded(_)
            | Command::LoadFailed
            | Command::StateBuilt { .. } => {}
        }
    }

    fn frame(&mut self, id: ConnectionId, message: Message) {
        if !self.connections.contains_key(&id) {
            return;
        }
        match message {
            Message::Binary(message) => self.binary_frame(id, &message),
            Message::Text(text) => self.text_frame(id, &text),
        }
        self.close_if_expired(id);
    }

    fn text_frame(&mut self, id: ConnectionId, text: &str) {
        match ClientText::parse(text) {
            Ok(ClientText::PresencePublish { actions }) => self.publish(id, actions.get()),
            Ok(ClientText::DispatchRequest {
                id: request,
                to,
                action,
                input,
            }) => {
                let input = input.as_deref().map(serde_json::value::RawValue::get);
                self.dispatch_request(id, request, &to, &action, input);
            }
            Ok(ClientText::DispatchResponse {
                id: inbound,
                result,
            }) => {
                self.dispatch_response(id, inbound, result.get());
            }
            Err(TextError::Fields) => {
                self.note_dropped(id, Noted::TEXT, "text with malformed fields");
            }
            Err(_) => {
                self.out.note(Note::ProtocolError { connection: id });
                self.close(id, CloseCode::Protocol, reason::PROTOCOL);
            }
        }
    }

    /// The frames of an open socket that wait for the log outlive it.
    fn orphan_waiting(&mut self, gone: ConnectionId) {
        if let Phase::Loading(waiting) = &mut self.phase {
            orphan(waiting, gone);
        }
    }

    fn note_dropped(&mut self, id: ConnectionId, kind: u8, what: &'static str) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let is_first = connection.noted.first(kind);
        self.out.note(Note::FrameDropped {
            connection: id,
            what,
            is_first,
        });
    }
}

fn orphan(waiting: &mut [Waiting], gone: ConnectionId) {
    for waiting in waiting {
        if matches!(&waiting.command, Command::Frame { connection, .. } if *connection == gone) {
            waiting.is_orphan = true;
        }
    }
}

/// What waits for the log is forgotten when its sender goes.
fn forget_waiting(waiting: &mut Vec<Waiting>, gone: &Command, out: &mut Outbox) {
    waiting.retain(|waiting| match (&waiting.command, gone) {
        _ if waiting.is_orphan => !matches!(gone, Command::Shutdown),
        (
            Command::Open { .. } | Command::Frame { .. } | Command::Call { .. },
            Command::Shutdown,
        ) => false,
        (
            Command::Open { connection, .. } | Command::Frame { connection, .. },
            Command::Disconnected {
                connection: gone, ..
            },
        ) => connection != gone,
        (Command::Call { call, .. }, Command::HangUp { call: gone }) => call != gone,
        (
            Command::Open {
                connection, access, ..
            },
            Command::Revoke { .. } | Command::RevokeUser { .. },
        ) => {
            let revoked = match gone {
                Command::Revoke { grant } => access.grant() == grant,
                Command::RevokeUser { user } => access.user() == user,
                _ => false,
            };
            if revoked {
                let reason = reason::INVALID_TOKEN.to_owned();
                out.close_now(*connection, CloseCode::Unauthorized, reason);
            }
            !revoked
        }
        _ => true,
    });
}
