//! Two tenants of one platform, each with a domain that signs: what most attacks need.
//!
//! The tenants are `acme` (subaccount 1, `acme.test`) and `globex` (subaccount 2, `globex.test`). The
//! milter knows them by `{daemon_name}` and nobody else, the SMTP proxy by their API keys.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::message::{self, MessageBuilder};
use crate::milter_client::{MilterClient, Offer, Outcome, Transaction};
use crate::platform::{Platform, Tenant};
use crate::sink;
use crate::smtp_client::Reply;

/// A platform with two tenants.
pub struct Scene {
    /// Everything that runs.
    pub platform: Platform,
    /// Subaccount 1 with `acme.test`.
    pub acme: Tenant,
    /// Subaccount 2 with `globex.test`.
    pub globex: Tenant,
}

impl Scene {
    /// Starts everything and waits until both tenants sign. `more` is more configuration, such as `[limits]`.
    ///
    /// # Errors
    ///
    /// When something does not start or sign.
    pub async fn start(binary: &Path, more: &str) -> Result<Self> {
        Self::start_with(binary, more, sink::Settings::default()).await
    }

    /// The same with a next hop of one's own.
    ///
    /// # Errors
    ///
    /// When something does not start or sign.
    pub async fn start_with(binary: &Path, more: &str, sink: sink::Settings) -> Result<Self> {
        Self::start_on(binary, "127.0.0.1:0", more, sink).await
    }

    /// The same with the milter at an address of one's own.
    ///
    /// # Errors
    ///
    /// When something does not start or sign.
    pub async fn start_on(
        binary: &Path,
        milter: &str,
        more: &str,
        sink: sink::Settings,
    ) -> Result<Self> {
        let listeners = format!(
            r#"
[[milter]]
listen = "{milter}"
tenant_by = [
  {{ macro = "daemon_name", value = "acme", tenant = 1 }},
  {{ macro = "daemon_name", value = "globex", tenant = 2 }},
]

[[smtp]]
listen = "127.0.0.1:0"

{more}
"#
        );
        let platform = Platform::start_with(binary, &listeners, sink).await?;
        let acme = platform.make_tenant("Acme").await?;
        let globex = platform.make_tenant("Globex").await?;
        ensure!((acme.id, globex.id) == (1, 2), "the configuration names subaccounts 1 and 2");
        platform.make_domain(&acme.api, "acme.test").await?;
        platform.make_domain(&globex.api, "globex.test").await?;
        let scene = Self { platform, acme, globex };
        scene.wait_until("globex", &simple("news@globex.test"), |outcome| {
            signing_domains(&outcome.apply(b"\r\n")) == ["globex.test"]
        })?;
        Ok(scene)
    }

    /// Sends a message through the proxy, on a connection of its own.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn send(&self, tenant: &Tenant, recipient: &str, message: &[u8]) -> Result<Reply> {
        let mut client = self.platform.smtp(&tenant.key)?;
        client.send(SENDER, &[recipient], message)
    }

    /// Sends a message through the proxy and returns what came to the sink, where nothing else may come
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// When it is refused, or taken and not there.
    pub fn deliver(&self, tenant: &Tenant, recipient: &str, message: &[u8]) -> Result<Vec<u8>> {
        let before = self.platform.sink.count();
        let reply = self.send(tenant, recipient, message)?;
        ensure!(reply.code == 250, "{reply}: {}", String::from_utf8_lossy(message));
        let arrived = self.platform.sink.messages();
        ensure!(arrived.len() as u64 == before + 1, "a 250, and {} came", arrived.len());
        Ok(arrived.last().context("a 250 and nothing came")?.message.clone())
    }

    /// Shows a message to the milter, on a connection of its own; `daemon_name` says whose it is.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn filter(&self, daemon_name: &str, recipient: &str, message: &[u8]) -> Result<Outcome> {
        let mut client = self.milter()?;
        client.send(&transaction(daemon_name, recipient, message))
    }

    /// A connection to the milter.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn milter(&self) -> Result<MilterClient> {
        MilterClient::connect(self.platform.daemon.address("milter")?, Offer::VERSION_6)
    }

    /// Shows a message to the milter until it answers as it should: a change takes a moment to reach the
    /// signer.
    ///
    /// # Errors
    ///
    /// When it never does.
    pub fn wait_until(
        &self,
        daemon_name: &str,
        message: &[u8],
        is_it: impl Fn(&Outcome) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let outcome = self.filter(daemon_name, READER, message)?;
            if is_it(&outcome) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("after {PATIENCE:?} the signer still answers {outcome:?}");
            }
        }
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("{}/metrics", self.platform.daemon.url()?);
        Ok(reqwest::get(url).await?.text().await?)
    }

    /// One figure of `/metrics`, by its name with its labels; 0 if it is not there.
    ///
    /// # Errors
    ///
    /// When there is no answer, or the figure is no number.
    pub async fn figure(&self, name: &str) -> Result<f64> {
        let text = self.metrics().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0.0), |value| value.trim().parse().context("no number"))
    }

    /// Waits until no connection is open at either front door.
    ///
    /// # Errors
    ///
    /// When one stays.
    pub async fn wait_until_alone(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut open = 0.0;
            for door in ["milter", "smtp"] {
                open +=
                    self.figure(&format!("postseal_connections{{front_door=\"{door}\"}}")).await?;
            }
            if open == 0.0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{open} connections are open after {PATIENCE:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// A message that the milter is to see, with the daemon name that says whose it is.
pub fn transaction(daemon_name: &str, recipient: &str, message: &[u8]) -> Transaction {
    Transaction::new(SENDER, recipient, message.to_vec()).through_daemon(daemon_name)
}

/// A short message from that address.
pub fn simple(from: &str) -> Vec<u8> {
    MessageBuilder::simple(from, READER).build()
}

/// The `d=` of each signature, from the top.
pub fn signing_domains(message: &[u8]) -> Vec<String> {
    message::values(message, "DKIM-Signature")
        .iter()
        .filter_map(|value| {
            value.split(';').find_map(|tag| tag.trim().strip_prefix("d=").map(str::to_owned))
        })
        .collect()
}

/// A raw connection, with time limits.
///
/// # Errors
///
/// When there is none.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The envelope's sender in every test.
pub const SENDER: &str = "bounce@acme.test";

/// A recipient at no provider.
pub const READER: &str = "reader@inbox.test";

/// How long a change may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
