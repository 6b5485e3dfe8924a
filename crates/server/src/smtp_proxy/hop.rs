//! Next hops: the servers that signed mail goes to, and the connections to them.
//!
//! A [`Hop`] has one address, perhaps a source address of its own (the point of a pool), TLS and
//! credentials, and keeps connections that are done with a message for the next one. It has no queue:
//! when it is down, its clients hear so at once.
//!
//! ```text
//!              take ┌────────┐ none, or dead
//!   transaction ───>│  idle  ├───────────────> connect, TLS, EHLO, AUTH
//!        ^          └────────┘                        │
//!        │ RSET MAIL (one write)   ^                  │ MAIL
//!        ├─────────────────────────┼──────────────────┘
//!        │                         │ answered, and not worn out
//!        └── RCPT, DATA, content ──┘
//! ```
//!
//! A connection from the idle ones may have died without a sign. If it does so before `MAIL` is
//! answered, the transaction is begun once more on a new one ([`Hop::begin`]): nothing of it has been
//! taken yet. Later nothing is repeated, and after the final dot nothing may be: the message may have
//! been taken (promise P6).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postseal_engine::TenantId;
use postseal_wire::smtp::auth::{Credentials, Password};
use postseal_wire::smtp::client::{self, Event, ProtocolError, Sent, SetUpError, TlsUse};
use postseal_wire::smtp::{Extensions, HelloName, Mail, Recipient, Reply, ReplyClass, ReplyCode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::held::{Held, HeldError};
use super::share::{Share, Shares};
use super::tls::{self, TlsError};
use super::transport::Transport;
use crate::config::{HopTls, NextHopConfig};

/// A next hop.
pub struct Hop {
    name: String,
    address: String,
    source_address: Option<IpAddr>,
    host_name: HelloName,
    tls: Tls,
    credentials: Option<Credentials>,
    timeouts: HopTimeouts,
    idle: Mutex<Vec<Idle>>,
    /// Bounds the connections, idle ones included.
    connections: Arc<Semaphore>,
    /// Bounds those that each tenant's clients keep for themselves.
    shares: Arc<Shares>,
    /// What the hop offered last.
    extensions: Mutex<Option<Extensions>>,
}

enum Tls {
    Never,
    Opportunistic(Arc<ClientConfig>, ServerName<'static>),
    Required(Arc<ClientConfig>, ServerName<'static>),
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Hop {
    /// Makes a hop from its configuration; `host_name` is our name where the hop has none of its own.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or a certificate or name is of no use.
    pub fn new(
        config: &NextHopConfig,
        host_name: &HelloName,
        timeouts: HopTimeouts,
    ) -> Result<Self, TlsError> {
        let host =
            config.address.rsplit_once(':').map_or(config.address.as_str(), |(host, _)| host);
        let name = config.tls_name.as_deref().unwrap_or(host).trim_matches(['[', ']']);
        let tls = match config.tls {
            HopTls::None => Tls::Never,
            HopTls::Opportunistic => {
                Tls::Opportunistic(tls::opportunistic()?, tls::server_name(name)?)
            }
            HopTls::Required => Tls::Required(
                tls::verified(config.tls_ca_file.as_deref())?,
                tls::server_name(name)?,
            ),
        };
        let credentials = match &config.credentials {
            None => None,
            Some(given) => {
                let text = std::fs::read_to_string(&given.password_file).map_err(|source| {
                    TlsError::Password { file: given.password_file.clone(), source }
                })?;
                let password = text.lines().next().unwrap_or_default().to_owned();
                Some(Credentials { user: given.user.clone(), password: Password::new(password) })
            }
        };
        let own_name = config.hostname.as_deref().and_then(|name| HelloName::parse(name).ok());
        Ok(Self {
            name: config.name.to_string(),
            address: config.address.clone(),
            source_address: config.source_address,
            host_name: own_name.unwrap_or_else(|| host_name.clone()),
            tls,
            credentials,
            timeouts,
            idle: Mutex::default(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            shares: Arc::new(Shares::of(MAX_CONNECTIONS)),
            extensions: Mutex::default(),
        })
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the hop offered when we last connected, if we ever did.
    pub(super) fn extensions(&self) -> Option<Extensions> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects once to learn what the hop offers.
    pub(super) async fn look(self: &Arc<Self>) {
        let connected = match self.permit().await {
            Ok(permit) => self.connect(permit).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(connection) => self.give_back(connection),
            Err(error) => {
                tracing::warn!(hop = self.name, %error, "a next hop cannot be reached");
            }
        }
    }

    /// Waits until the tenant may keep a connection for as long as its client likes.
    pub(super) async fn share(&self, tenant: TenantId) -> Result<Share, HopError> {
        timeout(self.timeouts.set_up, self.shares.take(tenant)).await.map_err(|_| HopError::Busy)
    }

    /// Begins a transaction on an idle connection, or a new one, and says what the hop answers.
    ///
    /// `suits` is asked with what the hop offers before `MAIL` goes out.
    pub(super) async fn begin(
        self: &Arc<Self>,
        envelope: Envelope<'_>,
        suits: impl Fn(&Extensions) -> Result<(), Reply>,
    ) -> Result<(Box<Connection>, Answers), HopError> {
        // Whoever has waited longest gets the next connection, an idle one or a new one.
        let mut permit = self.permit().await?;
        if let Some(mut connection) = self.take_idle() {
            connection.permit = Some(permit);
            suits(connection.extensions()).map_err(HopError::Unsuitable)?;
            match connection.envelope(envelope).await {
                // 421 is how a server says that it closes the connection (RFC 5321 §3.8).
                Ok(answers) if answers.mail.code() != ReplyCode::NOT_AVAILABLE => {
                    return Ok((connection, answers));
                }
                Ok(_) => {}
                Err(error) if connection.mail_answered || !error.is_broken() => return Err(error),
                Err(_) => {}
            }
            tracing::debug!(hop = self.name, "an idle connection had died");
            permit = match connection.permit.take() {
                Some(permit) => permit,
                None => self.permit().await?,
            };
        }
        let mut connection = self.connect(permit).await?;
        suits(connection.extensions()).map_err(HopError::Unsuitable)?;
        let answers = connection.envelope(envelope).await?;
        Ok((connection, answers))
    }

    /// Keeps a connection for the next message, if it is fit for one.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        let permit = connection.permit.take();
        self.keep(connection);
        // Only now may the next in line look for an idle connection.
        drop(permit);
    }

    fn keep(&self, connection: Box<Connection>) {
        if !connection.session.is_idle() || !connection.transport.inbox.unread().is_empty() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.messages < MAX_MESSAGES && idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        } else {
            drop(idle);
            tokio::spawn(connection.quit());
        }
    }

    /// Leaves connections that have been idle for long.
    pub(super) fn close_stale(&self) {
        let limit = self.timeouts.idle;
        let stale: Vec<_> = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.extract_if(.., |idle| idle.since.elapsed() >= limit).collect()
        };
        for idle in stale {
            tokio::spawn(idle.connection.quit());
        }
    }

    /// Leaves all idle connections.
    pub(super) async fn close_idle(&self) {
        let all = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for idle in all {
            idle.connection.quit().await;
        }
    }

    /// The connection that was used last: the others get a chance to become stale.
    fn take_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if since.elapsed() < self.timeouts.idle && connection.transport.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Waits for the right to use a connection. An idle connection takes none.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, HopError> {
        let permits = Arc::clone(&self.connections);
        timeout(self.timeouts.set_up, permits.acquire_owned())
            .await
            .map_err(|_| HopError::Busy)?
            // The semaphore is never closed.
            .map_err(|_| HopError::Busy)
    }

    async fn connect(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Box<Connection>, HopError> {
        let set_up = async {
            let (wanted, fallback) = match &self.tls {
                Tls::Never => (TlsUse::Never, None),
                // A password is never sent in the clear because somebody cut STARTTLS out.
                Tls::Opportunistic(..) if self.credentials.is_some() => (TlsUse::Required, None),
                Tls::Opportunistic(..) => (TlsUse::IfOffered, Some(TlsUse::Never)),
                Tls::Required(..) => (TlsUse::Required, None),
            };
            match (self.set_up(wanted).await, fallback) {
                // RFC 7435 §3: where TLS is only better than nothing, a failed handshake is nothing.
                (Err(HopError::Tls(error)), Some(fallback)) => {
                    tracing::info!(hop = self.name, %error, "no TLS with a next hop");
                    self.set_up(fallback).await
                }
                (result, _) => result,
            }
        };
        let (session, transport) =
            timeout(self.timeouts.set_up, set_up).await.map_err(|_| HopError::SetUpTimeout)??;
        *self.extensions.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(session.extensions().clone());
        Ok(Box::new(Connection {
            session,
            transport,
            timeouts: self.timeouts,
            messages: 0,
            begun: false,
            mail_answered: false,
            permit: Some(permit),
        }))
    }

    /// Connects and goes on to where commands can be given.
    async fn set_up(&self, tls: TlsUse) -> Result<(client::Session, Transport), HopError> {
        let stream = self.tcp().await?;
        let mut transport = Transport::new(Box::new(stream));
        let mut session = client::Session::new(client::Settings {
            host_name: self.host_name.clone(),
            tls,
            credentials: self.credentials.as_ref().map(|given| Credentials {
                user: given.user.clone(),
                password: Password::new(given.password.expose().to_owned()),
            }),
        });
        let deadline = Instant::now() + self.timeouts.set_up;
        loop {
            let (taken, event) = session.handle(transport.inbox.unread(), &mut transport.out)?;
            transport.inbox.consume(taken);
            transport.flush(self.timeouts.block).await?;
            match event {
                Some(Event::Ready(_)) => return Ok((session, transport)),
                Some(Event::Refused(error)) => return Err(HopError::SetUp(error)),
                Some(Event::StartTls) => {
                    transport = self.handshake(transport).await.map_err(HopError::Tls)?;
                    session.tls_started(&mut transport.out);
                }
                // Nothing was commanded yet.
                Some(Event::Reply { .. }) => {
                    return Err(HopError::Protocol(ProtocolError::Unexpected));
                }
                None => {
                    if transport.fill(deadline).await? == 0 {
                        return Err(HopError::Closed);
                    }
                }
            }
        }
    }

    async fn handshake(&self, transport: Transport) -> io::Result<Transport> {
        let (Tls::Opportunistic(config, name) | Tls::Required(config, name)) = &self.tls else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name.clone(), transport.into_stream()).await?;
        Ok(Transport::new(Box::new(stream)))
    }

    /// Connects to the first address that takes it.
    async fn tcp(&self) -> Result<TcpStream, HopError> {
        let addresses = lookup_host(self.address.as_str()).await.map_err(HopError::NoAddress)?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(self.timeouts.connect, self.tcp_to(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(HopError::Unreachable(last))
    }

    async fn tcp_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source_address {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }
}

/// An envelope as it goes to a hop.
#[derive(Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) mail: &'a Mail,
    /// The size of the message, if it is known.
    pub(super) octets: Option<u64>,
    /// Recipients that are sent in one go with `MAIL`.
    pub(super) recipients: &'a [Recipient],
}

/// What a hop answered to an envelope.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) mail: Reply,
    pub(super) recipients: Vec<Reply>,
}

impl Answers {
    /// The refusal that stands for the whole message: that of `MAIL`, else the first permanent one of a
    /// recipient (to try again would change nothing), else the first.
    pub(super) fn refusal(self) -> Option<Reply> {
        let is_refusal =
            |reply: &Reply| matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent);
        if is_refusal(&self.mail) {
            return Some(self.mail);
        }
        let (permanent, transient): (Vec<_>, Vec<_>) = self
            .recipients
            .into_iter()
            .filter(is_refusal)
            .partition(|reply| reply.class() == ReplyClass::Permanent);
        permanent.into_iter().chain(transient).next()
    }
}

/// What a hop answered when it was to get a message.
#[derive(Debug)]
pub(super) enum MessageReply {
    /// It does not want it: a negative reply to `DATA`.
    ToData(Reply),
    /// Its reply to the final dot.
    ToMessage(Reply),
    /// Its refusal in the middle of the content, after which it took no more.
    BrokeOff(Reply),
}

/// A connection to a hop, ready for a message.
pub(super) struct Connection {
    session: client::Session,
    transport: Transport,
    timeouts: HopTimeouts,
    messages: u32,
    /// Whether a transaction was begun on it, so that the next one begins with RSET.
    begun: bool,
    mail_answered: bool,
    /// Held while a message has the connection.
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// What the hop offers on this connection.
    pub(super) fn extensions(&self) -> &Extensions {
        self.session.extensions()
    }

    /// Sends `MAIL` and the recipients, behind `RSET` on a connection that was used, and waits for all
    /// answers.
    async fn envelope(&mut self, envelope: Envelope<'_>) -> Result<Answers, HopError> {
        self.mail_answered = false;
        if self.begun {
            self.session.reset(&mut self.transport.out);
        }
        self.begun = true;
        self.messages += 1;
        self.session.mail(envelope.mail, envelope.octets, &mut self.transport.out);
        for recipient in envelope.recipients {
            self.session.recipient(recipient, &mut self.transport.out);
        }
        let mut mail = None;
        let mut recipients = Vec::with_capacity(envelope.recipients.len());
        loop {
            let (to, reply) = self.reply(self.timeouts.command).await?;
            // After 421 the server closes, and answers nothing more (RFC 5321 §3.8).
            let is_last_word = reply.code() == ReplyCode::NOT_AVAILABLE;
            match to {
                Sent::Mail => {
                    self.mail_answered = true;
                    mail = Some(reply);
                }
                Sent::Recipient(_) => recipients.push(reply),
                Sent::Reset if is_last_word => return Err(HopError::Closed),
                Sent::Reset => {}
                Sent::Data | Sent::EndOfData | Sent::Quit => {
                    return Err(HopError::Protocol(ProtocolError::Unexpected));
                }
            }
            if (is_last_word || recipients.len() == envelope.recipients.len())
                && let Some(mail) = mail.take()
            {
                return Ok(Answers { mail, recipients });
            }
        }
    }

    /// Sends one recipient.
    pub(super) async fn recipient(&mut self, recipient: &Recipient) -> Result<Reply, HopError> {
        self.session.recipient(recipient, &mut self.transport.out);
        Ok(self.reply(self.timeouts.command).await?.1)
    }

    /// Sends the message: `before` the held part, both without dots stuffed.
    pub(super) async fn message(
        &mut self,
        before: &[u8],
        held: &mut Held,
    ) -> Result<MessageReply, HopError> {
        self.session.data(&mut self.transport.out);
        let (_, reply) = self.reply(self.timeouts.data).await?;
        match reply.class() {
            ReplyClass::Intermediate => {}
            ReplyClass::Transient | ReplyClass::Permanent => {
                return Ok(MessageReply::ToData(reply));
            }
            // Nothing was sent yet that could have been taken.
            ReplyClass::Completion => return Err(HopError::Protocol(ProtocolError::Unexpected)),
        }
        match self.content(before, held).await {
            Ok(()) => {}
            // Closed, or read no more.
            Err(error @ HopError::Broken(_)) => {
                return self.last_words().await.map(MessageReply::BrokeOff).ok_or(error);
            }
            Err(error) => return Err(error),
        }
        Ok(MessageReply::ToMessage(self.reply(self.timeouts.end_of_data).await?.1))
    }

    /// Sends the content and the final dot.
    async fn content(&mut self, before: &[u8], held: &mut Held) -> Result<(), HopError> {
        self.session.content(before, &mut self.transport.out);
        let mut reader = held.read().await?;
        while let Some(octets) = reader.next().await? {
            self.session.content(octets, &mut self.transport.out);
            if self.transport.out.len() >= WRITE {
                self.transport.flush(self.timeouts.block).await?;
            }
        }
        self.session.end_of_data(&mut self.transport.out);
        Ok(self.transport.flush(self.timeouts.block).await?)
    }

    /// What a hop said before it closed the connection, or read no more, while content was sent: servers answer in the
    /// middle of a message that is too large, or that a filter has seen enough of. Only a refusal counts:
    /// a message that was not whole cannot have been taken.
    async fn last_words(&mut self) -> Option<Reply> {
        self.transport.out.clear();
        // What comes is the reply to the message. The dot itself goes nowhere any more.
        self.session.end_of_data(&mut self.transport.out);
        self.transport.out.clear();
        let (_, reply) = self.reply(FAREWELL).await.ok()?;
        matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent).then_some(reply)
    }

    /// Writes what is due and waits for the next reply.
    async fn reply(&mut self, limit: Duration) -> Result<(Sent, Reply), HopError> {
        let deadline = Instant::now() + limit;
        loop {
            self.transport.flush(self.timeouts.block).await?;
            let Transport { inbox, out, .. } = &mut self.transport;
            let (taken, event) = self.session.handle(inbox.unread(), out)?;
            inbox.consume(taken);
            match event {
                // Only DATA may be answered with 3yz. Anywhere else it says neither yes nor no.
                Some(Event::Reply { to, reply })
                    if reply.class() == ReplyClass::Intermediate && to != Sent::Data =>
                {
                    return Err(HopError::Protocol(ProtocolError::Unexpected));
                }
                Some(Event::Reply { to, reply }) => return Ok((to, reply)),
                Some(Event::StartTls | Event::Ready(_) | Event::Refused(_)) => {
                    return Err(HopError::Protocol(ProtocolError::Unexpected));
                }
                None if !self.transport.out.is_empty() => {}
                None => {
                    if self.transport.fill(deadline).await? == 0 {
                        return Err(HopError::Closed);
                    }
                }
            }
        }
    }

    /// Takes leave, without waiting for the answer.
    async fn quit(mut self) {
        self.session.quit(&mut self.transport.out);
        // A hop that is gone needs no farewell.
        let _ = self.transport.flush(FAREWELL).await;
        self.transport.close(FAREWELL).await;
    }
}

/// Why a message did not get through a hop. To the client each of these is temporary.
#[derive(Debug, Error)]
pub enum HopError {
    /// The hop's host name has no address now.
    #[error("the next hop's name cannot be resolved: {0}")]
    NoAddress(#[source] io::Error),
    /// No connection.
    #[error("the next hop cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// [`MAX_CONNECTIONS`] are in use, or as many of them by one tenant as it may have, and none became free.
    #[error(
        "all of the {MAX_CONNECTIONS} connections to the next hop that this mail may use are in use"
    )]
    Busy,
    /// No greeting, or no answer to EHLO, TLS or AUTH in time.
    #[error("the next hop did not answer in time while the connection was set up")]
    SetUpTimeout,
    /// The TLS handshake failed.
    #[error("TLS with the next hop failed: {0}")]
    Tls(#[source] io::Error),
    /// A refusal before `MAIL`.
    #[error(transparent)]
    SetUp(SetUpError),
    /// The hop does not offer what the message needs; the client gets the reply.
    #[error("the next hop does not offer what the message needs: {0}")]
    Unsuitable(Reply),
    /// The hop closed the connection.
    #[error("the next hop closed the connection")]
    Closed,
    /// The connection broke, or an answer did not come in time.
    #[error("the connection to the next hop failed: {0}")]
    Broken(#[from] io::Error),
    /// The hop does not speak SMTP.
    #[error("the next hop broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The held message cannot be read.
    #[error(transparent)]
    Held(#[from] HeldError),
}

impl HopError {
    /// Whether this is what a connection looks like that had died while it was idle.
    fn is_broken(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Broken(error) => error.kind() != io::ErrorKind::TimedOut,
            Self::NoAddress(_)
            | Self::Unreachable(_)
            | Self::Busy
            | Self::SetUpTimeout
            | Self::Tls(_)
            | Self::SetUp(_)
            | Self::Unsuitable(_)
            | Self::Protocol(_)
            | Self::Held(_) => false,
        }
    }

    /// What the client is told (RFC 3463 §3.5). The details are for our operator.
    pub(super) fn reply(&self) -> Reply {
        let (status, text) = match self {
            Self::Unsuitable(reply) => return reply.clone(),
            Self::NoAddress(_) => ((4, 3), "the next hop cannot be found, try later"),
            Self::Unreachable(_) | Self::SetUpTimeout => {
                ((4, 1), "the next hop does not answer, try later")
            }
            Self::Busy => ((3, 2), "too many messages at once, try later"),
            Self::Tls(_) => ((7, 5), "no TLS with the next hop, try later"),
            Self::SetUp(_) | Self::Protocol(_) => ((4, 0), "the next hop refuses us, try later"),
            Self::Closed | Self::Broken(_) => {
                ((4, 2), "the connection to the next hop failed, try later")
            }
            Self::Held(_) => ((3, 0), "the message cannot be kept here, try later"),
        };
        Reply::new(ReplyCode::LOCAL_ERROR, status, text)
    }
}

/// How long we wait for a hop.
#[derive(Clone, Copy, Debug)]
pub struct HopTimeouts {
    /// For a TCP connection to one address.
    pub connect: Duration,
    /// From there to a session that takes commands. RFC 5321 §4.5.3.2.1 has a client wait 5 minutes for
    /// the greeting, but our own client is waiting for us, and does not wait longer.
    pub set_up: Duration,
    /// For the answer to MAIL (§4.5.3.2.2) and RCPT (§4.5.3.2.3).
    pub command: Duration,
    /// For the answer to DATA (§4.5.3.2.4).
    pub data: Duration,
    /// For each write (§4.5.3.2.5).
    pub block: Duration,
    /// For the answer to the final dot (§4.5.3.2.6).
    pub end_of_data: Duration,
    /// For which an idle connection is kept. No official reference: far below the 5 minutes after which a
    /// server may close it (§4.5.3.2.7), since each that is kept costs the hop a process.
    pub idle: Duration,
}

impl Default for HopTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            set_up: Duration::from_secs(90),
            command: Duration::from_mins(5),
            data: Duration::from_mins(2),
            block: Duration::from_mins(3),
            end_of_data: Duration::from_mins(10),
            idle: Duration::from_secs(30),
        }
    }
}

