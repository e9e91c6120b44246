//! Proof Key for Code Exchange (RFC 7636): S256 only, for every client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a verifier in base64url without padding.
const CHALLENGE_CHARS: usize = 43;

/// Whether this is a challenge of the only method there is.
pub(super) fn is_challenge(method: Option<&str>, challenge: &str) -> bool {
    method == Some("S256")
        && challenge.len() == CHALLENGE_CHARS
        && URL_SAFE_NO_PAD
            .decode(challenge)
            .is_ok_and(|hash| hash.len() == 32)
}

/// Whether the verifier is well formed and the challenge was made of it.
pub(super) fn is_verifier(challenge: &str, verifier: &str) -> bool {
    let is_unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_well_formed =
        (43..=128).contains(&verifier.len()) && verifier.bytes().all(is_unreserved);
    let expected = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    is_well_formed && bool::from(expected.as_bytes().ct_eq(challenge.as_bytes()))
}
