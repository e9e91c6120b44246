//! The update algebra from the outside: vectors, laws and named cases.

mod hostile;
mod ingest;
mod laws;
mod lib0;
mod merge;
mod model;
mod parse;
mod support;
mod sync_frames;
mod tag;
