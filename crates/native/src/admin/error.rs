//! Why an operator's wish was not carried out, and what to do about it.

use std::path::PathBuf;

use epicenter_server::ports::StoreUnavailable;

use super::credits::MAX_NOTE_CHARACTERS;
use crate::data_dir::DataDirError;
use crate::identity_store::{OTHER_AUTH_SECRET_HINT, StoreError};
use crate::keys::KeyError;
use crate::password::{HashError, WeakPassword};

/// Why an operator's wish was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The identity store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No runtime for the store could be started.
    #[error("the command cannot be started")]
    Start(#[source] std::io::Error),
    /// The address has no form that could be one.
    #[error("{0:?} is not an email address")]
    InvalidEmail(String),
    /// There is such an account.
    #[error("an account with the address {0} exists already")]
    EmailTaken(String),
    /// The first account administers the hub.
    #[error("the first account must be an administrator")]
    FirstMustBeAdmin,
    /// Setup is over.
    #[error("the hub is set up: there are accounts already")]
    AlreadySetUp,
    /// The password is not taken.
    #[error(transparent)]
    WeakPassword(#[from] WeakPassword),
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// Nobody has this address.
    #[error("no account has the address {0}")]
    NoSuchUser(String),
    /// The account may not use the hub.
    #[error("the account {0} is disabled")]
    Disabled(String),
    /// No hub has ever served this directory, so its origin is not known.
    #[error("the origin of the hub is not known, because it has not served {} yet", .0.display())]
    NoOrigin(PathBuf),
    /// Nobody pays for calls here.
    #[error("calls cost nothing on this hub, so that there are no credits to give")]
    NoCredits,
    /// No such amount can be given.
    #[error("{0:?} is no amount that can be given")]
    InvalidCredits(String),
    /// The account would have more than can be counted.
    #[error("the account {0} would have more credits than can be counted; nothing was given")]
    TooManyCredits(String),
    /// The note cannot stand in the audit log.
    #[error("the note is longer than {MAX_NOTE_CHARACTERS} characters, or not one line of text")]
    InvalidNote,
    /// The token could not be signed.
    #[error("the token cannot be signed")]
    Sign(#[source] KeyError),
}

impl From<StoreUnavailable> for AdminError {
    fn from(error: StoreUnavailable) -> Self {
        Self::Store(error.into())
    }
}

impl AdminError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DataDir(DataDirError::Missing { .. }) => {
                "start the hub once with `epicenter serve`, or name its folder with --data-dir"
            }
            Self::DataDir(DataDirError::SecretNotShared { .. }) => {
                "set AUTH_SECRET as the hub has it, or name its data directory with --data-dir; a hub's first start makes one"
            }
            Self::DataDir(_) => {
                "run this as the user that runs the hub, with the same configuration"
            }
            Self::Store(StoreError::Postgres(error)) => error.hint(),
            Self::Store(StoreError::OtherAuthSecret) => OTHER_AUTH_SECRET_HINT,
            Self::Store(_) => {
                "check the disk and run this as the user that runs the hub; `epicenter serve` with the same folder says more"
            }
            Self::Start(_) => "check the limits on threads and open files",
            Self::InvalidEmail(_) => "write it as name@example.org",
            Self::EmailTaken(_) => "see the message above; nothing was stored",
            Self::FirstMustBeAdmin => "add --admin: nobody else could manage this hub otherwise",
            Self::AlreadySetUp => {
                "use `epicenter admin user invite` for another account, and `epicenter admin user recover` for a lost one"
            }
            Self::WeakPassword(_) => "use a long phrase that nobody else uses",
            Self::NoSuchUser(_) => {
                "add it first: epicenter admin user add --email EMAIL --password-stdin"
            }
            Self::Disabled(_) => "a token for it would be refused; name another account",
            Self::NoOrigin(_) => {
                "start the hub once with `epicenter serve`, or name its origin with --public-origin"
            }
            Self::NoCredits => {
                "set ai.credits in the configuration and restart the hub; with --config FILE this command reads the same one"
            }
            Self::InvalidCredits(_) => {
                "write a number above zero and up to 1000000000, with at most three digits after the point, such as 12.5"
            }
            Self::TooManyCredits(_) => "`epicenter admin credits show` prints what it has",
            Self::InvalidNote => "say shortly why, such as --note 'invoice 7'",
            Self::Hash(_) | Self::Sign(_) => "the system gave no random bytes; try again",
        }
    }
}
