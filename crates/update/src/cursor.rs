//! The decoder of encoding V2: a position in every column, and the struct that comes next.
//!
//! The first walk over an update checks everything ([`Depth::Full`]); later walks over the same
//! bytes read the same structs without looking at values again. A cursor is `Copy`, so that keeping
//! one is a checkpoint.

use crate::any::{self, Check};
use crate::column::{ByteReader, DiffReader, UintReader};
use crate::error::UpdateError;
use crate::json::{self, JsonFault};
use crate::lib0::Reader;
use crate::structs::{Body, Content, Id, Item, JsonTexts, Parent, Struct};
use crate::text::{Text, TextReader};
use crate::{ClientId, Clock, MAX_CLIENT, MAX_CLOCK};

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
const LARGEST_TYPE: u64 = 6;

/// The run-length columns in wire order; the string column stands between `Info` and `ParentInfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) key_clock: Reader<'a>,
    pub(crate) client: Reader<'a>,
    pub(crate) left_clock: Reader<'a>,
    pub(crate) right_clock: Reader<'a>,
    pub(crate) info: Reader<'a>,
    pub(crate) text: &'a str,
    pub(crate) text_lengths: Reader<'a>,
    pub(crate) parent_info: Reader<'a>,
    pub(crate) type_ref: Reader<'a>,
    pub(crate) len: Reader<'a>,
    pub(crate) rest: Reader<'a>,
    /// The feature flags, which no encoder sets so far, are not zero.
    pub(crate) has_flags: bool,
}

/// How much a walk looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Depth {
    /// Everything, values nested at most this deep.
    Full { max_nesting: u32 },
    /// Bytes that were checked before.
    Checked,
}

/// What a walk carries beside its position.
#[derive(Debug)]
pub(crate) struct Context<'k, 'a> {
    pub(crate) depth: Depth,
    pub(crate) keys: Keys<'k, 'a>,
    /// The first rule that the update breaks although Yjs reads it.
    ///
    /// Reading goes on behind it as Yjs would: a later fault that Yjs stumbles over makes the update
    /// malformed, which a room treats differently.
    pub(crate) refusal: Option<UpdateError>,
}

impl Context<'_, '_> {
    pub(crate) fn refuse(&mut self, offset: usize, limit: &'static str) {
        self.refusal
            .get_or_insert(UpdateError::refused(offset, limit));
    }

    /// A client id, or zero in place of one that is refused.
    pub(crate) fn client(&mut self, client: u64, at: usize) -> ClientId {
        if (1..=MAX_CLIENT).contains(&client) {
            return client;
        }
        self.refuse(at, CLIENT_RANGE);
        0
    }

    /// A clock, or the largest number in place of one that is refused.
    pub(crate) fn clock(&mut self, clock: u64, at: usize) -> Clock {
        match checked_clock(clock, at) {
            Ok(clock) => clock,
            Err(refusal) => {
                self.refusal.get_or_insert(refusal);
                Clock::MAX
            }
        }
    }

    /// A length; refused are zero and what [`Context::clock`] refuses.
    pub(crate) fn len(&mut self, len: u64, at: usize) -> Clock {
        if len == 0 {
            self.refuse(at, "a length of zero");
        }
        self.clock(len, at)
    }

    /// An id that `own` refers to: never `own` itself or a later element of the same client, which
    /// Yjs could not find when it integrates the struct.
    fn id(&mut self, client: ClientId, clock: i64, own: Id, at: usize) -> Id {
        let clock = self.clock(u64::try_from(clock).unwrap_or(u64::MAX), at);
        if client == own.client && clock >= own.clock {
            self.refuse(at, "a struct that refers to itself or its successors");
        } else if clock >= MAX_CLOCK {
            // A struct ends at most at the largest clock, so its last element is below.
            self.refuse(at, CLOCK_RANGE);
        }
        Id { client, clock }
    }
}

