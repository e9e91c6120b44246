//! The decoder of encoding V2: a position in every column, and the struct that comes next.
//!
//! The first walk over an update checks everything ([`Depth::Full`]); later walks over the same
//! bytes read the same structs without looking at values again. A cursor is `Copy`, so that keeping
//! one is a checkpoint.

mod context;

pub(crate) use context::{CLOCK_RANGE, Context, Depth, Keys, checked_client, checked_clock};

use crate::any::{self, Check};
use crate::column::{ByteReader, DiffReader, UintReader};
use crate::error::UpdateError;
use crate::json::{self, JsonFault};
use crate::lib0::Reader;
use crate::structs::{Body, Content, Id, Item, JsonTexts, Parent, Struct};
use crate::text::{Text, TextReader};
use crate::{ClientId, Clock, MAX_CLOCK};

/// The bits of an info byte.
const KIND: u8 = 0b0001_1111;
const HAS_PARENT_SUB: u8 = 0b0010_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_ORIGIN: u8 = 0b1000_0000;

const GC: u8 = 0;
const SKIP: u8 = 10;

/// Type numbers with a name: XML elements and hooks. The largest number is XML text.
const XML_ELEMENT: u64 = 3;
const XML_HOOK: u64 = 5;
pub(crate) const LARGEST_TYPE: u64 = 6;

/// What precedes the structs of one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHead {
    pub(crate) client: ClientId,
    pub(crate) clock: Clock,
    pub(crate) structs: u64,
}

/// What the head of an update tells.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) cursor: Cursor<'a>,
    pub(crate) text: &'a str,
    /// The feature flags, which no encoder sets so far, are not zero.
    pub(crate) has_flags: bool,
}

/// A position in an update.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor<'a> {
    key_clock: DiffReader<'a>,
    client: UintReader<'a>,
    left_clock: DiffReader<'a>,
    right_clock: DiffReader<'a>,
    info: ByteReader<'a>,
    text: TextReader<'a>,
    text_lengths: UintReader<'a>,
    parent_info: ByteReader<'a>,
    type_ref: UintReader<'a>,
    len: UintReader<'a>,
    rest: Reader<'a>,
    keys: u32,
}

