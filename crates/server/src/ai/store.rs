//! What is kept about AI: a row for each call, and fixed credits of people on hubs without billing.
//!
//! Never the content. Each operation is one transaction, and what it decides on is compared where it changes.

use async_trait::async_trait;
use epicenter_identity::UserId;

use super::catalog::Credits;
use crate::ports::StoreUnavailable;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The model finished.
    Completed,
    /// Answered without a provider: calls that wait for the client.
    Local,
    /// The provider failed before its first byte: the caller got an HTTP error.
    Refused,
    /// The answer broke off with an error.
    Failed,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Local,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As it was stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Local => "local",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What one call was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// A random id.
    pub id: String,
    /// Who called.
    pub user: UserId,
    /// When it began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The provider that answered.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// With the caller's own key.
    pub own_key: bool,
    /// As the provider counts them; zero when it did not say.
    pub input_tokens: u64,
    /// As the provider counts them; zero when it did not say.
    pub output_tokens: u64,
    /// What was charged.
    pub credits: Credits,
    /// To the provider's first byte, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// The whole call, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error, if any: one of the hub's or of the provider's, never a text.
    pub error_code: Option<String>,
}

/// Where rows about calls go.
#[async_trait]
pub trait UsageLog: Send + Sync {
    /// Adds a row; once, however often it is asked for.
    async fn append_usage(&self, row: UsageRow) -> Result<(), StoreUnavailable>;
}

/// What one person may still spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditAccount {
    /// Free to be reserved. It is zero, too, while the last call cost more than was held for it.
    pub balance: Credits,
    /// Has been given credits by an operator, so that no call is too dear.
    pub is_paid: bool,
}

/// Whether credits are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are.
    Reserved,
    /// There are too few.
    Insufficient {
        /// What there is.
        balance: Credits,
    },
}

/// Fixed credits of people.
#[async_trait]
pub trait CreditStore: Send + Sync {
    /// The person's account; one that does not exist begins with `opening`. Reservations that have expired are free again.
    async fn credit_account(
        &self,
        user: &UserId,
        opening: Credits,
        now_ms: u64,
    ) -> Result<CreditAccount, StoreUnavailable>;

    /// Holds credits of an existing account until `expires_at_ms`; atomic with all other reservations of the person.
    async fn reserve_credits(
        &self,
        user: &UserId,
        reservation: &str,
        amount: Credits,
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Result<Held, StoreUnavailable>;

    /// Takes `amount`, which may be more than was held, and frees the rest; once, however often it is asked for. A
    /// reservation that has expired is paid all the same: the call was made.
    async fn confirm_credits(
        &self,
        reservation: &str,
        amount: Credits,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable>;

    /// Frees what was held; nothing when it was confirmed.
    async fn release_credits(&self, reservation: &str) -> Result<(), StoreUnavailable>;
}
