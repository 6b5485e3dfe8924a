//! The client side: the session with a next hop (RFC 5321 §3, §4.3).
//!
//! [`Session::handle`] takes bytes of the server and answers what happened; the methods named after
//! commands put them into the output. Commands may be given ahead of their replies: they go out
//! together where the server offers PIPELINING (RFC 2920) and one after the other where it does not,
//! and their replies come as [`Event::Reply`] in order. `DATA` and its end are never followed by
//! anything before their replies.
//!
//! ```text
//!  greeting ─220─> EHLO ──250──┬──────────────────────────┬─────────────> ready
//!                   │          │ STARTTLS wanted          │ credentials    │ ^
//!                   │ 5yz      v                          v                │ │ reply to the last
//!                   v        STARTTLS ─220─> handshake   AUTH ──235──>     │ │ command
//!                  HELO ─250─> ready           │          │                v │
//!                   │          │               v          │ else         commands:
//!                   │ else     │ else         EHLO        v              MAIL RCPT DATA content
//!                   v          v                       failed            RSET QUIT
//!                 failed     failed, or ready without TLS
//! ```
//!
//! Bytes that a server sends behind its answer to STARTTLS were sent by nobody under TLS: they are
//! dropped (CVE-2011-0411). A reply without a command is an error, as is one that breaks the bounds of
//! [`super::reply`]; after an error the connection is of no use.

use std::collections::VecDeque;

use thiserror::Error;
use zeroize::Zeroizing;

use super::address::HelloName;
use super::auth::{self, Credentials};
use super::command::{Mail, Recipient};
use super::data::DotStuffing;
use super::extension::Extensions;
use super::reply::{Reply, ReplyClass, ReplyCode, ReplyError};

/// How a session is set up.
#[derive(Debug)]
pub struct Settings {
    /// Our name for `EHLO`.
    pub host_name: HelloName,
    /// Whether to use STARTTLS.
    pub tls: TlsUse,
    /// What to authenticate with.
    pub credentials: Option<Credentials>,
}

/// Whether a session uses TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsUse {
    /// Never, also if it is offered.
    Never,
    /// If it is offered.
    IfOffered,
    /// Always; a server that does not offer it is of no use.
    Required,
    /// It is active already: the connection began with a handshake.
    Active,
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The server is ready for the TLS handshake. Run it, then call [`Session::tls_started`].
    StartTls,
    /// The session is set up, and commands can be given.
    Ready(Extensions),
    /// The server does not let the session be set up. The connection is of no use.
    Refused(SetUpError),
    /// A command was answered.
    Reply {
        /// The command.
        to: Sent,
        /// Its reply.
        reply: Reply,
    },
}

/// A command that has a reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// `MAIL`.
    Mail,
    /// `RCPT`: the n-th of the transaction, from 0.
    Recipient(usize),
    /// `DATA`: 354 is the go-ahead.
    Data,
    /// The final dot.
    EndOfData,
    /// `RSET`.
    Reset,
    /// `QUIT`.
    Quit,
}

/// Why a server cannot be used for now or at all.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SetUpError {
    /// A negative greeting or a negative answer to `EHLO` and `HELO`.
    #[error("the next hop refuses the connection: {0}")]
    Greeting(Reply),
    /// TLS is required, and not offered or refused.
    #[error("the next hop does not offer STARTTLS, which its settings require")]
    NoTls,
    /// A negative answer to STARTTLS.
    #[error("the next hop refuses STARTTLS: {0}")]
    TlsRefused(Reply),
    /// Credentials are set, and neither PLAIN nor LOGIN is offered.
    #[error("the next hop offers neither AUTH PLAIN nor AUTH LOGIN")]
    NoAuth,
    /// A negative answer to AUTH.
    #[error("the next hop refuses the credentials: {0}")]
    AuthRefused(Reply),
}

/// Why the stream of a server makes no sense. The connection is of no use afterwards.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Not a reply, or one without bounds.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply without a command.
    #[error("the next hop sent a reply to no command")]
    Unexpected,
}

