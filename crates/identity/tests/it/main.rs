//! The promises of the identity types.
#![cfg(test)]

mod ids;
mod ownership;
mod scopes;
