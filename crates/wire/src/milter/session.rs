//! The session: which command may follow which, and what each of them leads to.

use thiserror::Error;

use super::command::{Client, Command};
use super::frame::{Decoder, Piece};
use super::macros::{MacroName, MacroRequest, MacroValues};
use super::message::{LeadingSpace, Message, Refusal};
use super::negotiate::{Agreement, Steps};
use super::reply::{
    ModificationError, Verdict, write_add, write_change, write_insert, write_packet,
};
use super::state::{ProtocolError, State};

/// One connection of an MTA, from the negotiation to the quit, with any number of messages.
///
/// The caller reads bytes and hands them to [`handle`](Self::handle) until that has no more events,
/// then writes what it finds in the output and reads again. A step that the MTA waits for is
/// answered by the session itself; only the end of a message is the caller's to answer, with
/// [`answer`](Self::answer).
///
/// ```text
///  O          M, R, T           L            N            B        E        answer
/// Start ──> Idle ──> Envelope ──> Header ──> Body ──> Body ──> Answer ──> Idle
///           │  ↑         │           │          │
///           │  └─────────┴───────────┴──────────┘  A, M, H, K (Aborted)
///           └─ C, H (Idle)     K (Idle, without the client)     Q, anywhere (Quit)
/// ```
///
/// - `N` may follow the envelope without a field in between.
/// - `M`, `H` and `K` inside a message end it as `A` does, and are then taken as outside of one:
///   RFC 5321 §4.1.4 lets EHLO reset a transaction, and MTAs tell some filters of the next MAIL
///   only.
/// - `U` may stand wherever an SMTP command may: outside a message and in its envelope.
/// - Anything else is a [`ProtocolError`], after which the session takes no more input.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    request: MacroRequest,
    state: State,
    agreement: Option<Agreement>,
    client: Option<Client>,
    /// Macros of the connection: they hold for all its messages.
    macros: MacroValues,
    /// Macros that came for a MAIL or RCPT that is not there yet.
    coming: MacroValues,
    recipient: MacroValues,
    message: Option<Box<Message>>,
    body: BodyUse,
}

impl Session {
    /// A session with an MTA that has just connected. `request` names the macros to keep.
    pub fn new(request: MacroRequest) -> Self {
        Self {
            decoder: Decoder::default(),
            request,
            state: State::Start,
            agreement: None,
            client: None,
            macros: MacroValues::default(),
            coming: MacroValues::default(),
            recipient: MacroValues::default(),
            message: None,
            body: BodyUse::Wanted,
        }
    }

