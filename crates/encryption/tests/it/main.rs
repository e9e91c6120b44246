//! Keys and sealed blobs, against the shared vectors and beyond them.
#![cfg(test)]

mod auth_secret;
mod blobs;
mod keyring;
mod vectors;