/// The keys read so far, for keys that are named by number.
#[derive(Debug)]
pub(crate) enum Keys<'k, 'a> {
    /// Nothing is kept; stops at the first key that is named by number and says so.
    Untracked { stopped: &'k mut bool },
    /// The first walk over an update that names keys by number.
    Record {
        table: &'k mut Vec<Text<'a>>,
        /// How many more bytes of keys may be repeated, and how many more keys kept.
        repeatable: &'k mut usize,
    },
    /// The complete table, filled by an earlier walk.
    Table(&'k [Text<'a>]),
}

/// What precedes the structs of one client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHead {
    pub(crate) client: ClientId,
    pub(crate) clock: Clock,
    pub(crate) structs: u64,
}

/// A position in an update.
#[derive(Clone, Copy, Debug)]
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
    pub(crate) fn new(columns: &Columns<'a>) -> Self {
        Cursor {
            key_clock: DiffReader::new(columns.key_clock),
            client: UintReader::new(columns.client),
            left_clock: DiffReader::new(columns.left_clock),
            right_clock: DiffReader::new(columns.right_clock),
            info: ByteReader::new(columns.info),
            text: TextReader::new(columns.text),
            text_lengths: UintReader::new(columns.text_lengths),
            parent_info: ByteReader::new(columns.parent_info),
            type_ref: UintReader::new(columns.type_ref),
            len: UintReader::new(columns.len),
            rest: columns.rest,
            keys: 0,
        }
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
                return Err(UpdateError::refused(info_at, "unknown kind of content"));
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
        let name = if type_ref == XML_ELEMENT || type_ref == XML_HOOK {
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
        let texts = JsonTexts {
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
                Ok(number) => repeated_key(number, &mut context.keys, at),
                Err(_) => {
                    context.refuse(at, "a negative key number");
                    Ok(Text::default())
                }
            };
        }
        let key = self.read_text(context)?;
        self.keys = self.keys.saturating_add(1);
        if let Keys::Record { table, repeatable } = &mut context.keys {
            **repeatable = repeatable
                .checked_sub(1)
                .ok_or(UpdateError::refused(at, REPEATED_KEYS))?;
            table.push(key);
        }
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

const PAST_END: &str = "a column with fewer values than the structs need";
const CLIENT_RANGE: &str = "a client id outside 1 to 2^53-1";
const REPEATED_KEYS: &str = "keys repeated by number too often";
const CLOCK_RANGE: &str = "a clock or length outside 31 bits";

fn repeated_key<'a>(
    number: u32,
    keys: &mut Keys<'_, 'a>,
    at: usize,
) -> Result<Text<'a>, UpdateError> {
    let refused = UpdateError::refused(at, REPEATED_KEYS);
    match keys {
        Keys::Untracked { stopped } => {
            **stopped = true;
            Err(refused)
        }
        Keys::Record { table, repeatable } => {
            let key = *table.get(number as usize).ok_or(refused.clone())?;
            **repeatable = repeatable
                .checked_sub(key.byte_len().saturating_add(1))
                .ok_or(refused)?;
            Ok(key)
        }
        Keys::Table(table) => table.get(number as usize).copied().ok_or(refused),
    }
}

fn check_json(text: &Text<'_>, max_nesting: u32, at: usize) -> Result<(), UpdateError> {
    const NOT_JSON: &str = "a text that is not JSON";
    // Half a character can stand only inside quotes, never at an end.
    let whole = text
        .as_whole_str()
        .ok_or(UpdateError::malformed(at, NOT_JSON))?;
    if whole == "undefined" {
        return Ok(());
    }
    json::check(whole, max_nesting).map_err(|fault| match fault {
        JsonFault::Syntax => UpdateError::malformed(at, NOT_JSON),
        JsonFault::TooDeep => UpdateError::refused(at, "JSON nested too deeply"),
    })
}

pub(crate) fn checked_client(client: u64, at: usize) -> Result<ClientId, UpdateError> {
    if (1..=MAX_CLIENT).contains(&client) {
        Ok(client)
    } else {
        Err(UpdateError::refused(at, CLIENT_RANGE))
    }
}

pub(crate) fn checked_clock(clock: u64, at: usize) -> Result<Clock, UpdateError> {
    match Clock::try_from(clock) {
        Ok(clock) if clock <= MAX_CLOCK => Ok(clock),
        _ => Err(UpdateError::refused(at, CLOCK_RANGE)),
    }
}
