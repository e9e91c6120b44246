//! The edits that the load generator makes: one person appending sixteen bytes at a time to a Yjs array, or setting the
//! keys of a Yjs map in turn.
//!
//! Each update is what Yjs itself would send for `doc.getArray("bench").push([bytes])` or
//! `doc.getMap("bench").set(key, bytes)`, in about 45 bytes. The sixteen bytes are a stamp: a marker, the writer, the
//! number of the edit and the time of sending. A receiver finds the stamps in whatever frame they arrive in, also where a
//! server has merged several updates into one.

use std::time::Duration;

use epicenter_update::lib0::{write_var_bytes, write_var_uint};

const MARKER: [u8; 4] = [0xE9, 0x1C, 0xBE, 0x7A];
pub(crate) const STAMP_BYTES: usize = 16;
/// Content kind 3 of an item: binary.
const BINARY: u8 = 3;
/// Flag of an item that names its left neighbour.
const HAS_ORIGIN: u8 = 0x80;
/// Flag of an item that stands under a key.
const HAS_KEY: u8 = 0x20;
/// The array or map all edits go to.
const ROOT: &str = "bench";

/// What an edit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its number in the room.
    pub(crate) writer: u16,
    /// Counts from 0 for each writer.
    pub(crate) number: u32,
    /// Since the beginning of the run; a whole number of microseconds.
    pub(crate) sent_at: Duration,
}

/// How updates are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    V1,
    V2,
}

/// What an editor writes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The end of an array.
    Array,
    /// So many keys of a map, in turn.
    Map(u32),
}

/// One writer of one document.
#[derive(Debug)]
pub(crate) struct Editor {
    client: u64,
    writer: u16,
    target: Target,
    next: u32,
    /// Bytes behind each stamp.
    padding: usize,
}

/// Where an edit stands in its document.
struct Place {
    clock: u32,
    /// The clock of the item to the left, always one of this client.
    left: Option<u32>,
    key: Option<u32>,
}

impl Editor {
    /// `client` is the writer's Yjs client id and must be its own in the document.
    pub(crate) fn new(client: u64, writer: u16, target: Target) -> Self {
        Self {
            client,
            writer,
            target,
            next: 0,
            padding: 0,
        }
    }

    /// With so many more bytes in each edit.
    pub(crate) fn with_padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// Edits made so far.
    pub(crate) fn count(&self) -> u32 {
        self.next
    }

    /// The next edit as an update.
    pub(crate) fn edit(&mut self, sent_at: Duration, encoding: Encoding) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let stamp = Stamp {
            writer: self.writer,
            number,
            sent_at,
        };
        let mut content = stamp.encode().to_vec();
        content.resize(STAMP_BYTES + self.padding, 0);
        let place = self.target.place(number);
        match encoding {
            Encoding::V1 => self.encode_v1(&place, &content),
            Encoding::V2 => self.encode_v2(&place, &content),
        }
    }

    fn encode_v1(&self, place: &Place, content: &[u8]) -> Vec<u8> {
        // One client with one struct, the client, its clock.
        let mut out = vec![1, 1];
        write_var_uint(&mut out, self.client);
        write_var_uint(&mut out, u64::from(place.clock));
        out.push(place.flags());
        match place.left {
            Some(left) => {
                write_var_uint(&mut out, self.client);
                write_var_uint(&mut out, u64::from(left));
            }
            None => {
                // The parent is a root type, by name.
                out.push(1);
                write_var_bytes(&mut out, ROOT.as_bytes());
                if let Some(key) = place.key {
                    write_var_bytes(&mut out, key_name(key).as_bytes());
                }
            }
        }
        write_var_bytes(&mut out, content);
        match place.overwritten() {
            Some(clock) => {
                // One client with one range, one element long.
                out.push(1);
                write_var_uint(&mut out, self.client);
                out.push(1);
                write_var_uint(&mut out, u64::from(clock));
                out.push(1);
            }
            None => out.push(0),
        }
        out
    }

    fn encode_v2(&self, place: &Place, content: &[u8]) -> Vec<u8> {
        let mut columns = Columns::default();
        columns.info.push(place.flags());
        match place.left {
            Some(left) => {
                // A run of two: the struct's client and its left neighbour's. Runs are written as a negated value
                // and their length less two.
                write_var_int(&mut columns.client, self.client, Sign::Negative);
                columns.client.push(0);
                // The distance from clock 0, doubled; the low bit would announce a run.
                write_var_int(&mut columns.left_clock, u64::from(left) * 2, Sign::Positive);
                columns.string.push(0);
            }
            None => {
                write_var_int(&mut columns.client, self.client, Sign::Positive);
                // All texts in one, then their lengths, which differ and so are no run.
                let key = place.key.map(key_name).unwrap_or_default();
                write_var_bytes(&mut columns.string, format!("{ROOT}{key}").as_bytes());
                write_var_int(&mut columns.string, ROOT.len() as u64, Sign::Positive);
                if !key.is_empty() {
                    write_var_int(&mut columns.string, key.len() as u64, Sign::Positive);
                }
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
        write_var_uint(&mut out, u64::from(place.clock));
        write_var_bytes(&mut out, content);
        match place.overwritten() {
            Some(clock) => {
                // One client with one range: its distance from clock 0 and its length less one.
                out.push(1);
                write_var_uint(&mut out, self.client);
                out.push(1);
                write_var_uint(&mut out, u64::from(clock));
                out.push(0);
            }
            None => out.push(0),
        }
        out
    }
}

impl Target {
    fn place(self, clock: u32) -> Place {
        match self {
            Self::Array => Place {
                clock,
                left: clock.checked_sub(1),
                key: None,
            },
            Self::Map(keys) => Place {
                clock,
                left: clock.checked_sub(keys),
                key: clock.checked_rem(keys),
            },
        }
    }
}

impl Place {
    fn flags(&self) -> u8 {
        let origin = if self.left.is_some() { HAS_ORIGIN } else { 0 };
        let key = if self.key.is_some() { HAS_KEY } else { 0 };
        BINARY | origin | key
    }

    /// The value that a key had before.
    fn overwritten(&self) -> Option<u32> {
        self.key.and(self.left)
    }
}

/// Not as long as the root's name, so that the two lengths are no run.
fn key_name(key: u32) -> String {
    format!("key-{key:05}")
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
        let micros = u64::try_from(self.sent_at.as_micros()).unwrap_or(u64::MAX);
        let mut bytes = [0; STAMP_BYTES];
        let (marker, rest) = bytes.split_at_mut(MARKER.len());
        let (writer, rest) = rest.split_at_mut(size_of::<u16>());
        let (number, sent_at) = rest.split_at_mut(size_of::<u32>());
        marker.copy_from_slice(&MARKER);
        writer.copy_from_slice(&self.writer.to_le_bytes());
        number.copy_from_slice(&self.number.to_le_bytes());
        // Six bytes of microseconds last for nine years.
        for (to, from) in sent_at.iter_mut().zip(micros.to_le_bytes()) {
            *to = from;
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MARKER)?;
        let (writer, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let [a, b, c, d, e, f] = *rest.first_chunk()?;
        Some(Self {
            writer: u16::from_le_bytes(*writer),
            number: u32::from_le_bytes(*number),
            sent_at: Duration::from_micros(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])),
        })
    }
}

