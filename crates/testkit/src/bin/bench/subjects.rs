//! The daemons that are measured: Postseal, and other filters where they are installed.
//!
//! Each signs for one domain with one RSA-2048 key, relaxed/relaxed, over TCP on 127.0.0.1. Postseal runs
//! with what it has by default: every front door, a line of log for each message, written to a file.

use std::any::Any;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postseal_testkit::api_client::ApiClient;
use postseal_testkit::dns::DnsFixture;
use postseal_testkit::opendkim::OpenDkim;
use postseal_testkit::rspamd::{self, Rspamd};
use postseal_testkit::signers::KeyPair;
use postseal_testkit::sink::{self, Keep, Sink};
use serde_json::Value;
use tempfile::TempDir;

use crate::cpus::Cpus;
use crate::load::{self, RECIPIENT_DOMAIN};
use crate::{DOMAIN, beside_this_program};

/// A filter that listens.
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    /// As miltergen takes it.
    pub(crate) address: String,
    pub(crate) process: u32,
    /// The line of its key in a `--dns-file`.
    record: String,
    /// What ends with it.
    _daemon: Option<Box<dyn Any>>,
}

impl Filter {
    pub(crate) fn is_ours(&self) -> bool {
        self.name == OURS
    }

    /// Sends one message, and lets `postseal verify` look at the signature: only what works is measured.
    pub(crate) fn check(&self, message: &Path, folder: &TempDir) -> Result<()> {
        let signed = folder.path().join("signed.eml");
        let records = folder.path().join("records");
        fs::write(&records, format!("{}\n", self.record))?;
        let sent = retry(|| load::milter_once(&self.address, message, &signed));
        sent.with_context(|| format!("{} signs nothing", self.name))?;
        let verified = Command::new(beside_this_program("postseal")?)
            .args(["verify", "--dns-file"])
            .arg(&records)
            .stdin(File::open(&signed)?)
            .output()?;
        let said = String::from_utf8_lossy(&verified.stdout);
        ensure!(verified.status.success(), "what {} signs does not verify: {said}", self.name);
        Ok(())
    }
}

/// A running Postseal with the DNS and the next hop around it.
pub(crate) struct Postseal {
    pub(crate) process: u32,
    pub(crate) smtp: SocketAddr,
    milter: String,
    url: String,
    record: String,
    child: Child,
    sink: Sink,
    _dns: DnsFixture,
    _folder: TempDir,
}

impl Postseal {
    /// Starts it from an empty folder on the daemon's CPU, with a domain that is verified.
    pub(crate) async fn start(cpus: &Cpus) -> Result<Self> {
        let dns = DnsFixture::start().await;
        dns.set_mx(RECIPIENT_DOMAIN, &[&format!("mx.{RECIPIENT_DOMAIN}")]);
        let sink = Sink::start_with(sink::Settings { keep: Keep::Count, ..Default::default() })?;
        let folder = TempDir::with_prefix("postseal-bench-")?;
        let config = folder.path().join("postseal.toml");
        let text = format!(
            r#"
data = {data:?}
log.format = "json"
http.listen = "127.0.0.1:0"
milter = [ {{ listen = "inet:0@127.0.0.1", tenant = 0 }} ]
smtp = [ {{ listen = "127.0.0.1:0", tenant_by = [ {{ client = "127.0.0.1", tenant = 0 }} ] }} ]

[next_hops.default]
address = "{hop}"

[dns]
listen = "127.0.0.1:0"
resolvers = ["{dns}"]
servers."{DOMAIN}" = ["{dns}"]
"#,
            data = folder.path().join("data").display().to_string(),
            hop = sink.address(),
            dns = dns.address(),
        );
        fs::write(&config, text)?;
        let (out, log) = (folder.path().join("out"), folder.path().join("log"));
        let child = cpus
            .pinned(&beside_this_program("postseal")?)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start postseal")?;
        let process = child.id();
        let mut this = Self {
            process,
            smtp: sink.address(),
            milter: String::new(),
            url: String::new(),
            record: String::new(),
            child,
            sink,
            _dns: dns,
            _folder: folder,
        };
        let until = Instant::now() + PATIENCE;
        let events = loop {
            let events = events(&log)?;
            if events.iter().any(|line| line["event"] == "ready") {
                break events;
            }
            if this.child.try_wait()?.is_some() || Instant::now() > until {
                bail!("postseal does not start:\n{}", fs::read_to_string(&log)?);
            }
            thread::sleep(LOOK_AGAIN);
        };
        let listener = |front_door: &str| {
            let line = events.iter().find(|line| line["front_door"] == front_door);
            let address = line.and_then(|line| line["address"].as_str());
            address.map(str::to_owned).with_context(|| format!("no {front_door} listener"))
        };
        this.smtp = listener("smtp")?.parse()?;
        this.milter = listener("milter")?;
        this.url = format!("http://{}", listener("http")?);

        let said = fs::read_to_string(&out)?;
        let key = said.lines().find_map(|line| line.strip_prefix(FIRST_KEY));
        let api = ApiClient::new(&this.url, key.context("postseal printed no API key")?);
        let (owner, record) = api.create_domain(DOMAIN).await?;
        this._dns.set_txt(&owner, &record);
        let status = api.verify_domain(DOMAIN).await?;
        ensure!(status["dkim_status"] == "valid", "{DOMAIN}: {status}");
        this.record = format!("{owner}\t{record}");
        Ok(this)
    }

