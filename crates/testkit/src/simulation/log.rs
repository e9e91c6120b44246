//! The rooms' log on the simulated disk: one writer, commits of everything that has arrived, answers in order.
//!
//! It keeps the contract of the port ([`epicenter_native::log`]) as the log that ships does: a failed commit fails the
//! appends in it and condemns the lives they came from; what became of such a commit is found out from the disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use epicenter_identity::{OwnerId, RoomId, RoomName};
use epicenter_native::log::{
    AppendError, AppendRequest, DirectoryEntry, Extent, Generation, Log, ReadError, Rejected,
    ReplaceError, Replacement, StoredRoom, Usage,
};
use epicenter_room::{RoomStatus, Seq};

use super::disk::{Disk, Synced};
use super::engine::Engine;
use super::journal::{self, Index, Kind, Op};
use super::ledger::Ledger;
use super::scene::lock;

/// Memory that an entry takes beside its bytes, roughly.
const ENTRY_OVERHEAD: usize = 16;
/// Entries behind a state that one commit copies.
const MAX_COPIES: usize = 64;
/// Appends that a room may make while the queue is full: of the input that made it load, and of what that frees.
const MAX_WHILE_FULL: usize = 3;
/// How the answer to a room begins that has lost count of its entries.
const MISCOUNTED: &str = "was appended where the next one is";

/// The log of one process.
pub(super) struct SimLog {
    engine: Arc<Engine>,
    disk: Arc<Disk>,
    ledger: Arc<Ledger>,
    max_queue_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index,
    queue: VecDeque<Request>,
    /// Of everything that has not been answered.
    bytes: usize,
    /// Of the request that came last.
    newest: usize,
    /// Appends of each room since the queue was last not full.
    while_full: BTreeMap<RoomName, usize>,
    /// The same by room, appends only.
    undecided: BTreeMap<RoomName, usize>,
    wakers: Vec<Box<dyn FnOnce() + Send>>,
    condemned: BTreeMap<RoomName, Generation>,
    is_writing: bool,
    /// The index is known to agree with the disk.
    is_unsound: bool,
    /// The process is gone.
    is_dead: bool,
    batches: u64,
}

enum Request {
    Append(AppendRequest),
    Replace(Replacement),
    Quarantine(Rejected),
}

/// What is decided about a request before its commit.
enum Verdict {
    Append(Result<Seq, AppendError>),
    Replace(Result<(), ReplaceError>),
    Quarantine,
}

impl Request {
    fn weight(&self) -> usize {
        match self {
            Self::Append(request) => {
                request.append.bytes() + ENTRY_OVERHEAD * request.append.entries.len()
            }
            Self::Replace(replacement) => {
                let pending = replacement.pending.as_ref().map_or(0, bytes::Bytes::len);
                replacement.ready.len() + pending
            }
            Self::Quarantine(rejected) => rejected.ready.len(),
        }
    }
}

impl SimLog {
    /// Reads what the disk holds.
    pub(super) fn open(
        engine: Arc<Engine>,
        disk: Arc<Disk>,
        ledger: Arc<Ledger>,
        max_queue_bytes: usize,
    ) -> Arc<Self> {
        let log = Arc::new(Self {
            engine,
            disk,
            ledger,
            max_queue_bytes,
            state: Mutex::default(),
        });
        log.find_out(&mut lock(&log.state));
        log
    }

    /// The process ends: nothing is written any more, and everything fails.
    pub(super) fn die(&self) {
        let (left, wakers) = {
            let mut state = lock(&self.state);
            state.is_dead = true;
            (
                std::mem::take(&mut state.queue),
                std::mem::take(&mut state.wakers),
            )
        };
        for request in left {
            let verdict = refused(&request, "the process is gone");
            answer(request, verdict);
        }
        wakers.into_iter().for_each(|wake| wake());
    }

    /// The bytes of the room that has most of them waiting.
    pub(super) fn most_waiting_bytes(&self) -> usize {
        let state = lock(&self.state);
        state.undecided.values().copied().max().unwrap_or(0)
    }

