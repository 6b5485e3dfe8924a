//! One connection of a client: bytes into the session, events to the signer and the hop, answers out.
//!
//! ```text
//!            ┌──────────────── the client has said all it will for now ─────────────┐
//!            v                                                                      │
//!   write what is due ──> wait for bytes ──> session ──> event ──┬── AUTH: snapshot │
//!                            │ deadline, end, shutdown           ├── MAIL, RCPT:    │
//!                            v                                   │   us or the hop  │
//!                          close                                 ├── content: hash, │
//!                                                                │   hold           │
//!                                                                └── final dot: hop,│
//!                                                                    sign, hand on ─┘
//! ```
//!
//! Two ways to deal with recipients. Where a field of the message may name the pool,
//! nobody knows the hop before the header is there: we answer `MAIL` and `RCPT` ourselves and replay them
//! when the message is whole. Where no field may, they go to the hop at once, and the client gets its
//! answers.
//!
//! An API key that is revoked or expires sends nothing more over a connection that is open: whoever
//! authenticated is looked up again at each `MAIL`, in the snapshot of that moment.
//!
//! A message is answered 250 when the hop has answered 250, and never otherwise. What is held of it goes
//! with the transaction.

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use postseal_dkim::{DomainName, Field, Header};
use postseal_engine::{ApiKeyHash, TenantId};
use postseal_wire::smtp::auth::{Credentials, Injection as Acting};
use postseal_wire::smtp::server::{
    AuthVerdict, CloseReason, Event, Receiving, Session, Settings, Transport as Security,
};
use postseal_wire::smtp::{BareNewlines, Mail, Recipient, Reply, ReplyCode, Summary};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::hand_on::{
    ADDED_OCTETS, about_message, failed, hand_on, is_negative, lost, no_hop, reply_of, suits,
    without,
};
use super::held::HeldError;
use super::hop::{Envelope, HopError};
use super::received::{MAX_RECEIVED, Trace};
use super::transaction::{Decision, Message, Route, Transaction};
use super::transport::{Duplex, Transport};
use super::{Door, RecipientsAnsweredBy, auth_for};
use crate::metrics::FrontDoor;
use crate::signing::{Begin, Injection};

/// How a connection ended without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The client said so.
    Quit,
    /// The client closed it.
    Closed,
    /// We ended it, for this reason.
    Ours(CloseReason),
    /// We are shutting down, and nothing was under way.
    ShutDown,
    /// The client was silent for too long.
    TimedOut,
}

/// Why a connection broke.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
}