    /// Its milter.
    pub(crate) fn filter(&self) -> Result<Filter> {
        Ok(Filter {
            name: OURS,
            address: self.milter.clone(),
            process: self.process,
            record: self.record.clone(),
            _daemon: None,
        })
    }

    /// How many messages it signed, by its own count.
    pub(crate) async fn signed(&self) -> Result<u64> {
        let text = reqwest::get(format!("{}/metrics", self.url)).await?.text().await?;
        let counts = text.lines().filter(|line| {
            line.starts_with("postseal_messages_total{") && line.contains(r#"verdict="signed""#)
        });
        let mut sum = 0;
        for line in counts {
            sum += line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(sum)
    }

    /// How many messages came to the next hop.
    pub(crate) fn arrived(&self) -> u64 {
        self.sink.count()
    }
}

impl Drop for Postseal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other filters that are here; says which are not.
pub(crate) fn peers(cpus: &Cpus, folder: &TempDir) -> Result<Vec<Filter>> {
    let (key, record) = key(folder)?;
    let mut found = Vec::new();
    match OpenDkim::start(&key, DOMAIN, SELECTOR) {
        Ok(daemon) => {
            let process = daemon.process()?;
            cpus.pin(process)?;
            found.push(Filter {
                name: "OpenDKIM",
                address: daemon.address().to_string(),
                process,
                record: record.clone(),
                _daemon: Some(Box::new(daemon)),
            });
        }
        Err(error) => println!("OpenDKIM is left out: {error:#}"),
    }
    match rspamd::installed() {
        Some(binary) => {
            let daemon = Rspamd::start(cpus.pinned(&binary), &key.pem, DOMAIN, SELECTOR)?;
            found.push(Filter {
                name: "rspamd",
                address: daemon.address().to_string(),
                process: daemon.process(),
                record,
                _daemon: Some(Box::new(daemon)),
            });
        }
        None => println!("rspamd is left out: it is not installed"),
    }
    Ok(found)
}

/// A key for the other filters, and its line in a `--dns-file`.
fn key(folder: &TempDir) -> Result<(KeyPair, String)> {
    let path: PathBuf = folder.path().join("key.pem");
    let made = Command::new(beside_this_program("postseal")?)
        .args(["keygen", "--domain", DOMAIN, "--selector", SELECTOR, "--out"])
        .arg(&path)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout)?;
    let line =
        said.lines().find(|line| !line.starts_with('#')).context("keygen prints no record")?;
    let (_, record) = line.split_once('\t').context("keygen prints another form of record")?;
    let pem = fs::read_to_string(path)?;
    Ok((KeyPair { pem, record: record.to_owned(), algorithm: "rsa-sha256" }, line.to_owned()))
}

/// The lines of JSON in a log that are whole.
fn events(log: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(log)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// A daemon that listens may still not be ready to sign.
fn retry(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match work() {
            Err(_) if Instant::now() < until => thread::sleep(LOOK_AGAIN),
            done => return done,
        }
    }
}

/// Our own name among the others.
pub(crate) const OURS: &str = "Postseal";
const SELECTOR: &str = "s1";
const FIRST_KEY: &str = "first API key (shown once): ";
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
