//! The load: miltergen for filters, and an SMTP client of many connections for the proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postseal_testkit::smtp_client::{SmtpClient, stuffed};
use serde_json::Value;

use crate::{DOMAIN, beside_this_program};

/// How much is sent.
#[derive(Clone, Copy)]
pub(crate) enum Extent {
    Time(Duration),
    Count(u64),
}

impl Extent {
    fn count(self) -> u64 {
        match self {
            Self::Time(_) => u64::MAX / 2,
            Self::Count(count) => count,
        }
    }

    fn time(self) -> Duration {
        match self {
            Self::Time(time) => time,
            Self::Count(_) => LONGEST,
        }
    }
}

/// What came of it.
pub(crate) struct Load {
    /// All that the daemon dealt with.
    pub(crate) messages: u64,
    /// Those among them that were timed.
    timed: u64,
    seconds: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: String,
}

impl Load {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.timed as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// Sends through a filter. A message that comes back unsigned is an error.
pub(crate) fn milter(address: &str, file: &Path, connections: u32, extent: Extent) -> Result<Load> {
    let output = miltergen(address, file)?
        .args(["--json", "--warmup", "1", "--concurrency", &connections.to_string()])
        .args(["--total", &extent.count().to_string()])
        .args(["--seconds", &extent.time().as_secs_f64().to_string()])
        .output()
        .context("cannot run miltergen")?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let number = |key: &str| report[key].as_u64().with_context(|| format!("no {key}: {report}"));
    let (timed, unsigned) = (number("messages")?, number("unsigned")?);
    let mut first_error = report["why"].as_str().unwrap_or_default().to_owned();
    if unsigned > 0 && first_error.is_empty() {
        "a message came back without a signature".clone_into(&mut first_error);
    }
    Ok(Load {
        messages: timed + u64::from(connections),
        timed,
        seconds: report["seconds"].as_f64().context("no seconds")?,
        errors: number("errors")? + unsigned,
        first_error,
    })
}

/// Sends one message through a filter and writes it as it would leave.
pub(crate) fn milter_once(address: &str, file: &Path, signed: &Path) -> Result<()> {
    let output = miltergen(address, file)?
        .args(["--total", "0", "--dump"])
        .arg(signed)
        .output()
        .context("cannot run miltergen")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout).trim());
    Ok(())
}

fn miltergen(address: &str, file: &Path) -> Result<Command> {
    let mut command = Command::new(beside_this_program("miltergen")?);
    command.args(["--address", address, "--from", &format!("bounce@{DOMAIN}")]);
    command.args(["--rcpt", &format!("reader@{RECIPIENT_DOMAIN}"), "--message"]).arg(file);
    Ok(command)
}

/// Sends through an SMTP server that offers PIPELINING (RFC 2920), as an MTA does: the envelope and DATA in
/// one write, the content in the next.
pub(crate) fn smtp(
    address: SocketAddr,
    message: &[u8],
    connections: u32,
    extent: Extent,
) -> Result<Load> {
    let envelope =
        format!("MAIL FROM:<bounce@{DOMAIN}>\r\nRCPT TO:<reader@{RECIPIENT_DOMAIN}>\r\nDATA\r\n");
    let (envelope, content) = (envelope.as_bytes(), &stuffed(message));
    let sent = &AtomicU64::new(0);
    let ready = &Barrier::new(usize::try_from(connections)? + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(move || {
                    let client = open(address);
                    ready.wait();
                    let until = Instant::now() + extent.time();
                    let mut client = client?;
                    let mut done = 0_u64;
                    while Instant::now() < until
                        && sent.fetch_add(1, Ordering::Relaxed) < extent.count()
                    {
                        send(&mut client, envelope, content)?;
                        done += 1;
                    }
                    client.quit()?;
                    Ok(done)
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        let mut load =
            Load { messages: 0, timed: 0, seconds: 0.0, errors: 0, first_error: String::new() };
        for thread in threads {
            let done: Result<u64> = thread.join().expect("a thread of the load has no panic");
            match done {
                Ok(done) => load.timed += done,
                Err(error) => {
                    load.errors += 1;
                    load.first_error = format!("{error:#}");
                }
            }
        }
        load.seconds = start.elapsed().as_secs_f64();
        load.messages = load.timed;
        Ok(load)
    })
}

fn open(address: SocketAddr) -> Result<SmtpClient> {
    let mut client = SmtpClient::connect(address)?;
    let hello = client.ehlo()?;
    ensure!(hello.offers("PIPELINING"), "the server does not offer PIPELINING");
    Ok(client)
}

fn send(client: &mut SmtpClient, envelope: &[u8], content: &[u8]) -> Result<()> {
    client.write_raw(envelope)?;
    for want in [250, 250, 354] {
        let reply = client.read_reply()?;
        ensure!(reply.code == want, "{reply}");
    }
    client.write_raw(content)?;
    let reply = client.read_reply()?;
    ensure!(reply.code == 250, "{reply}");
    Ok(())
}

/// Where the mail goes.
pub(crate) const RECIPIENT_DOMAIN: &str = "inbox.test";
/// A run by count that takes longer than this ends as it is.
const LONGEST: Duration = Duration::from_mins(10);
