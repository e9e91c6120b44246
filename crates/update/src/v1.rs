//! Encoding V1, for interchange: every value where it belongs, no columns.
//!
//! V1 writes embeds and the values of formats as JSON text where V2 has lib0's `any`; all other
//! content has the same bytes in both. Conversion is one pass over the structs.

use std::cmp::Reverse;

use crate::any::{self, Check};
use crate::cursor::{
    CLOCK_RANGE, Context, Depth, Keys, LARGEST_TYPE, PAST_KINDS, check_json_text, is_named_type,
};
use crate::delete_set::{DeleteRanges, DeleteSet};
use crate::encoder::Encoder;
use crate::error::{Limits, UpdateError};
use crate::growth::{insert, spare};
use crate::lib0::{Reader, write_var_bytes, write_var_uint};
use crate::structs::{Body, Content, Id, Item, JsonTexts, Parent, Struct};
use crate::text::Text;
use crate::update::Update;
use crate::value::{Value, ValueFault};
use crate::{ClientId, Clock, MAX_CLOCK};

const KIND: u8 = 0b0001_1111;
const HAS_PARENT_SUB: u8 = 0b0010_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_ORIGIN: u8 = 0b1000_0000;
const GC: u8 = 0;
const SKIP: u8 = 10;

/// The most that comes before the texts and values of a struct: the info byte, two ids, a length.
const HEAD_BYTES: usize = 32;

/// The same update in encoding V2.
///
/// # Errors
/// What [`Update::parse`] refuses in V2 is refused in V1; offsets are those of `bytes`.
pub fn to_v2(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, UpdateError> {
    let mut reader = Reader::new(bytes);
    let mut context = Context {
        depth: Depth::Full {
            max_nesting: limits.max_nesting,
        },
        keys: Keys::Table(&[]),
        refusal: None,
    };
    let mut blocks = read_blocks(&mut reader, &mut context, limits)?;
    let deletes = read_deletes(&mut reader, &mut context)?;
    if let Some(refusal) = context.refusal {
        return Err(refusal);
    }
    if !reader.is_at_end() {
        return Err(UpdateError::refused(
            reader.position(),
            "bytes after the update",
        ));
    }
    blocks.sort_unstable_by_key(|block| Reverse(block.client));
    let is_unique = blocks
        .iter()
        .zip(blocks.iter().skip(1))
        .all(|(left, right)| left.client != right.client);
    if !is_unique {
        return Err(UpdateError::refused(
            bytes.len(),
            "a client that comes twice",
        ));
    }
    let mut encoder = Encoder::default();
    let mut context = Context {
        depth: Depth::Checked,
        keys: Keys::Table(&[]),
        refusal: None,
    };
    for block in &blocks {
        let mut reader = Reader::at(bytes, block.at);
        let mut clock = block.clock;
        for _ in 0..block.structs {
            clock = push(&mut encoder, &mut reader, block.client, clock, &mut context)?;
        }
    }
    Ok(encoder.finish(&deletes))
}

/// The same update in encoding V1.
///
/// # Errors
/// [`UpdateError::Refused`] for an embed or a format whose value JSON does not have: a BigInt, or
/// `undefined`. Yjs throws on those. The offset is that of the value in the update.
pub fn to_v1(update: &Update<'_>) -> Result<Vec<u8>, UpdateError> {
    let mut out = Vec::with_capacity(update.as_bytes().len());
    let blocks = update.blocks().iter().filter(|block| !block.is_empty());
    write_var_uint(&mut out, blocks.clone().count() as u64);
    let mut walk = update.walk();
    for block in blocks {
        let start = out.len();
        let mut count: u64 = 0;
        let mut clock = block.first;
        walk.enter(block);
        loop {
            let at = walk.position();
            let Some(next) = walk.next() else {
                break;
            };
            if next.is_skip() {
                continue;
            }
            if next.clock > clock {
                spare(&mut out, 6).push(SKIP);
                write_var_uint(&mut out, u64::from(next.clock.saturating_sub(clock)));
                count = count.saturating_add(1);
            }
            write_struct(&mut out, &next).map_err(|fault| value_error(fault, at))?;
            clock = next.end();
            count = count.saturating_add(1);
        }
        let mut head = Vec::with_capacity(23);
        write_var_uint(&mut head, count);
        write_var_uint(&mut head, block.client);
        write_var_uint(&mut head, u64::from(block.first));
        insert(&mut out, start, &head);
    }
    write_deletes(&mut out, &update.delete_set());
    Ok(out)
}

/// The structs of one client, and where they begin.
struct Block {
    client: ClientId,
    clock: Clock,
    structs: u64,
    at: usize,
}

/// Checks every struct.
fn read_blocks(
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
        blocks.push(Block {
            client,
            clock,
            structs,
            at: reader.position(),
        });
        for _ in 0..structs {
            let next = read_struct(reader, client, clock, context)?;
            clock = next.end(clock);
        }
    }
    Ok(blocks)
}

/// One struct with values as they stand in V1.
struct Raw<'a> {
    len: Clock,
    body: RawBody<'a>,
}

enum RawBody<'a> {
    Whole(Body<'a>),
    /// An embed or a format: JSON text in place of its value.
    Json {
        item: Item<'a>,
        json: &'a str,
        at: usize,
    },
}

impl Raw<'_> {
    fn end(&self, clock: Clock) -> Clock {
        clock.saturating_add(self.len)
    }
}

