//! Yjs V2 updates as stock Yjs writes them for the plainest of edits.

use epicenter_update::lib0::{write_var_bytes, write_var_uint};

/// A Yjs client that types into the root text `text`, one insertion at the end at a time.
#[derive(Clone, Debug)]
pub struct Typist {
    client: u64,
    clock: u64,
}

impl Typist {
    /// `client` is the Yjs client id.
    pub fn new(client: u64) -> Self {
        Self { client, clock: 0 }
    }

    /// The next insertion, ASCII only, as a V2 update.
    ///
    /// # Panics
    /// When `text` is empty or not ASCII.
    pub fn types(&mut self, text: &str) -> Vec<u8> {
        assert!(!text.is_empty() && text.is_ascii(), "plain text only");
        let first = self.clock == 0;
        let mut update = Vec::with_capacity(48 + text.len());
        write_var_uint(&mut update, 0); // feature flag
        write_var_bytes(&mut update, &[]); // key clocks
        let mut clients = Vec::new();
        if first {
            write_var_int(&mut clients, self.client, false);
        } else {
            // the block's client and the origin's: a run of two
            write_var_int(&mut clients, self.client, true);
            write_var_uint(&mut clients, 0);
        }
        write_var_bytes(&mut update, &clients);
        let mut left_clocks = Vec::new();
        if let Some(origin) = self.clock.checked_sub(1) {
            write_var_int(&mut left_clocks, origin * 2, false);
        }
        write_var_bytes(&mut update, &left_clocks);
        write_var_bytes(&mut update, &[]); // right clocks
        write_var_bytes(&mut update, &[if first { 0x04 } else { 0x84 }]); // info: string, with origin
        let mut strings = Vec::new();
        let mut lengths = Vec::new();
        let all = if first {
            write_var_int(&mut lengths, 4, false);
            format!("text{text}")
        } else {
            text.to_owned()
        };
        write_var_bytes(&mut strings, all.as_bytes());
        if first && text.len() == 4 {
            lengths.clear();
            write_var_int(&mut lengths, 4, true);
            write_var_uint(&mut lengths, 0);
        } else {
            write_var_int(&mut lengths, text.len() as u64, false);
        }
        strings.extend_from_slice(&lengths);
        write_var_bytes(&mut update, &strings);
        write_var_bytes(&mut update, if first { &[1] } else { &[] }); // parent is a root name
        write_var_bytes(&mut update, &[]); // type references
        write_var_bytes(&mut update, &[]); // lengths
        write_var_uint(&mut update, 1); // clients
        write_var_uint(&mut update, 1); // structs
        write_var_uint(&mut update, self.clock);
        write_var_uint(&mut update, 0); // deletions
        self.clock += text.len() as u64;
        update
    }

    /// Skips an insertion of this many characters, which others will lack.
    pub fn skips(&mut self, characters: u64) {
        self.clock += characters;
    }

    /// The clock after everything typed.
    pub fn clock(&self) -> u64 {
        self.clock
    }
}

/// lib0's signed variable-length integer: 6 bits and the sign first, then 7 bits a byte.
fn write_var_int(out: &mut Vec<u8>, value: u64, negative: bool) {
    let sign = if negative { 0x40 } else { 0 };
    let low = (value & 0x3F) as u8;
    let rest = value >> 6;
    out.push(low | sign | if rest > 0 { 0x80 } else { 0 });
    if rest > 0 {
        write_var_uint(out, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epicenter_update::{Limits, StateVector, Update, merge};

    #[test]
    fn what_a_typist_writes_is_valid_and_contiguous() {
        let mut typist = Typist::new(4_000_000_000);
        let updates: Vec<Vec<u8>> = ["abcd", "x", "a longer one"]
            .iter()
            .map(|text| typist.types(text))
            .collect();
        let parsed: Vec<Update<'_>> = updates
            .iter()
            .map(|bytes| Update::parse(bytes, &Limits::default()).expect("valid"))
            .collect();
        let whole = merge(&parsed);
        let mut expected = StateVector::default();
        expected.advance(4_000_000_000, 17);
        let whole = Update::parse(&whole, &Limits::default()).expect("valid");
        assert_eq!(whole.state_vector(), expected);
        assert_eq!(typist.clock(), 17);
    }
}
