//! What the disk holds and what others have seen, room by room: the two must never contradict each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use epicenter_identity::RoomName;
use epicenter_update::{DeleteSet, Limits, StateVector, Update};

use super::journal::{Kind, RoomLog};
use super::scene::{Scene, lock};

/// What is stored was accepted under some limits; looking at it knows none.
pub(super) const ANY: Limits = Limits {
    max_structs: u32::MAX,
    max_state_vector_entries: u32::MAX,
    max_nesting: u32::MAX,
};

/// The clocks that something holds, pending ones included, and those that it deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    structs: DeleteSet,
    deletes: DeleteSet,
}

impl Content {
    /// Of an update; none when it is none.
    pub(super) fn of(update: &[u8]) -> Option<Self> {
        let summary = Update::parse(update, &ANY).ok()?.summary();
        let mut structs = DeleteSet::default();
        for (client, ranges) in summary.structs {
            for range in ranges {
                structs.insert(client, range);
            }
        }
        Some(Self {
            structs,
            deletes: summary.deletes,
        })
    }

    /// Of a state vector: everything it counts.
    pub(super) fn counted(state_vector: &StateVector) -> Self {
        let mut structs = DeleteSet::default();
        for (client, clock) in state_vector.iter() {
            structs.insert(client, 0..clock);
        }
        Self {
            structs,
            deletes: DeleteSet::default(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.structs.extend(&other.structs);
        self.deletes.extend(&other.deletes);
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.structs.contains_all(&other.structs) && self.deletes.contains_all(&other.deletes)
    }

    /// The first thing of `other` that is not here, for whoever reads the trace.
    pub(super) fn lacks(&self, other: &Self) -> String {
        for (what, own, others) in [
            ("struct", &self.structs, &other.structs),
            ("delete", &self.deletes, &other.deletes),
        ] {
            for (client, ranges) in others.iter() {
                for range in ranges {
                    let mut one = DeleteSet::default();
                    one.insert(client, range.clone());
                    if !own.contains_all(&one) {
                        return format!("{what} {client}:{}..{}", range.start, range.end);
                    }
                }
            }
        }
        "nothing".to_owned()
    }
}

/// One room.
#[derive(Clone, Debug, Default)]
struct Account {
    /// On disk now.
    durable: Content,
    /// On disk at some time of this life of the room: a disk that lies can forget it while the hub still has it.
    present: Content,
    /// On disk now or in a life of the room that has ended.
    ever: Content,
    /// Others have it from the hub.
    seen: Content,
    /// How many times an empty document has begun.
    lives: u64,
}

/// All rooms.
pub(super) struct Ledger {
    scene: Arc<Scene>,
    /// The disk may forget what it said it had.
    forgives: bool,
    rooms: Mutex<BTreeMap<RoomName, Account>>,
}

impl Ledger {
    pub(super) fn new(scene: Arc<Scene>, forgives: bool) -> Arc<Self> {
        Arc::new(Self {
            scene,
            forgives,
            rooms: Mutex::default(),
        })
    }

    /// These entries are durable.
    pub(super) fn commit(
        &self,
        room: &RoomName,
        entries: impl Iterator<Item = (Kind, bytes::Bytes)>,
    ) {
        let mut rooms = lock(&self.rooms);
        let account = rooms.entry(room.clone()).or_default();
        for (kind, body) in entries {
            if kind == Kind::Recreated {
                account.begin_life();
            }
            if matches!(kind, Kind::Ready | Kind::Pending | Kind::State) {
                match Content::of(&body) {
                    Some(content) => account.gain(&content),
                    None => self
                        .scene
                        .violate(|| format!("{room}: what was stored does not parse")),
                }
            }
        }
    }

    /// This is what the disk has of the room, found anew.
    pub(super) fn found(&self, room: &RoomName, log: &RoomLog) {
        let content = content_of(log);
        let mut rooms = lock(&self.rooms);
        let account = rooms.entry(room.clone()).or_default();
        if log.lives > account.lives {
            account.begin_life();
            account.lives = log.lives;
        }
        if !self.forgives {
            self.expect(
                room,
                "the disk has lost what others have seen",
                &content,
                &account.seen,
            );
        } else {
            account.seen = Content::default();
        }
        account.present.add(&content);
        account.ever.add(&content);
        account.durable = content;
    }

    /// A room's log was replaced: it says no less than before.
    pub(super) fn replaced(&self, room: &RoomName, before: &RoomLog, after: &RoomLog) {
        let content = content_of(after);
        self.expect(
            room,
            "a compaction has lost something",
            &content,
            &content_of(before),
        );
        let mut rooms = lock(&self.rooms);
        let account = rooms.entry(room.clone()).or_default();
        self.expect(
            room,
            "a compaction has lost what others have seen",
            &content,
            &account.seen,
        );
        account.gain(&content);
    }

    /// Somebody is shown this.
    pub(super) fn show(&self, room: &RoomName, to: &str, content: &Content) {
        let mut rooms = lock(&self.rooms);
        let account = rooms.entry(room.clone()).or_default();
        if account.durable.covers(content) {
            account.seen.add(content);
        } else if !account.ever.covers(content) {
            let lacks = account.ever.lacks(content);
            self.scene
                .violate(|| format!("{room}: {to} is shown {lacks}, which is not on disk"));
        }
    }

    /// Whether all of this is on disk, or was in an earlier life.
    pub(super) fn holds(&self, room: &RoomName, content: &Content) -> bool {
        let mut rooms = lock(&self.rooms);
        let account = rooms.entry(room.clone()).or_default();
        account.ever.covers(content)
    }

    /// What is on disk now, and in which life of the room.
    pub(super) fn durable(&self, room: &RoomName) -> (u64, Content) {
        let rooms = lock(&self.rooms);
        let account = rooms.get(room).cloned().unwrap_or_default();
        (account.lives, account.durable)
    }

    /// What of this has not been on disk in the present life of the room, if there is anything.
    pub(super) fn lacks_in_life(&self, room: &RoomName, content: &Content) -> Option<String> {
        let rooms = lock(&self.rooms);
        let present = rooms.get(room).map(|account| account.present.clone());
        let present = present.unwrap_or_default();
        (!present.covers(content)).then(|| present.lacks(content))
    }

    /// Whether the disk may forget what it said it had.
    pub(super) fn forgives(&self) -> bool {
        self.forgives
    }

    fn expect(&self, room: &RoomName, what: &str, has: &Content, needs: &Content) {
        if !has.covers(needs) {
            let lacks = has.lacks(needs);
            self.scene.violate(|| format!("{room}: {what}: {lacks}"));
        }
    }
}

impl Account {
    fn begin_life(&mut self) {
        self.lives += 1;
        self.durable = Content::default();
        self.present = Content::default();
        self.seen = Content::default();
    }

    fn gain(&mut self, content: &Content) {
        self.durable.add(content);
        self.present.add(content);
        self.ever.add(content);
    }
}

fn content_of(log: &RoomLog) -> Content {
    let mut content = Content::default();
    for (_, kind, body) in &log.rows {
        if matches!(kind, Kind::Ready | Kind::Pending | Kind::State)
            && let Some(of) = Content::of(body)
        {
            content.add(&of);
        }
    }
    content
}
