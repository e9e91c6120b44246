//! One event as bytes: `data: ` with exactly one space, JSON on one line, a blank line.

use serde::Serialize;
use serde_json::Value;

/// The value of a member.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Text(&'a str),
    Number(u64),
    Json(&'a Value),
}

pub(super) fn write_event(
    kind: &str,
    timestamp: u64,
    model: &str,
    fields: &[(&str, Field<'_>)],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"data: {");
    let head = [
        ("type", Field::Text(kind)),
        ("timestamp", Field::Number(timestamp)),
        ("model", Field::Text(model)),
    ];
    for (index, (name, value)) in head.iter().chain(fields).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(name, out);
        out.push(b':');
        match value {
            Field::Text(text) => write_json(text, out),
            Field::Number(number) => write_json(number, out),
            Field::Json(value) => write_json(value, out),
        }
    }
    out.extend_from_slice(b"}\n\n");
}

fn write_json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    serde_json::to_writer(out, value)
        .expect("texts, numbers and JSON values are written to memory");
}