/// Serves one connection to its end.
pub(super) async fn serve(
    door: &Door,
    stream: Box<dyn Duplex>,
    address: IpAddr,
    shutdown: &CancellationToken,
) -> Result<End, ConnectionError> {
    let mut transport = Transport::new(stream);
    let mut session = Session::new(Settings {
        host_name: door.host_name.clone(),
        transport: if door.tls.is_some() { Security::StartTls } else { Security::Plain },
        auth: auth_for(address),
        max_message: door.max_message,
        relay: door.offered(),
        newlines: BareNewlines::Refuse,
    });
    session.greet(&mut transport.out);
    let mut client = Client { door, address, authenticated: None, transaction: None };
    // Since when the client has been busy with the line, message or chunk that it has not completed.
    let mut completed = session.completed();
    let mut since = Instant::now();
    loop {
        let (taken, event) = session.handle(transport.inbox.unread(), &mut transport.out);
        match event {
            None => {
                transport.inbox.consume(taken);
                transport.flush(door.timeouts.block).await?;
                if session.completed() != completed {
                    (completed, since) = (session.completed(), Instant::now());
                }
                let deadline = client.deadline(session.receiving(), since);
                // A message that is coming in may end; the drain has a limit of its own.
                let interrupted_by = client.message().is_none().then_some(shutdown);
                let limit = door.timeouts.block;
                if let Some(end) = wait(&mut transport, deadline, limit, interrupted_by).await? {
                    client.drop_transaction();
                    return Ok(end);
                }
                continue;
            }
            Some(Event::Header(octets)) => {
                if let Err(reply) = client.header(octets) {
                    session.refuse_message(reply);
                    client.drop_transaction();
                }
            }
            Some(Event::EndOfHeader) => {
                if let Err(reply) = client.end_of_header(&session).await {
                    session.refuse_message(reply);
                    client.drop_transaction();
                }
            }
            Some(Event::Body(octets)) => {
                if let Err(reply) = client.body(octets).await {
                    session.refuse_message(reply);
                    client.drop_transaction();
                }
            }
            Some(Event::EndOfMessage(summary)) => {
                // The future is large, and most of the time there is none.
                let reply = Box::pin(client.end_of_message(summary)).await;
                session.answer(&reply, &mut transport.out);
            }
            Some(Event::Mail(mail)) => {
                let reply = if shutdown.is_cancelled() {
                    shutting_down()
                } else {
                    // Large as well, where it goes to the hop.
                    Box::pin(client.mail(mail, &mut session)).await
                };
                session.answer(&reply, &mut transport.out);
            }
            Some(Event::Recipient(recipient)) => {
                let reply = client.recipient(recipient).await;
                session.answer(&reply, &mut transport.out);
            }
            Some(Event::MessageStart) => {
                let reply = if shutdown.is_cancelled() {
                    client.drop_transaction();
                    shutting_down()
                } else {
                    client.message_start()
                };
                session.answer(&reply, &mut transport.out);
            }
            Some(Event::Authenticate(credentials)) => {
                let verdict = client.authenticate(&credentials);
                if verdict == AuthVerdict::Rejected {
                    sleep(door.timeouts.failed_login).await;
                }
                session.authenticated(verdict, &mut transport.out);
            }
            Some(Event::MessageRefused(error)) => {
                tracing::info!(client = %address, %error, "a message is refused for its content");
                client.drop_transaction();
            }
            Some(Event::Reset) => client.drop_transaction(),
            Some(Event::StartTls) => {
                client.drop_transaction();
                client.authenticated = None;
                transport.flush(door.timeouts.block).await?;
                transport = start_tls(door, transport).await.map_err(ConnectionError::Tls)?;
                session.tls_started();
                continue;
            }
            Some(Event::Quit) => {
                client.drop_transaction();
                transport.flush(door.timeouts.block).await?;
                transport.close(door.timeouts.block).await;
                return Ok(End::Quit);
            }
            Some(Event::Close(reason)) => {
                client.drop_transaction();
                transport.flush(door.timeouts.block).await?;
                transport.close(door.timeouts.block).await;
                return Ok(End::Ours(reason));
            }
        }
        transport.inbox.consume(taken);
    }
}

/// Waits for more bytes until `deadline`; says so if there will be none.
async fn wait(
    transport: &mut Transport,
    deadline: Instant,
    limit: Duration,
    interrupted_by: Option<&CancellationToken>,
) -> Result<Option<End>, ConnectionError> {
    let read = match interrupted_by {
        None => transport.fill(deadline).await,
        Some(shutdown) => tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                shutting_down().write(&mut transport.out);
                transport.flush(limit).await?;
                return Ok(Some(End::ShutDown));
            }
            read = transport.fill(deadline) => read,
        },
    };
    match read {
        Ok(0) => Ok(Some(End::Closed)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let text = "no more was heard for too long";
            Reply::new(ReplyCode::NOT_AVAILABLE, (4, 2), text).write(&mut transport.out);
            transport.flush(limit).await?;
            Ok(Some(End::TimedOut))
        }
        Err(error) => Err(error.into()),
    }
}

async fn start_tls(door: &Door, transport: Transport) -> io::Result<Transport> {
    let Some(config) = &door.tls else {
        // STARTTLS is not offered without one.
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    };
    let accept = TlsAcceptor::from(Arc::clone(config)).accept(transport.into_stream());
    let stream = timeout(door.timeouts.handshake, accept)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Transport::new(Box::new(stream)))
}

/// What a client authenticated with. Whom it stands for is asked anew for each message.
#[derive(Clone, Copy)]
struct Login {
    key: ApiKeyHash,
    acting: Acting,
}

/// What is known of a client.
struct Client<'a> {
    door: &'a Door,
    address: IpAddr,
    authenticated: Option<Login>,
    transaction: Option<Transaction>,
}

