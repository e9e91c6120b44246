//! Browser sessions. Expired ones stay where they are and are never found.

use std::cmp::Reverse;

use async_trait::async_trait;
use epicenter_identity::UserId;
use epicenter_server::accounts::store::{Act, AlsoEnd, Session, SessionId, Sessions};
use epicenter_server::ports::{StoreUnavailable, User};
use epicenter_server::secret::SecretHash;

use super::{MemoryStore, State};

#[async_trait]
impl Sessions for MemoryStore {
    async fn insert_session(
        &self,
        token: &SecretHash,
        session: &Session,
        replaces: Option<&SecretHash>,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        if !state.has_enabled(&session.user) {
            return Ok(false);
        }
        if let Some(replaced) = replaces {
            state.remove_session(replaced);
        }
        state.put_session(*token, session.clone());
        state.note(act, "session.began", Some(session.id.as_str()));
        Ok(true)
    }

    async fn find_session(
        &self,
        token: &SecretHash,
        now_ms: u64,
    ) -> Result<Option<(Session, User)>, StoreUnavailable> {
        let state = self.open()?;
        Ok(state.living_session(token, now_ms).and_then(|session| {
            let user = &state.accounts.get(&session.user)?.user;
            user.enabled.then(|| (session.clone(), user.clone()))
        }))
    }

    async fn extend_session(
        &self,
        token: &SecretHash,
        expires_at_ms: u64,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        if let Some(session) = state.sessions.get_mut(token)
            && now_ms < session.expires_at_ms
        {
            session.expires_at_ms = expires_at_ms;
            session.updated_at_ms = now_ms;
        }
        Ok(())
    }

    async fn list_sessions(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Session>, StoreUnavailable> {
        let state = self.open()?;
        let tokens = state.sessions_of.get(user).into_iter().flatten();
        let mut sessions: Vec<_> = tokens
            .filter_map(|token| state.living_session(token, now_ms))
            .cloned()
            .collect();
        sessions.sort_by_key(|session| (Reverse(session.created_at_ms), session.id.clone()));
        Ok(sessions)
    }

    async fn end_session(
        &self,
        user: &UserId,
        session: &SessionId,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        let tokens = state.sessions_of.get(user).into_iter().flatten();
        let token = tokens.copied().find(|token| {
            state
                .living_session(token, act.at_ms)
                .is_some_and(|found| found.id == *session)
        });
        let Some(token) = token else {
            return Ok(false);
        };
        state.remove_session(&token);
        state.note(act, "session.ended", Some(session.as_str()));
        Ok(true)
    }

    async fn end_sessions(
        &self,
        user: &UserId,
        keep: Option<&SessionId>,
        also: AlsoEnd,
        act: &Act,
    ) -> Result<u64, StoreUnavailable> {
        let mut state = self.open()?;
        let ended = state.end_sessions_of(user, keep, act.at_ms);
        if also == AlsoEnd::Grants {
            state.end_grants_of(user, act.at_ms);
        }
        state.note(act, "sessions.ended", Some(user.as_str()));
        Ok(ended)
    }
}

impl State {
    pub(super) fn living_session(&self, token: &SecretHash, now_ms: u64) -> Option<&Session> {
        self.sessions
            .get(token)
            .filter(|session| now_ms < session.expires_at_ms)
    }

    pub(super) fn put_session(&mut self, token: SecretHash, session: Session) {
        let user = session.user.clone();
        self.sessions_of.entry(user).or_default().insert(token);
        self.sessions.insert(token, session);
    }

    /// Ends all sessions of a person but one; how many of them were alive.
    pub(super) fn end_sessions_of(
        &mut self,
        user: &UserId,
        keep: Option<&SessionId>,
        now_ms: u64,
    ) -> u64 {
        let tokens: Vec<_> = self.sessions_of.get(user).into_iter().flatten().collect();
        let ending: Vec<_> = tokens
            .into_iter()
            .filter_map(|token| Some((*token, self.sessions.get(token)?)))
            .filter(|(_, session)| keep != Some(&session.id))
            .map(|(token, session)| (token, now_ms < session.expires_at_ms))
            .collect();
        for (token, _) in &ending {
            self.remove_session(token);
        }
        ending.iter().filter(|(_, alive)| *alive).count() as u64
    }

    fn remove_session(&mut self, token: &SecretHash) {
        if let Some(session) = self.sessions.remove(token)
            && let Some(tokens) = self.sessions_of.get_mut(&session.user)
        {
            tokens.remove(token);
        }
    }
}
