//! What of an update is new to a room, what of that is ready, and what has to wait.
//!
//! A struct is ready when everything it needs is known or ready: all earlier clocks of its client,
//! its origins and its parent. So the ready structs of one client are one range that starts at the
//! known clock, and finding them is finding, for each client, where that range ends. A client that is
//! stuck waits for exactly one other clock; a work list wakes it when that clock is reached.

use std::collections::{BTreeMap, BTreeSet};

use crate::delete_set::{DeleteRanges, DeleteSet};
use crate::encoder::Encoder;
use crate::state_vector::StateVector;
use crate::structs::{Id, Struct};
use crate::update::{Block, Update, Walk};
use crate::{ClientId, Clock};

/// A stuck client keeps its place in the update only after so many structs; otherwise the place is
/// found again. This bounds the memory for places (some 450 bytes each) when many clients are stuck.
const KEEP_PLACE_AFTER: u32 = 16;

/// Which bytes carry the part of an update that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Nothing is ready.
    Nothing,
    /// The sender's own bytes: nothing was dropped or split off.
    Whole,
    /// One re-encoded update.
    Part(Vec<u8>),
}

/// An update split against what a room knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// New clocks of the clients that advanced: absolute, only those that changed.
    pub advanced: StateVector,
    /// The ready part: ready structs and deletes over known clocks.
    pub ready: Ready,
    /// Normalised deletes of the ready part: its delete set and the clocks of its structs that hold
    /// only deleted or collected content.
    pub deletes: DeleteSet,
    /// One update of what must wait: structs that are not ready, deletes over unknown clocks.
    pub pending: Option<Vec<u8>>,
    /// Per client how many elements must be known before the pending part can go on: for each stuck
    /// client what it waits for directly, and the end of every pending delete.
    pub missing: StateVector,
}

/// Splits an update against what a room knows; `known` counts ready structs only.
///
/// Structs over known clocks are dropped, whatever they contain; their deletes still count.
pub fn ingest(update: &Update<'_>, known: &StateVector) -> Ingest {
    if let Some(ingest) = ingest_whole(update, known) {
        return ingest;
    }
    let mut progress = Progress::new(update, known);
    progress.run(&mut |_, _| {});
    progress.finish()
}

/// Visits every struct whose dependencies are all in the update, each after what it depends on, with
/// the place of its block; gives per block the clock at which its visited structs end.
pub(crate) fn visit_in_causal_order<'a>(
    update: &Update<'a>,
    visit: &mut impl FnMut(usize, &Struct<'a>),
) -> Vec<Clock> {
    let known = StateVector::default();
    let mut progress = Progress::new(update, &known);
    progress.run(visit);
    progress.clients.iter().map(|client| client.ready).collect()
}

/// The common case, without any lists: an update of at most one client that is ready as a whole.
fn ingest_whole(update: &Update<'_>, known: &StateVector) -> Option<Ingest> {
    let blocks = update.blocks();
    let block = match blocks {
        [] => None,
        [block] => Some(block),
        _ => return None,
    };
    let mut advanced = StateVector::default();
    let mut deletes = DeleteRanges::default();
    if let Some(block) = block {
        let mut clock = known.clock(block.client);
        let mut deleted = clock..clock;
        for next in update.walk_block(block) {
            let needs_other =
                |id: Id| id.client != block.client && id.clock >= known.clock(id.client);
            if next.is_skip() || next.clock != clock || next.dependencies().any(needs_other) {
                return None;
            }
            clock = next.end();
            if next.is_deleted() {
                if deleted.end != next.clock {
                    deletes.add(block.client, deleted);
                    deleted = next.clock..clock;
                }
                deleted.end = clock;
            }
        }
        deletes.add(block.client, deleted);
        advanced.advance(block.client, clock);
    }
    let mut is_known = true;
    let mut is_named = false;
    update.for_each_delete(|client, start, end| {
        let ready = known.clock(client).max(advanced.clock(client));
        is_known &= end <= ready;
        is_named = true;
        deletes.add(client, start..end);
    });
    if !is_known {
        return None;
    }
    let ready = if block.is_none() && !is_named {
        Ready::Nothing
    } else {
        Ready::Whole
    };
    Some(Ingest {
        advanced,
        ready,
        deletes: deletes.finish(),
        pending: None,
        missing: StateVector::default(),
    })
}