/// Reads the next struct of a checked update and writes it; gives the clock behind it.
fn push(
    encoder: &mut Encoder,
    reader: &mut Reader<'_>,
    client: ClientId,
    clock: Clock,
    context: &mut Context<'_, '_>,
) -> Result<Clock, UpdateError> {
    let raw = read_struct(reader, client, clock, context)?;
    let len = raw.len;
    let end = raw.end(clock);
    match raw.body {
        RawBody::Whole(body) => encoder.push(&Struct {
            client,
            clock,
            len,
            body,
        }),
        RawBody::Json { item, json, at } => {
            let mut any = Vec::new();
            let value = Value::of_json(json).map_err(|fault| value_error(fault, at))?;
            value.write_any(&mut any);
            let content = match item.content {
                Content::Format { key, .. } => Content::Format { key, value: &any },
                _ => Content::Embed(&any),
            };
            encoder.push(&Struct {
                client,
                clock,
                len,
                body: Body::Item(Item { content, ..item }),
            });
        }
    }
    Ok(end)
}

fn read_struct<'a>(
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
fn read_deletes(
    reader: &mut Reader<'_>,
    context: &mut Context<'_, '_>,
) -> Result<DeleteSet, UpdateError> {
    let mut ranges = DeleteRanges::default();
    let mut clients = Vec::new();
    for _ in 0..reader.read_var_uint()? {
        let at = reader.position();
        let client = context.client(reader.read_var_uint()?, at);
        clients.push(client);
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

fn write_struct(out: &mut Vec<u8>, next: &Struct<'_>) -> Result<(), ValueFault> {
    let out = spare(out, HEAD_BYTES);
    let item = match &next.body {
        Body::Gc => {
            out.push(GC);
            write_var_uint(out, u64::from(next.len));
            return Ok(());
        }
        Body::Skip => return Ok(()),
        Body::Item(item) => item,
    };
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(
        item.content.kind()
            | flag(item.origin.is_some(), HAS_ORIGIN)
            | flag(item.right_origin.is_some(), HAS_RIGHT_ORIGIN)
            | flag(item.parent_sub.is_some(), HAS_PARENT_SUB),
    );
    for id in [item.origin, item.right_origin].into_iter().flatten() {
        write_id(out, id);
    }
    match &item.parent {
        Some(Parent::Root(name)) => {
            write_var_uint(out, 1);
            write_text(out, name);
        }
        Some(Parent::Item(id)) => {
            write_var_uint(out, 0);
            write_id(out, *id);
        }
        None => {}
    }
    if let Some(key) = &item.parent_sub {
        write_text(out, key);
    }
    write_content(out, &item.content, next.len)
}

fn write_content(out: &mut Vec<u8>, content: &Content<'_>, len: Clock) -> Result<(), ValueFault> {
    let out = spare(out, 16);
    match content {
        Content::Deleted => write_var_uint(out, u64::from(len)),
        Content::Json(texts) => {
            write_var_uint(out, u64::from(len));
            let mut texts = *texts;
            for _ in 0..len {
                write_text(out, &texts.next().unwrap_or_default());
            }
        }
        Content::Binary(bytes) => write_bytes(out, bytes),
        Content::String(text) => write_text(out, text),
        Content::Embed(value) => write_json(out, value)?,
        Content::Format { key, value } => {
            write_text(out, key);
            write_json(out, value)?;
        }
        Content::Type { type_ref, name } => {
            write_var_uint(out, *type_ref);
            if let Some(name) = name {
                write_text(out, name);
            }
        }
        Content::Any(values) => {
            write_var_uint(out, u64::from(len));
            spare(out, values.len()).extend_from_slice(values);
        }
        Content::Document { guid, options } => {
            write_text(out, guid);
            spare(out, options.len()).extend_from_slice(options);
        }
    }
    Ok(())
}

fn write_json(out: &mut Vec<u8>, value: &[u8]) -> Result<(), ValueFault> {
    let mut json = Vec::new();
    Value::of_any(value)?.write_json(&mut json)?;
    write_bytes(out, &json);
    Ok(())
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_var_bytes(spare(out, bytes.len().saturating_add(9)), bytes);
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(spare(out, 13), id.client);
    write_var_uint(out, u64::from(id.clock));
}

/// Halves of characters become U+FFFD: strings of V1 share no characters.
fn write_text(out: &mut Vec<u8>, text: &Text<'_>) {
    match text.as_whole_str() {
        Some(whole) => write_bytes(out, whole.as_bytes()),
        None => {
            let mended: String = char::decode_utf16(text.iter())
                .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            write_bytes(out, mended.as_bytes());
        }
    }
}

fn write_deletes(out: &mut Vec<u8>, deletes: &DeleteSet) {
    let clients: Vec<_> = deletes.iter().collect();
    write_var_uint(out, clients.len() as u64);
    for (client, ranges) in clients.into_iter().rev() {
        write_var_uint(spare(out, 20), client);
        write_var_uint(out, ranges.len() as u64);
        for range in ranges {
            write_var_uint(spare(out, 10), u64::from(range.start));
            write_var_uint(out, u64::from(range.end.saturating_sub(range.start)));
        }
    }
}

fn value_error(fault: ValueFault, at: usize) -> UpdateError {
    match fault {
        ValueFault::Malformed => UpdateError::malformed(at, "a value that cannot be read"),
        ValueFault::TooDeep => UpdateError::refused(at, "values nested too deeply"),
        ValueFault::NotJson => UpdateError::refused(at, "a value that JSON does not have"),
    }
}
