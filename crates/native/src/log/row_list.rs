//! Which rows hold a room's entries, in one or two bytes a row.
//!
//! Every durable row of every room is listed in memory, so the list is a sequence of varints: the distance from the row
//! before, and whether the row starts an entry or continues one. Marks every so many rows let a reader begin in
//! the middle.

/// Rows between two marks.
const MARK_EVERY: usize = 256;

/// One row, as a reader expects to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRef {
    pub(super) row: u64,
    pub(super) entry: u64,
    pub(super) part: u32,
}

/// The rows of one log, in order.
#[derive(Clone, Debug)]
pub(super) struct RowList {
    encoded: Vec<u8>,
    marks: Vec<Mark>,
    rows: usize,
    last_row: u64,
    last_entry: u64,
}

/// The state of a decoder that stands before a row that starts an entry.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: usize,
    row: u64,
    entry: u64,
}

impl RowList {
    /// An empty list whose first entry will be `after + 1`.
    pub(super) fn new(after: u64) -> Self {
        Self {
            encoded: Vec::new(),
            marks: Vec::new(),
            rows: 0,
            last_row: 0,
            last_entry: after,
        }
    }

    pub(super) fn last_entry(&self) -> u64 {
        self.last_entry
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// How many entries there are.
    pub(super) fn entries(&self) -> u64 {
        self.last_entry - self.base()
    }

    /// Adds a row that comes after all others; it starts the next entry or continues the last one.
    pub(super) fn push(&mut self, row: u64, starts_entry: bool) {
        debug_assert!(row > self.last_row);
        let marked = self.marks.len() * MARK_EVERY;
        if starts_entry && self.rows >= marked {
            self.marks.push(Mark {
                offset: self.encoded.len(),
                row: self.last_row,
                entry: self.last_entry,
            });
        }
        let distance = row.wrapping_sub(self.last_row);
        write_varint(&mut self.encoded, distance << 1 | u64::from(!starts_entry));
        self.rows += 1;
        self.last_row = row;
        self.last_entry += u64::from(starts_entry);
    }

    /// Rows of the entries `after < n <= upto`.
    pub(super) fn rows(&self, after: u64, upto: u64) -> Vec<RowRef> {
        let usable = self.marks.partition_point(|mark| mark.entry <= after);
        let Some(mark) = usable
            .checked_sub(1)
            .and_then(|index| self.marks.get(index))
        else {
            return self.decode(
                Mark {
                    offset: 0,
                    row: 0,
                    entry: self.base(),
                },
                after,
                upto,
            );
        };
        self.decode(*mark, after, upto)
    }

    /// Every row.
    pub(super) fn all(&self) -> Vec<RowRef> {
        self.rows(0, u64::MAX)
    }

    /// Gives back what growing has reserved.
    pub(super) fn shrink(&mut self) {
        self.encoded.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    fn base(&self) -> u64 {
        self.marks
            .first()
            .map_or(self.last_entry, |mark| mark.entry)
    }

    fn decode(&self, from: Mark, after: u64, upto: u64) -> Vec<RowRef> {
        let mut rest = self.encoded.get(from.offset..).unwrap_or_default();
        let mut at = RowRef {
            row: from.row,
            entry: from.entry,
            part: 0,
        };
        let mut rows = Vec::new();
        while let Some(word) = read_varint(&mut rest) {
            at.row += word >> 1;
            if word & 1 == 0 {
                at.entry += 1;
                at.part = 0;
            } else {
                at.part += 1;
            }
            if at.entry > upto {
                break;
            }
            if at.entry > after {
                rows.push(at);
            }
        }
        rows
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of one to three parts, in rows of growing distance.
    fn example(base: u64, entries: u64) -> (RowList, Vec<RowRef>) {
        let mut list = RowList::new(base);
        let mut rows = Vec::new();
        let mut row = 40;
        for entry in base + 1..=base + entries {
            for part in 0..1 + (entry % 3) as u32 {
                row += 1 + (entry * entry) % 500;
                list.push(row, part == 0);
                rows.push(RowRef { row, entry, part });
            }
        }
        (list, rows)
    }

    #[test]
    fn any_range_is_found_again() {
        for base in [0, 17] {
            let (list, rows) = example(base, 2_000);
            assert_eq!(list.all(), rows);
            assert_eq!(list.last_entry(), base + 2_000);
            for (after, upto) in [
                (0, 0),
                (base, base + 1),
                (base + 700, base + 1_300),
                (base + 1_999, u64::MAX),
                (base + 2_000, u64::MAX),
            ] {
                let expect: Vec<_> = rows
                    .iter()
                    .copied()
                    .filter(|row| row.entry > after && row.entry <= upto)
                    .collect();
                assert_eq!(list.rows(after, upto), expect, "{after}..={upto}");
            }
        }
    }

    #[test]
    fn neighbouring_rows_take_a_byte_each() {
        let mut list = RowList::new(0);
        for row in 1..=10_000 {
            list.push(row, true);
        }
        assert_eq!(list.encoded.len(), 10_000);
        assert_eq!(list.marks.len(), 40);
    }

    #[test]
    fn an_empty_list_knows_what_comes_next() {
        let list = RowList::new(5);
        assert_eq!(list.last_entry(), 5);
        assert_eq!(list.all(), []);
    }
}
