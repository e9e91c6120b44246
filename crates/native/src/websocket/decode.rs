//! Messages on their way in.

use bytes::{Bytes, BytesMut};

/// The longest header of a masked frame.
const MAX_HEADER: usize = 14;
/// The longest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: u64 = 125;
/// What a payload gets at first, whatever length its header claims; it grows with what really comes.
const FIRST_CAPACITY: usize = 64 * 1024;

/// Something the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Binary(Bytes),
    Text(String),
    /// To be answered with the same payload.
    Ping(Bytes),
    /// The end; nothing after it counts. To be answered with the same payload.
    Close {
        /// What the peer gave as its reason.
        code: Option<u16>,
        payload: Bytes,
    },
}

/// Why the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A message over the limit; none of it was kept.
    TooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Not this protocol.
    Protocol,
}

/// What is known of a message that has not ended.
#[derive(Debug)]
struct Fragments {
    is_text: bool,
    payload: BytesMut,
}

/// The frame whose payload is being read.
#[derive(Debug)]
struct Open {
    opcode: u8,
    is_final: bool,
    mask: [u8; 4],
    /// Payload bytes that have not come.
    missing: u64,
    payload: BytesMut,
}

/// Takes the bytes of one connection apart. Between messages it holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    max_message_bytes: usize,
    header: Vec<u8>,
    open: Option<Box<Open>>,
    fragments: Option<Box<Fragments>>,
}

impl Decoder {
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            ..Self::default()
        }
    }

    /// Takes bytes from the front of `input` until there is a message; none when all are taken. After a violation or the
    /// end nothing more is to be decoded.
    pub(crate) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Violation> {
        loop {
            if self.open.is_none() && !self.read_header(input)? {
                return Ok(None);
            }
            let Some(mut open) = self.open.take() else {
                return Ok(None);
            };
            open.read(input);
            if open.missing > 0 {
                self.open = Some(open);
                return Ok(None);
            }
            if let Some(message) = self.finish(*open)? {
                return Ok(Some(message));
            }
        }
    }

    /// Whether the header of a frame is complete; then it is open.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, Violation> {
        let known = self.header.len();
        let more = input.len().min(MAX_HEADER - known);
        let mut header = [0; MAX_HEADER];
        header[..known].copy_from_slice(&self.header);
        header[known..known + more].copy_from_slice(&input[..more]);
        let Some((open, len)) = Open::parse(&header[..known + more])? else {
            self.header = header[..known + more].to_vec();
            *input = &input[more..];
            return Ok(false);
        };
        self.header = Vec::new();
        *input = &input[len - known..];
        self.check(&open)?;
        self.open = Some(Box::new(open));
        Ok(true)
    }

    fn check(&self, open: &Open) -> Result<(), Violation> {
        let is_control = open.opcode & 8 != 0;
        if is_control {
            let is_legal = open.is_final && open.missing <= MAX_CONTROL_BYTES;
            return if is_legal {
                Ok(())
            } else {
                Err(Violation::Protocol)
            };
        }
        let continues = open.opcode == 0;
        if continues != self.fragments.is_some() {
            return Err(Violation::Protocol);
        }
        let before = self
            .fragments
            .as_ref()
            .map_or(0, |message| message.payload.len());
        let whole = open.missing.saturating_add(before as u64);
        if whole > self.max_message_bytes as u64 {
            return Err(Violation::TooLarge);
        }
        Ok(())
    }

    fn finish(&mut self, open: Open) -> Result<Option<Incoming>, Violation> {
        let (is_text, payload) = match open.opcode {
            0 => {
                let Some(mut message) = self.fragments.take() else {
                    return Err(Violation::Protocol);
                };
                message.payload.extend_from_slice(&open.payload);
                if !open.is_final {
                    self.fragments = Some(message);
                    return Ok(None);
                }
                (message.is_text, message.payload)
            }
            1 | 2 if !open.is_final => {
                self.fragments = Some(Box::new(Fragments {
                    is_text: open.opcode == 1,
                    payload: open.payload,
                }));
                return Ok(None);
            }
            1 | 2 => (open.opcode == 1, open.payload),
            8 => return close(open.payload.freeze()).map(Some),
            9 => return Ok(Some(Incoming::Ping(open.payload.freeze()))),
            10 => return Ok(None),
            _ => return Err(Violation::Protocol),
        };
        if !is_text {
            return Ok(Some(Incoming::Binary(payload.freeze())));
        }
        match String::from_utf8(payload.into()) {
            Ok(text) => Ok(Some(Incoming::Text(text))),
            Err(_) => Err(Violation::NotUtf8),
        }
    }
}

impl Open {
    /// The header at the front of these bytes and its length; none when there is more to come.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        let is_known = matches!(opcode, 0..=2 | 8..=10);
        // Reserved bits belong to extensions, and a client masks what it sends (sections 5.1 and 5.2).
        if first & 0x70 != 0 || second & 0x80 == 0 || !is_known {
            return Err(Violation::Protocol);
        }
        let (len, rest, len_bytes) = match (second & 0x7f, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest, 2),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (len, rest, 8)
            }
            (126 | 127, _) => return Ok(None),
            (len, rest) => (u64::from(len), rest, 0),
        };
        let [a, b, c, d, ..] = rest else {
            return Ok(None);
        };
        let open = Self {
            opcode,
            is_final: first & 0x80 != 0,
            mask: [*a, *b, *c, *d],
            missing: len,
            payload: BytesMut::new(),
        };
        Ok(Some((open, 2 + len_bytes + 4)))
    }

    /// Takes what has come of the payload and takes the mask off.
    fn read(&mut self, input: &mut &[u8]) {
        let missing = usize::try_from(self.missing).unwrap_or(usize::MAX);
        let taken = input.len().min(missing);
        if self.payload.is_empty() {
            self.payload.reserve(missing.min(FIRST_CAPACITY.max(taken)));
        }
        let start = self.payload.len();
        self.payload.extend_from_slice(&input[..taken]);
        unmask(&mut self.payload[start..], self.mask, start);
        self.missing -= taken as u64;
        *input = &input[taken..];
    }
}

/// Takes the mask off bytes that begin at `offset` of their payload (section 5.3).
fn unmask(bytes: &mut [u8], mask: [u8; 4], offset: usize) {
    let mut turned = mask;
    turned.rotate_left(offset % 4);
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in chunks.by_ref() {
        for (byte, mask) in chunk.iter_mut().zip(turned) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(turned) {
        *byte ^= mask;
    }
}

/// Reads the payload of a close frame (section 7.4).
fn close(payload: Bytes) -> Result<Incoming, Violation> {
    let code = match &payload[..] {
        [] => None,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let is_legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !is_legal || std::str::from_utf8(reason).is_err() {
                return Err(Violation::Protocol);
            }
            Some(code)
        }
        [_] => return Err(Violation::Protocol),
    };
    Ok(Incoming::Close { code, payload })
}

#[cfg(test)]
mod tests;
