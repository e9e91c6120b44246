//! How the Yjs sync protocol looks on the socket of one room of one server.

use epicenter_update::lib0::write_var_uint;

use crate::edits::Encoding;
use crate::websocket::{BINARY, PING, TEXT, write_frame};

const STEP1: u8 = 0;
/// Subtype of the answer to step 1.
pub(crate) const STEP2: u8 = 1;
/// Subtype of a live update.
pub(crate) const UPDATE: u8 = 2;
/// The state vector of somebody who has nothing.
const NOTHING: [u8; 1] = [0];

/// The differences between the servers' ways to say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Goes before every sync message, both ways.
    pub(crate) prefix: Vec<u8>,
    pub(crate) encoding: Encoding,
    /// A message that comes before the first sync message.
    pub(crate) hello: Option<Vec<u8>>,
    pub(crate) ping: Ping,
}

/// How a client shows that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ping {
    Text(&'static str),
    /// The ping of RFC 6455.
    Frame,
    /// A message of the server's own protocol.
    Message(Vec<u8>),
}

impl Dialect {
    /// Appends what a client says once its socket is open.
    pub(crate) fn write_opening(&self, out: &mut Vec<u8>) {
        if let Some(hello) = &self.hello {
            write_frame(out, BINARY, &[hello]);
        }
        self.write_message(out, STEP1, &NOTHING);
    }

    /// Appends an update.
    pub(crate) fn write_update(&self, out: &mut Vec<u8>, update: &[u8]) {
        self.write_message(out, UPDATE, update);
    }

    /// Appends a sign of life.
    pub(crate) fn write_ping(&self, out: &mut Vec<u8>) {
        match &self.ping {
            Ping::Text(text) => write_frame(out, TEXT, &[text.as_bytes()]),
            Ping::Frame => write_frame(out, PING, &[]),
            Ping::Message(message) => write_frame(out, BINARY, &[message]),
        }
    }

    fn write_message(&self, out: &mut Vec<u8>, subtype: u8, body: &[u8]) {
        let mut head = vec![subtype];
        write_var_uint(&mut head, body.len() as u64);
        write_frame(out, BINARY, &[&self.prefix, &head, body]);
    }

    /// The subtype of a sync message and what follows it, the length of its body included; `None` for anything else.
    pub(crate) fn sync_message<'a>(&self, payload: &'a [u8]) -> Option<(u8, &'a [u8])> {
        let (subtype, rest) = payload.strip_prefix(&self.prefix[..])?.split_first()?;
        Some((*subtype, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(prefix: &[u8]) -> Dialect {
        Dialect {
            prefix: prefix.to_vec(),
            encoding: Encoding::V1,
            hello: None,
            ping: Ping::Frame,
        }
    }

    #[test]
    fn dialects_differ_in_what_comes_before_a_message() {
        let check = |prefix: &[u8], expect: &[u8]| {
            let dialect = dialect(prefix);
            let mut out = Vec::new();
            dialect.write_opening(&mut out);
            // Two bytes of header, four of mask.
            assert_eq!(&out[6..], expect);
            assert_eq!(dialect.sync_message(&out[6..]), Some((STEP1, &[1, 0][..])));
        };
        check(&[], &[0, 1, 0]);
        check(&[0], &[0, 0, 1, 0]);
        check(&[1, b'a', 0], &[1, b'a', 0, 0, 1, 0]);
    }

    #[test]
    fn awareness_is_no_sync_message() {
        assert_eq!(dialect(&[0]).sync_message(&[1, 1]), None);
    }
}
