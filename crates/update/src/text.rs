//! Strings as the string column keeps them: UTF-8 bytes, lengths counted in UTF-16 units.
//!
//! A length may end inside a surrogate pair, so that two neighbouring strings share one character.
//! Such halves are kept as units beside the text. Written next to each other again they become the
//! character they were; a half that ends up alone becomes U+FFFD, as in a JavaScript engine that
//! turns a string into UTF-8. Either way the length in units stays what it was.

use std::cmp::Ordering;

use crate::column::UintWriter;
use crate::growth::spare;

/// The unit written for a half that was cut off.
const REPLACEMENT: u16 = 0xfffd;

/// A span of the string column.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text<'a> {
    /// The low half of a character whose high half is not part of this text, or zero.
    lead: u16,
    text: &'a str,
    /// The high half of a character whose low half is not part of this text, or zero.
    trail: u16,
    units: u32,
}

impl<'a> Text<'a> {
    /// A text of its own.
    pub(crate) fn whole(text: &'a str) -> Self {
        let units = if text.is_ascii() {
            text.len()
        } else {
            text.encode_utf16().count()
        };
        Text {
            lead: 0,
            text,
            trail: 0,
            units: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// The text without its halves, if it has none.
    pub(crate) fn as_whole_str(&self) -> Option<&'a str> {
        (self.lead == 0 && self.trail == 0).then_some(self.text)
    }

    /// The half in front or zero, the whole characters, the half at the end or zero.
    pub(crate) fn parts(&self) -> (u16, &'a str, u16) {
        (self.lead, self.text, self.trail)
    }

    /// The first unit is the second half of a character, or what is left of it.
    pub(crate) fn begins_inside_character(&self) -> bool {
        self.lead != 0
    }

    /// The last unit is the first half of a character, or what is left of it.
    pub(crate) fn ends_inside_character(&self) -> bool {
        self.trail != 0
    }

    /// Length in UTF-16 units.
    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    /// Bytes of the column that this text stands on.
    pub(crate) fn byte_len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + use<'a> {
        let unit = |unit: u16| (unit != 0).then_some(unit);
        unit(self.lead)
            .into_iter()
            .chain(self.text.encode_utf16())
            .chain(unit(self.trail))
    }

    /// Orders the first `units` units of two texts.
    pub(crate) fn compare(&self, other: &Text<'_>, units: u32) -> Ordering {
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        if let (Some(left), Some(right)) = (self.as_whole_str(), other.as_whole_str())
            && let (Some(left), Some(right)) =
                (ascii_prefix(left, units), ascii_prefix(right, units))
        {
            return left.cmp(right);
        }
        self.iter().take(units).cmp(other.iter().take(units))
    }

    /// Drops the first `units` units. A character that is cut leaves its low half in front.
    pub(crate) fn skip(&mut self, units: u32) {
        let mut left = units;
        self.units = self.units.saturating_sub(units);
        if left > 0 && self.lead != 0 {
            self.lead = 0;
            left = left.saturating_sub(1);
        }
        let (taken, rest, cut) = split_units(self.text, left);
        left = left.saturating_sub(taken);
        self.text = rest;
        if let Some((_, low)) = cut {
            self.lead = low;
        } else if left > 0 {
            self.trail = 0;
        }
    }

    /// Keeps the first `units` units. A character that is cut leaves U+FFFD at the end, as Yjs does.
    pub(crate) fn truncate(&mut self, units: u32) {
        if units >= self.units {
            return;
        }
        self.units = units;
        let inner = units.saturating_sub(u32::from(self.lead != 0));
        if units == 0 {
            self.lead = 0;
        }
        let (_, rest, cut) = split_units(self.text, inner);
        let kept = self
            .text
            .len()
            .saturating_sub(rest.len())
            .saturating_sub(if cut.is_some() { 4 } else { 0 });
        self.text = self.text.get(..kept).unwrap_or_default();
        self.trail = if cut.is_some() { REPLACEMENT } else { 0 };
    }

    /// Turns a low half in front into U+FFFD: what Yjs makes of a character that it cuts.
    pub(crate) fn mend_front(&mut self) {
        if self.lead != 0 {
            self.lead = REPLACEMENT;
        }
    }
}

/// The first `units` bytes, if they are ASCII (bytes and units are the same there).
fn ascii_prefix(text: &str, units: usize) -> Option<&[u8]> {
    let bytes = text.as_bytes();
    let prefix = bytes.get(..units).unwrap_or(bytes);
    prefix.is_ascii().then_some(prefix)
}

