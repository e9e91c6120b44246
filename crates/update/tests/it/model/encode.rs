//! Writes updates as values say, gaps and all; checks nothing.

use super::{Body, Content, Id, Item, Model, Parent};

pub(crate) fn var_uint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn var_int(out: &mut Vec<u8>, magnitude: u64, negative: bool) {
    let first = (magnitude & 63) as u8 | if negative { 64 } else { 0 };
    if magnitude < 64 {
        out.push(first);
    } else {
        out.push(first | 128);
        var_uint(out, magnitude >> 6);
    }
}

/// Runs of equal neighbours.
fn runs<T: PartialEq + Copy>(values: &[T]) -> Vec<(T, u64)> {
    let mut runs: Vec<(T, u64)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((last, count)) if last == value => *count += 1,
            _ => runs.push((*value, 1)),
        }
    }
    runs
}

fn uint_column(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for (value, count) in runs(values) {
        var_int(&mut out, value, count > 1);
        if count > 1 {
            var_uint(&mut out, count - 2);
        }
    }
    out
}

fn diff_column(values: &[u32]) -> Vec<u8> {
    let mut last = 0;
    let differences: Vec<i64> = values
        .iter()
        .map(|value| i64::from(*value) - std::mem::replace(&mut last, i64::from(*value)))
        .collect();
    let mut out = Vec::new();
    for (difference, count) in runs(&differences) {
        let encoded = difference * 2 + i64::from(count > 1);
        var_int(&mut out, encoded.unsigned_abs(), encoded < 0);
        if count > 1 {
            var_uint(&mut out, count - 2);
        }
    }
    out
}

fn byte_column(values: &[u8]) -> Vec<u8> {
    let runs = runs(values);
    let mut out = Vec::new();
    for (index, (value, count)) in runs.iter().enumerate() {
        out.push(*value);
        if index + 1 < runs.len() {
            var_uint(&mut out, count - 1);
        }
    }
    out
}

#[derive(Default)]
struct Columns {
    keys: Vec<u32>,
    clients: Vec<u64>,
    lefts: Vec<u32>,
    rights: Vec<u32>,
    infos: Vec<u8>,
    units: Vec<u16>,
    unit_lengths: Vec<u64>,
    parents: Vec<u8>,
    types: Vec<u64>,
    lens: Vec<u64>,
    rest: Vec<u8>,
}

impl Columns {
    fn units(&mut self, units: &[u16]) {
        self.units.extend(units);
        self.unit_lengths.push(units.len() as u64);
    }

    fn text(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().collect();
        self.units(&units);
    }

    fn key(&mut self, key: &str) {
        self.keys.push(u32::try_from(self.keys.len()).unwrap());
        self.text(key);
    }

    fn left(&mut self, (client, clock): Id) {
        self.clients.push(client);
        self.lefts.push(clock);
    }

    fn item(&mut self, item: &Item) {
        let has_parent = item.origin.is_none() && item.right.is_none();
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        self.infos.push(
            item.content.kind()
                | flag(item.origin.is_some(), 128)
                | flag(item.right.is_some(), 64)
                | flag(item.sub.is_some(), 32),
        );
        if let Some(origin) = item.origin {
            self.left(origin);
        }
        if let Some((client, clock)) = item.right {
            self.clients.push(client);
            self.rights.push(clock);
        }
        if has_parent {
            match item.parent.as_ref().unwrap() {
                Parent::Root(name) => {
                    self.parents.push(1);
                    self.text(name);
                }
                Parent::Item(id) => {
                    self.parents.push(0);
                    self.left(*id);
                }
            }
            if let Some(sub) = &item.sub {
                self.text(sub);
            }
        }
        match &item.content {
            Content::Deleted(len) => self.lens.push(u64::from(*len)),
            Content::Json(texts) => {
                self.lens.push(texts.len() as u64);
                texts.iter().for_each(|text| self.text(text));
            }
            Content::Binary(bytes) => {
                var_uint(&mut self.rest, bytes.len() as u64);
                self.rest.extend(bytes);
            }
            Content::Text(units) => self.units(units),
            Content::Embed(value) => self.rest.extend(value),
            Content::Format(key, value) => {
                self.key(key);
                self.rest.extend(value);
            }
            Content::Type(type_ref, name) => {
                self.types.push(*type_ref);
                if let Some(name) = name {
                    self.key(name);
                }
            }
            Content::Any(values) => {
                self.lens.push(values.len() as u64);
                values.iter().for_each(|value| self.rest.extend(value));
            }
            Content::Document(guid, options) => {
                self.text(guid);
                self.rest.extend(options);
            }
        }
    }
}

/// Writes the blocks in the order given, gaps as they are.
pub(crate) fn encode(model: &Model) -> Vec<u8> {
    let mut columns = Columns::default();
    var_uint(&mut columns.rest, model.blocks.len() as u64);
    for (client, structs) in &model.blocks {
        var_uint(&mut columns.rest, structs.len() as u64);
        columns.clients.push(*client);
        var_uint(&mut columns.rest, u64::from(structs[0].clock));
        for next in structs {
            match &next.body {
                Body::Gc(len) => {
                    columns.infos.push(0);
                    columns.lens.push(u64::from(*len));
                }
                Body::Skip(len) => {
                    columns.infos.push(10);
                    var_uint(&mut columns.rest, u64::from(*len));
                }
                Body::Item(item) => columns.item(item),
            }
        }
    }
    var_uint(&mut columns.rest, model.deletes.len() as u64);
    for (client, ranges) in &model.deletes {
        var_uint(&mut columns.rest, *client);
        var_uint(&mut columns.rest, ranges.len() as u64);
        let mut clock = 0;
        for (start, end) in ranges {
            var_uint(&mut columns.rest, u64::from(start - clock));
            var_uint(&mut columns.rest, u64::from(end - start - 1));
            clock = *end;
        }
    }
    let joined = String::from_utf16_lossy(&columns.units).into_bytes();
    let mut strings = Vec::new();
    var_uint(&mut strings, joined.len() as u64);
    strings.extend(joined);
    strings.extend(uint_column(&columns.unit_lengths));
    let mut out = vec![0];
    for column in [
        diff_column(&columns.keys),
        uint_column(&columns.clients),
        diff_column(&columns.lefts),
        diff_column(&columns.rights),
        byte_column(&columns.infos),
        strings,
        byte_column(&columns.parents),
        uint_column(&columns.types),
        uint_column(&columns.lens),
    ] {
        var_uint(&mut out, column.len() as u64);
        out.extend(column);
    }
    out.extend(columns.rest);
    out
}
