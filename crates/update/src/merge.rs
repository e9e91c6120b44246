//! Many updates into one.
//!
//! The blocks of all updates are sorted by client and first clock. Blocks that overlap nobody are
//! copied struct by struct. Blocks that overlap go through a balanced tree of two-way merges, so
//! that hostile overlaps cost no more than a logarithm; the leaves are in an order that depends only
//! on their bytes, and so does the result.

use std::cmp::{Ordering, Reverse};

use crate::delete_set::DeleteSet;
use crate::encoder::Encoder;
use crate::structs::Struct;
use crate::update::{Block, Update, Walk};
use crate::{ClientId, Clock};

/// One update that holds what all of them hold: every clock once, gaps kept, delete sets united.
///
/// Where two updates hold different versions of a clock, the one with more information stays:
/// content over deleted content over collected, then the smaller form. The order of `updates` never
/// matters.
pub fn merge(updates: &[Update<'_>]) -> Vec<u8> {
    let mut leaves: Vec<Leaf> = Vec::new();
    for (index, update) in updates.iter().enumerate() {
        let present = update.blocks().iter().enumerate();
        leaves.extend(
            present
                .filter(|(_, block)| !block.is_empty())
                .map(|(place, block)| Leaf {
                    client: block.client,
                    first: block.first,
                    end: block.end,
                    update: index,
                    block: place,
                }),
        );
    }
    leaves.sort_unstable_by_key(|leaf| (Reverse(leaf.client), leaf.first, leaf.end, leaf.update));

    let mut ranks = Vec::new();
    let mut encoder = Encoder::default();
    let mut rest = leaves.as_mut_slice();
    while !rest.is_empty() {
        let (cluster, behind) = rest.split_at_mut(cluster_len(rest));
        rest = behind;
        if let [leaf] = cluster {
            if let Some(mut walk) = leaf.walk(updates) {
                for next in walk.by_ref() {
                    encoder.push(&next);
                }
            }
            continue;
        }
        if ranks.is_empty() {
            ranks = ranks_of(updates);
        }
        let order = |leaf: &Leaf| (leaf.first, leaf.end, ranks.get(leaf.update).copied());
        cluster.sort_unstable_by_key(order);
        // The same update twice must not give the tree another shape.
        let mut distinct: Vec<&Leaf> = cluster.iter().collect();
        distinct.dedup_by_key(|leaf| order(leaf));
        if let Some(mut source) = Source::build(&distinct, updates) {
            while let Some(next) = source.next() {
                encoder.push(&next);
            }
        }
    }

    let mut deletes = Vec::new();
    for update in updates {
        update.for_each_delete(|client, start, end| deletes.push((client, start..end)));
    }
    encoder.finish(&DeleteSet::from_ranges(deletes))
}

/// A block of one of the updates.
#[derive(Debug)]
struct Leaf {
    client: ClientId,
    first: Clock,
    end: Clock,
    update: usize,
    block: usize,
}

impl Leaf {
    fn walk<'u, 'a>(&self, updates: &'u [Update<'a>]) -> Option<Walk<'u, 'a>> {
        let update = updates.get(self.update)?;
        let block: &Block = update.blocks().get(self.block)?;
        Some(update.walk_block(block))
    }
}