    /// Everything that a room's log holds, for the checks at the end.
    pub(super) fn whole(&self, room: &RoomName) -> StoredRoom {
        let state = lock(&self.state);
        state
            .index
            .rooms
            .get(room)
            .map(|log| log.read(0, None))
            .unwrap_or_default()
    }

    fn push(self: &Arc<Self>, request: Request) {
        {
            let mut state = lock(&self.state);
            if !state.is_dead {
                state.newest = request.weight();
                state.bytes += state.newest;
                if let Request::Append(append) = &request {
                    self.count_while_full(&mut state, &append.room);
                    let bytes = state.undecided.entry(append.room.clone()).or_default();
                    *bytes += append.append.bytes();
                }
                state.queue.push_back(request);
                self.begin(&mut state);
                return;
            }
        }
        let verdict = refused(&request, "the process is gone");
        answer(request, verdict);
    }

    /// Rooms stop reading when the log is full: what they hand over then belongs to what they had read before.
    fn count_while_full(&self, state: &mut State, room: &RoomName) {
        if state.bytes - state.newest < self.max_queue_bytes {
            state.while_full.clear();
            return;
        }
        let count = state.while_full.entry(room.clone()).or_default();
        *count += 1;
        if *count > MAX_WHILE_FULL {
            self.engine
                .scene()
                .violate(|| format!("{room} goes on appending although the log is full"));
        }
    }

    /// Has the writer take what waits, if it does nothing else.
    fn begin(self: &Arc<Self>, state: &mut State) {
        if state.is_writing || state.queue.is_empty() {
            return;
        }
        state.is_writing = true;
        let log = Arc::clone(self);
        let soon = self.engine.scene().now();
        self.engine
            .disk_at(soon, Box::new(move || log.write_batch()));
    }

    fn write_batch(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.is_dead {
            return;
        }
        state.batches += 1;
        let mut dice = self.engine.scene().dice("batch", state.batches);
        let most = dice.between(1, 24) as usize;
        let count = state.queue.len().min(most);
        let batch: Vec<Request> = state.queue.drain(..count).collect();
        if state.is_unsound {
            self.find_out(&mut state);
        }
        let (ops, verdicts) = stage(&mut state, &batch);
        for verdict in &verdicts {
            if let Verdict::Append(Err(AppendError(what))) = verdict
                && what.contains(MISCOUNTED)
                && !self.ledger.forgives()
            {
                self.engine.scene().violate(|| what.to_string());
            }
        }
        self.engine.scene().note(format_args!(
            "commit of {} requests, {} effective",
            count,
            ops.len()
        ));
        let written = if ops.is_empty() {
            Ok(())
        } else {
            self.disk.write(&journal::record(&ops))
        };
        let ends = if ops.is_empty() {
            self.engine.scene().now()
        } else {
            self.disk.ends_at()
        };
        let log = Arc::clone(self);
        drop(state);
        self.engine.disk_at(
            ends,
            Box::new(move || log.end_batch(batch, verdicts, ops, written)),
        );
    }

    fn end_batch(
        self: &Arc<Self>,
        batch: Vec<Request>,
        mut verdicts: Vec<Verdict>,
        ops: Vec<Op>,
        written: Result<(), &'static str>,
    ) {
        let weight: usize = batch.iter().map(Request::weight).sum();
        let wakers = {
            let mut state = lock(&self.state);
            let outcome = match written {
                _ if state.is_dead => Err("the process is gone"),
                Ok(()) if ops.is_empty() => Ok(()),
                Ok(()) => match self.disk.sync() {
                    Synced::Done => Ok(()),
                    Synced::Failed => Err("the disk does not sync"),
                },
                Err(reason) => Err(reason),
            };
            match outcome {
                Ok(()) => self.apply(&mut state, &ops),
                Err(reason) => {
                    self.engine
                        .scene()
                        .note(format_args!("commit failed: {reason}"));
                    verdicts = batch
                        .iter()
                        .map(|request| refused(request, reason))
                        .collect();
                    batch
                        .iter()
                        .for_each(|request| condemn(&mut state, request));
                    if !state.is_dead {
                        self.find_out(&mut state);
                    }
                }
            }
            state.bytes -= weight;
            for request in &batch {
                if let Request::Append(append) = request
                    && let Some(bytes) = state.undecided.get_mut(&append.room)
                {
                    *bytes -= append.append.bytes();
                }
            }
            let is_full = state.bytes >= self.max_queue_bytes;
            if is_full {
                Vec::new()
            } else {
                std::mem::take(&mut state.wakers)
            }
        };
        for (request, verdict) in batch.into_iter().zip(verdicts) {
            answer(request, verdict);
        }
        wakers.into_iter().for_each(|wake| wake());
        let mut state = lock(&self.state);
        state.is_writing = false;
        if !state.is_dead {
            self.begin(&mut state);
        }
    }

