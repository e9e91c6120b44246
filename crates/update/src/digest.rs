//! A hash over what a document shows, whatever form its update has.

use sha2::{Digest as _, Sha256};

use crate::Clock;
use crate::compact::{Collect, Piece, State, walk_pieces};
use crate::structs::{Body, Content, Id, Item, Parent, Struct};
use crate::text::Text;
use crate::update::Update;

/// Names the form of the hashed text, so that another form gives other hashes.
const DOMAIN: &[u8] = b"epicenter content digest 1\0";

/// A hash over the living elements with their places and values, over what waits, over the clocks of
/// every client and over all deletes, those that follow from the structure included.
///
/// How elements are cut into structs, which deleted content is still there and in which order clients
/// come makes no difference: [`compact`](crate::compact) leaves the digest as it was.
pub fn content_digest(update: &Update<'_>) -> [u8; 32] {
    let mut digest = ContentDigest {
        hash: Sha256::new(),
        run: None,
        units: Units::default(),
    };
    digest.hash.update(DOMAIN);
    let deletes = walk_pieces(update, Collect::Nothing, &mut |piece| match piece {
        Piece::Ready(next, State::Living) => digest.add(&next, LIVING),
        Piece::Ready(_, State::Deleted) => {}
        Piece::Pending(next) => digest.add(&next, PENDING),
    });
    digest.close_run();
    digest.hash.update([END]);
    let blocks = || update.blocks().iter().filter(|block| !block.is_empty());
    digest.number(blocks().count() as u64);
    for block in blocks() {
        digest.number(block.client);
        digest.number(u64::from(block.end));
    }
    let mut tail = Vec::new();
    deletes.encode_v2(&mut tail);
    digest.bytes(&tail);
    digest.hash.finalize().into()
}

/// What comes next in the hashed text is always told by one byte before it.
const END: u8 = 0;
const LIVING: u8 = 1;
const PENDING: u8 = 2;
const MORE: u8 = 1;

/// The kind of collected clocks, which is no kind of content.
const GC: u8 = 0;

struct ContentDigest {
    hash: Sha256,
    /// Elements that stand in a row count as one struct.
    run: Option<Run>,
    units: Units,
}

struct Run {
    state: u8,
    kind: u8,
    last: Id,
    right_origin: Option<Id>,
    len: Clock,
}

impl Run {
    fn goes_on(&self, next: &Struct<'_>, state: u8) -> bool {
        let is_next = self.state == state
            && self.last.client == next.client
            && self.last.clock.checked_add(1) == Some(next.clock);
        is_next
            && match &next.body {
                Body::Gc => self.kind == GC,
                Body::Skip => false,
                Body::Item(item) => {
                    self.kind == item.content.kind()
                        && item.origin == Some(self.last)
                        && item.right_origin == self.right_origin
                }
            }
    }
}

impl ContentDigest {
    fn add(&mut self, next: &Struct<'_>, state: u8) {
        let last = Id {
            client: next.client,
            clock: next.end().saturating_sub(1),
        };
        let goes_on = |run: &&mut Run| run.goes_on(next, state);
        if let Some(run) = self.run.as_mut().filter(goes_on) {
            run.last = last;
            run.len = run.len.saturating_add(next.len);
        } else {
            self.close_run();
            self.run = Some(self.open_run(next, state, last));
        }
        let Body::Item(item) = &next.body else {
            return;
        };
        self.content(&item.content, next.len);
        if !can_grow(&item.content) {
            self.close_run();
        }
    }

    fn open_run(&mut self, next: &Struct<'_>, state: u8, last: Id) -> Run {
        let item = match &next.body {
            Body::Item(item) => Some(item),
            Body::Gc | Body::Skip => None,
        };
        let kind = item.map_or(GC, |item| item.content.kind());
        self.hash.update([state, kind]);
        self.id(Id {
            client: next.client,
            clock: next.clock,
        });
        if let Some(item) = item {
            self.place(item);
        }
        Run {
            state,
            kind,
            last,
            right_origin: item.and_then(|item| item.right_origin),
            len: next.len,
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.units.finish(&mut self.hash);
            self.hash.update([END]);
            self.number(u64::from(run.len));
        }
    }

