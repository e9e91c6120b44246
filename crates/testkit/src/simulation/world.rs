//! A play: the hub's process, its disk, the network, the devices, and the order of chance in which things happen.

mod acts;
mod calls;
mod ending;
mod faults;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use epicenter_identity::{GrantId, OwnerId, RoomId, RoomName};
use epicenter_native::rooms::RoomRegistry;
use epicenter_native::rooms::ports::RoomHost;

use super::agenda::Agenda;
use super::client::Client;
use super::disk::{Disk, Weather};
use super::document::Forest;
use super::engine::Engine;
use super::ledger::Ledger;
use super::log::{LogPort, SimLog};
use super::plan::Plan;
use super::scene::{Scene, TaskId};
use crate::dice::Dice;
use calls::PendingCall;
use network::{Link, Upgrade};

/// More events than any play has: something never comes to rest.
const MAX_EVENTS: u64 = 400_000;
/// How often, in events, the queues are measured.
const MEASURED_EVERY: u64 = 8;

/// Something that happens outside the hub's process.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A user does something.
    Act(usize),
    /// A device begins an upgrade.
    Connect(usize),
    /// An upgrade is done.
    Join(usize, Upgrade),
    /// Something of a client's reaches the hub.
    Reach(u64),
    /// Something of the hub's arrives at a client.
    Arrive(u64),
    /// A socket or call is to be polled.
    Poll(TaskId),
    /// The hub finds a connection gone.
    HubLearns(u64),
    /// A client finds its connection gone.
    ClientLearns(u64),
    /// Somebody calls over HTTP.
    Call,
    /// And does not wait for the answer.
    HangUp(TaskId),
    /// The disk changes its ways.
    Weather,
    Revoke,
    /// A revoked connection is over by now.
    CheckRevoked(u64),
    Crash,
    Boot,
    Suspend,
    Jump,
}

/// One run of the hub.
struct Process {
    number: u64,
    engine: Arc<Engine>,
    log: Arc<SimLog>,
    registry: RoomRegistry,
}

/// What a play was made of, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Turns, jobs, commits, frames, everything.
    pub events: u64,
    /// Edits made.
    pub edits: u64,
    /// Runs of the hub.
    pub processes: u64,
    /// Connections opened.
    pub connections: u64,
    /// HTTP calls answered.
    pub answers: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.edits += other.edits;
        self.processes += other.processes;
        self.connections += other.connections;
        self.answers += other.answers;
    }
}

/// Everything.
pub(super) struct World {
    plan: Plan,
    scene: Arc<Scene>,
    ledger: Arc<Ledger>,
    disk: Arc<Disk>,
    dice: Dice,
    agenda: Agenda<Happening>,
    process: Option<Process>,
    rooms: Vec<RoomName>,
    forests: Vec<Forest>,
    clients: Vec<Client>,
    links: BTreeMap<u64, Link>,
    calls: BTreeMap<TaskId, PendingCall>,
    revoked: BTreeSet<GrantId>,
    next_id: u64,
    is_calm: bool,
    tally: Tally,
}

impl World {
    pub(super) fn new(plan: &Plan, scene: Arc<Scene>) -> Self {
        let rooms: Vec<RoomName> = (0..plan.rooms).map(room_name).collect();
        let clients = (0..plan.clients)
            .map(|number| {
                let room = number % plan.rooms;
                Client::new(&scene, number, room, rooms[room].clone())
            })
            .collect();
        let mut world = Self {
            ledger: Ledger::new(Arc::clone(&scene), plan.disk_lies),
            disk: Disk::new(Arc::clone(&scene), calm_weather(plan)),
            dice: scene.dice("world", 0),
            agenda: Agenda::default(),
            process: None,
            forests: vec![Forest::default(); rooms.len()],
            rooms,
            clients,
            links: BTreeMap::new(),
            calls: BTreeMap::new(),
            revoked: BTreeSet::new(),
            next_id: 0,
            is_calm: false,
            tally: Tally::default(),
            plan: plan.clone(),
            scene,
        };
        world.boot();
        world.plan_happenings();
        world
    }

    /// Plays the whole play; `Err` says what must never be.
    pub(super) fn play(mut self) -> Result<Tally, String> {
        let end = self.scene.now() + self.plan.storm_ms;
        self.run_until(end)?;
        self.heal();
        let checked = self.end_well();
        self.leave();
        checked.and_then(|()| self.scene.violation().map_or(Ok(self.tally), Err))
    }

    fn plan_happenings(&mut self) {
        for client in 0..self.clients.len() {
            let first = self.dice.below(600);
            self.happens_in(first, Happening::Connect(client));
            let first = self.dice.below(900);
            self.happens_in(first, Happening::Act(client));
        }
        let plan = self.plan.clone();
        for (is_planned, happening) in [
            (plan.calls, Happening::Call),
            (plan.disk_faults, Happening::Weather),
            (plan.revocations, Happening::Revoke),
            (plan.crashes, Happening::Crash),
            (plan.suspensions, Happening::Suspend),
            (plan.jumps, Happening::Jump),
        ] {
            if is_planned {
                let first = self.dice.below(plan.storm_ms);
                self.happens_in(first, happening);
            }
        }
    }

    fn happens_in(&mut self, delay: u64, happening: Happening) {
        let rank = self.dice.next();
        self.agenda.add(self.scene.now() + delay, rank, happening);
    }