/// How far one client of the update came.
#[derive(Clone, Debug)]
struct ClientProgress {
    known: Clock,
    /// Everything below is known or ready.
    ready: Clock,
    /// What the first struct that is not ready waits for.
    stuck_on: Option<Id>,
}

/// How far the structs of a client were walked.
struct Place<'u, 'a> {
    walk: Walk<'u, 'a>,
    /// The struct that was read and not yet passed.
    head: Option<Struct<'a>>,
}

struct Progress<'u, 'a> {
    update: &'u Update<'a>,
    known: &'u StateVector,
    /// One for each block of the update, in the same order.
    clients: Vec<ClientProgress>,
    /// Clients to go on with.
    work: Vec<usize>,
    /// Stuck clients by what they wait for: client, clock, place of the one that waits.
    waiting: BTreeSet<(usize, Clock, usize)>,
    /// Where stuck clients go on, see [`KEEP_PLACE_AFTER`].
    places: BTreeMap<usize, Box<Place<'u, 'a>>>,
}

impl<'u, 'a> Progress<'u, 'a> {
    fn new(update: &'u Update<'a>, known: &'u StateVector) -> Self {
        let clients: Vec<ClientProgress> = update
            .blocks()
            .iter()
            .map(|block| {
                let known = known.clock(block.client);
                ClientProgress {
                    known,
                    ready: known,
                    stuck_on: None,
                }
            })
            .collect();
        Progress {
            update,
            known,
            work: (0..clients.len()).collect(),
            clients,
            waiting: BTreeSet::new(),
            places: BTreeMap::new(),
        }
    }

