//! Structs as plain values, with an encoder and a decoder of their own: slow, and nothing like the
//! ones under test.

use std::collections::BTreeMap;

type Id = (u64, u32);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Struct {
    pub(crate) clock: u32,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Gc(u32),
    Skip(u32),
    Item(Item),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) origin: Option<Id>,
    pub(crate) right: Option<Id>,
    pub(crate) parent: Option<Parent>,
    pub(crate) sub: Option<String>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parent {
    Root(String),
    Item(Id),
}

/// Values are bytes in lib0's `any` encoding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Deleted(u32),
    Json(Vec<String>),
    Binary(Vec<u8>),
    /// UTF-16 units, which may be halves of pairs.
    Text(Vec<u16>),
    Embed(Vec<u8>),
    Format(String, Vec<u8>),
    Type(u64, Option<String>),
    Any(Vec<Vec<u8>>),
    Document(String, Vec<u8>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) blocks: Vec<(u64, Vec<Struct>)>,
    pub(crate) deletes: Vec<(u64, Vec<(u32, u32)>)>,
}

/// An item at the end of a root, for cases that are about something else.
pub(crate) fn root_item(content: Content) -> Item {
    Item {
        origin: None,
        right: None,
        parent: Some(Parent::Root("r".to_owned())),
        sub: None,
        content,
    }
}

pub(crate) fn after(origin: Id, content: Content) -> Item {
    Item {
        origin: Some(origin),
        right: None,
        parent: None,
        sub: None,
        content,
    }
}

pub(crate) fn text(text: &str) -> Content {
    Content::Text(text.encode_utf16().collect())
}

/// One block with consecutive bodies.
pub(crate) fn block(client: u64, first: u32, bodies: Vec<Body>) -> (u64, Vec<Struct>) {
    let mut clock = first;
    let structs = bodies
        .into_iter()
        .map(|body| {
            let next = Struct { clock, body };
            clock += next.len();
            next
        })
        .collect();
    (client, structs)
}

pub(crate) fn update(blocks: Vec<(u64, Vec<Struct>)>, deletes: &[(u64, &[(u32, u32)])]) -> Vec<u8> {
    encode(&Model {
        blocks,
        deletes: deletes
            .iter()
            .map(|(client, ranges)| (*client, ranges.to_vec()))
            .collect(),
    })
}

impl Struct {
    pub(crate) fn len(&self) -> u32 {
        match &self.body {
            Body::Gc(len) | Body::Skip(len) => *len,
            Body::Item(item) => item.content.len(),
        }
    }

    /// The elements `from..to` of this struct, as a struct of its own.
    pub(crate) fn part(&self, client: u64, from: u32, to: u32) -> Struct {
        let body = match &self.body {
            Body::Gc(_) => Body::Gc(to - from),
            Body::Skip(_) => Body::Skip(to - from),
            Body::Item(item) => {
                let mut item = item.clone();
                if from > 0 {
                    item.origin = Some((client, self.clock + from - 1));
                    item.parent = None;
                    item.sub = None;
                }
                let (start, end) = (from as usize, to as usize);
                item.content = match item.content {
                    Content::Deleted(_) => Content::Deleted(to - from),
                    Content::Json(texts) => Content::Json(texts[start..end].to_vec()),
                    Content::Text(units) => Content::Text(units[start..end].to_vec()),
                    Content::Any(values) => Content::Any(values[start..end].to_vec()),
                    other => other,
                };
                Body::Item(item)
            }
        };
        Struct {
            clock: self.clock + from,
            body,
        }
    }
}

impl Content {
    fn len(&self) -> u32 {
        let len = match self {
            Content::Deleted(len) => return *len,
            Content::Json(texts) => texts.len(),
            Content::Text(units) => units.len(),
            Content::Any(values) => values.len(),
            _ => 1,
        };
        u32::try_from(len).unwrap()
    }

    fn kind(&self) -> u8 {
        match self {
            Content::Deleted(_) => 1,
            Content::Json(_) => 2,
            Content::Binary(_) => 3,
            Content::Text(_) => 4,
            Content::Embed(_) => 5,
            Content::Format(..) => 6,
            Content::Type(..) => 7,
            Content::Any(_) => 8,
            Content::Document(..) => 9,
        }
    }
}

// ---- encoding ----

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

// ---- decoding: only of updates that were checked, so that it may panic ----

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
