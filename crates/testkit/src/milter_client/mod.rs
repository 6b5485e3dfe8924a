//! The MTA's side of the milter protocol, protocol versions 2 and 6, written apart from `postseal-wire`
//! so that both would have to be wrong in the same way for a mistake to pass.
//!
//! It does what Postfix 3.7 was seen to do: field values go out with a bare LF where they are folded,
//! without one space after the colon unless the filter asked for it, the queue id goes with each piece of a
//! message, steps that the filter does not want are left out, and answers that it said it will not give are
//! not waited for.
//!
//! A packet is a length (four octets, big-endian, without itself), one command octet, data. There is no
//! RFC; the source is the published description of Sendmail's `libmilter/mfdef.h`.

mod outcome;
mod stream;
mod transaction;

use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::message;

pub use outcome::{Modification, Outcome, Verdict};
pub use transaction::{Client, Transaction};

use outcome::{modification, take_number, take_text, verdict};
use stream::Stream;

/// A connection to a filter, which carries many messages.
#[derive(Debug)]
pub struct MilterClient {
    output: Stream,
    input: BufReader<Stream>,
    pending: Vec<u8>,
    negotiated: Negotiated,
}

/// Where a filter listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MilterAddress {
    /// `inet:`
    Inet(SocketAddr),
    /// `unix:`
    Unix(PathBuf),
}

impl From<SocketAddr> for MilterAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// What the client offers when it connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The protocol version.
    pub version: u32,
    /// The modifications that it would carry out (`SMFIF_*`).
    pub actions: u32,
    /// The steps that it can leave out or not wait for (`SMFIP_*`).
    pub steps: u32,
}

impl Offer {
    /// Version 6, as Postfix since 2.6 and Sendmail since 8.14 do: every action, every step.
    pub const VERSION_6: Self = Self { version: 6, actions: 0x1ff, steps: 0x1f_ffff };
    /// Version 2, as Postfix with `milter_protocol = 2` does: no `DATA`, no unknown commands, no answers left
    /// out, no leading blanks. Postfix offers the later actions all the same.
    pub const VERSION_2: Self = Self { version: 2, actions: 0x1ff, steps: 0x7f };
}

/// What both sides agreed on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Negotiated {
    /// The protocol version that the filter answered.
    pub version: u32,
    /// The modifications that it may ask for.
    pub actions: u32,
    /// The steps that are left out or not answered.
    pub steps: u32,
    /// The macro names that it asked for, by the number of the stage.
    pub macros: Vec<(u32, String)>,
}

impl MilterClient {
    /// Connects and negotiates.
    ///
    /// # Errors
    ///
    /// When there is no connection, or the filter answers with what was not offered.
    pub fn connect(address: impl Into<MilterAddress>, offer: Offer) -> Result<Self> {
        let output = Stream::open(&address.into())?;
        let input = BufReader::new(output.try_clone()?);
        let mut client =
            Self { output, input, pending: Vec::new(), negotiated: Negotiated::default() };
        let mut data = Vec::new();
        for number in [offer.version, offer.actions, offer.steps] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        client.packet(command::NEGOTIATE, &data);
        client.flush()?;
        let (answer, data) = client.read_packet()?;
        ensure!(answer == command::NEGOTIATE, "negotiation answered with {:?}", char::from(answer));
        let mut rest = data.as_slice();
        let mut number = || take_number(&mut rest).context("the negotiation's answer is too short");
        let (version, actions, steps) = (number()?, number()?, number()?);
        ensure!(version <= offer.version && version >= 2, "the filter wants version {version}");
        ensure!(actions & !offer.actions == 0, "the filter wants actions {actions:#x}");
        ensure!(steps & !offer.steps == 0, "the filter wants steps {steps:#x}");
        let mut macros = Vec::new();
        while let Some(stage) = take_number(&mut rest) {
            macros.push((stage, take_text(&mut rest).context("a macro list without its end")?));
        }
        client.negotiated = Negotiated { version, actions, steps, macros };
        Ok(client)
    }

