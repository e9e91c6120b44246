//! Writes encoding V1.

use super::{GC, HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN};
use crate::Clock;
use crate::delete_set::DeleteSet;
use crate::growth::spare;
use crate::lib0::{write_var_bytes, write_var_uint};
use crate::structs::{Body, Content, Id, Parent, Struct};
use crate::text::Text;
use crate::value::{Value, ValueFault};

/// The most that comes before the texts and values of a struct: the info byte, two ids, a length.
const HEAD_BYTES: usize = 32;

pub(super) fn write_struct(out: &mut Vec<u8>, next: &Struct<'_>) -> Result<(), ValueFault> {
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

pub(super) fn write_deletes(out: &mut Vec<u8>, deletes: &DeleteSet) {
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