impl Client<'_> {
    /// Until when more has to come from a client that has been sending this `since` then.
    ///
    /// A part of a line gains no time. A part of a message gains some, up to the limit for a whole message, also
    /// where it is refused already and only read past.
    fn deadline(&self, receiving: Receiving, since: Instant) -> Instant {
        let timeouts = &self.door.timeouts;
        let message =
            self.transaction.as_ref().and_then(|transaction| transaction.message.as_ref());
        match (receiving, message) {
            (Receiving::Line, None) => since + timeouts.command,
            // Between two chunks, or in one: all of them together are the message.
            (Receiving::Line, Some(message)) => {
                (message.began + timeouts.message).min(since + timeouts.command)
            }
            (Receiving::Content, message) => {
                let began = message.map_or(since, |message| message.began);
                (began + timeouts.message).min(Instant::now() + timeouts.block)
            }
        }
    }

    /// Whose mail this is, if the connection shows it: the API key, else the address.
    ///
    /// A client whose key is not good any more is not taken by its address instead: it would go on
    /// as somebody else. The answer closes the connection.
    fn tenant(&mut self) -> Result<TenantId, Reply> {
        let Some(login) = self.authenticated else {
            return self.door.tenant_at(self.address).ok_or_else(|| {
                let text = "authentication required";
                Reply::new(ReplyCode::AUTHENTICATION_REQUIRED, (7, 0), text)
            });
        };
        let owner = self.door.signer.still_authorized(&login.key, self.address).ok();
        owner.and_then(|owner| self.acting_tenant(owner, login.acting)).ok_or_else(|| {
            self.authenticated = None;
            self.door.metrics.authentication_failures.inc();
            tracing::warn!(client = %self.address, "credentials are not good any more");
            Reply::new(ReplyCode::NOT_AVAILABLE, (7, 0), "authenticate again")
        })
    }

    /// For whom a key of `owner` sends.
    fn acting_tenant(&self, owner: TenantId, acting: Acting) -> Option<TenantId> {
        match acting {
            // SparkPost ignores the subaccount in the name where the key belongs to one.
            Acting::KeyOwner => Some(owner),
            Acting::Subaccount(_) if owner != TenantId::PRIMARY => Some(owner),
            Acting::Subaccount(number) => {
                let tenant = TenantId::new(number);
                let is_known = tenant == TenantId::PRIMARY
                    || self.door.snapshot.load().tenant(tenant).is_some();
                is_known.then_some(tenant)
            }
        }
    }

    fn authenticate(&mut self, credentials: &Credentials) -> AuthVerdict {
        let door = self.door;
        let login = credentials.injection().and_then(|acting| {
            let key = credentials.password.expose().as_bytes();
            let (owner, key) = door.signer.authenticate(key, self.address).ok()?;
            self.acting_tenant(owner, acting).map(|_| Login { key, acting })
        });
        match login {
            Some(login) => {
                self.authenticated = Some(login);
                AuthVerdict::Accepted
            }
            None => {
                door.metrics.authentication_failures.inc();
                tracing::warn!(client = %self.address, "credentials are refused");
                AuthVerdict::Rejected
            }
        }
    }

    async fn mail(&mut self, mut mail: Mail, session: &mut Session) -> Reply {
        let tenant = match self.tenant() {
            Ok(tenant) => tenant,
            Err(reply) => return reply,
        };
        let pool = self.door.connection_pool(tenant);
        session.set_newlines(self.door.newlines(tenant, &pool));
        let (route, reply) = match self.door.recipients_answered_by {
            RecipientsAnsweredBy::Us => {
                (Route::ByHeader, Reply::new(ReplyCode::OK, (1, 0), "sender ok"))
            }
            RecipientsAnsweredBy::Hop => {
                let Some(hop) = self.door.hop_of(Some(&pool)) else { return no_hop() };
                let share = match hop.share(tenant).await {
                    Ok(share) => share,
                    Err(error) => return failed(&hop, &error),
                };
                // The signatures will be part of it.
                mail.size = mail.size.map(|size| size.saturating_add(ADDED_OCTETS));
                let envelope = Envelope { mail: &mail, octets: mail.size, recipients: &[] };
                let begun = hop.begin(envelope, |offered| suits(&mail, &[], None, offered)).await;
                match begun {
                    Err(error) => return failed(&hop, &error),
                    Ok((connection, answers)) if is_negative(&answers.mail) => {
                        hop.give_back(connection);
                        return about_message(answers.mail);
                    }
                    Ok((connection, answers)) => {
                        (Route::Open { hop, connection, share }, answers.mail)
                    }
                }
            }
        };
        self.transaction = Some(Transaction {
            tenant,
            mail,
            recipients: Vec::new(),
            recipients_room: self.door.room.reserve(),
            route,
            message: None,
        });
        reply
    }

    async fn recipient(&mut self, recipient: Recipient) -> Reply {
        let door = self.door;
        let Some(transaction) = &mut self.transaction else { return lost() };
        let footprint = recipient.footprint();
        if transaction.recipients_room.grow_by(footprint).is_err() {
            door.metrics.held_refusals.inc();
            return full();
        }
        let reply = transaction.answer_recipient(&recipient).await;
        if is_negative(&reply) {
            transaction.recipients_room.shrink_by(footprint);
        } else {
            transaction.recipients.push(recipient);
        }
        reply
    }

    fn message_start(&mut self) -> Reply {
        let door = self.door;
        let Some(transaction) = &mut self.transaction else { return lost() };
        if matches!(transaction.route, Route::Broken) {
            self.drop_transaction();
            return HopError::Closed.reply();
        }
        if !door.room.has_room(transaction.mail.size.unwrap_or(0)) {
            door.metrics.held_refusals.inc();
            self.drop_transaction();
            return full();
        }
        transaction.message = Some(Message {
            id: door.next_id(),
            began: Instant::now(),
            header: Vec::new(),
            header_room: door.room.reserve(),
            body: door.room.hold(),
            decision: Decision::Pending,
        });
        Reply::plain(ReplyCode::START_INPUT, ["go ahead"])
    }

    fn header(&mut self, octets: &[u8]) -> Result<(), Reply> {
        let Some(message) = self.message() else { return Err(lost()) };
        message.header.extend_from_slice(octets);
        message
            .header_room
            .grow_to(message.header.capacity())
            .map_err(|error| self.not_held(&error))
    }

    async fn end_of_header(&mut self, session: &Session) -> Result<(), Reply> {
        let door = self.door;
        let Some(Transaction { tenant, recipients, message: Some(message), .. }) =
            &mut self.transaction
        else {
            return Err(lost());
        };
        let trace = Trace {
            client_name: session.client_name(),
            client_address: self.address,
            host_name: &door.host_name,
            protocol: session.protocol(),
            id: &message.id,
            date: &door.date(),
        };
        if let Some(text) = malformed(&message.header) {
            tracing::info!(queue_id = message.id, text, "a header section is refused");
            return Err(Reply::new(ReplyCode::FAILED, (6, 0), text));
        }
        message.header.splice(..0, trace.to_field().into_bytes());
        let header = match Header::parse(&message.header) {
            Ok(header) => header,
            Err(error) => {
                tracing::info!(queue_id = message.id, %error, "a header section is refused");
                return Err(Reply::new(ReplyCode::FAILED, (6, 0), error.to_string()));
            }
        };
        let is_received = |name: &[u8]| name.eq_ignore_ascii_case(b"Received");
        if header.fields().filter(|field| is_received(field.name())).count() > MAX_RECEIVED {
            return Err(Reply::new(ReplyCode::FAILED, (4, 6), "too many hops, this is a loop"));
        }
        let injection = Injection {
            front_door: FrontDoor::Smtp,
            tenant: Some(*tenant),
            pool: door.pool.clone(),
            pool_from_header: door.recipients_answered_by == RecipientsAnsweredBy::Us,
            queue_id: Some(message.id.clone()),
            recipients: recipient_domains(recipients),
        };
        match door.signer.begin(injection, &header).await {
            Begin::Pass(passed) => {
                message.header = without(&header, &passed.remove);
                message.decision = Decision::Pass { pool: passed.pool };
                Ok(())
            }
            Begin::Refuse(refusal) | Begin::Tempfail(refusal) => Err(reply_of(&refusal)),
            Begin::Sign(in_flight) => {
                message.decision = Decision::Sign(in_flight);
                Ok(())
            }
        }
    }

    async fn body(&mut self, octets: &[u8]) -> Result<(), Reply> {
        let Some(message) = self.message() else { return Err(lost()) };
        if let Decision::Sign(in_flight) = &mut message.decision
            && in_flight.body(octets) == ControlFlow::Break(())
        {
            // The rest changes nothing, and what is wrong is said now.
            return match std::mem::replace(&mut message.decision, Decision::Pending) {
                Decision::Sign(in_flight) => match in_flight.finish().await {
                    Err(refusal) => Err(reply_of(&refusal)),
                    Ok(_) => Err(lost()),
                },
                Decision::Pending | Decision::Pass { .. } => Err(lost()),
            };
        }
        match message.body.push(octets).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.not_held(&error)),
        }
    }

    /// Hands the message on; answers what the client gets.
    async fn end_of_message(&mut self, summary: Summary) -> Reply {
        let Some(transaction) = self.transaction.take() else { return lost() };
        let door = self.door;
        match timeout(door.timeouts.hand_on, hand_on(door, transaction, summary)).await {
            Ok(reply) => reply,
            // The client is about to give up; it hears of it while it still listens.
            Err(_) => HopError::Closed.reply(),
        }
    }

    /// Forgets the transaction. The hop forgets it when the connection is used next, by RSET.
    fn drop_transaction(&mut self) {
        if let Some(Transaction { route: Route::Open { hop, connection, .. }, .. }) =
            self.transaction.take()
        {
            hop.give_back(connection);
        }
    }

    fn message(&mut self) -> Option<&mut Message> {
        self.transaction.as_mut().and_then(|transaction| transaction.message.as_mut())
    }

    fn not_held(&self, error: &HeldError) -> Reply {
        match error {
            HeldError::NoRoom => {
                self.door.metrics.held_refusals.inc();
                full()
            }
            HeldError::Io(_) => {
                tracing::error!(%error, "a message cannot be held");
                Reply::new(ReplyCode::LOCAL_ERROR, (3, 0), "the message cannot be kept here now")
            }
        }
    }
}

