//! Encoding V1, for interchange: every value where it belongs, no columns.
//!
//! V1 writes embeds and the values of formats as JSON text where V2 has lib0's `any`; all other
//! content has the same bytes in both. Conversion is one pass over the structs.

mod read;
mod write;

use std::cmp::Reverse;

use crate::cursor::{Context, Depth, Keys};
use crate::encoder::Encoder;
use crate::error::{Limits, UpdateError};
use crate::growth::{insert, spare};
use crate::lib0::{Reader, write_var_uint};
use crate::structs::{Body, Content, Item, Struct};
use crate::update::Update;
use crate::value::{Value, ValueFault};
use crate::{ClientId, Clock};

use read::{RawBody, read_blocks, read_deletes, read_struct};
use write::{write_deletes, write_struct};

const KIND: u8 = 0b0001_1111;
const HAS_PARENT_SUB: u8 = 0b0010_0000;
const HAS_RIGHT_ORIGIN: u8 = 0b0100_0000;
const HAS_ORIGIN: u8 = 0b1000_0000;
const GC: u8 = 0;
const SKIP: u8 = 10;

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
    let mut neighbours = blocks.iter().zip(blocks.iter().skip(1));
    if let Some((left, right)) = neighbours.find(|(left, right)| left.client == right.client) {
        return Err(UpdateError::refused(
            left.at.max(right.at),
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

fn value_error(fault: ValueFault, at: usize) -> UpdateError {
    match fault {
        ValueFault::Malformed => UpdateError::malformed(at, "a value that cannot be read"),
        ValueFault::TooDeep => UpdateError::refused(at, "values nested too deeply"),
        ValueFault::NotJson => UpdateError::refused(at, "a value that JSON does not have"),
    }
}
