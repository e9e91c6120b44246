//! Secrets from the environment or from a file of their own, checked before anything starts.

use std::path::PathBuf;

use epicenter_encryption::{AuthSecret, RootKeyring};
use zeroize::Zeroizing;

use super::load::{Environment, Source};
use super::{ConfigError, SecretText, ai};

/// How short a secret may be: 32 bytes, as much as the keys that are derived from it.
const MIN_SECRET_BYTES: usize = 32;
/// A secret of fewer different bytes was typed, not generated.
const MIN_DIFFERENT_BYTES: usize = 8;

/// Which secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    Encryption,
    Auth,
    /// The address of the database, which may hold a password.
    Database,
    /// The key of a built-in AI provider, by its place in [`ai::BUILT_IN_NAMES`].
    Ai(usize),
}

impl Secret {
    /// The variables that hold it, the preferred one first.
    pub(super) const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Encryption => &["ENCRYPTION_SECRETS"],
            Self::Auth => &["AUTH_SECRET", "BETTER_AUTH_SECRET"],
            Self::Database => &["DATABASE_URL"],
            Self::Ai(0) => &["OPENAI_API_KEY"],
            Self::Ai(1) => &["GEMINI_API_KEY"],
            Self::Ai(_) => &["ANTHROPIC_API_KEY"],
        }
    }

    /// The key of the file that holds it.
    pub(super) const fn file_key(self) -> &'static str {
        match self {
            Self::Encryption => "encryption_secrets_file",
            Self::Auth => "auth_secret_file",
            Self::Database => "database_url_file",
            Self::Ai(0) => "ai.openai_api_key_file",
            Self::Ai(1) => "ai.gemini_api_key_file",
            Self::Ai(_) => "ai.anthropic_api_key_file",
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Encryption => {
                "put a new version of at least 32 random bytes first and keep the old ones, as in 2:NEW,1:OLD; `openssl rand -base64 32` makes one"
            }
            Self::Auth => "use at least 32 random bytes; `openssl rand -base64 32` makes them",
            Self::Ai(_) => ai::KEY_FIX,
            Self::Database => "write it like postgres://user:password@host:5432/database",
        }
    }
}

/// Reads a secret; `file` is what the file key or its variables name.
pub(super) fn read(
    secret: Secret,
    environment: &Environment<'_>,
    file: Option<(PathBuf, Source)>,
) -> Result<Option<(SecretText, Source)>, ConfigError> {
    let found = match environment.first_of(secret.variables())? {
        Some((variable, text)) => {
            if let Some((_, Source::Environment(file_variable))) = file {
                return Err(ConfigError::Conflict {
                    first: variable,
                    second: file_variable,
                });
            }
            Some((
                secret.variables()[0],
                Zeroizing::new(text),
                Source::Environment(variable),
            ))
        }
        None => match file {
            Some((path, origin)) => Some(read_file(secret, path, origin)?),
            None => None,
        },
    };
    let Some((setting, text, origin)) = found else {
        return Ok(None);
    };
    check(secret, &text).map_err(|problem| ConfigError::Invalid {
        setting,
        origin: origin.clone(),
        problem,
        fix: secret.fix().to_owned(),
    })?;
    Ok(Some((SecretText(text), origin)))
}

fn read_file(
    secret: Secret,
    path: PathBuf,
    origin: Source,
) -> Result<(&'static str, Zeroizing<String>, Source), ConfigError> {
    let setting = secret.file_key();
    match std::fs::read_to_string(&path) {
        Ok(mut text) => {
            // Editors and `echo` end a file with a line break; everything else belongs to the secret.
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
            Ok((setting, Zeroizing::new(text), origin))
        }
        Err(source) => Err(ConfigError::SecretFile {
            setting,
            origin,
            path,
            source,
        }),
    }
}

/// Whether a secret has its form and is strong enough; the answer never repeats it.
fn check(secret: Secret, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    match secret {
        Secret::Encryption => {
            RootKeyring::parse(text).map_err(|error| error.problem().to_string())?;
            // Data hangs on the older versions, so only the newest has to be strong.
            let newest = text
                .split(',')
                .filter_map(|entry| entry.split_once(':'))
                .max_by_key(|(version, _)| version.trim().parse::<u8>().unwrap_or(0))
                .map_or(text, |(_, value)| value);
            check_strength(newest)
        }
        Secret::Auth => {
            AuthSecret::parse(text).map_err(|error| error.problem().to_string())?;
            check_strength(text)
        }
        Secret::Ai(_) => ai::check_key(text).map_err(str::to_owned),
        Secret::Database => {
            let rest = text
                .strip_prefix("postgres://")
                .or_else(|| text.strip_prefix("postgresql://"));
            match rest {
                Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => Ok(()),
                _ => Err("is no address of a PostgreSQL database".to_owned()),
            }
        }
    }
}

fn check_strength(secret: &str) -> Result<(), String> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!("is too short: {} bytes", secret.len()));
    }
    let mut different: Vec<u8> = secret.bytes().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT_BYTES {
        return Err("repeats a few characters and can be guessed".to_owned());
    }
    Ok(())
}
