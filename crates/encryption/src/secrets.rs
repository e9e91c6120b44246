//! The grammar `2:newSecret,1:oldSecret` of the secrets that an operator sets.
//!
//! It is read strictly: a version is plain decimal digits without sign, space or leading zero.
//! A secret is used as it is written, without trimming; it may hold ':' but not ','.
//! Errors name the variable, the entry and the expected form, and never repeat any of the text.

/// A variable that holds secrets: its name and how to write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) form: &'static str,
}

impl Variable {
    pub(crate) fn error(self, problem: SecretsProblem) -> SecretsError {
        SecretsError {
            variable: self.name,
            form: self.form,
            problem,
        }
    }
}

/// Why the value of a variable was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}; {form}")]
pub struct SecretsError {
    variable: &'static str,
    form: &'static str,
    problem: SecretsProblem,
}

impl SecretsError {
    /// The variable whose value is wrong.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// What is wrong with it.
    pub fn problem(&self) -> SecretsProblem {
        self.problem
    }
}

/// What is wrong with a list of secrets. Entries count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsProblem {
    /// There is no text.
    #[error("is empty")]
    Empty,
    /// An entry does not separate version and secret.
    #[error("has no ':' in entry {entry}")]
    NoColon {
        /// Which one.
        entry: usize,
    },
    /// An entry begins with ':'.
    #[error("has no version in entry {entry}")]
    NoVersion {
        /// Which one.
        entry: usize,
    },
    /// The text before ':' is not a number from 1 to 255 in plain digits.
    #[error("has a version that is not a number from 1 to 255 in entry {entry}")]
    BadVersion {
        /// Which one.
        entry: usize,
    },
    /// An entry ends with its ':'.
    #[error("has no secret in entry {entry}")]
    NoSecret {
        /// Which one.
        entry: usize,
    },
    /// Two entries have one version.
    #[error("lists version {version} more than once")]
    DuplicateVersion {
        /// Which one.
        version: u8,
    },
    /// A secret is so short that it can be guessed. A secret without a version is version 1.
    #[error("has a secret of less than {minimum} bytes as version {version}")]
    TooShort {
        /// Which one.
        version: u8,
        /// What is asked for.
        minimum: usize,
    },
}

/// Reads the list; highest version first.
pub(crate) fn parse_versioned(text: &str) -> Result<Vec<(u8, &str)>, SecretsProblem> {
    if text.is_empty() {
        return Err(SecretsProblem::Empty);
    }
    let mut secrets: Vec<(u8, &str)> = Vec::new();
    for (position, part) in text.split(',').enumerate() {
        let (version, secret) = parse_entry(part, position + 1)?;
        if secrets.iter().any(|(existing, _)| *existing == version) {
            return Err(SecretsProblem::DuplicateVersion { version });
        }
        secrets.push((version, secret));
    }
    secrets.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    Ok(secrets)
}

/// Whether every part of the text is `version:secret`.
pub(crate) fn is_versioned(text: &str) -> bool {
    text.split(',').all(|part| parse_entry(part, 1).is_ok())
}

fn parse_entry(part: &str, entry: usize) -> Result<(u8, &str), SecretsProblem> {
    let (version, secret) = part
        .split_once(':')
        .ok_or(SecretsProblem::NoColon { entry })?;
    if version.is_empty() {
        return Err(SecretsProblem::NoVersion { entry });
    }
    let version = parse_version(version).ok_or(SecretsProblem::BadVersion { entry })?;
    if secret.is_empty() {
        return Err(SecretsProblem::NoSecret { entry });
    }
    Ok((version, secret))
}

/// Rust's own number parser would take a sign and leading zeros.
fn parse_version(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if is_plain { text.parse().ok() } else { None }
}
