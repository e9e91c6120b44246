//! What the server needs from a host, in domain types.
//!
//! Every port is owned by this crate, named by the need and always `Send + Sync`; a host implements them once and hands
//! them over in [`Ports`]. No port reads a clock, an environment variable or a request. A port that fails logs the cause
//! where it happened and answers [`StoreUnavailable`], which carries nothing that could leak.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use epicenter_identity::{Access, ClientId, DeviceId, OwnerId, RoomId, RoomName, UserId};
use epicenter_room::{Answer, Request};
use zeroize::Zeroizing;

use crate::accounts::store::{Accounts, Sessions};
use crate::ai::policy::ChargePolicy;
use crate::ai::store::{Outcome, UsageLog};
use crate::ai::upstream::{AfterResponse, Timer, Upstream};
use crate::oauth::store::Grants;

/// A store could not be reached or failed. The cause is logged where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreUnavailable;

/// Everything the router calls on its host.
#[derive(Clone)]
pub struct Ports {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for secrets, nonces and ids.
    pub random: Arc<dyn Random>,
    /// Signature checks.
    pub verify: Arc<dyn Verify>,
    /// Public signing keys.
    pub signing_keys: Arc<dyn SigningKeys>,
    /// The private key that signs now.
    pub signer: Arc<dyn Signer>,
    /// Password hashing.
    pub passwords: Arc<dyn PasswordHasher>,
    /// Accounts, in full.
    pub accounts: Arc<dyn Accounts>,
    /// Browser sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Codes, grants, refresh tokens.
    pub grants: Arc<dyn Grants>,
    /// Accounts.
    pub users: Arc<dyn Users>,
    /// Device ids of a shared owner.
    pub devices: Arc<dyn Devices>,
    /// The rooms of this process.
    pub rooms: Arc<dyn Rooms>,
    /// Readiness of the stores.
    pub health: Arc<dyn Health>,
    /// What AI needs; without it every call is `ProviderNotConfigured`.
    pub ai: Option<AiPorts>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

/// What AI needs from a host.
#[derive(Clone)]
pub struct AiPorts {
    /// Requests to providers.
    pub upstream: Arc<dyn Upstream>,
    /// Pauses and time limits.
    pub timer: Arc<dyn Timer>,
    /// Settling what calls cost.
    pub after_response: Arc<dyn AfterResponse>,
    /// A row for each call.
    pub usage: Arc<dyn UsageLog>,
    /// Who pays.
    pub charge: Arc<dyn ChargePolicy>,
}

impl fmt::Debug for AiPorts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AiPorts")
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ports")
    }
}

/// The wall clock, made monotonic.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; never decreases within a process.
    fn now_ms(&self) -> u64;
}

/// Unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills the buffer from the system's generator.
    fn fill(&self, bytes: &mut [u8]);
}

/// An ES256 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Key id: the RFC 7638 thumbprint.
    pub kid: String,
    /// The uncompressed SEC1 point on P-256: the byte 4, then x and y.
    pub point: [u8; 65],
}

/// The public halves of the signing keys, all that may still have living tokens.
#[async_trait]
pub trait SigningKeys: Send + Sync {
    /// Reads all keys from the store.
    async fn load(&self) -> Result<Vec<PublicKey>, StoreUnavailable>;
}

/// ES256 verification (`ring` natively, `p256` on wasm).
pub trait Verify: Send + Sync {
    /// Whether `signature`, the 64 raw bytes r and s of RFC 7518 section 3.4, is the key's over the message.
    fn verify_es256(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// The private half of a signing key.
pub trait SigningKey: Send + Sync {
    /// Key id: the RFC 7638 thumbprint.
    fn kid(&self) -> &str;

    /// Signs with ES256: r and s, 32 bytes each.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    fn sign_es256(&self, message: &[u8]) -> Result<[u8; 64], StoreUnavailable>;
}

/// The key that signs now. It is among the published keys for as long as any token it signed lives.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The newest key that is published for long enough.
    async fn signing_key(&self, now_ms: u64) -> Result<Arc<dyn SigningKey>, StoreUnavailable>;
}

/// Why a password was neither hashed nor checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashingError {
    /// Too many wait already: answer 503 with `Retry-After`.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The hash cannot be read or made. The cause is logged where it happened.
    #[error("the password cannot be hashed")]
    Failed,
}

/// What a check of a password says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// Another password.
    Wrong,
    /// The password.
    Right {
        /// The hash to store in its place, when its parameters are out of date.
        rehashed: Option<String>,
    },
}

