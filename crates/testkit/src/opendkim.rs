//! OpenDKIM as a milter: a filter that we did not write, behind libmilter.
//!
//! It proves that [`crate::milter_client`] speaks the protocol as filters expect it. One signing domain, one
//! key, relaxed/relaxed, everything from 127.0.0.1 is signed.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::peers;
use crate::signers::KeyPair;

/// A running OpenDKIM.
#[derive(Debug)]
pub struct OpenDkim {
    child: Child,
    address: SocketAddr,
    /// As OpenDKIM sees it.
    inside: String,
    folder: TempDir,
}

impl OpenDkim {
    /// Starts it with a key for a domain.
    ///
    /// # Errors
    ///
    /// When `tests/install-peers` has not run, or it does not start.
    pub fn start(key: &KeyPair, signing_domain: &str, selector: &str) -> Result<Self> {
        Self::start_with(key, signing_domain, selector, "")
    }

    /// The same, with more lines of configuration.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_with(
        key: &KeyPair,
        signing_domain: &str,
        selector: &str,
        more: &str,
    ) -> Result<Self> {
        let root = peers::debian_root()?;
        let folder = TempDir::with_prefix_in("opendkim-", root.join("srv"))?;
        let inside =
            format!("/srv/{}", folder.path().file_name().unwrap_or_default().to_string_lossy());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        std::fs::write(folder.path().join("key.pem"), &key.pem)?;
        let config = format!(
            "Background no
Syslog no
Mode s
Socket inet:{port}@127.0.0.1
Domain {signing_domain}
Selector {selector}
KeyFile {inside}/key.pem
RequireSafeKeys no
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.1
PidFile {inside}/pid
{more}
"
        );
        std::fs::write(folder.path().join("opendkim.conf"), config)?;
        let child = peers::inside(&root, "/usr/sbin/opendkim")
            .args(["-f", "-x", &format!("{inside}/opendkim.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start OpenDKIM")?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut this = Self { child, address, inside, folder };
        this.wait_until_ready()?;
        Ok(this)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its process, as it wrote it down.
    ///
    /// # Errors
    ///
    /// When it did not.
    pub fn process(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.folder.path().join("pid"))?;
        text.trim().parse().with_context(|| format!("OpenDKIM wrote {text:?} as its number"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let mut said = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    stderr.read_to_string(&mut said)?;
                }
                bail!("OpenDKIM ended ({status}): {}", said.trim());
            }
            if Instant::now() > until {
                bail!("OpenDKIM does not listen after {PATIENCE:?}");
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for OpenDkim {
    fn drop(&mut self) {
        if let Ok(root) = peers::debian_root() {
            let file = format!("{}/pid", self.inside);
            let _ = peers::inside(&root, "/bin/sh")
                .args(["-c", "kill -TERM $(cat \"$0\")", &file])
                .stderr(Stdio::null())
                .status();
        }
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// How long it may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what it does not announce.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail_data;
    use crate::message::MessageBuilder;
    use crate::milter_client::{Client, MilterClient, Offer, Transaction, Verdict};
    use crate::verifiers;

    #[test]
    fn what_a_foreign_filter_signs_over_either_protocol_version_verifies() {
        let key = KeyPair::rsa(2048).unwrap();
        let filter = OpenDkim::start(&key, "example.com", "s1").unwrap();
        let mut messages = vec![
            MessageBuilder::simple("a@example.com", "b@example.net")
                .field("X-Fold", "one\r\n\ttwo\r\n  three ")
                .field("X-Blanks", "  two")
                .body_of(200_000)
                .build(),
        ];
        messages.extend(
            mail_data::real_messages()
                .unwrap()
                .iter()
                .filter(|message| message.is_sendable())
                .take(40)
                .map(|message| rewrite_from(&message.on_the_wire())),
        );
        for offer in [Offer::VERSION_2, Offer::VERSION_6] {
            let mut client = MilterClient::connect(filter.address(), offer).unwrap();
            assert_eq!(client.negotiated().version, offer.version);
            let mut signed = Vec::new();
            for (number, message) in messages.iter().enumerate() {
                let mut transaction =
                    Transaction::new("a@example.com", "b@example.net", message.clone());
                if number > 0 {
                    transaction.client = None;
                }
                let outcome = client.send(&transaction).unwrap();
                // OpenDKIM's libmilter answers a signed message with either.
                assert!(
                    matches!(outcome.verdict, Verdict::Continue | Verdict::Accept)
                        && outcome.at_end,
                    "{number}: {outcome:?}"
                );
                assert_eq!(outcome.added("DKIM-Signature").len(), 1, "{number}: {outcome:?}");
                signed.push(outcome.apply(message));
            }
            client.quit().unwrap();
            let dns_file = key.dns_line("example.com", "s1");
            assert_eq!(verifiers::complaints(&dns_file, &signed).unwrap(), [""; 0], "{offer:?}");
        }
        let mut transaction = Transaction::new("a@example.com", "b@example.net", Vec::new());
        transaction.client = Some(Client {
            name: "IPv6".into(),
            address: Some("::1".parse().unwrap()),
            ..Client::default()
        });
        let mut client = MilterClient::connect(filter.address(), Offer::VERSION_6).unwrap();
        assert_eq!(client.connection(&transaction).unwrap(), Verdict::Continue);
        client.abort().unwrap();
        client.quit().unwrap();
    }

    /// The same message from the domain that has a key; signatures that it came with are taken off, since
    /// nobody has their keys.
    fn rewrite_from(message: &[u8]) -> Vec<u8> {
        let (header, body) = crate::message::split(message);
        let mut out = b"From: a@example.com\r\n".to_vec();
        for field in crate::message::fields(header) {
            let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
            let name = name.trim_ascii().to_ascii_lowercase();
            if name != b"from" && name != b"dkim-signature" {
                out.extend_from_slice(field);
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out
    }
}
