//! What each command does to the session, but for AUTH and content.

use super::super::command::{Command, CommandError, LastChunk, Mail, Recipient};
use super::super::extension::{Extensions, SizeOffer};
use super::super::line::{Line, MAX_AUTH_LINE, MAX_COMMAND_LINE, first_line};
use super::super::reply::{Reply, ReplyCode};
use super::{
    AuthOffer, CloseReason, Event, Hello, MAX_DISCARDED, MAX_ERRORS, MAX_RECIPIENTS,
    MAX_STRAY_CHUNK, Phase, Question, Session, Step, Transaction, Transport,
};

impl Session {
    pub(super) fn command_line<'i>(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step<'i> {
        if self.errors >= MAX_ERRORS {
            self.close(CloseReason::TooManyErrors, "too many errors", out);
            return Step::Taken(0);
        }
        let is_auth = input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        let max = if is_auth { MAX_AUTH_LINE } else { MAX_COMMAND_LINE };
        let (taken, line) = first_line(input, max);
        let command = match line {
            Line::Incomplete => return Step::Wait,
            Line::Complete(line) => Command::parse(line),
            Line::BareNewline => Err(CommandError::BareNewline),
            Line::TooLong => return self.too_long(input, taken, out),
        };
        self.completed += 1;
        let follows = Follows::of(input, taken);
        let event = match command {
            Ok(command) => self.command(command, follows, out),
            Err(CommandError::ChunkSize) => {
                // The octets of the chunk cannot be told from commands.
                CommandError::ChunkSize.reply().write(out);
                self.phase = Phase::Closed(CloseReason::ChunkSize);
                None
            }
            Err(error) => self.fail(&error.reply(), out),
        };
        match event {
            Some(Event::StartTls) => Step::Event(input.len(), Event::StartTls),
            Some(event) => Step::Event(taken, event),
            None => Step::Taken(taken),
        }
    }

