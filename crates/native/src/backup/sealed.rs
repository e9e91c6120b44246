//! The hub's secrets under a passphrase: Argon2id gives a key, and under an HKDF label of its own that key seals them
//! (XChaCha20-Poly1305, as everything that a hub seals for itself).
//!
//! The parameters are in the file, so that they can be raised; a reader bounds them, so that a file cannot ask for more
//! memory than a machine has.

use std::fmt;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_encryption::AuthSecret;
use zeroize::Zeroizing;

use super::manifest::SealedHead;
use crate::random::{self, RandomError};

const KDF: &str = "argon2id";
const CIPHER: &str = "xchacha20-poly1305";
/// The HKDF label. Part of the stored form.
const LABEL: &str = "backup-secrets";

/// RFC 9106 section 4, the second recommended choice, on one lane: a backup is guessed at by whoever has the file, for as
/// long as they like.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 4;
const LANES: u32 = 1;
/// What a reader is ready to spend: 1 GiB and some seconds.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;
const SALT_BYTES: usize = 16;

/// As many characters as four words of a dice list have at least.
const MIN_PASSPHRASE_CHARACTERS: usize = 12;
/// No passphrase is longer, and a file that is was named by mistake.
const MAX_PASSPHRASE_BYTES: u64 = 4096;

/// A passphrase that seals secrets; never printed, zeroised on drop.
pub struct Passphrase(Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(redacted)")
    }
}

/// A passphrase cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Its file cannot be read.
    #[error("the file of the passphrase cannot be read")]
    Unreadable(#[from] std::io::Error),
    /// It would be guessed.
    #[error("the passphrase has fewer than {MIN_PASSPHRASE_CHARACTERS} characters")]
    TooShort,
    /// It is something else.
    #[error("the file of the passphrase has more than {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong,
}

impl Passphrase {
    /// Takes a passphrase.
    ///
    /// # Errors
    /// When it is so short that it would be guessed.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        if text.chars().count() < MIN_PASSPHRASE_CHARACTERS {
            return Err(PassphraseError::TooShort);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Reads the passphrase from a file; a line break at its end does not count.
    ///
    /// # Errors
    /// When the file cannot be read, or the passphrase would be guessed.
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        use std::io::Read as _;
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path)?;
        file.take(MAX_PASSPHRASE_BYTES + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > MAX_PASSPHRASE_BYTES {
            return Err(PassphraseError::TooLong);
        }
        Self::new(text.trim_end_matches(['\r', '\n']))
    }
}

/// Secrets as text.
pub(super) struct SecretTexts {
    pub(super) encryption: Zeroizing<String>,
    pub(super) auth: Zeroizing<String>,
}

impl SecretTexts {
    /// The length of the first, the first, the second. No serializer, because those leave copies in memory.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // A secret came from a file or a variable, neither of which holds 4 GiB.
        let length = u32::try_from(self.encryption.len()).unwrap_or(u32::MAX);
        Zeroizing::new(
            [
                &length.to_le_bytes(),
                self.encryption.as_bytes(),
                self.auth.as_bytes(),
            ]
            .concat(),
        )
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, bytes) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (encryption, auth) = bytes.split_at_checked(length)?;
        let text = |bytes| Some(Zeroizing::new(std::str::from_utf8(bytes).ok()?.to_owned()));
        Some(Self {
            encryption: text(encryption)?,
            auth: text(auth)?,
        })
    }
}

/// Why sealed secrets were not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// The tag is wrong. The section's own hash tells damage from this.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// They were sealed in a way that this program does not know, or will not do.
    #[error("the secrets were sealed in a way that this program does not know")]
    Unknown,
}

