//! What an update holds and what it refers to.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::delete_set::DeleteSet;
use crate::state_vector::StateVector;
use crate::update::Update;
use crate::{ClientId, Clock};

/// Structure of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Per client the ranges of clocks that have structs: sorted, gaps left out, neighbours joined.
    pub structs: BTreeMap<ClientId, Vec<Range<Clock>>>,
    /// The normalised delete set, see [`Update::deletes`].
    pub deletes: DeleteSet,
    /// Per client how many elements the update refers to: origins, parents and deletes, and for its
    /// own structs everything before them. Parts of it may be in the update itself.
    pub dependencies: StateVector,
}

impl Update<'_> {
    /// The normalised delete set: what the delete set names, and the clocks of every struct that
    /// holds only deleted or collected content.
    pub fn deletes(&self) -> DeleteSet {
        let mut ranges = Vec::new();
        self.for_each_delete(|client, start, end| ranges.push((client, start..end)));
        let mut walk = self.walk();
        for block in self.blocks() {
            walk.enter(block);
            let deleted = walk.by_ref().filter(|next| next.is_deleted());
            push_joined(
                &mut ranges,
                block.client,
                deleted.map(|next| next.clock..next.end()),
            );
        }
        DeleteSet::from_ranges(ranges)
    }

    /// What the update holds and refers to.
    pub fn summary(&self) -> Summary {
        let mut dependencies = StateVector::default();
        self.for_each_delete(|client, _, end| dependencies.advance(client, end));
        let mut structs = BTreeMap::new();
        let mut walk = self.walk();
        for block in self.blocks().iter().filter(|block| !block.is_empty()) {
            dependencies.advance(block.client, block.first);
            walk.enter(block);
            let mut ranges = Vec::new();
            let present = walk.by_ref().filter(|next| !next.is_skip());
            push_joined(
                &mut ranges,
                block.client,
                present.map(|next| {
                    for id in next.dependencies() {
                        dependencies.advance(id.client, id.clock.saturating_add(1));
                    }
                    next.clock..next.end()
                }),
            );
            structs.insert(
                block.client,
                ranges.into_iter().map(|(_, range)| range).collect(),
            );
        }
        Summary {
            structs,
            deletes: self.deletes(),
            dependencies,
        }
    }
}

/// Appends ascending ranges of one client, joining neighbours: structs can cost no bytes, so a list
/// with an entry for each would not be bounded by the input.
fn push_joined(
    ranges: &mut Vec<(ClientId, Range<Clock>)>,
    client: ClientId,
    next: impl Iterator<Item = Range<Clock>>,
) {
    let mut open: Option<Range<Clock>> = None;
    for range in next {
        match &mut open {
            Some(open) if open.end == range.start => open.end = range.end,
            _ => ranges.extend(open.replace(range).map(|range| (client, range))),
        }
    }
    ranges.extend(open.map(|range| (client, range)));
}