    fn command<'i>(
        &mut self,
        command: Command,
        follows: Follows,
        out: &mut Vec<u8>,
    ) -> Option<Event<'i>> {
        match command {
            Command::Ehlo(name) => self.hello(Hello { name, extended: true }, out),
            Command::Helo(name) => self.hello(Hello { name, extended: false }, out),
            Command::StartTls => self.start_tls(out),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref(), out),
            Command::Mail(mail) => self.mail(mail, out),
            Command::Rcpt(recipient) => self.recipient(recipient, out),
            Command::Data => self.data_command(follows, out),
            Command::Bdat { octets, last } => self.chunk_command(octets, last, out),
            Command::Rset => {
                self.junk();
                Reply::new(ReplyCode::OK, (0, 0), "ok").write(out);
                self.reset()
            }
            Command::Noop => {
                self.junk();
                Reply::new(ReplyCode::OK, (0, 0), "ok").write(out);
                None
            }
            Command::Help => {
                self.junk();
                let text = "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT";
                Reply::new(ReplyCode::HELP, (0, 0), text).write(out);
                None
            }
            Command::Vrfy => {
                self.junk();
                Reply::new(ReplyCode::CANNOT_VERIFY, (5, 0), "cannot verify, but will take mail")
                    .write(out);
                None
            }
            Command::Expn => self.fail(&CommandError::NotImplemented.reply(), out),
            Command::Quit => {
                Reply::new(ReplyCode::CLOSING, (0, 0), "bye").write(out);
                Some(Event::Quit)
            }
        }
    }

    fn hello<'i>(&mut self, hello: Hello, out: &mut Vec<u8>) -> Option<Event<'i>> {
        if self.hello.is_some() {
            self.junk();
        }
        let mut lines = vec![self.settings.host_name.to_string()];
        if hello.extended {
            lines.extend(self.extension_lines());
        }
        Reply::plain(ReplyCode::OK, lines).write(out);
        self.hello = Some(hello);
        self.reset()
    }

    fn extension_lines(&self) -> Vec<String> {
        let offered = self.offered();
        let mut lines = vec!["PIPELINING".to_owned()];
        if let SizeOffer::Limit(octets) = offered.size {
            lines.push(format!("SIZE {octets}"));
        }
        let flags = [
            (offered.eight_bit_mime, "8BITMIME"),
            (offered.smtputf8, "SMTPUTF8"),
            (offered.chunking, "CHUNKING"),
            (offered.dsn, "DSN"),
            (offered.start_tls, "STARTTLS"),
            (offered.auth_plain, "AUTH PLAIN LOGIN"),
            (true, "ENHANCEDSTATUSCODES"),
        ];
        lines.extend(flags.iter().filter(|(on, _)| *on).map(|(_, keyword)| (*keyword).to_owned()));
        lines
    }

    /// What the client may use now.
    fn offered(&self) -> Extensions {
        let relay = &self.settings.relay;
        let auth = self.auth_is_open();
        Extensions {
            pipelining: true,
            size: SizeOffer::Limit(self.max_message()),
            start_tls: self.settings.transport == Transport::StartTls,
            auth_plain: auth,
            auth_login: auth,
            ..relay.clone()
        }
    }

    pub(super) fn max_message(&self) -> u64 {
        let own = self.settings.max_message;
        self.settings.relay.size.limit().map_or(own, |behind| behind.min(own))
    }

    pub(super) fn auth_is_open(&self) -> bool {
        match self.settings.auth {
            AuthOffer::Never => false,
            AuthOffer::UnderTls => self.settings.transport == Transport::Tls,
            AuthOffer::Always => true,
        }
    }

    fn start_tls<'i>(&mut self, out: &mut Vec<u8>) -> Option<Event<'i>> {
        match self.settings.transport {
            Transport::Plain => self.fail(&CommandError::NotImplemented.reply(), out),
            Transport::Tls => self.bad_sequence("TLS is active already", out),
            Transport::StartTls => {
                Reply::new(ReplyCode::READY, (0, 0), "go ahead with TLS").write(out);
                self.transaction = None;
                self.phase = Phase::TlsHandshake;
                Some(Event::StartTls)
            }
        }
    }

    fn mail<'i>(&mut self, mail: Mail, out: &mut Vec<u8>) -> Option<Event<'i>> {
        if self.hello.is_none() {
            return self.bad_sequence("send EHLO first", out);
        }
        if self.transaction.is_some() {
            return self.bad_sequence("MAIL was given already", out);
        }
        if let Some(error) = mail.beyond(&self.offered()) {
            return self.fail(&error.reply(), out);
        }
        self.phase = Phase::Question(Question::Mail { smtputf8: mail.smtputf8 });
        Some(Event::Mail(mail))
    }

    fn recipient<'i>(&mut self, recipient: Recipient, out: &mut Vec<u8>) -> Option<Event<'i>> {
        let offered = self.offered();
        let Some(transaction) = self.transaction.as_mut().filter(|t| t.content.is_none()) else {
            return self.bad_sequence("RCPT comes after MAIL and before the message", out);
        };
        transaction.attempted = transaction.attempted.saturating_add(1);
        // A client that goes on for long has not read the replies.
        if transaction.attempted > 2 * MAX_RECIPIENTS {
            self.errors += 1;
        }
        if transaction.accepted >= MAX_RECIPIENTS {
            let text = "too many recipients, send the message again for the others";
            Reply::new(ReplyCode::INSUFFICIENT_STORAGE, (5, 3), text).write(out);
            return None;
        }
        if let Some(error) = recipient.beyond(&offered, transaction.smtputf8) {
            return self.fail(&error.reply(), out);
        }
        self.phase = Phase::Question(Question::Recipient);
        Some(Event::Recipient(recipient))
    }

    fn data_command<'i>(&mut self, follows: Follows, out: &mut Vec<u8>) -> Option<Event<'i>> {
        if follows == Follows::Something {
            let text = "nothing may follow DATA before its answer";
            Reply::new(ReplyCode::BAD_SEQUENCE, (5, 0), text).write(out);
            self.phase = Phase::Closed(CloseReason::ContentBeforeAnswer);
            return None;
        }
        match &self.transaction {
            None => self.bad_sequence("MAIL and RCPT come before DATA", out),
            Some(Transaction { content: Some(_), .. }) => {
                self.bad_sequence("DATA cannot follow BDAT", out)
            }
            Some(Transaction { accepted: 0, .. }) => self.no_recipients(out),
            Some(_) => {
                self.phase = Phase::Question(Question::StartData);
                Some(Event::MessageStart)
            }
        }
    }

    fn chunk_command<'i>(
        &mut self,
        octets: u64,
        last: LastChunk,
        out: &mut Vec<u8>,
    ) -> Option<Event<'i>> {
        if octets == 0 {
            self.junk();
        }
        // The octets come whatever the answer is (RFC 3030 §2), so they are read past.
        if self.transaction.is_none() && octets > MAX_STRAY_CHUNK {
            Reply::new(ReplyCode::BAD_SEQUENCE, (5, 1), NO_TRANSACTION).write(out);
            self.phase = Phase::Closed(CloseReason::ChunkSize);
            return None;
        }
        if octets > self.max_message().saturating_add(MAX_DISCARDED) {
            CommandError::TooLarge.reply().write(out);
            self.phase = Phase::Closed(CloseReason::ChunkSize);
            return None;
        }
        let refused = |text| Phase::SkipChunk {
            remaining: octets,
            reply: Reply::new(ReplyCode::BAD_SEQUENCE, (5, 1), text),
        };
        match &self.transaction {
            _ if !self.settings.relay.chunking => {
                self.errors += 1;
                self.phase = refused("CHUNKING is not offered");
                None
            }
            None => {
                self.errors += 1;
                self.phase = refused(NO_TRANSACTION);
                None
            }
            Some(Transaction { accepted: 0, .. }) => {
                self.errors += 1;
                self.phase = refused("no recipient was accepted");
                None
            }
            Some(Transaction { content: Some(_), .. }) => {
                self.phase = Phase::Chunk { remaining: octets, last };
                None
            }
            Some(Transaction { content: None, .. }) => {
                self.phase = Phase::Question(Question::StartChunk { octets, last });
                Some(Event::MessageStart)
            }
        }
    }

    /// Reports a line that is too long, once, and drops the rest of it.
    pub(super) fn too_long<'i>(
        &mut self,
        input: &[u8],
        taken: usize,
        out: &mut Vec<u8>,
    ) -> Step<'i> {
        let ended = input.get(..taken).is_some_and(|line| line.ends_with(b"\n"));
        self.phase = Phase::SkipLine;
        if ended {
            self.end_of_long_line(out);
        }
        Step::Taken(taken)
    }

    pub(super) fn skip_line<'i>(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step<'i> {
        match memchr::memchr(b'\n', input) {
            Some(end) => {
                self.end_of_long_line(out);
                Step::Taken(end + 1)
            }
            None if input.is_empty() => Step::Wait,
            None => Step::Taken(input.len()),
        }
    }

    fn end_of_long_line(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Command;
        self.completed += 1;
        self.errors += 1;
        CommandError::LineTooLong.reply().write(out);
    }
}

const NO_TRANSACTION: &str = "MAIL and RCPT come before BDAT";

/// Whether the client sent more than the command that is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Follows {
    Nothing,
    Something,
}

impl Follows {
    fn of(input: &[u8], taken: usize) -> Self {
        if input.len() > taken { Self::Something } else { Self::Nothing }
    }
}