impl<'a> Cursor<'a> {
    /// Finds the columns; the cursor stands before the number of clients.
    ///
    /// `checked_text` is the text of the string column, if it was checked before.
    #[inline]
    pub(crate) fn open(
        bytes: &'a [u8],
        checked_text: Option<&'a str>,
    ) -> Result<Opened<'a>, UpdateError> {
        let mut all = Reader::new(bytes);
        let has_flags = all.read_var_uint()? != 0;
        let key_clock = DiffReader::new(all.read_column()?);
        let client = UintReader::new(all.read_column()?);
        let left_clock = DiffReader::new(all.read_column()?);
        let right_clock = DiffReader::new(all.read_column()?);
        let info = ByteReader::new(all.read_column()?);
        let mut strings = all.read_column()?;
        let text = strings.read_var_bytes()?;
        let text = match checked_text {
            Some(text) => text,
            None => std::str::from_utf8(text).map_err(|error| {
                let start = strings.position().saturating_sub(text.len());
                UpdateError::malformed(
                    start.saturating_add(error.valid_up_to()),
                    "a string column that is not UTF-8",
                )
            })?,
        };
        let cursor = Cursor {
            key_clock,
            client,
            left_clock,
            right_clock,
            info,
            text: TextReader::new(text),
            text_lengths: UintReader::new(strings),
            parent_info: ByteReader::new(all.read_column()?),
            type_ref: UintReader::new(all.read_column()?),
            len: UintReader::new(all.read_column()?),
            rest: all,
            keys: 0,
        };
        Ok(Opened {
            cursor,
            text,
            has_flags,
        })
    }

    /// The part that has no column of its own.
    pub(crate) fn rest(&mut self) -> &mut Reader<'a> {
        &mut self.rest
    }

    pub(crate) fn position(&self) -> usize {
        self.rest.position()
    }

    pub(crate) fn read_block_head(
        &mut self,
        context: &mut Context<'_, 'a>,
    ) -> Result<BlockHead, UpdateError> {
        let start = self.rest.position();
        let structs = self.rest.read_var_uint()?;
        if structs == 0 {
            context.refuse(start, "a client without structs");
        }
        let client = self.read_client(context)?;
        let clock_at = self.rest.position();
        let clock = self.rest.read_var_uint()?;
        Ok(BlockHead {
            client,
            clock: context.clock(clock, clock_at),
            structs,
        })
    }

    #[inline]
    pub(crate) fn read_struct(
        &mut self,
        client: ClientId,
        clock: Clock,
        context: &mut Context<'_, 'a>,
    ) -> Result<Struct<'a>, UpdateError> {
        let info_at = self.info.position();
        let info = self.info.read()?;
        let (body, len) = match info & KIND {
            GC => (Body::Gc, self.read_len(context)?),
            SKIP => {
                if info != SKIP {
                    context.refuse(info_at, "a gap with item flags");
                }
                let start = self.rest.position();
                let len = self.rest.read_var_uint()?;
                (Body::Skip, context.len(len, start))
            }
            // Yjs cannot read these, newer versions and other engines may: the sender is told.
            kind if kind > SKIP => {
                return Err(UpdateError::refused(info_at, PAST_KINDS));
            }
            kind => {
                let own = Id { client, clock };
                let (item, len) = self.read_item(own, info, kind, context)?;
                (Body::Item(item), len)
            }
        };
        if len > MAX_CLOCK.saturating_sub(clock) {
            context.refuse(self.rest.position(), CLOCK_RANGE);
        }
        Ok(Struct {
            client,
            clock,
            len,
            body,
        })
    }

    #[inline]
    fn read_item(
        &mut self,
        own: Id,
        info: u8,
        kind: u8,
        context: &mut Context<'_, 'a>,
    ) -> Result<(Item<'a>, Clock), UpdateError> {
        let origin = if info & HAS_ORIGIN != 0 {
            Some(self.read_left_id(own, context)?)
        } else {
            None
        };
        let right_origin = if info & HAS_RIGHT_ORIGIN != 0 {
            Some(self.read_right_id(own, context)?)
        } else {
            None
        };
        let mut parent = None;
        let mut parent_sub = None;
        if origin.is_none() && right_origin.is_none() {
            parent = Some(if self.parent_info.read()? == 1 {
                Parent::Root(self.read_text(context)?)
            } else {
                Parent::Item(self.read_left_id(own, context)?)
            });
            if info & HAS_PARENT_SUB != 0 {
                parent_sub = Some(self.read_text(context)?);
            }
        }
        let (content, len) = self.read_content(kind, context)?;
        let item = Item {
            origin,
            right_origin,
            parent,
            parent_sub,
            content,
        };
        Ok((item, len))
    }

    #[inline]
    fn read_content(
        &mut self,
        kind: u8,
        context: &mut Context<'_, 'a>,
    ) -> Result<(Content<'a>, Clock), UpdateError> {
        let content = match kind {
            1 => return Ok((Content::Deleted, self.read_len(context)?)),
            2 => return self.read_json(context),
            3 => Content::Binary(self.rest.read_var_bytes()?),
            4 => {
                let at = self.text_lengths.position();
                let text = self.read_text(context)?;
                let len = context.len(u64::from(text.units()), at);
                return Ok((Content::String(text), len));
            }
            5 => Content::Embed(self.read_values(1, context)?),
            6 => {
                let key = self.read_key(context)?;
                let value = self.read_values(1, context)?;
                Content::Format { key, value }
            }
            7 => self.read_type(context)?,
            8 => {
                let len = self.read_len(context)?;
                return Ok((Content::Any(self.read_values(len, context)?), len));
            }
            // The caller leaves nothing else than 9, a subdocument.
            _ => {
                let guid = self.read_text(context)?;
                let at = self.rest.position();
                let options = self.read_values(1, context)?;
                if matches!(options, [126 | 127]) {
                    return Err(UpdateError::malformed(at, "a document without options"));
                }
                Content::Document { guid, options }
            }
        };
        Ok((content, 1))
    }

    fn read_type(&mut self, context: &mut Context<'_, 'a>) -> Result<Content<'a>, UpdateError> {
        let at = self.type_ref.position();
        let type_ref = self.type_ref.read()?.unwrap_or_else(|| {
            context.refuse(at, PAST_END);
            0
        });
        // As with kinds of content: others may know more types.
        if type_ref > LARGEST_TYPE {
            return Err(UpdateError::refused(at, "unknown kind of type"));
        }
        let name = if is_named_type(type_ref) {
            Some(self.read_key(context)?)
        } else {
            None
        };
        Ok(Content::Type { type_ref, name })
    }

    fn read_json(
        &mut self,
        context: &mut Context<'_, 'a>,
    ) -> Result<(Content<'a>, Clock), UpdateError> {
        let len = self.read_len(context)?;
        let texts = JsonTexts::Column {
            texts: self.text,
            lengths: self.text_lengths,
        };
        for _ in 0..len {
            let at = self.text_lengths.position();
            let text = self.read_text(context)?;
            if let Depth::Full { max_nesting } = context.depth {
                check_json(&text, max_nesting, at)?;
            }
        }
        Ok((Content::Json(texts), len))
    }

    fn read_values(
        &mut self,
        count: Clock,
        context: &Context<'_, 'a>,
    ) -> Result<&'a [u8], UpdateError> {
        let check = match context.depth {
            Depth::Full { max_nesting } => Check::All(max_nesting),
            Depth::Checked => Check::Lengths,
        };
        let start = self.rest.position();
        for _ in 0..count {
            any::skip(&mut self.rest, check)?;
        }
        Ok(self.rest.since(start))
    }

    #[inline]
    fn read_client(&mut self, context: &mut Context<'_, 'a>) -> Result<ClientId, UpdateError> {
        let at = self.client.position();
        match self.client.read()? {
            Some(client) => Ok(context.client(client, at)),
            None => {
                context.refuse(at, PAST_END);
                Ok(0)
            }
        }
    }

    /// Reads an origin or a parent.
    #[inline]
    fn read_left_id(&mut self, own: Id, context: &mut Context<'_, 'a>) -> Result<Id, UpdateError> {
        let client = self.read_client(context)?;
        let at = self.left_clock.position();
        let clock = read_clock(&mut self.left_clock, context)?;
        Ok(context.id(client, clock, own, at))
    }

    fn read_right_id(&mut self, own: Id, context: &mut Context<'_, 'a>) -> Result<Id, UpdateError> {
        let client = self.read_client(context)?;
        let at = self.right_clock.position();
        let clock = read_clock(&mut self.right_clock, context)?;
        Ok(context.id(client, clock, own, at))
    }

    #[inline]
    fn read_len(&mut self, context: &mut Context<'_, 'a>) -> Result<Clock, UpdateError> {
        let at = self.len.position();
        match self.len.read()? {
            Some(len) => Ok(context.len(len, at)),
            None => {
                context.refuse(at, PAST_END);
                Ok(0)
            }
        }
    }

    #[inline]
    fn read_text(&mut self, context: &mut Context<'_, 'a>) -> Result<Text<'a>, UpdateError> {
        let at = self.text_lengths.position();
        let units = self.text_lengths.read()?.unwrap_or_else(|| {
            context.refuse(at, PAST_END);
            0
        });
        Ok(self.text.read(units).unwrap_or_else(|| {
            context.refuse(at, "a string longer than its column");
            self.text.read_rest()
        }))
    }

    fn read_key(&mut self, context: &mut Context<'_, 'a>) -> Result<Text<'a>, UpdateError> {
        let at = self.key_clock.position();
        let number = read_clock(&mut self.key_clock, context)?;
        if number < i64::from(self.keys) {
            return match u32::try_from(number) {
                Ok(number) => context.keys.repeated(number, at),
                Err(_) => {
                    context.refuse(at, "a negative key number");
                    Ok(Text::default())
                }
            };
        }
        let key = self.read_text(context)?;
        self.keys = self.keys.saturating_add(1);
        context.keys.record(key, at)?;
        Ok(key)
    }

    /// Checks that the structs used up every column. The delete set follows in the rest.
    pub(crate) fn check_consumed(&self) -> Result<(), UpdateError> {
        self.key_clock.check_consumed()?;
        self.client.check_consumed()?;
        self.left_clock.check_consumed()?;
        self.right_clock.check_consumed()?;
        self.info.check_consumed()?;
        self.text_lengths.check_consumed()?;
        self.parent_info.check_consumed()?;
        self.type_ref.check_consumed()?;
        self.len.check_consumed()?;
        if self.text.is_at_end() {
            Ok(())
        } else {
            Err(UpdateError::refused(
                self.text_lengths.position(),
                "a string column longer than its strings",
            ))
        }
    }
}

