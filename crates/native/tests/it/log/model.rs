//! Random histories with restarts, replacements and expiry equal a model that keeps everything in memory.

use std::time::Duration;

use bytes::Bytes;
use epicenter_identity::RoomName;
use epicenter_native::log::{Log, LogConfig, LogId, ReplaceError, SqliteLog};
use epicenter_room::{Entry, RoomStatus, Seq};
use proptest::prelude::*;

use super::{
    DAY, Disk, append, eventually, extent, pending, ready, room, send_state, send_state_of, texts,
    wake,
};

const ROOMS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Entries that wait or not, in one append.
    Append(usize, Vec<bool>),
    Delete(usize),
    Restore(usize),
    Recreate(usize),
    /// Replaces all but so many of the last entries.
    Replace(usize, u64),
    /// Hands over what was made of an earlier log.
    ReplaceTooLate(usize),
    /// Reads on in pieces of so many entries.
    ReadOn(usize, u64),
    Reopen,
    /// So many days pass.
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let room = 0..ROOMS;
    prop_oneof![
        6 => (room.clone(), prop::collection::vec(prop::bool::weighted(0.2), 1..5))
            .prop_map(|(room, waits)| Step::Append(room, waits)),
        2 => room.clone().prop_map(Step::Delete),
        2 => room.clone().prop_map(Step::Restore),
        1 => room.clone().prop_map(Step::Recreate),
        4 => (room.clone(), 0..5_u64).prop_map(|(room, back)| Step::Replace(room, back)),
        1 => room.clone().prop_map(Step::ReplaceTooLate),
        3 => (room, 1..6_u64).prop_map(|(room, piece)| Step::ReadOn(room, piece)),
        1 => Just(Step::Reopen),
        1 => prop_oneof![Just(1_u32), Just(8), Just(31)].prop_map(Step::Wait),
    ]
}

/// What is in a room: texts with the numbers of their entries.
#[derive(Clone, Debug, Default)]
struct ModelRoom {
    status: RoomStatus,
    last: u64,
    visible: Vec<(u64, String)>,
    waiting: Vec<(u64, String)>,
    deleted_on: Option<u32>,
    is_purged: bool,
    /// What the logs held that were replaced, by day.
    generations: Vec<(u32, LogId, Vec<String>)>,
    former_log: Option<LogId>,
    /// The last entry that the head of the log stands for.
    covered: u64,
    reader: Reader,
}

/// Somebody who reads a room now and then and keeps what was read.
#[derive(Clone, Debug, Default)]
struct Reader {
    upto: u64,
    visible: Vec<String>,
    waiting: Vec<String>,
}

fn upto(texts: &[(u64, String)], upto: u64) -> Vec<String> {
    let texts = texts.iter().filter(|(number, _)| *number <= upto);
    texts.map(|(_, text)| text.clone()).collect()
}

