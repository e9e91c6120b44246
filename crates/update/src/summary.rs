//! What an update holds and what it refers to.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::delete_set::DeleteSet;
use crate::growth::push;
use crate::state_vector::StateVector;
use crate::structs::Id;
use crate::update::Update;
use crate::{ClientId, Clock};

/// Structure of an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Per client the ranges of clocks that have structs: sorted, gaps left out, neighbours joined.
    pub structs: BTreeMap<ClientId, Vec<Range<Clock>>>,
    /// The normalised delete set, see [`Update::deletes`].
    pub deletes: DeleteSet,
    /// Per client how many elements the update needs: the origins and parents in other clients, what
    /// is deleted, and everything before each of its ranges. Parts of it may be in the update itself.
    pub dependencies: StateVector,
}

impl Update<'_> {
    /// The normalised delete set: what the delete set names, and the clocks of every struct that
    /// holds only deleted or collected content.
    pub fn deletes(&self) -> DeleteSet {
        let mut deletes = self.delete_ranges();
        let mut walk = self.walk();
        for block in self.blocks() {
            walk.enter(block);
            for next in walk.by_ref().filter(|next| next.is_deleted()) {
                deletes.add(block.client, next.clock..next.end());
            }
        }
        deletes.finish()
    }

    /// What the update holds and refers to.
    pub fn summary(&self) -> Summary {
        let mut dependencies = StateVector::default();
        self.for_each_delete(|client, _, end| dependencies.advance(client, end));
        let mut structs = BTreeMap::new();
        let mut walk = self.walk();
        for block in self.blocks().iter().filter(|block| !block.is_empty()) {
            walk.enter(block);
            let mut ranges: Vec<Range<Clock>> = Vec::new();
            for next in walk.by_ref().filter(|next| !next.is_skip()) {
                // References to the own client lie before the struct, wherever it was cut.
                let of_others = |id: &Id| id.client != block.client;
                for id in next.dependencies().filter(of_others) {
                    dependencies.advance(id.client, id.clock.saturating_add(1));
                }
                // Structs can cost no bytes, so that a list with an entry for each would not be
                // bounded by the input.
                match ranges.last_mut() {
                    Some(last) if last.end == next.clock => last.end = next.end(),
                    _ => push(&mut ranges, next.clock..next.end()),
                }
            }
            let last = ranges.last().map_or(0, |range| range.start);
            dependencies.advance(block.client, last);
            structs.insert(block.client, ranges);
        }
        Summary {
            structs,
            deletes: self.deletes(),
            dependencies,
        }
    }
}
