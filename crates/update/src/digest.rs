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
    };
    digest.hash.update(DOMAIN);
    let deletes = walk_pieces(update, Collect::Nothing, &mut |piece| match piece {
        Piece::Ready(next, State::Living) => digest.add(&next, LIVING),
        Piece::Ready(_, State::Deleted) => {}
        Piece::Pending(next) => digest.add(&next, PENDING),
    });
    digest.close_run();
    for block in update.blocks().iter().filter(|block| !block.is_empty()) {
        digest.number(block.client);
        digest.number(u64::from(block.end));
    }
    let mut tail = Vec::new();
    deletes.encode_v2(&mut tail);
    digest.bytes(&tail);
    digest.hash.finalize().into()
}

const END: u8 = 0;
const LIVING: u8 = 1;
const PENDING: u8 = 2;

struct ContentDigest {
    hash: Sha256,
    /// Elements that stand in a row count as one struct.
    run: Option<Run>,
}

struct Run {
    state: u8,
    kind: u8,
    last: Id,
    right_origin: Option<Id>,
    len: Clock,
}

impl ContentDigest {
    fn add(&mut self, next: &Struct<'_>, state: u8) {
        let item = match &next.body {
            Body::Item(item) => item,
            Body::Gc => {
                self.close_run();
                self.hash.update([state, 0]);
                self.id(Id {
                    client: next.client,
                    clock: next.clock,
                });
                self.number(u64::from(next.len));
                return;
            }
            Body::Skip => return,
        };
        let last = Id {
            client: next.client,
            clock: next.end().saturating_sub(1),
        };
        let goes_on = self.run.as_ref().is_some_and(|run| {
            run.state == state
                && run.kind == item.content.kind()
                && run.last.clock.checked_add(1) == Some(next.clock)
                && item.origin == Some(run.last)
                && item.right_origin == run.right_origin
        });
        if let Some(run) = self.run.as_mut().filter(|_| goes_on) {
            run.last = last;
            run.len = run.len.saturating_add(next.len);
        } else {
            self.close_run();
            self.head(next, item, state);
            self.run = Some(Run {
                state,
                kind: item.content.kind(),
                last,
                right_origin: item.right_origin,
                len: next.len,
            });
        }
        self.content(&item.content, next.len);
        if !can_grow(&item.content) {
            self.close_run();
        }
    }

    fn close_run(&mut self) {
        if let Some(run) = self.run.take() {
            self.hash.update([END]);
            self.number(u64::from(run.len));
        }
    }

    fn head(&mut self, next: &Struct<'_>, item: &Item<'_>, state: u8) {
        self.hash.update([state, item.content.kind()]);
        self.id(Id {
            client: next.client,
            clock: next.clock,
        });
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
                        self.text(&text);
                    }
                }
            }
            Content::Binary(value) | Content::Embed(value) => self.bytes(value),
            Content::String(text) => self.units(text),
            Content::Format { key, value } => {
                self.text(key);
                self.bytes(value);
            }
            Content::Type { type_ref, name } => {
                self.number(*type_ref);
                if let Some(name) = name {
                    self.text(name);
                }
            }
            // Every value says where it ends.
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
        self.number(u64::from(text.units()));
        self.units(text);
    }

    /// UTF-16, so that a text cut inside a character hashes like its halves.
    fn units(&mut self, text: &Text<'_>) {
        let mut buffer = [0; 128];
        let mut filled: usize = 0;
        for unit in text.iter() {
            if let Some(place) = buffer.get_mut(filled..filled.saturating_add(2)) {
                place.copy_from_slice(&unit.to_be_bytes());
                filled = filled.saturating_add(2);
            }
            if filled == buffer.len() {
                self.hash.update(buffer);
                filled = 0;
            }
        }
        self.hash.update(buffer.get(..filled).unwrap_or_default());
    }
}

/// Whether neighbours of this kind can be one struct.
fn can_grow(content: &Content<'_>) -> bool {
    matches!(
        content,
        Content::Json(_) | Content::String(_) | Content::Any(_) | Content::Deleted
    )
}
