//! A running hub: what `epicenter serve` starts and stops.
//!
//! Start-up order: data directory and its lock, identity store, secrets and signing key, room log, listener, on PostgreSQL
//! the lease on rooms. Nothing is served before all of it stands, and a second hub on the same directory is refused before
//! it has changed anything. Shutdown order: no new connections, sockets closed with 1001, open requests answered, log
//! flushed, lease given up, all within one deadline.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use epicenter_identity::{OwnershipRule, personal, shared};
use epicenter_server::ai::catalog::Credits;
use epicenter_server::ai::policy::{ChargePolicy, FixedCredits, NoCharge};
use epicenter_server::ai::settings::AiTimes;
use epicenter_server::config::{HubConfig, OAuthConfig, PublicOrigin};
use epicenter_server::oauth::clients;
use epicenter_server::ports::{AiPorts, Clock, Ports, Rooms, RoomsDuty};
use epicenter_store::SqlStore;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::admin_listener::{self, AdminListener, Insight};
use crate::admission::Admission;
use crate::ai::{AfterResponses, HostTimer, HttpUpstream};
use crate::clock::HostClock;
use crate::config::{AiCredits, HostConfig, Mode};
use crate::data_dir::{DataDir, DataDirError, GivenSecrets, Secrets};
use crate::feed::Feed;
use crate::identity_store::{self, OwnershipMode};
use crate::keys::RingVerify;
use crate::lease::{LeaseTimes, LeasedLog, LeasedRooms, RoomsLease};
use crate::listener::{self, Front};
use crate::log::{Log, LogConfig, SqliteLog};
use crate::metrics::{HttpStats, IdentityStats, Report, Sources};
use crate::random::{self, OsRandom};
use crate::rooms::RoomRegistry;
use crate::rooms::native::{Alarm, NativeHost};
use crate::rooms::ports::RoomHost;
use crate::store::postgres::PostgresEngine;
use crate::store::{self, OpenStore, PasswordQueue, StoreLocation, StoreSigner, Sweeper};

/// Of the shutdown deadline, what is kept for flushing the log when sockets take the rest.
const FLUSH_SHARE: u32 = 4;

/// Characters of the id by which the lease knows this run of the program.
const HOLDER_CHARACTERS: usize = 24;

/// A hub that serves until it is shut down.
pub struct Hub {
    address: SocketAddr,
    origin: PublicOrigin,
    deadline: Duration,
    stopping: watch::Sender<bool>,
    /// Drops connections that did not end when the hub stopped.
    ending: watch::Sender<bool>,
    server: JoinHandle<()>,
    feed: JoinHandle<()>,
    rooms: RoomRegistry,
    /// What AI calls that have ended still have to write.
    after_responses: AfterResponses,
    log: Arc<SqliteLog>,
    /// Only on a database that other hubs may share.
    lease: Option<RoomsLease>,
    admin: Option<AdminListener>,
    _alarm: Alarm,
    /// Ends with the hub.
    _sweeper: Sweeper,
    /// Holds the lock on the data directory for as long as the hub lives.
    _data_dir: DataDir,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hub")
            .field("address", &self.address)
            .field("origin", &self.origin.as_str())
            .finish_non_exhaustive()
    }
}

/// What the data directory and the configuration amount to, read on a blocking thread.
struct Stores {
    data_dir: DataDir,
    secrets: Secrets,
    identity: OpenStore,
    passwords: PasswordQueue,
    log: Arc<SqliteLog>,
}

impl Hub {
    /// Starts a hub; it serves when this returns.
    ///
    /// # Errors
    /// When the data directory is in use, unreadable or of another mode, a secret is missing or wrong, or the address
    /// cannot be bound.
    pub async fn start(config: HostConfig) -> anyhow::Result<Self> {
        Self::start_with_log(config, |log| log).await
    }

