//! The HTTP interface, pinned.
#![cfg(test)]

mod bodies;
mod dispatch;
mod errors;
mod etags;
mod paths;
