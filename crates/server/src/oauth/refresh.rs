//! Refresh tokens at work: read, decide, rotate; and again when something else was faster (`identity.md` 2).
//!
//! The store changes a grant only if it is still as it was read. Whoever loses that race reads again, finds the token
//! rotated a moment ago and gives the winner's answer.

use epicenter_identity::{ClientId, Scopes};

use super::answer::TokenAnswer;
use super::rules::{self, Decision};
use super::scopes;
use super::store::{NewRefreshToken, RefreshToken, RevocationReason, Rotated, RotationChange};
use super::tokens::{Asked, GrantError, Issue, TokenService};
use crate::secret::{Secret, SecretHash};

/// Losing this often in a row takes as many rotations of one grant in the time of a read: it is answered "try again".
const ATTEMPTS: usize = 16;

/// Answers that are followed from a repeated one to the newest: all of them are less than a minute old.
const CHAIN_LIMIT: usize = 256;

/// A refresh, by a client that has been authenticated.
#[derive(Clone, Copy, Debug)]
pub struct RefreshRequest<'a> {
    /// Who asks.
    pub client: &'a ClientId,
    /// The token presented.
    pub token: &'a Secret,
    /// `scope`: fewer from now on.
    pub scope: Option<&'a str>,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// When and from where.
    pub asked: Asked,
}

/// The scopes of the grant after this refresh.
struct Wanted {
    scopes: Scopes,
    words: String,
}

impl TokenService {
    /// Gives a token answer for a refresh token.
    ///
    /// # Errors
    /// [`GrantError::Invalid`] also ends the grant when the token is held by two parties.
    pub async fn refresh(&self, request: &RefreshRequest<'_>) -> Result<TokenAnswer, GrantError> {
        let presented = request.token.hash();
        for _ in 0..ATTEMPTS {
            let found = self.ports.grants.find_refresh_token(&presented).await?;
            let token = found.ok_or(GrantError::Invalid)?;
            let wanted = check_request(request, &token)?;
            let answer = match rules::decide(&token, request.asked.at_ms) {
                Decision::Refuse => return Err(GrantError::Invalid),
                Decision::Reuse => return Err(self.end_replayed(&token, request).await?),
                Decision::Repeat => self.repeat(request, token).await?,
                Decision::Rotate => self.rotate(request, &token, wanted, None).await?,
                Decision::Replace { unseen } => {
                    self.rotate(request, &token, wanted, Some(unseen)).await?
                }
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(GrantError::Unavailable)
    }

    /// That grant only: the person's other devices hold grants of their own.
    async fn end_replayed(
        &self,
        token: &RefreshToken,
        request: &RefreshRequest<'_>,
    ) -> Result<GrantError, GrantError> {
        let act = request.asked.act_of_hub();
        self.revoke(&token.grant.id, RevocationReason::RefreshReuse, &act)
            .await?;
        Ok(GrantError::Invalid)
    }

    /// The newest answer that followed from the presented token; `None` when the grant moved on while it was read.
    async fn repeat(
        &self,
        request: &RefreshRequest<'_>,
        token: RefreshToken,
    ) -> Result<Option<TokenAnswer>, GrantError> {
        let mut holder = request.token.clone();
        let mut token = token;
        for _ in 0..CHAIN_LIMIT {
            let Some(rotation) = token.rotation else {
                return Ok(None);
            };
            let sealed = rotation.sealed_answer.ok_or(GrantError::Unavailable)?;
            let answer = TokenAnswer::open(&holder, &rotation.successor, &sealed);
            let answer = answer.ok_or_else(|| {
                tracing::error!(grant.id = %token.grant.id, "a stored answer is damaged");
                GrantError::Unavailable
            })?;
            let next = self
                .ports
                .grants
                .find_refresh_token(&rotation.successor)
                .await?;
            match (next, answer.refresh_token()) {
                (Some(next), Some(_)) if next.killed || next.grant.revoked => return Ok(None),
                (Some(next), Some(_)) if next.rotation.is_none() => return Ok(Some(answer)),
                (Some(next), Some(secret)) => {
                    holder = secret.clone();
                    token = next;
                }
                _ => return Ok(None),
            }
        }
        Err(GrantError::Unavailable)
    }

    /// A new token in place of the presented one; `None` when the grant is not any more as it was read.
    async fn rotate(
        &self,
        request: &RefreshRequest<'_>,
        token: &RefreshToken,
        wanted: Wanted,
        kill: Option<SecretHash>,
    ) -> Result<Option<TokenAnswer>, GrantError> {
        let grant = &token.grant;
        let at_ms = request.asked.at_ms;
        let user = self.find_person(&grant.user).await?;
        let successor = Secret::draw(&*self.ports.random);
        let issue = Issue {
            grant,
            user: &user,
            scopes: wanted.scopes,
            requested_scope: &wanted.words,
            nonce: None,
            refresh_token: Some(successor.clone()),
            at_ms,
        };
        let answer = self.issue(issue).await?;
        let successor = NewRefreshToken {
            token: successor.hash(),
            expires_at_ms: grant
                .expires_at_ms
                .min(at_ms.saturating_add(self.config.refresh_idle_ms)),
        };
        let change = RotationChange {
            grant: grant.id.clone(),
            version: grant.version,
            scopes: wanted.scopes,
            requested_scope: wanted.words,
            presented: token.token,
            kill,
            sealed_answer: answer.seal(request.token, &successor.token, &*self.ports.random),
            successor,
        };
        let act = request.asked.act_of(&grant.user);
        // The answer leaves only after the commit: it would be a lie if the change were lost.
        match self
            .ports
            .grants
            .rotate_refresh_token(&change, &act)
            .await?
        {
            Rotated::Done => Ok(Some(answer)),
            Rotated::Changed => Ok(None),
        }
    }
}

/// Whose token it is comes first: another client's request changes nothing and learns nothing.
fn check_request(request: &RefreshRequest<'_>, token: &RefreshToken) -> Result<Wanted, GrantError> {
    let grant = &token.grant;
    if grant.client != *request.client {
        return Err(GrantError::Invalid);
    }
    if request
        .resource
        .is_some_and(|resource| resource != grant.resource)
    {
        return Err(GrantError::Target);
    }
    let Some(text) = request.scope else {
        return Ok(Wanted {
            scopes: grant.scopes,
            words: grant.requested_scope.clone(),
        });
    };
    let asked = scopes::parse(text).ok_or(GrantError::Scope)?;
    let scopes = scopes::narrow(grant.scopes, asked.scopes).ok_or(GrantError::Scope)?;
    Ok(Wanted {
        scopes,
        words: asked.words,
    })
}