    /// A commit is durable.
    fn apply(&self, state: &mut State, ops: &[Op]) {
        for op in ops {
            let before = match op {
                Op::Replace { room, .. } => state.index.rooms.get(room).cloned(),
                Op::Append { .. } | Op::Quarantine { .. } => None,
            };
            state.index.apply(op);
            match op {
                Op::Append { room, entries, .. } => {
                    self.ledger.commit(room, entries.iter().cloned());
                }
                Op::Replace { room, .. } => {
                    if let (Some(before), Some(after)) = (before, state.index.rooms.get(room)) {
                        self.ledger.replaced(room, &before, after);
                    }
                }
                Op::Quarantine { .. } => {}
            }
        }
    }

    /// Reads everything from the disk again.
    fn find_out(&self, state: &mut State) {
        let (ops, end) = journal::scan(&self.disk.content());
        self.disk.truncate(end);
        state.index = Index::default();
        for op in &ops {
            state.index.apply(op);
        }
        for (room, log) in &state.index.rooms {
            self.ledger.found(room, log);
        }
        state.is_unsound = false;
    }
}

/// Works out what a batch does.
fn stage(state: &mut State, batch: &[Request]) -> (Vec<Op>, Vec<Verdict>) {
    let mut staged = state.index.clone();
    let mut ops = Vec::new();
    let mut verdicts = Vec::new();
    for request in batch {
        let verdict = match request {
            Request::Append(request) => {
                Verdict::Append(stage_append(state, &staged, request, &mut ops))
            }
            Request::Replace(replacement) => {
                Verdict::Replace(stage_replacement(&staged, replacement, &mut ops))
            }
            Request::Quarantine(rejected) => {
                ops.push(Op::Quarantine {
                    room: rejected.room.clone(),
                });
                Verdict::Quarantine
            }
        };
        let is_effective = match &verdict {
            Verdict::Append(result) => result.is_ok(),
            Verdict::Replace(result) => result.is_ok(),
            Verdict::Quarantine => true,
        };
        if is_effective && let Some(op) = ops.last() {
            staged.apply(op);
        }
        if let (Verdict::Append(Err(_)), request) = (&verdict, request) {
            condemn(state, request);
        }
        verdicts.push(verdict);
    }
    (ops, verdicts)
}

fn stage_append(
    state: &State,
    staged: &Index,
    request: &AppendRequest,
    ops: &mut Vec<Op>,
) -> Result<Seq, AppendError> {
    if let Some(lost) = state.condemned.get(&request.room)
        && request.generation <= *lost
    {
        return Err(AppendError("an earlier append of this room failed".into()));
    }
    let last = staged.rooms.get(&request.room).map_or(0, |log| log.last());
    if request.append.first.0 != last + 1 {
        let what = format!(
            "{}: entry {} {MISCOUNTED} {}",
            request.room,
            request.append.first.0,
            last + 1
        );
        return Err(AppendError(what.into()));
    }
    ops.push(Op::Append {
        room: request.room.clone(),
        first: request.append.first.0,
        entries: request.append.entries.iter().map(Kind::of).collect(),
    });
    Ok(request.append.last())
}

fn stage_replacement(
    staged: &Index,
    replacement: &Replacement,
    ops: &mut Vec<Op>,
) -> Result<(), ReplaceError> {
    let log = staged
        .rooms
        .get(&replacement.room)
        .filter(|log| log.log == replacement.log.0 && log.status == RoomStatus::Live)
        .ok_or(ReplaceError::Stale)?;
    let copies = log
        .rows
        .iter()
        .filter(|(seq, ..)| *seq > replacement.upto.0);
    if copies.count() > MAX_COPIES {
        return Err(ReplaceError::Stale);
    }
    ops.push(Op::Replace {
        room: replacement.room.clone(),
        upto: replacement.upto.0,
        ready: replacement.ready.clone(),
        pending: replacement.pending.clone(),
    });
    Ok(())
}