    /// What was agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Sends a whole message, from MAIL to the end of the message, after CONNECT and HELO if `transaction`
    /// has them, and returns the filter's last word and what it changes.
    ///
    /// # Errors
    ///
    /// When the connection breaks or the filter breaks the protocol.
    pub fn send(&mut self, transaction: &Transaction) -> Result<Outcome> {
        let mut verdict = self.connection(transaction)?;
        if verdict == Verdict::Continue {
            verdict = self.envelope(transaction)?;
        }
        if verdict == Verdict::Continue {
            verdict = self.content(transaction)?;
        }
        if verdict == Verdict::Continue {
            return self.end_of_message(transaction);
        }
        Ok(Outcome { verdict, modifications: Vec::new(), progress: 0, at_end: false })
    }

    /// CONNECT and HELO. [`MilterClient::send`] does it when the transaction has a client.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn connection(&mut self, transaction: &Transaction) -> Result<Verdict> {
        let Some(client) = &transaction.client else { return Ok(Verdict::Continue) };
        self.macros(command::CONNECT, &transaction.connection_macros);
        if self.wants(step::NO_CONNECT) {
            let mut data = client.name.clone().into_bytes();
            data.push(0);
            match client.address {
                Some(address) => {
                    data.push(if address.is_ipv4() { b'4' } else { b'6' });
                    data.extend_from_slice(&client.port.to_be_bytes());
                    // Postfix and Sendmail write IPv6 addresses with this prefix.
                    if address.is_ipv6() {
                        data.extend_from_slice(b"IPv6:");
                    }
                    data.extend_from_slice(address.to_string().as_bytes());
                    data.push(0);
                }
                None => data.push(b'U'),
            }
            self.packet(command::CONNECT, &data);
            let verdict = self.answer(step::NO_REPLY_CONNECT)?;
            if verdict != Verdict::Continue {
                return Ok(verdict);
            }
        }
        if self.wants(step::NO_HELO) {
            self.packet(command::HELO, &terminated(&client.hello));
            return self.answer(step::NO_REPLY_HELO);
        }
        Ok(Verdict::Continue)
    }

    /// MAIL, each RCPT, DATA. A recipient that is refused is left out; if none is left, that is the verdict.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn envelope(&mut self, transaction: &Transaction) -> Result<Verdict> {
        self.macros(command::MAIL, &transaction.mail_macros);
        if self.wants(step::NO_MAIL) {
            let mut data = terminated(&format!("<{}>", transaction.sender));
            for parameter in &transaction.sender_parameters {
                data.extend_from_slice(&terminated(parameter));
            }
            self.packet(command::MAIL, &data);
            let verdict = self.answer(step::NO_REPLY_MAIL)?;
            if verdict != Verdict::Continue {
                return Ok(verdict);
            }
        }
        if self.wants(step::NO_RCPT) {
            let mut refused = 0;
            for recipient in &transaction.recipients {
                self.macros(command::RCPT, &transaction.recipient_macros);
                self.packet(command::RCPT, &terminated(&format!("<{recipient}>")));
                let verdict = self.answer(step::NO_REPLY_RCPT)?;
                match verdict {
                    Verdict::Continue => {}
                    Verdict::Reject | Verdict::TempFail | Verdict::Reply(_) => {
                        refused += 1;
                        if refused == transaction.recipients.len() {
                            return Ok(verdict);
                        }
                    }
                    Verdict::Accept | Verdict::Discard => return Ok(verdict),
                }
            }
        }
        if self.negotiated.version >= 4 && self.wants(step::NO_DATA) {
            self.macros(command::DATA, &transaction.data_macros);
            self.packet(command::DATA, b"");
            return self.answer(step::NO_REPLY_DATA);
        }
        Ok(Verdict::Continue)
    }

    /// Header, end of header, body.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn content(&mut self, transaction: &Transaction) -> Result<Verdict> {
        let (header, body) = message::split(&transaction.message);
        if self.wants(step::NO_HEADER) {
            for field in message::fields(header) {
                let data = self.field(field)?;
                self.macros(command::HEADER, &transaction.data_macros);
                self.packet(command::HEADER, &data);
                let verdict = self.answer(step::NO_REPLY_HEADER)?;
                if verdict != Verdict::Continue {
                    return Ok(verdict);
                }
            }
        }
        if self.wants(step::NO_END_OF_HEADER) {
            self.macros(command::END_OF_HEADER, &transaction.data_macros);
            self.packet(command::END_OF_HEADER, b"");
            let verdict = self.answer(step::NO_REPLY_END_OF_HEADER)?;
            if verdict != Verdict::Continue {
                return Ok(verdict);
            }
        }
        if self.wants(step::NO_BODY) {
            for chunk in body.chunks(transaction.chunk) {
                self.macros(command::BODY, &transaction.data_macros);
                self.packet(command::BODY, chunk);
                if self.negotiated.steps & step::NO_REPLY_BODY != 0 {
                    self.flush()?;
                    continue;
                }
                match self.answer_or_skip()? {
                    Some(Verdict::Continue) => {}
                    Some(verdict) => return Ok(verdict),
                    None => break,
                }
            }
        }
        Ok(Verdict::Continue)
    }

    /// The end of the message, and the filter's modifications.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the filter asks for what it did not negotiate.
    pub fn end_of_message(&mut self, transaction: &Transaction) -> Result<Outcome> {
        self.macros(command::END_OF_BODY, &transaction.end_macros);
        self.packet(command::END_OF_BODY, b"");
        self.flush()?;
        let mut outcome = Outcome {
            verdict: Verdict::Continue,
            modifications: Vec::new(),
            progress: 0,
            at_end: true,
        };
        loop {
            let (answer, data) = self.read_packet()?;
            if answer == b'p' {
                outcome.progress += 1;
                continue;
            }
            if let Some(verdict) = verdict(answer, &data) {
                outcome.verdict = verdict;
                return Ok(outcome);
            }
            let modification = modification(answer, &data)?;
            let needed = modification.needed_action();
            ensure!(
                self.negotiated.actions & needed != 0,
                "the filter did not negotiate {needed:#x} for {modification:?}"
            );
            outcome.modifications.push(modification);
        }
    }

    /// Ends the message that is under way; the connection stays.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn abort(&mut self) -> Result<()> {
        self.packet(b'A', b"");
        self.flush()
    }

    /// Ends the SMTP client's connection and keeps this one for the next (`QUIT_NC`, version 6).
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn next_client(&mut self) -> Result<()> {
        self.packet(b'K', b"");
        self.flush()
    }

    /// Ends the connection.
    ///
    /// # Errors
    ///
    /// When the connection is broken already.
    pub fn quit(mut self) -> Result<()> {
        self.packet(b'Q', b"");
        self.flush()
    }

    /// Sends octets as they are, also what is no packet.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn write_raw(&mut self, octets: &[u8]) -> Result<()> {
        self.flush()?;
        Ok(self.output.write_all(octets)?)
    }

    /// Reads one packet: its command and its data.
    ///
    /// # Errors
    ///
    /// When the connection ends or the packet is too large.
    pub fn read_packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length).context("no answer from the filter")?;
        let length = u32::from_be_bytes(length);
        ensure!(length > 0 && length <= MAX_PACKET, "a packet of {length} octets");
        let mut packet = vec![0; length as usize];
        self.input.read_exact(&mut packet).context("the filter's answer breaks off")?;
        let answer = packet.remove(0);
        Ok((answer, packet))
    }

    fn packet(&mut self, command: u8, data: &[u8]) {
        let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
        self.pending.extend_from_slice(&length.to_be_bytes());
        self.pending.push(command);
        self.pending.extend_from_slice(data);
    }

    fn flush(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.output.write_all(&pending).context("cannot write to the filter")
    }

    fn wants(&self, not: u32) -> bool {
        self.negotiated.steps & not == 0
    }

    fn macros(&mut self, of: u8, macros: &[(String, String)]) {
        if macros.is_empty() {
            return;
        }
        let mut data = vec![of];
        for (name, value) in macros {
            data.extend_from_slice(&terminated(name));
            data.extend_from_slice(&terminated(value));
        }
        self.packet(b'D', &data);
    }

    /// The data of a HEADER packet: name and value, as an MTA has them.
    fn field(&self, raw: &[u8]) -> Result<Vec<u8>> {
        let field = raw.strip_suffix(b"\r\n").unwrap_or(raw);
        let colon = field.iter().position(|octet| *octet == b':').with_context(|| {
            format!("no field, an MTA would not send it: {:?}", String::from_utf8_lossy(raw))
        })?;
        let (name, value) = field.split_at(colon);
        let mut value = value.get(1..).unwrap_or_default();
        if self.negotiated.steps & step::LEADING_BLANK == 0 {
            // One space, no tab and no more, as Postfix 3.7 does.
            value = value.strip_prefix(b" ").unwrap_or(value);
        }
        let mut data = name.trim_ascii_end().to_vec();
        data.push(0);
        let mut octets = value.iter().copied().peekable();
        while let Some(octet) = octets.next() {
            if !(octet == b'\r' && octets.peek() == Some(&b'\n')) {
                data.push(octet);
            }
        }
        data.push(0);
        Ok(data)
    }

    /// Waits for the answer of a step, unless the filter said that it gives none.
    fn answer(&mut self, no_reply: u32) -> Result<Verdict> {
        if self.negotiated.steps & no_reply != 0 {
            return Ok(Verdict::Continue);
        }
        self.answer_or_skip()?.context("SKIP is an answer to body chunks only")
    }

    /// The answer of a step; `None` is SKIP.
    fn answer_or_skip(&mut self) -> Result<Option<Verdict>> {
        self.flush()?;
        loop {
            let (answer, data) = self.read_packet()?;
            match answer {
                b'p' => {}
                b's' => return Ok(None),
                other => {
                    return verdict(other, &data).map(Some).with_context(|| {
                        format!("{:?} is no answer to this step", char::from(other))
                    });
                }
            }
        }
    }
}

