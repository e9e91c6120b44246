//! Bytes that nobody can predict, from the operating system.

use zeroize::Zeroizing;

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

pub(crate) fn draw() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    // The cause is a number of the operating system that says nothing more.
    getrandom::fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
