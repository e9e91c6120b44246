//! The edits that the load generator makes: one person appending sixteen bytes at a time to a Yjs array.
//!
//! Each update is what Yjs itself would send for `doc.getArray("bench").push([bytes])`, in about 45 bytes. The sixteen
//! bytes are a stamp: a marker, the number of the edit and the time of sending. A receiver finds the stamps in whatever
//! frame they arrive in, also where a server has merged several updates into one.

use std::time::Duration;

use epicenter_update::lib0::{write_var_bytes, write_var_uint};

const MARKER: [u8; 4] = [0xE9, 0x1C, 0xBE, 0x7A];
const STAMP_BYTES: usize = 16;
/// Content kind 3 of an item: binary.
const BINARY: u8 = 3;
/// Flag of an item that names its left neighbour.
const HAS_ORIGIN: u8 = 0x80;
/// The array all edits go to.
const ROOT: &str = "bench";

/// What an edit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts from 0 for each writer.
    pub(crate) number: u32,
    /// Since the beginning of the benchmark.
    pub(crate) sent_at: Duration,
}

/// How updates are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    V1,
    V2,
}

/// One writer of one document.
#[derive(Debug)]
pub(crate) struct Editor {
    client: u64,
    next: u32,
}

impl Editor {
    /// `client` is the writer's Yjs client id and must be its own in the document.
    pub(crate) fn new(client: u64) -> Self {
        Self { client, next: 0 }
    }

    /// The next edit as an update.
    pub(crate) fn edit(&mut self, sent_at: Duration, encoding: Encoding) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let content = Stamp { number, sent_at }.encode();
        match encoding {
            Encoding::V1 => self.encode_v1(number, &content),
            Encoding::V2 => self.encode_v2(number, &content),
        }
    }

    fn encode_v1(&self, clock: u32, content: &[u8]) -> Vec<u8> {
        // One client with one struct, the client, its clock.
        let mut out = vec![1, 1];
        write_var_uint(&mut out, self.client);
        write_var_uint(&mut out, u64::from(clock));
        match clock.checked_sub(1) {
            Some(before) => {
                out.push(BINARY | HAS_ORIGIN);
                write_var_uint(&mut out, self.client);
                write_var_uint(&mut out, u64::from(before));
            }
            None => {
                // The parent is a root type, by name.
                out.extend([BINARY, 1]);
                write_var_bytes(&mut out, ROOT.as_bytes());
            }
        }
        write_var_bytes(&mut out, content);
        // Nothing deleted.
        out.push(0);
        out
    }

    fn encode_v2(&self, clock: u32, content: &[u8]) -> Vec<u8> {
        let mut columns = Columns::default();
        match clock.checked_sub(1) {
            Some(before) => {
                // A run of two: the struct's client and its left neighbour's. Runs are written as a negated value
                // and their length less two.
                write_var_int(&mut columns.client, self.client, Sign::Negative);
                columns.client.push(0);
                // The distance from clock 0, doubled; the low bit would announce a run.
                write_var_int(
                    &mut columns.left_clock,
                    u64::from(before) * 2,
                    Sign::Positive,
                );
                columns.info.push(BINARY | HAS_ORIGIN);
                columns.string.push(0);
            }
            None => {
                write_var_int(&mut columns.client, self.client, Sign::Positive);
                columns.info.push(BINARY);
                write_var_bytes(&mut columns.string, ROOT.as_bytes());
                write_var_int(&mut columns.string, ROOT.len() as u64, Sign::Positive);
                columns.parent_info.push(1);
            }
        }
        let mut out = vec![0, 0];
        write_var_bytes(&mut out, &columns.client);
        write_var_bytes(&mut out, &columns.left_clock);
        // No right neighbours.
        out.push(0);
        write_var_bytes(&mut out, &columns.info);
        write_var_bytes(&mut out, &columns.string);
        write_var_bytes(&mut out, &columns.parent_info);
        // No type references, no lengths; then one client with one struct.
        out.extend([0, 0, 1, 1]);
        write_var_uint(&mut out, u64::from(clock));
        write_var_bytes(&mut out, content);
        // Nothing deleted.
        out.push(0);
        out
    }
}

/// The columns of a V2 update that these edits use.
#[derive(Default)]
struct Columns {
    client: Vec<u8>,
    left_clock: Vec<u8>,
    info: Vec<u8>,
    string: Vec<u8>,
    parent_info: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Positive,
    Negative,
}

