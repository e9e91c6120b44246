//! What can be wrong with a configuration, each with what to do about it.

use std::io;
use std::path::PathBuf;

use super::Source;

/// Why the configuration was not accepted.
///
/// The text says what is wrong and where; [`hint`](Self::hint) says what to write instead. Neither ever holds the
/// value of a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file is absent although it was named, or cannot be read.
    #[error("configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// A key that no setting has.
    #[error("{}:{line}: unknown key `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its section.
        key: String,
        /// What to write instead.
        hint: String,
    },
    /// A setting has a value it cannot have.
    #[error("`{setting}` ({origin}) {problem}")]
    Invalid {
        /// The key of the setting, or the variable of a secret.
        setting: &'static str,
        /// Where the value comes from.
        origin: Source,
        /// What is wrong, continuing the sentence that begins with the setting.
        problem: String,
        /// What to write instead.
        fix: String,
    },
    /// The file that holds a secret cannot be read.
    #[error("`{setting}` ({origin}) names {}, which cannot be read", path.display())]
    SecretFile {
        /// The key of the setting.
        setting: &'static str,
        /// Where the name of the file comes from.
        origin: Source,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Two sources of the same rank give the same secret.
    #[error("both {first} and {second} are set")]
    Conflict {
        /// One variable.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// No data directory is named and the platform's own cannot be told.
    #[error(
        "no data directory is named, and the environment does not say where the home directory is"
    )]
    NoDataDir,
}

impl ConfigError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "check the name and the permissions of the file, or leave out --config and EPICENTER_CONFIG".to_owned()
            }
            Self::Syntax { line, .. } => {
                format!("correct line {line}; text stands in double quotes, as in listen = \"127.0.0.1:8787\"")
            }
            Self::UnknownKey { hint, .. } => hint.clone(),
            Self::Invalid { fix, .. } => fix.clone(),
            Self::SecretFile { .. } => "the file must exist and be readable by the user that runs the hub".to_owned(),
            Self::Conflict { second, .. } => format!("keep one of them, for example: unset {second}"),
            Self::NoDataDir => "name one with --data-dir or EPICENTER_DATA_DIR".to_owned(),
        }
    }
}
