//! Ports that live in memory, count what they are asked, and fail, wait or panic when told to.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use epicenter_identity::{Access, ClientId, DeviceId, OwnerId, RoomId, RoomName, UserId};
use epicenter_room::{Answer, Request as RoomRequest};
use epicenter_server::ports::{
    Clock, Devices, HashingError, Health, PasswordCheck, PasswordHasher, PasswordProblem,
    PublicKey, Random, RoomPage, Rooms, Signer, SigningKey, SigningKeys, StoreUnavailable, User,
    Users, Verify,
};
use epicenter_server::revocations::Revocations;
use epicenter_store::memory::MemoryStore;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use zeroize::Zeroizing;

/// Time that moves when told to, and the feed of revocations moves with it.
#[derive(Debug)]
pub(crate) struct TestClock {
    now_ms: AtomicU64,
    feed: Mutex<Option<TestFeed>>,
}

/// What a host does with the store's revocations.
#[derive(Clone, Debug)]
pub(crate) struct TestFeed {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) revocations: Revocations,
}

impl TestFeed {
    /// Reads the feed to its end, unless the store fails.
    pub(crate) fn hear(&self, now_ms: u64) {
        let Ok(rows) = self.store.revocations_since(0) else {
            return;
        };
        for row in rows {
            self.revocations.note(&row.subject, row.at_ms);
        }
        self.revocations.heard(now_ms);
    }
}

impl TestClock {
    pub(crate) fn at(milliseconds: u64) -> Self {
        Self {
            now_ms: AtomicU64::new(milliseconds),
            feed: Mutex::default(),
        }
    }

    /// From now on the feed is read whenever time moves, or (`None`) it is silent.
    pub(crate) fn drive(&self, feed: Option<TestFeed>) {
        *self.feed.lock().unwrap() = feed;
    }

    pub(crate) fn advance(&self, milliseconds: u64) {
        self.now_ms.fetch_add(milliseconds, Ordering::SeqCst);
        if let Some(feed) = &*self.feed.lock().unwrap() {
            feed.hear(self.now_ms());
        }
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

/// Counts from one: every request id is another, and known.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        let next = (self.0.fetch_add(1, Ordering::SeqCst) + 1).to_be_bytes();
        let start = bytes.len() - next.len();
        bytes[start..].copy_from_slice(&next);
    }
}

/// Verification as the native host does it; counts its calls.
#[derive(Default)]
pub(crate) struct RingVerify {
    pub(crate) calls: AtomicUsize,
}

impl Verify for RingVerify {
    fn verify_es256(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst);
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key.point)
            .verify(message, signature)
            .is_ok()
    }
}

/// The key store: counts reads, fails, panics or waits on demand.
#[derive(Default)]
pub(crate) struct FakeKeys {
    pub(crate) keys: Mutex<Vec<PublicKey>>,
    pub(crate) reads: AtomicUsize,
    pub(crate) down: AtomicBool,
    pub(crate) panics: AtomicBool,
    /// Reads wait until this is taken away.
    pub(crate) held: AtomicBool,
}

#[async_trait]
impl SigningKeys for FakeKeys {
    async fn load(&self) -> Result<Vec<PublicKey>, StoreUnavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "the key store was told to panic"
        );
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreUnavailable);
        }
        Ok(self.keys.lock().unwrap().clone())
    }
}

/// People that tests make up, and behind them those of the store.
pub(crate) struct FakeUsers {
    store: Arc<MemoryStore>,
    pub(crate) users: Mutex<BTreeMap<String, User>>,
    pub(crate) reads: AtomicUsize,
    pub(crate) down: AtomicBool,
}

impl FakeUsers {
    pub(crate) fn of(store: Arc<MemoryStore>) -> Self {
        Self {
            store,
            users: Mutex::default(),
            reads: AtomicUsize::default(),
            down: AtomicBool::default(),
        }
    }

    pub(crate) fn add(&self, id: &str) {
        let user = User {
            id: UserId::parse(id).unwrap(),
            email: format!("{id}@example.com"),
            email_verified: true,
            name: id.to_owned(),
            enabled: true,
            admin: false,
        };
        self.users.lock().unwrap().insert(id.to_owned(), user);
    }

    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut User)) {
        change(self.users.lock().unwrap().get_mut(id).unwrap());
    }
}

#[async_trait]
impl Users for FakeUsers {
    async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreUnavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreUnavailable);
        }
        let made_up = self.users.lock().unwrap().get(id.as_str()).cloned();
        match made_up {
            Some(user) => Ok(Some(user)),
            None => self.store.find_user(id).await,
        }
    }
}

#[derive(Default)]
pub(crate) struct FakeDevices {
    pub(crate) claims: Mutex<BTreeMap<(String, String), String>>,
    pub(crate) down: AtomicBool,
    pub(crate) panics: AtomicBool,
}

