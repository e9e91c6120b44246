//! Access tokens, id_tokens and the answer they go out in (RFC 9068, OpenID Connect Core 2 and 3.1.3.6).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_identity::{GrantId, Scope, Scopes, UserId};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::answer::TokenAnswer;
use super::store::{Grant, Grants, RevocationReason};
use crate::accounts::store::{Act, Actor};
use crate::config::{HubConfig, OAuthConfig};
use crate::ports::{Ports, Random, Signer, SigningKey, StoreUnavailable, User, Users};
use crate::revocations::{Revocations, Subject};
use crate::secret::Secret;

/// What the token service calls on its host.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "ports have nothing to show")]
pub struct TokenPorts {
    /// Codes, grants, refresh tokens.
    pub grants: Arc<dyn Grants>,
    /// Accounts.
    pub users: Arc<dyn Users>,
    /// The private key that signs now.
    pub signer: Arc<dyn Signer>,
    /// Tokens, ids and nonces.
    pub random: Arc<dyn Random>,
}

/// The token endpoint without HTTP: redeems codes and refresh tokens of clients that have been authenticated.
pub struct TokenService {
    pub(super) issuer: String,
    pub(super) config: OAuthConfig,
    pub(super) ports: TokenPorts,
    revocations: Revocations,
}

/// When something is asked, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// For the audit log.
    pub ip: Option<IpAddr>,
}

/// Why no token is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Code or refresh token is unknown, used, expired, revoked or another client's. Which of these it was is not told.
    #[error("the code or refresh token is not valid, or is another client's; sign in again")]
    Invalid,
    /// More is asked for than was granted.
    #[error("a scope is unknown or was not granted")]
    Scope,
    /// The token is asked for another resource.
    #[error("resource must be the one that was granted")]
    Target,
    /// Nothing could be decided: try again.
    #[error("tokens cannot be issued at the moment; try again")]
    Unavailable,
}

impl From<StoreUnavailable> for GrantError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::Unavailable
    }
}

/// A grant as the next answer shows it.
pub(super) struct Issue<'a> {
    pub(super) grant: &'a Grant,
    pub(super) user: &'a User,
    pub(super) scopes: Scopes,
    pub(super) requested_scope: &'a str,
    /// From the code only: a refresh has no nonce of its own (OpenID Connect Core 12.2).
    pub(super) nonce: Option<&'a str>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) at_ms: u64,
}

impl fmt::Debug for TokenService {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenService")
    }
}

impl TokenService {
    /// A service of this issuer. What it revokes is noted among the revocations at once, before any feed brings it.
    pub fn new(
        issuer: String,
        config: OAuthConfig,
        ports: TokenPorts,
        revocations: Revocations,
    ) -> Self {
        Self {
            issuer,
            config,
            ports,
            revocations,
        }
    }

    /// The service of a hub.
    pub(crate) fn of_hub(config: &HubConfig, ports: &Ports, revocations: Revocations) -> Self {
        let token_ports = TokenPorts {
            grants: Arc::clone(&ports.grants),
            users: Arc::clone(&ports.users),
            signer: Arc::clone(&ports.signer),
            random: Arc::clone(&ports.random),
        };
        Self::new(
            config.issuer(),
            config.oauth.clone(),
            token_ports,
            revocations,
        )
    }

    /// Signs the tokens of an answer.
    pub(super) async fn issue(&self, issue: Issue<'_>) -> Result<TokenAnswer, GrantError> {
        let key = self.ports.signer.signing_key(issue.at_ms).await?;
        let access_token = sign(&*key, "at+jwt", &self.access_claims(&issue))?;
        let life_s = self.config.access_token_ms / 1_000;
        let mut answer = Map::new();
        if issue.scopes.contains(Scope::OpenId) {
            let claims = self.id_claims(&issue, &access_token);
            answer.insert("id_token".to_owned(), sign(&*key, "JWT", &claims)?.into());
        }
        if let Some(token) = &issue.refresh_token {
            answer.insert("refresh_token".to_owned(), token.expose().into());
        }
        answer.insert("access_token".to_owned(), access_token.into());
        answer.insert("token_type".to_owned(), "Bearer".into());
        answer.insert("expires_in".to_owned(), life_s.into());
        answer.insert(
            "expires_at".to_owned(),
            (issue.at_ms / 1_000 + life_s).into(),
        );
        answer.insert("scope".to_owned(), issue.requested_scope.into());
        let json = Value::Object(answer).to_string();
        Ok(TokenAnswer::new(json, issue.refresh_token))
    }

