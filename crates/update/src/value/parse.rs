//! JSON text to a value, as `JSON.parse` reads it.

use std::borrow::Cow;

use super::{Members, Value, ValueFault};
use crate::any::MAX_NESTING;
use crate::json::{self, JsonFault};

/// Reads one value; the text is checked as a whole first, so that reading never meets bad syntax.
pub(super) fn parse(text: &str) -> Result<Value<'_>, ValueFault> {
    json::check(text, MAX_NESTING).map_err(|fault| match fault {
        JsonFault::Syntax => ValueFault::Malformed,
        JsonFault::TooDeep => ValueFault::TooDeep,
    })?;
    let mut rest = Rest(text);
    let mut open: Vec<Container<'_>> = Vec::new();
    loop {
        let mut finished = match rest.first().ok_or(ValueFault::Malformed)? {
            b'[' => {
                rest.skip(1);
                open.push(Container::Array(Vec::new()));
                if rest.first() != Some(b']') {
                    continue;
                }
                rest.skip(1);
                close(&mut open)?
            }
            b'{' => {
                rest.skip(1);
                if rest.first() == Some(b'}') {
                    rest.skip(1);
                    Value::Object(Members::default())
                } else {
                    let name = rest.name()?;
                    open.push(Container::Object(name, Vec::new()));
                    continue;
                }
            }
            _ => rest.scalar()?,
        };
        loop {
            let Some(container) = open.last_mut() else {
                return Ok(finished);
            };
            container.add(finished);
            let byte = rest.first().ok_or(ValueFault::Malformed)?;
            rest.skip(1);
            if byte == b',' {
                if let Some(Container::Object(name, _)) = open.last_mut() {
                    *name = rest.name()?;
                }
                break;
            }
            finished = close(&mut open)?;
        }
    }
}

enum Container<'a> {
    Array(Vec<Value<'a>>),
    Object(Cow<'a, str>, Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Container<'a> {
    fn add(&mut self, value: Value<'a>) {
        match self {
            Container::Array(values) => values.push(value),
            Container::Object(name, members) => members.push((std::mem::take(name), value)),
        }
    }
}

fn close<'a>(open: &mut Vec<Container<'a>>) -> Result<Value<'a>, ValueFault> {
    match open.pop() {
        Some(Container::Array(values)) => Ok(Value::Array(values)),
        Some(Container::Object(_, members)) => Ok(Value::Object(Members::ordered(members))),
        None => Err(ValueFault::Malformed),
    }
}

/// What is left of the text.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The first byte that is no space.
    fn first(&mut self) -> Option<u8> {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
        self.0.bytes().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    /// A name and the colon behind it.
    fn name(&mut self) -> Result<Cow<'a, str>, ValueFault> {
        self.first();
        let name = self.string()?;
        if self.first() != Some(b':') {
            return Err(ValueFault::Malformed);
        }
        self.skip(1);
        Ok(name)
    }

    fn scalar(&mut self) -> Result<Value<'a>, ValueFault> {
        if self.0.starts_with('"') {
            return self.string().map(Value::String);
        }
        let end = self
            .0
            .find([' ', '\t', '\n', '\r', ',', ']', '}'])
            .unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        Ok(match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            // Rounds to nearest, as JavaScript does; what is too large becomes infinite.
            number => Value::Number(number.parse().map_err(|_| ValueFault::Malformed)?),
        })
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ValueFault> {
        let inside = self.0.strip_prefix('"').ok_or(ValueFault::Malformed)?;
        let end = inside.find(['"', '\\']).ok_or(ValueFault::Malformed)?;
        let (plain, rest) = inside.split_at_checked(end).ok_or(ValueFault::Malformed)?;
        if let Some(rest) = rest.strip_prefix('"') {
            self.0 = rest;
            return Ok(Cow::Borrowed(plain));
        }
        self.0 = inside;
        self.escaped_string().map(Cow::Owned)
    }

    /// A string with escapes. Halves of characters that stand alone become U+FFFD: no update can hold
    /// them.
    fn escaped_string(&mut self) -> Result<String, ValueFault> {
        let mut out = String::new();
        let mut high: Option<u16> = None;
        loop {
            let end = self.0.find(['"', '\\']).ok_or(ValueFault::Malformed)?;
            let (plain, rest) = self.0.split_at_checked(end).ok_or(ValueFault::Malformed)?;
            if !plain.is_empty() {
                push_alone(&mut out, &mut high);
                out.push_str(plain);
            }
            if let Some(rest) = rest.strip_prefix('"') {
                push_alone(&mut out, &mut high);
                self.0 = rest;
                return Ok(out);
            }
            let kind = rest
                .as_bytes()
                .get(1)
                .copied()
                .ok_or(ValueFault::Malformed)?;
            self.0 = rest.get(2..).ok_or(ValueFault::Malformed)?;
            let unit = match kind {
                b'b' => 8,
                b't' => 9,
                b'n' => 10,
                b'f' => 12,
                b'r' => 13,
                b'u' => {
                    let digits = self.0.get(..4).ok_or(ValueFault::Malformed)?;
                    let unit =
                        u16::from_str_radix(digits, 16).map_err(|_| ValueFault::Malformed)?;
                    self.skip(4);
                    unit
                }
                other => u16::from(other),
            };
            push_unit(&mut out, &mut high, unit);
        }
    }
}

fn push_unit(out: &mut String, high: &mut Option<u16>, unit: u16) {
    if (0xd800..0xdc00).contains(&unit) {
        push_alone(out, high);
        *high = Some(unit);
        return;
    }
    for character in char::decode_utf16(high.take().into_iter().chain([unit])) {
        out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

fn push_alone(out: &mut String, high: &mut Option<u16>) {
    if high.take().is_some() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
}