#[inline]
fn read_clock<'a>(
    column: &mut DiffReader<'a>,
    context: &mut Context<'_, 'a>,
) -> Result<i64, UpdateError> {
    let at = column.position();
    Ok(column.read()?.unwrap_or_else(|| {
        context.refuse(at, PAST_END);
        column.last()
    }))
}

pub(crate) const PAST_KINDS: &str = "unknown kind of content";

const PAST_END: &str = "a column with fewer values than the structs need";

/// Whether the name of a node is written behind the number of the type.
pub(crate) fn is_named_type(type_ref: u64) -> bool {
    type_ref == XML_ELEMENT || type_ref == XML_HOOK
}

const NOT_JSON: &str = "a text that is not JSON";

fn check_json(text: &Text<'_>, max_nesting: u32, at: usize) -> Result<(), UpdateError> {
    // Half a character can stand only inside quotes, never at an end.
    let whole = text
        .as_whole_str()
        .ok_or(UpdateError::malformed(at, NOT_JSON))?;
    check_json_text(whole, max_nesting, at)
}

/// Checks a text that Yjs gives to `JSON.parse`; it knows one more word.
pub(crate) fn check_json_text(whole: &str, max_nesting: u32, at: usize) -> Result<(), UpdateError> {
    if whole == "undefined" {
        return Ok(());
    }
    json::check(whole, max_nesting).map_err(|fault| match fault {
        JsonFault::Syntax => UpdateError::malformed(at, NOT_JSON),
        JsonFault::TooDeep => UpdateError::refused(at, "JSON nested too deeply"),
    })
}
