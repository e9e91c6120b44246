//! The one writer of encoding V2: structs go in, highest client first, and gaps are filled in.
//!
//! The bytes are those of Yjs's own encoder for the same structs.

use crate::column::{ByteWriter, DiffWriter, UintWriter};
use crate::delete_set::DeleteSet;
use crate::growth::{insert, spare};
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::structs::{Body, Content, Id, Item, Parent, Struct};
use crate::text::TextWriter;
use crate::{ClientId, Clock};

const STRING: u8 = 4;
const SKIP: u8 = 10;
const HAS_PARENT_SUB: u8 = 0b0010_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_ORIGIN: u8 = 0b1000_0000;

/// Builds one update.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    key_clock: DiffWriter,
    client: UintWriter,
    left_clock: DiffWriter,
    right_clock: DiffWriter,
    info: ByteWriter,
    text: TextWriter,
    parent_info: ByteWriter,
    type_ref: UintWriter,
    len: UintWriter,
    keys: u32,
    /// The finished blocks, and what the structs of the open one have put there so far.
    rest: Vec<u8>,
    blocks: u64,
    /// The block being written.
    block: Option<OpenBlock>,
    /// The last struct of the open block, while it may still grow.
    run: Option<Run>,
}

/// A struct whose length is not written yet, see [`Encoder::push_joined`].
#[derive(Debug)]
struct Run {
    /// `None` for collected clocks.
    kind: Option<u8>,
    end: Clock,
    len: Clock,
    right_origin: Option<Id>,
    is_deleted: bool,
    /// Its text ends inside a character.
    is_cut: bool,
}

#[derive(Debug)]
struct OpenBlock {
    client: ClientId,
    first: Clock,
    next: Clock,
    structs: u64,
    /// Where the rest has its structs; their number, known at last, and the first clock come before.
    at: usize,
}

impl Run {
    /// The run that a struct begins, if its kind can grow.
    fn of(first: &Struct<'_>, is_deleted: bool) -> Option<Self> {
        let (kind, right_origin, is_cut) = match &first.body {
            Body::Gc => (None, None, false),
            Body::Skip => return None,
            Body::Item(item) => {
                let is_cut = match &item.content {
                    Content::String(text) => text.ends_inside_character(),
                    Content::Deleted | Content::Json(_) | Content::Any(_) => false,
                    _ => return None,
                };
                (Some(item.content.kind()), item.right_origin, is_cut)
            }
        };
        Some(Run {
            kind,
            end: first.end(),
            len: first.len,
            right_origin,
            is_deleted,
            is_cut,
        })
    }

    /// Whether a struct right behind the run can be part of it.
    fn goes_on(&mut self, next: &Struct<'_>, is_deleted: bool) -> bool {
        let item = match &next.body {
            Body::Gc => return self.kind.is_none(),
            Body::Skip => return false,
            Body::Item(item) => item,
        };
        let last = Id {
            client: next.client,
            clock: next.clock.saturating_sub(1),
        };
        let is_in_row = self.kind == Some(item.content.kind())
            && item.origin == Some(last)
            && item.right_origin == self.right_origin
            && is_deleted == self.is_deleted;
        if !is_in_row {
            return false;
        }
        if let Content::String(text) = &item.content {
            if self.is_cut || text.begins_inside_character() {
                return false;
            }
            self.is_cut = text.ends_inside_character();
        }
        true
    }
}

impl Encoder {
    /// Appends a struct: of the same client and later, or of a lower client. A gap before it is
    /// written as one; a struct that is a gap itself is left to the next one to fill.
    pub(crate) fn push(&mut self, next: &Struct<'_>) {
        if next.is_skip() {
            return;
        }
        self.head(next);
        match &next.body {
            Body::Gc => self.len.write(u64::from(next.len)),
            Body::Skip => {}
            Body::Item(item) => {
                self.length(&item.content, next.len);
                self.values(&item.content, next.len);
            }
        }
    }

