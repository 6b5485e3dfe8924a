//! The zone server: sockets round [`crate::respond`] (RFC 1035 §4.2, RFC 7766).
//!
//! UDP is answered by a few tasks that share the socket. Each TCP connection is a task; their number is
//! bounded, in all and for each address, and a connection on which nothing comes is closed, sooner when
//! many are open. A connection beyond the bounds is closed at once.
//!
//! At the stop, no new question is taken, those that were read are answered, and connections that do not
//! end by themselves are cut after [`DRAIN_TIME`].
//!
//! On a host with several addresses, listen on each by name: an answer from a wildcard socket may leave
//! from another address than the one that was asked, and is then ignored.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::message::HEADER_LEN;
use crate::rate::{RateLimit, Sending};
use crate::respond::{Outcome, Transport, respond, truncated};
use crate::zone::ServedZones;

/// Where and within which bounds zones are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneServerSettings {
    /// The addresses to listen on, each over UDP and TCP. Port 0 means any that is free.
    pub listen: Vec<SocketAddr>,
    /// TCP connections in all.
    pub max_connections: usize,
    /// TCP connections from one address.
    pub max_connections_per_address: usize,
    /// How long a connection may stay without a whole question; a fifth of it when three quarters of
    /// the connections are in use.
    pub idle_timeout: Duration,
}

impl Default for ZoneServerSettings {
    /// 127.0.0.1:5300, 256 connections, 16 from one address, 10 s (RFC 7766 §6.2.3: a few seconds).
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5300))],
            max_connections: 256,
            max_connections_per_address: 16,
            idle_timeout: Duration::from_secs(10),
        }
    }
}

/// An authoritative server for the zones of a [`ServedZones`], bound and ready to run.
#[derive(Debug)]
pub struct ZoneServer {
    sockets: Vec<Sockets>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Sockets {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

#[derive(Debug)]
struct Shared {
    zones: ServedZones,
    settings: ZoneServerSettings,
    connections: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    rate: RateLimit,
    started: Instant,
    counters: Arc<Counters>,
}

impl ZoneServer {
    /// Opens the sockets.
    pub async fn bind(
        settings: ZoneServerSettings,
        zones: ServedZones,
    ) -> Result<Self, ZoneBindError> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for address in &settings.listen {
            let (udp, tcp) = bind_both(*address)
                .await
                .map_err(|source| ZoneBindError { address: *address, source })?;
            addresses.push(
                tcp.local_addr().map_err(|source| ZoneBindError { address: *address, source })?,
            );
            sockets.push(Sockets { udp: Arc::new(udp), tcp });
        }
        let shared = Shared {
            zones,
            connections: Arc::new(Semaphore::new(settings.max_connections)),
            by_address: Mutex::default(),
            rate: RateLimit::new(),
            started: Instant::now(),
            counters: Arc::default(),
            settings,
        };
        Ok(Self { sockets, addresses, shared: Arc::new(shared) })
    }

    /// The addresses that it listens on, in the order of the settings, with the ports as they are.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The figures, also while it runs and after.
    #[must_use]
    pub fn counters(&self) -> ZoneServerCounters {
        ZoneServerCounters { counters: Arc::clone(&self.shared.counters) }
    }

    /// Serves until `stop`, then drains.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for sockets in self.sockets {
            for _ in 0..UDP_TASKS {
                let shared = Arc::clone(&self.shared);
                tasks.spawn(serve_udp(Arc::clone(&sockets.udp), shared, stop.clone()));
            }
            tasks.spawn(serve_tcp(sockets.tcp, Arc::clone(&self.shared), stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the DNS server ended");
            }
        }
    }
}

/// A listen address that cannot be used.
#[derive(Debug, Error)]
#[error("cannot serve DNS on {address}")]
pub struct ZoneBindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The figures of a [`ZoneServer`].
#[derive(Clone, Debug)]
pub struct ZoneServerCounters {
    counters: Arc<Counters>,
}

impl ZoneServerCounters {
    /// The figures so far.
    #[must_use]
    pub fn figures(&self) -> ZoneServerFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        ZoneServerFigures {
            udp: read(&counters.udp),
            tcp: read(&counters.tcp),
            records: read(&counters.records),
            no_data: read(&counters.no_data),
            no_such_name: read(&counters.no_such_name),
            refused: read(&counters.refused),
            malformed: read(&counters.malformed),
            rate_limited: read(&counters.rate_limited),
            connections_refused: read(&counters.connections_refused),
        }
    }
}

/// What a [`ZoneServer`] did so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ZoneServerFigures {
    /// Packets over UDP.
    pub udp: u64,
    /// Messages over TCP.
    pub tcp: u64,
    /// Answers with records.
    pub records: u64,
    /// Answers that a name has no such record.
    pub no_data: u64,
    /// Answers that a name does not exist.
    pub no_such_name: u64,
    /// Questions about foreign names, transfers, updates.
    pub refused: u64,
    /// Packets that could not be read or are of a kind unknown here.
    pub malformed: u64,
    /// Answers over UDP that were cut or left out by the rate limit.
    pub rate_limited: u64,
    /// TCP connections beyond the bounds.
    pub connections_refused: u64,
}

