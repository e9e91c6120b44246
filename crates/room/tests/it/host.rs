//! A host driven by hand: a log in memory, a disk that is as fast as the test wants, and a mailbox per peer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{
    Access, ClientId, DeviceId, GrantId, OwnerId, RoomId, RoomName, Scopes, UserId,
};
use epicenter_room::{
    Action, Answer, CallId, Command, ConnectionId, Entry, Loaded, Message, Millis, Note, Outgoing,
    Request, Room, RoomConfig, RoomStatus, Seq, Tag, Ticket,
};
use epicenter_sync::{CloseCode, Frame};
use epicenter_update::{EMPTY_UPDATE, Limits, StateVector, Update, diff, ingest, merge};

/// Milliseconds at which every test begins.
pub(crate) const START: u64 = 1_000_000;

pub(crate) struct Host {
    pub(crate) room: Room,
    config: RoomConfig,
    pub(crate) now: u64,
    pub(crate) log: Vec<Entry>,
    /// Reports every append as durable at once.
    pub(crate) fast_disk: bool,
    /// Builds every state at once.
    pub(crate) fast_builder: bool,
    pub(crate) unacknowledged: VecDeque<Seq>,
    pub(crate) builds: VecDeque<(Ticket, StateVector, Seq)>,
    pub(crate) durable: Seq,
    pub(crate) sent: BTreeMap<ConnectionId, Vec<Outgoing>>,
    pub(crate) closed: BTreeMap<ConnectionId, (CloseCode, String)>,
    pub(crate) answers: BTreeMap<CallId, Answer>,
    pub(crate) timer: Option<Millis>,
    pub(crate) timers_set: usize,
    pub(crate) notes: Vec<Note>,
    pub(crate) loads: usize,
    pub(crate) is_discarded: bool,
    /// The log has dropped what the deleted room held.
    pub(crate) is_purged: bool,
}

/// Who a peer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) user: &'static str,
    pub(crate) grant: &'static str,
}

pub(crate) const ADA: Who = Who {
    user: "ada",
    grant: "grant-ada",
};
pub(crate) const BOB: Who = Who {
    user: "bob",
    grant: "grant-bob",
};