    /// Takes the next event out of `input`, and appends to `out` what the MTA waits for.
    ///
    /// [`Progress::consumed`] octets are used up then; the rest is to be handed over again, with
    /// what comes next behind it. Without an event the input is used up as far as it goes, and at
    /// most 1 MiB and four octets of it stay ([`MAX_HELD_PACKET`](super::MAX_HELD_PACKET)). The
    /// events do not depend on how the stream is cut into inputs, except that the body comes in
    /// other pieces.
    ///
    /// If the last message was not answered, it is answered with [`Verdict::Tempfail`].
    ///
    /// # Errors
    ///
    /// If the stream is not a milter session. Close the connection then: the MTA does with the
    /// message at hand what its administrator set (`milter_default_action`).
    pub fn handle<'i>(
        &mut self,
        input: &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress<'i>, ProtocolError> {
        if self.state == State::Closed && input.is_empty() {
            return Ok(Progress { consumed: 0, event: None });
        }
        let progress = self.next_event(input, out);
        if progress.is_err() {
            self.state = State::Failed;
            self.message = None;
        }
        progress
    }

    /// Where the session is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The message at hand, from MAIL to the answer.
    pub fn message(&self) -> Option<&Message> {
        self.message.as_deref()
    }

    /// The client that the MTA is talking to, if the MTA says.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// What was agreed with the MTA, after the negotiation.
    pub fn agreement(&self) -> Option<&Agreement> {
        self.agreement.as_ref()
    }

    /// The value of a macro that was asked for: that of the message, else that of the connection.
    pub fn macro_value(&self, name: &MacroName) -> Option<&[u8]> {
        let message = self.message.as_ref().and_then(|m| m.macros.get(&self.request, name));
        message.or_else(|| self.macros.get(&self.request, name))
    }

    /// Says that the rest of this message's body is of no use.
    ///
    /// There are no more [`Event::Body`] then, and where the MTA takes it, it stops sending.
    pub fn skip_body(&mut self) {
        self.body = BodyUse::Unwanted;
    }

    /// Tells the MTA to wait on, for as long again (`SMFIR_PROGRESS`).
    ///
    /// Does nothing unless the end of a message waits for its answer.
    pub fn progress(&self, out: &mut Vec<u8>) {
        if self.state == State::Answer {
            write_packet(out, b'p', &[]);
        }
    }

    /// Answers the end of a message.
    ///
    /// # Errors
    ///
    /// If no end of a message waits for its answer.
    pub fn answer<'s>(&'s mut self, out: &'s mut Vec<u8>) -> Result<Answer<'s>, NotAsked> {
        if self.state != State::Answer {
            return Err(NotAsked);
        }
        Ok(Answer { space: self.space(), session: self, out })
    }

    fn next_event<'i>(
        &mut self,
        input: &'i [u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress<'i>, ProtocolError> {
        if self.state == State::Answer {
            Verdict::Tempfail.write(out);
            self.end_message();
        }
        let mut consumed = 0;
        loop {
            if matches!(self.state, State::Closed | State::Failed) {
                return Err(ProtocolError::AfterError);
            }
            let rest = input.get(consumed..).unwrap_or_default();
            let Some((piece, used)) = self.decoder.next(rest)? else {
                return Ok(Progress { consumed, event: None });
            };
            let event = match piece {
                Piece::Part { command: b'L', .. } => None,
                Piece::Part { command, data } => self.body_part(command, data)?,
                Piece::End { command } => self.body_end(command, out)?,
                Piece::Oversized { command } => self.oversized(command, out)?,
                Piece::Packet { command, data } => {
                    let command = Command::parse(command, data)?;
                    if self.ends_message(&command) {
                        // The packet stays in the input and is taken next time, outside a message.
                        // Macros that came for a MAIL are those of the one that stands here.
                        let coming = std::mem::take(&mut self.coming);
                        self.end_message();
                        if matches!(command, Command::Mail(_)) {
                            self.coming = coming;
                        }
                        return Ok(Progress { consumed, event: Some(Event::Aborted) });
                    }
                    self.command(command, out)?
                }
            };
            consumed += used;
            if event.is_some() {
                return Ok(Progress { consumed, event });
            }
        }
    }

    /// Whether `command` opens something new although a message is at hand.
    fn ends_message(&self, command: &Command<'_>) -> bool {
        let opens = match command {
            Command::Mail(_) | Command::Helo | Command::QuitNewConnection => true,
            Command::Negotiate(_)
            | Command::Macros { .. }
            | Command::Connect(_)
            | Command::Rcpt(_)
            | Command::Data
            | Command::Unknown
            | Command::Field { .. }
            | Command::EndOfHeader
            | Command::Abort
            | Command::Quit => false,
        };
        opens && self.message.is_some()
    }

    fn command(
        &mut self,
        command: Command<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        use State::{Body, Envelope, Header, Idle, Start};
        match (command, self.state) {
            (Command::Negotiate(offer), Start) => {
                let agreement = Agreement::read(offer)?;
                agreement.write(&self.request, out);
                self.agreement = Some(agreement);
                self.state = Idle;
            }
            (Command::Macros { of, pairs }, Idle | Envelope | Header | Body) => {
                self.macros(of, pairs)?;
            }
            (Command::Connect(client), Idle) if self.client.is_none() => {
                self.client = Some(client);
                self.confirm(Steps::NO_REPLY_CONNECT, out);
            }
            (Command::Helo, Idle) => self.confirm(Steps::NO_REPLY_HELO, out),
            (Command::Unknown, Idle | Envelope) => self.confirm(Steps::NO_REPLY_UNKNOWN, out),
            (Command::Mail(sender), Idle) => {
                let macros = std::mem::take(&mut self.coming);
                self.message = Some(Box::new(Message::new(sender, macros)));
                self.recipient = MacroValues::default();
                self.body = BodyUse::Wanted;
                self.state = Envelope;
                self.confirm(Steps::NO_REPLY_MAIL, out);
            }
            (Command::Rcpt(recipient), Envelope) => {
                let macros = std::mem::take(&mut self.recipient);
                if let Some(message) = &mut self.message {
                    if !macros.recipient_was_refused(&self.request) {
                        message.push_recipient(recipient);
                    }
                    message.macros.merge(macros);
                }
                self.confirm(Steps::NO_REPLY_RCPT, out);
            }
            (Command::Data, Envelope) => self.confirm(Steps::NO_REPLY_DATA, out),
            (Command::Field { name, value }, Envelope | Header) => {
                let space = self.space();
                if let Some(message) = &mut self.message {
                    message.push_field(name, value, space);
                }
                self.state = Header;
                self.confirm(Steps::NO_REPLY_HEADER, out);
            }
            (Command::EndOfHeader, Envelope | Header) => {
                self.state = Body;
                self.confirm(Steps::NO_REPLY_END_OF_HEADER, out);
                return Ok(Some(match self.message.as_ref().and_then(|m| m.refusal()) {
                    Some(refusal) => {
                        self.skip_body();
                        Event::Refused(refusal)
                    }
                    None => Event::EndOfHeader,
                }));
            }
            (Command::Abort, Idle) => self.end_message(),
            (Command::Abort, Envelope | Header | Body) => {
                self.end_message();
                return Ok(Some(Event::Aborted));
            }
            (Command::QuitNewConnection, Idle) => {
                self.end_message();
                self.client = None;
                self.macros = MacroValues::default();
            }
            (Command::Quit, _) => {
                self.end_message();
                self.state = State::Closed;
                return Ok(Some(Event::Quit));
            }
            (command, state) => {
                return Err(ProtocolError::OutOfOrder { command: code(&command), after: state });
            }
        }
        Ok(None)
    }

    fn macros(&mut self, of: u8, pairs: &[u8]) -> Result<(), ProtocolError> {
        let mut values = MacroValues::default();
        match of {
            // Postfix sends these with each field and each piece of the body; nothing that was
            // asked for has its first value there.
            b'L' | b'B' => return Ok(()),
            b'C' | b'H' | b'M' | b'R' | b'T' | b'N' | b'E' | b'U' => {
                values.read(&self.request, pairs)?;
            }
            _ => return Err(ProtocolError::MacrosOfUnknown { command: char::from(of) }),
        }
        match (of, &mut self.message) {
            (b'C' | b'H', _) => self.macros.merge(values),
            (b'M', _) => self.coming = values,
            (b'R', _) => self.recipient = values,
            (_, Some(message)) => message.macros.merge(values),
            (_, None) => {}
        }
        Ok(())
    }

    fn body_part<'i>(
        &self,
        command: u8,
        data: &'i [u8],
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        self.in_body(command)?;
        Ok((self.body == BodyUse::Wanted).then_some(Event::Body(data)))
    }

    fn body_end(
        &mut self,
        command: u8,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        self.in_body(command)?;
        if command == b'E' {
            self.state = State::Answer;
            return Ok(Some(Event::EndOfMessage));
        }
        if self.body == BodyUse::Unwanted && self.agreed(Steps::SKIP) {
            if !self.agreed(Steps::NO_REPLY_BODY) {
                write_packet(out, b's', &[]);
            }
        } else {
            self.confirm(Steps::NO_REPLY_BODY, out);
        }
        Ok(None)
    }

    fn in_body(&self, command: u8) -> Result<(), ProtocolError> {
        if self.state == State::Body {
            return Ok(());
        }
        Err(ProtocolError::OutOfOrder { command: char::from(command), after: self.state })
    }

    fn oversized(
        &mut self,
        command: u8,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, ProtocolError> {
        match (&mut self.message, self.state) {
            (Some(message), State::Envelope | State::Header) => {
                message.refuse(Refusal::HeaderTooLarge);
            }
            (_, after) => {
                return Err(ProtocolError::OutOfOrder { command: char::from(command), after });
            }
        }
        self.state = State::Header;
        self.confirm(Steps::NO_REPLY_HEADER, out);
        Ok(None)
    }

    /// Forgets the message at hand and all that came with it.
    fn end_message(&mut self) {
        self.message = None;
        self.coming = MacroValues::default();
        self.recipient = MacroValues::default();
        self.body = BodyUse::Wanted;
        if self.state != State::Start {
            self.state = State::Idle;
        }
    }

    /// Lets the MTA go on, if it waits for that.
    fn confirm(&self, no_reply: Steps, out: &mut Vec<u8>) {
        if !self.agreed(no_reply) {
            Verdict::Continue.write(out);
        }
    }

    fn agreed(&self, steps: Steps) -> bool {
        self.agreement.as_ref().is_some_and(|agreement| agreement.steps().contains(steps))
    }

    fn space(&self) -> LeadingSpace {
        if self.agreed(Steps::LEADING_SPACE) { LeadingSpace::Kept } else { LeadingSpace::Cut }
    }
}

