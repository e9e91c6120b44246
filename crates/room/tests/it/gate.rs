//! Durable before visible, whatever happens in whatever order: a room on a slow disk never shows anything before its
//! entry is durable, and in the end everybody has got exactly what they get from a room whose disk takes no time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use epicenter_identity::{RoomId, RoomName};
use epicenter_room::{
    Action, CallId, Command, ConnectionId, Loaded, Message, Millis, Outgoing, Request, Room,
    RoomConfig, Seq, Ticket,
};
use epicenter_sync::{CloseCode, encode_step1, encode_update};
use epicenter_update::StateVector;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::host::{ADA, BOB, Host, START, access, device};
use crate::yjs;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Open(u64, bool),
    Leave(u64),
    Update(u64, u8, u8),
    After(u64, u8, u8),
    Remove(u64, u8),
    Step1(u64),
    Publish(u64),
    Ask(u64, u8),
    Respond(u64, u8),
    Garbage(u64),
    Snapshot,
    Push(u8, u8),
    Delete,
    Create,
    Restore,
    Revoke(bool),
    Wait(u64),
    Disk,
    Build,
}

fn event() -> impl Strategy<Value = Event> {
    let socket = 1..6_u64;
    let client = 1..4_u8;
    prop_oneof![
        4 => (socket.clone(), any::<bool>()).prop_map(|(id, bob)| Event::Open(id, bob)),
        1 => socket.clone().prop_map(Event::Leave),
        8 => (socket.clone(), client.clone(), 0..6_u8).prop_map(|(id, c, k)| Event::Update(id, c, k)),
        2 => (socket.clone(), client.clone(), 0..3_u8).prop_map(|(id, c, k)| Event::After(id, c, k)),
        2 => (socket.clone(), client.clone()).prop_map(|(id, c)| Event::Remove(id, c)),
        3 => socket.clone().prop_map(Event::Step1),
        2 => socket.clone().prop_map(Event::Publish),
        2 => (socket.clone(), 1..6_u8).prop_map(|(id, to)| Event::Ask(id, to)),
        2 => (socket.clone(), 0..4_u8).prop_map(|(id, n)| Event::Respond(id, n)),
        1 => socket.prop_map(Event::Garbage),
        2 => Just(Event::Snapshot),
        2 => (client, 0..6_u8).prop_map(|(c, k)| Event::Push(c, k)),
        1 => Just(Event::Delete),
        1 => Just(Event::Create),
        1 => Just(Event::Restore),
        1 => any::<bool>().prop_map(Event::Revoke),
        2 => (0..400_u64).prop_map(Event::Wait),
        6 => Just(Event::Disk),
        4 => Just(Event::Build),
    ]
}

/// Turns events into commands; socket numbers become ids that are never used again.
#[derive(Default)]
struct Script {
    sockets: BTreeMap<u64, ConnectionId>,
    ids: u64,
}

