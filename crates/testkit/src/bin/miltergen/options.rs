//! The command line.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::connection::Address;
use crate::mail::Mail;

pub(crate) const HELP: &str = "miltergen --address ADDR --message FILE [options]
  --address ADDR      inet:PORT@HOST, HOST:PORT, unix:PATH or local:PATH
  --message FILE      a message with CRLF line ends; may be given several times, taken in turn
  --concurrency N     connections, one thread each (1)
  --total N           messages to send in all (1000)
  --seconds S         stop after S seconds whatever the total (60)
  --warmup N          messages for each connection that are not counted (2)
  --protocol N        the version offered: 6, or 2 without its extensions (6)
  --from ADDRESS      MAIL FROM (newsletter@example.com); %d becomes a number below --domains
  --rcpt ADDRESS      RCPT TO (reader@recipient.example)
  --header-from TEXT  replaces the value of the From field; %d becomes the same number
  --domains N         how many numbers %d takes, spread evenly over 0..N (1)
  --client IP         the client's address (127.0.0.1)
  --auth NAME         sends the macro {auth_authen}, so that the message counts as outbound
  --daemon NAME       the macro {daemon_name} (ORIGINATING)
  --session N         messages for each connection before it is opened anew (0: never)
  --expect D          0: a message without a DKIM-Signature is no failure (1)
  --dump FILE         writes the first message as it would leave
  --json              one line of JSON instead of text
The exit status is 1 if a message failed or came back unsigned, 2 for a mistake in the options.";

/// What is asked for.
pub(crate) enum Invocation {
    /// A run.
    Run(Box<Options>),
    /// The text above.
    Help,
}

/// One run.
pub(crate) struct Options {
    pub(crate) address: Address,
    pub(crate) messages: Vec<Arc<Mail>>,
    pub(crate) concurrency: u32,
    pub(crate) total: u64,
    pub(crate) time: Duration,
    pub(crate) warmup: u64,
    pub(crate) envelope: Envelope,
    /// Messages for each connection; `None` keeps it open.
    pub(crate) session: Option<u64>,
    pub(crate) expect_signature: bool,
    pub(crate) dump: Option<PathBuf>,
    pub(crate) json: bool,
}

/// What is said about a message beside its bytes.
pub(crate) struct Envelope {
    pub(crate) version: u32,
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) header_from: Option<String>,
    pub(crate) domains: u64,
    pub(crate) client: std::net::Ipv4Addr,
    pub(crate) user: Option<String>,
    pub(crate) daemon: String,
}

impl Options {
    /// Reads the arguments after the program's name, and the messages they name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Invocation> {
        let mut address = None;
        let mut messages = Vec::new();
        let mut options = Self {
            address: Address::Unix(PathBuf::new()),
            messages: Vec::new(),
            concurrency: 1,
            total: 1000,
            time: Duration::from_mins(1),
            warmup: 2,
            envelope: Envelope {
                version: 6,
                sender: "newsletter@example.com".to_owned(),
                recipient: "reader@recipient.example".to_owned(),
                header_from: None,
                domains: 1,
                client: std::net::Ipv4Addr::LOCALHOST,
                user: None,
                daemon: "ORIGINATING".to_owned(),
            },
            session: None,
            expect_signature: true,
            dump: None,
            json: false,
        };
        while let Some(key) = arguments.next() {
            match key.as_str() {
                "--json" => {
                    options.json = true;
                    continue;
                }
                "--help" | "-h" => return Ok(Invocation::Help),
                _ => {}
            }
            let value = arguments.next().with_context(|| format!("{key} wants a value"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{key} {value}"));
            let envelope = &mut options.envelope;
            match key.as_str() {
                "--address" => address = Some(Address::parse(&value)?),
                "--message" => {
                    let raw = std::fs::read(&value).with_context(|| value.clone())?;
                    let mail = Mail::parse(raw).with_context(|| value.clone())?;
                    messages.push(Arc::new(mail));
                }
                "--concurrency" => {
                    options.concurrency = u32::try_from(number()?)?.clamp(1, MAX_CONNECTIONS);
                }
                "--total" => options.total = number()?,
                "--seconds" => {
                    let seconds = value.parse().with_context(|| format!("{key} {value}"))?;
                    options.time = Duration::try_from_secs_f64(seconds)?;
                }
                "--warmup" => options.warmup = number()?,
                "--protocol" => {
                    envelope.version = u32::try_from(number()?)?;
                    ensure!(matches!(envelope.version, 2 | 6), "--protocol is 2 or 6");
                }
                "--from" => envelope.sender = value,
                "--rcpt" => envelope.recipient = value,
                "--header-from" => envelope.header_from = Some(value),
                "--domains" => envelope.domains = number()?.max(1),
                "--client" => envelope.client = value.parse().with_context(|| key.clone())?,
                "--auth" => envelope.user = Some(value),
                "--daemon" => envelope.daemon = value,
                "--session" => options.session = Some(number()?).filter(|&n| n > 0),
                "--expect" => options.expect_signature = value != "0",
                "--dump" => options.dump = Some(value.into()),
                _ => bail!("unknown option {key}"),
            }
        }
        let Some(address) = address else { bail!("--address is needed") };
        ensure!(!messages.is_empty(), "--message is needed");
        Ok(Invocation::Run(Box::new(Self { address, messages, ..options })))
    }
}

impl Envelope {
    /// The number that stands for `%d` in message number `serial`.
    pub(crate) fn number(&self, serial: u64) -> u64 {
        // Knuth's multiplicative constant spreads neighbours over the whole range.
        serial.wrapping_mul(2_654_435_761) % self.domains
    }
}

const MAX_CONNECTIONS: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Invocation> {
        Options::parse(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn reads_a_command_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "From: a\r\n\r\nbody").unwrap();
        let path = file.path().to_str().unwrap();
        let arguments =
            ["--address", "inet:8891@localhost", "--message", path, "--seconds", "0.5", "--json"];
        let Ok(Invocation::Run(options)) = parse(&arguments) else { panic!("not a run") };
        assert_eq!(options.time, Duration::from_millis(500));
        assert!(options.json && options.expect_signature);
        assert_eq!(options.messages.len(), 1);
    }

    #[test]
    fn says_what_is_wrong_with_a_command_line() {
        let cases: [(&[&str], &str); 6] = [
            (&[], "--address is needed"),
            (&["--address", "unix:/x"], "--message is needed"),
            (&["--total"], "--total wants a value"),
            (&["--total", "many"], "--total many"),
            (&["--speed", "9"], "unknown option --speed"),
            (&["--protocol", "4"], "--protocol is 2 or 6"),
        ];
        for (arguments, want) in cases {
            let Err(error) = parse(arguments) else { panic!("{arguments:?} is taken") };
            assert_eq!(error.to_string(), want, "{arguments:?}");
        }
        assert!(matches!(parse(&["--help"]), Ok(Invocation::Help)));
    }
}
