//! The SMTP front door: a proxy that signs what clients inject, and hands it on to the pool's next hop.
//!
//! It has no queue. A client's message is held while the client waits, signed, and given to the next hop;
//! the client gets the hop's answer (promise P6). What is wrong on our side or with the hop is a 4xx, so
//! that the message stays where it is.
//!
//! | what happens | the client gets |
//! |---|---|
//! | nothing says whose mail it is | 530 5.7.0 |
//! | a wrong API key | 535 5.7.8, and after three the end |
//! | the hop is down, slow, or breaks off | 451 4.4.x |
//! | the hop refuses us before `MAIL` | 451 4.4.0 |
//! | the hop refuses sender or recipient | that refusal; with it the whole message where we had taken the recipients ourselves |
//! | the hop's answer to the final dot | that answer |
//! | too much mail is being held | 452 4.3.1 |
//! | a message above the limit | 552 5.3.4 |
//! | a message that the hop cannot carry | 4xx or 554 5.6.3, before it is signed |
//!
//! We offer 8BITMIME, SMTPUTF8, CHUNKING and DSN only if every hop offers them. A hop that was never
//! reached counts as offering everything: its mail waits anyway, and a client must not take a hop that is
//! down for one that cannot.
//!
//! Each message gets a `Received` field; `received` says why, and where it stands.
//!
//! Reading order: `transport` (a stream with its buffers), `held` (messages in memory or on disk), `tls`,
//! `share` and `hop` (next hops and their connections), `received`, `transaction` and `hand_on` (a whole message),
//! `connection` (one client), and here who may connect, whose mail it is, and where it goes.

mod connection;
mod hand_on;
mod held;
mod hop;
mod received;
mod share;
mod tls;
mod transaction;
mod transport;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use postseal_engine::{IpRange, OnBareNewline, PoolId, Snapshot, TenantId};
use postseal_wire::smtp::extension::SizeOffer;
use postseal_wire::smtp::server::AuthOffer;
use postseal_wire::smtp::{BareNewlines, Extensions, HelloName, Reply, ReplyCode};
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::connection::{ConnectionError, End};
use self::hand_on::ADDED_OCTETS;
pub use self::held::{HeldError, Room};
pub use self::hop::{Hop, HopError, HopTimeouts, MAX_CONNECTIONS};
pub use self::tls::{TlsError, server_config};
use crate::config::{ListenAddress, NextHopConfig, SmtpConfig, TenantEvidence};
pub use crate::connections::DRAIN;
use crate::connections::{self, Open};
use crate::metrics::{FrontDoor, FrontDoorLabels, Metrics};
use crate::signing::Signer;

/// The next hops by name. Shared by all listeners, so that they share its connections.
#[derive(Clone)]
pub struct Hops(Arc<HashMap<String, Arc<Hop>>>);

impl Hops {
    /// Makes the hops of a configuration. `host_name` is our name where a hop has none of its own.
    ///
    /// # Errors
    ///
    /// If a file of a hop cannot be read, or is of no use.
    pub fn new(
        configs: &[NextHopConfig],
        host_name: &str,
        timeouts: HopTimeouts,
    ) -> Result<Self, DoorError> {
        let host_name =
            HelloName::parse(host_name).map_err(|_| DoorError::HostName(host_name.to_owned()))?;
        let mut hops = HashMap::new();
        for config in configs {
            let hop = Hop::new(config, &host_name, timeouts)
                .map_err(|source| DoorError::Hop { name: config.name.to_string(), source })?;
            hops.insert(config.name.as_str().to_ascii_lowercase(), Arc::new(hop));
        }
        Ok(Self(Arc::new(hops)))
    }

    /// Keeps the hops' connections in order until `shutdown`, and looks once what each hop offers.
    pub async fn tend(self, shutdown: CancellationToken) {
        let mut looks = JoinSet::new();
        for hop in self.0.values() {
            let hop = Arc::clone(hop);
            looks.spawn(async move { hop.look().await });
        }
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => self.0.values().for_each(|hop| hop.close_stale()),
            }
        }
        for hop in self.0.values() {
            hop.close_idle().await;
        }
    }

    fn named(&self, name: &str) -> Option<&Arc<Hop>> {
        self.0.get(&name.to_ascii_lowercase())
    }
}

/// One listener's way in: whose mail comes here, who signs it, and where it goes.
pub struct Door {
    signer: Arc<Signer>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    hops: Hops,
    room: Room,
    metrics: Metrics,
    connections: Arc<Semaphore>,
    host_name: HelloName,
    tenant_by: Vec<(IpRange, TenantId)>,
    pool: Option<PoolId>,
    recipients_answered_by: RecipientsAnsweredBy,
    tls: Option<Arc<ServerConfig>>,
    max_message: u64,
    timeouts: Timeouts,
    ids: AtomicU64,
}

