//! `postseal serve`: everything that runs in the process, started in order and ended in order.
//!
//! ```text
//!   data folder ─▶ store ─▶ snapshot ─▶ signing threads, warm ─▶ listeners ─▶ ready
//!                                                                    │
//!                                        SIGTERM or SIGINT ──────────┘
//!                                                │
//!       no new connections, messages under way are answered, then the store is closed
//! ```
//!
//! A start that fails says which step it was and what to do, and leaves nothing behind that a next start could not
//! go on from. A second signal during the drain ends the process at once; what was not answered by then is
//! the sender's to send again.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use postseal_dkim::UnixTime;
use postseal_dns::{
    AuthoritativeClient, AuthoritativeSettings, MxAnswers, Patience, Reach, RecursiveClient,
    ResolvConfError, ServedZones, ZoneApex, ZoneBindError, ZoneError, ZoneNameServer, ZoneServer,
    ZoneServerSettings,
};
use postseal_engine::NextHopName;
use postseal_keys::{DEFAULT_QUEUE_LEN, KeyCache, NoFiledKeys, SigningThreads, StartError};
use postseal_store::{Store, StoreError};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock;
use crate::config::{Config, DnsConfig};
use crate::domain_check::{DomainCheck, PublishError};
use crate::follow::Follower;
use crate::http::{self, Ambient, Api, KeyMaking, NewApiKey, Readiness, router};
use crate::installation::{Installation, InstallationError};
use crate::metrics::Metrics;
use crate::milter;
use crate::signing::Signer;
use crate::smtp_proxy::{self, HopTimeouts, Room};

