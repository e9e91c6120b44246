//! Binary frames: exactly one Yjs sync message each, `varUint subtype` and `varUint8Array payload`.
//!
//! A frame borrows nothing and copies nothing: its payload shares the buffer of the message.
//! What the payload says is checked where it is used, by the update algebra.

use bytes::Bytes;
use epicenter_update::lib0::{self, Reader};

const STEP1: u64 = 0;
const STEP2: u64 = 1;
const UPDATE: u64 = 2;

/// One sync message. The payload is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Subtype 0: the sender's state vector, to be answered with step 2.
    Step1(Bytes),
    /// Subtype 1: the V2 update that the other side lacks.
    Step2(Bytes),
    /// Subtype 2: a V2 update that just happened.
    Update(Bytes),
}

/// Why a message is no frame. The answer to both is the same: it is dropped and the socket stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The message ends too early, a number in it is out of range, or the payload has no bytes.
    #[error("the frame is malformed")]
    Malformed,
    /// The subtype is none of the three.
    #[error("the frame has the unknown subtype {0}")]
    UnknownSubtype(u64),
}

impl From<lib0::ReadError> for FrameError {
    fn from(_: lib0::ReadError) -> Self {
        FrameError::Malformed
    }
}

impl Frame {
    /// Reads a message.
    ///
    /// Bytes after the payload are ignored and overlong numbers are taken, as the JavaScript side does.
    /// An empty payload is refused: neither a state vector nor an update has zero bytes.
    ///
    /// # Errors
    /// [`FrameError`] when the JavaScript side would not take the message either.
    pub fn parse(message: &Bytes) -> Result<Frame, FrameError> {
        let mut reader = Reader::new(message);
        let frame = match reader.read_var_uint()? {
            STEP1 => Frame::Step1,
            STEP2 => Frame::Step2,
            UPDATE => Frame::Update,
            other => return Err(FrameError::UnknownSubtype(other)),
        };
        let payload = reader.read_var_bytes()?;
        if payload.is_empty() {
            return Err(FrameError::Malformed);
        }
        Ok(frame(message.slice_ref(payload)))
    }

    /// The message that carries this frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Frame::Step1(state_vector) => encode_step1(state_vector),
            Frame::Step2(update) => encode_step2(update),
            Frame::Update(update) => encode_update(update),
        }
    }

    /// What the frame carries.
    pub fn payload(&self) -> &Bytes {
        match self {
            Frame::Step1(payload) | Frame::Step2(payload) | Frame::Update(payload) => payload,
        }
    }
}

/// Whether a message is of subtype 1 or 2, well-formed or not: what a client counts as an update that it sent.
pub fn carries_update(message: &[u8]) -> bool {
    let subtype = Reader::new(message).read_var_uint();
    matches!(subtype, Ok(STEP2 | UPDATE))
}

/// The message of step 1 around a state vector.
pub fn encode_step1(state_vector: &[u8]) -> Bytes {
    encode(STEP1, state_vector)
}

/// The message of step 2 around an update.
pub fn encode_step2(update: &[u8]) -> Bytes {
    encode(STEP2, update)
}

/// The message of an update.
pub fn encode_update(update: &[u8]) -> Bytes {
    encode(UPDATE, update)
}

fn encode(subtype: u64, payload: &[u8]) -> Bytes {
    // One byte of subtype and at most eight of length, so that the buffer is allocated once.
    let mut message = Vec::with_capacity(payload.len() + 9);
    lib0::write_var_uint(&mut message, subtype);
    lib0::write_var_bytes(&mut message, payload);
    Bytes::from(message)
}