/// What all listeners of the proxy share.
#[derive(Clone)]
pub struct Shared {
    /// Decides and signs.
    pub signer: Arc<Signer>,
    /// What the signer signs from.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where mail goes.
    pub hops: Hops,
    /// Where mail is held.
    pub room: Room,
    /// The figures.
    pub metrics: Metrics,
    /// Bounds the open connections.
    pub connections: Arc<Semaphore>,
    /// The largest message.
    pub max_message: u64,
    /// How long clients are waited for.
    pub timeouts: Timeouts,
}

/// Who says whether a recipient is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RecipientsAnsweredBy {
    /// We say yes, and replay the envelope when the header has named the pool.
    Us,
    /// The hop: no header may name the pool, so the hop is known from the start.
    Hop,
}

impl Door {
    /// A way in for the mail of a listener. `tls` is what STARTTLS is offered with.
    ///
    /// # Errors
    ///
    /// If the listener's host name is of no use.
    pub fn new(
        config: &SmtpConfig,
        tls: Option<Arc<ServerConfig>>,
        shared: Shared,
    ) -> Result<Self, DoorError> {
        let host_name = HelloName::parse(&config.hostname)
            .map_err(|_| DoorError::HostName(config.hostname.clone()))?;
        let attribution = &config.attribution;
        let tenant_by = attribution
            .tenant_by
            .iter()
            .filter_map(|(evidence, tenant)| match evidence {
                TenantEvidence::Client(range) => Some((*range, *tenant)),
                // SMTP has none; the configuration says so when it is read.
                TenantEvidence::Macro(_) => None,
            })
            .collect();
        let Shared { signer, snapshot, hops, room, metrics, connections, max_message, timeouts } =
            shared;
        Ok(Self {
            signer,
            snapshot,
            hops,
            room,
            metrics,
            connections,
            host_name,
            tenant_by,
            pool: attribution.pool.clone(),
            recipients_answered_by: if attribution.pool_from_header {
                RecipientsAnsweredBy::Us
            } else {
                RecipientsAnsweredBy::Hop
            },
            tls,
            max_message,
            timeouts,
            // Ids differ from those of earlier runs, which have stopped long before they get here.
            ids: AtomicU64::new(
                u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0),
            ),
        })
    }

    /// Serves the connections that come to `listener`, until `shutdown`.
    ///
    /// Then nothing is accepted any more, connections at rest get a 421, and a message under way is handed
    /// on, for at most [`DRAIN`].
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let door = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    connections::ended(FrontDoor::Smtp, &door.metrics, ended);
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => door.admit(stream, peer, &mut connections, &shutdown),
                    Err(error) => {
                        // Out of descriptors, most often. The connection waits in the backlog.
                        tracing::warn!(%error, "an SMTP connection cannot be accepted");
                        sleep(PAUSE_AFTER_ERROR).await;
                    }
                },
            }
        }
        drop(listener);
        connections::drain(FrontDoor::Smtp, &door.metrics, connections).await;
    }

    fn admit(
        self: &Arc<Self>,
        mut stream: TcpStream,
        peer: SocketAddr,
        connections: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.metrics.connections_refused.get_or_create(&LABELS).inc();
            tracing::warn!(%peer, "an SMTP connection is refused, there are too many");
            connections.spawn(async move {
                let mut out = Vec::new();
                let text = "too many connections, try later";
                Reply::new(ReplyCode::NOT_AVAILABLE, (3, 2), text).write(&mut out);
                // A client that does not take it is closed all the same.
                let _ = timeout(REFUSAL, stream.write_all(&out)).await;
            });
            return;
        };
        let (door, shutdown) = (Arc::clone(self), shutdown.clone());
        connections.spawn(async move {
            let open = Open::new(door.metrics.connections.get_or_create(&LABELS).clone(), permit);
            // Answers are one write each; without this every one of them may wait 40 ms.
            let ended = match stream.set_nodelay(true) {
                Ok(()) => {
                    let address = peer.ip().to_canonical();
                    connection::serve(&door, Box::new(stream), address, &shutdown).await
                }
                Err(error) => Err(ConnectionError::Io(error)),
            };
            drop(open);
            match ended {
                Ok(End::Quit | End::Closed | End::ShutDown) => {}
                Ok(End::TimedOut) => {
                    tracing::info!(%peer, "an SMTP client was silent for too long")
                }
                Ok(End::Ours(reason)) => {
                    door.metrics.protocol_errors.get_or_create(&LABELS).inc();
                    tracing::warn!(%peer, ?reason, "an SMTP connection is ended");
                }
                Err(error) => tracing::info!(%peer, %error, "an SMTP connection broke"),
            }
        });
    }

    fn tenant_at(&self, address: IpAddr) -> Option<TenantId> {
        self.tenant_by.iter().find_map(|(range, tenant)| range.contains(address).then_some(*tenant))
    }

    /// The pool of a tenant's mail on this listener, where no header names one.
    fn connection_pool(&self, tenant: TenantId) -> PoolId {
        let assigned =
            || self.snapshot.load().tenant(tenant).and_then(|row| row.assigned_pool.clone());
        self.pool.clone().or_else(assigned).unwrap_or_else(PoolId::default_pool)
    }

    /// What becomes of bare CR and LF in a tenant's mail. Where a header names the pool, the policy of that
    /// pool is not known while content comes in, and that of the connection's pool counts.
    fn newlines(&self, tenant: TenantId, pool: &PoolId) -> BareNewlines {
        let snapshot = self.snapshot.load();
        match snapshot.policy(snapshot.pool(pool), Some(tenant)).on_bare_newline {
            OnBareNewline::Refuse => BareNewlines::Refuse,
            OnBareNewline::Repair => BareNewlines::Repair,
        }
    }

    /// The hop of a pool: the one that it names, else the one with its own id, else `default`.
    fn hop_of(&self, pool: Option<&PoolId>) -> Option<Arc<Hop>> {
        let named = pool.and_then(|pool| {
            let by_row = self.signer.next_hop(pool);
            match &by_row {
                // A hop that is named and not there must not become another one.
                Some(name) => Some(self.hops.named(name.as_str())),
                None => self.hops.named(pool.as_str()).map(Some),
            }
        });
        match named {
            Some(found) => found.cloned(),
            None => self.hops.named(DEFAULT_HOP).cloned(),
        }
    }

    /// What the hops behind us offer, all of them.
    fn offered(&self) -> Extensions {
        let everything = Extensions {
            pipelining: true,
            size: SizeOffer::NoLimit,
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            ..Extensions::default()
        };
        let known = self.hops.0.values().filter_map(|hop| hop.extensions());
        known.fold(everything, |all, mut hop| {
            // A hop that states no size limits nothing; of another's limit our own fields take a part.
            hop.size = match hop.size {
                SizeOffer::NotOffered | SizeOffer::NoLimit => SizeOffer::NoLimit,
                SizeOffer::Limit(octets) => SizeOffer::Limit(octets.saturating_sub(ADDED_OCTETS)),
            };
            all.shared(&hop)
        })
    }

    fn next_id(&self) -> String {
        format!("{:x}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// The date for a trace field (RFC 5322 §3.3).
    fn date(&self) -> String {
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        // Every time between the years 0 and 9999 can be written.
        jiff::fmt::rfc2822::to_string(&now).unwrap_or_default()
    }
}

/// AUTH under TLS; on this machine, also without.
fn auth_for(address: IpAddr) -> AuthOffer {
    if address.is_loopback() { AuthOffer::Always } else { AuthOffer::UnderTls }
}

/// Starts to listen.
///
/// # Errors
///
/// If the system says no, or the address is a path: SMTP clients connect over TCP.
pub async fn bind(address: &ListenAddress) -> Result<TcpListener, DoorError> {
    let failed = |source| DoorError::Listen { address: address.clone(), source };
    match address {
        ListenAddress::Inet(socket) => TcpListener::bind(socket).await.map_err(failed),
        ListenAddress::Unix(_) => Err(failed(io::Error::from(io::ErrorKind::Unsupported))),
    }
}

/// Why a listener or a next hop cannot be set up. All of these are the operator's to mend.
#[derive(Debug, Error)]
pub enum DoorError {
    /// A host name that cannot stand in a greeting.
    #[error("{0:?} cannot be our host name: it must be printable, without spaces")]
    HostName(String),
    /// A next hop.
    #[error("next hop {name}: {source}")]
    Hop {
        /// Its name.
        name: String,
        /// What is wrong.
        source: TlsError,
    },
    /// An address to listen at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
}

/// How long we wait for a client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a whole command (RFC 5321 §4.5.3.2.7).
    pub command: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the next octets of content, and for a write (§4.5.3.2.5).
    pub block: Duration,
    /// For a whole message. No official reference; 50 MB at 15 KB a second.
    pub message: Duration,
    /// From the client's final dot to our answer: half a minute less than a client waits (§4.5.3.2.6).
    pub hand_on: Duration,
    /// Before a wrong API key is answered, so that guessing is slow.
    pub failed_login: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_mins(5),
            handshake: Duration::from_mins(1),
            block: Duration::from_mins(3),
            message: Duration::from_hours(1),
            hand_on: Duration::from_secs(9 * 60 + 30),
            failed_login: Duration::from_secs(1),
        }
    }
}

const LABELS: FrontDoorLabels = FrontDoorLabels { front_door: FrontDoor::Smtp };

/// The hop of every pool that has none of its own.
const DEFAULT_HOP: &str = "default";

/// How often idle connections to hops are looked at.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// How long a connection that is one too many may take to hear so.
const REFUSAL: Duration = Duration::from_secs(2);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