/// Whatever the room's life appends after a lost append may depend on it.
fn condemn(state: &mut State, request: &Request) {
    if let Request::Append(request) = request {
        let room = request.room.clone();
        let lost = state.condemned.entry(room).or_insert(request.generation);
        *lost = request.generation.max(*lost);
    }
}

fn refused(request: &Request, reason: &str) -> Verdict {
    match request {
        Request::Append(_) => Verdict::Append(Err(AppendError(reason.into()))),
        Request::Replace(_) => Verdict::Replace(Err(ReplaceError::Failed(reason.into()))),
        Request::Quarantine(_) => Verdict::Quarantine,
    }
}

fn answer(request: Request, verdict: Verdict) {
    match (request, verdict) {
        (Request::Append(request), Verdict::Append(result)) => request.done.0(result),
        (Request::Replace(replacement), Verdict::Replace(result)) => replacement.done.0(result),
        _ => {}
    }
}

/// The log as the rooms have it.
pub(super) struct LogPort(pub(super) Arc<SimLog>);

impl Log for LogPort {
    fn append(&self, request: AppendRequest) {
        self.0.push(Request::Append(request));
    }

    fn read(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Option<Seq>,
    ) -> Result<StoredRoom, ReadError> {
        self.0.engine.interlude();
        if lock(&self.0.state).is_dead || self.0.disk.fails_to_read() {
            self.0
                .engine
                .scene()
                .note(format_args!("a read of {room} failed"));
            return Err(ReadError(format!("{room}: the disk does not read")));
        }
        let stored = {
            let state = lock(&self.0.state);
            let found = state.index.rooms.get(room);
            found.map(|log| log.read(after.0, upto.map(|upto| upto.0)))
        };
        self.0.engine.interlude();
        Ok(stored.unwrap_or_default())
    }

    fn list(&self, owner: &OwnerId, after: Option<&RoomId>, limit: usize) -> Vec<DirectoryEntry> {
        let state = lock(&self.0.state);
        let rooms = state.index.rooms.iter().filter(|(name, log)| {
            name.owner() == owner
                && log.status == RoomStatus::Live
                && after.is_none_or(|after| name.room() > after)
        });
        rooms
            .take(limit)
            .map(|(name, log)| DirectoryEntry {
                room: name.room().clone(),
                storage_bytes: log.bytes(),
                last_accessed_at: 0,
            })
            .collect()
    }

    fn touch(&self, _room: &RoomName, _now_ms: u64) {}

    fn extent(&self, room: &RoomName) -> Option<Extent> {
        let state = lock(&self.0.state);
        state.index.rooms.get(room).map(|log| log.extent())
    }

    fn replace(&self, replacement: Replacement) {
        self.0.push(Request::Replace(replacement));
    }

    fn quarantine(&self, rejected: Rejected) {
        let room = rejected.room.clone();
        self.0
            .engine
            .scene()
            .violate(|| format!("{room}: a compaction does not equal its log"));
        self.0.push(Request::Quarantine(rejected));
    }

    fn usage(&self, owner: &OwnerId) -> Usage {
        let state = lock(&self.0.state);
        let live = state
            .index
            .rooms
            .iter()
            .filter(|(name, log)| name.owner() == owner && log.status == RoomStatus::Live);
        live.fold(Usage::default(), |sum, (_, log)| Usage {
            rooms: sum.rooms + 1,
            bytes: sum.bytes + log.bytes(),
        })
    }

    fn is_full(&self) -> bool {
        let state = lock(&self.0.state);
        !state.is_dead && state.bytes >= self.0.max_queue_bytes
    }

    fn when_not_full(&self, wake: Box<dyn FnOnce() + Send>) {
        {
            let mut state = lock(&self.0.state);
            if !state.is_dead && state.bytes >= self.0.max_queue_bytes {
                state.wakers.push(wake);
                return;
            }
        }
        wake();
    }
}
