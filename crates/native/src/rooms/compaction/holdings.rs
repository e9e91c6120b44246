//! What the rows of a log hold, as ranges of clocks. What replaces the log is compared with it, so that nothing a merge
//! loses goes unseen.
//!
//! Compared is what neither merging nor compacting may change. The clocks with a struct stay the same, where a gap is no
//! struct. What a delete set names stays deleted; what else is deleted follows from the ready part, for which the content
//! digest answers. A struct without content deletes nothing by itself: another row may hold its content, and that stays.
//! What waits may have been covered by ready rows since, so it is compared together with them.

use std::ops::Range;
use std::slice;

use bytes::Bytes;
use epicenter_update::{ClientId, Clock, DeleteSet, Update, UpdateError, content_digest};

use super::Compacted;
use crate::log::StoredRoom;
use crate::rooms::state::STORED;

/// What a log holds.
#[derive(Debug)]
pub(super) struct Holdings {
    ready: Clocks,
    pending: Clocks,
}

/// How that which is to replace a log differs from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("the new bytes cannot be read")]
    Unreadable(#[from] UpdateError),
    #[error("the content digest differs")]
    Content,
    #[error("the clocks that have a struct differ")]
    Structs,
    #[error("the deletions differ")]
    Deletes,
    #[error("what waits differs")]
    Pending,
}

impl Holdings {
    /// Reads the rows one by one.
    pub(super) fn of(stored: &StoredRoom) -> Result<Self, UpdateError> {
        Ok(Self {
            ready: Clocks::of(&stored.ready)?,
            pending: Clocks::of(&stored.pending)?,
        })
    }

    /// Decodes what is to replace the log and compares the two.
    pub(super) fn check(&self, compacted: &Compacted) -> Result<(), Mismatch> {
        let merged = Update::parse(&compacted.merged, &STORED)?;
        let decoded = Update::parse(&compacted.ready, &STORED)?;
        if content_digest(&decoded) != content_digest(&merged) {
            return Err(Mismatch::Content);
        }
        let ready = Clocks::of(slice::from_ref(&compacted.ready))?;
        if ready.structs != self.ready.structs {
            return Err(Mismatch::Structs);
        }
        let is_deleted = ready.deletes.contains_all(&self.ready.named);
        // Before anything is derived, nothing is deleted that no row deletes.
        if !is_deleted || !self.ready.deletes.contains_all(&merged.deletes()) {
            return Err(Mismatch::Deletes);
        }
        let pending = Clocks::of(compacted.pending.as_slice())?;
        let is_whole = union(&ready.structs, &pending.structs)
            == union(&self.ready.structs, &self.pending.structs)
            && union(&ready.deletes, &pending.named).contains_all(&self.pending.named)
            && self.pending.named.contains_all(&pending.named);
        if is_whole {
            Ok(())
        } else {
            Err(Mismatch::Pending)
        }
    }
}

fn union(one: &DeleteSet, other: &DeleteSet) -> DeleteSet {
    let mut both = one.clone();
    both.extend(other);
    both
}

/// Clocks of some updates together.
#[derive(Debug)]
struct Clocks {
    /// Those with a struct, collected ones among them.
    structs: DeleteSet,
    /// Those that a delete set names.
    named: DeleteSet,
    /// The same and those of structs without content.
    deletes: DeleteSet,
}

impl Clocks {
    fn of(updates: &[Bytes]) -> Result<Self, UpdateError> {
        let mut structs = Ranges::default();
        let mut named = Ranges::default();
        let mut deletes = Ranges::default();
        for bytes in updates {
            let update = Update::parse(bytes, &STORED)?;
            let summary = update.summary();
            for (client, ranges) in &summary.structs {
                structs.add(*client, ranges);
            }
            for (client, ranges) in update.delete_set().iter() {
                named.add(client, ranges);
            }
            for (client, ranges) in summary.deletes.iter() {
                deletes.add(client, ranges);
            }
        }
        Ok(Self {
            structs: structs.finish(),
            named: named.finish(),
            deletes: deletes.finish(),
        })
    }
}

/// Ranges of clocks in any order on their way into a set, which would move all behind a range for every one before them.
#[derive(Debug, Default)]
struct Ranges {
    list: Vec<(ClientId, Range<Clock>)>,
    /// Many updates may name the same deletes, so a list of this length is joined before it grows.
    join_at: usize,
}

/// A list of fewer ranges is small enough as it is.
const JOIN_FROM: usize = 4_096;

impl Ranges {
    fn add(&mut self, client: ClientId, ranges: &[Range<Clock>]) {
        for range in ranges {
            match self.list.last_mut() {
                // Whoever types goes on where the update before ended.
                Some((of, last)) if *of == client && last.end == range.start => {
                    last.end = range.end;
                }
                _ => self.list.push((client, range.clone())),
            }
        }
        if self.list.len() >= self.join_at.max(JOIN_FROM) {
            self.join();
            self.join_at = self.list.len().saturating_mul(2);
        }
    }

    /// Sorts the ranges and joins those that touch.
    fn join(&mut self) {
        self.list
            .sort_unstable_by_key(|(client, range)| (*client, range.start));
        self.list.dedup_by(|(client, next), (of, before)| {
            let touches = client == of && next.start <= before.end;
            if touches {
                before.end = before.end.max(next.end);
            }
            touches
        });
    }

    fn finish(mut self) -> DeleteSet {
        self.join();
        let mut set = DeleteSet::default();
        for (client, range) in self.list {
            set.insert(client, range);
        }
        set
    }
}
