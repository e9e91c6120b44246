//! Frames on their way out.

use std::io::IoSlice;

use bytes::Bytes;
use epicenter_room::Outgoing;

/// What a frame is (RFC 6455, section 5.2). The hub sends no fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// UTF-8.
    Text = 1,
    /// A Yjs sync message.
    Binary = 2,
    /// The end; its payload is a code and a reason.
    Close = 8,
    /// The answer to a ping.
    Pong = 10,
}

/// The longest header of a frame that is not masked.
const MAX_HEADER: usize = 10;
/// The final fragment of a message.
const FIN: u8 = 0x80;

/// One frame: a header of its own and a payload that may be shared with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    header: [u8; MAX_HEADER],
    header_len: u8,
    opcode: Opcode,
    payload: Bytes,
}

impl Frame {
    /// A whole message or a control frame; the payload of the latter has at most 125 bytes.
    pub fn new(opcode: Opcode, payload: Bytes) -> Self {
        let mut header = [0; MAX_HEADER];
        header[0] = FIN | opcode as u8;
        let header_len = match payload.len() {
            short @ 0..=125 => {
                header[1] = short as u8;
                2
            }
            medium @ 126..=0xffff => {
                header[1] = 126;
                header[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
                4
            }
            long => {
                header[1] = 127;
                header[2..].copy_from_slice(&(long as u64).to_be_bytes());
                10
            }
        };
        Self {
            header,
            header_len,
            opcode,
            payload,
        }
    }

    /// A close frame with a code and a reason of at most 123 bytes.
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        let mut payload = Vec::with_capacity(2 + reason.len());
        payload.extend_from_slice(&code.to_be_bytes());
        payload.extend_from_slice(epicenter_sync::truncate_close_reason(reason).as_bytes());
        Self::new(Opcode::Close, payload.into())
    }

    /// What it is.
    pub fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// What it carries.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.header_len) + self.payload.len()
    }

    /// The bytes on the wire without the first `written`, in order; empty ones may be among them.
    pub(crate) fn rest(&self, written: usize) -> [IoSlice<'_>; 2] {
        let header = self.header.get(..usize::from(self.header_len));
        let header = header.unwrap_or_default();
        let of_payload = written.saturating_sub(header.len());
        [
            IoSlice::new(header.get(written..).unwrap_or_default()),
            IoSlice::new(self.payload.get(of_payload..).unwrap_or_default()),
        ]
    }
}

impl From<Outgoing> for Frame {
    fn from(message: Outgoing) -> Self {
        match message {
            Outgoing::Binary(bytes) => Self::new(Opcode::Binary, bytes),
            Outgoing::Text(bytes) => Self::new(Opcode::Text, bytes),
        }
    }
}
