//! The engine of the rooms over its ports: a test decides when turns and jobs run, what time it is, when the disk is done
//! and how much a peer reads.

mod stalled;
mod threads;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use epicenter_identity::{
    Access, ClientId, DeviceId, GrantId, OwnerId, RoomId, RoomName, Scopes, UserId,
};
use epicenter_native::config::LimitsConfig;
use epicenter_native::log::{Log as _, LogConfig, SqliteLog};
use epicenter_native::rooms::outbox::{Flushed, Outbox, Sink};
use epicenter_native::rooms::ports::{Job, JobKind, RoomHost};
use epicenter_native::rooms::{Call, EngineConfig, Input, Opening, RoomHandle, RoomRegistry, Slot};
use epicenter_room::{CallId, ConnectionId, Message, Millis, Request, RoomConfig, RoomStatus};
use epicenter_server::ports::Clock;
use epicenter_testkit::{DelayingLog, Typist};

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs what it is given when the test says so.
#[derive(Default)]
struct Desk {
    now: AtomicU64,
    turns: Mutex<VecDeque<Arc<Slot>>>,
    jobs: Mutex<VecDeque<Job>>,
    alarm: Mutex<Option<Millis>>,
}

impl Desk {
    fn next_turn(&self) -> Option<Arc<Slot>> {
        self.turns.lock().unwrap().pop_front()
    }

    fn next_job(&self) -> Option<Job> {
        self.jobs.lock().unwrap().pop_front()
    }
}

impl RoomHost for Desk {
    fn now(&self) -> Millis {
        Millis(self.now.load(Ordering::SeqCst))
    }

    fn schedule(&self, slot: Arc<Slot>) {
        self.turns.lock().unwrap().push_back(slot);
    }

    fn run(&self, _kind: JobKind, job: Job) {
        self.jobs.lock().unwrap().push_back(job);
    }

    fn set_alarm(&self, at: Option<Millis>) {
        *self.alarm.lock().unwrap() = at;
    }
}

impl Clock for Desk {
    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}

/// A registry with everything around it.
struct Stage {
    desk: Arc<Desk>,
    log: Arc<DelayingLog>,
    rooms: RoomRegistry,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new(room: RoomConfig, engine: EngineConfig, limits: LimitsConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = Arc::new(Desk::default());
        desk.now.store(1_000_000, Ordering::SeqCst);
        let clock = Arc::clone(&desk) as Arc<dyn Clock>;
        let path = directory.path().join("rooms.db");
        let log = SqliteLog::open(&path, LogConfig::default(), clock).unwrap();
        let log = DelayingLog::around(Arc::new(log));
        let host = Arc::clone(&desk) as Arc<dyn RoomHost>;
        let rooms = RoomRegistry::new(Arc::clone(&log) as _, host, room, engine, limits);
        Self {
            desk,
            log,
            rooms,
            _directory: directory,
        }
    }

    /// Runs turns and jobs until there are none.
    fn run(&self) {
        loop {
            if let Some(slot) = self.desk.next_turn() {
                slot.turn();
            } else if let Some(job) = self.desk.next_job() {
                job();
            } else {
                return;
            }
        }
    }

    /// Runs until something holds; the log answers from a thread of its own.
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begin = Instant::now();
        loop {
            self.run();
            if holds() {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{what} did not happen");
            std::thread::yield_now();
        }
    }

    /// Lets time pass and rings if that is due.
    fn pass(&self, milliseconds: u64) {
        self.desk.now.fetch_add(milliseconds, Ordering::SeqCst);
        let now = self.desk.now();
        if self
            .desk
            .alarm
            .lock()
            .unwrap()
            .take_if(|at| *at <= now)
            .is_some()
        {
            self.rooms.ring();
        }
        self.run();
    }

    /// A socket of this grant whose peer reads so much.
    fn join(&self, room: &RoomHandle, grant: &str, peer: &Arc<Peer>) -> Joined {
        self.join_after(self.rooms.revocations_seen(), room, grant, peer)
    }

    /// The same, let in when so many revocations were known.
    fn join_after(
        &self,
        revocations_seen: u64,
        room: &RoomHandle,
        grant: &str,
        peer: &Arc<Peer>,
    ) -> Joined {
        let outbox = Arc::new(Outbox::new(1 << 20, Arc::clone(peer) as Arc<dyn Sink>));
        let connection = self.rooms.next_connection();
        room.join(Opening {
            connection,
            access: access(grant),
            device: DeviceId::parse(grant).unwrap(),
            reports: false,
            revocations_seen,
            outbox: Arc::clone(&outbox),
        });
        Joined { connection, outbox }
    }
}