/// The session with one next hop.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    extensions: Extensions,
    /// Commands that were sent and not answered.
    sent: VecDeque<Sent>,
    /// Commands that wait until nothing is unanswered.
    unsent: VecDeque<(Sent, String)>,
    recipients: usize,
    stuffing: DotStuffing,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    TlsHandshake,
    AuthPlain,
    AuthLoginUser,
    AuthLoginPassword,
    AuthLoginEnd,
    Ready,
    Failed,
}

impl Session {
    /// Starts a session, which waits for the greeting.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Greeting,
            extensions: Extensions::default(),
            sent: VecDeque::new(),
            unsent: VecDeque::new(),
            recipients: 0,
            stuffing: DotStuffing::default(),
        }
    }

    /// What the server offers, as far as it is known.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Says whether every command was answered, so that the connection can wait for another message.
    pub fn is_idle(&self) -> bool {
        self.state == State::Ready && self.sent.is_empty() && self.unsent.is_empty()
    }

    /// Takes input up to the next event. Answers how many bytes it took; the rest belongs to the next
    /// call, in front of what is read then. Without an event more input is needed.
    pub fn handle(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Event>), ProtocolError> {
        let mut taken = 0;
        loop {
            if matches!(self.state, State::TlsHandshake | State::Failed) {
                return Ok((input.len(), None));
            }
            let rest = input.get(taken..).unwrap_or_default();
            let Some((len, reply)) = Reply::parse(rest)? else { return Ok((taken, None)) };
            taken += len;
            match self.reply(reply, out)? {
                Some(Event::StartTls) => return Ok((input.len(), Some(Event::StartTls))),
                Some(event) => return Ok((taken, Some(event))),
                None => {}
            }
        }
    }

    /// Goes on under TLS, with a new `EHLO` (RFC 3207 §4.2).
    pub fn tls_started(&mut self, out: &mut Vec<u8>) {
        if self.state == State::TlsHandshake {
            self.settings.tls = TlsUse::Active;
            self.extensions = Extensions::default();
            self.ehlo(out);
        }
    }

    /// Begins a transaction. `octets` is the size of the message, if it is known already.
    pub fn mail(&mut self, mail: &Mail, octets: Option<u64>, out: &mut Vec<u8>) {
        self.recipients = 0;
        let command = mail.to_command(&self.extensions, octets);
        self.command(Sent::Mail, command, out);
    }

    /// Adds a recipient to the transaction.
    pub fn recipient(&mut self, recipient: &Recipient, out: &mut Vec<u8>) {
        let command = recipient.to_command(&self.extensions);
        self.command(Sent::Recipient(self.recipients), command, out);
        self.recipients += 1;
    }

    /// Asks to send the message. Content may follow when the reply is 354, and only then.
    pub fn data(&mut self, out: &mut Vec<u8>) {
        self.stuffing = DotStuffing::default();
        self.command(Sent::Data, "DATA".to_owned(), out);
    }

    /// Appends octets of the message, with a dot put before each line that begins with one.
    pub fn content(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.stuffing.write(octets, out);
    }

    /// Ends the message.
    pub fn end_of_data(&mut self, out: &mut Vec<u8>) {
        std::mem::take(&mut self.stuffing).finish(out);
        self.sent.push_back(Sent::EndOfData);
    }

    /// Gives the transaction up.
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        self.command(Sent::Reset, "RSET".to_owned(), out);
    }

    /// Takes leave. The reply need not be waited for.
    pub fn quit(&mut self, out: &mut Vec<u8>) {
        self.command(Sent::Quit, "QUIT".to_owned(), out);
    }

    /// Sends a command, or keeps it until those before it are answered.
    fn command(&mut self, sent: Sent, command: String, out: &mut Vec<u8>) {
        self.unsent.push_back((sent, command));
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        loop {
            // RFC 2920 §3.1: DATA, its end and QUIT are the last of a group.
            let ends_group =
                matches!(self.sent.back(), Some(Sent::Data | Sent::EndOfData | Sent::Quit));
            let may_follow = self.sent.is_empty()
                || self.extensions.pipelining && !ends_group && self.sent.len() < MAX_UNANSWERED;
            if !may_follow || self.state != State::Ready {
                return;
            }
            let Some((sent, command)) = self.unsent.pop_front() else { return };
            write_line(&command, out);
            self.sent.push_back(sent);
        }
    }

    fn reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Result<Option<Event>, ProtocolError> {
        let class = reply.class();
        let good = class == ReplyClass::Completion;
        match self.state {
            State::Greeting if good => {
                self.ehlo(out);
                Ok(None)
            }
            State::Ehlo if good => {
                self.extensions = Extensions::from_reply(&reply);
                Ok(self.after_hello(out))
            }
            // RFC 5321 §3.2: a server that does not know EHLO is asked with HELO.
            State::Ehlo if class == ReplyClass::Permanent => {
                self.state = State::Helo;
                write_line(&format!("HELO {}", self.settings.host_name), out);
                Ok(None)
            }
            State::Helo if good => {
                self.extensions = Extensions::default();
                Ok(self.after_hello(out))
            }
            State::Greeting | State::Ehlo | State::Helo => {
                Ok(self.failed(SetUpError::Greeting(reply)))
            }
            State::StartTls if good => {
                self.state = State::TlsHandshake;
                Ok(Some(Event::StartTls))
            }
            State::StartTls if self.settings.tls == TlsUse::IfOffered => Ok(self.authenticate(out)),
            State::StartTls => Ok(self.failed(SetUpError::TlsRefused(reply))),
            State::AuthPlain | State::AuthLoginEnd if good => Ok(self.ready()),
            State::AuthLoginUser if reply.code() == ReplyCode::CHALLENGE => {
                self.state = State::AuthLoginPassword;
                if let Some(credentials) = &self.settings.credentials {
                    write_line(&auth::encode(&credentials.user), out);
                }
                Ok(None)
            }
            State::AuthLoginPassword if reply.code() == ReplyCode::CHALLENGE => {
                self.state = State::AuthLoginEnd;
                if let Some(credentials) = &self.settings.credentials {
                    write_line(&auth::encode(credentials.password.expose()), out);
                }
                Ok(None)
            }
            State::AuthPlain
            | State::AuthLoginUser
            | State::AuthLoginPassword
            | State::AuthLoginEnd => Ok(self.failed(SetUpError::AuthRefused(reply))),
            State::Ready => {
                let to = self.sent.pop_front().ok_or(ProtocolError::Unexpected)?;
                self.flush(out);
                Ok(Some(Event::Reply { to, reply }))
            }
            State::TlsHandshake | State::Failed => Err(ProtocolError::Unexpected),
        }
    }

    fn ehlo(&mut self, out: &mut Vec<u8>) {
        self.state = State::Ehlo;
        write_line(&format!("EHLO {}", self.settings.host_name), out);
    }

    fn after_hello(&mut self, out: &mut Vec<u8>) -> Option<Event> {
        match self.settings.tls {
            TlsUse::IfOffered | TlsUse::Required if self.extensions.start_tls => {
                self.state = State::StartTls;
                write_line("STARTTLS", out);
                None
            }
            TlsUse::Required => self.failed(SetUpError::NoTls),
            TlsUse::Never | TlsUse::IfOffered | TlsUse::Active => self.authenticate(out),
        }
    }

    fn authenticate(&mut self, out: &mut Vec<u8>) -> Option<Event> {
        let Some(credentials) = &self.settings.credentials else { return self.ready() };
        if self.extensions.auth_plain {
            self.state = State::AuthPlain;
            let command = Zeroizing::new(format!("AUTH PLAIN {}", credentials.to_plain().as_str()));
            write_line(&command, out);
            None
        } else if self.extensions.auth_login {
            self.state = State::AuthLoginUser;
            write_line("AUTH LOGIN", out);
            None
        } else {
            self.failed(SetUpError::NoAuth)
        }
    }

    fn ready(&mut self) -> Option<Event> {
        self.state = State::Ready;
        Some(Event::Ready(self.extensions.clone()))
    }

    fn failed(&mut self, error: SetUpError) -> Option<Event> {
        self.state = State::Failed;
        Some(Event::Refused(error))
    }
}

fn write_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Commands that are sent ahead of their replies. Servers answer into a socket buffer of a few
/// kilobytes at least; if both sides only write, neither goes on (RFC 2920 §3.1).
const MAX_UNANSWERED: usize = 100;
