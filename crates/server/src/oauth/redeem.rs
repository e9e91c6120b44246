//! Authorization codes at work (`identity.md` 2, RFC 6749 section 4.1.3, RFC 7636 section 4.6).

use epicenter_identity::{ClientId, GrantId, Scope};

use super::answer::TokenAnswer;
use super::pkce;
use super::store::{
    AuthorizationCode, Grant, NewRefreshToken, Redeemed, Redemption, RevocationReason,
};
use super::tokens::{Asked, GrantError, Issue, TokenService};
use crate::secret::Secret;

/// A redemption, by a client that has been authenticated.
#[derive(Clone, Copy, Debug)]
pub struct CodeRequest<'a> {
    /// Who asks.
    pub client: &'a ClientId,
    /// The code.
    pub code: &'a Secret,
    /// The redirect URI of the authorization request.
    pub redirect_uri: &'a str,
    /// `code_verifier`.
    pub verifier: &'a Secret,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// When and from where.
    pub asked: Asked,
}

impl TokenService {
    /// Gives a token answer for a code, once.
    ///
    /// # Errors
    /// [`GrantError::Invalid`]; a second use also ends the grant that came of the first. An attempt that could not have
    /// been the first use, by another client or without the verifier, changes nothing.
    pub async fn redeem(&self, request: &CodeRequest<'_>) -> Result<TokenAnswer, GrantError> {
        let found = self.ports.grants.find_code(&request.code.hash()).await?;
        let code = found.ok_or(GrantError::Invalid)?;
        check_request(request, &code)?;
        if let Some(grant) = &code.redeemed_by {
            return self.end_code_reused(grant, request).await;
        }
        if request.asked.at_ms >= code.expires_at_ms {
            return Err(GrantError::Invalid);
        }
        self.redeem_once(request, &code).await
    }

    async fn redeem_once(
        &self,
        request: &CodeRequest<'_>,
        code: &AuthorizationCode,
    ) -> Result<TokenAnswer, GrantError> {
        let at_ms = request.asked.at_ms;
        let user = self.find_person(&code.user).await?;
        let grant = self.grant_of(code, at_ms);
        let is_offline = code.scopes.contains(Scope::OfflineAccess);
        let refresh_token = is_offline.then(|| Secret::draw(&*self.ports.random));
        let refresh = refresh_token.as_ref().map(|token| NewRefreshToken {
            token: token.hash(),
            expires_at_ms: grant
                .expires_at_ms
                .min(at_ms.saturating_add(self.config.refresh_idle_ms)),
        });
        let issue = Issue {
            grant: &grant,
            user: &user,
            scopes: grant.scopes,
            requested_scope: &grant.requested_scope,
            nonce: code.nonce.as_deref(),
            refresh_token,
            at_ms,
        };
        // Signed before the commit, so that a signer that fails does not use the code up.
        let answer = self.issue(issue).await?;
        let redemption = Redemption {
            code: code.code,
            grant,
            refresh,
        };
        let act = request.asked.act_of(&code.user);
        match self.ports.grants.redeem_code(&redemption, &act).await? {
            Redeemed::Done => Ok(answer),
            Redeemed::Already(grant) => self.end_code_reused(&grant, request).await,
            Redeemed::Gone => Err(GrantError::Invalid),
        }
    }

    fn grant_of(&self, code: &AuthorizationCode, at_ms: u64) -> Grant {
        Grant {
            id: GrantId::parse(&self.draw_name()).expect("32 hexadecimal digits are a grant id"),
            user: code.user.clone(),
            client: code.client.clone(),
            scopes: code.scopes,
            requested_scope: code.requested_scope.clone(),
            resource: code.resource.clone(),
            session: Some(code.session.clone()),
            authenticated_at_ms: code.authenticated_at_ms,
            created_at_ms: at_ms,
            expires_at_ms: at_ms.saturating_add(self.config.grant_ms),
            revoked: false,
            version: 0,
        }
    }

    /// Two parties had code and verifier; which of them is the app cannot be told.
    async fn end_code_reused(
        &self,
        grant: &GrantId,
        request: &CodeRequest<'_>,
    ) -> Result<TokenAnswer, GrantError> {
        let act = request.asked.act_of_hub();
        self.revoke(grant, RevocationReason::CodeReuse, &act)
            .await?;
        Err(GrantError::Invalid)
    }
}

fn check_request(request: &CodeRequest<'_>, code: &AuthorizationCode) -> Result<(), GrantError> {
    let is_of_request = code.client == *request.client
        && code.redirect_uri == request.redirect_uri
        && pkce::is_verifier(&code.challenge, request.verifier.expose());
    if !is_of_request {
        return Err(GrantError::Invalid);
    }
    if request
        .resource
        .is_some_and(|resource| resource != code.resource)
    {
        return Err(GrantError::Target);
    }
    Ok(())
}