#[derive(Debug, Default)]
struct Counters {
    udp: AtomicU64,
    tcp: AtomicU64,
    records: AtomicU64,
    no_data: AtomicU64,
    no_such_name: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    rate_limited: AtomicU64,
    connections_refused: AtomicU64,
}

impl Counters {
    fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Records => &self.records,
            Outcome::NoData => &self.no_data,
            Outcome::NoSuchName => &self.no_such_name,
            Outcome::Refused => &self.refused,
            Outcome::Malformed => &self.malformed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// The answer to one datagram, if it gets one.
    fn answer_datagram(&self, packet: &[u8], source: IpAddr) -> Option<Vec<u8>> {
        self.counters.udp.fetch_add(1, Ordering::Relaxed);
        let response = respond(&self.zones, packet, Transport::Udp)?;
        self.counters.count(response.outcome);
        let about: &[u8] = match response.outcome {
            // The question stands right behind the header; its letters do not matter.
            Outcome::Records | Outcome::NoData => packet.get(HEADER_LEN..).unwrap_or_default(),
            Outcome::NoSuchName => b"no such name",
            Outcome::Refused | Outcome::Malformed => b"no answer",
        };
        // Neither letters nor what comes behind the name make a new thing of the same question.
        let name_len = about.iter().position(|octet| *octet == 0).unwrap_or(about.len());
        let about = about.get(..name_len).unwrap_or_default().to_ascii_lowercase();
        let second = u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX);
        match self.rate.count(source, &about, second) {
            Sending::Whole => Some(response.octets),
            Sending::Truncated | Sending::Nothing if response.octets.len() <= packet.len() => {
                // It amplifies nothing.
                Some(response.octets)
            }
            Sending::Truncated => {
                self.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
                truncated(&response)
            }
            Sending::Nothing => {
                self.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    fn idle_timeout(&self) -> Duration {
        let is_crowded = self.connections.available_permits() < self.settings.max_connections / 4;
        if is_crowded { self.settings.idle_timeout / 5 } else { self.settings.idle_timeout }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the connections of one address, given back when dropped.
struct AddressPlace {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl AddressPlace {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut by_address = shared.by_address();
        let open = by_address.entry(address).or_default();
        if *open >= shared.settings.max_connections_per_address {
            return None;
        }
        *open += 1;
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut by_address = self.shared.by_address();
        if let Some(open) = by_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut buffer = [0; MAX_DATAGRAM_LEN];
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (len, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // Mostly the echo of an answer that found nobody.
                tracing::debug!(%error, "receiving over UDP");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let packet = buffer.get(..len).unwrap_or_default();
        if let Some(answer) = shared.answer_datagram(packet, peer.ip()) {
            // When the host cannot send, the asker asks again.
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, mostly: that passes, and must not become a busy loop.
                tracing::warn!(%error, "accepting over TCP");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let place = AddressPlace::take(&shared, peer.ip());
        let permit = Arc::clone(&shared.connections).try_acquire_owned();
        let (Some(place), Ok(permit)) = (place, permit) else {
            shared.counters.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        connections.spawn(async move {
            if let Err(error) = serve_connection(stream, &shared, &stop).await {
                tracing::debug!(%peer, %error, "a TCP connection ended");
            }
            drop((place, permit));
        });
    }
    drop(listener);
    let drained = timeout(DRAIN_TIME, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::debug!("cutting TCP connections that did not end");
    }
}

/// Answers one message after the other until the peer is gone, silent or told to stop.
async fn serve_connection(
    mut stream: TcpStream,
    shared: &Shared,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut packet = Vec::new();
    loop {
        let read = timeout(shared.idle_timeout(), read_message(&mut stream, &mut packet));
        tokio::select! {
            biased;
            read = read => match read {
                Err(_elapsed) => return Ok(()),
                Ok(read) => read?,
            },
            () = stop.cancelled() => return Ok(()),
        }
        shared.counters.tcp.fetch_add(1, Ordering::Relaxed);
        let Some(response) = respond(&shared.zones, &packet, Transport::Tcp) else {
            return Ok(());
        };
        shared.counters.count(response.outcome);
        let len = u16::try_from(response.octets.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(response.octets.len() + 2);
        framed.extend(len.to_be_bytes());
        framed.extend(response.octets);
        timeout(shared.idle_timeout(), stream.write_all(&framed)).await??;
    }
}

/// Reads a message behind its length. A question is short: what announces more is not waited for.
async fn read_message(stream: &mut TcpStream, packet: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_DATAGRAM_LEN {
        return Err(io::Error::other("a question of more than 4096 octets"));
    }
    packet.resize(len, 0);
    stream.read_exact(packet).await.map(|_| ())
}

async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            // The port that was free for TCP may be taken for UDP; then another one is tried.
            Err(error) if address.port() != 0 || tries == MAX_BIND_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

/// A question with all of its options is much shorter.
const MAX_DATAGRAM_LEN: usize = 4096;

/// Tasks on one UDP socket, so that more than one core can answer.
const UDP_TASKS: usize = 2;

/// How long connections may take to end at the stop.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// After an error of a socket.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

const MAX_BIND_TRIES: usize = 16;