/// Why a password is not taken; the messages are for the person who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Fewer than 8 characters.
    #[error("The password is too short. Use at least 8 characters; a long phrase is best.")]
    TooShort,
    /// More than 1,024 bytes.
    #[error("The password is too long. Use at most 1,024 bytes.")]
    TooLong,
    /// On the list of those that everybody tries first, or made of the address.
    #[error(
        "This password is among the first that anybody would try. Choose one that nobody else uses."
    )]
    Trivial,
}

/// Argon2id in a queue of the host's: bounded in length, in memory and in cores.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Whether a new password may be used at all.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check_new(&self, password: &str, email: &str) -> Result<(), PasswordProblem>;

    /// Hashes a new password; a PHC string.
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashingError>;

    /// Checks a password. `None` stands for an account that does not exist or has no password: it takes as long as any
    /// other check and is always wrong.
    async fn check(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<PasswordCheck, HashingError>;
}

/// A stored account. Its `Debug` form leaves name and address out.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Address, ASCII lower case.
    pub email: String,
    /// The address was proven to be this person's.
    pub email_verified: bool,
    /// Display name.
    pub name: String,
    /// May use the hub.
    pub enabled: bool,
    /// The first account, and operators.
    pub admin: bool,
}

impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("User")
            .field("id", &self.id)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// Accounts by id.
#[async_trait]
pub trait Users: Send + Sync {
    /// `None` when no such account exists.
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreUnavailable>;
}

/// Who owns a device id in a shared owner (`sync.md` 5).
#[async_trait]
pub trait Devices: Send + Sync {
    /// Claims or renews the device for the user; false when it belongs to another user. Claims lapse after 90 unused days.
    async fn claim_device(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        client: &ClientId,
        now_ms: u64,
    ) -> Result<bool, StoreUnavailable>;
}

/// One room in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomEntry {
    /// Its id within the owner.
    pub id: RoomId,
    /// Bytes its log occupies.
    pub storage_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub last_accessed_at: u64,
    /// Open sockets now.
    pub connections: u64,
    /// Updates that were refused and not accepted since.
    pub refusals: Vec<Refusal>,
}

/// A refused update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Stable reason.
    pub reason: String,
    /// Size of the update.
    pub bytes: u64,
}

/// A page of rooms, sorted by id.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RoomPage {
    /// At most as many as asked for.
    pub rooms: Vec<RoomEntry>,
    /// The last id of this page when there are more.
    pub next: Option<RoomId>,
}

/// Which of the processes that share an identity store serves rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomsDuty {
    /// This one.
    Here,
    /// The one at this URL: callers hear 421 `WrongHub`.
    Elsewhere {
        /// Its public or internal origin, as it was configured there.
        url: String,
    },
    /// None for now; one will take over within seconds.
    Nobody,
}

/// The rooms of this process.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// Who serves rooms; asked before anything else of a room is.
    fn duty(&self) -> RoomsDuty {
        RoomsDuty::Here
    }
    /// Answers `Answer::Unavailable` or `GoingAway` itself when it must. Dropping the future hangs up.
    async fn call(&self, room: RoomName, access: Access, request: Request) -> Answer;
    /// Live rooms of an owner with ids after `after`.
    async fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Result<RoomPage, StoreUnavailable>;
}

/// Readiness of the stores.
#[async_trait]
pub trait Health: Send + Sync {
    /// Whether every store answers.
    async fn check(&self) -> Result<(), StoreUnavailable>;
}

/// What happened to accounts, tokens and calls of models, for those who count. Texts are from fixed sets: nobody can choose them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Somebody signed in with a password.
    SignedIn,
    /// Somebody did not, for this reason.
    SignInRefused(&'static str),
    /// An account was made on a page or by an app.
    SignedUp,
    /// Tokens were issued for this `grant_type`.
    TokensIssued(&'static str),
    /// The token endpoint refused, with this error of RFC 6749.
    TokensRefused(&'static str),
    /// A call of a model was taken in. Exactly one of `AiCallEnded` and `AiCallTurnedAway` follows.
    AiCallBegan,
    /// It is over and settled: paid or released, with its usage row written, unless that failed.
    AiCallEnded(Outcome),
    /// What it cost or its usage row could not be written; its end follows all the same.
    AiSettlementFailed,
    /// It was turned away by a limit or for lack of credits, and leaves no row.
    AiCallTurnedAway,
}

/// Counts what happens. Called while a request is answered, so it must be cheap and must not block.
pub trait Observer: Send + Sync {
    /// It happened.
    fn observe(&self, observation: Observation);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn observe(&self, _observation: Observation) {}
}
