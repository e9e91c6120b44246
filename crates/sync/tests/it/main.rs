//! The wire of a room, against the shared vectors and beyond them.
#![cfg(test)]

mod close;
mod frames;
mod http;
mod subprotocols;
mod texts;
mod vectors;