#[async_trait]
impl Devices for FakeDevices {
    async fn claim_device(
        &self,
        owner: &OwnerId,
        device: &DeviceId,
        user: &UserId,
        _client: &ClientId,
        _now_ms: u64,
    ) -> Result<bool, StoreUnavailable> {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "the device store was told to panic"
        );
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreUnavailable);
        }
        let mut claims = self.claims.lock().unwrap();
        let holder = claims
            .entry((owner.to_string(), device.to_string()))
            .or_insert_with(|| user.to_string());
        Ok(holder == user.as_str())
    }
}

/// A room's answer to a call; may panic.
type Respond = Box<dyn Fn(&RoomRequest) -> Answer + Send + Sync>;

/// Rooms that answer as told and remember what they were asked.
pub(crate) struct FakeRooms {
    respond: Mutex<Respond>,
    pub(crate) calls: Mutex<Vec<(RoomName, Access, String)>>,
    pub(crate) page: Mutex<Result<RoomPage, StoreUnavailable>>,
    pub(crate) lists: Mutex<Vec<(String, Option<String>, usize)>>,
}

impl Default for FakeRooms {
    fn default() -> Self {
        Self {
            respond: Mutex::new(Box::new(|_| Answer::Deleted)),
            calls: Mutex::default(),
            page: Mutex::new(Ok(RoomPage::default())),
            lists: Mutex::default(),
        }
    }
}

impl FakeRooms {
    pub(crate) fn answer(&self, answer: Answer) {
        self.respond(move |_| answer.clone());
    }

    pub(crate) fn respond(&self, respond: impl Fn(&RoomRequest) -> Answer + Send + Sync + 'static) {
        *self.respond.lock().unwrap() = Box::new(respond);
    }

    /// The rooms and requests of all calls so far, as text.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|(room, _, request)| (room.to_string(), request.clone()))
            .collect()
    }
}

#[async_trait]
impl Rooms for FakeRooms {
    async fn call(&self, room: RoomName, access: Access, request: RoomRequest) -> Answer {
        self.calls
            .lock()
            .unwrap()
            .push((room, access, format!("{request:?}")));
        // The lock must not be poisoned by a room that panics.
        let answer = {
            let respond = self.respond.lock().unwrap();
            std::panic::catch_unwind(AssertUnwindSafe(|| respond(&request)))
        };
        match answer {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn list(
        &self,
        owner: &OwnerId,
        after: Option<&RoomId>,
        limit: usize,
    ) -> Result<RoomPage, StoreUnavailable> {
        let asked = (owner.to_string(), after.map(ToString::to_string), limit);
        self.lists.lock().unwrap().push(asked);
        self.page.lock().unwrap().clone()
    }
}

#[derive(Default)]
pub(crate) struct FakeHealth {
    pub(crate) down: AtomicBool,
}

#[async_trait]
impl Health for FakeHealth {
    async fn check(&self) -> Result<(), StoreUnavailable> {
        if self.down.load(Ordering::SeqCst) {
            Err(StoreUnavailable)
        } else {
            Ok(())
        }
    }
}

/// Hands out one key, or fails.
pub(crate) struct FakeSigner {
    pub(crate) key: Mutex<Arc<dyn SigningKey>>,
    pub(crate) down: AtomicBool,
}

impl FakeSigner {
    pub(crate) fn of(key: Arc<dyn SigningKey>) -> Self {
        Self {
            key: Mutex::new(key),
            down: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Signer for FakeSigner {
    async fn signing_key(&self, _now_ms: u64) -> Result<Arc<dyn SigningKey>, StoreUnavailable> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreUnavailable);
        }
        Ok(Arc::clone(&self.key.lock().unwrap()))
    }
}

/// Hashes that can be read: `hashed:` and the password. Counts what it is asked; busy when told to.
#[derive(Default)]
pub(crate) struct FakePasswords {
    pub(crate) hashed: AtomicUsize,
    /// Checks of all kinds, those without a hash included.
    pub(crate) checked: AtomicUsize,
    pub(crate) busy: AtomicBool,
}

/// What [`FakePasswords`] makes of a password.
pub(crate) fn hashed(password: &str) -> String {
    format!("hashed:{password}")
}

#[async_trait]
impl PasswordHasher for FakePasswords {
    fn check_new(&self, password: &str, email: &str) -> Result<(), PasswordProblem> {
        if password.chars().count() < 8 {
            return Err(PasswordProblem::TooShort);
        }
        if password.len() > 1_024 {
            return Err(PasswordProblem::TooLong);
        }
        if password == "password" || password == email {
            return Err(PasswordProblem::Trivial);
        }
        Ok(())
    }

    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HashingError> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(HashingError::Busy);
        }
        self.hashed.fetch_add(1, Ordering::SeqCst);
        Ok(hashed(&password))
    }

    async fn check(
        &self,
        password: Zeroizing<String>,
        hash: Option<String>,
    ) -> Result<PasswordCheck, HashingError> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(HashingError::Busy);
        }
        self.checked.fetch_add(1, Ordering::SeqCst);
        let is_right = hash.is_some_and(|hash| hash == hashed(&password));
        Ok(if is_right {
            PasswordCheck::Right { rehashed: None }
        } else {
            PasswordCheck::Wrong
        })
    }
}
