//! What is accepted ([`Limits`]) and how an input is turned away ([`UpdateError`]).

use crate::lib0::ReadError;

/// Bounds that a legal document could meet, so that they are the caller's to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most structs one update may hold. A struct can cost no bytes at all in encoding V2, so
    /// this number bounds the work of a pass over an update.
    pub max_structs: u32,
    /// The most entries of one state vector.
    pub max_state_vector_entries: u32,
    /// How deep values may nest; more than 64 counts as 64, the depth of the checker's stack.
    pub max_nesting: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_structs: 2_000_000,
            max_state_vector_entries: 1_000_000,
            max_nesting: 64,
        }
    }
}

/// Why bytes are not taken as an update or a state vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Stock Yjs 13 cannot decode it either: the sender is broken, or it is no update at all.
    #[error("malformed at byte {offset}: {what}")]
    Malformed {
        /// Where in the input the fault was found.
        offset: usize,
        /// What could not be read.
        what: &'static str,
    },
    /// Yjs may decode it, this crate does not take it.
    #[error("refused at byte {offset}: {limit}")]
    Refused {
        /// Where in the input the limit was met.
        offset: usize,
        /// The limit or rule that was met.
        limit: &'static str,
    },
}

impl UpdateError {
    pub(crate) fn malformed(offset: usize, what: &'static str) -> Self {
        UpdateError::Malformed { offset, what }
    }

    pub(crate) fn refused(offset: usize, limit: &'static str) -> Self {
        UpdateError::Refused { offset, limit }
    }
}

impl From<ReadError> for UpdateError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnexpectedEnd { offset } => {
                UpdateError::malformed(offset, "unexpected end of input")
            }
            ReadError::IntegerOutOfRange { offset } => {
                UpdateError::malformed(offset, "integer out of range")
            }
            ReadError::IntegerNotExact { offset } => {
                UpdateError::refused(offset, "an integer that JavaScript cannot hold exactly")
            }
        }
    }
}
