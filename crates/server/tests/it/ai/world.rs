//! A hub with a scripted provider, credits and usage rows in memory, and virtual time: when nothing can go on, the clock
//! jumps to the next moment that somebody waits for.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use epicenter_identity::{UserId, personal};
use epicenter_server::accounts::store::{Act, Actor};
use epicenter_server::ai::catalog::{Credits, Model, Price};
use epicenter_server::ai::policy::{ChargePolicy, FixedCredits, NoCharge};
use epicenter_server::ai::settings::{
    AiConfig, AiTimes, Provider as ProviderSettings, ProviderKey,
};
use epicenter_server::ai::store::{CreditAccount, CreditStore, Held, UsageLog, UsageRow};
use epicenter_server::ai::upstream::{AfterResponse, Alarm, Timer};
use epicenter_server::config::HubConfig;
use epicenter_server::ports::{AiPorts, Clock as _, StoreUnavailable};
use epicenter_server::secret::Secret;
use epicenter_store::memory::MemoryStore;
use epicenter_store::{Gift, Given};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::provider::{Provider, Script};
use crate::hub::{Reply, TestHub, request};
use crate::ports::TestClock;

pub(crate) const OPENAI_KEY: &str = "sk-house";
pub(crate) const GEMINI_KEY: &str = "AIza-house";
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-house";
pub(crate) const LOCAL_KEY: &str = "sk-local-house";

/// Sleeps end when the clock gets there.
#[derive(Debug)]
pub(crate) struct VirtualTimer {
    clock: Arc<TestClock>,
    sleepers: Arc<Mutex<BTreeMap<(u64, u64), Due>>>,
    next: Mutex<u64>,
}

/// What happens when its time has come.
enum Due {
    Wake(Waker),
    Ring(Box<dyn FnOnce() + Send>),
}

impl std::fmt::Debug for Due {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Wake(_) => "Wake",
            Self::Ring(_) => "Ring",
        })
    }
}

impl VirtualTimer {
    fn new(clock: Arc<TestClock>) -> Self {
        Self {
            clock,
            sleepers: Arc::default(),
            next: Mutex::new(0),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Moves the clock to the first sleeper.
    pub(crate) fn jump(&self) {
        let first = self.sleepers.lock().unwrap().pop_first();
        let ((deadline_ms, _), due) = first.expect("all wait, and nobody for the time");
        self.clock
            .advance(deadline_ms.saturating_sub(self.clock.now_ms()));
        match due {
            Due::Wake(waker) => waker.wake(),
            Due::Ring(ring) => ring(),
        }
    }

    fn sleeper(&self, time: Duration) -> Sleep {
        let deadline_ms = self.now_ms() + u64::try_from(time.as_millis()).unwrap();
        let mut next = self.next.lock().unwrap();
        *next += 1;
        Sleep {
            sleepers: Arc::clone(&self.sleepers),
            key: (deadline_ms, *next),
        }
    }
}

/// Takes its sleeper along when it is dropped.
struct Sleep {
    sleepers: Arc<Mutex<BTreeMap<(u64, u64), Due>>>,
    key: (u64, u64),
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.sleepers.lock().unwrap().remove(&self.key);
    }
}

impl Timer for VirtualTimer {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let sleep = self.sleeper(time);
        let clock = Arc::clone(&self.clock);
        poll_fn(move |context| {
            if clock.now_ms() >= sleep.key.0 {
                return Poll::Ready(());
            }
            let mut sleepers = sleep.sleepers.lock().unwrap();
            sleepers.insert(sleep.key, Due::Wake(context.waker().clone()));
            Poll::Pending
        })
        .boxed()
    }

    fn alarm(&self, time: Duration, ring: Box<dyn FnOnce() + Send>) -> Alarm {
        let sleep = self.sleeper(time);
        let mut sleepers = self.sleepers.lock().unwrap();
        sleepers.insert(sleep.key, Due::Ring(ring));
        drop(sleepers);
        Alarm::new(move || drop(sleep))
    }
}

