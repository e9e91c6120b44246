//! Inputs of the fuzz targets: bytes as they come, or updates that a script describes.
//!
//! The first byte of an input tells which. Random bytes hardly ever are an update, so most of the work is
//! done on scripts: what clients wrote, cut into windows, with deletions, versions of the same clocks
//! and, rarely, a broken byte. They are written by the encoder of the crate's tests, which shares
//! nothing with the one that is tested.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use epicenter_update::{Limits, StateVector, Update};

#[path = "../../crates/update/tests/it/model.rs"]
#[allow(dead_code, unused_imports)]
mod model;

use model::{Body, Content, Item, Model, Parent, Struct, encode};

/// Low, middle and highest, so that all lengths of ids and both directions of order occur.
const CLIENTS: [u64; 4] = [1, 3, 900, (1 << 53) - 1];
const WORDS: [&str; 5] = ["a", "a😀b𝄞c", "déjà-vu", "日本語です", "a longer text of plain letters"];
const NAMES: [&str; 4] = ["r", "root", "", "ключ"];

/// Updates that belong together, and clocks that a peer knows.
#[derive(Debug)]
pub struct Input {
    pub updates: Vec<Vec<u8>>,
    pub known: StateVector,
}

impl Input {
    /// What an input of a fuzzer stands for.
    pub fn read(bytes: &[u8]) -> Self {
        let Some((kind, rest)) = bytes.split_first() else {
            return Input::of_bytes(&[]);
        };
        if kind % 2 == 0 {
            return Input::of_bytes(rest);
        }
        let mut rest = Unstructured::new(rest);
        match Script::arbitrary(&mut rest) {
            Ok(script) => script.input(),
            Err(_) => Input::of_bytes(&[]),
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut known = StateVector::default();
        for client in CLIENTS {
            known.advance(client, 2);
        }
        Input {
            updates: vec![bytes.to_vec()],
            known,
        }
    }

    /// Those of the updates that are taken.
    pub fn parsed(&self) -> Vec<Update<'_>> {
        let limits = limits();
        let updates = self.updates.iter();
        updates.filter_map(|bytes| Update::parse(bytes, &limits).ok()).collect()
    }
}

/// Structs can cost no bytes, so their number bounds the time of one input.
pub fn limits() -> Limits {
    Limits {
        max_structs: 20_000,
        ..Limits::default()
    }
}

/// An update that the crate wrote: it must be taken.
pub fn parse(bytes: &[u8]) -> Update<'_> {
    match Update::parse(bytes, &Limits::default()) {
        Ok(update) => update,
        Err(error) => panic!("an output is refused: {error}: {bytes:02x?}"),
    }
}

#[derive(Arbitrary, Debug)]
struct Script {
    writes: Vec<Write>,
    windows: Vec<Window>,
    known: [u8; 4],
    fault: Option<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Write {
    client: u8,
    kind: u8,
    len: u8,
    word: u8,
    origin: Option<u8>,
    right: Option<u8>,
    parent: Option<u8>,
    key: Option<u8>,
}

/// A part of what the clients wrote, as one update.
#[derive(Arbitrary, Debug)]
struct Window {
    bounds: [(u8, u8); 4],
    deletes: Vec<(u8, u8, u8)>,
    /// Of this client the content is collected or deleted in this update.
    emptied: Option<(u8, bool)>,
}

impl Script {
    fn input(&self) -> Input {
        let mut structs: BTreeMap<u64, Vec<Struct>> = BTreeMap::new();
        for write in self.writes.iter().take(200) {
            let client = CLIENTS[usize::from(write.client) % CLIENTS.len()];
            let clock = end_of(&structs, client);
            let body = write.body(&structs);
            structs.entry(client).or_default().push(Struct { clock, body });
        }
        let mut updates: Vec<Vec<u8>> = self
            .windows
            .iter()
            .take(12)
            .map(|window| encode(&window.model(&structs)))
            .collect();
        if updates.is_empty() {
            updates.push(encode(&Model {
                blocks: structs.clone().into_iter().rev().collect(),
                deletes: Vec::new(),
            }));
        }
        if let (Some((at, byte)), Some(last)) = (self.fault, updates.last_mut()) {
            let at = usize::from(at) % last.len();
            last[at] = byte;
        }
        let mut known = StateVector::default();
        for (client, clock) in CLIENTS.iter().zip(self.known) {
            known.advance(*client, u32::from(clock) % (end_of(&structs, *client) + 2));
        }
        Input { updates, known }
    }
}

fn end_of(structs: &BTreeMap<u64, Vec<Struct>>, client: u64) -> u32 {
    let last = structs.get(&client).and_then(|structs| structs.last());
    last.map_or(0, |last| last.clock + last.len())
}

/// Any element written so far.
fn element(structs: &BTreeMap<u64, Vec<Struct>>, choice: u8) -> Option<(u64, u32)> {
    let client = CLIENTS[usize::from(choice) % CLIENTS.len()];
    let end = end_of(structs, client);
    // The last elements are the ones that are usually referred to.
    Some((client, end.checked_sub(1 + u32::from(choice) / 4 % end.max(1))?))
}

impl Write {
    fn body(&self, structs: &BTreeMap<u64, Vec<Struct>>) -> Body {
        let len = u32::from(self.len) % 6 + 1;
        if self.kind % 16 == 15 {
            return Body::Gc(len);
        }
        let origin = self.origin.and_then(|choice| element(structs, choice));
        let right = self.right.filter(|choice| choice % 2 == 0).and_then(|choice| element(structs, choice));
        let is_first = origin.is_none() && right.is_none();
        let parent = is_first.then(|| {
            let inner = self.parent.and_then(|choice| element(structs, choice));
            let name = NAMES[usize::from(self.word) % NAMES.len()];
            inner.map_or_else(|| Parent::Root(name.to_owned()), Parent::Item)
        });
        let key = self.key.filter(|_| is_first);
        Body::Item(Item {
            origin,
            right,
            parent,
            sub: key.map(|choice| NAMES[usize::from(choice) % NAMES.len()].to_owned()),
            content: self.content(len),
        })
    }

