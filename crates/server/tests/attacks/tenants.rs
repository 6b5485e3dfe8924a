//! What one tenant may not get of another, or of the platform (T6, T7, T9).

use std::thread;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{READER, SENDER, Scene, signing_domains, simple, transaction};
use postseal_testkit::signers::KeyPair;
use postseal_testkit::verifiers;
use serde_json::json;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_field_of_a_stranger_is_ignored_and_removed_and_that_is_logged() -> Result<()> {
    let scene = scene(
        "[[milter]]\nlisten = \"127.0.0.1:0\"\ntenant = 1\npool_from_header = false\n\
         [[smtp]]\nlisten = \"127.0.0.1:0\"\n\
         tenant_by = [{ client = \"127.0.0.1\", tenant = 1 }]\npool_from_header = false",
    )
    .await?;
    pool_with_domain(&scene, "bulk", &[]).await?;
    pool_with_domain(&scene, "theirs", &[2]).await?;
    wait_for_pool(&scene, "acme", "bulk")?;
    wait_for_pool(&scene, "globex", "theirs")?;

    // Nobody knows whose mail it is: it passes as it came, without the fields, and nothing signs.
    for (count, fields) in (1..).zip([
        "X-Postseal-Pool: bulk\r\n",
        "X-MSYS-API: {\"options\": {\"ip_pool\": \"bulk\"}}\r\n",
        "x-postseal-pool : bulk\r\nX-Postseal-Pool: theirs\r\nX-MSYS-API: nonsense\r\n",
    ]) {
        let message = [fields.as_bytes(), &simple("ceo@unverified.test")].concat();
        let outcome = scene.filter("stranger", READER, &message)?;
        ensure!(outcome.verdict == Verdict::Continue, "{outcome:?}");
        let sent = outcome.apply(&message);
        ensure!(sent == simple("ceo@unverified.test"), "{}", String::from_utf8_lossy(&sent));
        let mut seen = 0;
        let line = scene.platform.daemon.wait_for("the record", |line| {
            seen += u64::from(line["event"] == "message" && line["row"] == 0);
            seen == count
        })?;
        ensure!(line["pool"].is_null() && line["tenant"].is_null(), "{line}");
        ensure!(line["why"].to_string().contains("control fields are taken out"), "{line}");
    }

    // A known tenant where no field may choose: the field goes, and does not choose.
    let doors = scene.platform.daemon.listeners("milter");
    let mut client = postseal_testkit::milter_client::MilterClient::connect(
        doors.get(1).context("two milters")?.parse::<std::net::SocketAddr>()?,
        postseal_testkit::milter_client::Offer::VERSION_6,
    )?;
    let message = [b"X-Postseal-Pool: bulk\r\n", &simple("ceo@unverified.test")[..]].concat();
    let sent = client.send(&transaction("acme", READER, &message))?.apply(&message);
    ensure!(sent == simple("ceo@unverified.test"), "{}", String::from_utf8_lossy(&sent));
    let doors = scene.platform.daemon.listeners("smtp");
    let mut client = postseal_testkit::smtp_client::SmtpClient::connect(
        doors.get(1).context("two proxies")?.parse()?,
    )?;
    client.ehlo()?;
    ensure!(client.send(SENDER, &[READER], &message)?.code == 250);
    let sent = scene.platform.sink.messages().pop().context("nothing came")?;
    ensure!(message::values(&sent.message, "X-Postseal-Pool").is_empty());
    ensure!(signing_domains(&sent.message).is_empty(), "{:?}", signing_domains(&sent.message));

    // A pool of somebody else, named by a tenant that may name pools: refused, and never another pool.
    let before = scene.platform.sink.count();
    for name in ["theirs", "THEIRS", "no_such_pool", "bulk, theirs", ""] {
        let message = format!("X-Postseal-Pool: {name}\r\n").into_bytes();
        let message = [&message[..], &simple("ceo@unverified.test")].concat();
        let reply = scene.send(&scene.acme, READER, &message)?;
        ensure!(
            reply.text().starts_with("550 5.7.1") || reply.text().starts_with("550 5.6.0"),
            "{name:?}: {reply}"
        );
    }
    ensure!(scene.platform.sink.count() == before, "one came through");
    let ignored = "postseal_decisions_total{what=\"control_ignored\"}";
    ensure!(scene.figure(ignored).await? == 5.0, "{}", scene.metrics().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_providers_own_recipients_bring_the_feedback_signature() -> Result<()> {
    let scene = scene("").await?;
    scene.platform.make_domain(&scene.platform.account, "fbl.esp.test").await?;
    let request = json!({ "name": "bulk", "fbl_signing_domain": "fbl.esp.test" });
    scene.platform.make_pool(request).await?;
    for (domain, host) in [
        ("yahoo.com.evil.test", "mx.evil.test"),
        ("evil.test", "yahoodns.net.evil.test"),
        ("near.test", "notyahoodns.net"),
    ] {
        scene.platform.dns.set_mx(domain, &[host]);
    }
    let both = ["acme.test", "fbl.esp.test"];
    let message = [b"X-Postseal-Pool: bulk\r\n", &simple("news@acme.test")[..]].concat();
    let by = |recipient: &str, message: &[u8]| -> Result<Vec<String>> {
        Ok(signing_domains(&scene.filter("acme", recipient, message)?.apply(b"\r\n")))
    };
    for _ in 0..1000 {
        if by("reader@yahoo.com", &message)? == both {
            break;
        }
    }
    for recipient in ["reader@yahoo.com", "READER@YAHOO.COM", "a@ymail.com", "a@aol.com"] {
        ensure!(by(recipient, &message)? == both, "{recipient}: {:?}", by(recipient, &message)?);
    }
    // Twice each: an answer about its MX may have come meanwhile.
    for recipient in LOOK_ALIKES.iter().chain(&LOOK_ALIKES) {
        let by = by(recipient, &message)?;
        ensure!(by == ["acme.test"], "{recipient}: {by:?}");
    }
    // The envelope decides, not the header.
    let shown = MessageBuilder::simple("news@acme.test", "reader@yahoo.com")
        .field("Cc", "other@yahoo.com")
        .field("X-Postseal-Pool", "bulk")
        .build();
    ensure!(by(READER, &shown)? == ["acme.test"], "the header decided");
    // One of many is enough, and is decided once for the transaction.
    let mut mixed = transaction("acme", READER, &message);
    mixed.recipients.push("reader@yahoo.com".to_owned());
    let outcome = scene.milter()?.send(&mixed)?;
    ensure!(signing_domains(&outcome.apply(b"\r\n")) == both, "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_tenants_with_equal_selectors_never_sign_for_each_other() -> Result<()> {
    // A cache that holds one key at a time makes every message open its own.
    let scene = scene("[signing]\nkey_cache = 1").await?;
    let mut dns_file = String::new();
    let tenants = [(&scene.acme, "a.test", "acme"), (&scene.globex, "g.test", "globex")];
    for (tenant, domain, _) in tenants {
        let pair = KeyPair::rsa(2048)?;
        let private: String = pair.pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let public = pair.record.rsplit("p=").next().context("no p=")?;
        let dkim = json!({ "selector": "same", "private": private, "public": public });
        let request = json!({ "domain": domain, "dkim": dkim });
        let reply = tenant.api.post("/api/v1/sending-domains", request).await?;
        ensure!(reply.status == 200, "{}", reply.body);
        scene.platform.dns.set_txt(&format!("same._domainkey.{domain}"), &pair.record);
        let status = tenant.api.verify_domain(domain).await?;
        ensure!(status["dkim_status"] == "valid", "{status}");
        dns_file.push_str(&pair.dns_line(domain, "same"));
    }
    for (_, domain, name) in tenants {
        scene.wait_until(name, &simple(&format!("news@{domain}")), |outcome| {
            signing_domains(&outcome.apply(b"\r\n")) == [domain]
        })?;
    }

    // Both tenants at both doors at once; in the milter they share one connection.
    let before = scene.platform.sink.count();
    let mut sent = thread::scope(|scope| -> Result<Vec<Vec<u8>>> {
        let proxies: Vec<_> = tenants
            .iter()
            .map(|(tenant, domain, _)| {
                let scene = &scene;
                scope.spawn(move || -> Result<()> {
                    let mut client = scene.platform.smtp(&tenant.key)?;
                    for number in 0..EACH {
                        let reply = client.send(SENDER, &[READER], &numbered(domain, number))?;
                        ensure!(reply.code == 250, "{reply}");
                    }
                    Ok(())
                })
            })
            .collect();
        let mut sent = Vec::new();
        let mut client = scene.milter()?;
        for number in 0..EACH {
            for (_, domain, name) in tenants {
                let message = numbered(domain, number);
                let outcome = client.send(&transaction(name, READER, &message))?;
                sent.push(outcome.apply(&message));
                client.next_client()?;
            }
        }
        for proxy in proxies {
            proxy.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        }
        Ok(sent)
    })?;
    sent.extend(
        scene.platform.sink.messages().iter().skip(before as usize).map(|one| one.message.clone()),
    );
    ensure!(sent.len() as u64 == 4 * EACH, "{} messages", sent.len());
    for one in &sent {
        let author = message::values(one, "From").concat();
        let by = signing_domains(one);
        ensure!(
            by.len() == 1 && author.ends_with(&format!("@{}", by.concat())),
            "{author}: {by:?}"
        );
        ensure!(super::tag(one, "s") == "same");
    }
    let complaints = verifiers::complaints(&dns_file, &sent)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

    // Across the two, nothing signs.
    for (_, _, name) in tenants {
        for from in ["news@a.test", "news@g.test"] {
            let outcome = scene.filter(name, READER, &simple(from))?;
            let is_own = (name == "acme") == (from == "news@a.test");
            ensure!(
                matches!(outcome.verdict, Verdict::Continue) == is_own,
                "{name}, {from}: {outcome:?}"
            );
        }
    }
    Ok(())
}

/// A pool that signs with a domain of its own.
async fn pool_with_domain(scene: &Scene, name: &str, tenants: &[u32]) -> Result<()> {
    let domain = format!("{name}.esp.test");
    scene.platform.make_domain(&scene.platform.account, &domain).await?;
    let mut request = json!({ "name": name, "signing_domain": domain });
    if !tenants.is_empty() {
        request["subaccounts"] = json!(tenants);
    }
    scene.platform.make_pool(request).await.map(drop)
}

fn wait_for_pool(scene: &Scene, tenant: &str, pool: &str) -> Result<()> {
    let field = format!("X-Postseal-Pool: {pool}\r\n");
    let message = [field.as_bytes(), &simple("ceo@unverified.test")].concat();
    let domain = format!("{pool}.esp.test");
    scene.wait_until(tenant, &message, |outcome| {
        signing_domains(&outcome.apply(b"\r\n")) == [domain.as_str()]
    })
}

fn numbered(domain: &str, number: u64) -> Vec<u8> {
    MessageBuilder::simple(&format!("news@{domain}"), READER)
        .set("Subject", &format!("Message {number}"))
        .build()
}

/// Messages of each tenant at each door.
const EACH: u64 = 200;

/// Domains that look like Yahoo's, or are run by somebody else.
const LOOK_ALIKES: [&str; 16] = [
    "reader@yahoo.com.evil.test",
    "reader@evil.test",
    "reader@near.test",
    "reader@notyahoo.com",
    "reader@yahoo-com.test",
    "reader@yahoo.com-evil.test",
    "reader@yah00.com",
    "reader@yаhoo.com",
    "reader@xn--yhoo-53d.com",
    "reader@yahoo.community",
    "reader@yahoo.co",
    "reader@yahoo.co.jp",
    "reader@ybb.ne.jp",
    "\"reader@yahoo.com\"@inbox.test",
    "reader%yahoo.com@inbox.test",
    "yahoo.com@inbox.test",
];