    /// Starts a hub whose rooms see the log through `wrap`: tests delay and fail appends there.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub async fn start_with_log(
        config: HostConfig,
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    ) -> anyhow::Result<Self> {
        let clock = HostClock::start();
        let started_ms = clock.now_ms();
        let (stores, config) = {
            let clock = clock.clone();
            let runtime = tokio::runtime::Handle::current();
            // On a thread that may wait for files; what is async in it is driven by this runtime.
            tokio::task::spawn_blocking(move || {
                runtime
                    .block_on(Stores::open(&config, &clock))
                    .map(|stores| (stores, config))
            })
            .await
            .context("opening the stores panicked")??
        };
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = listener
            .local_addr()
            .context("the bound address is unknown")?;
        let admin = admin_listener::bind(&config.admin).await?;
        let origin = match config.public_origin {
            Some(origin) => origin,
            None => PublicOrigin::parse(&format!("http://{address}"))
                .context("the bound address makes no origin")?,
        };
        let OpenStore {
            store,
            changes,
            shared,
        } = stores.identity;
        if let Some(engine) = &shared {
            identity_store::check_origin(engine, &store, &origin).await?;
        }
        identity_store::record_origin(&store, &origin)
            .await
            .context("the origin cannot be recorded")?;
        let lease = match shared {
            Some(engine) => {
                let url = rooms_url(config.rooms_url.as_ref(), address, &origin);
                Some(take_lease(engine, url, config.lease).await?)
            }
            None => None,
        };

        let log = wrap(Arc::clone(&stores.log) as Arc<dyn Log>);
        let log = match &lease {
            Some(lease) => Arc::new(LeasedLog::new(log, lease)),
            None => log,
        };
        let host = NativeHost::new(clock.clone());
        let rooms = RoomRegistry::new(
            log,
            Arc::clone(&host) as Arc<dyn RoomHost>,
            config.rooms.clone(),
            config.engine.clone(),
            config.limits.clone(),
        );
        let alarm = host.ring_for(&rooms);
        let served_rooms: Arc<dyn Rooms> = match &lease {
            Some(lease) => Arc::new(LeasedRooms::new(Arc::new(rooms.clone()), lease)),
            None => Arc::new(rooms.clone()),
        };
        let feed_store = store.clone();
        let signer = StoreSigner::new(store.clone(), stores.secrets.auth.clone());
        let sweeper = Sweeper::start(store.clone(), clock.clone());
        let store = Arc::new(store);
        let identity = Arc::new(IdentityStats::default());
        let after_responses = AfterResponses::default();
        let ai = AiPorts {
            upstream: Arc::new(HttpUpstream::new()?),
            timer: Arc::new(HostTimer),
            after_response: Arc::new(after_responses.clone()),
            usage: store.clone(),
            charge: charge_policy(config.ai_credits, &config.ai.times, &store),
        };
        let (router, revocations) = epicenter_server::Hub::router(
            HubConfig {
                origin: origin.clone(),
                ownership: ownership_rule(config.mode),
                root_keyring: stores.secrets.encryption,
                auth_secret: stores.secrets.auth,
                accounts: config.accounts,
                oauth: with_own_clients(config.oauth, config.first_party_apps, &origin),
                ai: config.ai,
                trusted_origins: trusted_origins(config.trusted_origins, config.first_party_apps),
                rate_limits: config.rate_limits,
                loopback_port: config.listen.ip().is_loopback().then(|| address.port()),
                max_body_bytes: config.limits.max_frame_bytes,
                update_limits: config.rooms.limits,
                runtime: "native",
                version: env!("CARGO_PKG_VERSION"),
                source_url: config.source_url,
            },
            Ports {
                clock: Arc::new(clock.clone()),
                random: Arc::new(OsRandom),
                verify: Arc::new(RingVerify),
                signing_keys: store.clone(),
                signer: Arc::new(signer),
                passwords: Arc::new(stores.passwords),
                accounts: store.clone(),
                sessions: store.clone(),
                grants: store.clone(),
                users: store.clone(),
                devices: store.clone(),
                rooms: served_rooms,
                health: store.clone(),
                ai: Some(ai),
                observer: identity.clone(),
            },
        );
        let mut feed = Feed {
            store: feed_store,
            changes,
            revocations,
            rooms: rooms.clone(),
            clock,
            seq: 0,
        };
        feed.read()
            .await
            .context("what was revoked cannot be read from the identity store")?;
        let admission = Arc::new(Admission::new(
            config.limits.max_user_connections,
            config.limits.max_connections,
        ));
        let http = Arc::new(HttpStats::default());
        let front = Front {
            router,
            rooms: rooms.clone(),
            admission: Arc::clone(&admission),
            http: Arc::clone(&http),
            limits: config.limits,
            trusted_proxies: config.trusted_proxies,
            request_time: Duration::from_millis(config.request_time_ms),
        };
        let (stopping, stops) = watch::channel(false);
        let admin = admin.map(|bound| {
            let duty = lease.as_ref().map(RoomsLease::duty);
            bound.serve(Insight {
                report: Report::of(Sources {
                    rooms: rooms.clone(),
                    log: Arc::clone(&stores.log),
                    admission,
                    http,
                    identity,
                    duty: duty.clone(),
                    started_ms,
                }),
                health: store,
                duty,
                stopping: stops.clone(),
            })
        });
        let (ending, ends) = watch::channel(false);
        if let Some(lease) = &lease {
            tokio::spawn(suspend_without_lease(rooms.clone(), lease.duty()));
        }
        let feed = tokio::spawn(feed.follow(stops.clone()));
        let server = tokio::spawn(listener::serve(listener, Arc::new(front), stops, ends));
        tracing::info!(address = %address, origin = origin.as_str(), "the hub serves");
        Ok(Self {
            address,
            origin,
            deadline: Duration::from_millis(config.shutdown_deadline_ms),
            stopping,
            ending,
            server,
            feed,
            rooms,
            after_responses,
            log: stores.log,
            lease,
            admin,
            _alarm: alarm,
            _sweeper: sweeper,
            _data_dir: stores.data_dir,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served, if they are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminListener::address)
    }

    /// The canonical public origin.
    pub fn origin(&self) -> &PublicOrigin {
        &self.origin
    }

    /// Stops accepting, closes sockets with 1001, answers open requests, flushes the log. Takes at most the configured
    /// deadline; what was acknowledged is on disk whatever happens.
    pub async fn shutdown(mut self) {
        let now = Instant::now();
        let deadline = now + self.deadline;
        let connections_deadline = deadline - self.deadline / FLUSH_SHARE;
        // Listener and feed are the receivers; they may have ended with a panic.
        let _ = self.stopping.send(true);
        self.rooms.shut_down();
        if timeout_at(connections_deadline, &mut self.server)
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time and are dropped");
            // Awaited: AI answers are settled when their connections are dropped, and that is waited for below.
            let _ = self.ending.send(true);
            if timeout_at(deadline, &mut self.server).await.is_err() {
                self.server.abort();
            }
        }
        // Answers that broke off are settled as well; what is not written in time expires by itself.
        if timeout_at(deadline, self.after_responses.drained())
            .await
            .is_err()
        {
            tracing::error!("some AI calls could not be settled in time");
        }
        // It was told to stop; a read that hangs is not waited for.
        self.feed.abort();
        let log = Arc::clone(&self.log);
        let flushed = tokio::task::spawn_blocking(move || log.shutdown());
        if timeout_at(deadline, flushed).await.is_err() {
            tracing::error!(
                "the room log could not be flushed in time; what was acknowledged is safe"
            );
        }
        if let Some(lease) = self.lease.take()
            && timeout_at(deadline, lease.release()).await.is_err()
        {
            tracing::warn!(
                "the lease on rooms could not be given up in time; it runs out by itself"
            );
        }
        // Last, so that an operator can watch how it ends.
        if let Some(admin) = self.admin.take() {
            admin.stop().await;
        }
    }
}