    fn happens_at(&mut self, at: u64, happening: Happening) {
        let delay = at.saturating_sub(self.scene.now());
        self.happens_in(delay, happening);
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Lets everything happen that happens before this time.
    fn run_until(&mut self, end: u64) -> Result<(), String> {
        self.follow_up();
        while self.step(end)? {}
        self.scene.advance_to(end);
        Ok(())
    }

    /// Lets one thing happen; false when there is nothing before `end`.
    fn step(&mut self, end: u64) -> Result<bool, String> {
        let own = self.agenda.next();
        let (work, alarm) = match &self.process {
            None => (None, None),
            Some(process) => (
                process.engine.next(),
                process.engine.alarm().map(|at| (at, 0)),
            ),
        };
        let Some(earliest) = [own, work, alarm].into_iter().flatten().min() else {
            return Ok(false);
        };
        if earliest.0 > end {
            return Ok(false);
        }
        self.scene.advance_to(earliest.0);
        self.tally.events += 1;
        if own == Some(earliest) {
            if let Some((_, happening)) = self.agenda.pop() {
                self.happen(happening);
            }
        } else if let Some(process) = &self.process {
            if work == Some(earliest) {
                process.engine.step();
            } else {
                self.scene.note(format_args!("alarm"));
                process.engine.take_alarm();
                process.registry.ring();
            }
        }
        self.follow_up();
        if self.tally.events.is_multiple_of(MEASURED_EVERY) {
            self.measure();
        }
        if self.tally.events > MAX_EVENTS {
            return Err("it never comes to rest".to_owned());
        }
        self.scene.violation().map_or(Ok(true), Err)
    }

    /// What the last event has set in motion.
    fn follow_up(&mut self) {
        for task in self.scene.take_woken() {
            let delay = self.dice.below(2);
            self.happens_in(delay, Happening::Poll(task));
        }
        for (link, at) in self.scene.take_arrivals() {
            self.happens_at(at, Happening::Arrive(link));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Poll(_) | Happening::Arrive(_) | Happening::Reach(_) => {}
            other => self.scene.note(format_args!("{other:?}")),
        }
        match happening {
            Happening::Act(client) => self.act(client),
            Happening::Connect(client) => self.connect(client),
            Happening::Join(client, upgrade) => self.join(client, upgrade),
            Happening::Reach(link) => self.reach(link),
            Happening::Arrive(link) => self.arrive(link),
            Happening::Poll(task) => self.poll(task),
            Happening::HubLearns(link) => self.hub_learns(link),
            Happening::ClientLearns(link) => self.client_learns(link),
            Happening::Call => self.begin_call(),
            Happening::HangUp(task) => self.hang_up(task),
            Happening::Weather => self.change_weather(),
            Happening::Revoke => self.revoke(),
            Happening::CheckRevoked(link) => self.check_revoked(link),
            Happening::Crash => self.crash(),
            Happening::Boot => self.boot(),
            Happening::Suspend => self.suspend(),
            Happening::Jump => self.jump(),
        }
    }

    fn poll(&mut self, task: TaskId) {
        if self.calls.contains_key(&task) {
            self.poll_call(task);
        } else {
            self.poll_socket(task.0);
        }
    }

    /// Begins a run of the hub on what the disk holds.
    fn boot(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.tally.processes += 1;
        let number = self.tally.processes;
        let engine = Engine::new(Arc::clone(&self.scene), number);
        let log = SimLog::open(
            Arc::clone(&engine),
            Arc::clone(&self.disk),
            Arc::clone(&self.ledger),
            self.plan.limits().max_log_queue_bytes,
        );
        let registry = RoomRegistry::new(
            Arc::new(LogPort(Arc::clone(&log))),
            Arc::clone(&engine) as Arc<dyn RoomHost>,
            self.plan.room(),
            self.plan.engine(),
            self.plan.limits(),
        );
        self.process = Some(Process {
            number,
            engine,
            log,
            registry,
        });
    }

    /// No queue has passed its bound.
    fn measure(&self) {
        let (limits, room) = (self.plan.limits(), self.plan.room());
        // One input may pass each bound, and what was waiting for it becomes ready with it.
        let largest = LARGEST_INPUT + room.max_pending_bytes;
        for (link, found) in &self.links {
            let Some(socket) = &found.socket else {
                continue;
            };
            let (frames, queued) = socket.outbox();
            // One frame may be larger than the whole queue.
            if frames > 1 {
                self.bound(*link, "outbox bytes", queued, limits.max_outbound_bytes);
            }
            let (commands, bytes) = socket.inbox();
            self.bound(*link, "inbox commands", commands, limits.max_inbox_commands);
            self.bound(*link, "inbox bytes", bytes, limits.max_inbox_bytes);
        }
        if let Some(process) = &self.process {
            let most = process.log.most_waiting_bytes();
            self.bound(
                0,
                "bytes of one room in flight",
                most,
                room.max_in_flight_bytes + largest,
            );
        }
    }

    fn bound(&self, link: u64, what: &str, is: usize, most: usize) {
        if is > most {
            self.scene
                .violate(|| format!("link {link}: {is} {what}, at most {most} are allowed"));
        }
    }
}

/// What one frame or answer of the plays has at most: a whole document.
const LARGEST_INPUT: usize = 24 << 10;

fn room_name(number: usize) -> RoomName {
    let owner = format!("owner-{}", number % 2);
    let room = format!("room-{number}");
    RoomName::stored(
        OwnerId::parse(&owner).expect("a plain name"),
        RoomId::parse(&room).expect("a plain name"),
    )
}

/// A disk without faults.
fn calm_weather(plan: &Plan) -> Weather {
    Weather {
        fastest_ms: 1,
        slowest_ms: 12,
        lies: plan.disk_lies,
        ..Weather::default()
    }
}