/// Walks `units` units into a text: units taken, the text after them and, when a pair is cut, its
/// halves (the text after it then starts behind the pair, and the taken units include the high half).
fn split_units(text: &str, units: u32) -> (u32, &str, Option<(u16, u16)>) {
    let wanted = usize::try_from(units).unwrap_or(usize::MAX);
    if let Some(prefix) = text.as_bytes().get(..wanted)
        && prefix.is_ascii()
    {
        return (units, text.get(wanted..).unwrap_or_default(), None);
    }
    let mut taken: u32 = 0;
    let mut characters = text.chars();
    while taken < units {
        let Some(character) = characters.next() else {
            break;
        };
        let mut pair = [0; 2];
        match *character.encode_utf16(&mut pair) {
            [high, low] if taken.saturating_add(1) == units => {
                return (units, characters.as_str(), Some((high, low)));
            }
            [_, _] => taken = taken.saturating_add(2),
            _ => taken = taken.saturating_add(1),
        }
    }
    (taken, characters.as_str(), None)
}

/// Reads texts one after the other from the string column.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TextReader<'a> {
    /// What is left of the column.
    rest: &'a str,
    /// The low half of the character before `rest`, when the last text ended inside it.
    low: u16,
}

impl<'a> TextReader<'a> {
    pub(crate) fn new(column: &'a str) -> Self {
        TextReader {
            rest: column,
            low: 0,
        }
    }

    /// Reads `units` units; `None` if the column holds fewer.
    #[inline]
    pub(crate) fn read(&mut self, units: u64) -> Option<Text<'a>> {
        let units = u32::try_from(units).ok()?;
        let mut text = Text {
            units,
            ..Text::default()
        };
        let mut wanted = units;
        if wanted > 0 && self.low != 0 {
            text.lead = self.low;
            self.low = 0;
            wanted = wanted.saturating_sub(1);
        }
        let (taken, rest, cut) = split_units(self.rest, wanted);
        if taken != wanted {
            return None;
        }
        let mut end = self.rest.len().saturating_sub(rest.len());
        if let Some((high, low)) = cut {
            text.trail = high;
            self.low = low;
            end = end.saturating_sub(4);
        }
        text.text = self.rest.get(..end)?;
        self.rest = rest;
        Some(text)
    }

    /// What is left of the column, when it holds fewer units than wanted.
    pub(crate) fn read_rest(&mut self) -> Text<'a> {
        let rest = Text {
            lead: std::mem::take(&mut self.low),
            text: std::mem::take(&mut self.rest),
            trail: 0,
            units: 0,
        };
        Text {
            units: u32::try_from(rest.iter().count()).unwrap_or(u32::MAX),
            ..rest
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty() && self.low == 0
    }
}

/// Writes the string column: all texts joined, then their lengths.
#[derive(Debug, Default)]
pub(crate) struct TextWriter {
    joined: Vec<u8>,
    /// The high half that the last text ended with, or zero.
    high: u16,
    lengths: UintWriter,
}

impl TextWriter {
    pub(crate) fn write(&mut self, text: &Text<'_>) {
        self.write_length(text.units);
        self.append(text);
    }

    /// The length of one string, of which [`TextWriter::append`] writes one part or several.
    pub(crate) fn write_length(&mut self, units: u32) {
        self.lengths.write(u64::from(units));
    }

    pub(crate) fn append(&mut self, text: &Text<'_>) {
        if text.lead != 0 {
            self.push_unit(text.lead);
        }
        if !text.text.is_empty() {
            self.flush_high();
            spare(&mut self.joined, text.text.len()).extend_from_slice(text.text.as_bytes());
        }
        if text.trail != 0 {
            self.push_unit(text.trail);
        }
    }

    fn push_unit(&mut self, unit: u16) {
        let is_high = (0xd800..0xdc00).contains(&unit);
        let before = std::mem::take(&mut self.high);
        if is_high {
            if before != 0 {
                self.push_char(char::REPLACEMENT_CHARACTER);
            }
            self.high = unit;
            return;
        }
        let before = (before != 0).then_some(before);
        for character in char::decode_utf16(before.into_iter().chain([unit])) {
            self.push_char(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }

    fn flush_high(&mut self) {
        if std::mem::take(&mut self.high) != 0 {
            self.push_char(char::REPLACEMENT_CHARACTER);
        }
    }

    fn push_char(&mut self, character: char) {
        let mut buffer = [0; 4];
        let bytes = character.encode_utf8(&mut buffer).as_bytes();
        spare(&mut self.joined, bytes.len()).extend_from_slice(bytes);
    }

    /// The joined text and the lengths, which the column holds in this order.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        self.flush_high();
        (self.joined, self.lengths.finish())
    }
}
