//! Many updates into one.
//!
//! The blocks of all updates are sorted by client and first clock. Blocks that overlap nobody are
//! copied struct by struct. Blocks that overlap go through a balanced tree of two-way merges, so
//! that hostile overlaps cost no more than a logarithm; the leaves are in an order that depends only
//! on their bytes, and so does the result.
//!
//! A log holds many updates of a few bytes each. Until its turn comes, a block is a [`Leaf`] of 24
//! bytes and nothing else: branches of the tree are opened when the merge arrives at their first clock.

mod inputs;
mod tree;

use std::cmp::Reverse;

use inputs::{Encoded, Inputs};
use tree::Source;

use crate::delete_set::DeleteRanges;
use crate::encoder::Encoder;
use crate::error::{Limits, UpdateError};
use crate::growth::push;
use crate::update::Update;
use crate::{ClientId, Clock};

/// One update that holds what all of them hold: every clock once, gaps kept, delete sets united.
///
/// Where two updates hold different versions of a clock, the one with more information stays:
/// content over deleted content over collected, then the smaller form. The order of `updates` never
/// matters.
pub fn merge(updates: &[Update<'_>]) -> Vec<u8> {
    let mut leaves = Leaves::of(updates.len());
    for (index, update) in updates.iter().enumerate() {
        leaves.add(index, update);
    }
    leaves.merge(updates)
}

/// Checks every one of `updates` and [merges](merge) them.
///
/// For logs of many small updates: an [`Update`] takes more memory than most of their entries, and
/// this keeps none for updates of one client.
///
/// # Errors
/// That of the first update that [`Update::parse`] does not take.
pub fn merge_bytes(updates: &[impl AsRef<[u8]>], limits: &Limits) -> Result<Vec<u8>, UpdateError> {
    let mut leaves = Leaves::of(updates.len());
    let mut inputs = Encoded::new(updates);
    for (index, bytes) in updates.iter().enumerate() {
        let update = Update::parse(bytes.as_ref(), limits)?;
        leaves.add(index, &update);
        inputs.keep(index, update);
    }
    Ok(leaves.merge(&inputs))
}

/// The blocks of all updates, and what they delete.
struct Leaves {
    leaves: Vec<Leaf>,
    deletes: DeleteRanges,
}

/// A block of one of the updates.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    client: ClientId,
    first: Clock,
    end: Clock,
    update: u32,
    block: u32,
}

impl Leaves {
    fn of(updates: usize) -> Self {
        Leaves {
            leaves: Vec::with_capacity(updates),
            deletes: DeleteRanges::default(),
        }
    }

    fn add(&mut self, index: usize, update: &Update<'_>) {
        for (place, block) in update.blocks().iter().enumerate() {
            if !block.is_empty() {
                push(
                    &mut self.leaves,
                    Leaf {
                        client: block.client,
                        first: block.first,
                        end: block.end,
                        update: number_of(index),
                        block: number_of(place),
                    },
                );
            }
        }
        update.for_each_delete(|client, start, end| self.deletes.add(client, start..end));
    }

    fn merge<'a>(mut self, inputs: &(impl Inputs<'a> + ?Sized)) -> Vec<u8> {
        self.leaves
            .sort_unstable_by_key(|leaf| (Reverse(leaf.client), leaf.first, leaf.end, leaf.update));
        let mut ranks = Vec::new();
        let mut encoder = Encoder::default();
        let mut rest = self.leaves.as_mut_slice();
        while !rest.is_empty() {
            let (cluster, behind) = rest.split_at_mut(cluster_len(rest));
            rest = behind;
            if let [leaf] = cluster {
                for next in inputs.walk(leaf) {
                    encoder.push(&next);
                }
                continue;
            }
            if ranks.is_empty() {
                ranks = ranks_of(inputs);
            }
            let mut source = Source::of(in_order(cluster, &ranks), inputs);
            while let Some(next) = source.next() {
                encoder.push(&next);
            }
        }
        drop(self.leaves);
        encoder.finish(&self.deletes.finish())
    }
}

/// There are fewer updates and blocks than a `u32` counts: each takes some bytes, and all of them
/// were in memory before.
fn number_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The leaves of a cluster in an order that depends on their bytes alone. The same update twice must
/// not give the tree another shape: its leaf is there once.
fn in_order<'l>(cluster: &'l mut [Leaf], ranks: &[u32]) -> &'l [Leaf] {
    let order = |leaf: &Leaf| {
        let rank = usize::try_from(leaf.update).ok();
        let rank = rank.and_then(|update| ranks.get(update)).copied();
        (leaf.first, leaf.end, rank)
    };
    cluster.sort_unstable_by_key(order);
    let mut distinct: usize = 0;
    let mut last = None;
    for at in 0..cluster.len() {
        let own = cluster.get(at).map(order);
        if own != last {
            last = own;
            cluster.swap(distinct, at);
            distinct = distinct.saturating_add(1);
        }
    }
    cluster.get(..distinct).unwrap_or_default()
}

/// The places of the updates in an order that depends on their bytes alone; the same bytes have the
/// same place. Clusters sort by this number: to compare the bytes again for every client would cost
/// their square.
fn ranks_of<'a>(inputs: &(impl Inputs<'a> + ?Sized)) -> Vec<u32> {
    let mut order: Vec<u32> = (0..number_of(inputs.len())).collect();
    order.sort_unstable_by_key(|index| inputs.bytes(*index));
    let mut ranks = vec![0; order.len()];
    let groups = order.chunk_by(|left, right| inputs.bytes(*left) == inputs.bytes(*right));
    for (place, same) in groups.enumerate() {
        for index in same {
            let rank = usize::try_from(*index).ok();
            if let Some(rank) = rank.and_then(|index| ranks.get_mut(index)) {
                *rank = number_of(place);
            }
        }
    }
    ranks
}

/// How many of the first leaves overlap directly or through each other.
fn cluster_len(leaves: &[Leaf]) -> usize {
    let Some(first) = leaves.first() else {
        return 0;
    };
    let mut end = first.end;
    leaves
        .iter()
        .take_while(|leaf| {
            let is_inside =
                leaf.client == first.client && (leaf.first < end || leaf.first == first.first);
            if is_inside {
                end = end.max(leaf.end);
            }
            is_inside
        })
        .count()
}
