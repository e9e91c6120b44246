//! Passwords: which are taken, how they are hashed, how a hash is checked.
//!
//! Argon2id with the parameters OWASP recommends (19 MiB, two passes, one lane) in the PHC string format, which names its
//! parameters, so that they can be raised without touching stored hashes. Hashing takes some milliseconds of a whole
//! core: never call it on an async thread.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::random::{self, RandomError};

/// NIST SP 800-63B 5.1.1.2: at least 8 characters, no rules of composition.
pub const MIN_PASSWORD_CHARACTERS: usize = 8;
/// Bounds the work that a request can ask for; longer than any phrase a person types.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Passwords that everybody tries first, one a line, lower case, none shorter than the minimum.
const TRIVIAL: &str = include_str!("password/trivial.txt");

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakPassword {
    /// Too few characters.
    #[error("the password has fewer than {MIN_PASSWORD_CHARACTERS} characters")]
    TooShort,
    /// More than any person types.
    #[error("the password has more than {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// Among the first that are tried.
    #[error("the password is one of those that are tried first")]
    Trivial,
    /// It is the account's own address or a part of it.
    #[error("the password is the account's own address")]
    IsAddress,
}

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// No salt could be drawn.
    #[error("no salt could be drawn")]
    Random(#[from] RandomError),
    /// The hash function refused.
    #[error("the password cannot be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// Whether a new password may be used for this account.
///
/// # Errors
/// What is wrong with it, never the password.
pub fn check_password(password: &str, email: &str) -> Result<(), WeakPassword> {
    if password.chars().count() < MIN_PASSWORD_CHARACTERS {
        return Err(WeakPassword::TooShort);
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(WeakPassword::TooLong);
    }
    let folded = password.to_lowercase();
    let local_part = email.rsplit_once('@').map_or(email, |(local, _)| local);
    if folded == email.to_lowercase() || folded == local_part.to_lowercase() {
        return Err(WeakPassword::IsAddress);
    }
    if is_one_character(&folded) || is_run(&folded) || TRIVIAL.lines().any(|line| line == folded) {
        return Err(WeakPassword::Trivial);
    }
    Ok(())
}

/// Hashes with a fresh salt.
///
/// # Errors
/// When the system gives no random bytes.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let salt = random::bytes::<16>()?;
    let hash = hasher()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(HashError::Hash)?;
    Ok(hash.to_string())
}

/// Whether the password belongs to a stored hash; a hash that cannot be read belongs to none.
pub fn verify_password(password: &str, hash: &str) -> bool {
    password.len() <= MAX_PASSWORD_BYTES
        && hasher().verify_password(password.as_bytes(), hash).is_ok()
}

/// Whether a hash was made with today's parameters.
pub(crate) fn is_current(hash: &str) -> bool {
    let today = format!(
        "$argon2id$v=19$m={},t={},p={}$",
        Params::DEFAULT_M_COST,
        Params::DEFAULT_T_COST,
        Params::DEFAULT_P_COST
    );
    hash.starts_with(&today)
}

/// A hash as a program with cheaper parameters would have made it.
#[cfg(test)]
pub(crate) fn hash_with_old_parameters(password: &str) -> String {
    let params = Params::new(4_096, 3, 1, None).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), b"sixteen bytes!!!")
        .unwrap()
        .to_string()
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn is_one_character(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first)
}

/// `abcdefgh`, `87654321`.
fn is_run(text: &str) -> bool {
    let steps = |step: i64| {
        text.chars()
            .zip(text.chars().skip(1))
            .all(|(left, right)| i64::from(u32::from(right)) - i64::from(u32::from(left)) == step)
    };
    steps(1) || steps(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_passwords_are_refused() {
        let check = |password: &str, expect| {
            assert_eq!(
                check_password(password, "ada@example.test"),
                expect,
                "{password}"
            );
        };
        check("seven77", Err(WeakPassword::TooShort));
        check("ééééééé", Err(WeakPassword::TooShort));
        check("correct horse", Ok(()));
        check("пароль-длинный", Ok(()));
        check("Password1", Err(WeakPassword::Trivial));
        check("QWERTYUIOP", Err(WeakPassword::Trivial));
        check("zzzzzzzzzzz", Err(WeakPassword::Trivial));
        check("23456789", Err(WeakPassword::Trivial));
        check("hgfedcba", Err(WeakPassword::Trivial));
        check("Ada@example.test", Err(WeakPassword::IsAddress));
        check(&"ab".repeat(512), Ok(()));
        check(&"ab".repeat(513), Err(WeakPassword::TooLong));
    }

    #[test]
    fn the_list_is_in_the_form_it_is_searched_in() {
        assert!(TRIVIAL.lines().count() > 100);
        for line in TRIVIAL.lines() {
            assert_eq!(line, line.to_lowercase());
            assert!(
                line.chars().count() >= MIN_PASSWORD_CHARACTERS,
                "{line} is too short to be needed"
            );
        }
    }

    #[test]
    fn a_hash_names_its_parameters_and_verifies() {
        let hash = hash_password("correct horse").unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(verify_password("correct horse", &hash));
        assert!(!verify_password("correct horsf", &hash));
        assert!(!verify_password("correct horse", "not a hash"));
        assert_ne!(hash, hash_password("correct horse").unwrap());
    }
}
