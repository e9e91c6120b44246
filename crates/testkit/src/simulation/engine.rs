//! The program around the rooms, as one process has it: turns, jobs and the writer run when chance says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use epicenter_native::rooms::Slot;
use epicenter_native::rooms::ports::{Job, JobKind, RoomHost};
use epicenter_room::Millis;

use super::agenda::Agenda;
use super::scene::{Scene, lock};

/// Jobs that may be in the middle of something while another one runs.
const MAX_NESTED: usize = 2;

/// One process's schedule.
pub(super) struct Engine {
    scene: Arc<Scene>,
    /// Tells the processes of one play apart.
    process: u64,
    state: Mutex<State>,
    nested: AtomicUsize,
}

#[derive(Default)]
struct State {
    work: Agenda<Work>,
    turns: BTreeMap<String, u64>,
    jobs: u64,
    interludes: u64,
    alarm: Option<u64>,
    /// Nothing takes time any more: the process is on its way out.
    hurries: bool,
}

enum Work {
    Turn(Arc<Slot>),
    Job(Job),
    Disk(Box<dyn FnOnce() + Send>),
}

impl Engine {
    pub(super) fn new(scene: Arc<Scene>, process: u64) -> Arc<Self> {
        Arc::new(Self {
            scene,
            process,
            state: Mutex::default(),
            nested: AtomicUsize::new(0),
        })
    }

    pub(super) fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// When there is something to do, with its rank.
    pub(super) fn next(&self) -> Option<(u64, u64)> {
        lock(&self.state).work.next()
    }

    /// When the rooms want to be rung for.
    pub(super) fn alarm(&self) -> Option<u64> {
        lock(&self.state).alarm
    }

    /// The alarm rings; it is set anew by whoever wants it again.
    pub(super) fn take_alarm(&self) {
        lock(&self.state).alarm = None;
    }

    /// From now on nothing takes time.
    pub(super) fn hurry(&self) {
        lock(&self.state).hurries = true;
    }

    /// Runs what comes next; false when there is nothing.
    pub(super) fn step(&self) -> bool {
        let popped = lock(&self.state).work.pop();
        let Some((at, work)) = popped else {
            return false;
        };
        self.scene.advance_to(at);
        match work {
            Work::Turn(slot) => {
                self.scene.note(format_args!("turn of {}", slot.name()));
                slot.turn();
            }
            Work::Job(job) => {
                self.scene.note(format_args!("job"));
                job();
            }
            Work::Disk(work) => work(),
        }
        true
    }

    /// What happens while a job is in the middle of something: nothing, or a few things that were due soon.
    pub(super) fn interlude(&self) {
        let number = {
            let mut state = lock(&self.state);
            state.interludes += 1;
            state.interludes
        };
        let mut dice = self.scene.dice("interlude", self.process << 32 | number);
        if !dice.one_in(3) || self.nested.load(Ordering::Relaxed) >= MAX_NESTED {
            return;
        }
        self.nested.fetch_add(1, Ordering::Relaxed);
        let until = self.scene.now() + dice.below(40);
        for _ in 0..dice.between(1, 6) {
            if self.next().is_none_or(|(at, _)| at > until) || !self.step() {
                break;
            }
        }
        self.nested.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has the writer go on at this time.
    pub(super) fn disk_at(&self, at: u64, work: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.state);
        let at = if state.hurries { self.scene.now() } else { at };
        let rank = self.scene.dice("disk", at).next();
        state.work.add(at, rank, Work::Disk(work));
    }
}

impl RoomHost for Engine {
    fn now(&self) -> Millis {
        Millis(self.scene.now())
    }

    fn schedule(&self, slot: Arc<Slot>) {
        let mut state = lock(&self.state);
        let name = slot.name().to_string();
        let turns = state.turns.entry(name.clone()).or_default();
        *turns += 1;
        // Named by the room, because the order in which several rooms are told something is not fixed.
        let mut dice = self.scene.dice(&name, self.process << 32 | *turns);
        let delay = match dice.below(8) {
            0 => dice.below(20),
            1 | 2 => dice.below(3),
            _ => 0,
        };
        let delay = if state.hurries { 0 } else { delay };
        let (at, rank) = (self.scene.now() + delay, dice.next());
        state.work.add(at, rank, Work::Turn(slot));
    }

    fn run(&self, kind: JobKind, job: Job) {
        let mut state = lock(&self.state);
        state.jobs += 1;
        let mut dice = self.scene.dice("job", self.process << 32 | state.jobs);
        let delay = match (state.hurries, kind) {
            (true, _) => 0,
            (false, JobKind::State) => dice.below(25),
            (false, JobKind::Compaction) => dice.below(120),
        };
        let (at, rank) = (self.scene.now() + delay, dice.next());
        state.work.add(at, rank, Work::Job(job));
    }

    fn set_alarm(&self, at: Option<Millis>) {
        lock(&self.state).alarm = at.map(|at| at.0);
    }
}
