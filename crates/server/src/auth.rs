//! From a presented credential to proof of access; the only place that makes an [`Access`].
//!
//! The order is the one of `http.md` 11 and 12: the token (form, key, signature, claims), what was revoked, the account,
//! the ownership rule. Every answer keeps 401 and 503 apart: a token is called invalid only when key set, revocations
//! and account store had their say.

mod bearer;
pub(crate) mod cache;
pub(crate) mod cookie;
mod keys;
mod signed;
pub mod token;
mod users;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use epicenter_identity::{
    Access, ClientId, GrantId, NotAdmitted, OwnerId, OwnershipRule, Person, Scopes, UserId,
};
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

pub(crate) use self::bearer::{PresentedBearer, offered_protocols};
use self::cache::BoundedCache;
use self::cookie::PresentedCookie;
use self::keys::FoundKey;
pub(crate) use self::keys::KeyCache;
pub(crate) use self::signed::Expiry;
use self::token::{
    AcceptedTypes, Claims, CompactToken, TokenError, TokenVerifier, VerifierOptions,
};
use self::users::UserCache;
use crate::accounts::store::{Session, Sessions};
use crate::config::{HubConfig, PublicOrigin};
use crate::ports::{Clock, Ports, StoreUnavailable, User};
use crate::revocations::{Revocations, Standing};
use crate::secret::Secret;

/// Checked tokens that are remembered; some 300 bytes each.
const CHECKED_TOKENS: usize = 10_000;

/// Who calls, and the proof.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) access: Access,
    pub(crate) user: Arc<User>,
}

/// A living browser session.
#[derive(Clone, Debug)]
pub(crate) struct BrowserSession {
    /// The secret in the cookie.
    pub(crate) token: Secret,
    pub(crate) session: Session,
    pub(crate) user: Arc<User>,
}

/// Why nobody was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("the request carries more than one credential")]
    MultipleCredentials,
    #[error("the access token is missing or not valid")]
    InvalidToken,
    #[error("tokens cannot be checked at the moment")]
    Unavailable,
    #[error("the user is not admitted")]
    NotAdmitted,
}

impl From<StoreUnavailable> for AuthError {
    fn from(_: StoreUnavailable) -> Self {
        AuthError::Unavailable
    }
}

impl From<NotAdmitted> for AuthError {
    fn from(_: NotAdmitted) -> Self {
        AuthError::NotAdmitted
    }
}

/// Checks bearers and remembers what it learned.
pub(crate) struct Authenticator {
    clock: Arc<dyn Clock>,
    verifier: TokenVerifier,
    keys: KeyCache,
    users: UserCache,
    ownership: OwnershipRule,
    origin: PublicOrigin,
    sessions: Arc<dyn Sessions>,
    revocations: Revocations,
    checked: Mutex<BoundedCache<TokenDigest, Arc<CheckedToken>>>,
}

/// Tokens are remembered by their SHA-256, so that memory holds none.
type TokenDigest = [u8; 32];

/// What a verified token says, read once.
struct CheckedToken {
    kid: String,
    claims: Claims,
    user: UserId,
    client: ClientId,
    grant: GrantId,
    scopes: Scopes,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    pub(crate) fn new(config: &HubConfig, ports: &Ports, revocations: Revocations) -> Self {
        let options = VerifierOptions {
            issuer: format!("{}/auth", config.origin.as_str()),
            audience: config.origin.as_str().to_owned(),
            types: AcceptedTypes::AccessToken,
        };
        Self {
            clock: Arc::clone(&ports.clock),
            verifier: TokenVerifier::new(Arc::clone(&ports.verify), options),
            keys: KeyCache::new(Arc::clone(&ports.signing_keys)),
            users: UserCache::new(Arc::clone(&ports.users)),
            ownership: config.ownership.clone(),
            origin: config.origin.clone(),
            sessions: Arc::clone(&ports.sessions),
            revocations,
            checked: Mutex::new(BoundedCache::new(CHECKED_TOKENS)),
        }
    }

    /// The key set, for publishing and readiness.
    pub(crate) fn keys(&self) -> &KeyCache {
        &self.keys
    }

    /// What has been revoked lately.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The living session that a request's cookie names. A cookie that names none is no credential.
    pub(crate) async fn browser_session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<BrowserSession>, StoreUnavailable> {
        let PresentedCookie::One(token) = cookie::presented(headers, &self.origin) else {
            return Ok(None);
        };
        let found = self
            .sessions
            .find_session(&token.hash(), self.clock.now_ms())
            .await?;
        Ok(found.map(|(session, user)| BrowserSession {
            token,
            session,
            user: Arc::new(user),
        }))
    }

