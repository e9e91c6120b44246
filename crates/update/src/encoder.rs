//! The one writer of encoding V2: structs go in, highest client first, and gaps are filled in.
//!
//! The bytes are those of Yjs's own encoder for the same structs.

use crate::column::{ByteWriter, DiffWriter, UintWriter};
use crate::delete_set::DeleteSet;
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
    /// The finished blocks.
    rest: Vec<u8>,
    blocks: u64,
    /// The block being written.
    block: Option<OpenBlock>,
    /// What the structs of the open block put into the rest.
    block_rest: Vec<u8>,
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
            write_var_uint(&mut self.block_rest, u64::from(gap));
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
            Content::Binary(bytes) => write_var_bytes(&mut self.block_rest, bytes),
            Content::String(text) => self.text.append(text),
            Content::Embed(value) => self.block_rest.extend_from_slice(value),
            Content::Format { key, value } => {
                self.key(key);
                self.block_rest.extend_from_slice(value);
            }
            Content::Type { type_ref, name } => {
                self.type_ref.write(*type_ref);
                if let Some(name) = name {
                    self.key(name);
                }
            }
            Content::Any(values) => self.block_rest.extend_from_slice(values),
            Content::Document { guid, options } => {
                self.text.write(guid);
                self.block_rest.extend_from_slice(options);
            }
        }
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
            write_var_uint(&mut self.rest, open.structs);
            write_var_uint(&mut self.rest, u64::from(open.first));
            self.rest.append(&mut self.block_rest);
            self.blocks = self.blocks.saturating_add(1);
        }
    }

    /// The update's bytes.
    pub(crate) fn finish(mut self, deletes: &DeleteSet) -> Vec<u8> {
        self.close_block();
        let mut tail = Vec::new();
        deletes.encode_v2(&mut tail);

        let (joined, lengths) = self.text.finish();
        let mut text =
            Vec::with_capacity(joined.len().saturating_add(lengths.len()).saturating_add(5));
        write_var_bytes(&mut text, &joined);
        text.extend_from_slice(&lengths);
        drop(joined);
        let columns = [
            self.key_clock.finish(),
            self.client.finish(),
            self.left_clock.finish(),
            self.right_clock.finish(),
            self.info.finish(),
            text,
            self.parent_info.finish(),
            self.type_ref.finish(),
            self.len.finish(),
        ];
        // A feature flag, nine lengths and the number of clients take at most 5 bytes each.
        let size = columns
            .iter()
            .map(Vec::len)
            .fold(55, usize::saturating_add)
            .saturating_add(self.rest.len())
            .saturating_add(tail.len());
        let mut out = Vec::with_capacity(size);
        out.push(0);
        for column in columns {
            write_var_bytes(&mut out, &column);
        }
        write_var_uint(&mut out, self.blocks);
        out.extend_from_slice(&self.rest);
        out.extend_from_slice(&tail);
        out
    }
}
