//! Signing in and out, making accounts, changing passwords; what the JSON routes and the pages have in common.

use std::net::IpAddr;
use std::sync::Arc;

use epicenter_identity::UserId;
use http::HeaderMap;
use http::header::{HeaderValue, USER_AGENT};
use zeroize::Zeroizing;

use super::rules;
use super::store::{Account, Act, Actor, Created, Door, NewAccount, Observed, Session};
use crate::auth::{BrowserSession, cookie};
use crate::config::SignUpPolicy;
use crate::limits::{Kind, RetryAfter};
use crate::ports::{
    HashingError, Observation, PasswordCheck, PasswordProblem, StoreUnavailable, User,
};
use crate::secret::Secret;
use crate::state::HubState;

/// What browsers say of themselves is cut here; the longest of them need half of it.
const MAX_USER_AGENT_BYTES: usize = 512;

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
    Store,
}

impl AccountError {
    /// A stable name for those who count.
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidCredentials => "invalid_credentials",
            Self::SetupRequired => "setup_required",
            Self::PasswordsOff => "passwords_off",
            Self::TooMany { .. } => "rate_limited",
            Self::Busy => "busy",
            Self::Store => "unavailable",
            Self::SignUpClosed
            | Self::LinkSpent
            | Self::EmailTaken
            | Self::InvalidEmail
            | Self::InvalidName
            | Self::Password(_) => "invalid_request",
        }
    }
}

impl From<StoreUnavailable> for AccountError {
    fn from(_: StoreUnavailable) -> Self {
        Self::Store
    }
}

impl From<RetryAfter> for AccountError {
    fn from(RetryAfter { seconds }: RetryAfter) -> Self {
        Self::TooMany {
            retry_after_s: seconds,
        }
    }
}

impl From<PasswordProblem> for AccountError {
    fn from(problem: PasswordProblem) -> Self {
        Self::Password(problem)
    }
}

