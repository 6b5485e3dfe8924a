//! The server side: the session with a client that injects mail (RFC 5321 §3, §4).
//!
//! [`Session::handle`] takes bytes of the client and answers what happened. Some events are questions:
//! the session then takes no more input until the caller has answered. Everything that needs no
//! knowledge from outside (syntax, order, limits) the session answers itself.
//!
//! ```text
//!   greeting
//!      │        ┌───────────────────────────────────────────────┐
//!      v        v                EHLO/HELO, RSET                │
//!  ┌─────────────────┐ MAIL ┌──────────┐ RCPT ┌────────────┐    │
//!  │     command     ├─────>│ Mail?    ├─────>│ Recipient? ├──┐ │
//!  │ (no transaction)│<─────┤ refused  │      │ (each)     │<─┘ │
//!  └─┬────┬─────┬────┘      └──────────┘      └─────┬──────┘    │
//!    │    │     │                         DATA,     │ first     │
//!    │    │     │                                   │ BDAT      │
//!    │    │     │ STARTTLS                          v           │
//!    │    │     v                           ┌───────────────┐   │
//!    │    │  ┌───────────────┐              │ MessageStart? ├───┤ refused
//!    │    │  │ TLS handshake │              └──────┬────────┘   │
//!    │    │  │ input dropped │                     v            │
//!    │    │  └───────────────┘   ┌──────────────────────────┐   │
//!    │    │ AUTH                 │ content: Header,         │   │
//!    │    v                      │ EndOfHeader, Body …      ├───┤ MessageRefused: the rest is
//!    │  ┌──────────────────┐     └──────┬───────────────────┘   │ dropped, then the refusal sent
//!    │  │ responses, then  │            v CRLF.CRLF, BDAT LAST  │
//!    │  │ Authenticate?    │     ┌───────────────┐              │
//!    │  └──────────────────┘     │ EndOfMessage? ├──────────────┘ answer
//!    v QUIT, too many errors     └───────────────┘
//!  closed
//! ```
//!
//! Names with `?` wait for an answer. What a client may not do: send anything behind `STARTTLS` before
//! the TLS handshake (it is dropped, CVE-2011-0411), send content behind `DATA` before the answer (the
//! connection is closed, since content that is not wanted would be read as commands), mix `BDAT` with
//! `DATA`, and make more mistakes than [`MAX_ERRORS`].

mod commands;
mod content;
mod sasl;

use self::content::Content;
use self::sasl::Sasl;
use super::address::HelloName;
use super::auth::Credentials;
use super::command::{LastChunk, Mail, Recipient};
use super::data::{BareNewlines, ContentError, Framing, Summary};
use super::extension::Extensions;
use super::reply::{Reply, ReplyClass, ReplyCode};

/// What a session offers and how it treats content.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name, in the greeting and in the answer to `EHLO`.
    pub host_name: HelloName,
    /// Whether TLS is already active (a listener with TLS from the first byte), or can become so.
    pub transport: Transport,
    /// When AUTH is taken.
    pub auth: AuthOffer,
    /// The largest message in octets, stated as SIZE and enforced.
    pub max_message: u64,
    /// 8BITMIME, SMTPUTF8, CHUNKING and DSN are offered if they are set here, and a SIZE below
    /// [`Settings::max_message`] is stated instead of it. The other fields have no meaning: they are
    /// matters between neighbours.
    pub relay: Extensions,
    /// What to do with bare CR, LF and NUL in content.
    pub newlines: BareNewlines,
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Plain, without a certificate to offer STARTTLS with.
    Plain,
    /// Plain, and STARTTLS is offered.
    StartTls,
    /// Under TLS.
    Tls,
}

/// When AUTH is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthOffer {
    /// Never.
    Never,
    /// Under TLS only (RFC 4954 §4: PLAIN must not be offered otherwise).
    UnderTls,
    /// Always: the client is on this machine.
    Always,
}