/// Runs until a signal ends it.
///
/// # Errors
///
/// When a step of the start fails.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let stop = CancellationToken::new();
    let mut terminated = Signals::listen()?;
    let ambient = Ambient::system();
    let metrics = Metrics::default();
    let mut figures = Registry::default();
    metrics.register(&mut figures);

    let installation = Installation::open(&config.data, config.master_key_file.as_deref()).await?;
    installation.make_first_api_key(&ambient, Announcement::first_api_key).await?;
    let Installation { store, master_key, master_key_source, held } = installation;
    let master_key = Arc::new(master_key);
    info!(event = "opened", store = %store.path().display(), master_key = %master_key_source);

    let follower = Follower::start(store.clone(), config.policy.clone(), metrics.clone()).await?;
    let snapshot = follower.snapshot();

    let threads = config.signing.threads.and_then(NonZeroUsize::new);
    let threads = SigningThreads::start(
        threads.unwrap_or_else(SigningThreads::default_threads),
        DEFAULT_QUEUE_LEN,
    )?;
    let threads = Arc::new(threads);
    threads.warm_up().await;
    let capacity = NonZeroU64::new(config.signing.key_cache).unwrap_or(NonZeroU64::MIN);
    let keys = KeyCache::new(
        capacity,
        Arc::clone(&threads),
        Arc::clone(&master_key),
        Arc::new(NoFiledKeys),
    );

    let mx = MxAnswers::start(recursive_client(&config.dns)?, stop.clone());
    let signer =
        Arc::new(Signer::new(Arc::clone(&snapshot), keys, mx, metrics.clone(), node_name()));

    let zones = served_zones(&config.dns)?;
    let domain_check = DomainCheck::new(authoritative_client(&config.dns), zones.clone());
    let published_at = clock::now();
    domain_check.publish_all(&store, published_at).await?;
    let domain_check = Arc::new(domain_check);

    let tasks = TaskTracker::new();
    let said = Announcement::new();

    let connections = Arc::new(Semaphore::new(config.limits.connections));
    for listener in &config.milter {
        let door = milter::Door::new(
            listener,
            Arc::clone(&signer),
            metrics.clone(),
            Arc::clone(&connections),
        )?;
        let socket = milter::Listener::bind(&listener.listen).await?;
        said.listening("milter", &socket.address());
        tasks.spawn(door.serve(socket, stop.clone()));
    }
    let hops = smtp_proxy::Hops::new(&config.next_hops, &node_name(), HopTimeouts::default())?;
    let shared = smtp_proxy::Shared {
        signer: Arc::clone(&signer),
        snapshot,
        hops: hops.clone(),
        room: Room::new(held, config.limits.held_in_memory, config.limits.held_on_disk, &metrics),
        metrics: metrics.clone(),
        connections: Arc::new(Semaphore::new(config.limits.connections)),
        max_message: config.limits.message_size,
        timeouts: smtp_proxy::Timeouts::default(),
    };
    for listener in &config.smtp {
        let tls = match &listener.tls {
            Some(files) => Some(smtp_proxy::server_config(files)?),
            None => None,
        };
        let door = smtp_proxy::Door::new(listener, tls, shared.clone())?;
        let socket = smtp_proxy::bind(&listener.listen).await?;
        let address = socket.local_addr().map_err(ServeError::Socket)?;
        said.listening("smtp", &address);
        tasks.spawn(door.serve(socket, stop.clone()));
    }
    tasks.spawn(hops.tend(stop.clone()));
    if !config.dns.zones.is_empty() {
        let settings = ZoneServerSettings { listen: vec![config.dns.listen], ..Default::default() };
        let server = ZoneServer::bind(settings, zones).await?;
        for address in server.local_addrs() {
            said.listening("dns", address);
        }
        tasks.spawn(server.run(stop.clone()));
    }

    let (ready, readiness) = watch::channel(Readiness::Starting);
    let api = Api {
        store: store.clone(),
        master_key,
        domain_check: Arc::clone(&domain_check),
        next_hops: next_hop_names(&config),
        ambient,
        readiness,
        metrics: metrics.clone(),
        figures,
        key_making: KeyMaking::default(),
    };
    let http_socket = TcpListener::bind(config.http)
        .await
        .map_err(|source| ServeError::Http { address: config.http, source })?;
    let address = http_socket
        .local_addr()
        .map_err(|source| ServeError::Http { address: config.http, source })?;
    said.listening("http", &address);
    tasks.spawn(http::serve(
        http_socket,
        router(Arc::new(api)),
        http::Settings::default(),
        metrics.panics.clone(),
        stop.clone(),
    ));
    tasks.spawn(follower.run(signer, stop.clone()));
    tasks.spawn(take_out_drained(domain_check, store.clone(), published_at, stop.clone()));

    ready.send_replace(Readiness::Ready);
    said.ready();

    terminated.first().await;
    info!(event = "draining", "no new connections; messages under way are answered");
    ready.send_replace(Readiness::NotReady("the process is ending".to_owned()));
    stop.cancel();
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        () = tokio::time::sleep(DRAIN) => warn!("some connections did not end in time"),
        () = terminated.first() => warn!("a second signal: ending at once"),
    }
    store.close().await;
    info!(event = "ended");
    Ok(())
}

/// Takes the records of domains that were given up out of our own zones when their time is over, until `stop`.
async fn take_out_drained(
    domain_check: Arc<DomainCheck>,
    store: Store,
    mut done_until: UnixTime,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TAKE_OUT_EVERY) => {}
        }
        match domain_check.take_out_drained(&store, done_until, clock::now()).await {
            Ok(until) => done_until = until,
            Err(error) => {
                warn!(event = "take_out_failed", %error, "old records stay served for now")
            }
        }
    }
}

/// What the start says: for a person on standard output, for programs in the log.
struct Announcement;

impl Announcement {
    fn new() -> Self {
        Self::line(format_args!("postseal {}", env!("CARGO_PKG_VERSION")));
        Self
    }

    fn listening(&self, front_door: &str, address: &dyn std::fmt::Display) {
        Self::line(format_args!("{front_door:8}{address}"));
        info!(event = "listening", front_door, address = %address);
    }