/// How far [`Session::handle`] came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Progress<'i> {
    /// Octets of the input that are used up.
    pub consumed: usize,
    /// What they say; `None` if more input is needed for that.
    pub event: Option<Event<'i>>,
}

/// What an MTA says about a message.
///
/// ```text
/// EndOfHeader, Body*, EndOfMessage | Refused, EndOfMessage | Aborted at any point; Quit at last
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'i> {
    /// Envelope and header are complete: [`Session::message`] has them.
    EndOfHeader,
    /// The message is beyond what we take, or malformed, and stays so. It has no body to see; say
    /// no when its end comes.
    Refused(Refusal),
    /// Some of the body, in any size but zero, with CRLF as it will travel.
    Body(&'i [u8]),
    /// The MTA waits for the answer: [`Session::answer`].
    EndOfMessage,
    /// The message at hand goes no further, by the MTA's or its client's will.
    Aborted,
    /// The MTA closes the connection. No more input is taken.
    Quit,
}

/// The answer to the end of a message: any number of modifications, then one verdict.
///
/// Without a verdict the message is answered with [`Verdict::Tempfail`] at the next input.
#[derive(Debug)]
#[must_use]
pub struct Answer<'s> {
    session: &'s mut Session,
    out: &'s mut Vec<u8>,
    space: LeadingSpace,
}