impl Stores {
    async fn open(config: &HostConfig, clock: &HostClock) -> anyhow::Result<Self> {
        let data_dir = DataDir::lock(&config.data_dir)?;
        let location = StoreLocation::of(config.database_url.as_ref(), &data_dir);
        let identity = store::open(&location).await?;
        let is_shared = identity.shared.is_some();
        let mode = match config.mode {
            Mode::Personal => OwnershipMode::Personal,
            Mode::Shared { .. } => OwnershipMode::Shared,
        };
        identity_store::claim_mode(&identity.store, mode).await?;
        let given = GivenSecrets {
            encryption: config
                .encryption_secrets
                .as_ref()
                .map(|secret| secret.expose()),
            auth: config.auth_secret.as_ref().map(|secret| secret.expose()),
        };
        let secrets = data_dir.load_secrets(given, &identity.store).await;
        let secrets = if is_shared {
            let secrets = secrets.map_err(DataDirError::of_shared_store)?;
            store::share_signing_key(&identity.store, &secrets.auth, clock.now_ms()).await?;
            secrets
        } else {
            let secrets = secrets?;
            store::ensure_signing_key(&identity.store, &secrets.auth, clock.now_ms()).await?;
            secrets
        };
        let passwords = PasswordQueue::new()?;
        let limits = LogConfig::of(config);
        let log = SqliteLog::open(&data_dir.rooms_database(), limits, Arc::new(clock.clone()))?;
        Ok(Self {
            data_dir,
            secrets,
            identity,
            passwords,
            log: Arc::new(log),
        })
    }
}

