//! The update algebra from the outside: vectors, laws and named cases.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail as the tests themselves do"
)]

mod compact;
mod delete_set;
mod digest;
mod faults;
mod hostile;
mod ingest;
mod kv_lww;
mod laws;
mod lib0;
mod memory;
mod merge;
mod model;
mod parse;
mod support;
mod sync_frames;
mod tag;
mod v1;
