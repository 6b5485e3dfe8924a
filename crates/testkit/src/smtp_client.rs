//! A small SMTP client (RFC 5321) that sends exactly what a test says, also what no client should.
//!
//! It blocks: in a tokio test use the multi-threaded flavour, so that the server under test goes on.
//! It knows no TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A connection to an SMTP server.
#[derive(Debug)]
pub struct SmtpClient {
    stream: TcpStream,
    input: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    ///
    /// When there is no connection, or the greeting is not a 220.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let (client, greeting) = Self::connect_to_any(address)?;
        ensure!(greeting.code == 220, "{address} greets with {greeting}");
        Ok(client)
    }

    /// Connects and returns the greeting, whatever it is.
    ///
    /// # Errors
    ///
    /// When there is no connection or no greeting.
    pub fn connect_to_any(address: SocketAddr) -> Result<(Self, Reply)> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let input = BufReader::new(stream.try_clone()?);
        let mut client = Self { stream, input };
        let greeting = client.read_reply()?;
        Ok((client, greeting))
    }

    /// Sends a line (CRLF is added) and reads its reply.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn command(&mut self, line: &str) -> Result<Reply> {
        self.write_raw(format!("{line}\r\n").as_bytes())?;
        self.read_reply().with_context(|| format!("after {line:?}"))
    }

    /// EHLO.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or the reply is not a 250.
    pub fn ehlo(&mut self) -> Result<Reply> {
        let reply = self.command("EHLO client.postseal.test")?;
        ensure!(reply.code == 250, "EHLO: {reply}");
        Ok(reply)
    }

    /// AUTH PLAIN with an initial response (RFC 4616).
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn auth_plain(&mut self, user: &str, password: &str) -> Result<Reply> {
        self.command(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}"))))
    }

    /// AUTH LOGIN, step by step; stops at the first reply that is not a 334.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn auth_login(&mut self, user: &str, password: &str) -> Result<Reply> {
        let mut reply = self.command("AUTH LOGIN")?;
        for answer in [user, password] {
            if reply.code != 334 {
                break;
            }
            reply = self.command(&STANDARD.encode(answer))?;
        }
        Ok(reply)
    }

    /// MAIL FROM; `sender` may carry parameters behind the address, as in `a@b.example> SIZE=5`.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn mail(&mut self, sender: &str) -> Result<Reply> {
        self.command(&format!("MAIL FROM:{}", in_brackets(sender)))
    }

    /// RCPT TO.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn rcpt(&mut self, recipient: &str) -> Result<Reply> {
        self.command(&format!("RCPT TO:{}", in_brackets(recipient)))
    }

    /// DATA, the message with dots stuffed, and the final dot. Returns the reply to DATA if that is not
    /// a 354, else the reply to the message.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn data(&mut self, message: &[u8]) -> Result<Reply> {
        let reply = self.command("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        self.write_raw(&stuffed(message))?;
        self.read_reply().context("after the final dot")
    }

    /// One whole transaction; returns the first reply that is not positive, else the last one.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> Result<Reply> {
        let reply = self.mail(sender)?;
        if !reply.is_positive() {
            return Ok(reply);
        }
        for recipient in recipients {
            let reply = self.rcpt(recipient)?;
            if !reply.is_positive() {
                return Ok(reply);
            }
        }
        self.data(message)
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn write_raw(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.write_all(octets).context("cannot write to the server")
    }

    /// Reads one reply, of one line or more.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is not a reply.
    pub fn read_reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let octets = self.input.read_line(&mut line).context("no reply from the server")?;
            ensure!(octets > 0, "the server closed the connection");
            ensure!(lines.len() < MAX_REPLY_LINES, "the reply has no end");
            let line = line.trim_end_matches(['\r', '\n']);
            let (Some(code), rest) = (line.get(..3), line.get(3..).unwrap_or_default()) else {
                bail!("not a reply: {line:?}");
            };
            let code: u16 = code.parse().with_context(|| format!("not a reply: {line:?}"))?;
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Says whether the server closed the connection, waiting for that if need be.
    pub fn is_closed(&mut self) -> bool {
        // Zero octets are an end; a reset is one too.
        match self.input.fill_buf() {
            Ok(octets) => octets.is_empty(),
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    /// QUIT.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn quit(mut self) -> Result<Reply> {
        self.command("QUIT")
    }

    /// Ends the connection without a QUIT.
    pub fn drop_connection(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A reply of an SMTP server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of each line, without code and separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// Says whether the code is a 2xx or 3xx.
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// The lines in one, for a comparison: `250 2.0.0 Ok`.
    pub fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" / "))
    }

    /// The enhanced status code (RFC 3463) at the start of the text, if there is one.
    pub fn enhanced_code(&self) -> Option<&str> {
        let first = self.lines.first()?.split(' ').next()?;
        let mut parts = first.split('.');
        let is_code = parts.clone().count() == 3
            && parts
                .all(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit()));
        is_code.then_some(first)
    }

    /// Says whether a reply to EHLO offers the extension, by its keyword.
    pub fn offers(&self, keyword: &str) -> bool {
        self.lines.iter().skip(1).any(|line| {
            line.split(' ').next().is_some_and(|offered| offered.eq_ignore_ascii_case(keyword))
        })
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text())
    }
}

/// The message as DATA carries it: dots stuffed (RFC 5321 §4.5.2), the last line complete, the final dot.
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 64 + 8);
    let mut at_line_start = true;
    for octet in message {
        if at_line_start && *octet == b'.' {
            out.push(b'.');
        }
        out.push(*octet);
        at_line_start = *octet == b'\n' && out.ends_with(b"\r\n");
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

fn in_brackets(address: &str) -> String {
    if address.contains('>') { format!("<{address}") } else { format!("<{address}>") }
}

/// How long a test waits for a server, in each step.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that never ends its reply does not hang a test.
const MAX_REPLY_LINES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffs_dots_at_line_starts_only() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b".\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a.b\r\n..\r\n", b"a.b\r\n...\r\n.\r\n"),
            (b"a\r\n\r\n", b"a\r\n\r\n.\r\n"),
            (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),
        ];
        for (input, want) in cases {
            assert_eq!(stuffed(input), want, "{input:?}");
        }
    }

    #[test]
    fn finds_enhanced_codes_and_extensions() {
        let reply = |text: &str| Reply { code: 250, lines: vec![text.to_owned(), "SIZE 5".into()] };
        assert_eq!(reply("2.1.0 Ok").enhanced_code(), Some("2.1.0"));
        assert_eq!(reply("Ok").enhanced_code(), None);
        assert_eq!(reply("1.2 x").enhanced_code(), None);
        assert!(reply("host").offers("size") && !reply("DSN").offers("DSN"));
    }
}
