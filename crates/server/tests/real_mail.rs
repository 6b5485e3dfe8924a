//! Real messages, from the test data of other mail software: signed through both front doors, the same octet for
//! octet below what was added, and judged by four verifiers that we did not write.
//!
//! Some of these messages are damaged in ways on which parsers differ. The policy here signs what can be signed at
//! all; what is refused is counted, and each reason is one of the few that stand in [`may_be_refused`].

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use postseal_testkit::mail_data::{RealMessage, real_messages};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::milter_client::{MilterClient, Offer, Transaction, Verdict};
use postseal_testkit::platform::{Platform, Tenant};
use postseal_testkit::verifiers::{Outcome, Verifier};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn real_messages_through_the_proxy() -> Result<()> {
    let (platform, tenant) = start().await?;
    let mut signed = Vec::new();
    let mut refused = BTreeMap::new();
    let mut client = platform.smtp(&tenant.key)?;
    for real in real_messages()? {
        let original = real.on_the_wire();
        let before = platform.sink.count();
        let reply = client.send("bounce@acme.test", &["reader@inbox.test"], &original)?;
        if !reply.is_positive() {
            refuse(&mut refused, &real, &reply.text())?;
            continue;
        }
        let arrived = platform.sink.messages();
        let arrived = &arrived.get(before as usize).context("a 250 and nothing arrived")?.message;
        // A message that is all header gets the empty line that ends it.
        let mut original = original;
        if !original.windows(4).any(|octets| octets == b"\r\n\r\n") {
            original.extend_from_slice(b"\r\n");
        }
        ensure!(
            arrived.ends_with(&original),
            "{} is not the same below the added fields",
            real.name
        );
        let added = &arrived[..arrived.len() - original.len()];
        let names: Vec<&[u8]> = message::fields(added)
            .iter()
            .filter_map(|field| field.split(|o| *o == b':').next())
            .collect();
        ensure!(
            names.iter().all(|name| [&b"DKIM-Signature"[..], b"Received"].contains(name)),
            "{}: {}",
            real.name,
            String::from_utf8_lossy(added)
        );
        if is_signed(&real, arrived)? {
            signed.push((real.name, arrived.clone()));
        }
    }
    judge(&platform, &signed, &refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_messages_through_the_milter() -> Result<()> {
    let (platform, _) = start().await?;
    let mut signed = Vec::new();
    let mut refused = BTreeMap::new();
    let mut client = MilterClient::connect(platform.daemon.address("milter")?, Offer::VERSION_6)?;
    let mut first = true;
    // An MTA completes a message before a milter sees it; what has no header is none that it could show.
    for real in real_messages()?.into_iter().filter(RealMessage::is_sendable) {
        let original = real.on_the_wire();
        let mut transaction =
            Transaction::new("bounce@acme.test", "reader@inbox.test", original.clone());
        if !first {
            transaction.client = None;
        }
        first = false;
        let outcome = client.send(&transaction)?;
        if let Verdict::Reply(reply) = &outcome.verdict {
            refuse(&mut refused, &real, reply)?;
            continue;
        }
        let changed = outcome.apply(&original);
        ensure!(changed.ends_with(&original), "{}: a milter only adds on top", real.name);
        if is_signed(&real, &changed)? {
            signed.push((real.name, changed));
        }
    }
    client.quit()?;
    judge(&platform, &signed, &refused)
}

/// Says whether a message bears our signature. Without exactly one From field there can be none (RFC 6376
/// section 5.4); any other has one.
fn is_signed(real: &RealMessage, sent: &[u8]) -> Result<bool> {
    let ours =
        message::values(sent, "DKIM-Signature").iter().any(|v| v.contains("d=pool.esp.test"));
    let from_fields = message::values(sent, "From").len();
    ensure!(ours || from_fields != 1, "{} went out unsigned", real.name);
    Ok(ours)
}

/// A platform that signs whatever can be signed.
async fn start() -> Result<(Platform, Tenant)> {
    let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
    let platform = Platform::start(binary, CONFIG).await?;
    let tenant = platform.make_tenant("Acme").await?;
    platform.make_domain(&platform.account, "pool.esp.test").await?;
    let pool =
        platform.make_pool(json!({ "name": "real", "signing_domain": "pool.esp.test" })).await?;
    let path = format!("/api/v1/subaccounts/{}", tenant.id);
    let reply = platform.account.put(&path, json!({ "ip_pool": pool })).await?;
    ensure!(reply.status == 200, "assign the pool: {} {}", reply.status, reply.body);
    // The signer has heard of it when it signs by it.
    let mut client = platform.smtp(&tenant.key)?;
    let first = MessageBuilder::simple("a@b.test", "c@d.test").build();
    for _ in 0..100 {
        let before = platform.sink.count();
        let reply = client.send("bounce@acme.test", &["reader@inbox.test"], &first)?;
        let arrived = platform.sink.messages();
        if reply.is_positive()
            && let Some(arrived) = arrived.get(before as usize)
            && !message::values(&arrived.message, "DKIM-Signature").is_empty()
        {
            return Ok((platform, tenant));
        }
    }
    anyhow::bail!("the pool never signed")
}

fn refuse(
    refused: &mut BTreeMap<&'static str, Vec<String>>,
    real: &RealMessage,
    reply: &str,
) -> Result<()> {
    let reason = MAY_BE_REFUSED
        .iter()
        .find(|reason| reply.contains(**reason))
        .with_context(|| format!("{} is refused: {reply}", real.name))?;
    refused.entry(reason).or_default().push(real.name.clone());
    Ok(())
}

fn judge(
    platform: &Platform,
    signed: &[(String, Vec<u8>)],
    refused: &BTreeMap<&'static str, Vec<String>>,
) -> Result<()> {
    for (reason, names) in refused {
        println!("{} refused: {reason}", names.len());
    }
    let count: usize = refused.values().map(Vec::len).sum();
    println!("{} signed, {count} refused", signed.len());
    ensure!(signed.len() >= AT_LEAST, "only {} messages were signed", signed.len());

    let messages: Vec<&[u8]> = signed.iter().map(|(_, message)| &message[..]).collect();
    let mut complaints = Vec::new();
    for verifier in Verifier::ALL {
        for ((name, message), verdicts) in
            signed.iter().zip(verifier.verify(&platform.dns_file(), &messages)?)
        {
            let ours = verdicts.iter().find(|verdict| verdict.signing_domain == "pool.esp.test");
            match ours {
                Some(verdict) if verdict.outcome == Outcome::Pass => {}
                Some(verdict) => match known_difference(message) {
                    Some(section) => println!("{}: {name}: {section}", verifier.name()),
                    None => {
                        complaints.push(format!("{}: {name}: {}", verifier.name(), verdict.reason))
                    }
                },
                None => match known_difference(message) {
                    Some(section) => println!("{}: {name}: {section}", verifier.name()),
                    None => complaints.push(format!("{}: {name}: not seen", verifier.name())),
                },
            }
        }
    }
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// Why a verifier may fail to find our signature: the header section has a line that is no field, and verifiers
/// differ on what they make of one. Ours goes by the octets: such a line is a field of its own.
fn known_difference(message: &[u8]) -> Option<&'static str> {
    let (header, _) = message::split(message);
    let is_name = |name: &[u8]| !name.is_empty() && name.iter().all(|o| (b'!'..=b'~').contains(o));
    let is_field = |field: &&[u8]| {
        field.iter().position(|octet| *octet == b':').is_some_and(|colon| is_name(&field[..colon]))
    };
    let odd = message::fields(header).iter().any(|field| !is_field(field));
    odd.then_some("RFC 5322 section 2.2: a line of the header section is no field")
}

/// The reasons for which real messages may be refused.
const MAY_BE_REFUSED: [&str; 5] =
    ["bare CR or LF", "the header", "NUL octet", "is no field", "begins with white space"];

/// What the tests promise.
const AT_LEAST: usize = 300;

const CONFIG: &str = r#"
[[milter]]
listen = "127.0.0.1:0"
tenant = 1

[[smtp]]
listen = "127.0.0.1:0"

[policy]
on_bad_from = "pool"
on_long_line = "sign"
on_unsigned = "accept"
"#;
