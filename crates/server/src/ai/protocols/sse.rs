//! Server-Sent Events as providers send them: lines end in LF, CRLF or CR, an event ends at a blank line, and only its data
//! counts.
//!
//! One thing beyond the standard: Gemini writes an error as bare JSON between events, over one line or several. A line
//! outside an event that begins with `{` or `[` starts such a text; it lasts until its brackets close.

/// The longest event. The last event of OpenAI repeats the whole answer; this is some ten times that.
pub(crate) const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// Kept for the next event; a larger one gives its memory back.
const KEPT_BYTES: usize = 16 * 1024;

/// An event is too long or no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SseError;

/// Reads data out of bytes.
#[derive(Debug, Default)]
pub(super) struct SseReader {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// A line ended in CR; an LF right after it belongs to that end.
    after_cr: bool,
    bare: Option<BareJson>,
    has_begun: bool,
}

/// Where in a bare JSON text the reader stands.
#[derive(Debug, Default)]
struct BareJson {
    depth: usize,
    in_text: bool,
    after_backslash: bool,
}

impl BareJson {
    /// Whether the text is complete after these bytes.
    fn follow(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match byte {
                _ if self.after_backslash => self.after_backslash = false,
                b'\\' if self.in_text => self.after_backslash = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0
    }
}

impl SseReader {
    /// Takes bytes up to the end of the first event in them, whose data it returns.
    pub(super) fn feed(&mut self, bytes: &mut &[u8]) -> Result<Option<String>, SseError> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                *bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let Some(end) = bytes.iter().position(is_end) else {
                self.keep(bytes)?;
                *bytes = &[];
                return Ok(None);
            };
            let (line, rest) = bytes.split_at(end);
            self.keep(line)?;
            self.after_cr = rest.first() == Some(&b'\r');
            *bytes = rest.get(1..).unwrap_or_default();
            if self.take_line()? {
                return self.take_event().map(Some);
            }
        }
        Ok(None)
    }

    /// What stands there without its blank line.
    pub(super) fn end(&mut self) -> Option<String> {
        if !self.line.is_empty() && self.take_line().ok()? {
            return self.take_event().ok();
        }
        (self.has_data || self.bare.is_some())
            .then(|| self.take_event().ok())
            .flatten()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + self.data.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(SseError);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether the line completes an event.
    fn take_line(&mut self) -> Result<bool, SseError> {
        let mut line = std::mem::take(&mut self.line);
        let is_complete = self.read_line(&line);
        line.clear();
        if line.capacity() <= KEPT_BYTES {
            self.line = line;
        }
        Ok(is_complete)
    }

    fn read_line(&mut self, mut line: &[u8]) -> bool {
        if !std::mem::replace(&mut self.has_begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if let Some(bare) = &mut self.bare {
            self.data.push(b'\n');
            self.data.extend_from_slice(line);
            return bare.follow(line);
        }
        if line.is_empty() {
            return self.has_data;
        }
        if !self.has_data && matches!(line.first(), Some(b'{' | b'[')) {
            let mut bare = BareJson::default();
            let is_complete = bare.follow(line);
            self.data.extend_from_slice(line);
            self.bare = Some(bare);
            return is_complete;
        }
        let Some(value) = line.strip_prefix(b"data") else {
            return false;
        };
        let value = match value.split_first() {
            None => value,
            Some((b':', value)) => value.strip_prefix(b" ").unwrap_or(value),
            Some(_) => return false,
        };
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        false
    }

    fn take_event(&mut self) -> Result<String, SseError> {
        self.has_data = false;
        self.bare = None;
        let data = std::mem::take(&mut self.data);
        String::from_utf8(data).map_err(|_not_utf8| SseError)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_EVENT_BYTES, SseError, SseReader};

    /// All data in these bytes, which come in pieces of this size.
    fn read(text: &[u8], piece: usize) -> Vec<String> {
        let mut reader = SseReader::default();
        let mut found = Vec::new();
        for mut bytes in text.chunks(piece) {
            while !bytes.is_empty() {
                found.extend(reader.feed(&mut bytes).unwrap());
            }
        }
        found.extend(reader.end());
        found
    }

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        for piece in 1..=text.len() {
            assert_eq!(read(text.as_bytes(), piece), expect, "in pieces of {piece}");
        }
    }

    #[test]
    fn events_are_read_whatever_ends_their_lines() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("\u{feff}data: ä\n\n", &["ä"]);
        check(
            "event: x\nid: 1\n: note\nretry: 5\ndata: a\ndata: b\ndata\n\n",
            &["a\nb\n"],
        );
        check("datax: a\n\n\n\ndata:  a\n\n", &[" a"]);
        check("data: a\n\ndata: b", &["a", "b"]);
    }

    #[test]
    fn bare_json_is_an_event_of_its_own() {
        check("data: a\n\n{\"error\":{}}\n", &["a", "{\"error\":{}}"]);
        check("{\"error\":{}}", &["{\"error\":{}}"]);
        check(
            "[{\n  \"a\": \"}]\\\"\",\n\n\"b\": {}}\n]\ndata: x\n\n",
            &["[{\n  \"a\": \"}]\\\"\",\n\n\"b\": {}}\n]", "x"],
        );
        check("{\"a\":\n", &["{\"a\":"]);
    }

    #[test]
    fn an_event_without_an_end_is_refused_before_it_fills_memory() {
        for start in ["data: ", "{", "x"] {
            let mut reader = SseReader::default();
            let mut begin = start.as_bytes();
            assert_eq!(reader.feed(&mut begin), Ok(None));
            let mebibyte = vec![b'a'; 1024 * 1024];
            let mut outcome = Ok(None);
            for _ in 0..8 {
                let mut piece = mebibyte.as_slice();
                outcome = reader.feed(&mut piece);
                assert!(reader.line.capacity() <= 2 * MAX_EVENT_BYTES);
                if outcome.is_err() {
                    break;
                }
            }
            assert_eq!(outcome, Err(SseError), "{start}");
        }
        // Many short lines of one event count as well.
        let mut reader = SseReader::default();
        let lines = "data: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n".repeat(200_000);
        let mut bytes = lines.as_bytes();
        assert_eq!(reader.feed(&mut bytes), Err(SseError));
    }

    #[test]
    fn what_is_no_utf8_is_refused() {
        let mut reader = SseReader::default();
        let mut bytes = b"data: \xff\n\n".as_slice();
        assert_eq!(reader.feed(&mut bytes), Err(SseError));
    }
}
