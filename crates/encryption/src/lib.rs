#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod auth_secret;
mod blob;
mod key_ring;
mod keyring;
mod secrets;

pub use auth_secret::AuthSecret;
pub use blob::{BLOB_OVERHEAD, NONCE_BYTES, SealError, is_blob};
pub use keyring::{KeyringError, OwnerKeyring, RootKeyring, WorkspaceKeyring};
pub use secrets::{SecretsError, SecretsProblem};
