//! Accounts and the links that make them.

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::{
    Account, Accounts, Act, AlsoEnd, Created, Door, Invitation, NewAccount, Observed,
    PasswordChange,
};
use epicenter_server::ports::{StoreUnavailable, User};
use epicenter_server::revocations::Subject;
use epicenter_server::secret::SecretHash;

use super::{MemoryStore, State};

#[async_trait]
impl Accounts for MemoryStore {
    async fn has_accounts(&self) -> Result<bool, StoreUnavailable> {
        Ok(!self.open()?.accounts.is_empty())
    }

    async fn find_account(&self, id: &UserId) -> Result<Option<Account>, StoreUnavailable> {
        Ok(self.open()?.accounts.get(id).cloned())
    }

    async fn find_account_by_email(
        &self,
        email: &str,
    ) -> Result<Option<Account>, StoreUnavailable> {
        let state = self.open()?;
        let id = state.addresses.get(email);
        Ok(id.and_then(|id| state.accounts.get(id)).cloned())
    }

    async fn list_accounts(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Account>, StoreUnavailable> {
        let state = self.open()?;
        let page = state
            .addresses
            .iter()
            .filter(|(address, _)| after.is_none_or(|after| address.as_str() > after))
            .filter_map(|(_, id)| state.accounts.get(id))
            .take(limit);
        Ok(page.cloned().collect())
    }

    async fn create_account(
        &self,
        account: &NewAccount,
        door: &Door,
        act: &Act,
    ) -> Result<Created, StoreUnavailable> {
        let mut state = self.open()?;
        if let Err(refusal) = state.check_door(account, door, act.at_ms) {
            return Ok(refusal);
        }
        if state.addresses.contains_key(&account.email) {
            return Ok(Created::EmailTaken);
        }
        state.setup_link = None;
        if let Door::Invitation { link } = door {
            state.invitations.remove(link);
        }
        state.insert_account(account, act.at_ms);
        state.note(act, "account.created", Some(account.id.as_str()));
        Ok(Created::Done)
    }

    async fn put_setup_link(
        &self,
        link: &SecretHash,
        expires_at_ms: u64,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        if !state.accounts.is_empty() {
            return Ok(false);
        }
        state.setup_link = Some((*link, expires_at_ms));
        state.note(act, "setup_link.made", None);
        Ok(true)
    }

    async fn put_invitation(
        &self,
        invitation: &Invitation,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        state
            .invitations
            .insert(invitation.link, invitation.clone());
        state.note(act, "invitation.made", None);
        Ok(())
    }

    async fn find_invitation(
        &self,
        link: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<Invitation>, StoreUnavailable> {
        let state = self.open()?;
        let invitation = state.invitations.get(link);
        Ok(invitation
            .filter(|invitation| now_ms < invitation.expires_at_ms)
            .cloned())
    }

    async fn change_password(
        &self,
        change: &PasswordChange,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        let Some(account) = state.accounts.get_mut(&change.user) else {
            return Ok(false);
        };
        account.password_hash = Some(change.password_hash.clone());
        account.updated_at_ms = act.at_ms;
        let kept = change.keep.and_then(|(old, new)| {
            let session = state.living_session(&old, act.at_ms)?;
            (session.user == change.user).then(|| (new, session.clone()))
        });
        state.end_sessions_of(&change.user, None, act.at_ms);
        if let Some((token, session)) = kept {
            state.put_session(token, session);
        }
        if change.also == AlsoEnd::Grants {
            state.end_grants_of(&change.user, act.at_ms);
        }
        state.note(act, "password.changed", Some(change.user.as_str()));
        Ok(true)
    }

    async fn rehash_password(
        &self,
        user: &UserId,
        old: &str,
        new: &str,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        if let Some(account) = state.accounts.get_mut(user)
            && account.password_hash.as_deref() == Some(old)
        {
            account.password_hash = Some(new.to_owned());
        }
        Ok(())
    }

    async fn set_enabled(
        &self,
        user: &UserId,
        enabled: bool,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        let Some(account) = state.accounts.get_mut(user) else {
            return Ok(false);
        };
        account.user.enabled = enabled;
        account.updated_at_ms = act.at_ms;
        if enabled {
            state.note(act, "account.enabled", Some(user.as_str()));
        } else {
            state.end_sessions_of(user, None, act.at_ms);
            state.end_grants_of(user, act.at_ms);
            // Tokens that no stored grant stands behind end with it too.
            state.revoke(Subject::User(user.clone()), act.at_ms);
            state.note(act, "account.disabled", Some(user.as_str()));
        }
        Ok(true)
    }

    async fn observe(
        &self,
        observed: Observed,
        user: Option<&UserId>,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let what = match observed {
            Observed::SignInFailed => "sign_in.failed",
            Observed::PasswordRefused => "password.refused",
        };
        self.open()?.note(act, what, user.map(UserId::as_str));
        Ok(())
    }
}

impl State {
    fn check_door(&self, account: &NewAccount, door: &Door, now_ms: u64) -> Result<(), Created> {
        let is_first = self.accounts.is_empty();
        match door {
            Door::Operator if is_first && !account.admin => Err(Created::FirstMustBeAdmin),
            Door::Setup { link } => {
                let is_current = self.setup_link.is_some_and(|(current, expires_at_ms)| {
                    current == *link && now_ms < expires_at_ms
                });
                if is_first && is_current {
                    Ok(())
                } else {
                    Err(Created::LinkSpent)
                }
            }
            Door::Invitation { .. } | Door::SignUp if is_first => Err(Created::SetupRequired),
            Door::Invitation { link } => {
                let is_good = self.invitations.get(link).is_some_and(|invitation| {
                    let email = invitation.email.as_ref();
                    now_ms < invitation.expires_at_ms
                        && email.is_none_or(|email| *email == account.email)
                });
                if is_good {
                    Ok(())
                } else {
                    Err(Created::LinkSpent)
                }
            }
            Door::Operator | Door::SignUp => Ok(()),
        }
    }

    fn insert_account(&mut self, new: &NewAccount, now_ms: u64) {
        let user = User {
            id: new.id.clone(),
            email: new.email.clone(),
            email_verified: new.email_verified,
            name: new.name.clone(),
            enabled: true,
            admin: new.admin,
        };
        let account = Account {
            user,
            password_hash: new.password_hash.clone(),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        self.addresses.insert(new.email.clone(), new.id.clone());
        self.accounts.insert(new.id.clone(), account);
    }
}