impl Transaction {
    /// What the client gets for a recipient: our yes, or what the hop says.
    async fn answer_recipient(&mut self, recipient: &Recipient) -> Reply {
        match &mut self.route {
            Route::ByHeader => Reply::new(ReplyCode::OK, (1, 5), "recipient ok"),
            Route::Broken => HopError::Closed.reply(),
            Route::Open { hop, connection, .. } => {
                let recipients = std::slice::from_ref(recipient);
                let offered = connection.extensions();
                if let Err(reply) = suits(&self.mail, recipients, None, offered) {
                    return reply;
                }
                match connection.recipient(recipient).await {
                    Ok(reply) if is_negative(&reply) => about_message(reply),
                    Ok(reply) => reply,
                    Err(error) => {
                        let reply = failed(hop, &error);
                        self.route = Route::Broken;
                        reply
                    }
                }
            }
        }
    }
}

/// What is wrong with the lines of a header section, as the client sent it.
///
/// A first line that is folded would become part of the field above it, which is ours. At a line that is no
/// field, MTAs begin the body, so that fields below it fall out of the header and out of the signature.
fn malformed(header: &[u8]) -> Option<&'static str> {
    if header.starts_with(b" ") || header.starts_with(b"\t") {
        return Some("the header begins with white space, which folds nothing");
    }
    let header = Header::parse(header).ok()?;
    let has_name = |field: Field<'_>| {
        let name = field.name();
        !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
    };
    if header.fields().all(has_name) {
        return None;
    }
    Some("a line of the header is no field (RFC 5322 section 2.2)")
}

/// The domains of the recipients, each once. What is no domain name is at no provider.
fn recipient_domains(recipients: &[Recipient]) -> Vec<DomainName> {
    let mut domains: Vec<DomainName> = recipients
        .iter()
        .filter_map(|recipient| DomainName::parse(recipient.mailbox.domain()?).ok())
        .collect();
    domains.sort_unstable();
    domains.dedup();
    domains
}

fn shutting_down() -> Reply {
    Reply::new(ReplyCode::NOT_AVAILABLE, (3, 2), "shutting down, try later")
}

fn full() -> Reply {
    let text = "too much mail is being held, try later";
    Reply::new(ReplyCode::INSUFFICIENT_STORAGE, (3, 1), text)
}
