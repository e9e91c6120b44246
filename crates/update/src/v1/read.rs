//! Reads encoding V1 and checks it; the second time, what was checked is only found again.

use super::{GC, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, KIND, SKIP};
use crate::any::{self, Check};
use crate::cursor::{
    CLOCK_RANGE, Context, Depth, LARGEST_TYPE, PAST_KINDS, check_json_text, is_named_type,
};
use crate::delete_set::{DeleteRanges, DeleteSet};
use crate::error::{Limits, UpdateError};
use crate::growth::push;
use crate::lib0::Reader;
use crate::structs::{Body, Content, Id, Item, JsonTexts, Parent};
use crate::text::Text;
use crate::{ClientId, Clock, MAX_CLOCK};

/// The structs of one client, and where they begin.
pub(super) struct Block {
    pub(super) client: ClientId,
    pub(super) clock: Clock,
    pub(super) structs: u64,
    pub(super) at: usize,
}

/// Checks every struct.
pub(super) fn read_blocks(
    reader: &mut Reader<'_>,
    context: &mut Context<'_, '_>,
    limits: &Limits,
) -> Result<Vec<Block>, UpdateError> {
    let mut blocks = Vec::new();
    let mut structs_left = u64::from(limits.max_structs);
    for _ in 0..reader.read_var_uint()? {
        let start = reader.position();
        let structs = reader.read_var_uint()?;
        if structs == 0 {
            context.refuse(start, "a client without structs");
        }
        structs_left = structs_left
            .checked_sub(structs)
            .ok_or(UpdateError::refused(start, "max_structs"))?;
        let client_at = reader.position();
        let client = context.client(reader.read_var_uint()?, client_at);
        let clock_at = reader.position();
        let mut clock = context.clock(reader.read_var_uint()?, clock_at);
        push(
            &mut blocks,
            Block {
                client,
                clock,
                structs,
                at: reader.position(),
            },
        );
        for _ in 0..structs {
            let next = read_struct(reader, client, clock, context)?;
            clock = next.end(clock);
        }
    }
    Ok(blocks)
}

/// One struct with values as they stand in V1.
pub(super) struct Raw<'a> {
    pub(super) len: Clock,
    pub(super) body: RawBody<'a>,
}

pub(super) enum RawBody<'a> {
    Whole(Body<'a>),
    /// An embed or a format: JSON text in place of its value.
    Json {
        item: Item<'a>,
        json: &'a str,
        at: usize,
    },
}

impl Raw<'_> {
    pub(super) fn end(&self, clock: Clock) -> Clock {
        clock.saturating_add(self.len)
    }
}

pub(super) fn read_struct<'a>(
    reader: &mut Reader<'a>,
    client: ClientId,
    clock: Clock,
    context: &mut Context<'_, '_>,
) -> Result<Raw<'a>, UpdateError> {
    let info_at = reader.position();
    let info = reader.read_u8()?;
    let raw = match info & KIND {
        kind @ (GC | SKIP) => {
            if kind == SKIP && info != SKIP {
                context.refuse(info_at, "a gap with item flags");
            }
            let body = if kind == GC { Body::Gc } else { Body::Skip };
            Raw {
                len: read_len(reader, context)?,
                body: RawBody::Whole(body),
            }
        }
        kind if kind > SKIP => return Err(UpdateError::refused(info_at, PAST_KINDS)),
        kind => read_item(reader, Id { client, clock }, info, kind, context)?,
    };
    if raw.len > MAX_CLOCK.saturating_sub(clock) {
        context.refuse(reader.position(), CLOCK_RANGE);
    }
    Ok(raw)
}

fn read_item<'a>(
    reader: &mut Reader<'a>,
    own: Id,
    info: u8,
    kind: u8,
    context: &mut Context<'_, '_>,
) -> Result<Raw<'a>, UpdateError> {
    let mut read_id = |reader: &mut Reader<'a>| -> Result<Id, UpdateError> {
        let client_at = reader.position();
        let client = context.client(reader.read_var_uint()?, client_at);
        let at = reader.position();
        // Anything above is refused by its range.
        let clock = i64::try_from(reader.read_var_uint()?).unwrap_or(i64::MAX);
        Ok(context.id(client, clock, own, at))
    };
    let mut item = Item {
        origin: None,
        right_origin: None,
        parent: None,
        parent_sub: None,
        content: Content::Deleted,
    };
    if info & HAS_ORIGIN != 0 {
        item.origin = Some(read_id(reader)?);
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        item.right_origin = Some(read_id(reader)?);
    }
    if item.origin.is_none() && item.right_origin.is_none() {
        item.parent = Some(if reader.read_var_uint()? == 1 {
            Parent::Root(read_text(reader)?)
        } else {
            Parent::Item(read_id(reader)?)
        });
        if info & HAS_PARENT_SUB != 0 {
            item.parent_sub = Some(read_text(reader)?);
        }
    }
    read_content(reader, item, kind, context)
}

