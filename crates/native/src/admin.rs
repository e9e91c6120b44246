//! What an operator does to a hub from beside it: accounts, links that let people in, access tokens, signing keys.
//!
//! An [`Administrator`] opens the data directory without its lock, so that it works while a hub serves and while none
//! does; the identity store's transactions keep both right. A token it mints is one like any other: signed by the hub's
//! own key, for the built-in client of the command line, under a grant of its own that can be revoked alone.

mod credits;
mod error;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use epicenter_encryption::AuthSecret;
use epicenter_identity::{ClientId, Scopes, UserId};
use epicenter_server::accounts::store::{
    Account, Accounts as _, Act, Actor, AlsoEnd, Created, Door, Invitation, NewAccount,
    PasswordChange, Sessions as _,
};
use epicenter_server::config::PublicOrigin;
use epicenter_server::oauth::store::{Grant, Grants as _};
use epicenter_server::ports::{Clock as _, User};
use epicenter_server::secret::Secret;
use epicenter_store::SqlStore;
use tokio::runtime::{self, Runtime};
use zeroize::Zeroizing;

use crate::clock::HostClock;
use crate::config::SecretText;
use crate::data_dir::DataDir;
use crate::identity_store::{self, StoreError};
use crate::keys::{self, AccessTokenClaims, SigningKey, TokenSigner};
use crate::password;
use crate::random::{self, OsRandom};
use crate::store::{self, OpenStore, StoreLocation};

pub use credits::CreditsOfUser;
pub use error::AdminError;

/// The client that tokens of the command line are made for.
pub const COMMAND_LINE_CLIENT: &str = "epicenter-cli";

/// A setup link lives for half an hour (`identity.md` 1).
pub const SETUP_LINK_LIFE_MS: u64 = 30 * 60_000;

/// RFC 5321 4.5.3.1.3: a path holds 256 bytes, two of them the angle brackets.
const MAX_EMAIL_BYTES: usize = 254;
const USER_ID_CHARACTERS: usize = 32;

/// Accounts that are read at once.
const PAGE: usize = 1_000;

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

/// An operator's hands on a data directory. Its methods block; they are not for async threads.
#[derive(Debug)]
pub struct Administrator {
    /// Dropped before the runtime that may drive its connections.
    store: SqlStore,
    /// Whether processes with other data directories may use the store.
    is_shared: bool,
    data_dir: DataDir,
    auth_secret: Option<SecretText>,
    clock: HostClock,
    runtime: Runtime,
}

impl Administrator {
    /// Opens the data directory of a hub that keeps its secrets itself.
    ///
    /// # Errors
    /// When there is no such directory, or its store cannot be opened.
    pub fn open(path: &Path) -> Result<Self, AdminError> {
        Self::open_with(path, None, None)
    }

    /// Opens what a hub has that is given `AUTH_SECRET` or `DATABASE_URL`. With a database the data directory need not
    /// exist; the secret may still be in it.
    ///
    /// # Errors
    /// When there is no such directory, or the store cannot be opened.
    pub fn open_with(
        path: &Path,
        auth_secret: Option<SecretText>,
        database_url: Option<&SecretText>,
    ) -> Result<Self, AdminError> {
        let data_dir = match database_url {
            Some(_) => DataDir::open_if_present(path)?,
            None => DataDir::open(path)?,
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Start)?;
        let location = StoreLocation::of(database_url, &data_dir);
        let opened = runtime.block_on(store::open(&location))?;
        let OpenStore { store, shared, .. } = opened;
        Ok(Self {
            store,
            is_shared: shared.is_some(),
            data_dir,
            auth_secret,
            clock: HostClock::start(),
            runtime,
        })
    }