impl Answer<'_> {
    /// Puts a field at the very top, above those that the MTA adds itself (`SMFIR_INSHEADER`).
    ///
    /// `value` is all between the colon and the final CRLF, with the space after the colon and with
    /// folds as CRLF. Of several fields, the one inserted last is uppermost. Where the MTA adds the
    /// space after the colon itself, a value without one gets one.
    ///
    /// # Errors
    ///
    /// If that is no field. Nothing is written then.
    pub fn insert_on_top(&mut self, name: &[u8], value: &[u8]) -> Result<(), ModificationError> {
        self.insert(0, name, value)
    }

    /// Puts a field where it is number `index` of all, counted from 0 at the top.
    ///
    /// # Errors
    ///
    /// As [`insert_on_top`](Self::insert_on_top).
    pub fn insert(
        &mut self,
        index: u32,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), ModificationError> {
        write_insert(self.out, index, name, value, self.space)
    }

    /// Adds a field below all others (`SMFIR_ADDHEADER`).
    ///
    /// # Errors
    ///
    /// As [`insert_on_top`](Self::insert_on_top).
    pub fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), ModificationError> {
        write_add(self.out, name, value, self.space)
    }

    /// Gives another value to field number `nth` of that name, counted from 1 at the top
    /// (`SMFIR_CHGHEADER`).
    ///
    /// # Errors
    ///
    /// As [`insert_on_top`](Self::insert_on_top).
    pub fn change(&mut self, nth: u32, name: &[u8], value: &[u8]) -> Result<(), ModificationError> {
        write_change(self.out, nth, name, Some(value), self.space)
    }

    /// Deletes field number `nth` of that name, counted from 1 at the top.
    ///
    /// MTAs differ in whether those below move up, so delete several from the bottom up.
    ///
    /// # Errors
    ///
    /// As [`insert_on_top`](Self::insert_on_top).
    pub fn delete(&mut self, nth: u32, name: &[u8]) -> Result<(), ModificationError> {
        write_change(self.out, nth, name, None, self.space)
    }

    /// Says the last word, and forgets the message.
    pub fn verdict(self, verdict: &Verdict) {
        verdict.write(self.out);
        self.session.end_message();
    }
}

/// No message waits for an answer.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("no end of a message waits for its answer")]
pub struct NotAsked;

/// Whether anybody looks at the body of the message at hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum BodyUse {
    Wanted,
    Unwanted,
}

fn code(command: &Command<'_>) -> char {
    match command {
        Command::Negotiate(_) => 'O',
        Command::Macros { .. } => 'D',
        Command::Connect(_) => 'C',
        Command::Helo => 'H',
        Command::Mail(_) => 'M',
        Command::Rcpt(_) => 'R',
        Command::Data => 'T',
        Command::Unknown => 'U',
        Command::Field { .. } => 'L',
        Command::EndOfHeader => 'N',
        Command::Abort => 'A',
        Command::Quit => 'Q',
        Command::QuitNewConnection => 'K',
    }
}
