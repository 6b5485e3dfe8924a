//! rspamd as a milter that does nothing but sign: what a message costs there, for a comparison.
//!
//! It is used where it is installed on the machine; nothing depends on it. One worker, one signing domain, one
//! key; no other module is loaded, and no DNS is asked.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

/// A running rspamd.
#[derive(Debug)]
pub struct Rspamd {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// Where the machine has it, if it does.
pub fn installed() -> Option<PathBuf> {
    let binary = Path::new("/usr/bin/rspamd");
    (binary.is_file() && Path::new(PLUGIN).is_file()).then(|| binary.to_owned())
}

impl Rspamd {
    /// Starts it with a key for a domain. `command` is the program, with whatever is to stand before it.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(
        mut command: Command,
        pem: &str,
        signing_domain: &str,
        selector: &str,
    ) -> Result<Self> {
        let folder = TempDir::with_prefix("rspamd-")?;
        let path = folder.path().display().to_string();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        std::fs::write(folder.path().join("key.pem"), pem)?;
        let config = format!(
            r#"options {{
  filters = "dkim";
  local_addrs = [127.0.0.0/8];
  pidfile = "{path}/pid";
  tempdir = "{path}";
  control_socket = "{path}/control mode=0600";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 0; }}
}}
logging {{ type = "file"; filename = "{path}/log"; level = "warning"; }}
metric {{ name = "default"; }}
actions {{ reject = 1000; add_header = 900; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}";
  milter = yes;
  timeout = 60s;
  count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
dkim {{ }}
dkim_signing {{
  domain {{ {signing_domain} {{ selector = "{selector}"; path = "{path}/key.pem"; }} }}
  use_domain = "header";
  use_esld = false;
  try_fallback = false;
  sign_local = true;
  sign_authenticated = true;
  allow_username_mismatch = true;
  allow_hdrfrom_mismatch = true;
  allow_envfrom_empty = true;
}}
modules {{ path = "{PLUGIN}"; }}
"#
        );
        let file = folder.path().join("rspamd.conf");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.path().join("out"))?;
        let child = command
            .args(["--insecure", "--no-fork"])
            .args(["--user", &id("-un")?, "--group", &id("-gn")?])
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start rspamd")?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut this = Self { child, address, folder };
        this.wait_until_ready()?;
        Ok(this)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of its main process; the worker is a child of it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
                let said = read("out").unwrap_or_default() + &read("log").unwrap_or_default();
                bail!("rspamd ended ({status}): {}", said.trim());
            }
            if Instant::now() > until {
                bail!("rspamd does not listen after {PATIENCE:?}");
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

impl Drop for Rspamd {
    fn drop(&mut self) {
        // Its workers end when it is asked to; killed, it would leave them behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The name of the user or the group that runs this.
fn id(which: &str) -> Result<String> {
    let output = Command::new("id").arg(which).output().context("cannot run id")?;
    ensure!(output.status.success(), "this user has no name");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The signing module of the Debian package.
const PLUGIN: &str = "/usr/share/rspamd/plugins/dkim_signing.lua";

/// How long it may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what it does not announce.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
