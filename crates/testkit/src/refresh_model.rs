//! Honest apps, bad luck and thieves at the refresh tokens of a store.
//!
//! Devices refresh as apps do: from several tabs at once, with answers that are lost, requests that break off and a store
//! that fails before or after it has committed. None of them may ever be signed out. Thieves replay tokens in all the ways
//! that the rule knows; whatever they do, the grant is over when the honest app has asked once more, and no other grant is.
//!
//! Time, chance and faults come from one seed; the order of tasks within a store does not. Signatures are not what this is
//! about: the signer gives none.

mod device;
mod dice;
mod theft;
mod unreliable;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use epicenter_identity::{ClientId, Scopes, UserId};
use epicenter_server::accounts::store::{
    Accounts, Act, Actor, Created, Door, NewAccount, SessionId,
};
use epicenter_server::config::OAuthConfig;
use epicenter_server::oauth::store::{AuthorizationCode, Grants};
use epicenter_server::oauth::{
    Asked, CodeRequest, GrantError, RefreshRequest, TokenAnswer, TokenPorts, TokenService,
};
use epicenter_server::ports::{Signer, SigningKey, StoreUnavailable, Users};
use epicenter_server::revocations::Revocations;
use epicenter_server::secret::Secret;
use futures_util::future::join_all;

use self::device::Device;
use self::dice::{Dice, DrawnRandom, pause_ms};
use self::unreliable::Unreliable;

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT_URI: &str = "https://app.example/callback";
const START_MS: u64 = 1_800_000_000_000;
const DAY_MS: u64 = 86_400_000;

/// Where the tokens are.
#[derive(Clone)]
pub struct ModelStore {
    /// Codes, grants, refresh tokens.
    pub grants: Arc<dyn Grants>,
    /// Accounts.
    pub users: Arc<dyn Users>,
    /// An enabled account, whose grants all of these are.
    pub user: UserId,
}

impl fmt::Debug for ModelStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ModelStore")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How much is to happen.
#[derive(Clone, Copy, Debug)]
pub struct ModelPlan {
    /// The run ends with the round in which so many refreshes were asked for.
    pub refreshes: u64,
    /// Devices at work in each round, all at once.
    pub devices: usize,
    /// The seed of everything that is left to chance.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelTally {
    /// Refreshes asked for.
    pub refreshes: u64,
    /// Answers that were lost on the way, requests that broke off, failures of the store.
    pub mishaps: u64,
    /// Requests of several tabs at once.
    pub concurrent: u64,
    /// Tabs that came with an older token within its minute.
    pub late_tabs: u64,
    /// Lost answers that were asked for after their minute.
    pub late_retries: u64,
    /// Replays by thieves.
    pub thefts: u64,
    /// Thefts after which the grant was over.
    pub caught: u64,
    /// Honest devices that were signed out, each with what happened last. Must stay empty.
    pub lost: Vec<String>,
}

impl ModelTally {
    fn add(&mut self, other: Self) {
        self.refreshes += other.refreshes;
        self.mishaps += other.mishaps;
        self.concurrent += other.concurrent;
        self.late_tabs += other.late_tabs;
        self.late_retries += other.late_retries;
        self.thefts += other.thefts;
        self.caught += other.caught;
        self.lost.extend(other.lost);
    }
}

/// Makes an account in an empty store, plays, and checks the tally: nobody honest was signed out, every theft ended its grant, and everything that can happen did.
///
/// # Panics
/// When it is otherwise.
pub async fn play<S: Accounts + Grants + Users + 'static>(store: Arc<S>, plan: &ModelPlan) {
    let user = UserId::parse("ada").expect("a valid id");
    let account = NewAccount {
        id: user.clone(),
        email: "ada@example.com".to_owned(),
        email_verified: true,
        name: "Ada".to_owned(),
        password_hash: None,
        admin: true,
    };
    let act = Act {
        at_ms: 0,
        actor: Actor::Operator,
        ip: None,
    };
    let created = store.create_account(&account, &Door::Operator, &act).await;
    assert_eq!(created, Ok(Created::Done));
    let store = ModelStore {
        grants: store.clone(),
        users: store,
        user,
    };
    let refreshes = plan.refreshes;
    let tally = run(&store, plan).await;
    assert_eq!(tally.lost, Vec::<String>::new());
    assert_eq!(tally.caught, tally.thefts);
    assert!(tally.refreshes >= refreshes);
    // A few in ten thousand, whatever the seed.
    let seldom = refreshes / 2_000;
    let counts = [
        tally.thefts,
        tally.mishaps,
        tally.concurrent,
        tally.late_tabs,
        tally.late_retries,
    ];
    assert!(counts.into_iter().all(|count| count > seldom), "{tally:?}");
}

