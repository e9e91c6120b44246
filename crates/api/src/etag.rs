//! The entity tags of room content: `W/"<32 hex>"`, and the `If-None-Match` header that names them.

use std::fmt::Write as _;

/// Writes a tag as the `ETag` header carries it. It is weak: equal documents may differ in their bytes.
pub fn format_etag(tag: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    text.push_str("W/\"");
    for byte in tag {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}

/// What an `If-None-Match` header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfNoneMatch {
    /// `*`: whatever there is.
    Any,
    /// The tags of the list that can be a room's; others match nothing and are left out.
    Tags(Vec<[u8; 16]>),
}

impl IfNoneMatch {
    /// Reads the header's value; several header lines are joined with commas first.
    ///
    /// The comparison is the weak one (RFC 9110, section 13.1.2), so a tag counts with and without `W/`.
    /// What cannot be read ends the list: a tag that is lost costs an answer in full, never a wrong one.
    pub fn parse(header: &str) -> Self {
        if header.trim() == "*" {
            return Self::Any;
        }
        let mut tags = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let quoted = rest.strip_prefix("W/").unwrap_or(rest);
            let Some((opaque, after)) = quoted
                .strip_prefix('"')
                .and_then(|open| open.split_once('"'))
            else {
                return Self::Tags(tags);
            };
            tags.extend(parse_hex(opaque));
            rest = after;
        }
    }

    /// Whether the header names this tag.
    pub fn matches(&self, tag: &[u8; 16]) -> bool {
        match self {
            IfNoneMatch::Any => true,
            IfNoneMatch::Tags(tags) => tags.contains(tag),
        }
    }
}

/// Lower case only: tags are opaque text, and this is how the hub writes them.
fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect();
    bytes?.try_into().ok()
}
