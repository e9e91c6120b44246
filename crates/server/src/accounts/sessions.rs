//! What a person does to their own sessions and password while signed in.

use epicenter_identity::GrantId;
use zeroize::Zeroizing;

use super::service::{AccountError, Attempt, Guess, SignedIn};
use super::store::{Actor, AlsoEnd, Observed, PasswordChange, Session, SessionId};
use crate::auth::BrowserSession;
use crate::limits::Kind;
use crate::ports::StoreUnavailable;
use crate::revocations::Subject;
use crate::secret::Secret;
use crate::state::HubState;

/// What the form for a change of password says.
#[derive(Debug)]
pub(crate) struct NewPassword {
    pub(crate) current: Zeroizing<String>,
    pub(crate) new: Zeroizing<String>,
    /// The grants of apps end too. Other browser sessions always do.
    pub(crate) also: AlsoEnd,
}

impl HubState {
    /// The person's living sessions, the newest first.
    pub(crate) async fn list_sessions(
        &self,
        session: &BrowserSession,
    ) -> Result<Vec<Session>, StoreUnavailable> {
        let sessions = &self.ports.sessions;
        sessions
            .list_sessions(&session.user.id, self.now_ms())
            .await
    }

    /// Ends one of the person's own sessions; false when they have none of this id.
    pub(crate) async fn revoke_session(
        &self,
        session: &BrowserSession,
        id: &SessionId,
        attempt: &Attempt,
    ) -> Result<bool, StoreUnavailable> {
        let user = &session.user.id;
        let act = attempt.act(self.now_ms(), Actor::User(user.clone()));
        self.ports.sessions.end_session(user, id, &act).await
    }

    /// Signs the person out everywhere but here: the other browsers, and every app.
    pub(crate) async fn sign_out_elsewhere(
        &self,
        session: &BrowserSession,
        attempt: &Attempt,
    ) -> Result<(), StoreUnavailable> {
        let user = &session.user.id;
        let grants = self.living_grants(session, AlsoEnd::Grants).await?;
        let now_ms = self.now_ms();
        let act = attempt.act(now_ms, Actor::User(user.clone()));
        let keep = Some(&session.session.id);
        let sessions = &self.ports.sessions;
        sessions
            .end_sessions(user, keep, AlsoEnd::Grants, &act)
            .await?;
        self.note_ended(grants, now_ms);
        Ok(())
    }

    /// Replaces the password. Who knows the old one is who they say, however long ago they signed in. The session goes on
    /// under a new secret; all others end, because one of them may be why the password changes.
    pub(crate) async fn change_password(
        &self,
        session: &BrowserSession,
        form: NewPassword,
        attempt: &Attempt,
    ) -> Result<SignedIn, AccountError> {
        if !self.config.accounts.password {
            return Err(AccountError::PasswordsOff);
        }
        let limits = &self.limits;
        limits.check(Kind::SignIn, attempt.ip, None, self.now_ms())?;
        let user = &session.user.id;
        let account = self.find_account(user).await?;
        let account = account.ok_or(AccountError::InvalidCredentials)?;
        let passwords = &self.ports.passwords;
        passwords.check_new(&form.new, &account.user.email)?;
        let guess = Guess {
            email: &account.user.email,
            password: form.current,
            hash: account.password_hash.clone(),
            account: Some(user),
            refusal: Observed::PasswordRefused,
        };
        let hash = self.check_guess(guess, attempt).await?;
        let password_hash = passwords.hash(form.new).await?;
        // Hashing takes long enough for the operator to have reset the password meanwhile.
        if !self.still_has_password(user, &hash).await? {
            return Err(AccountError::InvalidCredentials);
        }
        let token = Secret::draw(&*self.ports.random);
        let change = PasswordChange {
            user: user.clone(),
            password_hash,
            keep: Some((session.token.hash(), token.hash())),
            also: form.also,
        };
        let grants = self.living_grants(session, form.also).await?;
        let now_ms = self.now_ms();
        let act = attempt.act(now_ms, Actor::User(user.clone()));
        let has_changed = self.ports.accounts.change_password(&change, &act).await?;
        if !has_changed {
            return Err(AccountError::InvalidCredentials);
        }
        self.note_ended(grants, now_ms);
        Ok(SignedIn {
            user: session.user.clone(),
            session: session.session.clone(),
            token,
        })
    }

    /// The grants that are about to end.
    async fn living_grants(
        &self,
        session: &BrowserSession,
        also: AlsoEnd,
    ) -> Result<Vec<GrantId>, StoreUnavailable> {
        if also == AlsoEnd::Nothing {
            return Ok(Vec::new());
        }
        let grants = &self.ports.grants;
        let grants = grants.list_grants(&session.user.id, self.now_ms()).await?;
        Ok(grants.into_iter().map(|grant| grant.id).collect())
    }

    /// This process knows at once; the others, and this one of a grant made in between, learn it from the feed. Noting the
    /// person instead would also end what they are given in the same second afterwards.
    fn note_ended(&self, grants: Vec<GrantId>, at_ms: u64) {
        for grant in grants {
            self.authenticator
                .revocations()
                .note(&Subject::Grant(grant), at_ms);
        }
    }
}