/// Work that outlives a response: as much of it at once as waits for nothing, and the rest when time has passed.
#[derive(Default)]
pub(crate) struct Later(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Later {
    fn carry_on(&self) {
        let mut works = std::mem::take(&mut *self.0.lock().unwrap());
        let mut context = Context::from_waker(Waker::noop());
        works.retain_mut(|work| work.poll_unpin(&mut context).is_pending());
        self.0.lock().unwrap().append(&mut works);
    }

    fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl AfterResponse for Later {
    fn run(&self, work: BoxFuture<'static, ()>) {
        self.0.lock().unwrap().push(work);
        self.carry_on();
    }
}

/// Usage rows and credits in a store that can be taken away.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: MemoryStore,
    clock: Arc<TestClock>,
    pub(crate) is_down: AtomicBool,
}

impl Ledger {
    fn new(clock: Arc<TestClock>) -> Self {
        Self {
            store: MemoryStore::new(),
            clock,
            is_down: AtomicBool::new(false),
        }
    }

    /// Thousandths of credits that are left, and those that are held of them.
    ///
    /// Panics when the person has no account.
    pub(crate) fn account(&self, user: &str) -> (u64, u64) {
        let user = UserId::parse(user).unwrap();
        let store = self.open();
        // To ask for an account would open it; to hold nothing of it does not.
        finish(store.reserve_credits(&user, "a look", Credits::ZERO, 0, 0));
        finish(store.release_credits("a look"));
        let balance = |now_ms: u64| {
            let account = finish(store.credit_account(&user, Credits::ZERO, now_ms));
            account.balance.as_thousandths()
        };
        // At the end of time nothing is held any more.
        let (free, left) = (balance(self.clock.now_ms()), balance(u64::MAX));
        (left, left - free)
    }

    /// As if an operator had given the person credits, but none.
    pub(crate) fn pay(&self, user: &str) {
        let gift = Gift {
            user: UserId::parse(user).unwrap(),
            opening: Credits::ZERO,
            given: Credits::ZERO,
            note: None,
        };
        let act = Act {
            at_ms: self.clock.now_ms(),
            actor: Actor::Operator,
            ip: None,
        };
        assert_eq!(self.open().give_credits(&gift, &act), Ok(Given::Done));
    }

    fn open(&self) -> &MemoryStore {
        self.store.fail(self.is_down.load(Ordering::SeqCst));
        &self.store
    }
}

fn finish<T>(work: impl Future<Output = Result<T, StoreUnavailable>>) -> T {
    let done = work.now_or_never();
    done.expect("a store in memory waits for nothing").unwrap()
}

#[async_trait]
impl UsageLog for Ledger {
    async fn append_usage(&self, row: UsageRow) -> Result<(), StoreUnavailable> {
        self.open().append_usage(row).await
    }
}

#[async_trait]
impl CreditStore for Ledger {
    async fn credit_account(
        &self,
        user: &UserId,
        opening: Credits,
        now_ms: u64,
    ) -> Result<CreditAccount, StoreUnavailable> {
        self.open().credit_account(user, opening, now_ms).await
    }

    async fn reserve_credits(
        &self,
        user: &UserId,
        reservation: &str,
        amount: Credits,
        now_ms: u64,
        expires_at_ms: u64,
    ) -> Result<Held, StoreUnavailable> {
        self.open()
            .reserve_credits(user, reservation, amount, now_ms, expires_at_ms)
            .await
    }

    async fn confirm_credits(
        &self,
        reservation: &str,
        amount: Credits,
        now_ms: u64,
    ) -> Result<(), StoreUnavailable> {
        self.open()
            .confirm_credits(reservation, amount, now_ms)
            .await
    }

    async fn release_credits(&self, reservation: &str) -> Result<(), StoreUnavailable> {
        self.open().release_credits(reservation).await
    }
}

/// The hub and all around it.
pub(crate) struct World {
    pub(crate) hub: TestHub,
    pub(crate) provider: Arc<Provider>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) timer: Arc<VirtualTimer>,
    later: Arc<Later>,
    token: OnceLock<String>,
}

