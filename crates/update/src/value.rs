//! Values that the two encodings write differently: JSON text in V1, lib0's `any` in V2.
//!
//! Both ways go through a tree, because objects are written in the order in which a JavaScript engine
//! keeps their members. Trees are built and written with an explicit stack.

mod number;
mod parse;

use std::borrow::Cow;

use crate::any::MAX_NESTING;
use crate::lib0::{ReadError, Reader, write_var_bytes, write_var_int, write_var_uint};

/// Why a value has no form in the other encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueFault {
    /// It cannot be read at all.
    Malformed,
    /// More levels than are walked.
    TooDeep,
    /// A BigInt, or `undefined` on its own: JSON has neither, and Yjs throws.
    NotJson,
}

impl From<ReadError> for ValueFault {
    fn from(_: ReadError) -> Self {
        ValueFault::Malformed
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    BigInt(&'a [u8]),
    String(Cow<'a, str>),
    Bytes(&'a [u8]),
    Array(Vec<Value<'a>>),
    Object(Members<'a>),
}

/// A name and what it stands for.
type Member<'a> = (Cow<'a, str>, Value<'a>);

/// The members of an object in the order of a JavaScript engine: array indices first, ascending,
/// then the others as they came; a name that comes again keeps its place and takes the new value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Members<'a>(Vec<Member<'a>>);

impl<'a> Members<'a> {
    /// Orders members that came in this order. Names are compared once sorted, so that an object of
    /// many members costs no square.
    fn ordered(members: Vec<Member<'a>>) -> Self {
        let mut keyed: Vec<_> = members.into_iter().enumerate().collect();
        keyed.sort_by(|(left_at, (left, _)), (right_at, (right, _))| {
            left.cmp(right).then(left_at.cmp(right_at))
        });
        let mut unique: Vec<(usize, Member<'a>)> = Vec::with_capacity(keyed.len());
        for (at, (name, value)) in keyed {
            match unique.last_mut() {
                Some((_, (last, known))) if *last == name => *known = value,
                _ => unique.push((at, (name, value))),
            }
        }
        unique.sort_by_key(|(at, (name, _))| match array_index(name) {
            Some(index) => (0, u64::from(index), 0),
            None => (1, 0, *at),
        });
        Members(unique.into_iter().map(|(_, member)| member).collect())
    }
}

/// A name that is an array index (ECMA-262, 6.1.7): a number below 2^32 - 1 in its shortest form.
fn array_index(name: &str) -> Option<u32> {
    let is_canonical = name == "0"
        || name
            .bytes()
            .next()
            .is_some_and(|first| first != b'0' && first != b'+');
    let index = is_canonical.then(|| name.parse::<u32>().ok()).flatten()?;
    (index != u32::MAX).then_some(index)
}

/// A container whose values are still being read.
#[derive(Debug)]
enum Open<'a> {
    Array {
        left: u64,
        values: Vec<Value<'a>>,
    },
    Object {
        left: u64,
        name: Cow<'a, str>,
        members: Vec<Member<'a>>,
    },
}

impl<'a> Value<'a> {
    /// Reads JSON text as `JSON.parse` does.
    pub(crate) fn of_json(text: &'a str) -> Result<Self, ValueFault> {
        parse::parse(text)
    }

    /// Reads one value in lib0's encoding.
    pub(crate) fn of_any(bytes: &'a [u8]) -> Result<Self, ValueFault> {
        let mut reader = Reader::new(bytes);
        let mut open: Vec<Open<'a>> = Vec::new();
        loop {
            let mut finished = match read_any(&mut reader)? {
                AnyStep::Value(value) => value,
                AnyStep::Open(container) => {
                    if open.len() >= MAX_NESTING as usize {
                        return Err(ValueFault::TooDeep);
                    }
                    open.push(container);
                    match close_empty(&mut open) {
                        Some(value) => value,
                        None => {
                            begin_next(&mut open, &mut reader)?;
                            continue;
                        }
                    }
                }
            };
            loop {
                let Some(container) = open.last_mut() else {
                    return Ok(finished);
                };
                container.add(finished);
                match close_empty(&mut open) {
                    Some(value) => finished = value,
                    None => break,
                }
            }
            begin_next(&mut open, &mut reader)?;
        }
    }

    /// Appends lib0's encoding, the bytes that Yjs writes for the value.
    pub(crate) fn write_any(&self, out: &mut Vec<u8>) {
        let mut work = vec![self];
        // Names stand before their values, so the values of an object are pushed one at a time.
        let mut objects: Vec<(usize, std::slice::Iter<'_, Member<'a>>)> = Vec::new();
        loop {
            while let Some((depth, members)) = objects.last_mut() {
                if work.len() > *depth {
                    break;
                }
                match members.next() {
                    Some((name, value)) => {
                        write_var_bytes(out, name.as_bytes());
                        work.push(value);
                    }
                    None => {
                        objects.pop();
                    }
                }
            }
            let Some(value) = work.pop() else {
                return;
            };
            match value {
                Value::Undefined => out.push(127),
                Value::Null => out.push(126),
                Value::Bool(true) => out.push(120),
                Value::Bool(false) => out.push(121),
                Value::Number(number) => write_number(out, *number),
                Value::BigInt(bytes) => {
                    out.push(122);
                    out.extend_from_slice(bytes);
                }
                Value::String(text) => {
                    out.push(119);
                    write_var_bytes(out, text.as_bytes());
                }
                Value::Bytes(bytes) => {
                    out.push(116);
                    write_var_bytes(out, bytes);
                }
                Value::Array(values) => {
                    out.push(117);
                    write_var_uint(out, values.len() as u64);
                    work.extend(values.iter().rev());
                }
                Value::Object(Members(members)) => {
                    out.push(118);
                    write_var_uint(out, members.len() as u64);
                    objects.push((work.len(), members.iter()));
                }
            }
        }
    }

    /// Appends the text of `JSON.stringify`.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) -> Result<(), ValueFault> {
        enum Task<'v, 'a> {
            Value(&'v Value<'a>),
            Name(&'v str, bool),
            Text(&'static str),
        }
        if matches!(self, Value::Undefined) {
            return Err(ValueFault::NotJson);
        }
        let mut work = vec![Task::Value(self)];
        while let Some(task) = work.pop() {
            match task {
                Task::Text(text) => out.extend_from_slice(text.as_bytes()),
                Task::Name(name, is_first) => {
                    if !is_first {
                        out.push(b',');
                    }
                    write_json_string(out, name);
                    out.push(b':');
                }
                Task::Value(value) => match value {
                    Value::BigInt(_) => return Err(ValueFault::NotJson),
                    Value::Undefined | Value::Null => out.extend_from_slice(b"null"),
                    Value::Bool(value) => {
                        out.extend_from_slice(if *value { b"true" } else { b"false" })
                    }
                    Value::Number(value) => number::write(out, *value),
                    Value::String(text) => write_json_string(out, text),
                    Value::Bytes(bytes) => write_json_bytes(out, bytes),
                    Value::Array(values) => {
                        out.push(b'[');
                        work.push(Task::Text("]"));
                        for (index, value) in values.iter().enumerate().rev() {
                            work.push(Task::Value(value));
                            if index > 0 {
                                work.push(Task::Text(","));
                            }
                        }
                    }
                    Value::Object(Members(members)) => {
                        out.push(b'{');
                        work.push(Task::Text("}"));
                        let shown: Vec<_> = members
                            .iter()
                            .filter(|(_, value)| !matches!(value, Value::Undefined))
                            .collect();
                        for (index, (name, value)) in shown.into_iter().enumerate().rev() {
                            work.push(Task::Value(value));
                            work.push(Task::Name(name, index == 0));
                        }
                    }
                },
            }
        }
        Ok(())
    }
}

impl<'a> Open<'a> {
    fn add(&mut self, value: Value<'a>) {
        match self {
            Open::Array { left, values } => {
                *left = left.saturating_sub(1);
                values.push(value);
            }
            Open::Object {
                left,
                name,
                members,
            } => {
                *left = left.saturating_sub(1);
                members.push((std::mem::take(name), value));
            }
        }
    }
}

/// Takes the innermost container when it has all its values.
fn close_empty<'a>(open: &mut Vec<Open<'a>>) -> Option<Value<'a>> {
    match open.last() {
        Some(Open::Array { left: 0, .. } | Open::Object { left: 0, .. }) => {}
        _ => return None,
    }
    open.pop().map(|container| match container {
        Open::Array { values, .. } => Value::Array(values),
        Open::Object { members, .. } => Value::Object(Members::ordered(members)),
    })
}

/// Reads the name of the next member, if the innermost container is an object.
fn begin_next<'a>(open: &mut [Open<'a>], reader: &mut Reader<'a>) -> Result<(), ValueFault> {
    if let Some(Open::Object { name, .. }) = open.last_mut() {
        *name = Cow::Borrowed(read_str(reader)?);
    }
    Ok(())
}

enum AnyStep<'a> {
    Value(Value<'a>),
    Open(Open<'a>),
}

fn read_any<'a>(reader: &mut Reader<'a>) -> Result<AnyStep<'a>, ValueFault> {
    Ok(AnyStep::Value(match reader.read_u8()? {
        127 => Value::Undefined,
        126 => Value::Null,
        120 => Value::Bool(true),
        121 => Value::Bool(false),
        125 => {
            let (magnitude, is_negative) = reader.read_var_int()?;
            // At most 2^53 - 1, so exact.
            let number = magnitude as f64;
            Value::Number(if is_negative { -number } else { number })
        }
        124 => {
            let bytes = reader.read_bytes(4)?;
            let bytes = <[u8; 4]>::try_from(bytes).map_err(|_| ValueFault::Malformed)?;
            Value::Number(f64::from(f32::from_be_bytes(bytes)))
        }
        123 => {
            let bytes = reader.read_bytes(8)?;
            let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| ValueFault::Malformed)?;
            Value::Number(f64::from_be_bytes(bytes))
        }
        122 => Value::BigInt(reader.read_bytes(8)?),
        119 => Value::String(Cow::Borrowed(read_str(reader)?)),
        118 => {
            return Ok(AnyStep::Open(Open::Object {
                left: reader.read_var_uint()?,
                name: Cow::Borrowed(""),
                members: Vec::new(),
            }));
        }
        117 => {
            return Ok(AnyStep::Open(Open::Array {
                left: reader.read_var_uint()?,
                values: Vec::new(),
            }));
        }
        116 => Value::Bytes(reader.read_var_bytes()?),
        _ => return Err(ValueFault::Malformed),
    }))
}

fn read_str<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ValueFault> {
    std::str::from_utf8(reader.read_var_bytes()?).map_err(|_| ValueFault::Malformed)
}

/// A number as lib0 writes it: a small integer, or the shortest float that is exact.
fn write_number(out: &mut Vec<u8>, number: f64) {
    const MAX_SMALL: f64 = 0x7fff_ffff_u32 as f64;
    let single = number as f32;
    if number.fract() == 0.0 && number.abs() <= MAX_SMALL {
        out.push(125);
        write_var_int(out, number.abs() as u64, number.is_sign_negative());
    } else if f64::from(single) == number {
        out.push(124);
        out.extend_from_slice(&single.to_be_bytes());
    } else {
        out.push(123);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// `JSON.stringify` of a string (ECMA-262, 25.5.2.3).
fn write_json_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        let escaped = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0..=31 => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.extend([digit(byte >> 4), digit(byte & 15)]);
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend([b'\\', escaped]);
    }
    out.push(b'"');
}

/// A byte array is an object with indices as names to `JSON.stringify`.
fn write_json_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'{');
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{index}\":{byte}").as_bytes());
    }
    out.push(b'}');
}