    fn place(&mut self, item: &Item<'_>) {
        for origin in [item.origin, item.right_origin] {
            self.hash.update([u8::from(origin.is_some())]);
            if let Some(id) = origin {
                self.id(id);
            }
        }
        match &item.parent {
            None => self.hash.update([0]),
            Some(Parent::Root(name)) => {
                self.hash.update([1]);
                self.text(name);
            }
            Some(Parent::Item(id)) => {
                self.hash.update([2]);
                self.id(*id);
            }
        }
        self.hash.update([u8::from(item.parent_sub.is_some())]);
        if let Some(key) = &item.parent_sub {
            self.text(key);
        }
    }

    fn content(&mut self, content: &Content<'_>, len: Clock) {
        match content {
            Content::Deleted => {}
            Content::Json(texts) => {
                let mut texts = *texts;
                for _ in 0..len {
                    if let Some(text) = texts.next() {
                        self.hash.update([MORE]);
                        self.text(&text);
                    }
                }
            }
            Content::Binary(value) | Content::Embed(value) => self.bytes(value),
            Content::String(text) => {
                for unit in text.iter() {
                    self.units.push(unit, &mut self.hash);
                }
            }
            Content::Format { key, value } => {
                self.text(key);
                self.bytes(value);
            }
            Content::Type { type_ref, name } => {
                self.number(*type_ref);
                if let Some(name) = name {
                    self.hash.update([MORE]);
                    self.text(name);
                }
            }
            // Every value says where it ends, and none begins like the end of a run.
            Content::Any(values) => self.hash.update(values),
            Content::Document { guid, options } => {
                self.text(guid);
                self.bytes(options);
            }
        }
    }

    fn id(&mut self, id: Id) {
        self.number(id.client);
        self.number(u64::from(id.clock));
    }

    fn number(&mut self, number: u64) {
        self.hash.update(number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash.update(bytes);
    }

    fn text(&mut self, text: &Text<'_>) {
        for unit in text.iter() {
            self.units.push(unit, &mut self.hash);
        }
        self.units.finish(&mut self.hash);
    }
}

/// Text on its way into the hash, in UTF-16 and in chunks that do not show how the text was cut into
/// structs. Halves of characters that stand alone count as U+FFFD, as which they are written.
struct Units {
    chunk: [u8; 128],
    filled: usize,
    /// A first half that waits for the second one.
    high: Option<u16>,
}

impl Default for Units {
    fn default() -> Self {
        Units {
            chunk: [0; 128],
            filled: 0,
            high: None,
        }
    }
}

impl Units {
    fn push(&mut self, unit: u16, hash: &mut Sha256) {
        let high = self.high.take();
        let is_low = (0xdc00..0xe000).contains(&unit);
        match high {
            Some(high) if is_low => {
                self.write(high, hash);
                return self.write(unit, hash);
            }
            Some(_) => self.write(REPLACEMENT, hash),
            None => {}
        }
        if (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
        } else {
            self.write(if is_low { REPLACEMENT } else { unit }, hash);
        }
    }

    fn write(&mut self, unit: u16, hash: &mut Sha256) {
        if self.filled == self.chunk.len() {
            hash.update([MORE]);
            hash.update(self.chunk);
            self.filled = 0;
        }
        let end = self.filled.saturating_add(2);
        if let Some(place) = self.chunk.get_mut(self.filled..end) {
            place.copy_from_slice(&unit.to_be_bytes());
            self.filled = end;
        }
    }

    /// Ends a text; the bytes of the last chunk are counted.
    fn finish(&mut self, hash: &mut Sha256) {
        if self.high.take().is_some() {
            self.write(REPLACEMENT, hash);
        }
        let last = self.chunk.get(..self.filled).unwrap_or_default();
        hash.update([END]);
        hash.update((last.len() as u64).to_be_bytes());
        hash.update(last);
        self.filled = 0;
    }
}

/// The unit that stands for half a character.
const REPLACEMENT: u16 = 0xfffd;

/// Whether neighbours of this kind can be one struct.
fn can_grow(content: &Content<'_>) -> bool {
    matches!(
        content,
        Content::Json(_) | Content::String(_) | Content::Any(_) | Content::Deleted
    )
}
