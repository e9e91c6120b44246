//! Sealed blobs: `[format 1][key version][nonce 24][ciphertext][tag 16]`, XChaCha20-Poly1305.
//!
//! The two bytes at the front are not authenticated: another version byte chooses another key, and then
//! the tag is wrong. The nonce is the caller's, because this crate has no randomness; 24 random bytes from
//! the operating system never repeat in practice.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};

use crate::key_ring::{KeyRing, SecretKey};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// How much longer a blob is than its plaintext.
pub const BLOB_OVERHEAD: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

const FORMAT_VERSION: u8 = 1;
const HEADER_BYTES: usize = 2;
const TAG_BYTES: usize = 16;

/// Why a sealed blob was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is shorter than an empty plaintext's blob.
    #[error("the sealed bytes are too short")]
    TooShort,
    /// It does not begin with the format version 1.
    #[error("the sealed bytes have an unknown format")]
    UnknownFormat,
    /// No key of this version is at hand.
    #[error("the sealed bytes need key version {version}, which is not in the ring")]
    UnknownKeyVersion {
        /// The version that the blob names.
        version: u8,
    },
    /// The tag is wrong: other key, other context, or changed bytes.
    #[error("the sealed bytes are not authentic")]
    NotAuthentic,
}

/// Whether a byte array is to be taken for a blob: at least 42 bytes that begin with 1.
pub fn is_blob(bytes: &[u8]) -> bool {
    bytes.len() >= BLOB_OVERHEAD && bytes[0] == FORMAT_VERSION
}

/// Seals under the current key of the ring, bound to `aad`.
pub(crate) fn seal(
    keys: &KeyRing,
    aad: &[u8],
    nonce: [u8; NONCE_BYTES],
    plaintext: &[u8],
) -> Vec<u8> {
    let (version, key) = keys.current();
    let mut blob = Vec::with_capacity(plaintext.len() + BLOB_OVERHEAD);
    blob.extend_from_slice(&[FORMAT_VERSION, *version]);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(plaintext);
    let message = &mut blob[HEADER_BYTES + NONCE_BYTES..];
    let tag = cipher(key)
        .encrypt_inout_detached(&XNonce::from(nonce), aad, message.into())
        .expect("a plaintext in memory is shorter than the 256 GiB that the cipher takes");
    blob.extend_from_slice(&tag);
    blob
}

/// Opens with the key that the blob names.
pub(crate) fn open(keys: &KeyRing, aad: &[u8], blob: &[u8]) -> Result<Vec<u8>, SealError> {
    let (body, tag) = blob
        .split_last_chunk::<TAG_BYTES>()
        .ok_or(SealError::TooShort)?;
    let (header, body) = body
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(SealError::TooShort)?;
    let (nonce, ciphertext) = body
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(SealError::TooShort)?;
    let &[format, version] = header;
    if format != FORMAT_VERSION {
        return Err(SealError::UnknownFormat);
    }
    let key = keys
        .find(version)
        .ok_or(SealError::UnknownKeyVersion { version })?;

    let mut plaintext = ciphertext.to_vec();
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            aad,
            plaintext.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        // The cipher says no more than that, on purpose.
        .map_err(|_| SealError::NotAuthentic)?;
    Ok(plaintext)
}

/// The cipher wipes its copy of the key when dropped.
fn cipher(key: &SecretKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.expose().into())
}
