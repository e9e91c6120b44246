//! Reads updates that were checked, so that it may panic.

use std::collections::BTreeMap;

use super::{Body, Content, Id, Item, Model, Parent, Struct};

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn uint(&mut self) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte();
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        value
    }

    fn int(&mut self) -> (u64, bool) {
        let first = self.byte();
        let mut value = u64::from(first & 63);
        if first > 127 {
            value |= self.uint() << 6;
        }
        (value, first & 64 != 0)
    }

    fn var_bytes(&mut self) -> &'a [u8] {
        let len = self.uint();
        self.take(usize::try_from(len).unwrap())
    }

    /// The bytes of one value.
    fn value(&mut self) -> Vec<u8> {
        let before = self.0;
        self.skip_value();
        before[..before.len() - self.0.len()].to_vec()
    }

    fn skip_value(&mut self) {
        match self.byte() {
            125 => drop(self.int()),
            124 => drop(self.take(4)),
            123 | 122 => drop(self.take(8)),
            119 | 116 => drop(self.var_bytes()),
            118 => {
                for _ in 0..self.uint() {
                    self.var_bytes();
                    self.skip_value();
                }
            }
            117 => {
                for _ in 0..self.uint() {
                    self.skip_value();
                }
            }
            _ => {}
        }
    }
}

/// A column that yields values on demand.
struct Lazy<'a, T> {
    bytes: Bytes<'a>,
    last: T,
    step: T,
    left: u64,
}

fn lazy<T: Default>(bytes: &[u8]) -> Lazy<'_, T> {
    Lazy {
        bytes: Bytes(bytes),
        last: T::default(),
        step: T::default(),
        left: 0,
    }
}

impl Lazy<'_, u64> {
    fn next(&mut self) -> u64 {
        if self.left == 0 {
            let (value, is_run) = self.bytes.int();
            self.last = value;
            self.left = if is_run { self.bytes.uint() + 2 } else { 1 };
        }
        self.left -= 1;
        self.last
    }
}

impl Lazy<'_, i64> {
    fn next(&mut self) -> u32 {
        if self.left == 0 {
            let (value, negative) = self.bytes.int();
            let encoded = if negative {
                -(value as i64)
            } else {
                value as i64
            };
            self.step = encoded >> 1;
            self.left = if encoded & 1 == 1 {
                self.bytes.uint() + 2
            } else {
                1
            };
        }
        self.left -= 1;
        self.last += self.step;
        u32::try_from(self.last).unwrap()
    }
}

impl Lazy<'_, u8> {
    fn next(&mut self) -> u8 {
        if self.left == 0 {
            self.last = self.bytes.byte();
            self.left = if self.bytes.0.is_empty() {
                u64::MAX
            } else {
                self.bytes.uint() + 1
            };
        }
        self.left -= 1;
        self.last
    }
}

/// Keys, some of which may be named by the number of an earlier one.
struct Keys<'a> {
    numbers: Lazy<'a, i64>,
    table: Vec<String>,
}

impl Keys<'_> {
    fn next(&mut self, read_units: &mut impl FnMut() -> Vec<u16>) -> String {
        let number = self.numbers.next() as usize;
        if number >= self.table.len() {
            self.table.push(String::from_utf16(&read_units()).unwrap());
            return self.table[self.table.len() - 1].clone();
        }
        self.table[number].clone()
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Model {
    let mut header = Bytes(bytes);
    header.byte();
    let mut keys = Keys {
        numbers: lazy(header.var_bytes()),
        table: Vec::new(),
    };
    let mut clients = lazy::<u64>(header.var_bytes());
    let mut lefts = lazy::<i64>(header.var_bytes());
    let mut rights = lazy::<i64>(header.var_bytes());
    let mut infos = lazy::<u8>(header.var_bytes());
    let mut strings = Bytes(header.var_bytes());
    let units: Vec<u16> = std::str::from_utf8(strings.var_bytes())
        .unwrap()
        .encode_utf16()
        .collect();
    let mut unit_lengths = lazy::<u64>(strings.0);
    let mut parents = lazy::<u8>(header.var_bytes());
    let mut types = lazy::<u64>(header.var_bytes());
    let mut lens = lazy::<u64>(header.var_bytes());
    let mut rest = header;

    let mut at = 0;
    let mut read_units = || {
        let end = at + usize::try_from(unit_lengths.next()).unwrap();
        let found = units[at..end].to_vec();
        at = end;
        found
    };
    let text = |units: Vec<u16>| String::from_utf16(&units).unwrap();
    let mut model = Model::default();
    for _ in 0..rest.uint() {
        let count = rest.uint();
        let client = clients.next();
        let mut clock = u32::try_from(rest.uint()).unwrap();
        let mut structs = Vec::new();
        for _ in 0..count {
            let info = infos.next();
            let body = match info & 31 {
                0 => Body::Gc(u32::try_from(lens.next()).unwrap()),
                10 => Body::Skip(u32::try_from(rest.uint()).unwrap()),
                kind => {
                    let origin = (info & 128 != 0).then(|| (clients.next(), lefts.next()));
                    let right = (info & 64 != 0).then(|| (clients.next(), rights.next()));
                    let mut parent = None;
                    let mut sub = None;
                    if origin.is_none() && right.is_none() {
                        parent = Some(if parents.next() == 1 {
                            Parent::Root(text(read_units()))
                        } else {
                            Parent::Item((clients.next(), lefts.next()))
                        });
                        sub = (info & 32 != 0).then(|| text(read_units()));
                    }
                    let content = match kind {
                        1 => Content::Deleted(u32::try_from(lens.next()).unwrap()),
                        2 => Content::Json((0..lens.next()).map(|_| text(read_units())).collect()),
                        3 => Content::Binary(rest.var_bytes().to_vec()),
                        4 => Content::Text(read_units()),
                        5 => Content::Embed(rest.value()),
                        6 => Content::Format(keys.next(&mut read_units), rest.value()),
                        7 => {
                            let type_ref = types.next();
                            let name =
                                matches!(type_ref, 3 | 5).then(|| keys.next(&mut read_units));
                            Content::Type(type_ref, name)
                        }
                        8 => Content::Any((0..lens.next()).map(|_| rest.value()).collect()),
                        9 => Content::Document(text(read_units()), rest.value()),
                        other => panic!("content kind {other}"),
                    };
                    Body::Item(Item {
                        origin,
                        right,
                        parent,
                        sub,
                        content,
                    })
                }
            };
            let next = Struct { clock, body };
            clock += next.len();
            structs.push(next);
        }
        model.blocks.push((client, structs));
    }
    for _ in 0..rest.uint() {
        let client = rest.uint();
        let mut clock = 0;
        let mut ranges = Vec::new();
        for _ in 0..rest.uint() {
            let start = clock + u32::try_from(rest.uint()).unwrap();
            let end = start + u32::try_from(rest.uint()).unwrap() + 1;
            ranges.push((start, end));
            clock = end;
        }
        model.deletes.push((client, ranges));
    }
    model
}

/// Every element on its own, gaps left out: the meaning of an update however its structs are cut.
pub(crate) fn elements(bytes: &[u8]) -> BTreeMap<Id, Body> {
    let mut elements = BTreeMap::new();
    for (client, structs) in decode(bytes).blocks {
        for next in structs {
            for index in 0..next.len() {
                let part = next.part(client, index, index + 1);
                if !matches!(part.body, Body::Skip(_)) {
                    let before = elements.insert((client, part.clock), part.body);
                    assert!(before.is_none(), "a clock comes twice");
                }
            }
        }
    }
    elements
}