impl Script {
    fn command(&mut self, event: &Event) -> Option<Command> {
        let frame = |script: &Self, socket: &u64, message| {
            let connection = *script.sockets.get(socket)?;
            Some(Command::Frame {
                connection,
                message,
            })
        };
        let binary = |update: &Bytes| Message::Binary(encode_update(update));
        self.ids += 1;
        let call = CallId(self.ids);
        let request = |request| {
            Some(Command::Call {
                call,
                access: access(ADA),
                request,
            })
        };
        match event {
            Event::Open(socket, bob) => {
                let connection = ConnectionId(self.ids);
                self.sockets.insert(*socket, connection);
                let who = if *bob { BOB } else { ADA };
                let device = device(&format!("device-{}", socket % 4));
                Some(Command::Open {
                    connection,
                    access: access(who),
                    device,
                    reports: socket % 2 == 1,
                })
            }
            Event::Leave(socket) => {
                let connection = self.sockets.remove(socket)?;
                Some(Command::Disconnected {
                    connection,
                    code: None,
                })
            }
            Event::Update(socket, client, clock) => {
                frame(self, socket, binary(&yjs::set(*client, *clock, 1)))
            }
            Event::After(socket, client, clock) => {
                let update = yjs::after(client + 10, 0, (*client, *clock));
                frame(self, socket, binary(&update))
            }
            Event::Remove(socket, client) => {
                frame(self, socket, binary(&yjs::delete(*client, 0, 2)))
            }
            Event::Step1(socket) => frame(self, socket, Message::Binary(encode_step1(&[0]))),
            Event::Publish(socket) => {
                let text = format!(
                    r#"{{"type":"presence_publish","actions":{{"a{}":{{"type":"query"}}}}}}"#,
                    self.ids
                );
                frame(self, socket, Message::Text(text))
            }
            Event::Ask(socket, to) => {
                let text = format!(
                    r#"{{"type":"dispatch_request","id":"{}","to":"device-{}","action":"a"}}"#,
                    self.ids % 4,
                    to % 4
                );
                frame(self, socket, Message::Text(text))
            }
            Event::Respond(socket, id) => {
                let text = format!(
                    r#"{{"type":"dispatch_response","id":"{id}","result":{{"data":1,"error":null}}}}"#
                );
                frame(self, socket, Message::Text(text))
            }
            Event::Garbage(socket) => frame(self, socket, Message::Text("garbage".to_owned())),
            Event::Snapshot => request(Request::Snapshot {
                if_none_match: vec![],
            }),
            Event::Push(client, clock) => request(Request::Sync {
                state_vector: StateVector::default(),
                update: yjs::set(*client, *clock, 1),
                if_none_match: vec![],
            }),
            Event::Delete => request(Request::Delete),
            Event::Create => request(Request::Create),
            Event::Restore => request(Request::Restore),
            Event::Revoke(bob) => {
                let who = if *bob { BOB } else { ADA };
                Some(Command::Revoke {
                    grant: access(who).grant().clone(),
                })
            }
            Event::Wait(_) => Some(Command::Timer),
            Event::Disk | Event::Build => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Receiver {
    Connection(ConnectionId),
    Call(CallId),
}

/// One room and what it showed to whom.
struct Observed {
    room: Room,
    /// The last append it handed out.
    last: Seq,
    durable: Seq,
    in_flight: VecDeque<Seq>,
    builds: VecDeque<(Ticket, Seq)>,
    /// Each with the last append before it.
    seen: BTreeMap<Receiver, Vec<(Seq, Action)>>,
    /// Counts of saved updates likewise: a slow disk joins them.
    saved: BTreeMap<ConnectionId, Vec<(Seq, Outgoing)>>,
    closed_early: Vec<(Receiver, CloseCode)>,
    is_slow: bool,
}

impl Observed {
    fn new(is_slow: bool) -> Self {
        let name = RoomName::of(&access(ADA), RoomId::parse("room").unwrap());
        Observed {
            room: Room::new(name, Arc::new(RoomConfig::default())),
            last: Seq(0),
            durable: Seq(0),
            in_flight: VecDeque::new(),
            builds: VecDeque::new(),
            seen: BTreeMap::new(),
            saved: BTreeMap::new(),
            closed_early: Vec::new(),
            is_slow,
        }
    }

    fn feed(&mut self, command: Command, now: Millis) {
        let mut commands = VecDeque::from([command]);
        while let Some(command) = commands.pop_front() {
            for action in self.room.handle(command, now) {
                commands.extend(self.carry_out(action));
            }
        }
    }

    /// With a disk that takes no time, `self.last` is exactly what each action had to wait for.
    fn carry_out(&mut self, action: Action) -> Option<Command> {
        let receiver = match &action {
            Action::Load => return Some(Command::Loaded(Loaded::default())),
            Action::Append(append) => {
                assert_eq!(append.first.0, self.last.0 + 1);
                self.last = append.last();
                if self.is_slow {
                    self.in_flight.push_back(self.last);
                    return None;
                }
                self.durable = self.last;
                return Some(Command::Durable(self.last));
            }
            Action::BuildState { ticket, upto, .. } => {
                assert!(*upto <= self.durable, "asked to read what is not there");
                self.builds.push_back((*ticket, *upto));
                return if self.is_slow { None } else { self.build() };
            }
            Action::Close {
                connection, code, ..
            } if *code != CloseCode::RoomDeleted => {
                let receiver = Receiver::Connection(*connection);
                self.closed_early.push((receiver, *code));
                return None;
            }
            Action::Close { connection, .. } => Receiver::Connection(*connection),
            Action::Send {
                to,
                message: Outgoing::Text(text),
            } if text.starts_with(br#"{"type":"saved""#) => {
                let saved = (self.last, Outgoing::Text(text.clone()));
                self.saved.entry(*to).or_default().push(saved);
                return None;
            }
            Action::Send { to, .. } => Receiver::Connection(*to),
            Action::Answer { call, .. } => Receiver::Call(*call),
            Action::SetTimer(_) | Action::Note(_) => return None,
            Action::Discard => panic!("nothing failed"),
        };
        self.seen
            .entry(receiver)
            .or_default()
            .push((self.last, action));
        None
    }

    /// Whether it was closed because the room was deleted.
    fn is_deleted_for(&self, receiver: &Receiver) -> bool {
        let last = self.seen.get(receiver).and_then(|seen| seen.last());
        matches!(last, Some((_, Action::Close { .. })))
    }

    fn was_closed_early(&self, receiver: &Receiver) -> bool {
        self.closed_early
            .iter()
            .any(|(closed, _)| closed == receiver)
    }

    fn disk(&mut self) -> Option<Command> {
        self.durable = self.in_flight.pop_front()?;
        Some(Command::Durable(self.durable))
    }

    /// A state is told apart by what it was built from.
    fn build(&mut self) -> Option<Command> {
        let (ticket, upto) = self.builds.pop_front()?;
        let update = Some(Bytes::copy_from_slice(&upto.0.to_be_bytes()));
        Some(Command::StateBuilt { ticket, update })
    }

    /// Checks that everything seen here was seen there, in that order, and was durable when it was.
    fn check_against(&self, fast: &Observed) -> Result<(), TestCaseError> {
        for (receiver, seen) in &self.seen {
            let expected = fast
                .seen
                .get(receiver)
                .map(Vec::as_slice)
                .unwrap_or_default();
            prop_assert!(seen.len() <= expected.len(), "{receiver:?} saw {seen:?}");
            for (at, (_, seen)) in seen.iter().enumerate() {
                // A deletion waits for the disk, but not for a state that is being built.
                let is_close = matches!(seen, Action::Close { .. });
                let expected = if is_close {
                    expected.last()
                } else {
                    expected.get(at)
                };
                let Some((after, expected)) = expected else {
                    unreachable!()
                };
                prop_assert_eq!(seen, expected);
                prop_assert!(
                    *after <= self.durable,
                    "{:?} saw {:?} early",
                    receiver,
                    seen
                );
            }
        }
        for (connection, saved) in &self.saved {
            let expected = fast.saved.get(connection).map(Vec::as_slice);
            let mut expected = expected.unwrap_or_default().iter();
            for (_, saved) in saved {
                let found = expected.find(|(_, expected)| expected == saved);
                prop_assert!(
                    found.is_some_and(|(after, _)| *after <= self.durable),
                    "{connection:?} was told {saved:?} early, twice or wrongly"
                );
            }
        }
        Ok(())
    }
}

/// One event on a host with a log. Its disk takes no time.
fn happen(host: &mut Host, script: &mut Script, event: &Event) {
    match event {
        Event::Wait(milliseconds) => host.advance(*milliseconds),
        event => script
            .command(event)
            .into_iter()
            .for_each(|it| host.feed(it)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_seen_before_it_is_durable_and_nothing_is_lost(events in vec(event(), 1..120)) {
        let (mut slow, mut fast) = (Observed::new(true), Observed::new(false));
        let (mut script, mut twin) = (Script::default(), Script::default());
        let mut now = START;
        for event in &events {
            if let Event::Wait(milliseconds) = event {
                now += milliseconds;
            }
            let delayed = match event {
                Event::Disk => slow.disk(),
                Event::Build => slow.build(),
                _ => None,
            };
            if let Some(command) = twin.command(event) {
                fast.feed(command, Millis(now));
            }
            if let Some(command) = script.command(event).or(delayed) {
                slow.feed(command, Millis(now));
            }
            slow.check_against(&fast)?;
        }
        loop {
            let Some(command) = slow.disk().or_else(|| slow.build()) else { break };
            slow.feed(command, Millis(now));
            slow.check_against(&fast)?;
        }
        // A revocation overtakes the end of a deletion that waits for the disk.
        let mut closed_early = slow.closed_early.clone();
        closed_early.retain(|(receiver, code)| {
            *code != CloseCode::Unauthorized || !fast.is_deleted_for(receiver)
        });
        prop_assert_eq!(&closed_early, &fast.closed_early);
        prop_assert_eq!(slow.last, fast.last);
        for (receiver, expected) in &fast.seen {
            let seen = slow.seen.get(receiver).map(Vec::len).unwrap_or_default();
            let has_left = matches!(receiver, Receiver::Connection(id) if !script.sockets.values().any(|open| open == id));
            let is_deleted = matches!(expected.last(), Some((_, Action::Close { .. })));
            let is_whole = seen == expected.len() || (is_deleted && seen > 0);
            prop_assert!(has_left || slow.was_closed_early(receiver) || is_whole);
        }
        for (connection, expected) in &fast.saved {
            let is_open = script.sockets.values().any(|open| open == connection)
                && !fast.is_deleted_for(&Receiver::Connection(*connection))
                && !slow.was_closed_early(&Receiver::Connection(*connection));
            let last = slow.saved.get(connection).and_then(|saved| saved.last());
            prop_assert!(!is_open || last.map(|(_, text)| text) == expected.last().map(|(_, text)| text));
        }
    }

    #[test]
    fn a_room_that_sleeps_whenever_it_can_shows_the_same(events in vec(event(), 1..80)) {
        let (mut awake, mut sleepy) = (Host::new(), Host::new());
        let (mut script, mut twin) = (Script::default(), Script::default());
        for event in &events {
            happen(&mut awake, &mut script, event);
            sleepy.room.sleep();
            happen(&mut sleepy, &mut twin, event);
        }
        prop_assert_eq!(&sleepy.log, &awake.log);
        prop_assert_eq!(&sleepy.sent, &awake.sent);
        prop_assert_eq!(&sleepy.closed, &awake.closed);
        prop_assert_eq!(&sleepy.answers, &awake.answers);
        prop_assert_eq!(sleepy.timer, awake.timer);
        prop_assert_eq!(&sleepy.notes, &awake.notes);
    }
}
