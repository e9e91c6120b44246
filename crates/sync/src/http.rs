//! The body of a sync over HTTP: a length-prefixed state vector, then a length-prefixed update (sync.md 4).

use bytes::Bytes;
use epicenter_update::lib0::{self, Reader};

/// What a caller has, and what it pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncBody {
    /// The caller's encoded state vector, never without bytes.
    pub state_vector: Bytes,
    /// The pushed V2 update; no bytes when the caller only asks.
    pub update: Bytes,
}

/// The body is no state vector followed by an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sync body is not a length-prefixed state vector followed by a length-prefixed update")]
pub struct SyncBodyError;

impl From<lib0::ReadError> for SyncBodyError {
    fn from(_: lib0::ReadError) -> Self {
        SyncBodyError
    }
}

impl SyncBody {
    /// Reads a body without copying. Bytes after the update are ignored.
    ///
    /// # Errors
    /// [`SyncBodyError`] when a field is missing or cut short, or the state vector has no bytes.
    pub fn parse(body: &Bytes) -> Result<SyncBody, SyncBodyError> {
        let mut reader = Reader::new(body);
        let state_vector = reader.read_var_bytes()?;
        let update = reader.read_var_bytes()?;
        if state_vector.is_empty() {
            return Err(SyncBodyError);
        }
        Ok(SyncBody {
            state_vector: body.slice_ref(state_vector),
            update: body.slice_ref(update),
        })
    }

    /// The body as a client sends it.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.state_vector.len() + self.update.len() + 16);
        lib0::write_var_bytes(&mut body, &self.state_vector);
        lib0::write_var_bytes(&mut body, &self.update);
        body
    }
}