    fn run(&mut self, visit: &mut impl FnMut(usize, &Struct<'a>)) {
        while let Some(index) = self.work.pop() {
            let Some(block) = self.update.blocks().get(index) else {
                continue;
            };
            self.go_on(index, block, visit);
            let Some(client) = self.clients.get(index) else {
                continue;
            };
            let ready = client.ready;
            if let Some(id) = client.stuck_on
                && let Some(on) = self.update.block_index(id.client)
            {
                self.waiting.insert((on, id.clock, index));
            }
            // Wake everybody who waited for a clock that is ready now.
            while let Some(&(on, clock, waiter)) = self.waiting.range((index, 0, 0)..).next() {
                if on != index || clock >= ready {
                    break;
                }
                self.waiting.remove(&(on, clock, waiter));
                self.work.push(waiter);
            }
        }
    }

    /// Moves one client as far as it comes.
    fn go_on(&mut self, index: usize, block: &Block, visit: &mut impl FnMut(usize, &Struct<'a>)) {
        let Some(mut client) = self.clients.get(index).cloned() else {
            return;
        };
        client.stuck_on = None;
        if block.end <= client.ready {
            return;
        }
        let kept = self.places.remove(&index);
        let mut is_kept = kept.is_some();
        let mut place = kept.unwrap_or_else(|| {
            let mut walk = self.update.walk_block(block);
            let head = walk.next();
            Box::new(Place { walk, head })
        });
        let mut passed: u32 = 0;
        while let Some(mut next) = place.head {
            if next.end() > client.ready && !next.is_skip() {
                client.stuck_on = if next.clock > client.ready {
                    // A gap: everything up to the first struct behind it is missing.
                    Some(Id {
                        client: block.client,
                        clock: next.clock.saturating_sub(1),
                    })
                } else {
                    next.skip_elements(client.ready.saturating_sub(next.clock));
                    self.first_missing(block.client, &next)
                };
                if client.stuck_on.is_some() {
                    break;
                }
                visit(index, &next);
                client.ready = next.end();
            }
            passed = passed.saturating_add(1);
            place.head = place.walk.next();
        }
        // Once kept, a place is always kept: a client may be woken for every single struct.
        is_kept |= passed > KEEP_PLACE_AFTER;
        if client.stuck_on.is_some() && is_kept {
            self.places.insert(index, place);
        }
        if let Some(slot) = self.clients.get_mut(index) {
            *slot = client;
        }
    }

    /// The first element of another client that a struct needs and that is not ready.
    fn first_missing(&self, own: ClientId, next: &Struct<'_>) -> Option<Id> {
        next.dependencies()
            .find(|id| id.client != own && id.clock >= self.ready_clock(id.client))
    }

    fn ready_clock(&self, client: ClientId) -> Clock {
        self.update
            .block_index(client)
            .and_then(|index| self.clients.get(index))
            .map_or_else(|| self.known.clock(client), |client| client.ready)
    }

    fn finish(self) -> Ingest {
        let mut advanced = StateVector::default();
        let mut missing = StateVector::default();
        let mut is_dropped = false;
        let mut is_stuck = false;
        for (block, client) in self.update.blocks().iter().zip(&self.clients) {
            is_dropped |= block.first < client.known;
            is_stuck |= block.end > client.ready;
            if client.ready > client.known {
                advanced.advance(block.client, client.ready);
            }
            if let Some(id) = client.stuck_on {
                missing.advance(id.client, id.clock.saturating_add(1));
            }
        }
        let (ready_deletes, pending_deletes) = self.split_deletes();
        for (client, ranges) in pending_deletes.iter() {
            if let Some(last) = ranges.last() {
                missing.advance(client, last.end);
            }
        }
        let has_ready = !advanced.is_empty() || !ready_deletes.is_empty();
        let has_pending = is_stuck || !pending_deletes.is_empty();

        let mut ready = (is_dropped || has_pending).then(Encoder::default);
        let mut pending = has_pending.then(Encoder::default);
        let mut deletes = self.split_structs(&mut ready, &mut pending);
        deletes.extend(&ready_deletes);
        Ingest {
            advanced,
            ready: match ready {
                _ if !has_ready => Ready::Nothing,
                None => Ready::Whole,
                Some(ready) => Ready::Part(ready.finish(&ready_deletes)),
            },
            deletes,
            pending: pending.map(|pending| pending.finish(&pending_deletes)),
            missing,
        }
    }

    /// The delete set below the ready clocks, and the rest of it.
    fn split_deletes(&self) -> (DeleteSet, DeleteSet) {
        let mut below = DeleteRanges::default();
        let mut above = DeleteRanges::default();
        self.update.for_each_delete(|client, start, end| {
            let bound = self.ready_clock(client);
            below.add(client, start..end.min(bound));
            above.add(client, start.max(bound)..end);
        });
        (below.finish(), above.finish())
    }

    /// Writes the structs that are not known to the part they belong to, as far as it is wanted, and
    /// collects the clocks of the ready ones that are deleted by their content.
    fn split_structs(
        &self,
        ready: &mut Option<Encoder>,
        pending: &mut Option<Encoder>,
    ) -> DeleteSet {
        let mut deleted = DeleteRanges::default();
        let mut walk = self.update.walk();
        for (block, client) in self.update.blocks().iter().zip(&self.clients) {
            if block.end <= client.known {
                continue;
            }
            walk.enter(block);
            let mut open = client.known..client.known;
            for mut next in walk.by_ref().filter(|next| next.end() > client.known) {
                if next.clock < client.known {
                    next.skip_elements(client.known.saturating_sub(next.clock));
                    next.mend_front();
                }
                let is_ready = next.end() <= client.ready;
                let part = if is_ready { &mut *ready } else { &mut *pending };
                if let Some(part) = part {
                    part.push(&next);
                }
                if is_ready && next.is_deleted() {
                    if open.end != next.clock {
                        deleted.add(block.client, open);
                        open = next.clock..next.clock;
                    }
                    open.end = next.end();
                }
            }
            deleted.add(block.client, open);
        }
        deleted.finish()
    }
}