    /// The whole way from a bearer to access.
    pub(crate) async fn authenticate(
        &self,
        presented: &PresentedBearer,
    ) -> Result<Caller, AuthError> {
        let token = match presented {
            PresentedBearer::None => return Err(AuthError::InvalidToken),
            PresentedBearer::Several => return Err(AuthError::MultipleCredentials),
            PresentedBearer::One(token) => token,
        };
        let now_ms = self.clock.now_ms();
        let token = self.check_token(token.as_str(), now_ms).await?;
        let issued_at_ms = token.claims.issued_at_ms;
        let standing = self
            .revocations
            .check(&token.grant, &token.user, issued_at_ms, now_ms);
        let person_changes = match standing {
            Standing::Good { person_changes } => person_changes,
            Standing::Revoked => return Err(refused("the token was revoked")),
            Standing::Unknown => return Err(AuthError::Unavailable),
        };
        let user = self
            .users
            .find_enabled(&token.user, person_changes, now_ms)
            .await?
            .ok_or_else(|| refused("the account is unknown or disabled"))?;
        let access = Access::authenticated_as(
            user.id.clone(),
            self.resolve_owner(&user)?,
            token.client.clone(),
            token.grant.clone(),
            token.scopes,
        );
        Ok(Caller { access, user })
    }

    /// A person, by bearer or else by the browser's session. Both together never come here ([`crate::middleware`]), and a
    /// cookie that names no session does not stand in a bearer's way.
    pub(crate) async fn authenticate_person(
        &self,
        headers: &HeaderMap,
    ) -> Result<Caller, AuthError> {
        let presented = PresentedBearer::of_request(headers);
        if presented != PresentedBearer::None {
            return self.authenticate(&presented).await;
        }
        let BrowserSession { session, user, .. } = self
            .browser_session(headers)
            .await?
            .ok_or_else(|| refused("neither a bearer nor a living session"))?;
        // No token has these: a client's id is chosen by the operator, and a grant's is drawn without a hyphen in front.
        let grant = GrantId::parse(&format!("-session-{}", session.id.as_str()));
        let (Ok(client), Ok(grant)) = (ClientId::parse("-browser"), grant) else {
            return Err(refused("the session's id is malformed"));
        };
        let owner = self.resolve_owner(&user)?;
        let access = Access::authenticated_as(user.id.clone(), owner, client, grant, Scopes::all());
        Ok(Caller { access, user })
    }

    fn resolve_owner(&self, user: &User) -> Result<OwnerId, NotAdmitted> {
        self.ownership.resolve(&Person {
            id: user.id.clone(),
            email: user.email.clone(),
            email_verified: user.email_verified,
        })
    }

    /// Verifies a token, or recognises it as one that was verified with a key that is still in the set.
    async fn check_token(&self, token: &str, now_ms: u64) -> Result<Arc<CheckedToken>, AuthError> {
        let digest: TokenDigest = Sha256::digest(token).into();
        let remembered = self.with_checked(|checked| checked.find(&digest));
        if let Some(checked) = remembered
            && self.keys.is_known(&checked.kid)
        {
            checked.claims.check_time(now_ms).map_err(refused)?;
            return Ok(checked);
        }
        let parsed = CompactToken::parse(token).map_err(refused)?;
        self.verifier.check_type(&parsed).map_err(refused)?;
        let key = match self.keys.find(parsed.key_id(), now_ms).await {
            FoundKey::Known(key) => key,
            FoundKey::Unknown => return Err(refused(TokenError::UnknownKey)),
            FoundKey::Unreachable => return Err(AuthError::Unavailable),
        };
        let claims = self
            .verifier
            .verify(&parsed, &key, now_ms)
            .map_err(refused)?;
        let checked = Arc::new(CheckedToken::parse(key.kid.clone(), claims)?);
        self.with_checked(|cache| cache.insert(digest, Arc::clone(&checked)));
        Ok(checked)
    }

    fn with_checked<R>(
        &self,
        act: impl FnOnce(&mut BoundedCache<TokenDigest, Arc<CheckedToken>>) -> R,
    ) -> R {
        act(&mut self.checked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CheckedToken {
    /// Every token of this hub names user, client and grant; one that does not is nobody's.
    fn parse(kid: String, claims: Claims) -> Result<Self, AuthError> {
        let user = UserId::parse(&claims.subject).ok();
        let client = claims
            .client
            .as_deref()
            .and_then(|client| ClientId::parse(client).ok());
        let grant = claims
            .grant
            .as_deref()
            .and_then(|grant| GrantId::parse(grant).ok());
        let (Some(user), Some(client), Some(grant)) = (user, client, grant) else {
            return Err(refused("the token does not name user, client and grant"));
        };
        Ok(Self {
            kid,
            scopes: Scopes::parse_lenient(&claims.scope),
            claims,
            user,
            client,
            grant,
        })
    }
}

/// The reason goes to the log at the lowest level that is kept off by default; the caller learns only that the token is
/// invalid.
fn refused(reason: impl fmt::Display) -> AuthError {
    tracing::debug!(reason = %reason, "access token refused");
    AuthError::InvalidToken
}
