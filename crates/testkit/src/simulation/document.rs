//! A client's copy of a document, kept as updates, and what its user does to it.
//!
//! A client takes in what it gets as Yjs does: structs whose dependencies are missing are parked, and go out with the
//! next step 2. What exists in a room at all is in its forest, so that edits can be made next to those of others.

use bytes::Bytes;
use epicenter_update::lib0::{write_var_bytes, write_var_uint};
use epicenter_update::{
    EMPTY_UPDATE, Limits, Ready, StateVector, Update, content_digest, diff, ingest, merge, to_v2,
};

use super::ledger::{ANY, Content};
use crate::dice::Dice;

/// Keys that the clients of a room fight over.
const KEYS: [&str; 4] = ["title", "owner", "b", "c"];
/// What is typed; the last takes two clocks a character.
const WORDS: [&str; 6] = ["a", "of", "room", "x y", "Ünï", "🎈🎈"];

/// A copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    known: StateVector,
    content: Content,
    /// Ready updates that together are the visible document.
    parts: Vec<Bytes>,
    pending: Option<Bytes>,
}

impl Document {
    pub(super) fn state_vector(&self) -> &StateVector {
        &self.known
    }

    /// Everything that is here, parked or not.
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes an update in; false for one that cannot be read. True also when it brought nothing.
    pub(super) fn apply(&mut self, update: &Bytes) -> bool {
        let Some(content) = Content::of(update) else {
            return false;
        };
        if self.content.covers(&content) && self.pending.is_none() {
            return true;
        }
        self.content.add(&content);
        self.take_in(update);
        true
    }

    fn take_in(&mut self, update: &Bytes) {
        let mut advanced = self.ingest(update);
        while advanced && let Some(pending) = self.pending.take() {
            advanced = self.ingest(&pending);
        }
    }

    /// Splits an update; true when the visible document has grown.
    fn ingest(&mut self, update: &Bytes) -> bool {
        let Ok(parsed) = Update::parse(update, &ANY) else {
            return false;
        };
        let split = ingest(&parsed, &self.known);
        for (client, clock) in split.advanced.iter() {
            self.known.advance(client, clock);
        }
        match split.ready {
            Ready::Nothing => {}
            Ready::Whole => self.parts.push(update.clone()),
            Ready::Part(part) => self.parts.push(part.into()),
        }
        if let Some(waiting) = split.pending {
            let waiting = Bytes::from(waiting);
            self.pending = Some(match self.pending.take() {
                None => waiting,
                Some(known) => merged(&[known, waiting]),
            });
        }
        !split.advanced.is_empty()
    }

    /// Everything as one update, parked parts included.
    pub(super) fn whole(&mut self) -> Bytes {
        if self.parts.len() != 1 {
            self.parts = vec![merged(&self.parts)];
        }
        let ready = self.parts.first().cloned().unwrap_or_default();
        match &self.pending {
            None => ready,
            Some(pending) => merged(&[ready, pending.clone()]),
        }
    }

    /// What a peer with this state vector lacks.
    pub(super) fn diff(&mut self, state_vector: &StateVector) -> Bytes {
        let whole = self.whole();
        match Update::parse(&whole, &ANY) {
            Ok(whole) => diff(&whole, state_vector).into(),
            Err(_) => whole,
        }
    }

    pub(super) fn digest(&mut self) -> [u8; 32] {
        digest(&self.whole())
    }
}

/// A hash over what an update shows.
pub(super) fn digest(update: &[u8]) -> [u8; 32] {
    Update::parse(update, &ANY).map_or([0; 32], |update| content_digest(&update))
}

/// Joins updates that were checked before.
pub(super) fn merged(updates: &[Bytes]) -> Bytes {
    let parsed: Vec<Update<'_>> = updates
        .iter()
        .filter_map(|update| Update::parse(update, &ANY).ok())
        .collect();
    if parsed.is_empty() {
        return Bytes::from_static(&EMPTY_UPDATE);
    }
    merge(&parsed).into()
}

