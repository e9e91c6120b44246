//! What an operator does to a hub from beside it: adding accounts, minting access tokens.
//!
//! An [`Administrator`] opens the data directory without its lock, so that it works while a hub serves and while none
//! does; the identity store's transactions keep both right. A token it mints is one like any other: signed by the hub's
//! own key, for the built-in client of the command line, under a grant of its own that can be revoked alone.

use std::fmt;
use std::path::{Path, PathBuf};

use epicenter_encryption::AuthSecret;
use epicenter_identity::{ClientId, Scopes};
use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::{Clock as _, User};
use zeroize::Zeroizing;

use crate::clock::HostClock;
use crate::config::SecretText;
use crate::data_dir::{DataDir, DataDirError};
use crate::identity_store::{self, AddUserError, IdentityStore, StoreError};
use crate::keys::{self, AccessTokenClaims, KeyError, TokenSigner};

/// The client that tokens of the command line are made for.
pub const COMMAND_LINE_CLIENT: &str = "epicenter-cli";

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
    /// The account was not made.
    #[error(transparent)]
    AddUser(#[from] AddUserError),
    /// Nobody has this address.
    #[error("no account has the address {0}")]
    NoSuchUser(String),
    /// The account may not use the hub.
    #[error("the account {0} is disabled")]
    Disabled(String),
    /// No hub has ever served this directory, so its origin is not known.
    #[error("the origin of the hub is not known, because it has not served {} yet", .0.display())]
    NoOrigin(PathBuf),
    /// The token could not be signed.
    #[error("the token cannot be signed")]
    Sign(#[source] KeyError),
}

impl AdminError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DataDir(DataDirError::Missing { .. }) => {
                "start the hub once with `epicenter serve`, or name its folder with --data-dir"
            }
            Self::DataDir(_) => {
                "run this as the user that runs the hub, with the same configuration"
            }
            Self::Store(_) => {
                "check the disk and run this as the user that runs the hub; `epicenter serve` with the same folder says more"
            }
            Self::AddUser(error) => error
                .hint()
                .unwrap_or("see the message above; nothing was stored"),
            Self::NoSuchUser(_) => {
                "add it first: epicenter admin user add --email EMAIL --password-stdin"
            }
            Self::Disabled(_) => "a token for it would be refused; name another account",
            Self::NoOrigin(_) => {
                "start the hub once with `epicenter serve`, or name its origin with --public-origin"
            }
            Self::Sign(_) => "the system gave no random bytes; try again",
        }
    }
}

/// An account to be made.
pub struct NewUser {
    /// The address; case does not matter.
    pub email: String,
    /// Shown to others; empty means the part of the address before the `@`.
    pub name: String,
    /// Hashed before anything is stored.
    pub password: Zeroizing<String>,
    /// Whether the account administers the hub.
    pub admin: bool,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewUser")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// An operator's hands on a data directory.
#[derive(Debug)]
pub struct Administrator {
    data_dir: DataDir,
    store: IdentityStore,
    auth_secret: Option<SecretText>,
    clock: HostClock,
}

impl Administrator {
    /// Opens the data directory of a hub that keeps its secrets itself.
    ///
    /// # Errors
    /// When there is no such directory, or its store cannot be opened.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        Self::open_with(path, None)
    }

    /// Opens the data directory of a hub that is given `AUTH_SECRET`.
    ///
    /// # Errors
    /// When there is no such directory, or its store cannot be opened.
    pub fn open_with(path: &Path, auth_secret: Option<SecretText>) -> Result<Self, AdminError> {
        let data_dir = DataDir::open(path)?;
        let store = IdentityStore::open(&data_dir.identity_database())?;
        Ok(Self {
            data_dir,
            store,
            auth_secret,
            clock: HostClock::start(),
        })
    }

    /// Whether an account has this address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_user(&self, email: &str) -> Result<bool, AdminError> {
        Ok(self.store.find_user_by_email(email)?.is_some())
    }

    /// Makes an account, verified by the operator. Blocks while the password is hashed.
    ///
    /// # Errors
    /// When the address or password is not taken, or the first account is no administrator.
    pub fn add_user(&self, user: NewUser) -> Result<User, AdminError> {
        let name = Some(user.name.trim()).filter(|name| !name.is_empty());
        let new = identity_store::NewUser {
            email: &user.email,
            password: &user.password,
            name,
            admin: user.admin,
        };
        Ok(self.store.add_user(&new, self.clock.now_ms())?)
    }

    /// Signs an access token with every scope.
    ///
    /// # Errors
    /// When nobody has this address, or `AUTH_SECRET` is lost.
    pub fn mint_token(
        &self,
        email: &str,
        lifetime_s: u64,
        origin: &PublicOrigin,
    ) -> Result<String, AdminError> {
        let user = self
            .store
            .find_user_by_email(email)?
            .ok_or_else(|| AdminError::NoSuchUser(email.to_owned()))?;
        if !user.enabled {
            return Err(AdminError::Disabled(user.email));
        }
        let now_ms = self.clock.now_ms();
        let key = self
            .store
            .ensure_signing_key(&self.load_auth_secret()?, now_ms)?;
        let claims = AccessTokenClaims {
            user: user.id,
            client: ClientId::parse(COMMAND_LINE_CLIENT)
                .expect("the constant is a valid client id"),
            scopes: Scopes::all(),
            grant: keys::new_grant().map_err(AdminError::Sign)?,
            session: None,
            issued_at_ms: now_ms,
            lifetime_s,
        };
        TokenSigner::new(key, origin)
            .mint_access_token(&claims)
            .map_err(AdminError::Sign)
    }

    /// The origin that `serve` recorded last.
    ///
    /// # Errors
    /// When no hub has served this directory.
    pub fn recorded_origin(&self) -> Result<PublicOrigin, AdminError> {
        self.store
            .find_origin()?
            .ok_or_else(|| AdminError::NoOrigin(self.data_dir.path().to_owned()))
    }

    fn load_auth_secret(&self) -> Result<AuthSecret, AdminError> {
        let given = self.auth_secret.as_ref().map(SecretText::expose);
        Ok(self.data_dir.load_auth_secret(given, &self.store)?.0)
    }
}
