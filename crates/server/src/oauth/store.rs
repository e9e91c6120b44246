//! What the authorization server needs from a store.
//!
//! Every method is one transaction; audit lines and revocations are part of it. Decisions are made by callers on what
//! they have read, and a change names the state that it was decided on: a code that is not redeemed yet, a grant at a
//! version. A change whose state is gone does nothing and says so, and the caller reads again.

use std::fmt;

use async_trait::async_trait;
use epicenter_identity::{ClientId, GrantId, Scopes, UserId};

use crate::accounts::store::{Act, SessionId};
use crate::ports::StoreUnavailable;
use crate::secret::SecretHash;

/// An authorization code as it waits to be redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCode {
    /// Hash of the code.
    pub code: SecretHash,
    /// Who signed in.
    pub user: UserId,
    /// Whom it was given to.
    pub client: ClientId,
    /// The browser session in which it was given.
    pub session: SessionId,
    /// The redirect URI of the request, to be repeated.
    pub redirect_uri: String,
    /// `code_challenge`, method S256.
    pub challenge: String,
    /// `nonce`, for the id_token.
    pub nonce: Option<String>,
    /// What the grant will hold, those of the API included.
    pub scopes: Scopes,
    /// What the client asked for, in its own words; the `scope` of token answers.
    pub requested_scope: String,
    /// `aud` of access tokens.
    pub resource: String,
    /// When the person last proved who they are, in milliseconds since the Unix epoch: `auth_time`.
    pub authenticated_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// The grant that came of it; a code that has one is used up.
    pub redeemed_by: Option<GrantId>,
}

/// What a person allowed one installation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// `gid` of its tokens.
    pub id: GrantId,
    /// Who allowed it.
    pub user: UserId,
    /// Whom.
    pub client: ClientId,
    /// What, in all; a refresh may narrow it for good.
    pub scopes: Scopes,
    /// The `scope` of token answers.
    pub requested_scope: String,
    /// `aud` of access tokens.
    pub resource: String,
    /// `sid`: the browser session in which it began, which may be over.
    pub session: Option<SessionId>,
    /// `auth_time`, in milliseconds since the Unix epoch.
    pub authenticated_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// The end of all its refresh tokens, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// Nothing comes of it any more.
    pub revoked: bool,
    /// Counts its changes; a rotation names the one it was decided on.
    pub version: u64,
}

/// A refresh token.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// Hash of the token.
    pub token: SecretHash,
    /// Its grant, read in the same instant.
    pub grant: Grant,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// Milliseconds since the Unix epoch; the earlier of idle lifetime and the grant's end.
    pub expires_at_ms: u64,
    /// How it was rotated; none while it is the newest.
    pub rotation: Option<Rotation>,
    /// It was replaced before anybody presented it: the answer it was in counts as lost.
    pub killed: bool,
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RefreshToken")
            .field("grant", &self.grant.id)
            .field("is_rotated", &self.rotation.is_some())
            .field("killed", &self.killed)
            .finish_non_exhaustive()
    }
}

/// How a refresh token was rotated.
#[derive(Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Milliseconds since the Unix epoch; of the last one, when the answer was replaced.
    pub at_ms: u64,
    /// The token that took its place.
    pub successor: SecretHash,
    /// Whether the successor was itself rotated, which only who holds it can have done.
    pub successor_was_presented: bool,
    /// The whole answer with the successor in it, sealed under a key that only the rotated token gives; swept away once it
    /// cannot be asked for again.
    pub sealed_answer: Option<Vec<u8>>,
    /// The lost answer was replaced once already.
    pub reissued: bool,
}

impl fmt::Debug for Rotation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rotation")
            .field("at_ms", &self.at_ms)
            .field("successor_was_presented", &self.successor_was_presented)
            .field("reissued", &self.reissued)
            .finish_non_exhaustive()
    }
}

