//! A checker for the JSON texts of old array and embed content.
//!
//! Yjs gives each text to `JSON.parse`, so a text that is not JSON makes the whole update fail there.

/// The deepest nesting: one bit of the stack word for each open bracket.
const MAX_DEPTH: u32 = 64;

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonFault {
    /// Not JSON.
    Syntax,
    /// JSON, as far as it was read, but nested too deeply.
    TooDeep,
}

/// Checks one JSON text.
pub(crate) fn check(text: &str, max_nesting: u32) -> Result<(), JsonFault> {
    Checker {
        bytes: text.as_bytes(),
    }
    .check(max_nesting.min(MAX_DEPTH))
}

struct Checker<'a> {
    /// What is left to read.
    bytes: &'a [u8],
}

impl Checker<'_> {
    fn check(&mut self, max_depth: u32) -> Result<(), JsonFault> {
        // The lowest bit tells whether the innermost open bracket is an object's.
        let mut objects: u64 = 0;
        let mut depth: u32 = 0;
        loop {
            // One value, or the opening bracket of one.
            self.skip_space();
            match self.next() {
                Some(open @ (b'{' | b'[')) => {
                    let close = if open == b'{' { b'}' } else { b']' };
                    self.skip_space();
                    if !self.take(close) {
                        if depth >= max_depth {
                            return Err(JsonFault::TooDeep);
                        }
                        depth = depth.saturating_add(1);
                        objects = objects << 1 | u64::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    if depth >= max_depth {
                        return Err(JsonFault::TooDeep);
                    }
                }
                Some(b'"') => self.string()?,
                Some(b't') => self.literal(b"rue")?,
                Some(b'f') => self.literal(b"alse")?,
                Some(b'n') => self.literal(b"ull")?,
                Some(b'-') => {
                    let first = self.next();
                    self.number(first)?;
                }
                first => self.number(first)?,
            }
            // What may follow a value: closing brackets, then a comma or the end.
            loop {
                self.skip_space();
                if depth == 0 {
                    return if self.bytes.is_empty() {
                        Ok(())
                    } else {
                        Err(JsonFault::Syntax)
                    };
                }
                let in_object = objects & 1 == 1;
                match self.next() {
                    Some(b',') => {
                        if in_object {
                            self.skip_space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if in_object => {}
                    Some(b']') if !in_object => {}
                    _ => return Err(JsonFault::Syntax),
                }
                depth = depth.saturating_sub(1);
                objects >>= 1;
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.next();
        }
        found
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.next();
        }
    }

    /// A quoted key and its colon.
    fn key(&mut self) -> Result<(), JsonFault> {
        if !self.take(b'"') {
            return Err(JsonFault::Syntax);
        }
        self.string()?;
        self.skip_space();
        if self.take(b':') {
            Ok(())
        } else {
            Err(JsonFault::Syntax)
        }
    }

    /// The rest of a string after its opening quote.
    fn string(&mut self) -> Result<(), JsonFault> {
        loop {
            match self.next() {
                Some(b'"') => return Ok(()),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => {
                        for _ in 0..4 {
                            if !self.next().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                                return Err(JsonFault::Syntax);
                            }
                        }
                    }
                    _ => return Err(JsonFault::Syntax),
                },
                Some(0x20..) => {}
                _ => return Err(JsonFault::Syntax),
            }
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Result<(), JsonFault> {
        match self.bytes.strip_prefix(rest) {
            Some(bytes) => {
                self.bytes = bytes;
                Ok(())
            }
            None => Err(JsonFault::Syntax),
        }
    }

    /// A number whose first digit was read.
    fn number(&mut self, first: Option<u8>) -> Result<(), JsonFault> {
        match first {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(JsonFault::Syntax),
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonFault> {
        if !self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            return Err(JsonFault::Syntax);
        }
        self.skip_digits();
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|digit| digit.is_ascii_digit()) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expect: Result<(), JsonFault>) {
        assert_eq!(check(text, 64), expect, "{text}");
    }

    #[test]
    fn json_is_taken_and_anything_else_is_not() {
        for text in [
            "0",
            "-0",
            "1.5e-10",
            "\"\"",
            "\"\\ud83d\"",
            "[]",
            "{}",
            " [1 , {\"a\":[null]}] ",
            "true",
            "{\"__proto__\":{}}",
            "1E5",
            "\"\u{7f}é😀\"",
        ] {
            check_text(text, Ok(()));
        }
        for text in [
            "",
            " ",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "nul",
            "undefined",
            "NaN",
            "1 2",
            "[",
            "{",
            "]",
            "\u{feff}1",
            "'a'",
        ] {
            check_text(text, Err(JsonFault::Syntax));
        }
    }

    #[test]
    fn nesting_is_limited_without_recursion() {
        check_text(&format!("{}{}", "[".repeat(64), "]".repeat(64)), Ok(()));
        check_text(&"[".repeat(100_000), Err(JsonFault::TooDeep));
        check_text(
            &format!("{}{}", "[".repeat(65), "]".repeat(65)),
            Err(JsonFault::TooDeep),
        );
    }
}
