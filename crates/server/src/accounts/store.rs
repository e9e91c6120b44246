//! What accounts and browser sessions need from a store.
//!
//! Every method is one transaction. One that changes something writes its line of the audit log, and the revocations it
//! causes, in that same transaction.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use epicenter_identity::UserId;

use crate::ports::{StoreUnavailable, User};
use crate::secret::SecretHash;

/// Who does something, when and from where; for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Milliseconds since the Unix epoch: the time of the act for every rule in it.
    pub at_ms: u64,
    /// Who.
    pub actor: Actor,
    /// From where, for acts over the network.
    pub ip: Option<IpAddr>,
}

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who is not signed in.
    Nobody,
    /// A person, for themselves.
    User(UserId),
    /// Somebody with hands on the hub's machine or database.
    Operator,
    /// The hub itself: sweeps, detected misuse.
    Hub,
}

/// An account with what signs it in.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user: User,
    /// PHC string of Argon2id; none without a password.
    pub password_hash: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch; of the last change to the account.
    pub updated_at_ms: u64,
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Account")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// An account to be made; enabled.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Drawn by the caller: 32 letters and digits.
    pub id: UserId,
    /// Trimmed, ASCII lower case.
    pub email: String,
    /// Whether the address is proven to be this person's; an operator's word counts.
    pub email_verified: bool,
    /// Display name.
    pub name: String,
    /// PHC string of Argon2id.
    pub password_hash: Option<String>,
    /// Whether it administers the hub.
    pub admin: bool,
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewAccount")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The door through which an account comes into being; checked in the transaction that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// From beside the hub. The first account must be an administrator.
    Operator,
    /// The setup link: no account exists, the link is the current one and lives. Spends it.
    Setup {
        /// Hash of its token.
        link: SecretHash,
    },
    /// An invitation that lives and, when it names an address, names this one. Spends it.
    Invitation {
        /// Hash of its token.
        link: SecretHash,
    },
    /// Anybody, while the policy is open. Some account exists.
    SignUp,
}

/// What became of an account that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It exists now.
    Done,
    /// Another one has the address.
    EmailTaken,
    /// The first account must be an administrator ([`Door::Operator`]).
    FirstMustBeAdmin,
    /// No account exists yet ([`Door::SignUp`], [`Door::Invitation`]).
    SetupRequired,
    /// The link is unknown, spent, expired, for another address, or set up is over.
    LinkSpent,
}

/// An invitation to make an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Hash of its token.
    pub link: SecretHash,
    /// The only address that may use it, trimmed, ASCII lower case.
    pub email: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// Public id of a browser session, the `sid` of tokens; 32 letters and digits and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

impl SessionId {
    /// Takes any text: an id that no session has finds none.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it stands in `sid`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A browser session.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Public id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch; of its last extension.
    pub updated_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// When the person last proved who they are, in milliseconds since the Unix epoch.
    pub authenticated_at_ms: u64,
    /// Where it began.
    pub ip: Option<IpAddr>,
    /// The browser that began it, as it named itself, cut at 512 bytes.
    pub user_agent: Option<String>,
    /// "Keep me signed in" was declined: the cookie ends with the browser.
    pub ends_with_browser: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("id", &self.id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What ends together with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlsoEnd {
    /// Browser sessions only.
    Nothing,
    /// The grants of apps too: "sign out everywhere".
    Grants,
}

/// A new password and what it ends.
#[derive(Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// PHC string of Argon2id.
    pub password_hash: String,
    /// The session that goes on, under a new secret: the old hash and the new one. All others end.
    pub keep: Option<(SecretHash, SecretHash)>,
    /// What else ends.
    pub also: AlsoEnd,
}

impl fmt::Debug for PasswordChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PasswordChange")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Acts that change nothing else in the store, and yet are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A wrong password or unknown address; the address itself is not written down.
    SignInFailed,
    /// A wrong current password at a change of password.
    PasswordRefused,
}

/// Accounts.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Whether any account exists.
    async fn has_accounts(&self) -> Result<bool, StoreUnavailable>;

    /// The account of this id, enabled or not.
    async fn find_account(&self, id: &UserId) -> Result<Option<Account>, StoreUnavailable>;

    /// The account with this address (trimmed, ASCII lower case), enabled or not.
    async fn find_account_by_email(&self, email: &str)
    -> Result<Option<Account>, StoreUnavailable>;

    /// All accounts by address, at most `limit` after the address `after`; for operators.
    async fn list_accounts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, StoreUnavailable>;

    /// Makes an account if the door lets it in; otherwise nothing changes.
    async fn create_account(
        &self,
        account: &NewAccount,
        door: &Door,
        act: &Act,
    ) -> Result<Created, StoreUnavailable>;

    /// Makes this the one setup link, in place of any other; false when an account exists already.
    async fn put_setup_link(
        &self,
        link: &SecretHash,
        expires_at_ms: u64,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// Stores an invitation.
    async fn put_invitation(
        &self,
        invitation: &Invitation,
        act: &Act,
    ) -> Result<(), StoreUnavailable>;

    /// The invitation with this token, when it lives.
    async fn find_invitation(
        &self,
        link: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<Invitation>, StoreUnavailable>;

    /// Replaces the password; false when there is no such account.
    async fn change_password(
        &self,
        change: &PasswordChange,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// Replaces a password's hash by one of the same password with newer parameters, if the old one is still there.
    async fn rehash_password(
        &self,
        user: &UserId,
        old: &str,
        new: &str,
    ) -> Result<(), StoreUnavailable>;

    /// Disables or enables an account; false when there is none. Disabling ends its sessions, codes and grants.
    async fn set_enabled(
        &self,
        user: &UserId,
        enabled: bool,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// Writes a line of the audit log.
    async fn observe(
        &self,
        observed: Observed,
        user: Option<&UserId>,
        act: &Act,
    ) -> Result<(), StoreUnavailable>;
}

/// Browser sessions. Expired ones are as if they were not there.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Begins a session, and ends the one that the browser had; false when the account does not exist or is disabled.
    async fn insert_session(
        &self,
        token: &SecretHash,
        session: &Session,
        replaces: Option<&SecretHash>,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// The session with this secret and its account, when that is enabled.
    async fn find_session(
        &self,
        token: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<(Session, User)>, StoreUnavailable>;

    /// Moves the end of a session.
    async fn extend_session(
        &self,
        token: &SecretHash,
        expires_at_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable>;

    /// A person's sessions, the newest first.
    async fn list_sessions(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Session>, StoreUnavailable>;

    /// Ends one session of this person; false when there is none. Grants stay.
    async fn end_session(
        &self,
        user: &UserId,
        session: &SessionId,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// Ends a person's sessions but one, and what is said besides; how many sessions ended.
    async fn end_sessions(
        &self,
        user: &UserId,
        keep: Option<&SessionId>,
        also: AlsoEnd,
        act: &Act,
    ) -> Result<u64, StoreUnavailable>;
}
