//! Signing in and out, making accounts, changing passwords; what the JSON routes and the pages have in common.

use std::net::IpAddr;
use std::sync::Arc;

use epicenter_identity::UserId;
use http::HeaderMap;
use zeroize::Zeroizing;

use super::store::{Act, Actor, Session};
use crate::auth::BrowserSession;
use crate::ports::{PasswordProblem, StoreUnavailable, User};
use crate::secret::Secret;
use crate::state::HubState;

/// The circumstances of an attempt: from where, with which browser, and over which session it goes.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    /// The session that the browser has now; it ends when another begins.
    pub(crate) current: Option<BrowserSession>,
    /// The session is to outlive the browser.
    pub(crate) remember: bool,
}

/// A browser session that has just begun.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) user: Arc<User>,
    pub(crate) session: Session,
    pub(crate) token: Secret,
}

/// Why nobody was signed in or no account was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountError {
    /// Unknown address, wrong password or disabled account: never told apart.
    InvalidCredentials,
    /// No account exists yet: `/setup` or the command line comes first.
    SetupRequired,
    /// Passwords are switched off.
    PasswordsOff,
    /// Who may sign up is decided by the policy, and not this person.
    SignUpClosed,
    /// The link is unknown, spent or expired.
    LinkSpent,
    /// Another account has the address. Told only where sign-up by itself tells it.
    EmailTaken,
    InvalidEmail,
    InvalidName,
    Password(PasswordProblem),
    /// Too many attempts.
    TooMany {
        retry_after_s: u64,
    },
    /// Too many passwords wait to be checked.
    Busy,
    /// The sign-in is too long ago for this.
    NotRecent,
    Store,
}

impl From<StoreUnavailable> for AccountError {
    fn from(_: StoreUnavailable) -> Self {
        Self::Store
    }
}

/// What a sign-up form says.
#[derive(Debug)]
pub(crate) struct SignUp {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
    /// The token of an invitation.
    pub(crate) invitation: Option<Secret>,
}

/// What the setup form says.
#[derive(Debug)]
pub(crate) struct SetUp {
    pub(crate) link: Secret,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: Zeroizing<String>,
}

impl Attempt {
    /// The attempt that a request makes; the session is remembered unless the form says otherwise.
    pub(crate) fn of(
        _headers: &HeaderMap,
        ip: Option<IpAddr>,
        current: Option<BrowserSession>,
    ) -> Self {
        Self {
            ip,
            user_agent: None,
            current,
            remember: true,
        }
    }

    /// For the audit log.
    pub(crate) fn act(&self, at_ms: u64, actor: Actor) -> Act {
        Act {
            at_ms,
            actor,
            ip: self.ip,
        }
    }
}

impl HubState {
    /// Signs in with address and password and begins a session.
    pub(crate) async fn sign_in(
        &self,
        _email: &str,
        _password: Zeroizing<String>,
        _attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        unimplemented!()
    }

    /// Makes an account as the policy allows and begins a session.
    pub(crate) async fn sign_up(
        &self,
        _form: SignUp,
        _attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        unimplemented!()
    }

    /// Makes the first account and begins a session.
    pub(crate) async fn set_up(
        &self,
        _form: SetUp,
        _attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        unimplemented!()
    }

    /// Ends a browser session; grants stay.
    pub(crate) async fn sign_out(
        &self,
        _user: &UserId,
        _session: &Session,
        _attempt: &Attempt,
    ) -> Result<(), AccountError> {
        unimplemented!()
    }
}