/// The signed integer of lib0: six bits and the sign in the first byte, seven bits in each that follows.
fn write_var_int(out: &mut Vec<u8>, magnitude: u64, sign: Sign) {
    let low_bits = |value: u64, mask: u64| u8::try_from(value & mask).unwrap_or_default();
    let more = |rest: u64| if rest > 0 { 0x80 } else { 0 };
    let sign = if sign == Sign::Negative { 0x40 } else { 0 };
    let mut rest = magnitude >> 6;
    out.push(more(rest) | sign | low_bits(magnitude, 0x3F));
    while rest > 0 {
        let bits = low_bits(rest, 0x7F);
        rest >>= 7;
        out.push(more(rest) | bits);
    }
}

impl Stamp {
    fn encode(self) -> [u8; STAMP_BYTES] {
        let nanos = u64::try_from(self.sent_at.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; STAMP_BYTES];
        let (marker, rest) = bytes.split_at_mut(MARKER.len());
        let (number, sent_at) = rest.split_at_mut(size_of::<u32>());
        marker.copy_from_slice(&MARKER);
        number.copy_from_slice(&self.number.to_le_bytes());
        sent_at.copy_from_slice(&nanos.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARKER)?;
        let (number, rest) = rest.split_first_chunk()?;
        let nanos = rest.first_chunk()?;
        Some(Self {
            number: u32::from_le_bytes(*number),
            sent_at: Duration::from_nanos(u64::from_le_bytes(*nanos)),
        })
    }
}

/// The stamps in a frame, in order.
pub(crate) fn stamps(frame: &[u8]) -> impl Iterator<Item = Stamp> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        while rest.len() >= STAMP_BYTES {
            if let Some(stamp) = Stamp::decode(rest) {
                rest = rest.get(STAMP_BYTES..).unwrap_or_default();
                return Some(stamp);
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use epicenter_update::{Limits, Update, merge};

    use super::*;

    /// Written by yjs 13.6.33 for client 300, with these sixteen bytes in place of the stamp.
    const CONTENT: [u8; 16] = [7; 16];

    #[test]
    fn updates_are_those_of_yjs() {
        let editor = Editor::new(300);
        let check = |encoded: Vec<u8>, expect: &str| {
            let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expect);
        };
        check(
            editor.encode_v1(0, &CONTENT),
            "0101ac020003010562656e6368100707070707070707070707070707070700",
        );
        check(
            editor.encode_v1(2, &CONTENT),
            "0101ac020283ac0201100707070707070707070707070707070700",
        );
        check(
            editor.encode_v2(0, &CONTENT),
            "000002ac0400000103070562656e63680501010000010100100707070707070707070707070707070700",
        );
        check(
            editor.encode_v2(1, &CONTENT),
            "000003ec040001000001830100000000010101100707070707070707070707070707070700",
        );
        check(
            editor.encode_v2(2, &CONTENT),
            "000003ec040001020001830100000000010102100707070707070707070707070707070700",
        );
    }

    #[test]
    fn a_long_series_is_one_document() {
        let mut editor = Editor::new(0xFFFF_FFFF);
        let edits: Vec<_> = (0..10_000)
            .map(|_| editor.edit(Duration::ZERO, Encoding::V2))
            .collect();
        let limits = Limits::default();
        let updates: Vec<_> = edits
            .iter()
            .map(|edit| Update::parse(edit, &limits).expect("a valid update"))
            .collect();
        let merged = merge(&updates);
        let merged = Update::parse(&merged, &limits).expect("a valid update");
        assert_eq!(merged.state_vector().clock(0xFFFF_FFFF), 10_000);
        assert_eq!(stamps(merged.as_bytes()).count(), 10_000);
    }

    #[test]
    fn stamps_are_found_in_order_wherever_they_are() {
        let mut editor = Editor::new(5);
        let times = [Duration::from_nanos(1), Duration::from_secs(3_000)];
        let mut frame = vec![2, 90];
        for sent_at in times {
            frame.extend(editor.edit(sent_at, Encoding::V2));
        }
        let found: Vec<_> = stamps(&frame).collect();
        let expect: Vec<_> = (0..)
            .zip(times)
            .map(|(number, sent_at)| Stamp { number, sent_at })
            .collect();
        assert_eq!(found, expect);
        frame.truncate(frame.len() - 8);
        assert_eq!(stamps(&frame).count(), 1);
    }
}