/// The places of the updates in an order that depends on their bytes alone; the same bytes have the
/// same place. Clusters sort by this number: to compare the bytes again for every client would cost
/// their square.
fn ranks_of(updates: &[Update<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..updates.len()).collect();
    let bytes = |index: &usize| updates.get(*index).map(Update::as_bytes);
    order.sort_unstable_by_key(bytes);
    let mut ranks = vec![0; updates.len()];
    let groups = order.chunk_by(|left, right| bytes(left) == bytes(right));
    for (place, same) in groups.enumerate() {
        for index in same {
            if let Some(rank) = ranks.get_mut(*index) {
                *rank = place;
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
            end = end.max(if is_inside { leaf.end } else { 0 });
            is_inside
        })
        .count()
}

/// Structs of one client in ascending order that do not overlap, gaps left out.
enum Source<'u, 'a> {
    Leaf(Box<Walk<'u, 'a>>),
    Pair(Box<Pair<'u, 'a>>),
}

impl<'u, 'a> Source<'u, 'a> {
    /// A balanced tree; its depth is the logarithm of the number of leaves.
    fn build(leaves: &[&Leaf], updates: &'u [Update<'a>]) -> Option<Self> {
        if let [leaf] = leaves {
            return leaf.walk(updates).map(Box::new).map(Source::Leaf);
        }
        if leaves.is_empty() {
            return None;
        }
        let (left, right) = leaves.split_at(leaves.len() / 2);
        Some(Source::Pair(Box::new(Pair {
            left: Side::new(Source::build(left, updates)?),
            right: Side::new(Source::build(right, updates)?),
            probe: None,
        })))
    }

    fn next(&mut self) -> Option<Struct<'a>> {
        match self {
            Source::Leaf(walk) => walk.find(|next| !next.is_skip()),
            Source::Pair(pair) => pair.next(),
        }
    }
}

/// One input of a two-way merge and its next struct.
struct Side<'u, 'a> {
    source: Source<'u, 'a>,
    head: Option<Struct<'a>>,
}

impl<'u, 'a> Side<'u, 'a> {
    fn new(mut source: Source<'u, 'a>) -> Self {
        let head = source.next();
        Side { source, head }
    }

    fn take(&mut self) -> Option<Struct<'a>> {
        let taken = self.head.take();
        self.head = self.source.next();
        taken
    }

    /// Drops everything below a clock, which lies inside the next struct or at its end.
    fn drop_until(&mut self, clock: Clock) {
        let Some(head) = &mut self.head else {
            return;
        };
        if head.end() <= clock {
            self.head = self.source.next();
        } else {
            head.skip_elements(clock.saturating_sub(head.clock));
            head.mend_front();
        }
    }
}

/// A merge of two inputs.
struct Pair<'u, 'a> {
    left: Side<'u, 'a>,
    right: Side<'u, 'a>,
    /// The earlier of the two next structs from where it was last compared on: comparing goes on
    /// from there, so that a long struct is not walked from its start for every short one it covers.
    probe: Option<Struct<'a>>,
}

impl<'a> Pair<'_, 'a> {
    fn next(&mut self) -> Option<Struct<'a>> {
        loop {
            let (Some(left), Some(right)) = (&self.left.head, &self.right.head) else {
                self.probe = None;
                return self.left.take().or_else(|| self.right.take());
            };
            let is_left_first = left.clock <= right.clock;
            let (early, late) = if is_left_first {
                (&mut self.left, &mut self.right)
            } else {
                (&mut self.right, &mut self.left)
            };
            let (Some(first), Some(second)) = (&early.head, &late.head) else {
                return None;
            };
            let (first_clock, first_end) = (first.clock, first.end());
            let (second_clock, second_end) = (second.clock, second.end());
            if first_end <= second_clock {
                self.probe = None;
                return early.take();
            }
            let mut probe = self.probe.take().unwrap_or(*first);
            probe.skip_elements(second_clock.saturating_sub(probe.clock));
            let overlap = first_end.min(second_end).saturating_sub(second_clock);
            let order = probe.prefer(second, overlap);
            let is_second_longer = second_clock == first_clock && second_end > first_end;
            if order == Ordering::Greater || (order == Ordering::Equal && !is_second_longer) {
                late.drop_until(first_end.min(second_end));
                self.probe = Some(probe);
            } else if first_clock == second_clock {
                early.drop_until(first_end.min(second_end));
            } else {
                // The later one wins: the earlier one is written up to it and goes on behind it.
                let mut written = *first;
                written.truncate(second_clock.saturating_sub(first_clock));
                early.head = Some(probe);
                early.drop_until(first_end.min(second_end));
                return Some(written);
            }
        }
    }
}
