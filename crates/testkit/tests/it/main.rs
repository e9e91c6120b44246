//! What the models of this crate say about the stores.
#![cfg(test)]

mod refresh;
mod simulation;