    /// The one time that the first API key is shown. It goes to standard output and never to the log.
    fn first_api_key(key: &NewApiKey) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "first API key (shown once): {}", key.expose_text())?;
        out.flush()?;
        info!(
            event = "first_api_key",
            "the first API key was made, and printed on standard output"
        );
        Ok(())
    }

    fn ready(self) {
        Self::line(format_args!("ready"));
        info!(event = "ready");
    }

    /// Nobody may be reading; that is no reason to fail.
    fn line(text: std::fmt::Arguments<'_>) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServeError> {
        let open = |kind| signal(kind).map_err(ServeError::Signals);
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
        })
    }

    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn recursive_client(dns: &DnsConfig) -> Result<RecursiveClient, ServeError> {
    if dns.resolvers.is_empty() {
        return Ok(RecursiveClient::of_this_host()?);
    }
    Ok(RecursiveClient::new(dns.resolvers.clone(), Patience::default()))
}

fn authoritative_client(dns: &DnsConfig) -> AuthoritativeClient {
    AuthoritativeClient::new(AuthoritativeSettings {
        servers: dns.servers.iter().cloned().collect(),
        reach: Reach::Public,
        ..AuthoritativeSettings::default()
    })
}

fn served_zones(dns: &DnsConfig) -> Result<ServedZones, ServeError> {
    let zones = ServedZones::new();
    for zone in &dns.zones {
        zones.define(ZoneApex {
            origin: zone.name.clone(),
            name_servers: zone
                .name_servers
                .iter()
                .map(|(name, addresses)| ZoneNameServer {
                    name: name.clone(),
                    addresses: addresses.clone(),
                })
                .collect(),
            contact: zone.hostmaster.clone(),
            // Grows from start to start; it wraps in 2106, as serials do.
            serial: u32::try_from(clock::now().as_secs() & u64::from(u32::MAX)).unwrap_or(1),
        })?;
    }
    Ok(zones)
}

fn next_hop_names(config: &Config) -> Vec<NextHopName> {
    config.next_hops.iter().map(|hop| hop.name.clone()).collect()
}

/// This machine's name in records: the kernel's host name.
fn node_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Why a start failed.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The data folder cannot be used.
    #[error(transparent)]
    Installation(#[from] InstallationError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing threads do not start.
    #[error(transparent)]
    Threads(#[from] StartError),
    /// There is no resolver.
    #[error("{0}; or name resolvers in [dns]")]
    Resolver(#[from] ResolvConfError),
    /// A zone of our own is not well-formed.
    #[error("[[dns.zones]]: {0}")]
    Zone(#[from] ZoneError),
    /// The DNS server cannot listen.
    #[error(transparent)]
    ZoneBind(#[from] ZoneBindError),
    /// The milter cannot listen.
    #[error(transparent)]
    Listen(#[from] milter::ListenError),
    /// A milter listener's configuration makes no sense.
    #[error(transparent)]
    Door(#[from] milter::DoorError),
    /// The proxy's configuration makes no sense.
    #[error(transparent)]
    Proxy(#[from] smtp_proxy::DoorError),
    /// A certificate or its key is of no use.
    #[error("[[smtp]]: {0}")]
    Certificate(#[from] smtp_proxy::TlsError),
    /// The records of our own zones cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The system does not say where a socket is.
    #[error("cannot tell where a socket listens: {0}")]
    Socket(std::io::Error),
    /// The HTTP API cannot listen.
    #[error("cannot listen for HTTP at {address}: {source}")]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// How long messages under way may take after a signal. systemd kills after 90 s by default.
const DRAIN: Duration = Duration::from_secs(60);
/// How often records whose time is over are taken out of our own zones.
const TAKE_OUT_EVERY: Duration = Duration::from_hours(1);
/// How long the last log lines may take.
pub const LAST_LINES: Duration = Duration::from_secs(2);
