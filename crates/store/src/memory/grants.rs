//! Codes, grants and refresh tokens.

use std::cmp::Reverse;

use async_trait::async_trait;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::accounts::store::Act;
use epicenter_server::oauth::store::{
    AuthorizationCode, Grant, Grants, NewRefreshToken, Redeemed, Redemption, RefreshToken,
    RevocationReason, Rotated, Rotation, RotationChange,
};
use epicenter_server::ports::StoreUnavailable;
use epicenter_server::revocations::Subject;
use epicenter_server::secret::SecretHash;

use super::{MemoryStore, State};

/// A sealed answer is given out again for a minute at most (`identity.md` 2); the rest is for tests that set more.
const ANSWER_LIFE_MS: u64 = 10 * 60 * 1000;

/// A refresh token without what can be looked up.
pub(super) struct Token {
    grant: GrantId,
    created_at_ms: u64,
    expires_at_ms: u64,
    rotation: Option<StoredRotation>,
    killed: bool,
}

struct StoredRotation {
    at_ms: u64,
    successor: SecretHash,
    sealed_answer: Option<Vec<u8>>,
    reissued: bool,
}

#[async_trait]
impl Grants for MemoryStore {
    async fn insert_code(
        &self,
        code: &AuthorizationCode,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        if !state.has_enabled(&code.user) {
            // Nobody could redeem it.
            return Ok(());
        }
        state.codes.insert(code.code, code.clone());
        state.note(act, "code.issued", Some(code.user.as_str()));
        Ok(())
    }

    async fn find_code(
        &self,
        code: &SecretHash,
    ) -> Result<Option<AuthorizationCode>, StoreUnavailable> {
        Ok(self.open()?.codes.get(code).cloned())
    }

    async fn redeem_code(
        &self,
        redemption: &Redemption,
        act: &Act,
    ) -> Result<Redeemed, StoreUnavailable> {
        let mut state = self.open()?;
        let Some(code) = state.codes.get(&redemption.code) else {
            return Ok(Redeemed::Gone);
        };
        if let Some(grant) = &code.redeemed_by {
            return Ok(Redeemed::Already(grant.clone()));
        }
        if !state.has_enabled(&code.user) {
            return Ok(Redeemed::Gone);
        }
        let grant = &redemption.grant;
        if let Some(code) = state.codes.get_mut(&redemption.code) {
            code.redeemed_by = Some(grant.id.clone());
        }
        state.put_grant(grant);
        if let Some(refresh) = &redemption.refresh {
            state.put_token(refresh, &grant.id, act.at_ms);
        }
        state.note(act, "grant.made", Some(grant.id.as_str()));
        Ok(Redeemed::Done)
    }

    async fn find_refresh_token(
        &self,
        token: &SecretHash,
    ) -> Result<Option<RefreshToken>, StoreUnavailable> {
        Ok(self.open()?.refresh_token(token))
    }

    async fn rotate_refresh_token(
        &self,
        change: &RotationChange,
        act: &Act,
    ) -> Result<Rotated, StoreUnavailable> {
        let mut state = self.open()?;
        if !state.is_rotatable(change) {
            return Ok(Rotated::Changed);
        }
        if let Some(grant) = state.grants.get_mut(&change.grant) {
            grant.version += 1;
            grant.scopes = change.scopes;
            grant.requested_scope.clone_from(&change.requested_scope);
        }
        if let Some(killed) = change.kill.and_then(|kill| state.tokens.get_mut(&kill)) {
            killed.killed = true;
        }
        if let Some(presented) = state.tokens.get_mut(&change.presented) {
            presented.rotation = Some(StoredRotation {
                at_ms: act.at_ms,
                successor: change.successor.token,
                sealed_answer: Some(change.sealed_answer.clone()),
                reissued: change.kill.is_some(),
            });
        }
        state.put_token(&change.successor, &change.grant, act.at_ms);
        state.answers.push_back((act.at_ms, change.presented));
        state.sweep_answers(act.at_ms);
        Ok(Rotated::Done)
    }

    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreUnavailable> {
        Ok(self.open()?.grants.get(id).cloned())
    }

    async fn list_grants(
        &self,
        user: &UserId,
        now_ms: u64,
    ) -> Result<Vec<Grant>, StoreUnavailable> {
        let state = self.open()?;
        let ids = state.grants_of.get(user).into_iter().flatten();
        let mut grants: Vec<_> = ids
            .filter_map(|id| state.grants.get(id))
            .filter(|grant| !grant.revoked && now_ms < grant.expires_at_ms)
            .cloned()
            .collect();
        grants.sort_by_key(|grant| (Reverse(grant.created_at_ms), grant.id.clone()));
        Ok(grants)
    }