    /// Appends a struct as [`Encoder::push`] does, as one with the struct before it where the two
    /// mean the same as one: collected clocks; or elements of one kind that stand in a row, all
    /// deleted or all living. Characters are never joined from halves.
    pub(crate) fn push_joined(&mut self, next: &Struct<'_>, is_deleted: bool) {
        if next.is_skip() {
            return;
        }
        if !self.extend_run(next, is_deleted) {
            self.head(next);
            self.run = Run::of(next, is_deleted);
        }
        match &next.body {
            Body::Gc | Body::Skip => {}
            Body::Item(item) => self.values(&item.content, next.len),
        }
    }

    /// Whether the struct belongs to the run; then the run has its length.
    fn extend_run(&mut self, next: &Struct<'_>, is_deleted: bool) -> bool {
        let (Some(run), Some(open)) = (&mut self.run, &mut self.block) else {
            return false;
        };
        if open.client != next.client || run.end != next.clock || !run.goes_on(next, is_deleted) {
            return false;
        }
        run.len = run.len.saturating_add(next.len);
        run.end = next.end();
        open.next = run.end;
        true
    }

    /// Writes the length of the run, which grows no more.
    fn close_run(&mut self) {
        match self.run.take() {
            Some(run) if run.kind == Some(STRING) => self.text.write_length(run.len),
            Some(run) => self.len.write(u64::from(run.len)),
            None => {}
        }
    }

    /// Everything of a struct before its length.
    fn head(&mut self, next: &Struct<'_>) {
        self.close_run();
        if self
            .block
            .as_ref()
            .is_some_and(|open| open.client != next.client)
        {
            self.close_block();
        }
        let (gap, open) = match &mut self.block {
            Some(open) => (next.clock.saturating_sub(open.next), open),
            None => {
                self.client.write(next.client);
                let open = self.block.insert(OpenBlock {
                    client: next.client,
                    first: next.clock,
                    next: next.clock,
                    structs: 0,
                    at: self.rest.len(),
                });
                (0, open)
            }
        };
        open.structs = open
            .structs
            .saturating_add(1)
            .saturating_add(u64::from(gap > 0));
        open.next = next.end();
        if gap > 0 {
            self.info.write(SKIP);
            write_var_uint(spare(&mut self.rest, 5), u64::from(gap));
        }
        match &next.body {
            Body::Gc => self.info.write(0),
            Body::Skip => {}
            Body::Item(item) => self.item_head(item),
        }
    }