/// The stamps in a frame, in order.
pub(crate) fn stamps(frame: &[u8]) -> impl Iterator<Item = Stamp> {
    let [first, ..] = MARKER;
    let mut rest = frame;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| *byte == first)?;
            rest = rest.get(start..)?;
            let Some(stamp) = Stamp::decode(rest) else {
                rest = rest.get(1..)?;
                continue;
            };
            rest = rest.get(STAMP_BYTES..).unwrap_or_default();
            return Some(stamp);
        }
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
        let check = |target: Target, clock: u32, v1: &str, v2: &str| {
            let editor = Editor::new(300, 0, target);
            let place = target.place(clock);
            let hex = |bytes: Vec<u8>| -> String {
                bytes.iter().map(|byte| format!("{byte:02x}")).collect()
            };
            assert_eq!(hex(editor.encode_v1(&place, &CONTENT)), v1);
            assert_eq!(hex(editor.encode_v2(&place, &CONTENT)), v2);
        };
        check(
            Target::Array,
            0,
            "0101ac020003010562656e6368100707070707070707070707070707070700",
            "000002ac0400000103070562656e63680501010000010100100707070707070707070707070707070700",
        );
        check(
            Target::Array,
            2,
            "0101ac020283ac0201100707070707070707070707070707070700",
            "000003ec040001020001830100000000010102100707070707070707070707070707070700",
        );
        check(
            Target::Map(2),
            1,
            "0101ac020123010562656e6368096b65792d3030303031100707070707070707070707070707070700",
            "000002ac0400000123110e62656e63686b65792d3030303031050901010000010101100707070707070707070707070707070700",
        );
        check(
            Target::Map(2),
            3,
            "0101ac0203a3ac0201100707070707070707070707070707070701ac02010101",
            "000003ec040001020001a30100000000010103100707070707070707070707070707070701ac02010100",
        );
    }

    #[test]
    fn a_long_series_is_one_document() {
        let check = |target: Target, live: usize| {
            let mut editor = Editor::new(0xFFFF_FFFF, 0, target);
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
            assert!(stamps(merged.as_bytes()).count() >= live);
        };
        check(Target::Array, 10_000);
        check(Target::Map(100), 100);
    }

    #[test]
    fn stamps_are_found_in_order_wherever_they_are() {
        let mut editor = Editor::new(5, 9, Target::Array);
        let times = [Duration::from_micros(1), Duration::from_secs(3_000)];
        let mut frame = vec![2, 90, 0xE9];
        for sent_at in times {
            frame.extend(editor.edit(sent_at, Encoding::V2));
        }
        let found: Vec<_> = stamps(&frame).collect();
        let expect: Vec<_> = (0..)
            .zip(times)
            .map(|(number, sent_at)| Stamp {
                writer: 9,
                number,
                sent_at,
            })
            .collect();
        assert_eq!(found, expect);
        frame.truncate(frame.len() - 8);
        assert_eq!(stamps(&frame).count(), 1);
    }
}