fn read_content<'a>(
    reader: &mut Reader<'a>,
    item: Item<'a>,
    kind: u8,
    context: &mut Context<'_, '_>,
) -> Result<Raw<'a>, UpdateError> {
    let mut len = 1;
    let content = match kind {
        1 => {
            len = read_len(reader, context)?;
            Content::Deleted
        }
        2 => {
            len = read_len(reader, context)?;
            Content::Json(read_json_texts(reader, len, context)?)
        }
        3 => Content::Binary(reader.read_var_bytes()?),
        4 => {
            let at = reader.position();
            let text = read_text(reader)?;
            len = context.len(u64::from(text.units()), at);
            Content::String(text)
        }
        5 => return read_json_value(reader, item, context),
        6 => {
            let key = read_text(reader)?;
            let item = Item {
                content: Content::Format { key, value: &[] },
                ..item
            };
            return read_json_value(reader, item, context);
        }
        7 => {
            let at = reader.position();
            let type_ref = reader.read_var_uint()?;
            if type_ref > LARGEST_TYPE {
                return Err(UpdateError::refused(at, "unknown kind of type"));
            }
            let name = if is_named_type(type_ref) {
                Some(read_text(reader)?)
            } else {
                None
            };
            Content::Type { type_ref, name }
        }
        8 => {
            len = read_len(reader, context)?;
            Content::Any(read_values(reader, len, context)?)
        }
        // The caller leaves nothing else than 9, a subdocument.
        _ => {
            let guid = read_text(reader)?;
            let at = reader.position();
            let options = read_values(reader, 1, context)?;
            if matches!(options, [126 | 127]) {
                return Err(UpdateError::malformed(at, "a document without options"));
            }
            Content::Document { guid, options }
        }
    };
    Ok(Raw {
        len,
        body: RawBody::Whole(Body::Item(Item { content, ..item })),
    })
}

/// An embed, or the value of a format.
fn read_json_value<'a>(
    reader: &mut Reader<'a>,
    item: Item<'a>,
    context: &mut Context<'_, '_>,
) -> Result<Raw<'a>, UpdateError> {
    let at = reader.position();
    let json = read_str(reader)?;
    if let Depth::Full { max_nesting } = context.depth {
        // Unlike the texts of arrays, these have no word for `undefined`.
        if json == "undefined" {
            return Err(UpdateError::malformed(at, "a text that is not JSON"));
        }
        check_json_text(json, max_nesting, at)?;
    }
    Ok(Raw {
        len: 1,
        body: RawBody::Json { item, json, at },
    })
}

fn read_json_texts<'a>(
    reader: &mut Reader<'a>,
    len: Clock,
    context: &Context<'_, '_>,
) -> Result<JsonTexts<'a>, UpdateError> {
    let texts = JsonTexts::Strings(*reader);
    for _ in 0..len {
        let at = reader.position();
        let text = read_str(reader)?;
        if let Depth::Full { max_nesting } = context.depth {
            check_json_text(text, max_nesting, at)?;
        }
    }
    Ok(texts)
}

fn read_values<'a>(
    reader: &mut Reader<'a>,
    count: Clock,
    context: &Context<'_, '_>,
) -> Result<&'a [u8], UpdateError> {
    let check = match context.depth {
        Depth::Full { max_nesting } => Check::All(max_nesting),
        Depth::Checked => Check::Lengths,
    };
    let start = reader.position();
    for _ in 0..count {
        any::skip(reader, check)?;
    }
    Ok(reader.since(start))
}

fn read_len(reader: &mut Reader<'_>, context: &mut Context<'_, '_>) -> Result<Clock, UpdateError> {
    let at = reader.position();
    Ok(context.len(reader.read_var_uint()?, at))
}

fn read_str<'a>(reader: &mut Reader<'a>) -> Result<&'a str, UpdateError> {
    let at = reader.position();
    std::str::from_utf8(reader.read_var_bytes()?)
        .map_err(|_| UpdateError::malformed(at, "a string that is not UTF-8"))
}

fn read_text<'a>(reader: &mut Reader<'a>) -> Result<Text<'a>, UpdateError> {
    read_str(reader).map(Text::whole)
}

/// V1 counts the clocks of deletes from zero each.
pub(super) fn read_deletes(
    reader: &mut Reader<'_>,
    context: &mut Context<'_, '_>,
) -> Result<DeleteSet, UpdateError> {
    let mut ranges = DeleteRanges::default();
    let mut clients = Vec::new();
    for _ in 0..reader.read_var_uint()? {
        let at = reader.position();
        let client = context.client(reader.read_var_uint()?, at);
        push(&mut clients, client);
        for _ in 0..reader.read_var_uint()? {
            let at = reader.position();
            let start = reader.read_var_uint()?;
            let len = reader.read_var_uint()?;
            let end = context.clock(start.saturating_add(len), at);
            ranges.add(client, context.clock(start, at)..end);
        }
    }
    clients.sort_unstable();
    if clients
        .windows(2)
        .any(|pair| matches!(pair, [left, right] if left == right))
    {
        context.refuse(reader.position(), "a client that comes twice");
    }
    Ok(ranges.finish())
}
