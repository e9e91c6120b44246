//! Turns, jobs, the log's own thread and sockets of several rooms, all at once on real threads: whoever joins and asks for
//! what it lacks gets it, while rooms fall asleep, leave memory, come back and are compacted around it.

use std::sync::Condvar;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use epicenter_native::rooms::compaction::CompactionConfig;

use super::*;

const CLIENTS: usize = 6;
const JOINS_OF_A_CLIENT: usize = 120;
const ROOMS: usize = 2;
/// The subtype of the answer to a state vector.
const STEP2: u8 = 1;

enum Work {
    Turn(Arc<Slot>),
    Job(Job),
}

/// Threads for turns and for jobs, and one that rings.
struct Crew {
    begin: Instant,
    turns: Mutex<Sender<Work>>,
    jobs: Mutex<Sender<Work>>,
    alarm: Mutex<Option<Millis>>,
}

fn work_off(work: &Mutex<Receiver<Work>>) {
    loop {
        let next = work.lock().unwrap().recv();
        match next {
            Ok(Work::Turn(slot)) => slot.turn(),
            Ok(Work::Job(job)) => job(),
            Err(_) => return,
        }
    }
}

impl Crew {
    fn new() -> Arc<Self> {
        let start = || {
            let (sender, receiver) = channel();
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..2 {
                let receiver = Arc::clone(&receiver);
                thread::spawn(move || work_off(&receiver));
            }
            Mutex::new(sender)
        };
        Arc::new(Self {
            begin: Instant::now(),
            turns: start(),
            jobs: start(),
            alarm: Mutex::default(),
        })
    }

    /// Rings if it is time to.
    fn ring(&self, rooms: &RoomRegistry) {
        let now = RoomHost::now(self);
        let due = self.alarm.lock().unwrap().take_if(|at| *at <= now);
        if due.is_some() {
            rooms.ring();
        }
    }
}

impl RoomHost for Crew {
    fn now(&self) -> Millis {
        Millis(Clock::now_ms(self))
    }

    fn schedule(&self, slot: Arc<Slot>) {
        drop(self.turns.lock().unwrap().send(Work::Turn(slot)));
    }

    fn run(&self, _kind: JobKind, job: Job) {
        drop(self.jobs.lock().unwrap().send(Work::Job(job)));
    }

    fn set_alarm(&self, at: Option<Millis>) {
        *self.alarm.lock().unwrap() = at;
    }
}

impl Clock for Crew {
    fn now_ms(&self) -> u64 {
        1_000_000 + self.begin.elapsed().as_millis() as u64
    }
}

/// Waits for the answer to a state vector.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Sink for Listener {
    fn try_write(&self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut heard = self.heard.lock().unwrap();
        let before = heard.len();
        for slice in bytes {
            heard.extend_from_slice(slice);
        }
        self.more.notify_all();
        Ok(heard.len() - before)
    }
}

impl Listener {
    fn hears_step2(&self) -> bool {
        let heard = self.heard.lock().unwrap();
        let is_deaf = |heard: &mut Vec<u8>| !holds_step2(heard);
        let (heard, _) = self
            .more
            .wait_timeout_while(heard, DEADLINE, is_deaf)
            .unwrap();
        holds_step2(&heard)
    }
}

/// Whether there is a binary message of this subtype among these frames of a server.
fn holds_step2(mut frames: &[u8]) -> bool {
    while let [first, second, rest @ ..] = frames {
        let (length, rest) = match (second, rest) {
            (126, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (127, _) => panic!("no document here is so large"),
            (short, rest) => (usize::from(*short), rest),
        };
        if first & 0x0F == 2 && rest.first() == Some(&STEP2) {
            return true;
        }
        frames = rest.get(length..).unwrap_or_default();
    }
    false
}

/// Joins rooms, edits and leaves again; says where it was left without an answer.
fn client(number: usize, rooms: &RoomRegistry) -> Result<(), String> {
    let mut typist = Typist::new(100 + number as u64);
    for join in 0..JOINS_OF_A_CLIENT {
        let name = room_name(&format!("room-{}", (number + join) % ROOMS));
        let room = rooms.enter(&name).unwrap();
        let listener = Arc::new(Listener::default());
        let outbox = Arc::new(Outbox::new(1 << 20, Arc::clone(&listener) as Arc<dyn Sink>));
        let connection = rooms.next_connection();
        let says = |message| Input::Frame {
            connection,
            message,
        };
        room.join(Opening {
            connection,
            access: access("grant"),
            device: DeviceId::parse(&format!("device-{number}")).unwrap(),
            reports: false,
            revocations_seen: rooms.revocations_seen(),
            outbox: Arc::clone(&outbox),
        });
        // Every entry of the state vector is missing.
        let step1 = Message::Binary(epicenter_sync::encode_step1(&[0]));
        crate::wait(room.deliver(says(step1)));
        if !listener.hears_step2() {
            return Err(format!("client {number}, join {join}: {room:?}"));
        }
        if join % 3 == 0 {
            crate::wait(room.deliver(says(update(&mut typist))));
        }
        outbox.abandon();
        let code = None;
        crate::wait(room.deliver(Input::Disconnected { connection, code }));
    }
    Ok(())
}

#[test]
fn everybody_who_joins_gets_what_it_lacks_whatever_happens_to_the_room_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let crew = Crew::new();
    let clock = Arc::clone(&crew) as Arc<dyn Clock>;
    let path = directory.path().join("rooms.db");
    let log = SqliteLog::open(&path, LogConfig::default(), clock).unwrap();
    let engine = EngineConfig {
        compaction: CompactionConfig {
            load_entries: 4,
            busy_entries: 4,
            busy_bytes: 64,
            close_entries: 2,
            after_close_ms: 0,
            retry_ms: 0,
            ..CompactionConfig::default()
        },
        idle_ms: 0,
        max_cache_bytes: 2_000,
    };
    let limits = LimitsConfig {
        max_inbox_commands: 2,
        ..LimitsConfig::default()
    };
    let host = Arc::clone(&crew) as Arc<dyn RoomHost>;
    let rooms = RoomRegistry::new(Arc::new(log), host, RoomConfig::default(), engine, limits);
    let outcomes: Vec<Result<(), String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let rooms = rooms.clone();
                scope.spawn(move || client(number, &rooms))
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            crew.ring(&rooms);
            thread::yield_now();
        }
        let joined = clients.into_iter().map(|client| client.join().unwrap());
        joined.collect()
    });
    assert_eq!(outcomes, vec![Ok(()); CLIENTS]);
    // What is left comes to rest by itself.
    let begin = Instant::now();
    while rooms.rooms() > 0 {
        crew.ring(&rooms);
        assert!(begin.elapsed() < DEADLINE, "a room stays in memory");
        thread::yield_now();
    }
}