/// Where a proxy reaches this process for rooms. "All addresses" is none to go to; the public origin is at least true when
/// the proxy behind it knows the way.
fn rooms_url(
    configured: Option<&PublicOrigin>,
    address: SocketAddr,
    origin: &PublicOrigin,
) -> String {
    match configured {
        Some(url) => url.as_str().to_owned(),
        None if address.ip().is_unspecified() => origin.as_str().to_owned(),
        None => format!("http://{address}"),
    }
}

async fn take_lease(
    engine: PostgresEngine,
    url: String,
    times: LeaseTimes,
) -> anyhow::Result<RoomsLease> {
    let holder = random::alphanumeric(HOLDER_CHARACTERS).context("no id could be drawn")?;
    Ok(RoomsLease::start(engine, holder, url, times).await)
}

/// Closes the sockets of a process that does not serve rooms any more. Ends with the lease.
async fn suspend_without_lease(rooms: RoomRegistry, mut duty: watch::Receiver<RoomsDuty>) {
    let mut was_here = *duty.borrow_and_update() == RoomsDuty::Here;
    while duty.changed().await.is_ok() {
        let is_here = *duty.borrow_and_update() == RoomsDuty::Here;
        // Lost and taken again before this task could look is lost all the same.
        if was_here || !is_here {
            rooms.suspend();
        }
        was_here = is_here;
    }
}

/// Calls cost nothing unless people have credits.
fn charge_policy(
    credits: AiCredits,
    times: &AiTimes,
    store: &Arc<SqlStore>,
) -> Arc<dyn ChargePolicy> {
    let Some(opening) = credits.opening else {
        return Arc::new(NoCharge);
    };
    let unpaid_call = credits
        .unpaid_call
        .map_or(Credits::thousandths(u64::MAX), |credits| {
            Credits::whole(credits.into())
        });
    let opening = Credits::whole(opening.into());
    Arc::new(FixedCredits::new(
        store.clone(),
        opening,
        unpaid_call,
        times,
    ))
}

/// Desktop apps load their pages from a place of their own, which no redirect URI tells.
fn trusted_origins(mut origins: Vec<String>, first_party_apps: bool) -> Vec<String> {
    if first_party_apps {
        origins.push("tauri://localhost".to_owned());
    }
    origins
}

/// The clients that come with the hub, before those of the configuration.
fn with_own_clients(
    mut oauth: OAuthConfig,
    first_party_apps: bool,
    origin: &PublicOrigin,
) -> OAuthConfig {
    let mut clients = clients::built_in(origin);
    if first_party_apps {
        clients.extend(clients::first_party_apps(origin));
    }
    clients.append(&mut oauth.clients);
    oauth.clients = clients;
    oauth
}

fn ownership_rule(mode: Mode) -> OwnershipRule {
    match mode {
        Mode::Personal => personal(),
        Mode::Shared { admit, .. } => shared(admit),
    }
}