/// Names an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    client: u64,
    clock: u32,
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Text,
    Map,
    Inside(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nested {
    Map,
    Text,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    id: Id,
    len: u32,
    place: Place,
    key: Option<usize>,
    origin: Option<Id>,
    nested: Option<Nested>,
}

/// Every item that was ever made in a room.
#[derive(Clone, Debug, Default)]
pub(super) struct Forest {
    items: Vec<Item>,
}

/// What an item holds.
enum Body {
    Words(&'static str),
    Number(u8),
    Nested(Nested),
}

impl Forest {
    /// Has the user of this client do something to the document; returns the update, which has been taken in.
    pub(super) fn edit(&mut self, dice: &mut Dice, client: u64, document: &mut Document) -> Bytes {
        let update = match dice.below(10) {
            0..=4 => self.insert_text(dice, client, document),
            5..=7 => self.set_key(dice, client, document),
            _ => self.delete(dice, document),
        };
        let update = update.unwrap_or_else(|| self.insert_root(dice, client, document));
        document.apply(&update);
        update
    }

    fn known<'a>(&'a self, document: &'a Document) -> impl DoubleEndedIterator<Item = &'a Item> {
        self.items
            .iter()
            .filter(|item| item.id.clock + item.len <= document.known.clock(item.id.client))
    }

    fn insert_root(&mut self, dice: &mut Dice, client: u64, document: &Document) -> Bytes {
        let words = dice.pick(&WORDS).copied().unwrap_or("a");
        self.add(
            client,
            document,
            Place::Text,
            None,
            (None, None),
            Body::Words(words),
            None,
        )
    }

    fn insert_text(&mut self, dice: &mut Dice, client: u64, document: &Document) -> Option<Bytes> {
        let texts: Vec<Place> = self
            .known(document)
            .filter(|item| item.nested == Some(Nested::Text))
            .map(|item| Place::Inside(item.id))
            .chain([Place::Text, Place::Text])
            .collect();
        let place = dice.pick(&texts).copied()?;
        let within: Vec<Item> = self
            .known(document)
            .filter(|item| item.place == place && item.key.is_none())
            .copied()
            .collect();
        let element = |dice: &mut Dice| {
            let item = dice.pick(&within)?;
            let offset = dice.below(u64::from(item.len)) as u32;
            Some(Id {
                client: item.id.client,
                clock: item.id.clock + offset,
            })
        };
        // Mostly behind what was typed last, as people do.
        let own = within.iter().rev().find(|item| item.id.client == client);
        let origin = match own {
            Some(own) if !dice.one_in(3) => Some(Id {
                client,
                clock: own.id.clock + own.len - 1,
            }),
            _ if dice.one_in(5) => None,
            _ => element(dice),
        };
        let right = if dice.one_in(2) { None } else { element(dice) };
        let right = right.filter(|right| Some(*right) != origin);
        let words = dice.pick(&WORDS).copied()?;
        Some(self.add(
            client,
            document,
            place,
            None,
            (origin, right),
            Body::Words(words),
            None,
        ))
    }

    fn set_key(&mut self, dice: &mut Dice, client: u64, document: &Document) -> Option<Bytes> {
        let maps: Vec<Place> = self
            .known(document)
            .filter(|item| item.nested == Some(Nested::Map))
            .map(|item| Place::Inside(item.id))
            .chain([Place::Map, Place::Map])
            .collect();
        let place = dice.pick(&maps).copied()?;
        let key = dice.below(KEYS.len() as u64) as usize;
        let before = self.winner(document, place, key);
        let body = match dice.below(8) {
            0 => Body::Nested(Nested::Map),
            1 => Body::Nested(Nested::Text),
            _ => Body::Number(dice.below(64) as u8),
        };
        Some(self.add(
            client,
            document,
            place,
            Some(key),
            (before, None),
            body,
            before.map(|id| (id, 1)),
        ))
    }

    /// The entry that this copy shows under a key: the last one that the highest clients lead to.
    fn winner(&self, document: &Document, place: Place, key: usize) -> Option<Id> {
        let mut winner = None;
        loop {
            let next = self
                .known(document)
                .filter(|item| item.place == place && item.key == Some(key))
                .filter(|item| item.origin == winner)
                .max_by_key(|item| item.id.client);
            match next {
                Some(next) => winner = Some(next.id),
                None => return winner,
            }
        }
    }

    fn delete(&mut self, dice: &mut Dice, document: &Document) -> Option<Bytes> {
        let known: Vec<Item> = self.known(document).copied().collect();
        let item = dice.pick(&known)?;
        let offset = dice.below(u64::from(item.len)) as u32;
        let len = dice.between(1, u64::from(item.len - offset)) as u32;
        let first = Id {
            client: item.id.client,
            clock: item.id.clock + offset,
        };
        Some(update(None, Some((first, len))))
    }

    #[expect(clippy::too_many_arguments, reason = "an item has that many parts")]
    fn add(
        &mut self,
        client: u64,
        document: &Document,
        place: Place,
        key: Option<usize>,
        (origin, right): (Option<Id>, Option<Id>),
        body: Body,
        deleted: Option<(Id, u32)>,
    ) -> Bytes {
        let len = match &body {
            Body::Words(words) => words.encode_utf16().count() as u32,
            Body::Number(_) | Body::Nested(_) => 1,
        };
        let nested = match &body {
            Body::Nested(nested) => Some(*nested),
            Body::Words(_) | Body::Number(_) => None,
        };
        let item = Item {
            id: Id {
                client,
                clock: document.known.clock(client),
            },
            len,
            place,
            key,
            origin,
            nested,
        };
        self.items.push(item);
        update(Some((&item, right, body)), deleted)
    }
}

/// Writes an update in encoding V1, which has every value where it belongs, and turns it into V2.
fn update(inserted: Option<(&Item, Option<Id>, Body)>, deleted: Option<(Id, u32)>) -> Bytes {
    let mut out = Vec::new();
    write_var_uint(&mut out, u64::from(inserted.is_some()));
    if let Some((item, right, body)) = inserted {
        write_var_uint(&mut out, 1);
        write_id(&mut out, item.id);
        write_item(&mut out, item, right, &body);
    }
    write_var_uint(&mut out, u64::from(deleted.is_some()));
    if let Some((first, len)) = deleted {
        write_var_uint(&mut out, first.client);
        write_var_uint(&mut out, 1);
        write_var_uint(&mut out, u64::from(first.clock));
        write_var_uint(&mut out, u64::from(len));
    }
    let update = to_v2(&out, &Limits::default());
    update.expect("what users do is valid").into()
}

fn write_item(out: &mut Vec<u8>, item: &Item, right: Option<Id>, body: &Body) {
    let kind = match body {
        Body::Words(_) => 4,
        Body::Nested(_) => 7,
        Body::Number(_) => 8,
    };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        kind | flag(item.origin.is_some(), 0x80)
            | flag(right.is_some(), 0x40)
            | flag(item.key.is_some(), 0x20),
    );
    item.origin
        .into_iter()
        .chain(right)
        .for_each(|id| write_id(out, id));
    if item.origin.is_none() && right.is_none() {
        match item.place {
            Place::Text => write_root(out, "text"),
            Place::Map => write_root(out, "map"),
            Place::Inside(parent) => {
                write_var_uint(out, 0);
                write_id(out, parent);
            }
        }
        if let Some(key) = item.key.and_then(|key| KEYS.get(key)) {
            write_var_bytes(out, key.as_bytes());
        }
    }
    match body {
        Body::Words(words) => write_var_bytes(out, words.as_bytes()),
        Body::Number(number) => out.extend([1, 125, *number]),
        Body::Nested(Nested::Map) => out.push(1),
        Body::Nested(Nested::Text) => out.push(2),
    }
}

fn write_root(out: &mut Vec<u8>, name: &str) {
    write_var_uint(out, 1);
    write_var_bytes(out, name.as_bytes());
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock));
}