    /// Whether any account exists.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_users(&self) -> Result<bool, AdminError> {
        Ok(self.runtime.block_on(self.store.has_accounts())?)
    }

    /// Whether an account has this address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_user(&self, email: &str) -> Result<bool, AdminError> {
        Ok(self.find_account(email)?.is_some())
    }

    /// All accounts, by address.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list_users(&self) -> Result<Vec<User>, AdminError> {
        let mut users: Vec<User> = Vec::new();
        loop {
            let after = users.last().map(|user| user.email.clone());
            let page = self.store.list_accounts(after.as_deref(), PAGE);
            let page = self.runtime.block_on(page)?;
            let is_last = page.len() < PAGE;
            users.extend(page.into_iter().map(|account| account.user));
            if is_last {
                return Ok(users);
            }
        }
    }

    /// Makes an account, verified by the operator. Blocks while the password is hashed.
    ///
    /// # Errors
    /// When the address or password is not taken, or the first account is no administrator.
    pub fn add_user(&self, user: NewUser) -> Result<User, AdminError> {
        let email = parse_email(&user.email)?;
        password::check_password(&user.password, &email)?;
        let password_hash = password::hash_password(&user.password)?;
        let local_part = email.rsplit_once('@').map_or("", |(local, _)| local);
        let name = Some(user.name.trim()).filter(|name| !name.is_empty());
        let new = NewAccount {
            id: new_user_id()?,
            name: name.unwrap_or(local_part).to_owned(),
            email,
            email_verified: true,
            password_hash: Some(password_hash),
            admin: user.admin,
        };
        let act = self.act();
        let made = self.store.create_account(&new, &Door::Operator, &act);
        match self.runtime.block_on(made)? {
            Created::Done => Ok(User {
                id: new.id,
                email: new.email,
                email_verified: new.email_verified,
                name: new.name,
                enabled: true,
                admin: new.admin,
            }),
            Created::FirstMustBeAdmin => Err(AdminError::FirstMustBeAdmin),
            // An operator passes through every other door.
            _ => Err(AdminError::EmailTaken(new.email)),
        }
    }

    /// Disables an account, which ends its sessions, grants and sockets at once, or enables it again.
    ///
    /// # Errors
    /// When nobody has this address.
    pub fn set_enabled(&self, email: &str, enabled: bool) -> Result<(), AdminError> {
        let user = self.account(email)?.user;
        let act = self.act();
        let changed = self.store.set_enabled(&user.id, enabled, &act);
        if self.runtime.block_on(changed)? {
            Ok(())
        } else {
            Err(AdminError::NoSuchUser(user.email))
        }
    }

    /// Sets a new password and signs the account out everywhere, apps included. Blocks while the password is hashed.
    ///
    /// # Errors
    /// When nobody has this address, or the password is not taken.
    pub fn reset_password(
        &self,
        email: &str,
        new_password: Zeroizing<String>,
    ) -> Result<(), AdminError> {
        let user = self.account(email)?.user;
        password::check_password(&new_password, &user.email)?;
        let change = PasswordChange {
            user: user.id,
            password_hash: password::hash_password(&new_password)?,
            keep: None,
            also: AlsoEnd::Grants,
        };
        let act = self.act();
        let changed = self.store.change_password(&change, &act);
        if self.runtime.block_on(changed)? {
            Ok(())
        } else {
            Err(AdminError::NoSuchUser(user.email))
        }
    }

    /// Gives a person an account back: a new password, and it is enabled. The old password never opens it in between.
    ///
    /// # Errors
    /// When nobody has this address, or the password is not taken.
    pub fn recover(&self, email: &str, new_password: Zeroizing<String>) -> Result<(), AdminError> {
        self.reset_password(email, new_password)?;
        self.set_enabled(email, true)
    }

    /// Makes a setup link in place of any other; its token.
    ///
    /// # Errors
    /// When there is an account already.
    pub fn new_setup_link(&self) -> Result<Secret, AdminError> {
        let act = self.act();
        let made = new_setup_link(&self.store, act);
        self.runtime.block_on(made)
    }

    /// Makes an invitation, for one address or for whoever has the link; its token.
    ///
    /// # Errors
    /// When the address is none.
    pub fn invite(&self, email: Option<String>, lifetime_s: u64) -> Result<Secret, AdminError> {
        let email = email.map(|email| parse_email(&email)).transpose()?;
        let act = self.act();
        let token = draw_secret()?;
        let invitation = Invitation {
            link: token.hash(),
            email,
            expires_at_ms: act.at_ms.saturating_add(lifetime_s.saturating_mul(1_000)),
        };
        self.runtime
            .block_on(self.store.put_invitation(&invitation, &act))?;
        Ok(token)
    }

    /// Makes a signing key that takes over in a minute; its key id.
    ///
    /// # Errors
    /// When the store fails, or `AUTH_SECRET` is lost.
    pub fn rotate_signing_key(&self) -> Result<String, AdminError> {
        let secret = self.load_auth_secret()?;
        let rotated = store::rotate_signing_key(&self.store, &secret, self.clock.now_ms());
        Ok(self.runtime.block_on(rotated)?)
    }

    /// Ends every session and every grant of every account, and makes a signing key that takes over in a minute; how many
    /// accounts there are. For accounts that came back from a dump of PostgreSQL.
    ///
    /// # Errors
    /// When the store fails, or `AUTH_SECRET` is lost.
    pub fn sign_everybody_out(&self) -> Result<usize, AdminError> {
        let users = self.list_users()?;
        for user in &users {
            let act = self.act();
            let ended = self
                .store
                .end_sessions(&user.id, None, AlsoEnd::Grants, &act);
            self.runtime.block_on(ended)?;
        }
        self.rotate_signing_key()?;
        Ok(users.len())
    }

    /// Signs an access token with every scope, under a grant of its own.
    ///
    /// # Errors
    /// When nobody has this address, or `AUTH_SECRET` is lost.
    pub fn mint_token(
        &self,
        email: &str,
        lifetime_s: u64,
        origin: &PublicOrigin,
    ) -> Result<String, AdminError> {
        let user = self.account(email)?.user;
        if !user.enabled {
            return Err(AdminError::Disabled(user.email));
        }
        let act = self.act();
        let secret = self.load_auth_secret()?;
        let key = self.signing_key(&secret, act.at_ms)?;
        let grant = new_grant(user.id, lifetime_s, origin, act.at_ms)?;
        let claims = AccessTokenClaims {
            user: grant.user.clone(),
            client: grant.client.clone(),
            scopes: grant.scopes,
            grant: grant.id.clone(),
            session: None,
            issued_at_ms: act.at_ms,
            lifetime_s,
        };
        let token = TokenSigner::new(key, origin)
            .mint_access_token(&claims)
            .map_err(AdminError::Sign)?;
        self.runtime
            .block_on(self.store.insert_grant(&grant, &act))?;
        Ok(token)
    }

    /// The origin that `serve` recorded last.
    ///
    /// # Errors
    /// When no hub has served this directory.
    pub fn recorded_origin(&self) -> Result<PublicOrigin, AdminError> {
        let found = identity_store::find_origin(&self.store);
        self.runtime
            .block_on(found)?
            .ok_or_else(|| AdminError::NoOrigin(self.data_dir.path().to_owned()))
    }

    fn find_account(&self, email: &str) -> Result<Option<Account>, AdminError> {
        let email = email.trim().to_ascii_lowercase();
        let found = self.store.find_account_by_email(&email);
        Ok(self.runtime.block_on(found)?)
    }

    fn account(&self, email: &str) -> Result<Account, AdminError> {
        self.find_account(email)?
            .ok_or_else(|| AdminError::NoSuchUser(email.to_owned()))
    }

    fn signing_key(&self, secret: &AuthSecret, now_ms: u64) -> Result<Arc<SigningKey>, AdminError> {
        let key = async {
            if self.is_shared {
                store::share_signing_key(&self.store, secret, now_ms).await
            } else {
                store::ensure_signing_key(&self.store, secret, now_ms).await
            }
        };
        Ok(self.runtime.block_on(key)?)
    }

    fn act(&self) -> Act {
        operator(self.clock.now_ms())
    }

    fn load_auth_secret(&self) -> Result<AuthSecret, AdminError> {
        let given = self.auth_secret.as_ref().map(SecretText::expose);
        if self.is_shared {
            return Ok(self.data_dir.find_shared_auth_secret(given)?);
        }
        let loaded = self.data_dir.load_auth_secret(given, &self.store);
        Ok(self.runtime.block_on(loaded)?.0)
    }
}