/// A socket in a room.
struct Joined {
    connection: ConnectionId,
    outbox: Arc<Outbox>,
}

impl Joined {
    /// How it is to be closed, if it is.
    fn close(&self) -> Option<u16> {
        match self.outbox.poll_flush(Waker::noop()) {
            Flushed::Close(order) => Some(order.code.as_u16()),
            _ => None,
        }
    }

    fn says(&self, message: Message) -> Input {
        Input::Frame {
            connection: self.connection,
            message,
        }
    }
}

/// The other end of a socket.
#[derive(Default)]
struct Peer {
    is_deaf: bool,
    heard: Mutex<Vec<u8>>,
}

impl Peer {
    fn deaf() -> Arc<Self> {
        Arc::new(Self {
            is_deaf: true,
            ..Self::default()
        })
    }
}

impl Sink for Peer {
    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_deaf {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut heard = self.heard.lock().unwrap();
        let before = heard.len();
        for slice in bytes {
            heard.extend_from_slice(slice);
        }
        Ok(heard.len() - before)
    }
}

fn room_name(room: &str) -> RoomName {
    RoomName::stored(OwnerId::parse("ada").unwrap(), RoomId::parse(room).unwrap())
}

fn access(grant: &str) -> Access {
    Access::authenticated_as(
        UserId::parse("ada").unwrap(),
        OwnerId::parse("ada").unwrap(),
        ClientId::parse("tests").unwrap(),
        GrantId::parse(grant).unwrap(),
        Scopes::all(),
    )
}

fn update(typist: &mut Typist) -> Message {
    let update = Bytes::from(typist.types("x"));
    Message::Binary(epicenter_sync::encode_update(&update))
}

#[test]
fn states_for_sockets_that_are_gone_are_not_built() {
    let stage = Stage::new(
        RoomConfig::default(),
        EngineConfig::default(),
        LimitsConfig::default(),
    );
    let room = stage.rooms.enter(&room_name("notes")).unwrap();
    let peer = Arc::new(Peer::default());
    let first = stage.join(&room, "first", &peer);
    stage.until("what a socket is told first", || {
        !peer.heard.lock().unwrap().is_empty()
    });
    let step1 = || Message::Binary(epicenter_sync::encode_step1(&[0]));
    let turns = || {
        while let Some(slot) = stage.desk.next_turn() {
            slot.turn();
        }
    };
    room.try_deliver(first.says(step1())).unwrap();
    turns();
    for _ in 0..100 {
        let socket = stage.join(&room, "second", &Arc::default());
        room.try_deliver(socket.says(step1())).unwrap();
        turns();
        let gone = Input::Disconnected {
            connection: socket.connection,
            code: None,
        };
        room.try_deliver(gone).unwrap();
        turns();
    }
    let last = stage.join(&room, "third", &Arc::default());
    room.try_deliver(last.says(step1())).unwrap();
    turns();
    let mut built = 0;
    while let Some(job) = stage.desk.next_job() {
        built += 1;
        job();
        turns();
    }
    assert_eq!(built, 2, "for the first and for the last");
    assert_eq!(last.close(), None);
}

/// A tombstone wants no compaction; each attempt was useless, and the next one kept the room in memory for ever.
#[test]
fn a_deleted_room_with_a_grown_log_leaves_memory() {
    let mut engine = EngineConfig {
        idle_ms: 10,
        ..EngineConfig::default()
    };
    engine.compaction.close_entries = 4;
    engine.compaction.after_close_ms = 10;
    engine.compaction.retry_ms = 1_000;
    let stage = Stage::new(RoomConfig::default(), engine, LimitsConfig::default());
    let name = room_name("notes");
    let room = stage.rooms.enter(&name).unwrap();
    let writer = stage.join(&room, "writer", &Arc::default());
    let mut typist = Typist::new(7);
    for _ in 0..8 {
        room.try_deliver(writer.says(update(&mut typist))).unwrap();
    }
    let (answer, mut answered) = tokio::sync::oneshot::channel();
    let call = Call {
        call: CallId(1),
        access: access("caller"),
        request: Request::Delete,
        answer,
    };
    room.try_deliver(Input::Call(Box::new(call))).unwrap();
    stage.until("the deletion", || answered.try_recv().is_ok());
    assert_eq!(writer.close(), Some(4410));
    let extent = stage.log.extent(&name).unwrap();
    assert_eq!(extent.status, RoomStatus::Deleted);
    assert!(extent.entries > 8, "it has grown");
    drop(room);
    stage.run();
    for _ in 0..20 {
        stage.pass(1_000);
    }
    assert_eq!(stage.rooms.rooms(), 0);
    assert_eq!(*stage.desk.alarm.lock().unwrap(), None);
}
