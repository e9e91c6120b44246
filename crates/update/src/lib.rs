#![doc = include_str!("../README.md")]
//!
//! ## Inside
//!
//! A relay never needs the document that an update belongs to. What a room does with Yjs data can be
//! done on the updates themselves: check that one is well formed ([`validate`]), find out what it
//! brings that is new and complete ([`ingest`]), join many into one ([`merge`], [`merge_bytes`]) and
//! answer a peer with what it lacks ([`diff`]); a log that has grown is compacted ([`compact`]). Updates
//! are in encoding V2, the one of the wire; V1 is read and written for interchange ([`to_v2`], [`to_v1`]).
//!
//! The flow inside: [`Update::parse`] runs a cursor over the columns of an update once and keeps
//! spans and a few checkpoints, never a list of structs. Every other operation walks the checked
//! bytes again through the same cursor and hands the structs it keeps to one encoder.
//!
//! Invariants:
//! * no input makes a function of this crate panic, recurse with the input's nesting or allocate
//!   more than a fixed multiple of the bytes it was given (of those it gives, for [`to_v1`]: structs
//!   can cost nothing in V2, and cost some bytes each in V1);
//! * the output of an operation depends on the meaning of its inputs and not on their order, and
//!   parses again;
//! * nothing here knows about rooms, sockets, storage, time or documents.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::panic,
        clippy::expect_used,
        clippy::unreachable
    )
)]

mod any;
mod column;
mod compact;
mod cursor;
mod delete_set;
mod diff;
mod digest;
mod encoder;
mod error;
mod growth;
mod ingest;
mod json;
pub mod lib0;
mod merge;
mod state_vector;
mod structs;
mod summary;
mod tag;
mod text;
mod update;
mod v1;
mod value;

pub use compact::{Collect, compact};
pub use delete_set::DeleteSet;
pub use diff::diff;
pub use digest::content_digest;
pub use error::{Limits, UpdateError};
pub use ingest::{Ingest, Ready, ingest};
pub use merge::{merge, merge_bytes};
pub use state_vector::StateVector;
pub use summary::Summary;
pub use tag::snapshot_tag;
pub use update::{Update, validate};
pub use v1::{to_v1, to_v2};

/// A Yjs client id: 1 to 2^53-1.
///
/// Yjs draws ids from 1 up to 2^32, other engines up to 2^53; zero is refused everywhere.
pub type ClientId = u64;

/// A clock: counts the elements that one client has created. Always below 2^31.
pub type Clock = u32;

/// The 13 bytes of an update without structs and deletes, as Yjs writes it.
pub const EMPTY_UPDATE: [u8; 13] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// The largest client id: the largest integer that a JavaScript number holds exactly.
pub(crate) const MAX_CLIENT: u64 = lib0::MAX_SAFE_INTEGER;

/// The largest clock, and the largest end of a range of clocks.
pub(crate) const MAX_CLOCK: u32 = 0x7fff_ffff;