impl From<HashingError> for AccountError {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy => Self::Busy,
            // A hash that cannot be read is a store that does not give what was stored.
            HashingError::Failed => Self::Store,
        }
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
        headers: &HeaderMap,
        ip: Option<IpAddr>,
        current: Option<BrowserSession>,
    ) -> Self {
        let user_agent = headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            // Visible ASCII: every byte is a character.
            .map(|text| text.chars().take(MAX_USER_AGENT_BYTES).collect());
        Self {
            ip,
            user_agent,
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

impl SignedIn {
    /// The session as the next request of this browser would name it.
    pub(crate) fn browser_session(&self) -> BrowserSession {
        BrowserSession {
            token: self.token.clone(),
            session: self.session.clone(),
            user: Arc::clone(&self.user),
        }
    }
}

impl HubState {
    /// Signs in with address and password and begins a session.
    ///
    /// Whatever the address is, exactly one password is hashed and, when it fails, one line of the audit log written: no
    /// answer, and no answer's time, tells whether somebody has an account.
    pub(crate) async fn sign_in(
        &self,
        email: &str,
        password: Zeroizing<String>,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        let result = self.try_sign_in(email, password, attempt).await;
        let observation = match &result {
            Ok(_) => Observation::SignedIn,
            Err(error) => Observation::SignInRefused(error.code()),
        };
        self.ports.observer.observe(observation);
        result
    }

    async fn try_sign_in(
        &self,
        email: &str,
        password: Zeroizing<String>,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        self.admit_attempt(attempt)?;
        if !self.ports.accounts.has_accounts().await? {
            return Err(AccountError::SetupRequired);
        }
        let account = match rules::parse_email(email) {
            Some(email) => self.ports.accounts.find_account_by_email(&email).await?,
            None => None,
        };
        let enabled = account.as_ref().filter(|account| account.user.enabled);
        let guess = Guess {
            email,
            password,
            hash: enabled.and_then(|account| account.password_hash.clone()),
            account: account.as_ref().map(|account| &account.user.id),
            refusal: Observed::SignInFailed,
        };
        let hash = self.check_guess(guess, attempt).await?;
        let user = account.ok_or(AccountError::InvalidCredentials)?.user;
        let signed_in = self.begin_session(user, attempt).await?;
        // A change of password ends the sessions that it finds; one that begins with the old password just afterwards must
        // not slip through.
        if self.still_has_password(&signed_in.user.id, &hash).await? {
            Ok(signed_in)
        } else {
            let SignedIn { user, session, .. } = signed_in;
            self.sign_out(&user.id, &session, attempt).await?;
            Err(AccountError::InvalidCredentials)
        }
    }

    /// Makes an account as the policy allows and begins a session.
    ///
    /// With the policy `open` an account is made or not, and that tells whether the address had one: without mail nothing
    /// else can be answered. It costs as much either way and is rate-limited like a sign-in. Nobody else learns it.
    pub(crate) async fn sign_up(
        &self,
        form: SignUp,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        self.admit_attempt(attempt)?;
        if !self.ports.accounts.has_accounts().await? {
            return Err(AccountError::SetupRequired);
        }
        let (door, invited) = self.sign_up_door(form.invitation.as_ref()).await?;
        let email = rules::parse_email(&form.email).ok_or(AccountError::InvalidEmail)?;
        let email_verified = match invited {
            None => false,
            // The operator vouches for the address that was written into the invitation and for no other.
            Some(Invited::As(invited)) if invited == email => true,
            Some(Invited::As(_)) => return Err(AccountError::LinkSpent),
            Some(Invited::Anybody) => false,
        };
        let person = NewPerson {
            email,
            email_verified,
            name: form.name,
            password: form.password,
            admin: false,
        };
        self.create(person, &door, attempt).await
    }

    /// Makes the first account and begins a session.
    pub(crate) async fn set_up(
        &self,
        form: SetUp,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        self.admit_attempt(attempt)?;
        // The store decides in its transaction; here it is asked so that nothing is hashed for a link that is over.
        if self.ports.accounts.has_accounts().await? {
            return Err(AccountError::LinkSpent);
        }
        let email = rules::parse_email(&form.email).ok_or(AccountError::InvalidEmail)?;
        let person = NewPerson {
            email,
            email_verified: true,
            name: form.name,
            password: form.password,
            admin: true,
        };
        let link = form.link.hash();
        self.create(person, &Door::Setup { link }, attempt).await
    }

    /// Ends a browser session; grants stay.
    pub(crate) async fn sign_out(
        &self,
        user: &UserId,
        session: &Session,
        attempt: &Attempt,
    ) -> Result<(), AccountError> {
        let act = attempt.act(self.now_ms(), Actor::User(user.clone()));
        let sessions = &self.ports.sessions;
        // One that is over already is what was asked for.
        sessions.end_session(user, &session.id, &act).await?;
        Ok(())
    }

    /// The attempt counts against its address.
    fn admit_attempt(&self, attempt: &Attempt) -> Result<(), AccountError> {
        if !self.config.accounts.password {
            return Err(AccountError::PasswordsOff);
        }
        let limits = &self.limits;
        limits.check(Kind::SignIn, attempt.ip, None, self.now_ms())?;
        Ok(())
    }

    /// How somebody comes in, by policy and invitation. A token that is no living invitation is refused before anything is
    /// hashed for it.
    async fn sign_up_door(
        &self,
        invitation: Option<&Secret>,
    ) -> Result<(Door, Option<Invited>), AccountError> {
        let invitation = match (self.config.accounts.sign_up, invitation) {
            (SignUpPolicy::Closed, _) | (SignUpPolicy::Invite, None) => {
                return Err(AccountError::SignUpClosed);
            }
            (SignUpPolicy::Open, None) => return Ok((Door::SignUp, None)),
            (SignUpPolicy::Open | SignUpPolicy::Invite, Some(invitation)) => invitation,
        };
        let link = invitation.hash();
        let found = self
            .ports
            .accounts
            .find_invitation(&link, self.now_ms())
            .await?;
        let invited = match found.ok_or(AccountError::LinkSpent)?.email {
            Some(email) => Invited::As(email),
            None => Invited::Anybody,
        };
        Ok((Door::Invitation { link }, Some(invited)))
    }

    /// Makes an account and signs it in.
    async fn create(
        &self,
        person: NewPerson,
        door: &Door,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        let NewPerson {
            email,
            email_verified,
            name,
            password,
            admin,
        } = person;
        let name = rules::parse_name(&name, &email).ok_or(AccountError::InvalidName)?;
        self.ports.passwords.check_new(&password, &email)?;
        let password_hash = Some(self.ports.passwords.hash(password).await?);
        let account = NewAccount {
            id: rules::draw_user_id(&*self.ports.random),
            email,
            email_verified,
            name,
            password_hash,
            admin,
        };
        let act = attempt.act(self.now_ms(), Actor::Nobody);
        let accounts = &self.ports.accounts;
        match accounts.create_account(&account, door, &act).await? {
            Created::Done => {}
            Created::EmailTaken => return Err(AccountError::EmailTaken),
            Created::LinkSpent => return Err(AccountError::LinkSpent),
            // The first one asks for the door of operators, who do not come this way.
            Created::FirstMustBeAdmin | Created::SetupRequired => {
                return Err(AccountError::SetupRequired);
            }
        }
        let user = User {
            id: account.id,
            email: account.email,
            email_verified: account.email_verified,
            name: account.name,
            enabled: true,
            admin: account.admin,
        };
        let signed_in = self.begin_session(user, attempt).await?;
        self.ports.observer.observe(Observation::SignedUp);
        Ok(signed_in)
    }

    /// Checks a password, at the price of one hash whatever there is to compare it with; the hash that stands for it.
    pub(super) async fn check_guess(
        &self,
        guess: Guess<'_>,
        attempt: &Attempt,
    ) -> Result<StandingHash, AccountError> {
        let now_ms = self.now_ms();
        // Counted by what was typed, so that addresses without an account slow down as others do.
        let typed = guess.email.trim().to_ascii_lowercase();
        self.limits.begin_guess(attempt.ip, &typed, now_ms)?;
        let checked = self
            .ports
            .passwords
            .check(guess.password, guess.hash.clone())
            .await
            .inspect_err(|_| {
                self.limits
                    .guess_was_not_checked(attempt.ip, &typed, now_ms);
            })?;
        let PasswordCheck::Right { rehashed } = checked else {
            let act = attempt.act(now_ms, Actor::Nobody);
            self.ports
                .accounts
                .observe(guess.refusal, guess.account, &act)
                .await?;
            return Err(AccountError::InvalidCredentials);
        };
        self.limits.guess_was_right(attempt.ip, &typed);
        let standing = StandingHash {
            checked: guess.hash,
            rehashed,
        };
        if let (Some(user), Some(old), Some(new)) =
            (guess.account, &standing.checked, &standing.rehashed)
        {
            // The next sign-in tries again; the store has logged why it failed.
            let _ = self.ports.accounts.rehash_password(user, old, new).await;
        }
        Ok(standing)
    }

    /// Whether the password that was checked is the account's still.
    pub(super) async fn still_has_password(
        &self,
        user: &UserId,
        hash: &StandingHash,
    ) -> Result<bool, StoreUnavailable> {
        let account = self.find_account(user).await?;
        let stored = account.and_then(|account| account.password_hash);
        Ok(stored.is_some() && (stored == hash.checked || stored == hash.rehashed))
    }

    /// Begins a session under a secret that nobody has seen, in place of the one that the browser had: what somebody
    /// planted in it beforehand is worth nothing afterwards.
    async fn begin_session(&self, user: User, attempt: &Attempt) -> Result<SignedIn, AccountError> {
        let now_ms = self.now_ms();
        let token = Secret::draw(&*self.ports.random);
        let session = Session {
            id: rules::draw_session_id(&*self.ports.random),
            user: user.id.clone(),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(self.config.accounts.session_ms),
            authenticated_at_ms: now_ms,
            ip: attempt.ip,
            user_agent: attempt.user_agent.clone(),
            ends_with_browser: !attempt.remember,
        };
        let replaces = attempt.current.as_ref().map(|current| current.token.hash());
        let act = attempt.act(now_ms, Actor::User(user.id.clone()));
        let has_begun = self
            .ports
            .sessions
            .insert_session(&token.hash(), &session, replaces.as_ref(), &act)
            .await?;
        if !has_begun {
            // Disabled since the account was read.
            return Err(AccountError::InvalidCredentials);
        }
        Ok(SignedIn {
            user: Arc::new(user),
            session,
            token,
        })
    }

    /// The cookie of a session that has just begun or got a new secret.
    pub(crate) fn session_cookie(&self, token: &Secret, session: &Session) -> HeaderValue {
        let life_ms = session.expires_at_ms.saturating_sub(self.now_ms());
        let max_age_s = (!session.ends_with_browser).then_some(life_ms.div_ceil(1_000));
        cookie::set(&self.config.origin, token, max_age_s)
    }

    /// Moves the end of a session that is in use, at most once a day; the cookie to be set when it moved.
    pub(crate) async fn refresh_session(
        &self,
        current: &mut BrowserSession,
    ) -> Result<Option<HeaderValue>, StoreUnavailable> {
        let now_ms = self.now_ms();
        let accounts = &self.config.accounts;
        let session = &mut current.session;
        if now_ms.saturating_sub(session.updated_at_ms) < accounts.session_extend_ms {
            return Ok(None);
        }
        let expires_at_ms = now_ms.saturating_add(accounts.session_ms);
        self.ports
            .sessions
            .extend_session(&current.token.hash(), expires_at_ms, now_ms)
            .await?;
        session.updated_at_ms = now_ms;
        session.expires_at_ms = expires_at_ms;
        Ok(Some(self.session_cookie(&current.token, &current.session)))
    }

    /// The account with its dates, when it exists.
    pub(super) async fn find_account(
        &self,
        user: &UserId,
    ) -> Result<Option<Account>, StoreUnavailable> {
        self.ports.accounts.find_account(user).await
    }
}

/// A password that somebody presents.
pub(super) struct Guess<'a> {
    /// As typed, for counting.
    pub(super) email: &'a str,
    pub(super) password: Zeroizing<String>,
    /// What it is compared with; `None` is as slow and never equal.
    pub(super) hash: Option<String>,
    /// For the audit log.
    pub(super) account: Option<&'a UserId>,
    /// What the log says when it is wrong.
    pub(super) refusal: Observed,
}

/// The stored form of a password that was right: as it was read, and as it was replaced, if it was.
pub(super) struct StandingHash {
    checked: Option<String>,
    rehashed: Option<String>,
}

/// Whom an invitation is for.
enum Invited {
    As(String),
    Anybody,
}

/// An account before its password is hashed.
struct NewPerson {
    email: String,
    email_verified: bool,
    name: String,
    password: Zeroizing<String>,
    admin: bool,
}
