//! One connection to a sink: the server's side of SMTP.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Action, Received, Shared, Stage};

/// One connection.
pub(super) struct Conversation<'a> {
    input: BufReader<TcpStream>,
    output: TcpStream,
    shared: &'a Shared,
    offered: HashSet<String>,
    session: Received,
    mail: Option<Received>,
}

/// How a stage ended.
enum Turn {
    /// Answered in place of the usual reply.
    Answered,
    /// Goes on with the usual reply.
    Usual,
    /// Stores, then ends without a reply.
    StoreAndEnd,
    /// Ends without a reply.
    End,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(stream: &TcpStream, shared: &'a Shared) -> Result<Self> {
        stream.set_nodelay(true)?;
        let offered = shared
            .settings
            .extensions
            .iter()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_ascii_uppercase)
            .collect();
        Ok(Self {
            input: BufReader::with_capacity(65_536, stream.try_clone()?),
            output: stream.try_clone()?,
            shared,
            offered,
            session: Received::default(),
            mail: None,
        })
    }

    pub(super) fn run(&mut self) -> Result<()> {
        if !self.usual(Stage::Greeting, "220 sink.postseal.test ESMTP")? {
            return Ok(());
        }
        loop {
            let line = self.read_line()?;
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let go_on = match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.hello(argument, true)?,
                "HELO" => self.hello(argument, false)?,
                "AUTH" if self.offered.contains("AUTH") => self.auth(argument)?,
                "MAIL" => self.mail(argument)?,
                "RCPT" => self.recipient(argument)?,
                "DATA" => self.data()?,
                "BDAT" if self.offered.contains("CHUNKING") => self.chunk(argument)?,
                "RSET" => {
                    self.mail = None;
                    self.usual(Stage::Reset, "250 2.0.0 Ok")?
                }
                "NOOP" => self.reply("250 2.0.0 Ok")?,
                "QUIT" => {
                    self.usual(Stage::Quit, "221 2.0.0 Bye")?;
                    false
                }
                _ => self.reply("500 5.5.2 Not understood")?,
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    fn hello(&mut self, name: &str, extended: bool) -> Result<bool> {
        name.clone_into(&mut self.session.hello);
        self.mail = None;
        let mut lines = vec!["sink.postseal.test".to_owned()];
        if extended {
            lines.extend(self.shared.settings.extensions.iter().cloned());
        }
        let last = lines.len() - 1;
        let reply: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(number, line)| format!("250{}{line}", if number == last { ' ' } else { '-' }))
            .collect();
        self.usual(Stage::Hello, &reply.join("\r\n"))
    }

    fn auth(&mut self, argument: &str) -> Result<bool> {
        let decode = |text: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&STANDARD.decode(text)?).into_owned())
        };
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let (user, password) = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let mut response = initial.to_owned();
                if response.is_empty() {
                    self.reply("334 ")?;
                    response = self.read_line()?;
                }
                let decoded = decode(&response)?;
                let mut parts = decoded.split('\0').skip(1).map(str::to_owned);
                (parts.next(), parts.next())
            }
            "LOGIN" => {
                self.reply("334 VXNlcm5hbWU6")?;
                let user = decode(&self.read_line()?)?;
                self.reply("334 UGFzc3dvcmQ6")?;
                (Some(user), Some(decode(&self.read_line()?)?))
            }
            _ => return self.reply("504 5.5.4 Mechanism not known"),
        };
        (self.session.user, self.session.password) = (user, password);
        self.usual(Stage::Auth, "235 2.7.0 Authenticated")
    }

    fn mail(&mut self, argument: &str) -> Result<bool> {
        let Some((sender, parameters)) = path(argument, "FROM:") else {
            return self.reply("501 5.5.4 Syntax: MAIL FROM:<address>");
        };
        match self.turn(Stage::Mail)? {
            Turn::Usual => {
                self.mail = Some(Received {
                    sender,
                    sender_parameters: parameters,
                    ..self.session.clone()
                });
                self.reply("250 2.1.0 Ok")
            }
            Turn::Answered => Ok(true),
            Turn::End | Turn::StoreAndEnd => Ok(false),
        }
    }

    fn recipient(&mut self, argument: &str) -> Result<bool> {
        let Some((recipient, parameters)) = path(argument, "TO:") else {
            return self.reply("501 5.5.4 Syntax: RCPT TO:<address>");
        };
        if self.mail.is_none() {
            return self.reply("503 5.5.1 MAIL first");
        }
        let refusal = self.shared.lock().recipients.get(&recipient).cloned();
        if let Some(reply) = refusal {
            return self.reply(&reply);
        }
        match self.turn(Stage::Recipient)? {
            Turn::Usual => {
                if let Some(mail) = &mut self.mail {
                    mail.recipients.push(recipient);
                    mail.recipient_parameters.push(parameters);
                }
                self.reply("250 2.1.5 Ok")
            }
            Turn::Answered => Ok(true),
            Turn::End | Turn::StoreAndEnd => Ok(false),
        }
    }

    fn data(&mut self) -> Result<bool> {
        if self.mail.as_ref().is_none_or(|mail| mail.recipients.is_empty()) {
            return self.reply("503 5.5.1 RCPT first");
        }
        match self.turn(Stage::Data)? {
            Turn::Usual => self.reply("354 End data with <CR><LF>.<CR><LF>")?,
            Turn::Answered => return Ok(true),
            Turn::End | Turn::StoreAndEnd => return Ok(false),
        };
        let mut message = Vec::new();
        loop {
            let start = message.len();
            self.read_to_crlf(&mut message)?;
            match message.get(start..) {
                Some(b".\r\n") => {
                    message.truncate(start);
                    break;
                }
                Some([b'.', ..]) => {
                    message.remove(start);
                }
                _ => {}
            }
        }
        self.finish(message)
    }

    /// BDAT (RFC 3030); the message ends with the chunk marked LAST.
    fn chunk(&mut self, argument: &str) -> Result<bool> {
        let mut words = argument.split(' ');
        let size: usize =
            words.next().unwrap_or_default().parse().context("BDAT without a size")?;
        ensure!(size <= MAX_MESSAGE, "a chunk of {size} octets");
        let is_last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        let mut chunk = vec![0; size];
        self.input.read_exact(&mut chunk)?;
        let Some(mail) = &mut self.mail else {
            return self.reply("503 5.5.1 MAIL first");
        };
        ensure!(mail.message.len() + size <= MAX_MESSAGE, "the message is too large");
        mail.message.append(&mut chunk);
        if !is_last {
            return self.reply("250 2.0.0 Ok");
        }
        let message = std::mem::take(&mut mail.message);
        self.finish(message)
    }

    fn finish(&mut self, message: Vec<u8>) -> Result<bool> {
        let Some(mut mail) = self.mail.take() else {
            return self.reply("503 5.5.1 MAIL first");
        };
        mail.message = message;
        match self.turn(Stage::EndOfData)? {
            Turn::Usual => {
                self.shared.store(mail);
                self.reply("250 2.0.0 Stored")
            }
            Turn::Answered => Ok(true),
            Turn::StoreAndEnd => {
                self.shared.store(mail);
                Ok(false)
            }
            Turn::End => Ok(false),
        }
    }

    /// Gives the usual reply, or does what the sink was told; says whether the conversation goes on.
    fn usual(&mut self, stage: Stage, reply: &str) -> Result<bool> {
        match self.turn(stage)? {
            Turn::Usual => self.reply(reply),
            Turn::Answered => Ok(true),
            Turn::End | Turn::StoreAndEnd => Ok(false),
        }
    }

    fn turn(&mut self, stage: Stage) -> Result<Turn> {
        Ok(match self.shared.action(stage) {
            None | Some(Action::Stall) => Turn::Usual,
            Some(Action::Reply(reply)) => {
                self.reply(&reply)?;
                // RFC 5321 §3.8: after a 421 the server closes.
                if reply.starts_with("421") { Turn::End } else { Turn::Answered }
            }
            Some(Action::Close) => Turn::End,
            Some(Action::StoreAndClose) => Turn::StoreAndEnd,
        })
    }

    fn reply(&mut self, reply: &str) -> Result<bool> {
        self.output.write_all(format!("{reply}\r\n").as_bytes())?;
        Ok(true)
    }

    fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.read_to_crlf(&mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Appends octets up to and with the next CRLF; a bare LF does not end a line.
    fn read_to_crlf(&mut self, out: &mut Vec<u8>) -> Result<()> {
        loop {
            let octets = self.input.read_until(b'\n', out)?;
            ensure!(octets > 0, "the client closed the connection");
            ensure!(out.len() <= MAX_MESSAGE, "the message is too large");
            if out.ends_with(b"\r\n") {
                return Ok(());
            }
        }
    }
}

/// Takes `FROM:<address> parameters` apart.
fn path(argument: &str, keyword: &str) -> Option<(String, String)> {
    let (found, rest) = argument.split_at_checked(keyword.len())?;
    if !found.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, parameters) = rest.trim_start().strip_prefix('<')?.rsplit_once('>')?;
    Some((address.to_owned(), parameters.trim().to_owned()))
}

/// More than any test sends.
const MAX_MESSAGE: usize = 256 << 20;