    fn access_claims(&self, issue: &Issue<'_>) -> Value {
        let grant = issue.grant;
        let iat = issue.at_ms / 1_000;
        let mut claims = json!({
            "iss": self.issuer,
            "aud": [grant.resource],
            "sub": grant.user.as_str(),
            "client_id": grant.client.as_str(),
            "azp": grant.client.as_str(),
            "scope": issue.scopes.to_string(),
            "iat": iat,
            "exp": iat + self.config.access_token_ms / 1_000,
            "jti": self.draw_name(),
            "gid": grant.id.as_str(),
        });
        if let Some(session) = &grant.session {
            claims["sid"] = session.as_str().into();
        }
        claims
    }

    fn id_claims(&self, issue: &Issue<'_>, access_token: &str) -> Value {
        let grant = issue.grant;
        let iat = issue.at_ms / 1_000;
        let mut claims = json!({
            "iss": self.issuer,
            "sub": grant.user.as_str(),
            "aud": grant.client.as_str(),
            "azp": grant.client.as_str(),
            "iat": iat,
            "exp": iat + self.config.id_token_ms / 1_000,
            "auth_time": grant.authenticated_at_ms / 1_000,
            "at_hash": half_hash(access_token),
        });
        if let Some(nonce) = issue.nonce {
            claims["nonce"] = nonce.into();
        }
        if let Some(session) = &grant.session {
            claims["sid"] = session.as_str().into();
        }
        if issue.scopes.contains(Scope::Email) {
            claims["email"] = issue.user.email.as_str().into();
            claims["email_verified"] = issue.user.email_verified.into();
        }
        if issue.scopes.contains(Scope::Profile) {
            claims["name"] = issue.user.name.as_str().into();
        }
        claims
    }

    /// The person behind a grant, while they may use the hub.
    pub(super) async fn find_person(&self, id: &UserId) -> Result<User, GrantError> {
        let user = self.ports.users.find_user(id).await?;
        user.filter(|user| user.enabled).ok_or(GrantError::Invalid)
    }

    /// Ends a grant, here at once and everywhere through the store.
    pub(super) async fn revoke(
        &self,
        grant: &GrantId,
        reason: RevocationReason,
        act: &Act,
    ) -> Result<(), StoreUnavailable> {
        let ended = self.ports.grants.revoke_grant(grant, reason, act).await?;
        if ended {
            let subject = Subject::Grant(grant.clone());
            self.revocations.note(&subject, act.at_ms);
            tracing::info!(grant.id = %grant, ?reason, "grant revoked");
        }
        Ok(())
    }

    /// 128 random bits as a name of digits and letters.
    pub(super) fn draw_name(&self) -> String {
        let mut bytes = [0; 16];
        self.ports.random.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Asked {
    /// An act of the person whose app asks.
    pub(super) fn act_of(&self, user: &UserId) -> Act {
        Act {
            at_ms: self.at_ms,
            actor: Actor::User(user.clone()),
            ip: self.ip,
        }
    }

    /// An act of the hub, on what it saw.
    pub(super) fn act_of_hub(&self) -> Act {
        Act {
            at_ms: self.at_ms,
            actor: Actor::Hub,
            ip: self.ip,
        }
    }
}

fn sign(key: &dyn SigningKey, typ: &str, claims: &Value) -> Result<String, StoreUnavailable> {
    let header = json!({ "alg": "ES256", "typ": typ, "kid": key.kid() });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = key.sign_es256(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// `at_hash`: the left half of the hash that goes with the algorithm of the signature.
fn half_hash(access_token: &str) -> String {
    let hash = Sha256::digest(access_token);
    let (left, _) = hash.split_at(16);
    URL_SAFE_NO_PAD.encode(left)
}