/// Plays.
///
/// # Panics
/// When a device cannot sign in or a store fails that nobody told to.
pub async fn run(store: &ModelStore, plan: &ModelPlan) -> ModelTally {
    let world = World::new(store, plan.seed);
    let mut dice = Dice::new(plan.seed);
    let mut now_ms = START_MS;
    let signing_in = (0..plan.devices).map(|number| Device::new(&world, plan.seed, number, now_ms));
    let mut devices: Vec<Device> = join_all(signing_in).await;
    let mut tally = ModelTally::default();
    while tally.refreshes < plan.refreshes {
        now_ms += pause_ms(&mut dice);
        let steps = devices.iter_mut().map(|device| device.step(&world, now_ms));
        for done in join_all(steps).await {
            tally.add(done);
        }
    }
    tally
}

/// The services that devices and thieves talk to.
struct World {
    store: ModelStore,
    client: ClientId,
    /// Over a store that fails now and then.
    shaky: TokenService,
    sound: TokenService,
    random: Arc<DrawnRandom>,
}

impl World {
    fn new(store: &ModelStore, seed: u64) -> Self {
        let random = Arc::new(DrawnRandom::new(seed));
        let service = |grants: Arc<dyn Grants>| {
            let ports = TokenPorts {
                grants,
                users: Arc::clone(&store.users),
                signer: Arc::new(NoSigner),
                random: random.clone(),
            };
            TokenService::new(
                "https://hub.example/auth".to_owned(),
                OAuthConfig::default(),
                ports,
                Revocations::new(START_MS),
            )
        };
        Self {
            client: ClientId::parse("epicenter-opensidian").expect("a valid id"),
            shaky: service(Arc::new(Unreliable::new(Arc::clone(&store.grants), seed))),
            sound: service(Arc::clone(&store.grants)),
            random: random.clone(),
            store: store.clone(),
        }
    }

    /// A new grant; its first refresh token.
    async fn sign_in(&self, now_ms: u64) -> Secret {
        let code = Secret::draw(&*self.random);
        let scopes = Scopes::parse_lenient("openid offline_access rooms.read");
        let stored = AuthorizationCode {
            code: code.hash(),
            user: self.store.user.clone(),
            client: self.client.clone(),
            session: SessionId::new("session"),
            redirect_uri: REDIRECT_URI.to_owned(),
            challenge: CHALLENGE.to_owned(),
            nonce: None,
            scopes,
            requested_scope: scopes.to_string(),
            resource: "https://hub.example".to_owned(),
            authenticated_at_ms: now_ms,
            expires_at_ms: now_ms + 60_000,
            redeemed_by: None,
        };
        let act = Act {
            at_ms: now_ms,
            actor: Actor::User(self.store.user.clone()),
            ip: None,
        };
        let inserted = self.store.grants.insert_code(&stored, &act).await;
        inserted.expect("the store works");
        let request = CodeRequest {
            client: &self.client,
            code: &code,
            redirect_uri: REDIRECT_URI,
            verifier: &Secret::presented(VERIFIER),
            resource: None,
            asked: asked(now_ms),
        };
        let answer = self.sound.redeem(&request).await;
        next_of(&answer.expect("the code is good"))
    }

    async fn refresh(
        &self,
        service: &TokenService,
        token: &Secret,
        now_ms: u64,
    ) -> Result<Secret, GrantError> {
        let request = RefreshRequest {
            client: &self.client,
            token,
            scope: None,
            resource: None,
            asked: asked(now_ms),
        };
        service
            .refresh(&request)
            .await
            .map(|answer| next_of(&answer))
    }

    async fn is_revoked(&self, token: &Secret) -> bool {
        let found = self.store.grants.find_refresh_token(&token.hash()).await;
        let found = found.expect("the store works");
        found.is_none_or(|token| token.grant.revoked)
    }
}

fn asked(at_ms: u64) -> Asked {
    Asked { at_ms, ip: None }
}

fn next_of(answer: &TokenAnswer) -> Secret {
    let token = answer.refresh_token();
    token.expect("the grant is offline").clone()
}

struct NoSigner;

impl SigningKey for NoSigner {
    fn kid(&self) -> &str {
        "none"
    }

    fn sign_es256(&self, _message: &[u8]) -> Result<[u8; 64], StoreUnavailable> {
        Ok([0; 64])
    }
}

#[async_trait]
impl Signer for NoSigner {
    async fn signing_key(&self, _now_ms: u64) -> Result<Arc<dyn SigningKey>, StoreUnavailable> {
        Ok(Arc::new(NoSigner))
    }
}

/// Counts what one device does in one round.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
