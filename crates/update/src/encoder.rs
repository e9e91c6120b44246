//! The one writer of encoding V2: structs go in, highest client first, and gaps are filled in.
//!
//! The bytes are those of Yjs's own encoder for the same structs.

use crate::column::{ByteWriter, DiffWriter, UintWriter};
use crate::delete_set::DeleteSet;
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::structs::{Body, Content, Id, Item, Parent, Struct};
use crate::text::TextWriter;
use crate::{ClientId, Clock};

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
}

#[derive(Debug)]
struct OpenBlock {
    client: ClientId,
    first: Clock,
    next: Clock,
    structs: u64,
}

impl Encoder {
    /// Appends a struct: of the same client and later, or of a lower client. A gap before it is
    /// written as one; a struct that is a gap itself is left to the next one to fill.
    pub(crate) fn push(&mut self, next: &Struct<'_>) {
        if next.is_skip() {
            return;
        }
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
            Body::Gc => {
                self.info.write(0);
                self.len.write(u64::from(next.len));
            }
            Body::Skip => {}
            Body::Item(item) => self.item(item, next.len),
        }
    }

    fn item(&mut self, item: &Item<'_>, len: Clock) {
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
        self.content(&item.content, len);
    }

    fn content(&mut self, content: &Content<'_>, len: Clock) {
        match content {
            Content::Deleted => self.len.write(u64::from(len)),
            Content::Json(texts) => {
                self.len.write(u64::from(len));
                let mut texts = *texts;
                for _ in 0..len {
                    match texts.next() {
                        Some(text) => self.text.write(&text),
                        None => break,
                    }
                }
            }
            Content::Binary(bytes) => write_var_bytes(&mut self.block_rest, bytes),
            Content::String(text) => self.text.write(text),
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
            Content::Any(values) => {
                self.len.write(u64::from(len));
                self.block_rest.extend_from_slice(values);
            }
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
