//! The protocol, on the MTA's side.
//!
//! A packet is a length in four octets, a command in one, and data; the length counts the command.
//! Steps that the filter does not want, or does not answer, are left out or not waited for, and
//! packets go out together up to the next answer, as Postfix does it.

use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::mail::{Field, Mail, Modification};
use crate::options::Envelope;

/// Where the filter listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Address {
    /// Host and port.
    Inet(String),
    /// A path.
    Unix(PathBuf),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("local:")) {
            return Ok(Self::Unix(path.into()));
        }
        let inet = text.strip_prefix("inet:").unwrap_or(text);
        Ok(Self::Inet(match inet.split_once('@') {
            Some((port, host)) => format!("{host}:{port}"),
            None if inet.contains(':') => inet.to_owned(),
            None => bail!("{text} is neither inet:PORT@HOST nor unix:PATH"),
        }))
    }

    fn connect(&self) -> Result<Socket> {
        match self {
            Self::Inet(address) => {
                let mut found = address.to_socket_addrs().with_context(|| address.clone())?;
                let loopback = found.find(|address| address.ip().is_loopback());
                let loopback = loopback.context("only loopback addresses are driven")?;
                let socket = TcpStream::connect(loopback).with_context(|| address.clone())?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(READ_TIMEOUT))?;
                Ok(Socket::Tcp(socket))
            }
            Self::Unix(path) => {
                let socket =
                    UnixStream::connect(path).with_context(|| path.display().to_string())?;
                socket.set_read_timeout(Some(READ_TIMEOUT))?;
                Ok(Socket::Unix(socket))
            }
        }
    }
}

/// A connection that was negotiated.
pub(crate) struct Connection {
    socket: BufReader<Socket>,
    out: Vec<u8>,
    steps: u32,
    greeted: bool,
}

/// What came of a message.
pub(crate) struct Outcome {
    /// The last answer: `c`, `a`, `r`, `t`, `d` or `y`.
    pub(crate) verdict: u8,
    pub(crate) modifications: Vec<Modification>,
}

impl Outcome {
    /// Whether the message goes on its way.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.verdict, b'c' | b'a')
    }

    /// Whether a DKIM-Signature with something in `b=` was put in.
    pub(crate) fn is_signed(&self) -> bool {
        self.modifications.iter().filter_map(Modification::field).any(|field| {
            field.name.eq_ignore_ascii_case(b"DKIM-Signature")
                && field.value.windows(2).any(|tag| tag == b"b=")
        })
    }
}

impl Connection {
    /// Connects and agrees on options.
    pub(crate) fn open(address: &Address, version: u32) -> Result<Self> {
        let socket = BufReader::with_capacity(16 << 10, address.connect()?);
        let mut connection = Self { socket, out: Vec::new(), steps: 0, greeted: false };
        let (actions, steps) = if version < 6 { (0x3f, 0x7f) } else { (0x1ff, 0x1f_ffff) };
        let offer = [version, actions, steps].map(u32::to_be_bytes).concat();
        connection.put(b'O', &[&offer]);
        connection.flush()?;
        let (command, data) = connection.reply()?;
        let agreed = data.get(8..12).and_then(|steps| steps.first_chunk());
        let Some(agreed) = agreed.filter(|_| command == b'O') else {
            bail!("the offer was answered with {:?}", char::from(command));
        };
        connection.steps = u32::from_be_bytes(*agreed);
        ensure!(connection.steps & !steps == 0, "the filter agreed to steps that were not offered");
        Ok(connection)
    }