/// Seals under a fresh salt and nonce.
pub(super) fn seal(
    secrets: &SecretTexts,
    passphrase: &Passphrase,
) -> Result<(SealedHead, Vec<u8>), RandomError> {
    let head = SealedHead {
        kdf: KDF.to_owned(),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        lanes: LANES,
        salt: URL_SAFE_NO_PAD.encode(random::bytes::<SALT_BYTES>()?),
        cipher: CIPHER.to_owned(),
    };
    let key = derive(&head, passphrase).expect("our own parameters are within their bounds");
    let sealed = key.seal(LABEL, &context(&head), random::bytes()?, &secrets.encode());
    Ok((head, sealed))
}

/// Opens what [`seal`] gave.
pub(super) fn open(
    head: &SealedHead,
    sealed: &[u8],
    passphrase: &Passphrase,
) -> Result<SecretTexts, OpenError> {
    let key = derive(head, passphrase).ok_or(OpenError::Unknown)?;
    let text = key
        .open(LABEL, &context(head), sealed)
        // A wrong passphrase gives another key, and of another key no more can be said.
        .map_err(|_| OpenError::WrongPassphrase)?;
    SecretTexts::decode(&text).ok_or(OpenError::Unknown)
}

/// The parameters are sealed in, so that none can be exchanged.
fn context(head: &SealedHead) -> Vec<u8> {
    serde_json::to_vec(head).expect("texts and numbers have a JSON form")
}

fn derive(head: &SealedHead, passphrase: &Passphrase) -> Option<AuthSecret> {
    let is_known = head.kdf == KDF && head.cipher == CIPHER;
    let is_bounded =
        head.memory_kib <= MAX_MEMORY_KIB && head.passes <= MAX_PASSES && head.lanes <= MAX_LANES;
    if !is_known || !is_bounded {
        return None;
    }
    let salt = URL_SAFE_NO_PAD.decode(&head.salt).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(head.memory_kib, head.passes, head.lanes, Some(key.len())).ok()?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), &salt, &mut *key)
        .ok()?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*key));
    AuthSecret::parse(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> SecretTexts {
        SecretTexts {
            encryption: "1:encryption".to_owned().into(),
            auth: "auth".to_owned().into(),
        }
    }

    #[test]
    fn only_the_passphrase_opens_them() {
        let right = Passphrase::new("correct horse battery").unwrap();
        let wrong = Passphrase::new("correct horse batterx").unwrap();
        let (head, sealed) = seal(&texts(), &right).unwrap();
        let opened = open(&head, &sealed, &right).unwrap();
        assert_eq!(*opened.encryption, "1:encryption");
        assert_eq!(*opened.auth, "auth");
        let refused = open(&head, &sealed, &wrong).err();
        assert_eq!(refused, Some(OpenError::WrongPassphrase));
        for word in ["1:encryption", "auth", "correct"] {
            let mut windows = sealed.windows(word.len());
            assert!(!windows.any(|window| window == word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory_nor_exchange_parameters() {
        let passphrase = Passphrase::new("correct horse battery").unwrap();
        let (head, sealed) = seal(&texts(), &passphrase).unwrap();
        let check = |change: &dyn Fn(&mut SealedHead), expect| {
            let mut head = head.clone();
            change(&mut head);
            assert_eq!(open(&head, &sealed, &passphrase).err(), Some(expect));
        };
        check(&|head| head.memory_kib = u32::MAX, OpenError::Unknown);
        check(&|head| head.passes = 1000, OpenError::Unknown);
        check(&|head| head.kdf = "md5".to_owned(), OpenError::Unknown);
        check(&|head| head.passes = 1, OpenError::WrongPassphrase);
    }

    #[test]
    fn short_passphrases_are_refused() {
        let error = Passphrase::new("short words").unwrap_err();
        assert!(matches!(error, PassphraseError::TooShort), "{error}");
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), "correct horse battery\r\n").unwrap();
        let read = Passphrase::read(path.path()).unwrap();
        assert_eq!(*read.0, "correct horse battery");
        std::fs::write(path.path(), "x".repeat(5000)).unwrap();
        let error = Passphrase::read(path.path()).unwrap_err();
        assert!(matches!(error, PassphraseError::TooLong), "{error}");
    }
}