    fn item_head(&mut self, item: &Item<'_>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        self.info.write(
            item.content.kind()
                | flag(item.origin.is_some(), HAS_ORIGIN)
                | flag(item.right_origin.is_some(), HAS_RIGHT_ORIGIN)
                | flag(item.parent_sub.is_some(), HAS_PARENT_SUB),
        );
        if let Some(origin) = item.origin {
            self.left_id(origin);
        }
        if let Some(right_origin) = item.right_origin {
            self.client.write(right_origin.client);
            self.right_clock.write(right_origin.clock);
        }
        match &item.parent {
            Some(Parent::Root(name)) => {
                self.parent_info.write(1);
                self.text.write(name);
            }
            Some(Parent::Item(id)) => {
                self.parent_info.write(0);
                self.left_id(*id);
            }
            None => {}
        }
        if let Some(key) = &item.parent_sub {
            self.text.write(key);
        }
    }

    /// The length of content that has one of its own.
    fn length(&mut self, content: &Content<'_>, len: Clock) {
        match content {
            Content::Deleted | Content::Json(_) | Content::Any(_) => {
                self.len.write(u64::from(len));
            }
            Content::String(text) => self.text.write_length(text.units()),
            _ => {}
        }
    }

    fn values(&mut self, content: &Content<'_>, len: Clock) {
        match content {
            Content::Deleted => {}
            Content::Json(texts) => {
                let mut texts = *texts;
                for _ in 0..len {
                    match texts.next() {
                        Some(text) => self.text.write(&text),
                        None => break,
                    }
                }
            }
            Content::Binary(bytes) => {
                write_var_bytes(spare(&mut self.rest, bytes.len().saturating_add(9)), bytes)
            }
            Content::String(text) => self.text.append(text),
            Content::Embed(value) => self.raw(value),
            Content::Format { key, value } => {
                self.key(key);
                self.raw(value);
            }
            Content::Type { type_ref, name } => {
                self.type_ref.write(*type_ref);
                if let Some(name) = name {
                    self.key(name);
                }
            }
            Content::Any(values) => self.raw(values),
            Content::Document { guid, options } => {
                self.text.write(guid);
                self.raw(options);
            }
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        spare(&mut self.rest, bytes.len()).extend_from_slice(bytes);
    }

    fn left_id(&mut self, id: Id) {
        self.client.write(id.client);
        self.left_clock.write(id.clock);
    }

    /// Every key is written in full with the next number: Yjs never repeats one by number.
    fn key(&mut self, key: &crate::text::Text<'_>) {
        self.key_clock.write(self.keys);
        self.keys = self.keys.saturating_add(1);
        self.text.write(key);
    }

    fn close_block(&mut self) {
        self.close_run();
        if let Some(open) = self.block.take() {
            let mut head = Vec::with_capacity(14);
            write_var_uint(&mut head, open.structs);
            write_var_uint(&mut head, u64::from(open.first));
            insert(&mut self.rest, open.at, &head);
            self.blocks = self.blocks.saturating_add(1);
        }
    }

    /// The update's bytes.
    pub(crate) fn finish(mut self, deletes: &DeleteSet) -> Vec<u8> {
        self.close_block();
        let mut tail = Vec::new();
        deletes.encode_v2(&mut tail);
        let (joined, lengths) = self.text.finish();
        let mut text_head = Vec::with_capacity(9);
        write_var_uint(&mut text_head, joined.len() as u64);
        let text_len = [&text_head, &joined, &lengths].map(Vec::len);
        let text_len = text_len.into_iter().fold(0, usize::saturating_add);
        let column = |bytes: Vec<u8>| (Some(bytes.len()), bytes);
        let blocks = usize::try_from(self.blocks).unwrap_or(usize::MAX);
        assemble([
            (Some(0), Vec::new()),
            column(self.key_clock.finish()),
            column(self.client.finish()),
            column(self.left_clock.finish()),
            column(self.right_clock.finish()),
            column(self.info.finish()),
            (Some(text_len), text_head),
            (None, joined),
            (None, lengths),
            column(self.parent_info.finish()),
            column(self.type_ref.finish()),
            column(self.len.finish()),
            (Some(blocks), self.rest),
            (None, tail),
        ])
    }
}

/// A number, if there is one, and bytes behind it.
type Part = (Option<usize>, Vec<u8>);

/// All parts in one list. The longest one grows into it, so that most bytes are never held twice.
fn assemble(parts: [Part; 14]) -> Vec<u8> {
    let longest = parts.iter().map(|(_, bytes)| bytes.len()).max();
    // A number takes at most 9 bytes; most take one.
    let size = parts.iter().map(|(number, bytes)| {
        let number = number.map_or(0, |number| if number < 128 { 1 } else { 9 });
        bytes.len().saturating_add(number)
    });
    let mut size = size.fold(0, usize::saturating_add);
    let mut out = Vec::new();
    let mut is_grown = false;
    for (number, mut bytes) in parts {
        if let Some(number) = number {
            write_var_uint(spare(&mut out, 9), number as u64);
        }
        if !is_grown && Some(bytes.len()) == longest {
            is_grown = true;
            size = size.saturating_sub(bytes.len());
            bytes.reserve_exact(size);
            insert(&mut bytes, 0, &out);
            out = bytes;
        } else {
            spare(&mut out, bytes.len()).extend_from_slice(&bytes);
        }
    }
    out
}
