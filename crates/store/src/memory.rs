//! The identity store in memory: for tests of what stands on the ports, and as the plainest statement of what the ports
//! mean. One lock makes every method one transaction; nothing outlives the value.

mod accounts;
mod ai;
mod grants;
mod sessions;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use epicenter_identity::{ClientId, DeviceId, GrantId, OwnerId, Scopes, UserId};
use epicenter_server::accounts::store::{Account, Act, Invitation, Session};
use epicenter_server::ai::store::UsageRow;
use epicenter_server::oauth::store::{AuthorizationCode, Grant};
use epicenter_server::ports::{Devices, StoreUnavailable, User, Users};
use epicenter_server::revocations::{Revocation, Subject};
use epicenter_server::secret::SecretHash;

/// A device's claim that was not used for so long is free again (`sync.md` 5).
const CLAIM_LAPSE_MS: u64 = 90 * 24 * 60 * 60 * 1000;

/// Accounts, sessions, grants and devices in memory; clones share them.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// Who, when, from where.
    pub act: Act,
    /// What was done.
    pub what: &'static str,
    /// To which account, session or grant.
    pub about: Option<String>,
}

#[derive(Default)]
struct State {
    fails: bool,
    accounts: HashMap<UserId, Account>,
    /// By address, which is the order of listings.
    addresses: BTreeMap<String, UserId>,
    setup_link: Option<(SecretHash, u64)>,
    invitations: HashMap<SecretHash, Invitation>,
    sessions: HashMap<SecretHash, Session>,
    sessions_of: HashMap<UserId, HashSet<SecretHash>>,
    codes: HashMap<SecretHash, AuthorizationCode>,
    grants: HashMap<GrantId, Grant>,
    grants_of: HashMap<UserId, Vec<GrantId>>,
    tokens: HashMap<SecretHash, grants::Token>,
    /// The sealed answers in the order of their rotations, for the sweep.
    answers: VecDeque<(u64, SecretHash)>,
    consents: HashMap<(UserId, ClientId), Scopes>,
    devices: HashMap<(OwnerId, DeviceId), Claim>,
    revocations: Vec<Revocation>,
    audit: Vec<AuditLine>,
    usage: Vec<UsageRow>,
    credits: HashMap<UserId, ai::Credit>,
    reservations: HashMap<String, ai::Reservation>,
}

struct Claim {
    user: UserId,
    used_at_ms: u64,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemoryStore")
    }
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on every method fails and changes nothing, or works again.
    pub fn fail(&self, fails: bool) {
        self.lock().fails = fails;
    }

    /// The feed of revocations after this position, in their order.
    ///
    /// # Errors
    /// When the store is told to fail.
    pub fn revocations_since(&self, seq: u64) -> Result<Vec<Revocation>, StoreUnavailable> {
        let state = self.open()?;
        let first = usize::try_from(seq).unwrap_or(usize::MAX);
        Ok(state.revocations.get(first..).unwrap_or_default().to_vec())
    }

    /// The audit log, the oldest line first.
    pub fn audit(&self) -> Vec<AuditLine> {
        self.lock().audit.clone()
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, StoreUnavailable> {
        let state = self.lock();
        if state.fails {
            Err(StoreUnavailable)
        } else {
            Ok(state)
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere says more than a poisoned lock would.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_enabled(&self, user: &UserId) -> bool {
        self.accounts
            .get(user)
            .is_some_and(|account| account.user.enabled)
    }

    fn revoke(&mut self, subject: Subject, at_ms: u64) {
        // The position of a row is its place, counted from one: zero is before all of them.
        let seq = self.revocations.len() as u64 + 1;
        self.revocations.push(Revocation {
            seq,
            subject,
            at_ms,
        });
    }

    fn note(&mut self, act: &Act, what: &'static str, about: Option<&str>) {
        self.audit.push(AuditLine {
            act: act.clone(),
            what,
            about: about.map(str::to_owned),
        });
    }
}

#[async_trait]
impl Users for MemoryStore {
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreUnavailable> {
        Ok(self
            .open()?
            .accounts
            .get(id)
            .map(|account| account.user.clone()))
    }
}

#[async_trait]
impl Devices for MemoryStore {
    async fn claim_device(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        _client: &ClientId,
        now_ms: u64,
    ) -> Result<bool, StoreUnavailable> {
        let mut state = self.open()?;
        let key = (owner.clone(), device.clone());
        let belongs_to_another = state.devices.get(&key).is_some_and(|claim| {
            claim.user != *user && now_ms < claim.used_at_ms.saturating_add(CLAIM_LAPSE_MS)
        });
        if belongs_to_another {
            return Ok(false);
        }
        let claim = Claim {
            user: user.clone(),
            used_at_ms: now_ms,
        };
        state.devices.insert(key, claim);
        Ok(true)
    }
}