    /// Sends one message and waits for its verdict.
    pub(crate) fn send(
        &mut self,
        mail: &Mail,
        envelope: &Envelope,
        serial: u64,
    ) -> Result<Outcome> {
        if !self.greeted {
            self.greet(envelope)?;
            self.greeted = true;
        }
        match self.pass(mail, envelope, serial) {
            Ok(()) => self.end(serial),
            Err(Stop::Answered(verdict)) => {
                self.put(b'A', &[]);
                self.flush()?;
                Ok(Outcome { verdict, modifications: Vec::new() })
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn greet(&mut self, envelope: &Envelope) -> Result<()> {
        let client = envelope.client.to_string();
        let daemon = ("{daemon_name}", envelope.daemon.as_str());
        self.macros(b'C', &[("j", "mx.local.example"), daemon, ("v", "miltergen")]);
        let mut answer = b'c';
        if self.wants(NO_CONNECT) {
            let port = 40_000_u16.to_be_bytes();
            let host = b"client.local.example\0";
            self.put(b'C', &[host, b"4", &port, client.as_bytes(), b"\0"]);
            answer = self.answer(NO_REPLY_CONNECT)?;
        }
        if answer == b'c' && self.wants(NO_HELO) {
            self.put(b'H', &[b"client.local.example\0"]);
            answer = self.answer(NO_REPLY_HELO)?;
        }
        ensure!(answer == b'c', "the greeting was answered with {:?}", char::from(answer));
        Ok(())
    }

    /// All of a message before its end.
    fn pass(&mut self, mail: &Mail, envelope: &Envelope, serial: u64) -> Result<(), Stop> {
        let number = envelope.number(serial).to_string();
        let id = queue_id(serial);
        let mut macros = vec![("i", id.as_str()), ("{mail_addr}", "x")];
        if let Some(user) = &envelope.user {
            macros.extend([("{auth_authen}", user.as_str()), ("{auth_type}", "PLAIN")]);
        }
        self.macros(b'M', &macros);
        if self.wants(NO_MAIL) {
            let sender = envelope.sender.replace("%d", &number);
            self.put(b'M', &[b"<", sender.as_bytes(), b">\0"]);
            self.go_on(NO_REPLY_MAIL)?;
        }
        if self.wants(NO_RCPT) {
            self.macros(b'R', &[("i", &id)]);
            self.put(b'R', &[b"<", envelope.recipient.as_bytes(), b">\0"]);
            self.go_on(NO_REPLY_RCPT)?;
        }
        if self.wants(NO_DATA) {
            self.macros(b'T', &[("i", &id)]);
            self.put(b'T', &[]);
            self.go_on(NO_REPLY_DATA)?;
        }
        if self.wants(NO_HEADER) {
            let header_from = envelope.header_from.as_ref().map(|text| text.replace("%d", &number));
            for Field { name, value } in mail.fields(header_from.as_deref()) {
                // Without the flag the MTA keeps the space that follows the colon to itself.
                let cut = self.steps & LEADING_SPACE == 0 && value.starts_with(b" ");
                self.put(b'L', &[&name, b"\0", &value[usize::from(cut)..], b"\0"]);
                self.go_on(NO_REPLY_HEADER)?;
            }
        }
        if self.wants(NO_END_OF_HEADER) {
            self.put(b'N', &[]);
            self.go_on(NO_REPLY_END_OF_HEADER)?;
        }
        if self.wants(NO_BODY) {
            for chunk in mail.body().chunks(BODY_CHUNK) {
                self.put(b'B', &[chunk]);
                match self.go_on(NO_REPLY_BODY) {
                    Err(Stop::Answered(b's')) => break,
                    answer => answer?,
                }
                if self.out.len() >= BODY_CHUNK {
                    self.flush().context("the filter takes no more")?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, serial: u64) -> Result<Outcome> {
        self.macros(b'E', &[("i", &queue_id(serial))]);
        self.put(b'E', &[]);
        self.flush()?;
        let mut modifications = Vec::new();
        loop {
            let (command, data) = self.reply()?;
            match command {
                b'h' => modifications.push(Modification::Add(self.field(&data)?)),
                b'i' | b'm' => {
                    let (at, rest) = data.split_first_chunk().context("no index")?;
                    let at = usize::try_from(u32::from_be_bytes(*at))?;
                    let field = self.field(rest)?;
                    modifications.push(if command == b'i' {
                        Modification::Insert { index: at, field }
                    } else {
                        Modification::Change { nth: at, field }
                    });
                }
                b'a' | b'c' | b'd' | b'r' | b't' | b'y' => {
                    return Ok(Outcome { verdict: command, modifications });
                }
                // Progress, and modifications that the run has no use for.
                b'p' | b'b' | b'+' | b'-' | b'e' | b'2' | b'q' => {}
                other => bail!("the end of a message was answered with {:?}", char::from(other)),
            }
        }
    }

    /// A field as a filter gives it, with the space that the MTA adds.
    fn field(&self, data: &[u8]) -> Result<Field> {
        let mut strings = data.split(|&c| c == 0);
        let (Some(name), Some(value), Some([]), None) =
            (strings.next(), strings.next(), strings.next(), strings.next())
        else {
            bail!("a modification is not two strings");
        };
        let lead: &[u8] =
            if self.steps & LEADING_SPACE == 0 && !value.is_empty() { b" " } else { b"" };
        Ok(Field { name: name.to_vec(), value: [lead, value].concat() })
    }

    fn wants(&self, step: u32) -> bool {
        self.steps & step == 0
    }

    fn macros(&mut self, of: u8, pairs: &[(&str, &str)]) {
        let mut data = vec![of];
        for (name, value) in pairs {
            for string in [name, value] {
                data.extend_from_slice(string.as_bytes());
                data.push(0);
            }
        }
        self.put(b'D', &[&data]);
    }

    fn put(&mut self, command: u8, parts: &[&[u8]]) {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).expect("packets are cut to 64 KiB or come from options");
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.push(command);
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for the answer to a step, unless the filter said that it gives none.
    fn answer(&mut self, no_reply: u32) -> Result<u8> {
        if self.steps & no_reply != 0 {
            return Ok(b'c');
        }
        self.flush()?;
        loop {
            match self.reply()? {
                (b'p', _) => {}
                (answer, _) => return Ok(answer),
            }
        }
    }

    fn go_on(&mut self, no_reply: u32) -> Result<(), Stop> {
        match self.answer(no_reply)? {
            b'c' => Ok(()),
            other => Err(Stop::Answered(other)),
        }
    }

    fn reply(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).context("no answer")?;
        let [a, b, c, d, command] = head;
        let length = u32::from_be_bytes([a, b, c, d]);
        ensure!((1..=MAX_REPLY).contains(&length), "an answer of {length} octets");
        let mut data = vec![0; usize::try_from(length)? - 1];
        self.socket.read_exact(&mut data)?;
        Ok((command, data))
    }
}

/// Why a message is not passed on to its end.
enum Stop {
    /// With an answer other than "continue".
    Answered(u8),
    /// The connection is of no more use.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn queue_id(serial: u64) -> String {
    format!("{:016X}", serial + 1)
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Steps that the filter does not want.
const NO_CONNECT: u32 = 0x1;
const NO_HELO: u32 = 0x2;
const NO_MAIL: u32 = 0x4;
const NO_RCPT: u32 = 0x8;
const NO_BODY: u32 = 0x10;
const NO_HEADER: u32 = 0x20;
const NO_END_OF_HEADER: u32 = 0x40;
const NO_DATA: u32 = 0x200;
// Steps that the filter does not answer.
const NO_REPLY_HEADER: u32 = 0x80;
const NO_REPLY_CONNECT: u32 = 0x1000;
const NO_REPLY_HELO: u32 = 0x2000;
const NO_REPLY_MAIL: u32 = 0x4000;
const NO_REPLY_RCPT: u32 = 0x8000;
const NO_REPLY_DATA: u32 = 0x1_0000;
const NO_REPLY_END_OF_HEADER: u32 = 0x4_0000;
const NO_REPLY_BODY: u32 = 0x8_0000;
/// Values keep the space after the colon.
const LEADING_SPACE: u32 = 0x10_0000;

/// The piece of the body that Sendmail and Postfix send.
const BODY_CHUNK: usize = 65_535;
const MAX_REPLY: u32 = 1 << 24;
const READ_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_as_mtas_write_them() {
        let inet = |text: &str| Address::Inet(text.to_owned());
        let cases = [
            ("inet:8891@127.0.0.1", inet("127.0.0.1:8891")),
            ("inet:127.0.0.1:8891", inet("127.0.0.1:8891")),
            ("localhost:8891", inet("localhost:8891")),
            ("unix:/run/x", Address::Unix("/run/x".into())),
            ("local:/run/x", Address::Unix("/run/x".into())),
        ];
        for (input, want) in cases {
            assert_eq!(Address::parse(input).unwrap(), want, "{input}");
        }
        assert!(Address::parse("8891").is_err());
    }
}
