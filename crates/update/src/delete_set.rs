//! Delete sets: ranges of clocks for each client.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use crate::growth::{push, spare};
use crate::lib0::write_var_uint;
use crate::{ClientId, Clock};

/// Per client sorted, non-empty ranges of clocks, none of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteSet(BTreeMap<ClientId, Vec<Range<Clock>>>);

impl DeleteSet {
    /// Adds the clocks of a range; an empty range adds nothing.
    pub fn insert(&mut self, client: ClientId, range: Range<Clock>) {
        if range.is_empty() {
            return;
        }
        let ranges = self.0.entry(client).or_default();
        let from = ranges.partition_point(|known| known.end < range.start);
        let to = ranges.partition_point(|known| known.start <= range.end);
        let Some(touched) = ranges.get(from..to) else {
            return;
        };
        let start = touched.first().map_or(range.start, |first| first.start);
        let end = touched.last().map_or(range.end, |last| last.end);
        let joined = start.min(range.start)..end.max(range.end);
        ranges.splice(from..to, [joined]);
    }

    /// Adds everything that `other` holds, in one pass.
    pub fn extend(&mut self, other: &DeleteSet) {
        for (client, ranges) in &other.0 {
            match self.0.entry(*client) {
                Entry::Vacant(entry) => {
                    entry.insert(ranges.clone());
                }
                Entry::Occupied(mut entry) => {
                    let known = entry.get_mut();
                    if !contains_ranges(known, ranges) {
                        spare(known, ranges.len()).extend_from_slice(ranges);
                        coalesce(known);
                    }
                }
            }
        }
    }

    /// Whether every clock of `other` is in this set.
    pub fn contains_all(&self, other: &DeleteSet) -> bool {
        other.0.iter().all(|(client, ranges)| {
            self.0
                .get(client)
                .is_some_and(|known| contains_ranges(known, ranges))
        })
    }

    /// Whether a clock is in the set.
    pub(crate) fn contains(&self, client: ClientId, clock: Clock) -> bool {
        let mut ranges = self.ranges(client);
        ranges.skip_to(clock);
        ranges
            .first_from(clock)
            .is_some_and(|range| range.start <= clock)
    }

    /// The ranges of one client, to be walked with ascending clocks.
    pub(crate) fn ranges(&self, client: ClientId) -> Ranges<'_> {
        Ranges(self.0.get(&client).map_or(&[], Vec::as_slice))
    }

    /// Nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges of each client, lowest client first.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, &[Range<Clock>])> + '_ {
        self.0
            .iter()
            .map(|(client, ranges)| (*client, ranges.as_slice()))
    }

    /// Appends the set as encoding V2 has it, highest client first.
    pub(crate) fn encode_v2(&self, out: &mut Vec<u8>) {
        write_var_uint(out, self.0.len() as u64);
        for (client, ranges) in self.0.iter().rev() {
            write_var_uint(spare(out, 20), *client);
            write_var_uint(out, ranges.len() as u64);
            let mut clock: Clock = 0;
            for range in ranges {
                write_var_uint(spare(out, 10), u64::from(range.start.saturating_sub(clock)));
                let len = range.end.saturating_sub(range.start);
                write_var_uint(out, u64::from(len.saturating_sub(1)));
                clock = range.end;
            }
        }
    }
}

/// Ranges in any order on their way into a [`DeleteSet`].
#[derive(Debug, Default)]
pub(crate) struct DeleteRanges(BTreeMap<ClientId, Vec<Range<Clock>>>);

/// A list of so many ranges is joined before it grows.
const JOIN_FROM: usize = 1024;

impl DeleteRanges {
    /// Adds the clocks of a range; an empty range adds nothing.
    pub(crate) fn add(&mut self, client: ClientId, range: Range<Clock>) {
        if range.is_empty() {
            return;
        }
        let ranges = self.0.entry(client).or_default();
        if let Some(last) = ranges.last_mut()
            && (last.start..=last.end).contains(&range.start)
        {
            last.end = last.end.max(range.end);
            return;
        }
        let is_full = ranges.len() == ranges.capacity();
        if is_full && ranges.len() >= JOIN_FROM {
            // Many updates may name the same deletes. A list that stays nearly full grows, so that it
            // is not sorted again at once.
            coalesce(ranges);
            spare(ranges, ranges.capacity() / 8);
        }
        push(ranges, range);
    }

    pub(crate) fn finish(mut self) -> DeleteSet {
        self.0.values_mut().for_each(coalesce);
        DeleteSet(self.0)
    }
}

/// What is left of one client's ranges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ranges<'s>(&'s [Range<Clock>]);

impl Ranges<'_> {
    /// The first range that ends behind a clock; clocks must ascend.
    pub(crate) fn first_from(&mut self, clock: Clock) -> Option<Range<Clock>> {
        while let Some((first, rest)) = self.0.split_first() {
            if first.end > clock {
                return Some(first.clone());
            }
            self.0 = rest;
        }
        None
    }

    /// Leaves out what ends at or before a clock, in logarithmic time.
    fn skip_to(&mut self, clock: Clock) {
        let passed = self.0.partition_point(|range| range.end <= clock);
        self.0 = self.0.get(passed..).unwrap_or_default();
    }
}

fn contains_ranges(known: &[Range<Clock>], wanted: &[Range<Clock>]) -> bool {
    let mut known = known.iter().peekable();
    wanted.iter().all(|range| {
        while known.next_if(|known| known.end < range.end).is_some() {}
        known.peek().is_some_and(|known| known.start <= range.start)
    })
}

/// Sorts ranges and joins those that touch.
fn coalesce(ranges: &mut Vec<Range<Clock>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
}