fn terminated(text: &str) -> Vec<u8> {
    let mut data = text.as_bytes().to_vec();
    data.push(0);
    data
}

/// Commands to the filter (`SMFIC_*`).
mod command {
    pub(super) const NEGOTIATE: u8 = b'O';
    pub(super) const CONNECT: u8 = b'C';
    pub(super) const HELO: u8 = b'H';
    pub(super) const MAIL: u8 = b'M';
    pub(super) const RCPT: u8 = b'R';
    pub(super) const DATA: u8 = b'T';
    pub(super) const HEADER: u8 = b'L';
    pub(super) const END_OF_HEADER: u8 = b'N';
    pub(super) const BODY: u8 = b'B';
    pub(super) const END_OF_BODY: u8 = b'E';
}

/// Bits of the steps (`SMFIP_*`).
mod step {
    pub(super) const NO_CONNECT: u32 = 0x1;
    pub(super) const NO_HELO: u32 = 0x2;
    pub(super) const NO_MAIL: u32 = 0x4;
    pub(super) const NO_RCPT: u32 = 0x8;
    pub(super) const NO_BODY: u32 = 0x10;
    pub(super) const NO_HEADER: u32 = 0x20;
    pub(super) const NO_END_OF_HEADER: u32 = 0x40;
    pub(super) const NO_REPLY_HEADER: u32 = 0x80;
    pub(super) const NO_DATA: u32 = 0x200;
    pub(super) const NO_REPLY_CONNECT: u32 = 0x1000;
    pub(super) const NO_REPLY_HELO: u32 = 0x2000;
    pub(super) const NO_REPLY_MAIL: u32 = 0x4000;
    pub(super) const NO_REPLY_RCPT: u32 = 0x8000;
    pub(super) const NO_REPLY_DATA: u32 = 0x1_0000;
    pub(super) const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
    pub(super) const NO_REPLY_BODY: u32 = 0x8_0000;
    pub(super) const LEADING_BLANK: u32 = 0x10_0000;
}

/// A packet of a filter at most: a chunk of a new body, and some room.
const MAX_PACKET: u32 = 1 << 20;