/// Whether calls cost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Billing {
    Free,
    /// Everybody begins with ten credits and spends at most two in a call until they pay.
    TenCredits,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::build(Billing::Free, |_| {})
    }

    pub(crate) fn build(billing: Billing, change: impl FnOnce(&mut HubConfig)) -> Self {
        let mut parts = None;
        let hub = TestHub::build_with_ai(
            personal(),
            |config| {
                config.ai = settings();
                change(config);
            },
            |clock| {
                let timer = Arc::new(VirtualTimer::new(Arc::clone(clock)));
                let provider = Arc::new(Provider::new(Arc::clone(&timer)));
                let later = Arc::new(Later::default());
                let ledger = Arc::new(Ledger::new(Arc::clone(clock)));
                let charge: Arc<dyn ChargePolicy> = match billing {
                    Billing::Free => Arc::new(NoCharge),
                    Billing::TenCredits => Arc::new(FixedCredits::new(
                        ledger.clone(),
                        Credits::whole(10),
                        Credits::whole(2),
                        &AiTimes::default(),
                    )),
                };
                let ports = AiPorts {
                    upstream: provider.clone(),
                    timer: timer.clone(),
                    after_response: later.clone(),
                    usage: ledger.clone(),
                    charge,
                };
                parts = Some((provider, ledger, timer, later));
                Some(ports)
            },
        );
        let (provider, ledger, timer, later) = parts.unwrap();
        Self {
            hub,
            provider,
            ledger,
            timer,
            later,
            token: OnceLock::new(),
        }
    }

    /// Runs a future; time passes only while all wait.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            let polled = future.as_mut().poll(&mut context);
            self.later.carry_on();
            if let Poll::Ready(done) = polled {
                return done;
            }
            if !flag.0.swap(false, Ordering::SeqCst) {
                self.timer.jump();
                flag.0.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Lets time pass until nothing is left of the answers that were given.
    pub(crate) fn settle(&self) {
        self.later.carry_on();
        while !self.later.is_done() {
            self.timer.jump();
            self.later.carry_on();
        }
    }

    fn chat_request(&self, body: &[u8]) -> http::Request<Body> {
        // One token for all calls: the hub remembers that it is good.
        let token = self.token.get_or_init(|| self.hub.signer.token("ada"));
        request("POST", "/api/ai/chat")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_vec()))
            .unwrap()
    }

    /// Ada's call, read to its end.
    pub(crate) fn chat(&self, body: &Value) -> Reply {
        self.chat_bytes(body.to_string().as_bytes())
    }

    pub(crate) fn chat_bytes(&self, body: &[u8]) -> Reply {
        self.run(self.hub.send(self.chat_request(body)))
    }

    /// Ada's call, whose body nobody reads yet.
    pub(crate) fn open(&self, body: &Value) -> Response<Body> {
        let request = self.chat_request(body.to_string().as_bytes());
        self.run(self.hub.respond(request))
    }

    /// The next write of an answer.
    pub(crate) fn next_write(&self, response: &mut Response<Body>) -> Option<String> {
        let frame = self.run(response.body_mut().frame())?;
        let bytes = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The rows that were written.
    pub(crate) fn rows(&self) -> Vec<UsageRow> {
        self.ledger.store.usage()
    }

    /// Plays these scripts and reads the answer.
    pub(crate) fn play(&self, scripts: impl IntoIterator<Item = Script>, body: &Value) -> Reply {
        self.provider.play(scripts);
        self.chat(body)
    }
}

fn held(key: &str) -> ProviderKey {
    ProviderKey::Held(Secret::presented(key))
}

/// All providers with keys, and a compatible one of this hub's own with a model at two credits and one at three.
fn settings() -> AiConfig {
    let mut own = Vec::new();
    for (name, credits) in [("small", 2), ("large", 3)] {
        own.push(Model {
            price: Price::PerCall(Credits::whole(credits)),
            ..Model::plain("local", name)
        });
    }
    own.push(Model::plain("openai-chat-completions", "gpt-4o-mini"));
    own.push(Model {
        fallback: Some(("local".to_owned(), "small".to_owned())),
        ..Model::plain("local", "frail")
    });
    AiConfig {
        providers: vec![
            ProviderSettings::openai(held(OPENAI_KEY)),
            ProviderSettings::gemini(held(GEMINI_KEY)),
            ProviderSettings::anthropic(held(ANTHROPIC_KEY)),
            ProviderSettings::compatible("local", "http://127.0.0.1:1/v1/", held(LOCAL_KEY)),
            ProviderSettings::compatible(
                "openai-chat-completions",
                "https://compatible.example/v1",
                held(OPENAI_KEY),
            ),
        ],
        models: own,
        ..AiConfig::default()
    }
}

/// Events of a response that must be well formed, and whether it ended with `[DONE]`.
#[track_caller]
pub(crate) fn events(body: &str) -> (Vec<Value>, bool) {
    let mut events = Vec::new();
    let mut is_done = false;
    for block in body.split_terminator("\n\n") {
        assert!(!is_done, "something after [DONE]: {block}");
        if block == ": keep-alive" {
            continue;
        }
        let data = block
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("{block:?}"));
        assert!(!data.contains(['\n', '\r']), "{data:?}");
        match data {
            "[DONE]" => is_done = true,
            data => events.push(serde_json::from_str(data).unwrap()),
        }
    }
    assert!(body.is_empty() || body.ends_with("\n\n"), "{body:?}");
    (events, is_done)
}

/// The text of an answer.
pub(crate) fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}