    fn content(&self, len: u32) -> Content {
        let word = WORDS[usize::from(self.word) % WORDS.len()];
        let value = |n: u32| match (n + u32::from(self.word)) % 9 {
            0 => vec![127],
            1 => vec![126],
            2 => vec![125, 0x41],
            3 => vec![124, 0x3f, 0, 0, 0],
            4 => vec![123, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
            5 => vec![122, 0, 0, 0, 0, 0, 0, 0, 7],
            6 => vec![118, 2, 1, b'b', 120, 1, b'9', 117, 1, 121],
            7 => vec![116, 2, 0, 255],
            _ => vec![119, 2, 0xc3, 0xa9],
        };
        match self.kind % 16 {
            0..5 => {
                let units: Vec<u16> = word.encode_utf16().take(len as usize + 1).collect();
                Content::Text(units)
            }
            5 | 6 => Content::Any((0..len).map(value).collect()),
            7 => Content::Deleted(len),
            8 => Content::Json((0..len).map(|n| format!("{{\"{word}\":[{n}.5e1,\"\\ud83d\"]}}")).collect()),
            9 => Content::Format(word.to_owned(), value(len)),
            10 => Content::Embed(value(len)),
            11 | 12 => Content::Type(u64::from(self.word % 3), None),
            13 => Content::Type(3, Some(word.to_owned())),
            14 if self.len % 2 == 0 => Content::Binary(vec![0; len as usize]),
            _ => Content::Document(word.to_owned(), vec![118, 0]),
        }
    }
}

impl Window {
    fn model(&self, structs: &BTreeMap<u64, Vec<Struct>>) -> Model {
        let mut model = Model::default();
        for (place, client) in CLIENTS.iter().enumerate().rev() {
            let end = end_of(structs, *client);
            let (from, to) = self.bounds[place];
            let from = u32::from(from) % (end + 1);
            // Most windows reach to the end.
            let to = if to < 128 { end } else { u32::from(to) % (end + 1) };
            let parts = structs.get(client).into_iter().flatten().filter_map(|next| {
                let first = from.max(next.clock);
                let last = to.min(next.clock + next.len());
                (first < last).then(|| self.part(place, next, *client, first, last))
            });
            let parts: Vec<Struct> = parts.collect();
            if !parts.is_empty() {
                model.blocks.push((*client, parts));
            }
        }
        let mut deletes: BTreeMap<u64, Vec<(u32, u32)>> = BTreeMap::new();
        for (client, start, len) in self.deletes.iter().take(20) {
            let client = CLIENTS[usize::from(*client) % CLIENTS.len()];
            let ranges = deletes.entry(client).or_default();
            let start = ranges.last().map_or(0, |last| last.1) + u32::from(*start) % 16;
            ranges.push((start, start + u32::from(*len) % 6 + 1));
        }
        model.deletes = deletes.into_iter().rev().collect();
        model
    }

    fn part(&self, place: usize, next: &Struct, client: u64, first: u32, last: u32) -> Struct {
        let mut part = next.part(client, first - next.clock, last - next.clock);
        match self.emptied {
            Some((of, true)) if usize::from(of) % CLIENTS.len() == place => part.body = Body::Gc(part.len()),
            Some((of, false)) if usize::from(of) % CLIENTS.len() == place => {
                let len = part.len();
                if let Body::Item(item) = &mut part.body {
                    item.content = Content::Deleted(len);
                }
            }
            _ => {}
        }
        part
    }
}