pub(crate) fn access(who: Who) -> Access {
    Access::authenticated_as(
        UserId::parse(who.user).unwrap(),
        OwnerId::parse("owner").unwrap(),
        ClientId::parse("client").unwrap(),
        GrantId::parse(who.grant).unwrap(),
        Scopes::all(),
    )
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn new_room(config: &RoomConfig) -> Room {
    let room = RoomId::parse("room").unwrap();
    Room::new(RoomName::of(&access(ADA), room), Arc::new(config.clone()))
}

impl Host {
    pub(crate) fn new() -> Self {
        Host::with(RoomConfig::default())
    }

    pub(crate) fn with(config: RoomConfig) -> Self {
        Host {
            room: new_room(&config),
            config,
            now: START,
            log: Vec::new(),
            fast_disk: true,
            fast_builder: true,
            unacknowledged: VecDeque::new(),
            builds: VecDeque::new(),
            durable: Seq(0),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            answers: BTreeMap::new(),
            timer: None,
            timers_set: 0,
            notes: Vec::new(),
            loads: 0,
            is_discarded: false,
            is_purged: false,
        }
    }

    /// Drops the room and begins again from the log.
    pub(crate) fn restart(&mut self) {
        self.room = new_room(&self.config);
        self.timer = None;
        self.builds.clear();
        self.unacknowledged.clear();
        self.is_discarded = false;
    }

    pub(crate) fn feed(&mut self, command: Command) {
        let mut commands = VecDeque::from([command]);
        while let Some(command) = commands.pop_front() {
            for action in self.room.handle(command, Millis(self.now)) {
                commands.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Command> {
        match action {
            Action::Load => {
                self.loads += 1;
                return Some(Command::Loaded(self.read_log()));
            }
            Action::Append(append) => {
                assert_eq!(append.first, Seq(self.log.len() as u64 + 1));
                let last = append.last();
                self.log.extend(append.entries);
                assert_eq!(last, Seq(self.log.len() as u64));
                if self.fast_disk {
                    self.durable = last;
                    return Some(Command::Durable(last));
                }
                self.unacknowledged.push_back(last);
            }
            Action::Send { to, message } => {
                assert!(
                    !self.closed.contains_key(&to),
                    "a closed socket gets nothing"
                );
                self.sent.entry(to).or_default().push(message);
            }
            Action::BuildState {
                ticket,
                state_vector,
                upto,
            } => {
                assert!(
                    upto <= self.durable,
                    "a state is built from durable entries"
                );
                if self.fast_builder {
                    let update = Some(self.difference(&state_vector, upto));
                    return Some(Command::StateBuilt { ticket, update });
                }
                self.builds.push_back((ticket, state_vector, upto));
            }
            Action::Close {
                connection,
                code,
                reason,
            } => {
                assert!(reason.len() <= 123);
                let before = self.closed.insert(connection, (code, reason));
                assert!(before.is_none(), "closed twice");
            }
            Action::Answer { call, answer } => {
                let before = self.answers.insert(call, answer);
                assert!(before.is_none(), "answered twice");
            }
            Action::SetTimer(at) => {
                assert_ne!(self.timer, at, "the timer is set only when it changes");
                self.timers_set += 1;
                self.timer = at;
            }
            Action::Discard => self.is_discarded = true,
            Action::Note(note) => self.notes.push(note),
        }
        None
    }

    /// For each dropped frame, whether it was noted as the first of its kind from its sender.
    /// Fails when anything else was noted.
    pub(crate) fn drops_noted(&self) -> Vec<bool> {
        let is_first = |note: &Note| match note {
            Note::FrameDropped { is_first, .. } => *is_first,
            other => panic!("{other:?}"),
        };
        self.notes.iter().map(is_first).collect()
    }

    /// The oldest append is on disk.
    pub(crate) fn disk(&mut self) {
        let seq = self
            .unacknowledged
            .pop_front()
            .expect("an append in flight");
        self.durable = seq;
        self.feed(Command::Durable(seq));
    }

    /// All appends are on disk.
    pub(crate) fn disk_all(&mut self) {
        while !self.unacknowledged.is_empty() {
            self.disk();
        }
    }

    /// The oldest state asked for is built.
    pub(crate) fn build(&mut self) {
        let (ticket, state_vector, upto) = self.builds.pop_front().expect("a build");
        let update = Some(self.difference(&state_vector, upto));
        self.feed(Command::StateBuilt { ticket, update });
    }

    /// Lets time pass, the timer coming exactly when it was asked for.
    pub(crate) fn advance_to(&mut self, now: u64) {
        while let Some(at) = self.timer.filter(|at| at.0 <= now) {
            self.now = self.now.max(at.0);
            self.timer = None;
            self.feed(Command::Timer);
        }
        self.now = now;
    }

    pub(crate) fn advance(&mut self, milliseconds: u64) {
        self.advance_to(self.now + milliseconds);
    }

    pub(crate) fn open(&mut self, id: u64, who: Who, name: &str) -> ConnectionId {
        let connection = ConnectionId(id);
        self.feed(Command::Open {
            connection,
            access: access(who),
            device: device(name),
            reports: false,
        });
        connection
    }

    /// Opens a socket that wants to hear what becomes of its updates, and forgets what was said.
    pub(crate) fn join_reported(&mut self, id: u64, who: Who, name: &str) -> ConnectionId {
        let connection = ConnectionId(id);
        self.feed(Command::Open {
            connection,
            access: access(who),
            device: device(name),
            reports: true,
        });
        self.sent.clear();
        connection
    }

    /// Opens and forgets what was said on accept and to the others.
    pub(crate) fn join(&mut self, id: u64, who: Who, name: &str) -> ConnectionId {
        let connection = self.open(id, who, name);
        self.sent.clear();
        connection
    }

    pub(crate) fn binary(&mut self, connection: ConnectionId, frame: Bytes) {
        self.feed(Command::Frame {
            connection,
            message: Message::Binary(frame),
        });
    }

    pub(crate) fn push(&mut self, connection: ConnectionId, update: &Bytes) {
        self.binary(connection, epicenter_sync::encode_update(update));
    }

    pub(crate) fn text(&mut self, connection: ConnectionId, text: &str) {
        self.feed(Command::Frame {
            connection,
            message: Message::Text(text.to_owned()),
        });
    }

    pub(crate) fn leave(&mut self, connection: ConnectionId, code: Option<u16>) {
        self.feed(Command::Disconnected { connection, code });
    }

    pub(crate) fn call(&mut self, id: u64, request: Request) -> CallId {
        let call = CallId(id);
        self.feed(Command::Call {
            call,
            access: access(ADA),
            request,
        });
        call
    }

    pub(crate) fn snapshot(&mut self, id: u64) -> Answer {
        let call = self.call(
            id,
            Request::Snapshot {
                if_none_match: Vec::new(),
            },
        );
        self.answers[&call].clone()
    }

    pub(crate) fn sync(
        &mut self,
        id: u64,
        have: &StateVector,
        push: &Bytes,
        tags: &[Tag],
    ) -> Answer {
        let call = self.call(
            id,
            Request::Sync {
                state_vector: have.clone(),
                update: push.clone(),
                if_none_match: tags.to_vec(),
            },
        );
        self.answers[&call].clone()
    }

    /// Takes what was sent to a connection.
    pub(crate) fn take(&mut self, connection: ConnectionId) -> Vec<Outgoing> {
        self.sent.remove(&connection).unwrap_or_default()
    }

    pub(crate) fn take_texts(&mut self, connection: ConnectionId) -> Vec<serde_json::Value> {
        let sent = self.take(connection).into_iter();
        sent.filter_map(|message| match message {
            Outgoing::Text(text) => Some(serde_json::from_slice(&text).unwrap()),
            Outgoing::Binary(_) => None,
        })
        .collect()
    }

    /// Takes the presence lists sent to a connection, each as its device ids.
    pub(crate) fn take_lists(&mut self, connection: ConnectionId) -> Vec<Vec<String>> {
        let texts = self.take_texts(connection).into_iter();
        texts
            .filter(|text| text["type"] == "presence")
            .map(|text| {
                let devices = text["devices"].as_array().unwrap().iter();
                devices
                    .map(|entry| entry["deviceId"].as_str().unwrap().to_owned())
                    .collect()
            })
            .collect()
    }

    /// Takes the frames sent to a connection.
    pub(crate) fn take_frames(&mut self, connection: ConnectionId) -> Vec<Frame> {
        let sent = self.take(connection).into_iter();
        sent.filter_map(|message| match message {
            Outgoing::Binary(bytes) => Some(Frame::parse(&bytes).unwrap()),
            Outgoing::Text(_) => None,
        })
        .collect()
    }

    /// Takes the payloads of the update frames sent to a connection.
    pub(crate) fn take_updates(&mut self, connection: ConnectionId) -> Vec<Bytes> {
        let frames = self.take_frames(connection).into_iter();
        frames
            .filter_map(|frame| match frame {
                Frame::Update(update) => Some(update),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn read_log(&self) -> Loaded {
        let stored = Stored::of(&self.log);
        let ready = Update::parse(&stored.ready, &LIMITLESS).unwrap();
        Loaded {
            status: stored.status,
            last: Seq(self.log.len() as u64),
            state_vector: ready.state_vector(),
            deletes: ready.deletes(),
            pending: stored.pending,
            is_purged: self.is_purged,
        }
    }

    /// What a peer with this state vector lacks of the log up to an entry.
    pub(crate) fn difference(&self, state_vector: &StateVector, upto: Seq) -> Bytes {
        let stored = Stored::of(&self.log[..upto.0 as usize]);
        let pending = stored.pending.unwrap_or(Bytes::from_static(&EMPTY_UPDATE));
        let whole = merge_all([&stored.ready, &pending]);
        Bytes::from(diff(
            &Update::parse(&whole, &LIMITLESS).unwrap(),
            state_vector,
        ))
    }

    /// The visible document: its state vector.
    pub(crate) fn clocks(&self) -> Vec<(u64, u32)> {
        self.read_log().state_vector.iter().collect()
    }
}

pub(crate) const LIMITLESS: Limits = Limits {
    max_structs: u32::MAX,
    max_state_vector_entries: u32::MAX,
    max_nesting: u32::MAX,
};

pub(crate) fn merge_all<'a>(updates: impl IntoIterator<Item = &'a Bytes>) -> Bytes {
    let updates: Vec<Update<'_>> = updates
        .into_iter()
        .map(|update| Update::parse(update, &LIMITLESS).unwrap())
        .collect();
    Bytes::from(merge(&updates))
}

/// Somebody who only listens: applies what comes live, all of which must be applicable at once.
pub(crate) struct Listener {
    pub(crate) connection: ConnectionId,
    pub(crate) document: Bytes,
}

impl Listener {
    pub(crate) fn new(connection: ConnectionId) -> Self {
        Listener {
            connection,
            document: Bytes::from_static(&EMPTY_UPDATE),
        }
    }

    pub(crate) fn listen(&mut self, host: &mut Host) {
        for update in host.take_updates(self.connection) {
            let parsed = Update::parse(&update, &LIMITLESS).unwrap();
            let known = Update::parse(&self.document, &LIMITLESS)
                .unwrap()
                .state_vector();
            assert_eq!(
                ingest(&parsed, &known).pending,
                None,
                "live fan-out is causal"
            );
            self.document = merge_all([&self.document, &update]);
        }
    }
}

struct Stored {
    status: RoomStatus,
    ready: Bytes,
    pending: Option<Bytes>,
}

impl Stored {
    fn of(entries: &[Entry]) -> Self {
        let mut status = RoomStatus::Absent;
        let empty = Bytes::from_static(&EMPTY_UPDATE);
        let (mut ready, mut pending) = (vec![empty], Vec::new());
        for entry in entries {
            match entry {
                Entry::Ready(update) => ready.push(update.clone()),
                Entry::Pending(update) => pending.push(update.clone()),
                Entry::Created | Entry::Restored => status = RoomStatus::Live,
                Entry::Deleted => status = RoomStatus::Deleted,
                Entry::Recreated => {
                    status = RoomStatus::Live;
                    ready.truncate(1);
                    pending.clear();
                }
            }
        }
        let ready = merge_all(&ready);
        let pending = if pending.is_empty() {
            None
        } else {
            Some(merge_all(&pending))
        };
        let known = Update::parse(&ready, &LIMITLESS).unwrap().state_vector();
        let pending = pending.and_then(|pending| {
            let parts = ingest(&Update::parse(&pending, &LIMITLESS).unwrap(), &known);
            assert!(
                parts.advanced.is_empty(),
                "what is ready stands in a ready row"
            );
            parts.pending.map(Bytes::from)
        });
        Stored {
            status,
            ready,
            pending,
        }
    }
}
