//! What runs during the demo: a platform with two tenants, and Postfix where it is installed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message;
use postseal_testkit::peers;
use postseal_testkit::platform::{Platform, Tenant};
use postseal_testkit::postfix::{self, Postfix};
use postseal_testkit::sink::Received;
use postseal_testkit::smtp_client::SmtpClient;
use serde_json::json;

use crate::Case;
use crate::report::{Delivered, Outcome};

/// The platform, set up as the demo tells.
pub(crate) struct Demo {
    binary: PathBuf,
    platform: Platform,
    acme: Tenant,
    postfix: Option<Postfix>,
}

impl Demo {
    /// Starts everything and makes two tenants, their domains, and two pools.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let platform = Platform::start(binary, &listeners()).await?;
        platform.dns.set_mx("inbox.test", &["mx.inbox.test"]);
        println!(
            "postseal runs: HTTP {}, SMTP {}, milter {}",
            platform.daemon.url()?,
            platform.daemon.address("smtp")?,
            platform.daemon.address("milter")?
        );
        let acme = platform.make_tenant("Acme").await?;
        ensure!(acme.id == ACME, "the first subaccount is {}, not {ACME}", acme.id);
        let globex = platform.make_tenant("Globex").await?;
        println!("Acme is subaccount {}, Globex is subaccount {}", acme.id, globex.id);
        let domains = [
            (&acme.api, "acme.test"),
            (&globex.api, "globex.test"),
            (&platform.account, "pool1.esp.test"),
            (&platform.account, "pool2.esp.test"),
            (&platform.account, "fbl.esp.test"),
        ];
        for (api, domain) in domains {
            let owner = platform.make_domain(api, domain).await?;
            println!("{domain}: published {owner}, Verify says valid");
        }
        for number in [1, 2] {
            let signing_domain = format!("pool{number}.esp.test");
            let request = json!({
                "name": format!("Pool {number}"),
                "signing_domain": signing_domain,
                "fbl_signing_domain": "fbl.esp.test",
            });
            let id = platform.make_pool(request).await?;
            println!("pool {id} signs as {signing_domain}");
        }
        Ok(Self { binary: binary.to_owned(), platform, acme, postfix: None })
    }

    /// Sends as Acme through the SMTP proxy.
    pub(crate) fn send_through_proxy(&self, case: &Case) -> Result<Outcome> {
        let decided = self.platform.daemon.events("message").len();
        let arrived = self.platform.sink.count();
        let mut client = self.platform.smtp(&self.acme.key)?;
        let reply = client.send("bounce@acme.test", &[case.recipient], &case.message())?;
        client.quit()?;
        // The proxy answers after the next hop did, so what was delivered is there.
        let delivered = self.platform.sink.messages().get(arrived as usize).cloned();
        self.outcome(reply.text(), decided, delivered.as_deref())
    }

    /// Starts a Postfix of its own beside whatever runs on this machine, with Postseal as its milter.
    pub(crate) fn start_postfix(&mut self, root: &Path) -> Result<()> {
        let milter = self.platform.daemon.address("milter")?;
        let settings = postfix::Settings {
            root: root.to_owned(),
            next_hop: self.platform.sink.address(),
            milters: vec![format!("inet:127.0.0.1:{}", milter.port())],
            milter_protocol: 6,
            milter_default_action: "tempfail",
            listeners: vec!["-o milter_macro_daemon_name=acme".to_owned()],
            main: Vec::new(),
        };
        self.postfix = Some(Postfix::start(&settings)?);
        Ok(())
    }

    /// Sends as Acme through Postfix, which knows it by the name of its listener.
    pub(crate) fn send_through_postfix(&self, case: &Case) -> Result<Outcome> {
        let postfix = self.postfix.as_ref().context("Postfix does not run")?;
        let decided = self.platform.daemon.events("message").len();
        let arrived = self.platform.sink.count();
        let mut client = SmtpClient::connect(postfix.address())?;
        client.ehlo()?;
        let reply = client.send("bounce@acme.test", &[case.recipient], &case.message())?;
        client.quit()?;
        let delivered = if reply.is_positive() {
            let messages = self.platform.sink.wait_for(arrived + 1, PATIENCE)?;
            messages.get(arrived as usize).cloned()
        } else {
            None
        };
        self.outcome(reply.text(), decided, delivered.as_deref())
    }

    fn outcome(
        &self,
        reply: String,
        decided: usize,
        delivered: Option<&Received>,
    ) -> Result<Outcome> {
        let decision = self.platform.daemon.wait_for_event("message", decided + 1)?;
        let delivered = match delivered {
            Some(received) => Some(Delivered {
                signatures: message::values(&received.message, "DKIM-Signature"),
                verdicts: self.verify(&received.message)?,
            }),
            None => None,
        };
        Ok(Outcome { reply, decision, delivered })
    }

    /// The lines of `postseal verify` for a message, with real DNS packets.
    fn verify(&self, message: &[u8]) -> Result<Vec<String>> {
        let mut child = Command::new(&self.binary)
            .args(["verify", "--dns-server", &self.platform.dns.address().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start postseal verify")?;
        child.stdin.take().context("no standard input")?.write_all(message)?;
        let output = child.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Ends Postfix and the daemon, the daemon by SIGTERM as an operator would.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(postfix) = self.postfix.take() {
            postfix.stop()?;
        }
        let status = self.platform.daemon.stop()?;
        ensure!(status.success(), "postseal ended with {status}:\n{}", self.platform.daemon.log());
        Ok(())
    }
}

/// The root of a Postfix that is installed on this machine, or else of the one that the tests have unpacked.
/// None too if it could not be started: Postfix starts as root.
pub(crate) fn postfix_root() -> Option<PathBuf> {
    if !peers::root_is_at_hand() {
        return None;
    }
    if Path::new("/usr/sbin/postfix").is_file() {
        return Some(PathBuf::from("/"));
    }
    peers::debian_root().ok()
}

fn listeners() -> String {
    format!(
        r#"
[[smtp]]
listen = "127.0.0.1:0"

[[milter]]
listen = "127.0.0.1:0"
tenant_by = [{{ macro = "daemon_name", value = "acme", tenant = {ACME} }}]
"#
    )
}

/// The number of the first subaccount that is made, which the milter's configuration names.
const ACME: u64 = 1;
const PATIENCE: Duration = Duration::from_secs(20);