/// A refresh token to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefreshToken {
    /// Hash of the token.
    pub token: SecretHash,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// A code to be redeemed.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// The code.
    pub code: SecretHash,
    /// The grant that comes of it, at version 0.
    pub grant: Grant,
    /// Its first refresh token, when `offline_access` was asked for.
    pub refresh: Option<NewRefreshToken>,
}

/// What became of a redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// Grant and token are stored.
    Done,
    /// Somebody was first; this grant came of it.
    Already(GrantId),
    /// Code, account or client is gone or disabled.
    Gone,
}

/// A rotation to be made. The presented token's row is changed and the successor's made, in one transaction.
#[derive(Clone)]
pub struct RotationChange {
    /// The grant.
    pub grant: GrantId,
    /// The version that was read.
    pub version: u64,
    /// The scopes from now on.
    pub scopes: Scopes,
    /// The `scope` of answers from now on.
    pub requested_scope: String,
    /// The token that was presented.
    pub presented: SecretHash,
    /// The unseen successor that is killed, when its answer is replaced; the rotation then counts as reissued.
    pub kill: Option<SecretHash>,
    /// The new token.
    pub successor: NewRefreshToken,
    /// The answer, sealed.
    pub sealed_answer: Vec<u8>,
}

impl fmt::Debug for RotationChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RotationChange")
            .field("grant", &self.grant)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// It is stored.
    Done,
    /// The grant changed since it was read, or is revoked, or its account is disabled: read again.
    Changed,
}

/// Why a grant ends; for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationReason {
    /// The app signed out.
    SignedOut,
    /// The person took it back.
    ByPerson,
    /// A code was used twice.
    CodeReuse,
    /// A refresh token was replayed.
    RefreshReuse,
    /// The operator.
    ByOperator,
}

/// Codes, grants and refresh tokens.
#[async_trait]
pub trait Grants: Send + Sync {
    /// Stores a code.
    async fn insert_code(
        &self,
        code: &AuthorizationCode,
        act: &Act,
    ) -> Result<(), StoreUnavailable>;

    /// A code, redeemed or not; expired ones are kept for as long as tokens that came of them live.
    async fn find_code(
        &self,
        code: &SecretHash,
    ) -> Result<Option<AuthorizationCode>, StoreUnavailable>;

    /// Redeems a code, at most once whatever runs at the same time.
    async fn redeem_code(
        &self,
        redemption: &Redemption,
        act: &Act,
    ) -> Result<Redeemed, StoreUnavailable>;

    /// A refresh token and its grant as they are now.
    async fn find_refresh_token(
        &self,
        token: &SecretHash,
    ) -> Result<Option<RefreshToken>, StoreUnavailable>;

    /// Rotates, if the grant is still as it was read.
    async fn rotate_refresh_token(
        &self,
        change: &RotationChange,
        act: &Act,
    ) -> Result<Rotated, StoreUnavailable>;

    /// The grant of this id.
    async fn find_grant(&self, id: &GrantId) -> Result<Option<Grant>, StoreUnavailable>;

    /// A person's grants that are neither revoked nor expired, the newest first.
    async fn list_grants(&self, user: &UserId, now_ms: u64)
    -> Result<Vec<Grant>, StoreUnavailable>;

    /// Stores a grant that no code stands behind: tokens of the command line.
    async fn insert_grant(&self, grant: &Grant, act: &Act) -> Result<(), StoreUnavailable>;

    /// Ends a grant; false when there is none or it had ended.
    async fn revoke_grant(
        &self,
        id: &GrantId,
        reason: RevocationReason,
        act: &Act,
    ) -> Result<bool, StoreUnavailable>;

    /// What a person allowed a client once and need not be asked again.
    async fn find_consent(
        &self,
        user: &UserId,
        client: &ClientId,
    ) -> Result<Scopes, StoreUnavailable>;

    /// Adds to what a person allowed a client.
    async fn add_consent(
        &self,
        user: &UserId,
        client: &ClientId,
        scopes: Scopes,
        act: &Act,
    ) -> Result<(), StoreUnavailable>;
}