/// What happened. Names with a question mark in their description wait for an answer.
#[derive(Debug)]
pub enum Event<'i> {
    /// STARTTLS was answered with 220, and the transaction, if one was open, is gone. Write the output,
    /// run the handshake, then call [`Session::tls_started`].
    StartTls,
    /// Are these credentials good? Answer with [`Session::authenticated`].
    Authenticate(Credentials),
    /// A transaction begins with this sender? Answer with [`Session::answer`].
    Mail(Mail),
    /// This recipient too? Answer with [`Session::answer`].
    Recipient(Recipient),
    /// The client is about to send the message: is there room? Answer with [`Session::answer`];
    /// [`Reply::plain`] of [`ReplyCode::START_INPUT`] and every other positive reply mean yes, a
    /// negative one ends the transaction.
    MessageStart,
    /// Octets of the header section, with line ends, without the empty line.
    Header(&'i [u8]),
    /// The header section is complete. Comes once for each message.
    EndOfHeader,
    /// Octets of the body.
    Body(&'i [u8]),
    /// The message is complete: what becomes of it? Answer with [`Session::answer`], which ends the
    /// transaction.
    EndOfMessage(Summary),
    /// The content is not acceptable; the client hears so at its end. The transaction is gone.
    MessageRefused(ContentError),
    /// The client gave its transaction up.
    Reset,
    /// The client left; 221 is in the output. Write it and close.
    Quit,
    /// The session ends; its last reply is in the output. Write it and close.
    Close(CloseReason),
}

/// Why a session ended from our side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// More than [`MAX_ERRORS`] mistakes without a delivered message.
    TooManyErrors,
    /// [`MAX_AUTH_FAILURES`] wrong credentials.
    TooManyAuthFailures,
    /// Content was sent before the answer to `DATA`.
    ContentBeforeAnswer,
    /// `BDAT` with a chunk size that cannot be read, or too large to read past: larger than a message may
    /// be, or than [`MAX_STRAY_CHUNK`] where no transaction is open.
    ChunkSize,
    /// More than [`MAX_DISCARDED`] octets of a refused message.
    TooMuchDiscarded,
    /// The caller answered with 421 (RFC 5321 §3.8).
    Unavailable,
}

/// What a client is sending.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Receiving {
    /// A command, or a response in an AUTH exchange.
    Line,
    /// The content of a message, or of a chunk that nobody wants.
    Content,
}

/// Whether credentials are good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthVerdict {
    /// They are.
    Accepted,
    /// They are not.
    Rejected,
    /// It cannot be said now.
    Unavailable,
}

/// The session with one client.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    phase: Phase,
    hello: Option<Hello>,
    authenticated: bool,
    transaction: Option<Transaction>,
    errors: u32,
    junk: u32,
    auth_failures: u32,
    completed: u64,
}

#[derive(Debug)]
enum Phase {
    /// A command line is next.
    Command,
    /// The rest of a line that is too long is next.
    SkipLine,
    /// A response of an AUTH exchange is next.
    Sasl(Sasl),
    /// The caller owes an answer.
    Question(Question),
    /// The caller runs the TLS handshake.
    TlsHandshake,
    /// Content of `DATA` is next.
    Data,
    /// Content of a chunk is next.
    Chunk { remaining: u64, last: LastChunk },
    /// Octets of a chunk that nobody wants, then the reply.
    SkipChunk { remaining: u64, reply: Reply },
    /// Over.
    Closed(CloseReason),
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Authenticate,
    Mail { smtputf8: bool },
    Recipient,
    StartData,
    StartChunk { octets: u64, last: LastChunk },
    End,
}

#[derive(Debug)]
struct Hello {
    name: HelloName,
    extended: bool,
}

#[derive(Debug)]
struct Transaction {
    smtputf8: bool,
    accepted: u32,
    attempted: u32,
    content: Option<Content>,
}

