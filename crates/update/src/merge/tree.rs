//! A balanced tree of two-way merges, opened and closed as the merge goes along.

use std::cmp::Ordering;

use super::Leaf;
use super::inputs::Inputs;
use crate::Clock;
use crate::structs::Struct;
use crate::update::Walk;

/// Structs of one client in ascending order that do not overlap, gaps left out.
pub(super) enum Source<'u, 'a, I: ?Sized> {
    /// Not begun: leaves in their order. Most of a long log waits in this form.
    Closed(&'u [Leaf], &'u I),
    Leaf(Box<Walk<'u, 'a>>),
    Pair(Box<Pair<'u, 'a, I>>),
    Ended,
}

impl<'u, 'a, I: Inputs<'a> + ?Sized> Source<'u, 'a, I> {
    /// The depth of the tree is the logarithm of the number of leaves.
    pub(super) fn of(leaves: &'u [Leaf], inputs: &'u I) -> Self {
        Source::Closed(leaves, inputs)
    }

    fn open(leaves: &'u [Leaf], inputs: &'u I) -> Self {
        match leaves {
            [] => Source::Ended,
            [leaf] => Source::Leaf(Box::new(inputs.walk(leaf))),
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                Source::Pair(Box::new(Pair {
                    left: Side::new(Source::of(left, inputs)),
                    right: Side::new(Source::of(right, inputs)),
                    probe: None,
                }))
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Struct<'a>> {
        if let Source::Closed(leaves, inputs) = self {
            *self = Source::open(leaves, *inputs);
        }
        let next = match self {
            Source::Leaf(walk) => walk.find(|next| !next.is_skip()),
            Source::Pair(pair) => pair.next(),
            Source::Closed(..) | Source::Ended => None,
        };
        if next.is_none() {
            *self = Source::Ended;
        }
        next
    }
}

/// One input of a two-way merge and its next struct.
struct Side<'u, 'a, I: ?Sized> {
    source: Source<'u, 'a, I>,
    head: Option<Struct<'a>>,
}

impl<'u, 'a, I: Inputs<'a> + ?Sized> Side<'u, 'a, I> {
    fn new(source: Source<'u, 'a, I>) -> Self {
        Side { source, head: None }
    }

    /// The clock of the next struct.
    fn clock(&self) -> Option<Clock> {
        match &self.source {
            // Leaves are in the order of their first clocks, and begin there.
            Source::Closed(leaves, _) => leaves.first().map(|leaf| leaf.first),
            _ => self.head.as_ref().map(|head| head.clock),
        }
    }

    /// Reads the next struct, if nothing was read yet.
    fn open(&mut self) {
        if let Source::Closed(..) = self.source {
            self.head = self.source.next();
        }
    }

    fn take(&mut self) -> Option<Struct<'a>> {
        self.open();
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
pub(super) struct Pair<'u, 'a, I: ?Sized> {
    left: Side<'u, 'a, I>,
    right: Side<'u, 'a, I>,
    /// The earlier of the two next structs from where it was last compared on: comparing goes on
    /// from there, so that a long struct is not walked from its start for every short one it covers.
    probe: Option<Struct<'a>>,
}

impl<'a, I: Inputs<'a> + ?Sized> Pair<'_, 'a, I> {
    fn next(&mut self) -> Option<Struct<'a>> {
        loop {
            let (Some(left), Some(right)) = (self.left.clock(), self.right.clock()) else {
                self.probe = None;
                return self.left.take().or_else(|| self.right.take());
            };
            let (early, late) = if left <= right {
                (&mut self.left, &mut self.right)
            } else {
                (&mut self.right, &mut self.left)
            };
            early.open();
            if early.head.as_ref()?.end() <= left.max(right) {
                self.probe = None;
                return early.take();
            }
            late.open();
            let (first, second) = (early.head.as_ref()?, late.head.as_ref()?);
            let (first_clock, first_end) = (first.clock, first.end());
            let (second_clock, second_end) = (second.clock, second.end());
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
                early.drop_until(first_end.min(second_end));
                return Some(written);
            }
        }
    }
}