    async fn insert_grant(&self, grant: &Grant, act: &Act) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        state.put_grant(grant);
        state.note(act, "grant.made", Some(grant.id.as_str()));
        Ok(())
    }

    async fn revoke_grant(
        &self,
        id: &GrantId,
        reason: RevocationReason,
        act: &Act,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        if !state.end_grant(id, act.at_ms) {
            return Ok(false);
        }
        let what = match reason {
            RevocationReason::SignedOut => "grant.signed_out",
            RevocationReason::ByPerson => "grant.revoked_by_person",
            RevocationReason::CodeReuse => "grant.code_reused",
            RevocationReason::RefreshReuse => "grant.refresh_token_reused",
            RevocationReason::ByOperator => "grant.revoked_by_operator",
        };
        state.note(act, what, Some(id.as_str()));
        Ok(true)
    }

    async fn find_consent(
        &self,
        user: &UserId,
        client: &ClientId,
    ) -> Result<Scopes, StoreUnavailable> {
        let key = (user.clone(), client.clone());
        let state = self.open()?;
        Ok(state.consents.get(&key).copied().unwrap_or_default())
    }

    async fn add_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        scopes: Scopes,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let mut state = self.open()?;
        let key = (user.clone(), client.clone());
        let given = state.consents.entry(key).or_default();
        *given = scopes.iter().fold(*given, Scopes::with);
        state.note(act, "consent.given", Some(user.as_str()));
        Ok(())
    }
}

impl State {
    fn refresh_token(&self, hash: &SecretHash) -> Option<RefreshToken> {
        let token = self.tokens.get(hash)?;
        let rotation = token.rotation.as_ref().map(|rotation| {
            let successor = self.tokens.get(&rotation.successor);
            Rotation {
                at_ms: rotation.at_ms,
                successor: rotation.successor,
                successor_was_presented: successor
                    .is_some_and(|successor| successor.rotation.is_some()),
                sealed_answer: rotation.sealed_answer.clone(),
                reissued: rotation.reissued,
            }
        });
        Some(RefreshToken {
            token: *hash,
            grant: self.grants.get(&token.grant)?.clone(),
            created_at_ms: token.created_at_ms,
            expires_at_ms: token.expires_at_ms,
            rotation,
            killed: token.killed,
        })
    }

    fn is_rotatable(&self, change: &RotationChange) -> bool {
        let is_of_grant = |token: &SecretHash| {
            let token = self.tokens.get(token);
            token.is_some_and(|token| token.grant == change.grant)
        };
        self.grants.get(&change.grant).is_some_and(|grant| {
            grant.version == change.version && !grant.revoked && self.has_enabled(&grant.user)
        }) && is_of_grant(&change.presented)
    }

    fn put_grant(&mut self, grant: &Grant) {
        let of_user = self.grants_of.entry(grant.user.clone()).or_default();
        of_user.push(grant.id.clone());
        self.grants.insert(grant.id.clone(), grant.clone());
    }

    fn put_token(&mut self, new: &NewRefreshToken, grant: &GrantId, now_ms: u64) {
        let token = Token {
            grant: grant.clone(),
            created_at_ms: now_ms,
            expires_at_ms: new.expires_at_ms,
            rotation: None,
            killed: false,
        };
        self.tokens.insert(new.token, token);
    }

    /// False when there is none or it had ended.
    fn end_grant(&mut self, id: &GrantId, now_ms: u64) -> bool {
        let Some(grant) = self.grants.get_mut(id).filter(|grant| !grant.revoked) else {
            return false;
        };
        grant.revoked = true;
        grant.version += 1;
        self.revoke(Subject::Grant(id.clone()), now_ms);
        true
    }

    /// Ends all grants of a person, and the codes that would become grants.
    pub(super) fn end_grants_of(&mut self, user: &UserId, now_ms: u64) {
        for id in self.grants_of.get(user).cloned().unwrap_or_default() {
            self.end_grant(&id, now_ms);
        }
        self.codes
            .retain(|_, code| code.user != *user || code.redeemed_by.is_some());
    }

    fn sweep_answers(&mut self, now_ms: u64) {
        while let Some((at_ms, token)) = self.answers.front().copied()
            && at_ms.saturating_add(ANSWER_LIFE_MS) < now_ms
        {
            self.answers.pop_front();
            let rotation = self
                .tokens
                .get_mut(&token)
                .and_then(|token| token.rotation.as_mut());
            if let Some(rotation) = rotation.filter(|rotation| rotation.at_ms == at_ms) {
                rotation.sealed_answer = None;
            }
        }
    }
}
