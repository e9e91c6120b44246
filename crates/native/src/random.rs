//! Unpredictable bytes and names, from the operating system.

/// Letters and digits, for ids that appear in URLs and file names.
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct RandomError(pub(crate) getrandom::Error);

/// So many random bytes.
pub(crate) fn bytes<const COUNT: usize>() -> Result<[u8; COUNT], RandomError> {
    let mut bytes = [0; COUNT];
    getrandom::fill(&mut bytes).map_err(RandomError)?;
    Ok(bytes)
}

/// A random text of letters and digits, each equally likely.
pub(crate) fn alphanumeric(length: usize) -> Result<String, RandomError> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // Six bits reach 64 characters; the two that do not exist are drawn again, so that none is likelier.
        let drawn = bytes::<64>()?;
        let characters = drawn
            .iter()
            .filter_map(|byte| ALPHANUMERIC.get(usize::from(byte & 63)));
        text.extend(
            characters
                .take(length - text.len())
                .map(|byte| char::from(*byte)),
        );
    }
    Ok(text)
}

/// The operating system's generator as the server's port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsRandom;

impl epicenter_server::ports::Random for OsRandom {
    /// Secrets are drawn here: without random bytes the request ends in a panic and never with a text that can be guessed.
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the system's random source failed: {error}");
        }
    }
}