/// Makes a setup link in place of any other; for a hub that starts, too.
pub(crate) async fn new_setup_link(store: &SqlStore, act: Act) -> Result<Secret, AdminError> {
    let token = draw_secret()?;
    let expires_at_ms = act.at_ms.saturating_add(SETUP_LINK_LIFE_MS);
    if store
        .put_setup_link(&token.hash(), expires_at_ms, &act)
        .await?
    {
        Ok(token)
    } else {
        Err(AdminError::AlreadySetUp)
    }
}

/// An act of whoever holds the machine.
pub(crate) fn operator(at_ms: u64) -> Act {
    Act {
        at_ms,
        actor: Actor::Operator,
        ip: None,
    }
}

/// The port that draws secrets cannot fail; whether the system has random bytes at all is asked first.
fn draw_secret() -> Result<Secret, AdminError> {
    random::bytes::<1>().map_err(StoreError::from)?;
    Ok(Secret::draw(&OsRandom))
}

fn new_grant(
    user: UserId,
    lifetime_s: u64,
    origin: &PublicOrigin,
    now_ms: u64,
) -> Result<Grant, AdminError> {
    let scopes = Scopes::all();
    Ok(Grant {
        id: keys::new_grant().map_err(AdminError::Sign)?,
        user,
        client: ClientId::parse(COMMAND_LINE_CLIENT).expect("the constant is a valid client id"),
        scopes,
        requested_scope: scopes.to_string(),
        resource: origin.as_str().to_owned(),
        session: None,
        authenticated_at_ms: now_ms,
        created_at_ms: now_ms,
        expires_at_ms: now_ms.saturating_add(lifetime_s.saturating_mul(1_000)),
        revoked: false,
        version: 0,
    })
}

fn parse_email(text: &str) -> Result<String, AdminError> {
    let email = text.trim().to_ascii_lowercase();
    let has_form = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    let is_text = !email
        .chars()
        .any(|character| character.is_whitespace() || character.is_control());
    if has_form && is_text && email.len() <= MAX_EMAIL_BYTES {
        Ok(email)
    } else {
        Err(AdminError::InvalidEmail(text.to_owned()))
    }
}

fn new_user_id() -> Result<UserId, StoreError> {
    let text = random::alphanumeric(USER_ID_CHARACTERS)?;
    // 62^32 texts are valid; the one word that is no user id is shorter.
    UserId::parse(&text).map_err(|_| StoreError::Damaged("a new user id is invalid"))
}
