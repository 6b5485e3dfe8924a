//! A whole platform for a test: the daemon, the DNS around it, the next hop behind it, and what a platform sets
//! up over the HTTP API.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::api_client::ApiClient;
use crate::daemon::{Daemon, Settings};
use crate::dns::DnsFixture;
use crate::sink::{self, Sink};
use crate::smtp_client::SmtpClient;

/// Everything that runs for a test.
pub struct Platform {
    /// `postseal serve`.
    pub daemon: Daemon,
    /// The zones under `.test`, and the resolver.
    pub dns: DnsFixture,
    /// The next hop `default`.
    pub sink: Sink,
    /// The API with the first key of the account.
    pub account: ApiClient,
    /// The key records that were published, as lines of a `--dns-file`.
    records: Mutex<Vec<String>>,
}

/// A subaccount with an API key of its own.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its number.
    pub id: u64,
    /// Its API key, which may send and manage its domains.
    pub key: String,
    /// The API with that key.
    pub api: ApiClient,
}

impl Platform {
    /// Starts the servers around the daemon, then the daemon, from an empty folder. `listeners` is its
    /// configuration but for `[http]`, `[dns]` and the next hop `default`.
    ///
    /// # Errors
    ///
    /// When one of them does not start.
    pub async fn start(binary: &Path, listeners: &str) -> Result<Self> {
        Self::start_with(binary, listeners, sink::Settings::default()).await
    }

    /// The same with a next hop of one's own.
    ///
    /// # Errors
    ///
    /// When one of them does not start.
    pub async fn start_with(binary: &Path, listeners: &str, sink: sink::Settings) -> Result<Self> {
        let dns = DnsFixture::start().await;
        let sink = Sink::start_with(sink)?;
        let config = format!(
            r#"
[http]
listen = "127.0.0.1:0"

[next_hops.default]
address = "{hop}"

[dns]
listen = "127.0.0.1:0"
resolvers = ["{dns}"]

[dns.servers]
"test" = ["{dns}"]

{listeners}
"#,
            hop = sink.address(),
            dns = dns.address(),
        );
        let daemon = Daemon::start(binary, Settings::only(&config))?;
        // The first start prints it, once, on a line of its own.
        let key = daemon.wait_for_line("first API key (shown once): ")?;
        let account = ApiClient::new(&daemon.url()?, &key);
        Ok(Self { daemon, dns, sink, account, records: Mutex::default() })
    }

    /// Makes a subaccount with an API key.
    ///
    /// # Errors
    ///
    /// When the API does not answer 200.
    pub async fn make_tenant(&self, name: &str) -> Result<Tenant> {
        let request = json!({
            "name": name,
            "key_label": format!("{name}'s key"),
            "key_grants": ["smtp/inject", "sending_domains/manage"],
        });
        let reply = self.account.post("/api/v1/subaccounts", request).await?;
        ensure!(reply.status == 200, "subaccount {name}: {} {}", reply.status, reply.body);
        let id = reply.results()["subaccount_id"].as_u64().context("no subaccount_id")?;
        let key = reply.results()["key"].as_str().context("no key")?.to_owned();
        Ok(Tenant { id, api: self.account.with_key(&key), key })
    }

    /// Makes a domain, publishes its key and clicks Verify; returns the record's owner.
    ///
    /// # Errors
    ///
    /// When it is valid before it was published, or not valid after.
    pub async fn make_domain(&self, api: &ApiClient, domain: &str) -> Result<String> {
        let (owner, record) = api.create_domain(domain).await?;
        let before = api.verify_domain(domain).await?;
        ensure!(before["dkim_status"] != "valid", "{domain} is valid before it was published");
        self.dns.set_txt(&owner, &record);
        let status = api.verify_domain(domain).await?;
        ensure!(status["dkim_status"] == "valid", "verify of {domain}: {status}");
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(format!("{owner}\t{record}\n"));
        Ok(owner)
    }

    /// Makes a pool; returns its id.
    ///
    /// # Errors
    ///
    /// When the API does not answer 200.
    pub async fn make_pool(&self, request: Value) -> Result<String> {
        let reply = self.account.post("/api/v1/ip-pools", request).await?;
        ensure!(reply.status == 200, "pool: {} {}", reply.status, reply.body);
        Ok(reply.results()["id"].as_str().context("no id")?.to_owned())
    }

    /// The records of all domains so far, as the text of a `--dns-file`.
    pub fn dns_file(&self) -> String {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    /// A connection to the SMTP proxy, authenticated with an API key.
    ///
    /// # Errors
    ///
    /// When the proxy refuses.
    pub fn smtp(&self, key: &str) -> Result<SmtpClient> {
        let mut client = SmtpClient::connect(self.daemon.address("smtp")?)?;
        client.ehlo()?;
        let login = client.auth_plain("SMTP_Injection", key)?;
        ensure!(login.code == 235, "AUTH: {}", login.text());
        Ok(client)
    }
}