impl Session {
    /// Starts a session; [`Session::greet`] comes first.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Command,
            hello: None,
            authenticated: false,
            transaction: None,
            errors: 0,
            junk: 0,
            auth_failures: 0,
            completed: 0,
        }
    }

    /// Appends the greeting (RFC 5321 §3.1).
    pub fn greet(&self, out: &mut Vec<u8>) {
        let text = format!("{} ESMTP Postseal", self.settings.host_name);
        Reply::plain(ReplyCode::READY, [text]).write(out);
    }

    /// The name that the client gave with `EHLO` or `HELO`, since the last TLS handshake.
    pub fn client_name(&self) -> Option<&HelloName> {
        self.hello.as_ref().map(|hello| &hello.name)
    }

    /// The protocol by its registered name (RFC 3848, RFC 6531 §4.3), for a trace field.
    pub fn protocol(&self) -> &'static str {
        let smtputf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.smtputf8);
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        match (smtputf8, extended, self.settings.transport, self.authenticated) {
            (true, _, Transport::Tls, true) => "UTF8SMTPSA",
            (true, _, Transport::Tls, false) => "UTF8SMTPS",
            (true, _, Transport::Plain | Transport::StartTls, true) => "UTF8SMTPA",
            (true, _, Transport::Plain | Transport::StartTls, false) => "UTF8SMTP",
            (false, false, _, _) => "SMTP",
            (false, true, Transport::Tls, true) => "ESMTPSA",
            (false, true, Transport::Tls, false) => "ESMTPS",
            (false, true, Transport::Plain | Transport::StartTls, true) => "ESMTPA",
            (false, true, Transport::Plain | Transport::StartTls, false) => "ESMTP",
        }
    }

    /// What the client is sending, or would send next.
    pub fn receiving(&self) -> Receiving {
        match self.phase {
            Phase::Data | Phase::Chunk { .. } | Phase::SkipChunk { .. } => Receiving::Content,
            Phase::Command
            | Phase::SkipLine
            | Phase::Sasl(_)
            | Phase::Question(_)
            | Phase::TlsHandshake
            | Phase::Closed(_) => Receiving::Line,
        }
    }

    /// How many lines, messages and chunks came in whole so far. A client that sends all the time and
    /// completes nothing does not move it, so it tells how long the client takes for each.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Changes what is offered, from the next command on: a message that needs more than that is
    /// refused, whatever the answer to an earlier `EHLO` was.
    pub fn offer(&mut self, relay: Extensions) {
        self.settings.relay = relay;
    }

    /// Changes what becomes of a bare CR, LF or NUL, from the next message on.
    pub fn set_newlines(&mut self, newlines: BareNewlines) {
        self.settings.newlines = newlines;
    }

    /// Takes input up to the next event. Answers how many bytes of `input` it took; the rest belongs
    /// to the next call, in front of what is read then. Without an event more input is needed, or an
    /// answer is owed.
    pub fn handle<'i>(&mut self, input: &'i [u8], out: &mut Vec<u8>) -> (usize, Option<Event<'i>>) {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            let step = match &self.phase {
                Phase::Command => self.command_line(rest, out),
                Phase::SkipLine => self.skip_line(rest, out),
                Phase::Sasl(_) => self.sasl_line(rest, out),
                Phase::Question(_) => Step::Wait,
                Phase::TlsHandshake => return (input.len(), None),
                Phase::Data => self.data(rest, out),
                &Phase::Chunk { remaining, last } => self.chunk(rest, remaining, last, out),
                Phase::SkipChunk { .. } => self.skip_chunk(rest, out),
                &Phase::Closed(reason) => Step::Event(rest.len(), Event::Close(reason)),
            };
            match step {
                Step::Wait => return (taken, None),
                Step::Taken(len) => taken += len,
                Step::Event(len, event) => return (taken + len, Some(event)),
            }
        }
    }

    /// Answers [`Event::Mail`], [`Event::Recipient`], [`Event::MessageStart`] or
    /// [`Event::EndOfMessage`]. The reply is sent as it is, but for a positive one to `MessageStart`,
    /// which becomes 354 for `DATA` and nothing for `BDAT`. After 421 the session closes.
    ///
    /// Without an open question it does nothing.
    pub fn answer(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        let Phase::Question(question) = self.phase else { return };
        let positive = matches!(reply.class(), ReplyClass::Completion | ReplyClass::Intermediate);
        self.phase = Phase::Command;
        match question {
            Question::Authenticate => {
                self.phase = Phase::Question(question);
                return;
            }
            Question::Mail { smtputf8 } => {
                if positive {
                    self.transaction =
                        Some(Transaction { smtputf8, accepted: 0, attempted: 0, content: None });
                } else {
                    self.errors += 1;
                }
            }
            Question::Recipient => {
                if positive && let Some(transaction) = &mut self.transaction {
                    transaction.accepted += 1;
                }
            }
            Question::StartData => {
                if positive {
                    self.start_content(Framing::Dot);
                    self.phase = Phase::Data;
                    Reply::plain(ReplyCode::START_INPUT, ["end with <CRLF>.<CRLF>"]).write(out);
                    return;
                }
                self.transaction = None;
            }
            Question::StartChunk { octets, last } => {
                if positive {
                    self.start_content(Framing::Chunks);
                    self.phase = Phase::Chunk { remaining: octets, last };
                } else {
                    self.transaction = None;
                    self.phase = Phase::SkipChunk { remaining: octets, reply: reply.clone() };
                }
                return;
            }
            Question::End => {
                self.transaction = None;
                if reply.class() == ReplyClass::Completion {
                    self.errors = 0;
                    self.junk = 0;
                }
            }
        }
        reply.write(out);
        if reply.code() == ReplyCode::NOT_AVAILABLE {
            self.phase = Phase::Closed(CloseReason::Unavailable);
        }
    }

    /// Answers [`Event::Authenticate`]. Without that question it does nothing.
    pub fn authenticated(&mut self, verdict: AuthVerdict, out: &mut Vec<u8>) {
        if !matches!(self.phase, Phase::Question(Question::Authenticate)) {
            return;
        }
        self.phase = Phase::Command;
        match verdict {
            AuthVerdict::Accepted => {
                self.authenticated = true;
                Reply::new(ReplyCode::AUTHENTICATED, (7, 0), "authentication successful")
                    .write(out);
            }
            AuthVerdict::Rejected => {
                Reply::new(ReplyCode::CREDENTIALS_INVALID, (7, 8), "authentication failed")
                    .write(out);
                self.auth_failures += 1;
                if self.auth_failures >= MAX_AUTH_FAILURES {
                    self.close(CloseReason::TooManyAuthFailures, "too many failed attempts", out);
                }
            }
            AuthVerdict::Unavailable => {
                Reply::new(
                    ReplyCode::TEMPORARY_FAILURE,
                    (7, 0),
                    "cannot authenticate now, try later",
                )
                .write(out);
            }
        }
    }

    /// Refuses the message whose content is being received. The rest of it is dropped, the client gets
    /// `reply` at its end, and the transaction is gone. Outside content it does nothing.
    pub fn refuse_message(&mut self, reply: Reply) {
        if let Some(content) = self.transaction.as_mut().and_then(|t| t.content.as_mut()) {
            content.refuse(reply);
        }
    }

    /// Goes on under TLS. All that the client said before is forgotten (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        if matches!(self.phase, Phase::TlsHandshake) {
            self.phase = Phase::Command;
            self.settings.transport = Transport::Tls;
            self.hello = None;
            self.authenticated = false;
        }
    }

    /// Drops the open transaction, if there is one.
    fn reset<'i>(&mut self) -> Option<Event<'i>> {
        self.transaction.take().map(|_| Event::Reset)
    }

    fn no_recipients<'i>(&mut self, out: &mut Vec<u8>) -> Option<Event<'i>> {
        // RFC 5321 §3.3: 503 or 554 when no recipient was accepted.
        let text = "no recipient was accepted";
        self.fail(&Reply::new(ReplyCode::FAILED, (5, 1), text), out)
    }

    fn bad_sequence<'i>(&mut self, text: &str, out: &mut Vec<u8>) -> Option<Event<'i>> {
        self.fail(&Reply::new(ReplyCode::BAD_SEQUENCE, (5, 1), text), out)
    }

    /// Sends a negative reply and counts it.
    fn fail<'i>(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Option<Event<'i>> {
        self.errors += 1;
        reply.write(out);
        None
    }

    /// Counts a command that gets a client no further.
    fn junk(&mut self) {
        self.junk += 1;
        if self.junk > MAX_JUNK {
            self.errors += 1;
        }
    }

    fn close(&mut self, reason: CloseReason, text: &str, out: &mut Vec<u8>) {
        Reply::new(ReplyCode::NOT_AVAILABLE, (7, 0), text).write(out);
        self.phase = Phase::Closed(reason);
    }
}