/// States list the texts they stand for.
fn flat(bodies: &[Bytes]) -> Vec<String> {
    let texts = texts(bodies).into_iter().flat_map(|text| text.split(';'));
    texts
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

struct World {
    disk: Disk,
    log: SqliteLog,
    names: Vec<RoomName>,
    rooms: Vec<ModelRoom>,
    day: u32,
}

impl World {
    fn new() -> Self {
        let disk = Disk::new();
        Self {
            log: disk.open(),
            disk,
            names: (0..ROOMS)
                .map(|id| room("ada", &format!("room-{id}")))
                .collect(),
            rooms: vec![ModelRoom::default(); ROOMS],
            day: 0,
        }
    }

    fn append(&mut self, index: usize, entries: Vec<Entry>) {
        let room = &mut self.rooms[index];
        let first = room.last + 1;
        room.last += entries.len() as u64;
        let result = append(&self.log, &self.names[index], 1, first, entries);
        assert_eq!(result, Ok(Seq(room.last)));
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(index, waits) => self.append_texts(*index, waits),
            Step::Delete(index) => {
                if self.rooms[*index].status == RoomStatus::Live {
                    self.append(*index, vec![Entry::Deleted]);
                    self.rooms[*index].status = RoomStatus::Deleted;
                    self.rooms[*index].deleted_on = Some(self.day);
                }
            }
            Step::Restore(index) => {
                let room = &self.rooms[*index];
                if room.status == RoomStatus::Deleted && !room.is_purged {
                    self.append(*index, vec![Entry::Restored]);
                    self.rooms[*index].status = RoomStatus::Live;
                    self.rooms[*index].deleted_on = None;
                }
            }
            Step::Recreate(index) => {
                if self.rooms[*index].status == RoomStatus::Deleted {
                    self.rooms[*index].former_log =
                        Some(extent(&self.log, &self.names[*index]).log);
                    self.append(*index, vec![Entry::Recreated]);
                    let room = &mut self.rooms[*index];
                    *room = ModelRoom {
                        status: RoomStatus::Live,
                        last: room.last,
                        former_log: room.former_log,
                        covered: room.last,
                        reader: room.reader.clone(),
                        ..ModelRoom::default()
                    };
                }
            }
            Step::Replace(index, back) => self.replace(*index, *back),
            Step::ReplaceTooLate(index) => {
                let room = &self.rooms[*index];
                if let Some(of) = room.former_log {
                    let name = &self.names[*index];
                    let result = send_state_of(&self.log, name, of, room.last, b"late", None);
                    assert_eq!(result.recv().unwrap(), Err(ReplaceError::Stale));
                }
            }
            Step::ReadOn(index, piece) => self.read_on(*index, *piece),
            Step::Reopen => self.reopen(),
            Step::Wait(days) => self.wait(*days),
        }
    }

    fn append_texts(&mut self, index: usize, waits: &[bool]) {
        let room = &mut self.rooms[index];
        if room.status == RoomStatus::Deleted {
            return;
        }
        room.status = RoomStatus::Live;
        let mut entries = Vec::new();
        for (number, waits) in (room.last + 1..).zip(waits) {
            let text = format!("{index}-{number}");
            if *waits {
                room.waiting.push((number, text.clone()));
                entries.push(pending(text));
            } else {
                room.visible.push((number, text.clone()));
                entries.push(ready(text));
            }
        }
        self.append(index, entries);
    }

    fn replace(&mut self, index: usize, back: u64) {
        let (name, room) = (&self.names[index], &mut self.rooms[index]);
        if room.status != RoomStatus::Live || room.last < back {
            return;
        }
        let before = extent(&self.log, name);
        let last = room.last - back;
        let waiting = upto(&room.waiting, last);
        // A state covers no less than the one before it did, and needs a number beside that of its pending part.
        if last < room.covered.max(1 + u64::from(!waiting.is_empty())) {
            return;
        }
        room.covered = last;
        let ready = upto(&room.visible, last).join(";");
        let pending = (!waiting.is_empty()).then(|| waiting.join(";"));
        let pending = pending.as_ref().map(String::as_bytes);
        let result = send_state(&self.log, name, last, ready.as_bytes(), pending);
        assert_eq!(result.recv().unwrap(), Ok(()));
        let all = upto(&room.visible, u64::MAX);
        room.generations.push((self.day, before.log, all));
        room.former_log = Some(before.log);
        let after = extent(&self.log, name);
        assert_eq!((after.last, after.status), (before.last, before.status));
        assert_eq!(after.state_bytes, ready.len() as u64);
    }

    fn read_on(&mut self, index: usize, piece: u64) {
        let (name, room) = (&self.names[index], &mut self.rooms[index]);
        if room.is_purged {
            // Nobody is shown a tombstone's content, so nobody need be told that it is gone.
            return;
        }
        let reader = &mut room.reader;
        let asked = (reader.upto + piece).min(room.last);
        let stored = self
            .log
            .read(name, Seq(reader.upto), Some(Seq(asked)))
            .unwrap();
        assert!(stored.last >= Seq(asked) && stored.last <= Seq(room.last));
        if stored.is_reset {
            reader.visible.clear();
            reader.waiting.clear();
        }
        reader.visible.extend(flat(&stored.ready));
        reader.waiting.extend(flat(&stored.pending));
        reader.upto = stored.last.0;
        assert_eq!(
            reader.visible,
            upto(&room.visible, reader.upto),
            "room {index}"
        );
        assert_eq!(
            reader.waiting,
            upto(&room.waiting, reader.upto),
            "room {index}"
        );
    }

    fn reopen(&mut self) {
        let extents: Vec<_> = self
            .names
            .iter()
            .map(|name| self.log.extent(name))
            .collect();
        let usage = self.log.usage(self.names[0].owner());
        self.log.shutdown();
        self.log = self.disk.open_with(LogConfig::default());
        let again: Vec<_> = self
            .names
            .iter()
            .map(|name| self.log.extent(name))
            .collect();
        assert_eq!(again, extents);
        assert_eq!(self.log.usage(self.names[0].owner()), usage);
    }

    fn wait(&mut self, days: u32) {
        self.disk.advance(DAY * days + Duration::from_millis(1));
        self.day += days;
        let day = self.day;
        for room in &mut self.rooms {
            room.generations.retain(|(replaced, ..)| replaced + 7 > day);
            if room.deleted_on.is_some_and(|deleted| deleted + 30 <= day) {
                room.is_purged = true;
                room.visible.clear();
                room.waiting.clear();
                room.generations.clear();
            }
        }
        wake(&self.log);
        let (log, names, rooms) = (&self.log, &self.names, &self.rooms);
        eventually("what expired is gone", || {
            let is_purged = |name| log.extent(name).is_some_and(|extent| extent.is_purged);
            log.stats().purge_backlog == 0
                && names.iter().zip(rooms).all(|(name, room)| {
                    is_purged(name) == room.is_purged
                        && log.generations(name).len() == room.generations.len()
                })
        });
    }

    fn check(&self) {
        let (mut live, mut bytes) = (0, 0);
        for (name, room) in self.names.iter().zip(&self.rooms) {
            let stored = self.log.read(name, Seq(0), None).unwrap();
            assert_eq!((stored.status, stored.last), (room.status, Seq(room.last)));
            assert_eq!(flat(&stored.ready), upto(&room.visible, u64::MAX), "{name}");
            assert_eq!(
                flat(&stored.pending),
                upto(&room.waiting, u64::MAX),
                "{name}"
            );
            if let Some(extent) = self.log.extent(name)
                && extent.status == RoomStatus::Live
            {
                live += 1;
                bytes += extent.state_bytes + extent.bytes;
            }
            for (_, log, visible) in &room.generations {
                assert_eq!(
                    flat(&self.log.read_generation(*log).unwrap().ready),
                    *visible
                );
            }
            assert_eq!(self.log.generations(name).len(), room.generations.len());
        }
        let usage = self.log.usage(self.names[0].owner());
        assert_eq!((usage.rooms, usage.bytes), (live, bytes));
        let listed = self.log.list(self.names[0].owner(), None, ROOMS);
        assert_eq!(
            listed.iter().map(|room| room.storage_bytes).sum::<u64>(),
            bytes
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_histories_match_a_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.reopen();
        world.check();
    }
}