/// Connections to one hop, idle ones included. Postfix takes 100 by default.
pub const MAX_CONNECTIONS: usize = 100;

/// Idle connections to one hop.
const MAX_IDLE: usize = 50;

/// Messages on one connection. Many servers close after 100.
const MAX_MESSAGES: u32 = 100;

/// How much is collected for one write.
const WRITE: usize = 64 * 1024;

/// For how long a farewell is tried.
const FAREWELL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16) -> Reply {
        Reply::plain(ReplyCode::new(code).unwrap(), ["x"])
    }

    #[test]
    fn one_refusal_stands_for_the_whole_message() {
        let cases: [(u16, &[u16], Option<u16>); 7] = [
            (250, &[250, 251], None),
            (550, &[503, 503], Some(550)),
            (250, &[250, 550], Some(550)),
            (250, &[450, 550], Some(550)),
            (250, &[451, 250, 450], Some(451)),
            (451, &[250], Some(451)),
            (250, &[], None),
        ];
        for (mail, recipients, want) in cases {
            let answers = Answers {
                mail: reply(mail),
                recipients: recipients.iter().copied().map(reply).collect(),
            };
            let got = answers.refusal().map(|reply| reply.code().number());
            assert_eq!(got, want, "{mail} {recipients:?}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_a_hop_is_temporary() {
        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let cases = [
            (HopError::NoAddress(io()), "451 4.4.3"),
            (HopError::Unreachable(io()), "451 4.4.1"),
            (HopError::Busy, "451 4.3.2"),
            (HopError::SetUpTimeout, "451 4.4.1"),
            (HopError::Tls(io()), "451 4.7.5"),
            (HopError::SetUp(SetUpError::Greeting(reply(554))), "451 4.4.0"),
            (HopError::SetUp(SetUpError::AuthRefused(reply(535))), "451 4.4.0"),
            (HopError::Closed, "451 4.4.2"),
            (HopError::Broken(io()), "451 4.4.2"),
            (HopError::Protocol(ProtocolError::Unexpected), "451 4.4.0"),
            (HopError::Held(HeldError::NoRoom), "451 4.3.0"),
        ];
        for (error, want) in cases {
            assert!(error.reply().to_string().starts_with(want), "{error}: {}", error.reply());
        }
    }
}