/// How one step of a session went.
enum Step<'i> {
    /// Nothing can be done with what is there.
    Wait,
    /// So many octets were taken; go on.
    Taken(usize),
    /// So many octets were taken, and this happened.
    Event(usize, Event<'i>),
}

/// Mistakes that a client may make without delivering a message: Postfix's `smtpd_hard_error_limit`.
pub const MAX_ERRORS: u32 = 20;

/// Commands without effect (`NOOP`, `RSET`, `VRFY`, `HELP`, another `EHLO`) that a client may send
/// without delivering a message, before each counts as a mistake: Postfix's `smtpd_junk_command_limit`.
pub const MAX_JUNK: u32 = 100;

/// Wrong credentials on one connection.
pub const MAX_AUTH_FAILURES: u32 = 3;

/// Recipients of one message: Postfix's `smtpd_recipient_limit`; RFC 5321 §4.5.3.1.8 asks for 100.
pub const MAX_RECIPIENTS: u32 = 1000;

/// Octets of a chunk that are read past where no transaction is open. A client that pipelines sends the first
/// chunk before it has heard that its sender is refused (RFC 3030 §4.2); a larger one closes the connection,
/// so that nobody has much read for nothing. No official reference.
pub const MAX_STRAY_CHUNK: u64 = 1024 * 1024;

/// Octets of a refused message that are read past so that the client gets its answer. A client that
/// sends more is cut off.
pub const MAX_DISCARDED: u64 = 256 * 1024 * 1024;
