//! A real Postfix sends through our milter, for each row of the rule, with milter protocols 2 and 6; what left is
//! judged by four verifiers that we did not write.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::platform::Platform;
use postseal_testkit::postfix::{Postfix, Settings};
use postseal_testkit::smtp_client::{Reply, SmtpClient};
use postseal_testkit::verifiers::{self, Outcome, Verifier};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_rule_through_protocol_6() -> Result<()> {
    every_row(6).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_rule_through_protocol_2() -> Result<()> {
    every_row(2).await
}

async fn every_row(protocol: u32) -> Result<()> {
    let scene = Scene::start(protocol).await?;
    let mut signed = Vec::new();

    // Row 0: nobody knows the third listener.
    let unsigned = scene.deliver(NOBODY, "news@acme.test", READER, None)?;
    scene.last_row(Some(0))?;
    ensure!(message::values(&unsigned, "DKIM-Signature").is_empty(), "row 0 was signed");
    ensure!(message::values(&unsigned, "X-Postseal-Pool").is_empty(), "row 0 kept a control field");

    // Row 1, on a pool with another domain.
    let row_1 = scene.deliver(ACME, "News <news@acme.test>", READER, Some("pool_1"))?;
    scene.last_row(Some(1))?;
    ensure!(signing_domains(&row_1) == ["acme.test"], "row 1: {:?}", signing_domains(&row_1));
    ensure!(message::values(&row_1, "X-Postseal-Pool").is_empty(), "row 1 kept a control field");
    signed.push(row_1);

    // Row 2.
    let row_2 = scene.deliver(ACME, "news@unverified.test", READER, Some("pool_1"))?;
    scene.last_row(Some(2))?;
    ensure!(signing_domains(&row_2) == ["pool1.esp.test"], "row 2: {:?}", signing_domains(&row_2));
    signed.push(row_2);

    // Row 4: the pool `default` has no domain, and the platform has none yet.
    let row_4 = scene.deliver(ACME, "news@unverified.test", READER, None)?;
    scene.last_row(Some(4))?;
    ensure!(signing_domains(&row_4).is_empty(), "row 4 was signed");

    // Row 3: now it has one.
    let request = json!({ "signing_domain": "esp.test" });
    let reply = scene.platform.account.put("/api/v1/platform", request).await?;
    ensure!(reply.status == 200, "platform: {} {}", reply.status, reply.body);
    let row_3 = scene.deliver_until(ACME, "news@unverified.test", READER, None, |message| {
        !signing_domains(message).is_empty()
    })?;
    scene.last_row(Some(3))?;
    ensure!(signing_domains(&row_3) == ["esp.test"], "row 3: {:?}", signing_domains(&row_3));
    signed.push(row_3);

    // Row 5: by the list of domains, and by the MX.
    let listed = scene.deliver(ACME, "news@acme.test", "reader@yahoo.com", Some("pool_1"))?;
    ensure!(signing_domains(&listed) == ["acme.test", "fbl.esp.test"], "row 5 by list");
    signed.push(listed);
    let hosted = scene.deliver_until(
        ACME,
        "news@acme.test",
        "reader@hosted.test",
        Some("pool_1"),
        |message| signing_domains(message).len() == 2,
    )?;
    ensure!(signing_domains(&hosted) == ["acme.test", "fbl.esp.test"], "row 5 by MX");
    signed.push(hosted);
    for stranger in ["reader@yahoo.com.evil.test", "reader@yahoo.co.jp"] {
        let one = scene.deliver(ACME, "news@acme.test", stranger, Some("pool_1"))?;
        ensure!(signing_domains(&one) == ["acme.test"], "{stranger}: {:?}", signing_domains(&one));
        signed.push(one);
    }

    // The points below the table that refuse.
    let refused = [
        ("ceo@globex.test", Some("pool_1"), "550"),
        ("ceo@acme.test, ceo@globex.test", Some("pool_1"), "550"),
        ("two@@acme.test", Some("pool_1"), "550"),
        ("news@acme.test", Some("no_such_pool"), "550"),
        ("news@acme.test", Some("pool_2"), "550"),
    ];
    for (from, pool, code) in refused {
        let reply = scene.send(ACME, from, READER, pool)?;
        ensure!(reply.text().starts_with(code), "{from} on {pool:?}: {}", reply.text());
        scene.last_row(None)?;
    }

    judge(&scene, &signed)?;
    scene.postfix.stop()
}

/// Each verifier passes every message, and refuses it with one changed octet of the body, and with another
/// Subject.
fn judge(scene: &Scene, signed: &[Vec<u8>]) -> Result<()> {
    let keys = scene.platform.dns_file();
    let complaints = verifiers::complaints(&keys, signed)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    let changed: Vec<Vec<u8>> = signed
        .iter()
        .flat_map(|message| [with_changed_body(message), with_changed_subject(message)])
        .collect();
    for verifier in Verifier::ALL {
        for (number, verdicts) in verifier.verify(&keys, &changed)?.iter().enumerate() {
            ensure!(!verdicts.is_empty(), "{} saw no signature", verifier.name());
            for verdict in verdicts {
                ensure!(
                    verdict.outcome != Outcome::Pass,
                    "{} passes changed message {number}: {}",
                    verifier.name(),
                    String::from_utf8_lossy(&changed[number])
                );
            }
        }
    }
    println!(
        "{} messages, {} of them changed, {} verifiers",
        signed.len(),
        changed.len(),
        Verifier::ALL.len()
    );
    Ok(())
}

fn with_changed_body(message: &[u8]) -> Vec<u8> {
    let mut changed = message.to_vec();
    let place =
        message.windows(11).position(|octets| octets == b"Dear reader").expect("the body has it");
    changed[place] = b'N';
    changed
}

fn with_changed_subject(message: &[u8]) -> Vec<u8> {
    let place = message
        .windows(11)
        .position(|octets| octets == b"\nSubject: T")
        .expect("the header has a Subject");
    let mut changed = message.to_vec();
    changed[place + 10] = b'B';
    changed
}

fn signing_domains(message: &[u8]) -> Vec<String> {
    message::values(message, "DKIM-Signature")
        .iter()
        .filter_map(|value| {
            value.split(';').find_map(|tag| tag.trim().strip_prefix("d=").map(str::to_owned))
        })
        .collect()
}

struct Scene {
    platform: Platform,
    postfix: Postfix,
    /// Messages that were given to Postfix; each leaves one record.
    sent: Cell<usize>,
}

impl Scene {
    async fn start(protocol: u32) -> Result<Self> {
        let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
        let platform = Platform::start(binary, CONFIG).await?;
        let acme = platform.make_tenant("Acme").await?;
        let globex = platform.make_tenant("Globex").await?;
        ensure!((acme.id, globex.id) == (1, 2), "the configuration names subaccounts 1 and 2");
        platform.make_domain(&acme.api, "acme.test").await?;
        platform.make_domain(&globex.api, "globex.test").await?;
        for domain in ["esp.test", "pool1.esp.test", "fbl.esp.test"] {
            platform.make_domain(&platform.account, domain).await?;
        }
        platform
            .make_pool(json!({
                "name": "Pool 1",
                "signing_domain": "pool1.esp.test",
                "fbl_signing_domain": "fbl.esp.test",
            }))
            .await?;
        platform.make_pool(json!({ "name": "Pool 2", "subaccounts": [2] })).await?;
        platform.dns.set_mx("inbox.test", &["mx.inbox.test"]);
        platform.dns.set_mx("yahoo.com.evil.test", &["mx.evil.test"]);
        platform.dns.set_mx("yahoo.co.jp", &["mx1.mail.yahoo.co.jp"]);
        platform.dns.set_mx("hosted.test", &["mta5.am0.yahoodns.net"]);

        let milter = platform.daemon.address("milter")?;
        let mut settings = Settings::with_milter(platform.sink.address(), milter)?;
        settings.milter_protocol = protocol;
        settings.listeners = ["acme", "globex", "nobody"]
            .map(|name| format!("-o milter_macro_daemon_name={name}"))
            .to_vec();
        let postfix = Postfix::start(&settings)?;
        Ok(Self { platform, postfix, sent: Cell::new(0) })
    }

    fn send(&self, listener: usize, from: &str, to: &str, pool: Option<&str>) -> Result<Reply> {
        let mut message = MessageBuilder::simple(from, to)
            .set("Subject", "The news of the week")
            .field("MIME-Version", "1.0")
            .field("Content-Type", "text/plain; charset=utf-8")
            .field("List-Unsubscribe", "<https://acme.test/u>,\r\n <mailto:u@acme.test>")
            .body(b"Dear reader,\r\n\r\n.a line with a dot \t \r\n\r\nyours\r\n\r\n\r\n");
        if let Some(pool) = pool {
            message = message.field("X-Postseal-Pool", pool);
        }
        let address = *self.postfix.addresses().get(listener).context("no such listener")?;
        self.sent.set(self.sent.get() + 1);
        let mut client = SmtpClient::connect(address)?;
        client.ehlo()?;
        let reply = client.send("bounce@acme.test", &[to], &message.build())?;
        client.quit()?;
        Ok(reply)
    }

    /// Sends, and waits for what arrives at the next hop.
    fn deliver(
        &self,
        listener: usize,
        from: &str,
        to: &str,
        pool: Option<&str>,
    ) -> Result<Vec<u8>> {
        let before = self.platform.sink.count();
        let reply = self.send(listener, from, to, pool)?;
        ensure!(reply.is_positive(), "{from} to {to}: {}", reply.text());
        let arrived = self.platform.sink.wait_for(before + 1, Duration::from_secs(30))?;
        Ok(arrived.get(before as usize).context("nothing arrived")?.message.clone())
    }

    /// Delivers again and again until what arrives is as it should be: a change or an answer of the DNS
    /// takes a moment to reach the signer.
    fn deliver_until(
        &self,
        listener: usize,
        from: &str,
        to: &str,
        pool: Option<&str>,
        is_it: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        for _ in 0..100 {
            let message = self.deliver(listener, from, to, pool)?;
            if is_it(&message) {
                return Ok(message);
            }
        }
        anyhow::bail!("{from} to {to} never came out as it should")
    }

    /// Looks at the row in the record of the last message.
    fn last_row(&self, want: Option<u64>) -> Result<()> {
        let last = self.platform.daemon.wait_for_event("message", self.sent.get())?;
        ensure!(last["row"].as_u64() == want, "row {want:?} should have decided: {last}");
        Ok(())
    }
}

const ACME: usize = 0;
const NOBODY: usize = 2;
const READER: &str = "reader@inbox.test";

const CONFIG: &str = r#"
[[smtp]]
listen = "127.0.0.1:0"

[[milter]]
listen = "127.0.0.1:0"
tenant_by = [
  { macro = "daemon_name", value = "acme", tenant = 1 },
  { macro = "daemon_name", value = "globex", tenant = 2 },
]
"#;
